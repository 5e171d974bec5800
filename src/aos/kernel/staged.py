"""A turn as a handler reads it, and what it stages for the commit."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from datetime import datetime
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from aos.clock import as_datetime
from aos.codec import encode_payload, encode_state, state_decoder
from aos.entropy import Entropy
from aos.errors import (
    InvalidAgent,
    InvalidInput,
    PayloadTooLarge,
    StateTooLarge,
    StepMismatch,
    StoreError,
)
from aos.kernel.cell import Cell, correlation
from aos.kernel.schedule import next_time
from aos.message import REPLY, Message
from aos.stores.records import JournalEntry
from aos.topic import check_topic

if TYPE_CHECKING:
    from aos.kernel.runtime import Runtime

_UNREAD: Any = object()
NO_JOURNAL: dict[str, JournalEntry] = {}
OWN_NAMES = "aos:"


in_step: ContextVar[StagedTurn | None] = ContextVar("aos_in_step", default=None)
"""The turn whose step's function runs."""


class StagedTurn:
    """One turn. A handler reads and stages through it; nothing that it staged is seen before the commit."""

    # Most turns need few of these: the rest cost nothing until they are set.
    forgotten: list[str] | None = None
    limit = inf
    """When the time-out of its handler ends, whatever else it waits for."""
    overdue = False
    evicted = False
    has_journal = False
    """Whether anything was recorded for this turn."""
    waiting = 0
    waiters: list[asyncio.Future[None]] | None = None
    _journal = NO_JOURNAL
    refused: StoreError | None = None
    """What the store refused to record."""
    _begun = 0.0
    _used: dict[str, int] | None = None
    _names: dict[str, int] | None = None
    _count = 0
    _open = 0
    _overlapped = False
    _random: random.Random | None = None

    def __init__(self, runtime: Runtime, cell: Cell, seq: int, message: Message, at: float) -> None:
        # What nearly every turn sets is here: an attribute that first comes later makes the object a dict.
        self._runtime = runtime
        self.cell = cell
        self.seq = seq
        self.message = message
        self.at = self.moment = at
        self.task: asyncio.Task[Any] | None = None
        self.expires = 0.0
        self.outgoing: list[Message] | None = None
        self._state: Any = _UNREAD
        if cell.journal is not None and (journal := cell.journal.get(seq)):
            self._journal = journal
            self.has_journal = True
            self.moment = self._begun = min(entry.begun for entry in journal.values())

    # -- what a handler reads

    @property
    def address(self) -> str:
        """Address of the agent."""
        return self.cell.address

    @property
    def title(self) -> str:
        """What this turn is, for people."""
        return f"{self.address} on {self.message.type or 'a direct message'}"

    @property
    def attempt(self) -> int:
        """Which attempt at this message this is; 1 is the first."""
        return self.message.attempt

    @property
    def now(self) -> datetime:
        """The time, in UTC, as of the turn's latest recorded operation: the same when the handler runs again."""
        return as_datetime(self.moment)

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same when the handler runs again for this message."""
        if self._random is None:
            self._random = Entropy(f"{self.message.id} {self.address}".encode()).random
        return self._random

    def new_id(self) -> str:
        """A new id that is the same when the handler runs again for this message."""
        return f"{self.random.getrandbits(128):032x}"

    @property
    def state(self) -> Any:
        """The agent's state: change it in place, or assign a new one. It is committed with the turn."""
        if self._state is _UNREAD:
            self._state = self._read_state()
        return self._state

    @state.setter
    def state(self, value: Any) -> None:
        self._state = value

    def _read_state(self) -> Any:
        cell, behaviour = self.cell, self.cell.behaviour
        if cell.state is None:
            return behaviour.new_state()
        if cell.schema == behaviour.schema:
            return state_decoder(behaviour.state_type)(cell.state)
        if cell.schema > behaviour.schema:
            raise InvalidAgent(
                f"the state of {cell.address!r} has version {cell.schema}, this code knows up to {behaviour.schema}"
            )
        if behaviour.migrate is None:
            raise InvalidAgent(
                f"the state of {cell.address!r} has version {cell.schema}: "
                f"give its agent a `migrate` to version {behaviour.schema}"
            )
        moved = behaviour.migrate(state_decoder(dict)(cell.state), cell.schema)
        return state_decoder(behaviour.state_type)(encode_state(moved))

    def state_bytes(self) -> bytes | None:
        """The state to commit; None if it is as before. Raises `StateTooLarge`, `InvalidPayload`."""
        if self._state is _UNREAD:
            return None
        data, behaviour = encode_state(self._state), self.cell.behaviour
        if data == self.cell.state and self.cell.schema == behaviour.schema:
            return None
        if len(data) > behaviour.state_limit:
            raise StateTooLarge(self.address, len(data), behaviour.state_limit)
        return data

    # -- what a handler stages

    def stage(
        self,
        payload: Any,
        *,
        topic: str = "",
        to: str = "",
        delay: float = 0.0,
        name: str = "",
        repeat: str = "",
        id: str = "",
    ) -> None:
        """Send a message with the commit."""
        if self.cell.turn is not self or in_step.get() is self:
            self._check_open()
        if topic:
            check_topic(topic)
        data = encode_payload(payload)
        if len(data) > self._runtime.payload_limit:
            raise PayloadTooLarge(len(data), self._runtime.payload_limit)
        message = self.message
        sent = Message(
            id or self._runtime.new_id(),
            self.cell.address,
            topic,
            data,
            self.moment,
            to,
            self.moment + delay if delay > 0 else 0.0,
            0.0,
            name,
            1,
            message.correlation_id if message.type != REPLY else "",
            message.id,
            message.traceparent,
            repeat=repeat,
        )
        if self.outgoing is None:
            self.outgoing = []
        self.outgoing.append(sent)

    def stage_timer(self, name: str, payload: Any, *, topic: str, at: float, repeat: str = "") -> None:
        """Send a named message to this agent at a time; one of the same name is replaced."""
        if not name or name.startswith(OWN_NAMES):
            raise InvalidInput(f"{name!r} cannot name a timer: give it a name that does not begin with {OWN_NAMES!r}")
        if not isfinite(at):
            raise InvalidInput(f"the timer {name!r} cannot come at {at!r}")
        self.outgoing = [m for m in self.outgoing or () if m.name != name]
        self.forgotten = [other for other in self.forgotten or () if other != name]
        self.stage(payload, topic=topic, to=self.address, delay=at - self.moment, name=name, repeat=repeat)

    def unstage_timer(self, name: str) -> None:
        """Take a timer away with the commit."""
        self.outgoing = [m for m in self.outgoing or () if m.name != name]
        self.forgotten = [*(self.forgotten or ()), name]

    def _check_open(self) -> None:
        """Refuse what comes after the end of the turn, from a task that its handler left behind."""
        if self.evicted:
            raise asyncio.CancelledError
        if in_step.get() is self:
            raise InvalidAgent(f"a step of {self.address!r} uses its context: a step is an effect outside of the agent")
        if self.cell.turn is not self:
            raise InvalidAgent(f"a turn of {self.address!r} has ended: await in the handler what it began")

    def finish(self, result: Any) -> tuple[Message, ...]:
        """The messages of a turn that ended well: what was staged, the answer, the timer's next time."""
        message = self.message
        if self._journal:
            self._end_journal()
        if self._open:
            raise InvalidAgent(f"a handler of {self.address!r} returned while {self._open} of its operations still ran")
        if message.reply_to:
            data = encode_payload(result)
            if len(data) > self._runtime.payload_limit:
                raise PayloadTooLarge(len(data), self._runtime.payload_limit)
            answer = answer_message(message, self._runtime.new_id(), self.address, data, self.at)
            self.outgoing = [*(self.outgoing or ()), answer]
        if message.repeat and message.name not in (self.forgotten or ()):
            self._repeat()
        return tuple(self.outgoing) if self.outgoing else ()

    def _end_journal(self) -> None:
        """Look that every recorded operation was come to again; take the timers of its suspensions away."""
        unused = [name for name, entry in self._journal.items() if entry.done and name not in (self._used or ())]
        if unused:
            raise StepMismatch(
                f"{self.address!r} recorded the step {unused[0].partition('#')[0]!r} and did not come to it again: its "
                "handler's code changed while a turn was under way; redrive the message to begin it anew"
            )
        timers = [wake_name(self.seq, name) for name, entry in self._journal.items() if entry.kind != "step"]
        if timers:
            self.forgotten = [*(self.forgotten or ()), *timers]

    def abandon(self, error: str) -> tuple[Message, ...]:
        """The messages of a turn that is given up: the answer that says so, the timer's next time."""
        self.outgoing = None
        if self.message.reply_to:
            answer = answer_message(self.message, self._runtime.new_id(), self.address, b"null", self.at, error=error)
            self.outgoing = [answer]
        if self.message.repeat:
            self._repeat()
        return tuple(self.outgoing or ())

    def _repeat(self) -> None:
        """Set a repeating timer's next time; times that were slept through are not made up for."""
        message = self.message
        if any(m.name == message.name for m in self.outgoing or ()):
            return
        at = next_time(message.repeat, after=max(message.not_before, self.at), since=message.time)
        again = msgspec.structs.replace(
            message, id=self._runtime.new_id(), not_before=at, attempt=1, causation_id=message.id
        )
        self.outgoing = [*(self.outgoing or ()), again]


def answer_message(request: Message, new_id: str, source: str, data: bytes, now: float, *, error: str = "") -> Message:
    """The answer to a request."""
    return Message(
        new_id,
        source,
        REPLY,
        data,
        now,
        request.reply_to,
        name=reply_name(request.correlation_id),
        correlation_id=request.correlation_id,
        causation_id=request.id,
        traceparent=request.traceparent,
        error=error,
    )


def wake_name(seq: int, name: str) -> str:
    """Name of the timer that ends a suspension."""
    return f"{OWN_NAMES}wake:{correlation(seq, name)}"


def reply_name(correlation_id: str) -> str:
    """Name of an answer in its mailbox: the first answer to a request replaces none, a second replaces the first."""
    return f"{OWN_NAMES}reply:{correlation_id}"
