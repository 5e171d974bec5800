"""Context: what an agent knows, has seen and remembers, as one durable object."""

from aos.context.server import ContextServer

__all__ = ["ContextServer"]
