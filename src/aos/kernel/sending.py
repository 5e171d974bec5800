"""Sending from outside of a turn, and waiting for answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from aos.codec import encode_payload, payload_decoder
from aos.entropy import Entropy
from aos.errors import AOSError, AskFailed, AskTimeout, MailboxFull, PayloadTooLarge, StoreClosed
from aos.kernel.crew import STREAK, pause
from aos.message import REPLY, Message, answers_address
from aos.stores.port import Store
from aos.topic import check_topic


class Sending:
    """The part of a runtime that accepts messages.

    Args:
        store: Where they go.
        entropy: Ids and chance.
        payload_limit: Bytes that a payload may have.
        room_timeout: Seconds to wait for room in a full mailbox.
    """

    now: Callable[[], float]

    def __init__(self, store: Store, entropy: Entropy, *, payload_limit: int, room_timeout: float) -> None:
        self.store = store
        self.random = entropy.random
        self.new_id = entropy.new_id
        self.payload_limit = payload_limit
        self.room_timeout = room_timeout
        self.fence = 0
        self.failure: BaseException | None = None
        self.room: dict[str, list[asyncio.Future[Any]]] = {}
        """Who waits for room, by mailbox."""
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._streak = 0

    def check(self) -> None:
        """Raise if the runtime has failed."""
        if self.failure is not None:
            raise AOSError(f"the system has failed: {self.failure}") from self.failure

    def end_waits(self) -> None:
        """Nobody will answer any more, and no room will be made."""
        for waiter in (*self._answers.values(), *(waiter for waiters in self.room.values() for waiter in waiters)):
            if not waiter.done():
                waiter.set_exception(StoreClosed("the system stopped before there was an answer"))

    async def send(
        self,
        payload: Any,
        topic: str,
        to: str,
        source: str,
        *,
        delay: float = 0.0,
        id: str = "",
        reply_to: str = "",
        correlation_id: str = "",
    ) -> int:
        """Accept a message; returns how many mailboxes it reached. Waits while one of them is full.

        With an `id`, a message that was accepted before under the same id is not accepted again.
        """
        if self.failure is not None:
            self.check()
        data = encode_payload(payload)
        if len(data) > self.payload_limit:
            raise PayloadTooLarge(len(data), self.payload_limit)
        if to and topic:  # the topic of what has no address is checked when it is routed
            check_topic(topic)
        now = self.now()
        message = Message(
            id or self.new_id(),
            source,
            topic,
            data,
            now,
            to,
            now + delay if delay > 0 else 0.0,
            0.0,
            "",
            1,
            correlation_id,
        )
        if reply_to:
            message = msgspec.structs.replace(message, reply_to=reply_to)
        self._streak += 1
        if self._streak >= STREAK:  # a store that never waits must not let a busy sender starve the handlers
            self._streak = 0
            await pause()
        try:
            return await self.store.append((message,), once=bool(id))
        except MailboxFull as full:
            return await self._accept_later((message,), full, once=bool(id))

    async def accept(self, messages: Sequence[Message], *, once: bool = False) -> int:
        """Accept messages, all or none. Waits, up to `room_timeout`, while a mailbox is full."""
        try:
            return await self.store.append(messages, once=once)
        except MailboxFull as full:
            return await self._accept_later(messages, full, once=once)

    async def _accept_later(self, messages: Sequence[Message], last: MailboxFull, *, once: bool) -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.room_timeout
        while loop.time() < until:
            await self._room_in(last.address)
            try:
                return await self.store.append(messages, once=once)
            except MailboxFull as full:
                last = full
        raise last

    async def _room_in(self, address: str) -> None:
        """Wait until a message left a mailbox of this process, or a little while."""
        waiter = asyncio.get_running_loop().create_future()
        self.room.setdefault(address, []).append(waiter)
        try:
            async with asyncio.timeout(0.1):
                await waiter
        except TimeoutError:
            if waiter in (waiters := self.room.get(address, [])):
                waiters.remove(waiter)

    async def ask(
        self,
        to: str,
        payload: Any,
        *,
        topic: str = "",
        timeout: float | None = None,
        returns: Any = Any,
        source: str = "",
    ) -> Any:
        """Send a request and wait for its answer; raises `AskTimeout`, `AskFailed`."""
        correlation_id = f"0:{self.new_id()}"
        answer = self._answers[correlation_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                reached = await self.send(
                    payload,
                    topic,
                    to,
                    source,
                    reply_to=answers_address(self.fence),
                    correlation_id=correlation_id,
                )
                if not reached:
                    raise AskFailed(f"nobody hears the topic {topic!r}")
                message = await answer
        except TimeoutError:
            raise AskTimeout(f"{to or topic!r} did not answer within {timeout:g} s") from None
        finally:
            del self._answers[correlation_id]
        if message.error:
            raise AskFailed(f"{to or topic!r} failed: {message.error}")
        return payload_decoder(returns)(message.data)

    def answered(self, message: Message) -> None:
        """An answer came; nobody may be waiting for it any more."""
        waiter = self._answers.get(message.correlation_id)
        if message.type == REPLY and waiter is not None and not waiter.done():
            waiter.set_result(message)
