"""How a class says what it handles, read once into a table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from aos.codec import payload_decoder
from aos.errors import InvalidAgent, InvalidInput
from aos.kernel.handlers import payload_type
from aos.kernel.schedule import cron as cron_repeat
from aos.kernel.schedule import every as every_repeat
from aos.message import Message
from aos.topic import check_pattern, matches

F = TypeVar("F", bound=Callable[..., Any])

_FOUND_LIMIT = 10_000
_MARK = "__aos_handles__"
_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,199}")
TIMER = "aos:timer:"
"""Begins the names of the timers of `@every` and `@cron`."""


class _Mark(msgspec.Struct, frozen=True):
    patterns: tuple[str, ...] = ()
    repeat: str = ""


def on(*patterns: str) -> Callable[[F], F]:
    """Make a method the handler of what is published on these topics.

    Without a pattern it handles what is sent to the agent directly and without a topic. The method takes the payload,
    validated as its annotation says (a dataclass, pydantic model or msgspec struct; `Message` for the whole message),
    and the `Context`. What it returns answers an ask.
    """
    for pattern in patterns:
        check_pattern(pattern)
    return _marker(_Mark(patterns=patterns))


def every(seconds: float) -> Callable[[F], F]:
    """Make a method of a single agent run every so many seconds; it takes the `Context`."""
    return _marker(_Mark(repeat=every_repeat(seconds)))


def cron(expression: str) -> Callable[[F], F]:
    """Make a method of a single agent run by a cron expression, in UTC; it takes the `Context`."""
    return _marker(_Mark(repeat=cron_repeat(expression)))


def _marker(mark: _Mark) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        name = getattr(function, "__qualname__", repr(function))
        marks = (*getattr(function, _MARK, ()), mark)
        if not inspect.iscoroutinefunction(function):
            raise InvalidAgent(f"{name} must be written with 'async def'")
        setattr(function, _MARK, marks)
        return function

    return decorate


class Handler(msgspec.Struct, frozen=True):
    """One method and what it takes."""

    name: str
    function: Callable[..., Awaitable[Any]]
    patterns: tuple[str, ...] = ()
    repeat: str = ""
    read: Callable[[bytes], Any] | None = None
    """Makes the event of a payload; None if the handler takes the message or nothing."""
    takes_event: bool = False
    takes_context: bool = True


class HandlerTable:
    """The handlers of a class, in the order in which they stand in it."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
        self.handlers = [
            handler
            for name in names
            for mark in getattr(getattr(cls, name, None), _MARK, ())
            for handler in (_read_handler(cls, name, mark),)
        ]
        self.timers = {TIMER + handler.name: handler for handler in self.handlers if handler.repeat}
        self._topical = [handler for handler in self.handlers if handler.patterns]
        direct = [handler for handler in self.handlers if not handler.patterns and not handler.repeat]
        if len(direct) > 1:
            raise InvalidAgent(f"{cls.__name__} has two handlers @on(): {direct[0].name} and {direct[1].name}")
        self._direct = direct[0] if direct else self._topical[0] if len(self._topical) == 1 else None
        self.found: dict[str, Handler] = {}
        """Handlers of topics that were looked for."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """All topics that are heard."""
        return tuple(dict.fromkeys(pattern for handler in self.handlers for pattern in handler.patterns))

    def find(self, message: Message) -> Handler | None:
        """The handler of a message: the first whose pattern has its topic; None if there is none."""
        if message.name and message.name.startswith(TIMER):
            return self.timers.get(message.name)
        topic = message.type
        if not topic:
            return self._direct
        found = next((h for h in self._topical for p in h.patterns if matches(p, topic)), None)
        if found is not None and len(self.found) < _FOUND_LIMIT:
            self.found[topic] = found
        return found


def _read_handler(cls: type, name: str, mark: _Mark) -> Handler:
    function = getattr(cls, name)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    title = f"{cls.__name__}.{name}"
    wanted = 1 if mark.repeat else 2
    if not 1 <= len(parameters) <= wanted or any(
        p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
    ):
        form = "(self, ctx)" if mark.repeat else "(self, event) or (self, event, ctx)"
        raise InvalidAgent(f"{title} must take {form}")
    if mark.repeat:
        return Handler(name, function, repeat=mark.repeat)
    try:
        event_type = payload_type(function, skip=1)
        read = None if event_type is Message else payload_decoder(event_type)
    except InvalidInput as error:
        raise InvalidAgent(f"{title}: {error}") from error
    return Handler(
        name,
        function,
        mark.patterns,
        read=read,
        takes_event=True,
        takes_context=len(parameters) == len(("event", "ctx")),
    )


def check_name(name: str, what: str) -> str:
    """Return a name that can begin an address, or raise `InvalidAgent`."""
    if not _NAME.fullmatch(name):
        raise InvalidAgent(
            f"{what} {name!r} cannot be an agent's name: begin with a letter, go on with letters, digits and '_.:-'"
        )
    return name
