"""Wakes mailboxes at the times of their timers."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

from aos.kernel.cell import Cell

_DUE, _CELL = 0, 2
_COMPACT_FROM = 64


class Alarm:
    """A heap with one entry for each cell, its earliest due time, and one timer of the loop for the earliest of all.

    Args:
        now: Clock in seconds since the epoch.
        ring: Called with each cell that has something due; it sets the cell's next time.
    """

    def __init__(self, now: Callable[[], float], ring: Callable[[Cell], None]) -> None:
        self._now = now
        self._ring = ring
        self._heap: list[list[Any]] = []
        self._void = 0
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._void

    def set(self, due: float, cell: Cell) -> None:
        """Ring for a cell at a time, in seconds since the epoch, unless it has an earlier one."""
        if cell.alarm is not None:
            if cell.alarm[_DUE] <= due:
                return
            self.drop(cell)
        cell.alarm = [due, next(self._order), cell]
        heapq.heappush(self._heap, cell.alarm)
        if self._heap[0] is cell.alarm:
            self.arm()

    def drop(self, cell: Cell) -> None:
        """A cell left memory: keep nothing of it."""
        if cell.alarm is None:
            return
        cell.alarm[_CELL] = None
        cell.alarm = None
        self._void += 1
        if self._void >= _COMPACT_FROM and self._void > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[_CELL] is not None]
            heapq.heapify(self._heap)
            self._void = 0

    def arm(self) -> None:
        """Set the loop's timer anew: after a change, and now and then in case the system's clock was set."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = max(0.0, self._heap[0][_DUE] - self._now())
            self._handle = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        now = self._now()
        while self._heap and self._heap[0][_DUE] <= now:
            cell = heapq.heappop(self._heap)[_CELL]
            if cell is None:
                self._void -= 1
            else:
                cell.alarm = None
                self._ring(cell)
        self.arm()

    def close(self) -> None:
        """Ring no more."""
        self._heap.clear()
        self._void = 0
        self.arm()
