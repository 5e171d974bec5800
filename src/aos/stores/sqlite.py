"""The store in one SQLite file: many operations in one transaction, durable when they return."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aos.clock import wall_clock
from aos.errors import InvalidInput, StoreClosed, StoreCorrupt, StoreError
from aos.message import Message
from aos.stores.port import Inbox
from aos.stores.presence import this_process
from aos.stores.records import (
    AgentRecord,
    DeadLetter,
    Holder,
    JournalEntry,
    Kind,
    Limits,
    StoreStatistics,
    Turn,
    TurnRecord,
)
from aos.stores.sqlite_file import Synchronous, connect, connect_to_look, explained
from aos.stores.sqlite_leases import Leases
from aos.stores.sqlite_ledger import LOOK, OVERFLOW, REVOKED, Delivery, Ledger, Operation
from aos.stores.sqlite_look import Look
from aos.stores.sqlite_mail import Mail

T = TypeVar("T")

BATCH = 1024
"""Operations in one transaction at most."""


class SqliteStore:
    """Durable mailboxes in one SQLite file, for any number of processes of one machine.

    Operations that are asked for while a transaction is being written are gathered and written as the next one, so
    that the disk is waited for once for all of them. An operation returns when it is on the disk. One whose caller is
    cancelled happens all the same.

    Args:
        path: The file. It is made if it is not there; its folder is not.
        limits: What is kept.
        synchronous: How far to wait for the disk; with less than `FULL` a power cut may take back the last operations,
            in order.
        wait: Seconds to wait for a lock that another process has.
    """

    poll = 0.05

    def __init__(
        self,
        path: str | Path,
        *,
        limits: Limits | None = None,
        synchronous: Synchronous = "FULL",
        wait: float = 5.0,
    ) -> None:
        if synchronous not in {"OFF", "NORMAL", "FULL", "EXTRA"}:
            raise InvalidInput(f"synchronous={synchronous!r} is not one of OFF, NORMAL, FULL, EXTRA")
        self.path = Path(path)
        self.limits = limits or Limits()
        self._synchronous: Synchronous = synchronous
        self._wait = wait
        self._inbox: Inbox | None = None
        self._ledger: Ledger | None = None
        self._closing: asyncio.Future[None] | None = None
        self._queue: list[Operation] = []
        self._busy = False

    @property
    def url(self) -> str:
        return f"sqlite:{self.path}"

    # -- the runtime's verbs

    async def open(self, inbox: Inbox | None = None, *, lease: float = 10.0, capacity: int = 10_000) -> int:
        if self._closing is not None:
            await asyncio.wait([self._closing])
        fresh = self._ledger is None
        if fresh:
            await self._connect()
        self._inbox = inbox
        if inbox is None:
            return 0
        try:
            return await self._do(partial(self._leases.open, lease, capacity))
        except BaseException:
            if fresh:
                self._begin_to_close()
            raise

    async def declare(self, kinds: Sequence[Kind], *, run: bool = True) -> None:
        await self._do(partial(self._leases.declare, tuple(kinds), run=run))

    async def append(self, messages: Sequence[Message], *, once: bool = False) -> int:
        return await self._do(partial(self._mail.append, messages, once=once))

    async def claim(self) -> None:
        await self._do(self._claim)

    async def load(self, address: str, after: int) -> None:
        await self._do(partial(self._mail.load, address, after))

    async def commit(self, turn: Turn) -> None:
        await self._do(partial(self._mail.commit, turn))

    async def record(
        self,
        address: str,
        fence: int,
        seq: int,
        entry: JournalEntry,
        *,
        outgoing: Sequence[Message] = (),
        consumed: int = 0,
        forget: Sequence[str] = (),
    ) -> None:
        await self._do(
            partial(self._mail.record, address, fence, seq, entry, outgoing=outgoing, consumed=consumed, forget=forget)
        )

    async def release(self, addresses: Iterable[tuple[str, bool]], fence: int) -> list[str]:
        return await self._do(partial(self._leases.release, list(addresses), fence))

    async def due(self) -> tuple[float | None, bool]:
        return await self._do(self._leases.due, reads=True)

    async def statistics(self) -> StoreStatistics:
        return await self._look(Look.statistics)

    async def close(self) -> None:
        if self._closing is None and self._ledger is not None:
            self._begin_to_close()
        if self._closing is not None:
            await asyncio.shield(self._closing)

    # -- a person's verbs

    async def agents(
        self, *, kind: str = "", prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[AgentRecord]:
        return await self._look(Look.agents, kind, prefix, after, limit)

    async def agent(self, address: str) -> AgentRecord | None:
        return await self._look(Look.agent, address)

    async def turns(self, *, address: str = "", after: int = 0, limit: int = 100) -> list[TurnRecord]:
        return await self._look(Look.turns, address, after, limit)

    async def pending(self, address: str, *, limit: int = 100) -> list[Message]:
        return await self._look(Look.pending, address, limit)

    async def kinds(self) -> list[Kind]:
        return await self._look(Look.kinds)

    async def dead_letters(
        self, *, address: str = "", numbers: Sequence[int] = (), limit: int = 100
    ) -> list[DeadLetter]:
        return await self._look(Look.dead_letters, address, tuple(numbers), limit)

    async def redrive(self, numbers: Sequence[int]) -> int:
        return await self._do(partial(self._mail.redrive, tuple(numbers)))

    async def drop(self, numbers: Sequence[int]) -> int:
        return await self._do(partial(self._mail.drop, tuple(numbers)))

    async def holders(self) -> list[Holder]:
        return await self._look(Look.holders)

    async def request_stop(self, fences: Sequence[int] = ()) -> int:
        return await self._do(partial(self._leases.request_stop, tuple(fences)))

    async def stop_requested(self) -> bool:
        return await self._look(Look.stopping, self._ledger.fence if self._ledger else 0)

    # -- the writing thread

    async def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = wall_clock()
        self._writer = ThreadPoolExecutor(1, "aos-sqlite")
        self._reader = ThreadPoolExecutor(1, "aos-sqlite-look")
        self._looking: Look | None = None
        opening = self._loop.run_in_executor(
            self._writer, partial(connect, self.path, synchronous=self._synchronous, wait=self._wait)
        )
        try:
            connection = await asyncio.shield(opening)
        except BaseException as error:
            opening.add_done_callback(_close_unwanted)
            self._shut()
            if isinstance(error, sqlite3.Error):
                raise explained(error, self.path) from error
            raise
        self._file = _identity(self.path)
        self._ledger = Ledger(connection, self.limits)
        self._leases = Leases(self._ledger, this_process())
        self._mail = Mail(self._ledger, self._leases)

    async def _do(self, call: Callable[[], T], *, reads: bool = False) -> T:
        if self._ledger is None or self._closing is not None:
            raise StoreClosed
        operation = Operation(call, self._loop.create_future(), reads=reads)
        self._put(operation)
        result: T = await operation.future
        return result

    def _put(self, operation: Operation) -> None:
        self._queue.append(operation)
        if not self._busy:
            self._busy = True
            # Soon, not now: what else is asked for in this step of the loop goes into the same transaction.
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        operations, self._queue = self._queue[:BATCH], self._queue[BATCH:]
        assert self._ledger is not None  # noqa: S101 - it is closed after the last operation
        job = self._loop.run_in_executor(self._writer, self._ledger.run, operations, self._now())
        job.add_done_callback(partial(self._written, operations))

    def _written(self, operations: list[Operation], job: asyncio.Future[list[Delivery]]) -> None:
        """Deliver what is durable now, in order, and let the callers go on."""
        failure = StoreClosed() if job.cancelled() else job.exception()
        fault = None if failure is not None else self._deliver(job.result())
        for operation in operations:
            if failure is None:
                fault = self._deliver(operation.deliveries) or fault
                error = operation.error or fault
            else:
                error = self._explained(failure)
            if operation.future.done():  # its caller was cancelled
                continue
            if error is None:
                operation.future.set_result(operation.result)
            else:
                operation.future.set_exception(error)
        if self._queue:
            # After those who go on now: what they ask for next is written together with what has gathered.
            self._loop.call_soon(self._write)
        else:
            self._busy = False

    def _deliver(self, deliveries: list[Delivery]) -> Exception | None:
        """Tell the inbox; returns what it raised, which it must not: then the callers hear of it."""
        inbox = self._inbox
        if inbox is None:
            return None
        try:
            for address, seq, message, lease in deliveries:
                if seq >= 0:
                    inbox.deliver(address, seq, message, lease)
                elif seq == OVERFLOW:
                    inbox.overflow(address)
                elif seq == LOOK:
                    inbox.look()
                elif seq == REVOKED:
                    inbox.revoked()
        except Exception as fault:  # noqa: BLE001 - whatever it is, those who wait must not wait for ever
            return fault
        return None

    def _explained(self, failure: BaseException) -> BaseException:
        if isinstance(failure, sqlite3.Error):
            explanation: StoreError = explained(failure, self.path, self._leases.others)
            explanation.__cause__ = failure
            return explanation
        return failure

    def _claim(self) -> None:
        there = _identity(self.path)
        if there != self._file:
            raise StoreCorrupt(
                f"{str(self.path)!r} was {'replaced' if there else 'deleted'} while it was in use, and nothing that is "
                "written now would be found again: start again"
            )
        self._leases.claim()
        self._mail.trim()

    # -- the reading thread

    async def _look(self, read: Callable[..., T], *args: Any) -> T:
        if self._ledger is None or self._closing is not None:
            raise StoreClosed
        try:
            return await self._loop.run_in_executor(self._reader, self._read, read, args)
        except sqlite3.Error as error:
            raise explained(error, self.path, self._leases.others) from error

    def _read(self, read: Callable[..., T], args: tuple[Any, ...]) -> T:
        if self._looking is None:
            self._looking = Look(connect_to_look(self.path, wait=self._wait), self.limits)
        return read(self._looking, *args)

    # -- the end

    def _begin_to_close(self) -> None:
        """Refuse what is asked for from now on, give up what is held, and close the file after that."""
        self._closing = self._loop.create_future()
        operation = Operation(self._leases.close, self._loop.create_future(), reads=False)
        operation.future.add_done_callback(self._disconnect)
        self._put(operation)

    def _disconnect(self, closed: asyncio.Future[None]) -> None:
        """Everything is written: close the file. The writing connection is last, since it tidies up."""
        assert self._ledger is not None  # noqa: S101 - it is open: `close` looked
        steps: list[tuple[ThreadPoolExecutor, Callable[[], None]]] = [
            (self._writer, self._ledger.connection.close),
            (self._reader, self._close_look),
        ]
        failures = [error for error in (closed.exception(),) if error is not None]

        def go_on(job: asyncio.Future[None] | None) -> None:
            if job is not None and (error := job.exception()) is not None:
                failures.append(self._explained(error))
            if steps:
                thread, step = steps.pop()
                self._loop.run_in_executor(thread, step).add_done_callback(go_on)
            else:
                self._disconnected(failures)

        go_on(None)

    def _disconnected(self, failures: list[BaseException]) -> None:
        self._shut()
        closing, self._closing, self._ledger, self._inbox = self._closing, None, None, None
        if closing is None or closing.done():
            return
        if failures:
            closing.set_exception(failures[0])
        else:
            closing.set_result(None)

    def _close_look(self) -> None:
        if self._looking is not None:
            self._looking.close()

    def _shut(self) -> None:
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _close_unwanted(opening: asyncio.Future[sqlite3.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
