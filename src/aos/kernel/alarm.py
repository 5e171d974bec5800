"""Wakes mailboxes at the times of their timers."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from aos.kernel.cell import Cell


class Alarm:
    """A heap of due times with one timer of the loop for the earliest.

    Args:
        now: Clock in seconds since the epoch.
        ring: Called with each cell that has something due.
    """

    def __init__(self, now: Callable[[], float], ring: Callable[[Cell], None]) -> None:
        self._now = now
        self._ring = ring
        self._heap: list[tuple[float, int, Cell]] = []
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, due: float, cell: Cell) -> None:
        """Ring for a cell at a time, in seconds since the epoch."""
        heapq.heappush(self._heap, (due, next(self._order), cell))
        if self._heap[0][2] is cell:
            self.arm()

    def arm(self) -> None:
        """Set the loop's timer anew: after a change, and now and then in case the system's clock was set."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._now())
            self._handle = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            self._ring(heapq.heappop(self._heap)[2])
        self.arm()

    def close(self) -> None:
        """Ring no more."""
        self._heap.clear()
        self.arm()
