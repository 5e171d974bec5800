"""The runtime: takes what a store delivers and runs turns, one at a time per mailbox, many mailboxes at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from aos.clock import wall_clock
from aos.entropy import Entropy
from aos.errors import (
    AskFailed,
    StoreClosed,
    StoreCorrupt,
    StoreError,
)
from aos.kernel.alarm import Alarm
from aos.kernel.behaviour import MIB, Behaviour
from aos.kernel.cell import IDLE, LEAVING, READY, RUNNING, Cell, Item
from aos.kernel.crew import Crew, pause
from aos.kernel.sending import Sending
from aos.kernel.tending import Tender
from aos.kernel.turn import OpenTurn
from aos.kernel.turning import run_turn
from aos.kernel.watchdog import Watchdog
from aos.message import Message, answers_address, is_answers, kind_of
from aos.stores.port import Store
from aos.stores.records import JournalEntry, Kind, Lease, Turn

log = logging.getLogger("aos.kernel")
TURNS_AT_ONCE = 32
"""Turns that one mailbox gets before others have theirs."""
STUBBORN = 1.0
"""Seconds after which a handler that does not end when the system does is cancelled again."""
RELOAD = 1.0
"""Seconds before a store that refused to hand out more of a mailbox is asked again."""


class RuntimeStatistics(msgspec.Struct, frozen=True):
    """What a runtime did since it started, and what it holds now."""

    active: int
    running: int
    suspended: int
    waiting: int
    timers: int
    committed: int
    retried: int
    dead: int
    discarded: int
    blocked: int


class Runtime(Sending):
    """Runs the mailboxes of a store.

    Args:
        store: Where everything durable is. The runtime opens and closes it.
        entropy: Ids and chance.
        max_turns: Turns that run at once, suspended ones not counted.
        max_active: Mailboxes held in memory at once.
        payload_limit: Bytes that a payload may have.
        lease: Seconds after which another process takes over when this one falls silent.
        idle_after: Seconds after which an idle mailbox is given up and leaves memory.
        park_for: Seconds that a suspended turn stays in memory before it leaves too.
        room_timeout: Seconds that an outside sender waits for room in a full mailbox.
        block_limit: Seconds after which a handler that blocks the loop is named in the log.
    """

    def __init__(
        self,
        store: Store,
        *,
        entropy: Entropy | None = None,
        max_turns: int = 256,
        max_active: int = 100_000,
        payload_limit: int = MIB,
        lease: float = 10.0,
        idle_after: float = 60.0,
        park_for: float = 5.0,
        room_timeout: float = 30.0,
        block_limit: float = 1.0,
    ) -> None:
        super().__init__(store, entropy or Entropy(), payload_limit=payload_limit, room_timeout=room_timeout)
        self.lease = lease
        self.max_active = max_active
        self.cells: dict[str, Cell] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.open_turns: set[OpenTurn] = set()
        self.crew = Crew(self._run, limit=max_turns)
        self.tender = Tender(self, idle_after=idle_after, park_for=park_for)
        self.watchdog = Watchdog(block_limit)
        self.stop_asked = asyncio.Event()
        self.counts = {"committed": 0, "retry": 0, "dead": 0, "discarded": 0}
        self._root: asyncio.Task[None] | None = None
        self._main_task: asyncio.Task[Any] | None = None

    # -- life

    async def start(self) -> None:
        """Open the store and begin to run turns. Starting twice is harmless."""
        if self._root is not None:
            return
        self.now = wall_clock()
        self.alarm = Alarm(self.now, self._ring)
        self.tender.start()
        self.crew.open()
        self.failure = None
        self.stop_asked.clear()
        try:
            await self.open()
            await self.declare([behaviour.kind for behaviour in self.behaviours.values()])
            self._root = asyncio.get_running_loop().create_task(self._main(), name="aos runtime")
        except BaseException:
            await self.store.close()
            raise

    async def open(self) -> None:
        """Begin to hold mailboxes; all that was held before is void."""
        self._void()
        self.fence = await self.store.open(self, lease=self.lease, capacity=self.max_active)
        address = answers_address(self.fence)
        nobody = Behaviour(kind=Kind(address), handle=_never, turn=OpenTurn)
        self.cells[address] = Cell(address, nobody, Lease(fence=self.fence))

    async def declare(self, kinds: Sequence[Kind]) -> None:
        """Make kinds known to the store, and take the mailboxes that have something to do."""
        await self.store.declare(kinds)
        await self.store.claim()

    async def add(self, behaviour: Behaviour) -> None:
        """Run mailboxes of another kind from now on."""
        self.behaviours[behaviour.kind.name] = behaviour
        if self._root is not None:
            await self.declare([behaviour.kind])

    async def _main(self) -> None:
        self._main_task = asyncio.current_task()
        try:
            self.watchdog.start()
            async with asyncio.TaskGroup() as group:
                self.crew.start(group)
                group.create_task(self.tender.tend(), name="aos tender")
        except BaseExceptionGroup as failures:
            self.failure = failures.exceptions[0]
            log.critical("the runtime failed: %s", self.failure)
            raise self.failure from None
        finally:
            self.watchdog.stop()
            self.crew.abandon()
            self.stop_asked.set()
            self.end_waits()

    async def stop(self, deadline: float = 10.0) -> None:
        """Finish the turns that run, for `deadline` seconds, cancel what is left, and close the store.

        Raises what made the runtime fail, if it did. Stopping twice is harmless.
        """
        root, self._root = self._root, None
        if root is None:
            return
        try:
            if not root.done() and not await self.crew.close(deadline):
                titles = ", ".join(sorted(turn.title for turn in self.open_turns)[:5])
                log.warning("stopping: cancelled what still ran after %g s: %s", deadline, titles)
        finally:
            root.cancel()
            while not (await asyncio.wait([root], timeout=STUBBORN))[0]:
                self._cancel_again()
            self.alarm.close()
            self.tender.close()
            await self.tender.say_goodbye(list(self.cells.values()))
            self.cells.clear()
            await self.store.close()
        if not root.cancelled() and (failure := root.exception()) is not None:
            raise failure

    def _cancel_again(self) -> None:
        """Cancel handlers that swallowed their cancellation."""
        for turn in self.open_turns:
            log.warning("stopping: %s swallowed its cancellation, cancelling it again", turn.title)
            if turn.task is not None:
                turn.task.cancel()

    async def settle(self) -> None:
        """Wait until no turn runs and no message can have its turn now."""
        await self.crew.quiet()
        while any(turn.signalled for turn in self.open_turns):
            await pause()  # what it waited for is here, and it has not had its step yet
            await self.crew.quiet()
        self.check()

    @property
    def ending(self) -> bool:
        """Whether the tasks that run turns are being cancelled."""
        return self._main_task is None or self._main_task.cancelling() > 0

    # -- the store's inbox

    def deliver(self, address: str, seq: int, message: Message | None, lease: Lease | None) -> None:
        """Take a message of a mailbox that this process holds."""
        if lease is not None:
            cell = self.cells[address] = Cell(address, self.behaviours[kind_of(address)], lease)
        else:
            held = self.cells.get(address)
            if held is None:
                return  # given up in the meantime: the store hands it out again
            cell = held
        if message is None:
            return
        if not message.name:
            if cell.overflow or seq <= cell.top:
                return  # `load` brings it, or did
            cell.top = seq
        if (due := cell.put(seq, message, self.now)) is not None:
            self.alarm.set(due, cell)
        elif cell.turn is not None:
            cell.turn.signal()
        elif cell.status == IDLE:
            self.rouse(cell)

    def overflow(self, address: str) -> None:
        """More waits in a mailbox than was delivered."""
        if (cell := self.cells.get(address)) is not None:
            cell.overflow = True
            if cell.turn is not None:
                cell.turn.signal()
            self.rouse(cell)

    def look(self) -> None:
        """Something may be there to claim."""
        self.tender.look()

    def revoked(self) -> None:
        """Another process took over: stop all turns and begin anew."""
        log.warning("another process took over after this one was silent for %g s; beginning anew", self.lease)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing in memory counts any more: stop all turns and open the store again."""
        self._void()
        for turn in list(self.open_turns):
            turn.evict()
        self.tender.reopen()

    def _void(self) -> None:
        """Forget all mailboxes; who waits for an answer in this process's own one waits in vain."""
        for cell in self.cells.values():
            cell.status = LEAVING
            self.alarm.drop(cell)
        self.cells.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AskFailed("this process lost its hold on the store before there was an answer"))

    def rouse(self, cell: Cell) -> None:
        """Have a cell run if it has something to run."""
        if cell.status == IDLE and cell.turn is None and cell.runnable():
            cell.status = READY
            self.crew.put(cell)

    def _ring(self, cell: Cell) -> None:
        if self.cells.get(cell.address) is not cell:
            return
        if (cell.ripen(self.now()) or cell.overflow) and cell.turn is not None:
            cell.turn.signal()
        if (due := cell.next_due()) is not None:
            self.alarm.set(due, cell)
        self.rouse(cell)

    # -- turns

    async def _run(self, cell: Cell, task: asyncio.Task[Any]) -> None:
        if cell.status != READY:
            return
        cell.status = RUNNING
        cell.touched = True
        try:
            item: Item | None
            for _ in range(TURNS_AT_ONCE):
                mail = cell.mail
                if mail and cell.failed is None and not cell.suspended:
                    item = mail.popleft()
                elif (item := cell.next()) is None:
                    if not (cell.seeks() if cell.suspended else cell.overflow):
                        break
                    if not await self.load(cell):
                        return
                    continue
                await run_turn(self, cell, item[0], item[1], task)
                if cell.status != RUNNING or self.crew.closing:
                    return
        finally:
            if cell.status == RUNNING:
                cell.status = IDLE
        self.rouse(cell)

    async def load(self, cell: Cell) -> bool:
        """Ask for more of a mailbox; False if the store refuses for now."""
        cell.overflow = False
        try:
            await self.store.load(cell.address, cell.top)
        except (StoreCorrupt, StoreClosed):
            raise
        except StoreError as refused:
            log.warning("%s: its messages wait %g s: %s", cell.address, RELOAD, refused)
            cell.overflow = True
            self.alarm.set(self.now() + RELOAD, cell)
            return False
        return True

    def park(self, turn: OpenTurn) -> None:
        """A turn waits for something that may take days."""
        if turn.waiting == 1:
            self.tender.park(turn)
            self.crew.leave()

    def unpark(self, turn: OpenTurn) -> None:
        """It goes on."""
        self.tender.expect(turn, turn.cell.behaviour.timeout)
        if turn.waiting == 0:
            self.crew.rejoin()

    async def record(
        self, turn: OpenTurn, entry: JournalEntry, outgoing: list[Message], consumed: int, forget: Sequence[str]
    ) -> asyncio.CancelledError | None:
        """Write a journal entry of a turn, to the end even if the turn is cancelled; returns the cancellation.

        Otherwise an entry could be in the store that the turn's next attempt in this process knows nothing of.
        """
        write = self.store.record(
            turn.address, turn.cell.fence, turn.seq, entry, outgoing=outgoing, consumed=consumed, forget=forget
        )
        writing = asyncio.get_running_loop().create_task(write)
        cancelled = None
        while not writing.done():
            try:
                await asyncio.wait([writing])
            except asyncio.CancelledError as error:
                cancelled = error
                if self.ending:  # then what is in memory does not matter, and a store that hangs must not hold it up
                    writing.cancel()
        writing.result()
        return cancelled

    def made_room(self, cell: Cell, outcome: Turn) -> None:
        """A message left a mailbox: who waits for that goes on, and a mailbox for one message ends."""
        if outcome.ends and outcome.outcome != "retry" and not cell.mail:
            self.drop(cell)
        if waiters := self.room.pop(cell.address, None):
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def lost(self, cell: Cell) -> None:
        """Another process holds this mailbox now."""
        log.warning("%s: another process took over, the turn's outcome is discarded", cell.address)
        self.drop(cell)
        self.look()

    def drop(self, cell: Cell) -> None:
        """This process has no more to do with a mailbox."""
        cell.status = LEAVING
        self.alarm.drop(cell)
        if self.cells.get(cell.address) is cell:
            del self.cells[cell.address]

    def statistics(self) -> RuntimeStatistics:
        """What this runtime did and holds."""
        counts = self.counts
        return RuntimeStatistics(
            active=sum(1 for address in self.cells if not is_answers(address)),
            running=self.crew.awake,
            suspended=sum(turn.waiting > 0 for turn in self.open_turns),
            waiting=self.crew.waiting,
            timers=len(self.alarm) if self.fence else 0,
            committed=counts["committed"],
            retried=counts["retry"],
            dead=counts["dead"],
            discarded=counts["discarded"],
            blocked=self.watchdog.blocked,
        )


async def _never(_owner: Any, turn: Any) -> None:
    """Answers are taken before a handler is looked for."""
    raise AssertionError(turn.title)
