"""Mailboxes in memory and the pumps that empty them: the path of a message from `publish` to its handler.

A pump is a task that lives while there is something to do; an idle mailbox has none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextvars import Context, ContextVar
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Protocol

from aos.errors import AskCycle, HandlerTimeout, MailboxFull
from aos.messaging.circle import circle
from aos.messaging.item import Item, Reply, refuse
from aos.resilience.retry import RetryPolicy

BATCH = 100
"""Messages that a pump handles before it lets others run, when no handler waits for anything."""

running: ContextVar[Pump | None] = ContextVar("aos.messaging.running", default=None)
"""The pump in whose handler the code runs, also in tasks that the handler began."""
handling: ContextVar[Item | None] = ContextVar("aos.messaging.handling", default=None)
"""The message that the handler was called with."""


class Pass:
    """Awaiting this lets everything else run that can run now."""

    def __await__(self) -> Generator[None, None, None]:
        yield


PASS = Pass()


class Owner(Protocol):
    """What a pump belongs to: the bus."""

    active: int
    """Pumps that have something to do now."""

    def put(self, item: Item, boxes: Sequence[Mailbox]) -> int:
        """Put a message into mailboxes that have room; returns how many."""

    def delay(self, pump: Pump, item: Item, attempt: int, error: BaseException) -> float | None:
        """Seconds until the next attempt, None for none."""

    def bury(self, item: Item, attempt: int, error: BaseException, box: Mailbox) -> None:
        """Give a delivery up."""

    def slower(self) -> None:
        """A pump has nothing to do now."""

    def ended(self, pump: Pump, task: asyncio.Task[None]) -> None:
        """A pump's task is over."""


class Mailbox:
    """Messages of one subscription, or of several with one name that compete for them."""

    __slots__ = ("closed", "idle", "limit", "members", "name", "pumps", "queue", "topic", "waiting")

    def __init__(self, name: str, topic: str, limit: int) -> None:
        self.name = name
        self.topic = topic
        self.limit = limit
        self.queue: deque[Item] = deque()
        self.waiting: deque[Blocked] = deque()
        self.members: list[Member] = []
        self.idle: deque[Member] = deque()
        """A member is in it as often as it may begin another message now."""
        self.pumps: list[Pump] = []
        self.closed = False

    def admit(self) -> None:
        """There may be room: let waiting publishers in, first come first served. So nobody waits where there is."""
        while self.waiting and (self.closed or len(self.queue) < self.limit):
            self.waiting.popleft().place()

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """One of its pumps, if it cannot start another."""
        return () if self.idle else (self.pumps,)


class Member:
    """One handler at a mailbox, and how it is to be called."""

    __slots__ = (
        *("box", "handler", "read", "concurrency", "retry", "timeout", "context"),
        *("closed", "handled", "retried", "failed"),
    )

    def __init__(
        self,
        box: Mailbox,
        handler: Callable[[Any], Any],
        read: Callable[[Item, int], Any] | None,
        *,
        concurrency: int,
        retry: RetryPolicy,
        timeout: float | None,
        context: Context,
    ) -> None:
        self.box = box
        self.handler = handler
        self.read = read
        self.concurrency = concurrency
        self.retry = retry
        self.timeout = timeout
        self.context = context
        self.closed = False
        self.handled = self.retried = self.failed = 0


class Pump:
    """A task that hands the messages of a mailbox to one member, until there are none."""

    __slots__ = ("box", "bus", "item", "member", "pause", "task", "waits")

    task: asyncio.Task[None]

    def __init__(self, bus: Owner, box: Mailbox, member: Member) -> None:
        self.bus = bus
        self.box = box
        self.member = member
        self.item: Item | None = None
        self.waits: list[Wait] = []
        self.pause: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """That of its mailbox."""
        return self.box.name

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """All that its handler waits for."""
        return [group for wait in self.waits if not wait.future.done() for group in wait.needs()]

    async def run(self) -> None:  # noqa: C901 - the hot path, to be read in one piece
        """Handle messages in order. Where others compete for them, each gets one in turn."""
        box, member, queue = self.box, self.member, self.box.queue
        handler, read, timeout = member.handler, member.read, member.timeout
        running.set(self)
        while not (member.closed and box.members):
            if not queue:
                await PASS  # who was answered may have more to say, and a new task costs more than a pass
                if not queue:
                    return
            for _ in range(BATCH if len(box.members) == member.concurrency == 1 else 1):
                self.item = item = queue.popleft()
                handling.set(item)
                if box.waiting:
                    box.admit()
                try:
                    if item.reply is not None:
                        item.reply.check()
                    result = handler(item.payload if read is None else read(item, 1))
                    if result is not None and (type(result) is CoroutineType or isawaitable(result)):
                        result = await result if timeout is None else await self._within(timeout, result)
                except BaseException as error:  # noqa: BLE001 - judged there
                    await self._failed(item, error)
                else:
                    member.handled += 1
                    if item.reply is not None:
                        self.item = None
                        item.reply.answer(result)
                if not queue:
                    self.item = None
                    break
            else:
                self.item = None
                await PASS

    async def _failed(self, item: Item, error: BaseException) -> None:
        """Try again as the policy says, with the line held so that nothing overtakes; then give the message up."""
        member, attempt = self.member, 1
        while True:
            member.failed += 1
            ends = self.task.cancelling() > 0 or isinstance(error, KeyboardInterrupt | SystemExit)
            delay = None if ends else self.bus.delay(self, item, attempt, error)
            if delay is None:
                self._give_up(item, attempt, error)
                if ends:
                    raise error
                return
            try:
                await self._rest(delay)
            except asyncio.CancelledError:
                self._give_up(item, attempt, error)
                raise
            attempt += 1
            member.retried += 1
            try:
                result = member.handler(item.payload if member.read is None else member.read(item, attempt))
                if result is not None and isawaitable(result):
                    result = await result if member.timeout is None else await self._within(member.timeout, result)
            except BaseException as again:  # noqa: BLE001 - judged in the next round
                error = again
            else:
                member.handled += 1
                if item.reply is not None:
                    self.item = None
                    item.reply.answer(result)
                return

    def _give_up(self, item: Item, attempt: int, error: BaseException) -> None:
        self.item = None
        self.bus.bury(item, attempt, error, self.box)

    async def _within(self, seconds: float, work: Any) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimeout(self.box.name, seconds) from error
            raise

    async def _rest(self, delay: float) -> None:
        """Let time pass before the next attempt; a bus or subscription that closes cuts it short."""
        if delay <= 0:
            await PASS
            return
        loop = asyncio.get_running_loop()
        self.pause = loop.create_future()
        timer = loop.call_later(delay, self.resume)
        self.bus.slower()
        try:
            await self.pause
        finally:
            timer.cancel()
            self.resume()

    def resume(self) -> None:
        """End the rest, if there is one."""
        if self.pause is not None:
            self.bus.active += 1
            if not self.pause.done():
                self.pause.set_result(None)
            self.pause = None

    def ended(self, task: asyncio.Task[None]) -> None:
        """The task is over."""
        self.item = None
        self.bus.ended(self, task)


class Wait:
    """What a handler waits for, until the future is done."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """One of each group must move on first."""
        raise NotImplementedError


class Asked(Wait):
    """An answer to a request, from any of the mailboxes that it was sent to."""

    __slots__ = ("boxes", "item", "pump", "reply", "sent")

    def __init__(self, reply: Reply, item: Item, boxes: Sequence[Mailbox], pump: Pump) -> None:
        super().__init__(reply.future)
        self.reply = reply
        self.item = item
        self.boxes = boxes
        self.pump = pump
        self.sent = False

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """Whoever handles the message; where nobody has begun, anybody who may."""
        if not self.sent:
            return (self.boxes,)
        pumps = [pump for box in self.boxes for pump in box.pumps if pump.item is self.item]
        return ([*pumps, *(box for box in self.boxes if any(item is self.item for item in box.queue))],)

    def begin(self, *, sent: bool) -> None:
        """Wait from now on; raise `AskCycle` if that would be for ever. `sent` is whether the message is out yet."""
        self.sent = sent
        if chain := circle(self.pump, self.needs()[0]):
            raise AskCycle(chain)
        self.pump.waits.append(self)
        self.reply.fewer = self.check
        self.sent = True

    def check(self) -> None:
        """Fail the request if those that may still answer wait for its asker."""
        if chain := circle(self.pump, self.needs()[0]):
            refuse(self.future, AskCycle(chain))


class Closing(Wait):
    """The end of what a member still has to do."""

    __slots__ = ("member",)

    def __init__(self, future: asyncio.Future[Any], member: Member) -> None:
        super().__init__(future)
        self.member = member

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """Each of its pumps."""
        return [(pump,) for pump in self.member.box.pumps if pump.member is self.member]


class Blocked(Wait):
    """A publisher that waits for room. Its message gets into all its mailboxes at once or into none."""

    __slots__ = ("_bus", "_item", "_pump", "_targets", "box")

    def __init__(self, bus: Owner, item: Item, targets: Sequence[Mailbox], pump: Pump | None) -> None:
        super().__init__(asyncio.get_running_loop().create_future())
        self.box: Mailbox | None = None
        """The first that is full: the publisher stands in line there."""
        self._bus = bus
        self._item = item
        self._targets = targets
        self._pump = pump

    def place(self) -> None:
        """Put the message into its mailboxes, or wait in line at the first that is full."""
        self.box = None
        if self.future.done():  # cancelled, and the publisher has not run since
            return
        self._targets = [box for box in self._targets if not box.closed]
        for box in self._targets:
            if len(box.queue) >= box.limit:
                if self._pump is not None and circle(self._pump, [box]):
                    refuse(self.future, MailboxFull(box.name, box.limit))
                else:
                    self.box = box
                    box.waiting.append(self)
                return
        self.future.set_result(self._bus.put(self._item, self._targets))

    def withdraw(self) -> None:
        """Leave the line; if the message is in its mailboxes already, it stays there."""
        if self.box is not None:
            self.box.waiting.remove(self)
            self.box = None

    def needs(self) -> Sequence[Sequence[Mailbox | Pump]]:
        """The mailbox that is full."""
        return () if self.box is None else ((self.box,),)

    def abandon(self, error: Exception) -> None:
        """The same, with an error for the publisher."""
        self.withdraw()
        refuse(self.future, error)


def inside(bus: object = None) -> Pump | None:
    """The pump (of this bus) whose handler runs this code and cannot go on before it is done."""
    pump = running.get()
    if pump is None or pump.item is None or pump.item is not handling.get():
        return None
    return pump if bus is None or bus is pump.bus else None
