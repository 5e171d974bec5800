"""Storage: blobs in a local folder, in Azure Blob Storage or in an S3-compatible service.

Imports the ground files only. Nothing is in this room yet.
"""
