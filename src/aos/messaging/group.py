"""Durable subscriptions of one name within this process, and which of them takes the next message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any

from aos.errors import HandlerTimeout
from aos.kernel import OpenTurn, Runtime
from aos.message import Message
from aos.messaging.records import SubscriptionStatistics
from aos.messaging.subscription import Subscription

turn_of: ContextVar[OpenTurn | None] = ContextVar("aos.messaging.turn_of", default=None)
"""The turn whose handler runs this code, also in tasks that the handler began."""


class Group:
    """Hands turns of one kind of mailbox to members that have a free place.

    A turn for which nobody is free is parked: it takes nothing from the turns that may run at once, and its message
    stays in the store as it was.
    """

    def __init__(self, name: str, runtime: Runtime) -> None:
        self.name = name
        self.runtime = runtime
        self.members: list[DurableSubscription] = []
        self._free: deque[DurableSubscription] = deque()
        """A member is in it as often as it may begin another message now."""
        self._parked: deque[tuple[OpenTurn, asyncio.Future[DurableSubscription]]] = deque()

    def join(self, member: DurableSubscription) -> None:
        """A member takes messages from now on."""
        self.members.append(member)
        for _ in range(member.concurrency):
            self._release(member)

    def leave(self, member: DurableSubscription) -> None:
        """A member takes no more."""
        if member in self.members:
            self.members.remove(member)
            self._free = deque(each for each in self._free if each is not member)

    async def handle(self, _owner: object, turn: OpenTurn) -> Any:
        """Run one turn with the member whose turn it is."""
        member = self._free.popleft() if self._free else await self._park(turn)
        member.running += 1
        before = turn_of.set(turn)
        try:
            result = await member.call(turn.message)
        except Exception:
            member.failed += 1
            raise
        else:
            member.handled += 1
            return result
        finally:
            turn_of.reset(before)
            member.running -= 1
            member.rested()
            self._release(member)

    async def _park(self, turn: OpenTurn) -> DurableSubscription:
        future: asyncio.Future[DurableSubscription] = asyncio.get_running_loop().create_future()
        self._parked.append((turn, future))
        turn.waiting += 1
        self.runtime.park(turn)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(future.result())
            else:
                self._parked.remove((turn, future))
                self._unpark(turn)
            raise

    def _unpark(self, turn: OpenTurn) -> None:
        turn.waiting -= 1
        self.runtime.unpark(turn)

    def _release(self, member: DurableSubscription) -> None:
        if member not in self.members:
            return
        for i, (turn, future) in enumerate(self._parked):
            if not future.done():
                del self._parked[i]
                self._unpark(turn)
                future.set_result(member)
                return
        self._free.append(member)


class DurableSubscription(Subscription):
    """A handler's place at a bus on a store."""

    def __init__(
        self,
        group: Group,
        topic: str,
        handler: Callable[[Any], Any],
        read: Callable[[Message], Any],
        *,
        concurrency: int,
        timeout: float | None,
    ) -> None:
        self.name = group.name
        self.topic = topic
        self.concurrency = concurrency
        self.running = self.handled = self.failed = 0
        self._group = group
        self._handler = handler
        self._read = read
        self._timeout = timeout
        self._rest: list[asyncio.Future[None]] = []

    def call(self, message: Message) -> Awaitable[Any]:
        """Run the handler for a message."""
        work = self._work(message)
        return work if self._timeout is None else self._within(self._timeout, work)

    async def _work(self, message: Message) -> Any:
        result = self._handler(self._read(message))
        return await result if isawaitable(result) else result

    async def _within(self, seconds: float, work: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimeout(self.name, seconds) from error
            raise

    def rested(self) -> None:
        """A handler has ended."""
        if not self.running:
            for future in self._rest:
                if not future.done():
                    future.set_result(None)
            self._rest.clear()

    @property
    def pending(self) -> int:
        """Messages that the store has handed to this process and whose turn has not begun."""
        runtime = self._group.runtime
        cells = [cell for cell in list(runtime.cells.values()) if cell.behaviour.kind.name == self.name]
        waiting = sum(len(cell.mail or ()) + len(cell.failed or ()) + (cell.turn is not None) for cell in cells)
        return waiting - sum(member.running for member in self._group.members)

    def statistics(self) -> SubscriptionStatistics:
        """What it has done so far in this process."""
        return SubscriptionStatistics(
            name=self.name,
            topic=self.topic,
            pending=self.pending,
            running=self.running,
            handled=self.handled,
            failed=self.failed,
        )

    async def close(self) -> None:
        """Take nothing more, and wait for what is being handled. The rest waits in the store for who takes the name."""
        self._group.leave(self)
        turn = turn_of.get()
        if turn is not None and turn.cell.turn is turn and turn.cell.behaviour.kind.name == self.name:
            return
        while self.running:
            future = asyncio.get_running_loop().create_future()
            self._rest.append(future)
            await future
