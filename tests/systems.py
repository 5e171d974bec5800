"""What tests of running systems share: stores of each kind, and ways to end a system that no user has."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aos import AgentOS
from aos.errors import StoreClosed
from aos.stores import DurableStore, Limits
from aos.stores.memory import MemoryStore
from aos.stores.sqlite import SqliteStore
from tests.virtual import VirtualLoop

VERBS = ("append", "claim", "load", "commit", "record", "release", "due", "stop_requested")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every async test virtual time."""
    return {"virtual": VirtualLoop}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DurableStore:
    """A new store of each kind."""
    return MemoryStore() if request.param == "memory" else sqlite(tmp_path / "aos.db")


def sqlite(path: Path, limits: Limits | None = None) -> SqliteStore:
    """A store in a file, at a pace that suits virtual time."""
    made = SqliteStore(path, limits=limits, synchronous="OFF")
    made.poll = 1.0  # under virtual time a poll costs more than what it finds
    return made


def same(store: DurableStore) -> DurableStore:
    """Another store object on the same data, as another process has it."""
    if isinstance(store, MemoryStore):
        return MemoryStore(shared=store.memory, limits=store.limits)
    assert isinstance(store, SqliteStore)
    return sqlite(store.path, store.limits)


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No test leaves a task behind."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks were left behind: {left}"


class _Deaf:
    """The inbox of a process that is no more."""

    def deliver(self, *_: Any) -> None: ...

    overflow = look = revoked = deliver


async def crash(system: AgentOS) -> None:
    """End a system as `kill -9` does: nothing is finished, nothing is given up, its leases have to run out."""
    store, runtime = system.store, system.runtime

    async def gone(*_: Any, **__: Any) -> Any:
        raise StoreClosed

    for verb in VERBS:
        setattr(store, verb, gone)
    if isinstance(store, MemoryStore):
        store.memory.inboxes[runtime.fence] = _Deaf()
    else:
        assert isinstance(store, SqliteStore)
        store._inbox = None
    root, runtime._root = runtime._root, None
    assert root is not None
    root.cancel()
    await asyncio.wait([root])
    if not root.cancelled():
        root.exception()  # that the store is gone is what this is about
    runtime.alarm.close()
    runtime.tender.close()
    runtime.cells.clear()
    if isinstance(store, SqliteStore):
        while store._busy:  # noqa: ASYNC110 - what it had asked for is written: a kill does not take it back
            await asyncio.sleep(0)
        assert store._ledger is not None
        await store._loop.run_in_executor(store._writer, store._ledger.connection.close)
        await store._loop.run_in_executor(store._reader, store._close_look)
        store._shut()
    system._started = False


class Frozen:
    """A system whose process is stopped (SIGSTOP): it asks its store for nothing until it is thawed."""

    def __init__(self, system: AgentOS) -> None:
        self._system = system
        self._gate = asyncio.Event()
        for verb in VERBS:
            setattr(system.store, verb, self._gated(getattr(system.store, verb)))

    def _gated(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        async def wait_first(*args: Any, **kwargs: Any) -> Any:
            await self._gate.wait()
            return await verb(*args, **kwargs)

        return wait_first

    def thaw(self) -> None:
        """SIGCONT."""
        for verb in VERBS:
            delattr(self._system.store, verb)
        self._gate.set()
