"""A bound for what waits for competing consumers, each of whose messages is a mailbox of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aos.errors import MailboxFull
from aos.stores.records import Kind

POLL = 0.1
"""Seconds after which a full kind is counted again; other processes empty it too."""


class Gauge:
    """Counts what waits for one kind, seldom while there is much room and often while there is little.

    With one publishing process the bound is exact; each further one may go past it by what it was granted before.

    Args:
        kind: Whose messages.
        count: Counts the mailboxes of a kind, up to a limit.
        patience: Seconds to wait for room.
    """

    def __init__(self, kind: Kind, count: Callable[[str, int], Awaitable[int]], patience: float) -> None:
        self._kind = kind
        self._count = count
        self._patience = patience
        self._granted = 0

    async def admit(self) -> None:
        """Wait until there is room for one message more; `MailboxFull` if there is none in time."""
        if self._granted <= 0:
            await self._measure()
        self._granted -= 1

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while (room := self._kind.limit - await self._count(self._kind.name, self._kind.limit)) <= 0:
            if loop.time() >= until:
                raise MailboxFull(self._kind.name, self._kind.limit)
            future = loop.create_future()
            timer = loop.call_later(POLL, future.set_result, None)
            try:
                await future
            finally:
                timer.cancel()
        self._granted = max(self._granted, 0) + room
