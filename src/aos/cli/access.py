"""How commands reach a store that others work on: it must be there, and nothing of it is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aos.cli.options import store_option
from aos.clock import now
from aos.errors import InvalidInput, StoreUnavailable, UnknownAgent
from aos.message import key_of, kind_of
from aos.stores import DurableStore, Kind, open_store
from aos.stores.records import EACH, SINGLE, Holder


@asynccontextmanager
async def visited(url: str) -> AsyncIterator[DurableStore]:
    """An existing store, open for looking and sending."""
    store = existing(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def existing(url: str) -> DurableStore:
    """The store that a URL names, not opened yet; one that is not there is an error and is not made."""
    store = open_store(url)
    if url == "memory:":
        raise InvalidInput("'memory:' is inside the process that runs it: name a file with --store sqlite:PATH")
    path = Path(url.partition(":")[2].removeprefix("//"))
    if not path.exists():
        raise StoreUnavailable(
            f"there is no store {str(path)!r}: make one with 'aos run FILE.py{store_option(url)}', or name another "
            "with --store"
        )
    return store


async def processes(store: DurableStore) -> list[Holder]:
    """The processes that run agents now; one that only asks something is none of them."""
    return [holder for holder in await store.holders() if holder.kinds and holder.expires > now()]


def check_address(address: str, kinds: dict[str, Kind]) -> Kind:
    """The kind of an address; raises what is wrong with the address."""
    kind = kinds.get(kind_of(address))
    if kind is None:
        raise UnknownAgent(address, tuple(kinds))
    if kind.key == SINGLE and "/" in address:
        raise InvalidInput(f"there is one {kind.name} only: leave the key away")
    if kind.key != SINGLE and not key_of(address):
        each = "each message" if kind.key == EACH else f"each {kind.key!r}"
        raise InvalidInput(f"there is one {kind.name} for {each}: name one as {kind.name}/KEY, or with --key KEY")
    return kind


async def pause(seconds: float) -> None:
    """Let some time pass before a store that cannot tell is asked again."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return
