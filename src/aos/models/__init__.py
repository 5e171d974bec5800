"""Models: routes to language models, the gateway, switching, token counting and the scripted model.

Imports the ground files and `aos.resilience` only. Nothing is in this room yet.
"""
