"""The bus in memory: publish, request, what becomes of a message, and an end in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any

import msgspec

from aos.clock import now, wall_clock
from aos.entropy import Entropy
from aos.errors import InvalidInput, NoHandler, StoreClosed
from aos.kernel.handlers import check_handler, payload_reader
from aos.message import Message
from aos.messaging.item import Item, Reply
from aos.messaging.letters import DeadLetters
from aos.messaging.life import Life, after_cleanup, check_loop, waits_for_itself
from aos.messaging.mailbox import Asked, Blocked, Closing, Mailbox, Member, Pump, handling, inside, running
from aos.messaging.once import Once
from aos.messaging.records import BusStatistics
from aos.messaging.roster import LocalSubscription, Roster
from aos.messaging.subscription import Subscription
from aos.resilience.retry import RetryPolicy
from aos.stores.records import DeadLetter

log = logging.getLogger("aos.messaging")

GRACE = 5.0
"""Seconds after which a handler that goes on although it was cancelled is named in the log."""


class LocalBus:
    """Mailboxes in this process."""

    def __init__(self, *, dedupe: int, dead_limit: int, entropy: Entropy) -> None:
        self.active = 0
        """Pumps that have something to do now."""
        self._entropy = entropy
        self._life = Life.NEW
        self._open = False
        """Whether everybody may use the bus: one look on the way in."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: Callable[[], float] = now
        self._roster = Roster()
        self._match = self._roster.match
        self._once = Once(dedupe)
        self._letters = DeadLetters(dead_limit)
        self._settling: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._published = self._dead = 0

    # --- the way in

    def accept(self, topic: str, payload: Any, id: str | None) -> int | Coroutine[Any, Any, int]:
        """Put a message into the mailboxes for its topic, or return what waits until it is in."""
        if not self._open:
            self._enter()
        boxes = self._match(topic)
        item = Item(topic, payload, self._clock())
        if id is not None or running.get() is not None:
            self._sign(item, id)
        for box in boxes:
            if len(box.queue) >= box.limit:
                return self._wait_for_room(item, boxes)
        if item.once:
            return self.put(item, boxes)
        self._published += 1
        for box in boxes:  # what `put` does, without the call
            if box.idle:
                self._start(box)
            box.queue.append(item)
        return len(boxes)

    def put(self, item: Item, boxes: Sequence[Mailbox]) -> int:
        """Put a message into mailboxes that have room, unless its id was there before."""
        if item.once and boxes and not self._once.is_first(item.id):
            return 0
        self._published += 1
        if item.reply is not None:
            item.reply.left = len(boxes)
        for box in boxes:
            if box.idle:
                self._start(box)
            box.queue.append(item)
        return len(boxes)

    def _start(self, box: Mailbox) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            check_loop(self._loop)
        member = box.idle.popleft()
        pump = Pump(self, box, member)
        box.pumps.append(pump)
        self.active += 1
        pump.task = loop.create_task(pump.run(), name=box.name, context=member.context.copy())
        pump.task.add_done_callback(pump.ended)

    async def _wait_for_room(self, item: Item, boxes: Sequence[Mailbox]) -> int:
        check_loop(self._loop)
        pump = inside()
        blocked = Blocked(self, item, boxes, pump)
        if item.reply is not None:
            item.reply.abandon = blocked.abandon
        if pump is not None:
            pump.waits.append(blocked)
        try:
            blocked.place()
            reached: int = await blocked.future
            return reached
        finally:
            blocked.withdraw()
            if pump is not None:
                pump.waits.remove(blocked)

    def _sign(self, item: Item, id: object) -> None:
        if id is not None:
            if not isinstance(id, str) or not id:
                raise InvalidInput(f"a message id is text that is not empty, not {id!r}")
            item.id, item.once = id, True
        pump, cause = running.get(), handling.get()
        if pump is not None and cause is not None:
            cause.id = cause.id or self._entropy.new_id()
            item.source, item.cause = pump.box.name, cause.id

    async def request(self, topic: str, payload: Any, timeout: float | None) -> Any:
        """Ask, and wait for the first answer; see `MessageBus.request`."""
        if not self._open:
            self._enter()
        boxes = self._match(topic)
        if not boxes:
            raise NoHandler(f"nobody hears {topic!r}: subscribe a handler before the request")
        loop = asyncio.get_running_loop()
        reply = Reply(topic, loop.create_future())
        item = Item(topic, payload, self._clock(), reply=reply)
        if running.get() is not None:
            self._sign(item, None)
        timer = None
        if timeout is not None:
            item.deadline = item.time + timeout
            timer = loop.call_later(timeout, reply.expire, timeout)
        asker = inside()
        asked = None if asker is None else Asked(reply, item, boxes, asker)
        try:
            await self._send(item, boxes, asked)
            return await reply.future
        except BaseException:
            reply.gone = True
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if asker is not None and asked in asker.waits:
                asker.waits.remove(asked)

    async def _send(self, item: Item, boxes: Sequence[Mailbox], asked: Asked | None) -> None:
        full = any(len(box.queue) >= box.limit for box in boxes)
        if full:
            await self._wait_for_room(item, boxes)
        if asked is not None:
            asked.begin(sent=full)
        if not full:
            self.put(item, boxes)

    # --- what becomes of a message

    def delay(self, pump: Pump, item: Item, attempt: int, error: BaseException) -> float | None:
        """Seconds until the next attempt, None for none."""
        if item.reply is not None and item.reply.gone:
            return None
        delay = pump.member.retry.delay(attempt, error, self._entropy.random)
        if delay is not None:
            if pump.member.closed or self._life is not Life.OPEN:
                delay = 0.0
            log.warning("%s failed at attempt %d, again in %.3g s: %r", pump.box.name, attempt, delay, error)
        return delay

    def bury(self, item: Item, attempt: int, error: BaseException, box: Mailbox) -> None:
        """Give a delivery up: a dead letter, a line in the log, an error for who asked."""
        message = item.letter(self._entropy.new_id, attempt)
        letter = self._letters.add(box.name, message, item, error)
        self._dead += 1
        if item.reply is not None:
            item.reply.fail(box.name, error)
        log.error(
            "%s gave up message %s on %r at attempt %d, dead letter %d: %r",
            *(box.name, message.id, item.topic, attempt, letter.number, error),
            exc_info=error,
        )

    def ended(self, pump: Pump, task: asyncio.Task[None]) -> None:
        """A pump's task is over: its place is free, and what came meanwhile needs another."""
        box, member = pump.box, pump.member
        box.pumps.remove(pump)
        if not (member.closed and box.members):
            box.idle.append(member)
        if not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
                log.critical("the pump of %s broke: %r", box.name, error, exc_info=error)
            if box.queue and box.idle:
                self._start(box)
        self._roster.forget(member)
        self.slower()

    def slower(self) -> None:
        """A pump has nothing to do now."""
        self.active -= 1
        if not self.active and self._settling is not None:
            self._settling.set_result(None)
            self._settling = None

    async def settle(self) -> None:
        """Wait until no pump has anything to do now."""
        check_loop(self._loop)
        if inside(self) is not None:
            raise waits_for_itself("settle")
        while self.active:
            if self._settling is None:
                self._settling = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._settling)

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Messages given up, oldest first."""
        return self._letters.list()[:limit]

    async def redrive(self, numbers: Sequence[int] | None) -> int:
        """Send dead letters back; see `MessageBus.redrive`."""
        if not self._open:
            self._enter()
        if numbers is None:
            numbers = [letter.number for letter in self._letters.list()]
        count = 0
        for number in numbers:
            letter, item = self._letters.get(number)
            box = None if letter is None else self._roster.named.get(letter.address)
            if letter is None or item is None or box is None:
                continue
            self._letters.remove(letter)
            try:
                again = msgspec.structs.replace(item, once=False, reply=None, deadline=0.0)
                count += await self._wait_for_room(again, (box,))
            except BaseException:
                self._letters.put_back(letter, item)
                raise
        return count

    # --- who hears what

    async def subscribe(
        self,
        topic: str,
        handler: Callable[[Any], Any],
        *,
        name: str | None,
        concurrency: int,
        ordered: bool,  # noqa: ARG002 - a mailbox here is always in order
        max_pending: int,
        retry: RetryPolicy,
        timeout: float | None,
    ) -> Subscription:
        """Begin to hear; see `MessageBus.subscribe`."""
        if not self._open:
            self._enter()
        check_loop(self._loop)
        read = self._reader(check_handler(handler))
        box = self._roster.mailbox(topic, name, max_pending)
        member = Member(
            box, handler, read, concurrency=concurrency, retry=retry, timeout=timeout, context=copy_context()
        )
        self._roster.join(member)
        return LocalSubscription(member, self.close)

    def _reader(self, wanted: Any) -> Callable[[Item, int], Any] | None:
        if wanted is Message:
            new_id = self._entropy.new_id
            return lambda item, attempt: item.envelope(new_id, attempt)
        read = payload_reader(wanted)
        return None if read is None else lambda item, _: read(item.payload)

    async def close(self, member: Member) -> None:
        """Leave, and wait until what the member had to do is done."""
        asker, box = inside(), member.box
        self._roster.leave(member)
        if asker is not None and asker.member is member:
            return
        wait = Closing(asyncio.get_running_loop().create_future(), member)
        if asker is not None:
            asker.waits.append(wait)
        try:
            while True:
                if box.closed and box.queue and not box.pumps:
                    self._start(box)
                tasks = [pump.task for pump in box.pumps if pump.member is member]
                if not tasks:
                    return
                await asyncio.wait(tasks)
        finally:
            if asker is not None:
                asker.waits.remove(wait)

    async def forget(self, name: str) -> None:
        """Close all subscriptions of a name."""
        for member in [member for member in self._roster.members if member.box.name == name]:
            await self.close(member)

    # --- beginning and end

    async def initialize(self) -> None:
        """Begin on the running loop."""
        self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._life in (Life.NEW, Life.CLOSED):
            self._life, self._open, self._loop, self._clock = Life.OPEN, True, loop, wall_clock()
        else:
            self._enter()

    def _enter(self) -> None:
        if self._life is Life.NEW:
            self._begin()
            return
        check_loop(self._loop)
        if self._life is Life.CLOSED or (self._life is Life.DRAINING and inside(self) is None):
            raise after_cleanup()

    async def cleanup(self, deadline: float | None) -> None:
        """Handle what is there, then end; see `MessageBus.cleanup`."""
        if self._life in (Life.NEW, Life.CLOSED):
            return
        check_loop(self._loop)
        if inside(self) is not None:
            raise waits_for_itself("cleanup")
        if self._over is not None:
            await asyncio.shield(self._over)
            return
        self._over = asyncio.get_running_loop().create_future()
        self._life, self._open = Life.DRAINING, False
        for pump in self._roster.pumps():
            pump.resume()
        try:
            async with asyncio.timeout(deadline):
                await self.settle()
        except TimeoutError:
            log.warning("%d handlers still ran at the deadline of cleanup: cancelled", len(self._roster.pumps()))
        finally:
            await self._end()

    async def _end(self) -> None:
        self._life, over = Life.CLOSED, self._over
        error = StoreClosed("the message bus was cleaned up before the message was handled")
        for box in self._roster.boxes:
            for blocked in list(box.waiting):
                blocked.abandon(error)
            while box.queue:
                self.bury(box.queue.popleft(), 1, error, box)
        for member in list(self._roster.members):
            self._roster.leave(member)
        try:
            while pumps := self._roster.pumps():
                for pump in pumps:
                    pump.task.cancel(str(error))
                await asyncio.wait([pump.task for pump in pumps], timeout=GRACE)
                for pump in self._roster.pumps():
                    log.error("%s goes on although it was cancelled: let CancelledError through", pump.box.name)
        finally:
            self._over = None
            if over is not None:
                over.set_result(None)

    def statistics(self) -> BusStatistics:
        """What was done so far."""
        roster = self._roster
        return BusStatistics(
            published=self._published,
            duplicates=self._once.duplicates,
            handled=roster.handled,
            retried=roster.retried,
            dead=self._dead,
            pending=sum(len(box.queue) for box in roster.boxes),
            running=len(roster.pumps()),
            blocked=sum(len(box.waiting) for box in roster.boxes),
            subscriptions=sum(not member.closed for member in roster.members),
        )
