"""Stores: the `Store` port and its engines, and `open_store` that picks one by URL."""

from aos.stores.choose import open_store
from aos.stores.port import DurableStore, Inbox, Inspection, Store
from aos.stores.records import AgentRecord, DeadLetter, Kind, Limits, TurnRecord

__all__ = [
    "AgentRecord",
    "DeadLetter",
    "DurableStore",
    "Inbox",
    "Inspection",
    "Kind",
    "Limits",
    "Store",
    "TurnRecord",
    "open_store",
]
