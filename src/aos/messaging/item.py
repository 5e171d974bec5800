"""A message in memory, and the answer that somebody may wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from aos.codec import encode_payload
from aos.errors import AskFailed, AskTimeout, InvalidPayload
from aos.message import Message


def refuse(future: asyncio.Future[Any], error: Exception) -> None:
    """Fail a future whose owner may be cancelled before it looks; that is no reason for a report of its own."""
    if not future.done():
        future.set_exception(error)
        future.exception()


class Reply:
    """Where the answers to a request come together."""

    __slots__ = ("abandon", "error", "fewer", "future", "gone", "left", "topic")

    def __init__(self, topic: str, future: asyncio.Future[Any]) -> None:
        self.topic = topic
        self.future = future
        self.left = 0
        """Handlers that have not answered yet."""
        self.error: AskFailed | None = None
        self.abandon: Callable[[Exception], None] | None = None
        """Ends the wait for room, if the message is not in its mailboxes yet."""
        self.fewer: Callable[[], None] | None = None
        """To be called when fewer are left that may answer."""
        self.gone = False
        """Whether nobody waits for the answer any more."""

    def check(self) -> None:
        """Raise `AskTimeout` if nobody waits for the answer any more."""
        if self.gone:
            raise AskTimeout("the request was given up before its turn began")

    def expire(self, seconds: float) -> None:
        """The time is over."""
        self.gone = True
        error = AskTimeout(f"no answer to {self.topic!r} came within {seconds:g} s")
        if self.abandon is not None:
            self.abandon(error)
        refuse(self.future, error)

    def answer(self, result: Any) -> None:
        """One handler is done. The first that returned something answers; None counts when all returned it."""
        self.left -= 1
        if self.future.done():
            return
        if result is not None:
            self.future.set_result(result)
        elif self.left == 0:
            if self.error is None:
                self.future.set_result(None)
            else:
                refuse(self.future, self.error)
        elif self.fewer is not None:
            self.fewer()

    def fail(self, who: str, error: BaseException) -> None:
        """One handler gave up."""
        if self.error is None:
            self.error = AskFailed(f"{who!r} failed: {type(error).__name__}: {error}")
            self.error.__cause__ = error
        self.answer(None)


class Item(msgspec.Struct):
    """A message in memory, shared by all mailboxes that it is in. The envelope is made when somebody asks for it."""

    topic: str
    payload: Any
    time: float
    id: str = ""
    source: str = ""
    cause: str = ""
    once: bool = False
    """Whether the id was given, to be accepted once."""
    deadline: float = 0.0
    reply: Reply | None = None

    def envelope(self, new_id: Callable[[], str], attempt: int) -> Message:
        """The message as a `Message`; `InvalidPayload` if its payload is not JSON."""
        return self._with(encode_payload(self.payload), new_id, attempt)

    def letter(self, new_id: Callable[[], str], attempt: int) -> Message:
        """The same for a dead letter: a payload that is not JSON is shown by its `repr`."""
        try:
            return self.envelope(new_id, attempt)
        except InvalidPayload:
            return self._with(encode_payload({"repr": repr(self.payload)}), new_id, attempt)

    def _with(self, data: bytes, new_id: Callable[[], str], attempt: int) -> Message:
        self.id = self.id or new_id()
        return Message(
            id=self.id,
            source=self.source,
            type=self.topic,
            data=data,
            time=self.time,
            attempt=attempt,
            deadline=self.deadline,
            causation_id=self.cause,
            correlation_id="" if self.reply is None else self.id,
        )
