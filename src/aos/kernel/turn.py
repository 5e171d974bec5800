"""A turn while its handler runs: what it records on the way, and how it is suspended and cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

import msgspec

from aos.codec import encode_payload, encode_state, payload_decoder, state_decoder
from aos.errors import (
    AskCycle,
    AskFailed,
    AskTimeout,
    InvalidPayload,
    PayloadTooLarge,
    StepMismatch,
    StepOutcomeUnknown,
    StoreError,
)
from aos.kernel.cell import Item, correlation
from aos.kernel.staged import StagedTurn, in_step, wake_name
from aos.message import WAKE, Message
from aos.stores.records import JournalEntry
from aos.topic import check_pattern, check_topic

UNKNOWN_TYPE: Any = object()
"""Stands for the type that a function's annotation gives."""


class OpenTurn(StagedTurn):
    """One turn. A handler reads and stages through it; nothing that it staged is seen before the commit."""

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
        inside = in_step.set(self)
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await (result if timeout is None else asyncio.wait_for(result, timeout))
            return result
        finally:
            in_step.reset(inside)

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
