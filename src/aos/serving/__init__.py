"""Serving: the HTTP and SSE interface, the A2A and MCP endpoints, Azure Functions and the console.

Imports any room but the command line, the simulation and testing. Nothing is in this room yet.
"""
