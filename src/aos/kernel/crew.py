"""The tasks that run turns: as many as there is work for, up to a limit."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from aos.kernel.cell import Cell

SPARES = 64
STREAK = 32


@types.coroutine
def pause() -> Generator[None]:
    """Let every other task have its step."""
    yield


class Crew:
    """Takes ready cells and runs each in one of its tasks.

    Args:
        run: Runs a cell's turns for a while, in the task that it is given.
        limit: Turns at once, suspended ones not counted.
    """

    def __init__(self, run: Callable[[Cell, asyncio.Task[Any]], Awaitable[None]], *, limit: int) -> None:
        self._run = run
        self._limit = limit
        self._ready: deque[Cell] = deque()
        self._spare: list[asyncio.Future[None]] = []
        self._awake = 0
        self._group: asyncio.TaskGroup | None = None
        self._owner: asyncio.Task[Any] | None = None
        self.closing = False
        """Whether no more turns are to begin."""
        self._quiet: list[asyncio.Future[None]] = []
        self._streak = 0

    @property
    def awake(self) -> int:
        """Tasks that run a turn now."""
        return self._awake

    @property
    def waiting(self) -> int:
        """Cells that wait for a task."""
        return len(self._ready)

    def open(self) -> None:
        """Take cells from now on, for when it starts."""
        self._ready.clear()
        self.closing = False
        self._group = self._owner = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin, in the task that the group ends in; the group owns the tasks."""
        self._group = group
        self._owner = asyncio.current_task()
        for _ in self._ready:
            self._call()

    def put(self, cell: Cell) -> None:
        """A cell is ready."""
        self._ready.append(cell)
        self._call()

    def _call(self) -> None:
        """Get one more task to work, if there may be one."""
        if self.closing or self._awake >= self._limit or self._owner is None or self._group is None:
            return
        if self._owner.cancelling():  # the group is ending, and takes no more tasks
            return
        self._awake += 1
        while self._spare:
            spare = self._spare.pop()
            if not spare.done():
                spare.set_result(None)
                return
        self._group.create_task(self._work())

    def leave(self) -> None:
        """A task's turn is suspended: it no longer counts."""
        self._awake -= 1
        if self._ready:
            self._call()
        self._check_quiet()

    def rejoin(self) -> None:
        """A suspended turn goes on."""
        self._awake += 1

    async def quiet(self) -> None:
        """Wait until no turn runs and no cell is ready."""
        while (self._awake or self._ready) and not self.closing:
            waiter = asyncio.get_running_loop().create_future()
            self._quiet.append(waiter)
            await waiter

    async def close(self, deadline: float) -> bool:
        """Begin no more turns and wait for those that run, for `deadline` seconds; whether all ended."""
        self.closing = True
        for spare in self._spare:
            if not spare.done():
                self._awake += 1
                spare.set_result(None)
        self._spare.clear()
        try:
            async with asyncio.timeout(deadline):
                while self._awake:
                    waiter = asyncio.get_running_loop().create_future()
                    self._quiet.append(waiter)
                    await waiter
        except TimeoutError:
            return False
        return True

    def abandon(self) -> None:
        """The tasks are gone: let nobody wait for them."""
        self.closing = True
        self._awake = 0
        self._check_quiet()

    def _check_quiet(self) -> None:
        if self._awake == 0 and (not self._ready or self.closing):
            for waiter in self._quiet:
                if not waiter.done():
                    waiter.set_result(None)
            self._quiet.clear()

    async def _work(self) -> None:
        ready, run = self._ready, self._run
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: a coroutine of a TaskGroup runs in a task
        counted = True
        try:
            while True:
                while ready and self._awake <= self._limit and not self.closing and not task.cancelling():
                    await run(ready.popleft(), task)
                    self._streak += 1
                    if self._streak >= STREAK:
                        self._streak = 0
                        await pause()
                if self.closing or task.cancelling() or len(self._spare) >= SPARES:
                    return
                spare = asyncio.get_running_loop().create_future()
                self._spare.append(spare)
                counted = False
                self._awake -= 1
                self._check_quiet()
                await spare
                counted = True
        finally:
            if counted:
                self._awake -= 1
                self._check_quiet()
