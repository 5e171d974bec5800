"""A store from its URL."""

from __future__ import annotations

from aos.errors import InvalidInput
from aos.stores.port import DurableStore
from aos.stores.records import Limits


def open_store(url: str, *, limits: Limits | None = None) -> DurableStore:
    """The store that a URL names: `memory:` or `sqlite:PATH`. It is not opened yet."""
    scheme, colon, path = url.partition(":")
    if url == "memory:":
        from aos.stores.memory import MemoryStore  # noqa: PLC0415 - a store is loaded by who uses it

        return MemoryStore(limits=limits)
    if scheme == "sqlite" and path:
        from aos.stores.sqlite import SqliteStore  # noqa: PLC0415 - as above

        return SqliteStore(path.removeprefix("//"), limits=limits)
    hint = "" if colon else f"; did you mean 'sqlite:{url}'?"
    raise InvalidInput(f"{url!r} names no store: write 'memory:' or 'sqlite:PATH'{hint}")
