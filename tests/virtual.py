"""A loop with virtual time for tests: it jumps to the next timer when nothing can run.

It is the stock selector loop with another clock. While a thread works for the loop (an executor's job, or whatever
says `hold`), time stands still and the loop waits for it. Where nothing is ready, scheduled or held, nothing will
ever happen: that is raised as `Deadlock`, and so is a wait that goes on past the horizon.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""The wall clock when a loop is made, in seconds since the epoch."""
HORIZON = 7 * 86_400.0
"""Seconds of virtual time that a test may take; something that ticks for ever would never end otherwise."""


class Deadlock(AssertionError):
    """Nothing can run, nothing is scheduled, nobody works: the test would hang."""


class _Selector(selectors.DefaultSelector):
    """Never waits for time to pass, only for threads."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return super().select(0)
        if self.loop.held:
            return super().select(None)  # whoever is waited for wakes the loop
        if events := super().select(0):
            return events
        self.loop.pass_by(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `time()` begins at 0, `wall_time()` at `EPOCH`."""

    def __init__(self, horizon: float = HORIZON) -> None:
        self.horizon = horizon
        self.held = 0
        self._elapsed = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._elapsed

    def wall_time(self) -> float:
        """Virtual seconds since the epoch."""
        return EPOCH + self._elapsed

    def pass_by(self, seconds: float | None) -> None:
        """Let time pass; None means that nothing is scheduled."""
        if seconds is None:
            waiting = "\n".join(f"  {task!r}" for task in asyncio.all_tasks(self))
            raise Deadlock(f"nothing can run and nothing is scheduled; these wait for ever:\n{waiting}")
        self._elapsed += seconds
        if self._elapsed > self.horizon:
            raise Deadlock(f"still waiting after {self.horizon:g} virtual seconds: what is waited for does not come")

    def hold(self) -> None:
        """Time stands still until `unhold`: a thread works for this loop and will wake it."""
        self.held += 1

    def unhold(self) -> None:
        """The thread is done."""
        self.held -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run in a thread, time standing still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self.hold()
        future.add_done_callback(lambda _: self.unhold())
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """The stock one waits for a thread that is no executor's job."""
        self.hold()
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.unhold()


@contextlib.contextmanager
def held_time() -> Iterator[None]:
    """Time stands still inside, in a loop with virtual time; nothing happens in any other."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    loop.hold()
    try:
        yield
    finally:
        loop.unhold()


def run_virtual(main: Coroutine[Any, Any, T], *, horizon: float = HORIZON) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(horizon)) as runner:
        return runner.run(main)
