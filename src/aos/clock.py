"""The only place that reads a clock.

A loop that has virtual time offers `wall_time()`; every other loop has the system's clock.
"""

from __future__ import annotations

import asyncio
import time as _time
from collections.abc import Callable
from datetime import UTC, datetime


def wall_clock() -> Callable[[], float]:
    """The clock of the running loop: a callable that returns seconds since the epoch."""
    return getattr(asyncio.get_running_loop(), "wall_time", _time.time)


def now() -> float:
    """Seconds since the epoch, also where no loop runs."""
    try:
        return wall_clock()()
    except RuntimeError:
        return _time.time()


def as_datetime(seconds: float) -> datetime:
    """Seconds since the epoch as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
