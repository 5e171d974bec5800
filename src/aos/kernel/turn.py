"""A turn while its handler runs: what it reads, what it stages, and what it records on the way."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import random
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from aos.clock import as_datetime
from aos.codec import encode_payload, encode_state, payload_decoder, state_decoder
from aos.entropy import Entropy
from aos.errors import (
    AskCycle,
    AskFailed,
    AskTimeout,
    InvalidAgent,
    InvalidInput,
    InvalidPayload,
    PayloadTooLarge,
    StateTooLarge,
    StepMismatch,
    StepOutcomeUnknown,
    StoreError,
)
from aos.kernel.cell import Cell, Item, correlation
from aos.kernel.schedule import next_time
from aos.message import REPLY, WAKE, Message
from aos.stores.records import JournalEntry
from aos.topic import check_pattern, check_topic

if TYPE_CHECKING:
    from aos.kernel.runtime import Runtime

_UNREAD: Any = object()
UNKNOWN_TYPE: Any = object()
"""Stands for the type that a function's annotation gives."""
_NO_JOURNAL: dict[str, JournalEntry] = {}
OWN_NAMES = "aos:"
_in_step: ContextVar[OpenTurn | None] = ContextVar("aos_in_step", default=None)
"""The turn whose step's function runs."""


class OpenTurn:
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
    _journal = _NO_JOURNAL
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
        if self.cell.turn is not self or _in_step.get() is self:
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

    # -- what a handler records

    async def record_step(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        at_most_once: bool = False,
        timeout: float | None = None,
        returns: Any = UNKNOWN_TYPE,
    ) -> Any:
        """Run an outside effect and record its result, or give the recorded one."""
        if returns is UNKNOWN_TYPE:
            returns = _returned_type(function)
        entry = self._begin("step", name, _fingerprint(args, kwargs))
        decode = state_decoder(returns)
        if entry.done:
            self.moment = max(self.moment, entry.at)
            return decode(entry.result)
        key = f"{self.message.id}:{self.address}:{entry.name}"
        if entry.name in self._journal:
            raise StepOutcomeUnknown(name, key)
        self._open += 1
        try:
            if at_most_once:
                await self._write(entry)
            if _takes_key(function):
                kwargs = {**kwargs, "idempotency_key": key}
            result = await self._do(function, args, kwargs, timeout)
            data = encode_state(result)
            value = decode(data)
            await self._write(msgspec.structs.replace(entry, done=True, result=data, at=self._runtime.now()))
        finally:
            self._open -= 1
        return value

    async def _do(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Any:
        inside = _in_step.set(self)
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await (result if timeout is None else asyncio.wait_for(result, timeout))
            return result
        finally:
            _in_step.reset(inside)

    async def ask_for(
        self, to: str, payload: Any, *, topic: str = "", timeout: float | None = None, returns: Any = Any
    ) -> Any:
        """Send a request and suspend until the answer is there."""
        chain = (*self.message.chain, self.address)
        if to in chain:
            raise AskCycle((*chain[chain.index(to) :], to))
        if topic:
            check_topic(topic)
        data = encode_payload(payload)
        if len(data) > self._runtime.payload_limit:
            raise PayloadTooLarge(len(data), self._runtime.payload_limit)
        entry = self._begin("ask", "ask", _digest(to.encode() + b"\0" + data), detail=f"an answer of {to}")
        request = Message(
            self._runtime.new_id(),
            self.address,
            topic,
            data,
            self.moment,
            to,
            correlation_id=correlation(self.seq, entry.name),
            causation_id=self.message.id,
            traceparent=self.message.traceparent,
            reply_to=self.address,
            chain=chain,
        )
        answer = await self._suspend(entry, [request], timeout)
        if answer is None:
            raise AskTimeout(f"{to!r} did not answer within {timeout:g} s" if timeout is not None else None)
        if answer.error:
            raise AskFailed(f"{to!r} failed: {answer.error}")
        return payload_decoder(returns)(answer.data)

    async def sleep(self, seconds: float) -> None:
        """Suspend for a time that may be days."""
        entry = self._begin("sleep", "sleep", b"", detail=f"the end of a sleep of {seconds:g} s")
        await self._suspend(entry, [], max(0.0, seconds))

    async def wait_for_message(self, pattern: str, *, timeout: float | None = None) -> Message:
        """Suspend until a message of a topic reaches this agent; it is used up by this."""
        check_pattern(pattern)
        entry = self._begin("wait", "wait", _digest(pattern.encode()), pattern=pattern, detail=f"topic {pattern}")
        event = await self._suspend(entry, [], timeout)
        if event is None:
            raise AskTimeout(f"nothing came on {pattern!r} within {timeout:g} s" if timeout is not None else None)
        return event

    # -- the journal

    def _begin(self, kind: Any, name: str, fingerprint: bytes, *, pattern: str = "", detail: str = "") -> JournalEntry:
        """The recorded entry of this operation, or a new one."""
        self._check_open()
        if self._used is None or self._names is None:
            self._used, self._names = {}, {}
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        key, index = f"{name}#{count}", self._count
        self._count += 1
        self._used[key] = index
        # Once operations overlap, the order in which later ones begin is a matter of chance too.
        self._overlapped = self._overlapped or self._open > 0
        found = self._journal.get(key)
        if found is None:
            return JournalEntry(
                key,
                kind,
                index,
                self._overlapped,
                fingerprint,
                at=self._runtime.now(),
                begun=self._begun or self.at,
                pattern=pattern,
                detail=detail,
            )
        if found.kind != kind or found.fingerprint != fingerprint or (found.index != index and not found.overlapped):
            raise StepMismatch(
                f"{self.address!r} recorded {found.kind} {name!r} as operation {found.index} of its turn, and now "
                f"comes to a {kind} {name!r} as operation {index} or with other arguments: its handler's code changed "
                "while a turn was under way; redrive the message to begin it anew"
            )
        return found

    async def _write(
        self, entry: JournalEntry, *, outgoing: list[Message] | None = None, used: Item | None = None
    ) -> None:
        self._check_open()
        if self._overlapped and not entry.overlapped:
            entry = msgspec.structs.replace(entry, overlapped=True)
        forget = [wake_name(self.seq, entry.name)] if entry.done and entry.kind in ("ask", "wait") else []
        self.has_journal = True
        try:
            cancelled = await self._runtime.record(self, entry, outgoing or [], used[0] if used else 0, forget)
        except StoreError as refused:
            self.refused = refused
            if used is not None:
                self.cell.give_back(used)
            raise
        cell = self.cell
        if cell.journal is None:
            cell.journal = {}
        self._journal = cell.journal.setdefault(self.seq, {})
        self._journal[entry.name] = entry
        self._begun = entry.begun
        if entry.done:
            self.moment = max(self.moment, entry.at)
        for name in forget:
            cell.forget(name)
        if cancelled is not None:
            raise cancelled

    def _check_open(self) -> None:
        """Refuse what comes after the end of the turn, from a task that its handler left behind."""
        if self.evicted:
            raise asyncio.CancelledError
        if _in_step.get() is self:
            raise InvalidAgent(f"a step of {self.address!r} uses its context: a step is an effect outside of the agent")
        if self.cell.turn is not self:
            raise InvalidAgent(f"a turn of {self.address!r} has ended: await in the handler what it began")

    async def _suspend(self, entry: JournalEntry, outgoing: list[Message], timeout: float | None) -> Message | None:
        """Wait for what ends `entry`; None if its time is up."""
        if entry.done:
            self.moment = max(self.moment, entry.at)
            return msgspec.msgpack.decode(entry.result, type=Message) if entry.result else None
        self._open += 1
        try:
            if entry.name not in self._journal:
                if timeout is not None:
                    outgoing.append(self._wake(entry, timeout))
                await self._write(entry, outgoing=outgoing)
            item = self.cell.answer_to(self.seq, entry)
            if item is None:
                item = await self._wait(entry)
            message = None if item[1].type == WAKE else item[1]
            result = b"" if message is None else msgspec.msgpack.encode(message)
            done = msgspec.structs.replace(entry, done=True, result=result, at=self._runtime.now())
            await self._write(done, used=item)
        finally:
            self._open -= 1
        return message

    async def _wait(self, entry: JournalEntry) -> Item:
        self.waiting += 1
        self.waiters = self.waiters if self.waiters is not None else []
        self._runtime.park(self)
        try:
            while (item := self.cell.answer_to(self.seq, entry)) is None:
                if entry.pattern and self.cell.overflow and await self._runtime.load(self.cell):
                    continue
                waiter = asyncio.get_running_loop().create_future()
                self.waiters.append(waiter)
                try:
                    await waiter
                finally:
                    self.waiters.remove(waiter)
        finally:
            self.waiting -= 1
            self._runtime.unpark(self)
        return item

    @property
    def signalled(self) -> bool:
        """Whether something that a wait may be for has arrived, and the wait has not seen it yet."""
        return any(waiter.done() for waiter in self.waiters or ())

    def signal(self) -> None:
        """Something arrived that a wait may be for."""
        for waiter in self.waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def evict(self) -> None:
        """Leave memory: what was recorded is kept, and the handler runs again from the top."""
        if not self.evicted:
            self.evicted = True
            self._cancel()

    def time_out(self) -> None:
        """The handler ran for too long. Called again if it swallows the cancellation."""
        self.overdue = True
        self._cancel()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    @property
    def only_waits(self) -> bool:
        """Whether every operation under way is a suspension, so that the turn can leave memory."""
        return 0 < self._open == self.waiting

    def _wake(self, entry: JournalEntry, seconds: float) -> Message:
        now = self._runtime.now()
        return Message(
            self._runtime.new_id(),
            self.address,
            WAKE,
            b"null",
            now,
            self.address,
            now + seconds,
            name=wake_name(self.seq, entry.name),
            correlation_id=correlation(self.seq, entry.name),
        )


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


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _fingerprint(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if not args and not kwargs:
        return b""
    try:
        return _digest(encode_state((args, kwargs)))
    except InvalidPayload:
        return b""  # arguments that are no data, such as a client object, are not compared


def _returned_type(function: Callable[..., Any]) -> Any:
    function = getattr(function, "__func__", function)
    if not getattr(function, "__annotations__", None):
        return Any
    # A closure is made anew in each turn, and is not kept alive by a cache.
    return _read_returned_type(function) if getattr(function, "__closure__", True) else _known_returned_type(function)


def _read_returned_type(function: Callable[..., Any]) -> Any:
    try:
        found = get_type_hints(function).get("return", Any)
        state_decoder(found)
    except (TypeError, NameError, AttributeError, InvalidPayload):
        return Any
    return found


_known_returned_type = lru_cache(maxsize=1024)(_read_returned_type)


def _takes_key(function: Callable[..., Any]) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and "idempotency_key" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
