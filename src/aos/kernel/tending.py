"""What goes on beside the turns: leases, takeovers, time-outs, hibernation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aos.errors import StaleFence, StoreClosed, StoreCorrupt, StoreError
from aos.kernel.cell import IDLE, LEAVING, Cell
from aos.kernel.crew import pause
from aos.message import is_answers

if TYPE_CHECKING:
    from aos.kernel.runtime import Runtime
    from aos.kernel.turn import OpenTurn

log = logging.getLogger("aos.kernel")
NEVER = float("inf")
SCAN = 1000
"""Cells looked at before others have their step."""
CROWDED_PAUSE = 0.25
"""Seconds between looks for who can leave memory while others wait to get in."""
TROUBLE_PAUSE = 1.0
"""Seconds before a store that refused is asked again."""


class Tender:
    """Looks after a runtime.

    Args:
        runtime: Whose mailboxes.
        idle_after: Seconds after which an idle mailbox leaves memory.
        park_for: Seconds after which a suspended turn leaves memory.
    """

    def __init__(self, runtime: Runtime, *, idle_after: float, park_for: float) -> None:
        self._runtime = runtime
        self._idle_after = idle_after
        self._park_for = park_for
        self._looking = asyncio.Event()
        self._reopen = False
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_when = NEVER
        self._hibernate_at = 0.0
        self._claim_at = 0.0
        self._time: Callable[[], float] = float

    def start(self) -> None:
        """Take the running loop's clock."""
        self._time = asyncio.get_running_loop().time

    def look(self) -> None:
        """Claim soon."""
        self._looking.set()

    def reopen(self) -> None:
        """The lease is lost: open the store again."""
        self._reopen = True
        self._looking.set()

    async def tend(self) -> None:
        """Renew the lease, claim, hibernate, for ever."""
        runtime, loop = self._runtime, asyncio.get_running_loop()
        self._hibernate_at = loop.time() + self._idle_after / 2
        trouble = False
        while True:
            try:
                pause_for = await self._tend_once()
                if trouble:
                    log.warning("the store works again")
                    trouble = False
            except (StoreCorrupt, StoreClosed):
                raise
            except StaleFence:
                self.reopen()
                pause_for = 0.0
            except StoreError as error:
                if not trouble:
                    log.warning("the store refuses, asking again every %g s: %s", TROUBLE_PAUSE, error)
                trouble = True
                pause_for = TROUBLE_PAUSE
            await self._wait(max(0.001, min(pause_for, runtime.lease / 3)))

    async def _tend_once(self) -> float:
        """Do what is due; returns the seconds until something is."""
        runtime, loop = self._runtime, asyncio.get_running_loop()
        asked = self._looking.is_set()
        self._looking.clear()
        if self._reopen:
            await runtime.open()
            await runtime.declare([behaviour.kind for behaviour in runtime.behaviours.values()])
            self._reopen = False
        due, changed = await runtime.store.due()
        if asked or changed or loop.time() >= self._claim_at or (due is not None and due <= runtime.now()):
            await runtime.store.claim()
            self._claim_at = loop.time() + runtime.lease / 3
            runtime.alarm.arm()
            if await runtime.store.stop_requested():
                runtime.stop_asked.set()
        await self._hibernate()
        due, _ = await runtime.store.due()
        times = [self._claim_at - loop.time(), self._hibernate_at - loop.time()]
        if self._crowded():
            times.append(CROWDED_PAUSE)
        if due is not None:
            times.append(due - runtime.now())
        if runtime.store.poll is not None:
            times.append(runtime.store.poll)
        return min(times)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._looking.wait()
        except TimeoutError:
            return

    # -- time-outs of handlers

    def expect(self, turn: OpenTurn, seconds: float | None) -> None:
        """Cancel a handler that runs longer than this."""
        if seconds is None:
            return
        turn.limit = when = self._time() + seconds
        if not turn.waiting:
            turn.expires = when
        if when < self._sweep_when:
            self._sweep_at(when)

    def park(self, turn: OpenTurn) -> None:
        """A turn suspends: its time-out stops, its stay in memory is limited."""
        turn.expires = asyncio.get_running_loop().time() + self._park_for
        self._sweep_at(turn.expires)

    def _sweep_at(self, when: float) -> None:
        if when < self._sweep_when:
            if self._sweep is not None:
                self._sweep.cancel()
            self._sweep_when = when
            self._sweep = asyncio.get_running_loop().call_at(when, self._sweep_turns)

    def _sweep_turns(self) -> None:
        self._sweep, self._sweep_when = None, NEVER
        now = asyncio.get_running_loop().time()
        earliest = NEVER
        for turn in list(self._runtime.open_turns):
            if turn.waiting:
                if turn.expires <= now and turn.only_waits:
                    turn.evict()
                    continue
                if not turn.only_waits and turn.limit <= now:  # it works beside its wait, and for too long
                    turn.time_out()
                    turn.limit = now + self._runtime.lease
            elif turn.cell.behaviour.timeout is None:
                continue
            elif turn.expires <= now:
                turn.time_out()
                turn.expires = now + self._runtime.lease  # again, should it swallow the cancellation
            earliest = min(earliest, max(turn.expires, now + 0.05))
        if earliest < NEVER:
            self._sweep_at(earliest)

    def close(self) -> None:
        """Cancel no more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep, self._sweep_when = None, NEVER

    # -- hibernation

    def _crowded(self) -> bool:
        """Whether others may wait for room in memory."""
        return len(self._runtime.cells) > 0.9 * self._runtime.max_active

    async def _hibernate(self) -> None:
        """Give up the mailboxes that were idle since the last look but one."""
        runtime, loop = self._runtime, asyncio.get_running_loop()
        crowded = self._crowded()
        if loop.time() < self._hibernate_at and not crowded:
            return
        self._hibernate_at = loop.time() + self._idle_after / 2
        leaving: list[Cell] = []
        for i, cell in enumerate(list(runtime.cells.values())):
            if cell.status == IDLE and cell.turn is None and not cell.runnable() and not is_answers(cell.address):
                if cell.touched and not crowded:
                    cell.touched = False
                else:
                    cell.status = LEAVING
                    leaving.append(cell)
            if i % SCAN == SCAN - 1:
                await pause()
        for start in range(0, len(leaving), SCAN):
            await self._release(leaving[start : start + SCAN])

    async def _release(self, cells: list[Cell]) -> None:
        runtime = self._runtime
        released: set[str] = set()
        try:
            await self.say_goodbye(cells)
            leaving = [(cell.address, bool(cell.suspended)) for cell in cells]
            released = set(await runtime.store.release(leaving, runtime.fence))
        finally:
            for cell in cells:
                if runtime.cells.get(cell.address) is not cell:
                    continue
                if cell.address in released:
                    runtime.drop(cell)
                else:
                    cell.status = IDLE
                    runtime.rouse(cell)

    async def say_goodbye(self, cells: Iterable[Cell]) -> None:
        """Call the hooks of agents that leave memory."""
        async with asyncio.TaskGroup() as group:
            for cell in cells:
                if cell.agent is not None and cell.behaviour.hibernate is not None:
                    group.create_task(self._call(cell, cell.behaviour.hibernate))

    async def _call(self, cell: Cell, hibernate: Callable[[Any], Awaitable[None]]) -> None:
        """Call an agent's hook. What it does wrong, or for too long, is logged: the lease has to be renewed."""
        agent, cell.agent = cell.agent, None
        try:
            async with asyncio.timeout(self._runtime.lease / 4):
                await hibernate(agent)
        except Exception:
            log.exception("%s: its hibernate() failed; it leaves memory all the same", cell.address)
