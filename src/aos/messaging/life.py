"""Where a bus is in its life, and what it says to those who come at the wrong time or place."""

from __future__ import annotations

import asyncio
import enum

from aos.errors import InvalidInput, StoreClosed


class Life(enum.Enum):
    """Where a bus is in its life."""

    NEW = enum.auto()
    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


def check_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Raise `InvalidInput` unless the bus began on the running loop, or not yet."""
    if loop is not None and loop is not asyncio.get_running_loop():
        closed = ", which is closed" if loop.is_closed() else ""
        raise InvalidInput(
            f"this message bus belongs to another event loop{closed}: make it, use it and clean it up within one loop"
        )


def after_cleanup() -> StoreClosed:
    """For who uses a bus that was cleaned up."""
    return StoreClosed("the message bus was cleaned up: call initialize() to use it again")


def waits_for_itself(call: str) -> InvalidInput:
    """For a handler that would wait for its own end."""
    return InvalidInput(f"{call}() inside a handler would wait for that handler: call it outside")
