"""The `Context` that a handler receives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aos.agents.agent import Agent
from aos.errors import InvalidInput
from aos.kernel.schedule import cron as cron_repeat
from aos.kernel.schedule import every as every_repeat
from aos.kernel.schedule import next_time
from aos.kernel.turn import UNKNOWN_TYPE, OpenTurn
from aos.message import key_of

To = str | type[Agent]


def address_of(to: To, key: str | int | None = None) -> str:
    """The address of an agent: of a class, or of a name, with the key that picks one of many."""
    kind = to if isinstance(to, str) else (to.name or to.__name__)
    return kind if key is None else f"{kind}/{key}"


class Context(OpenTurn):
    """What a handler works with during one turn.

    Messages, timers and changes of `state` are staged and committed together with the acknowledgement of the
    message; a handler that raises stages nothing. `step`, `ask`, `sleep` and `wait_for` are recorded: when the
    handler has to run again from the top, they give what they gave before.

    Attributes (of `OpenTurn`): `address`, `message`, `attempt`, `state`, `now`, `random`, `new_id()`.
    """

    @property
    def key(self) -> str:
        """The key that picked this agent; empty for a single agent."""
        return key_of(self.address)

    async def publish(self, topic: str, payload: Any, *, delay: float = 0.0) -> None:
        """Send with the commit to everyone who hears a topic, `delay` seconds after `ctx.now`."""
        self.stage(payload, topic=topic, delay=delay)

    async def send(
        self, to: To, payload: Any, *, key: str | int | None = None, topic: str = "", delay: float = 0.0
    ) -> None:
        """Send to one agent. Without a topic its `@on()` handler takes it."""
        self.stage(payload, to=address_of(to, key), topic=topic, delay=delay)

    async def ask(
        self,
        to: To,
        payload: Any,
        *,
        key: str | int | None = None,
        topic: str = "",
        timeout: float | None = None,
        returns: Any = Any,
    ) -> Any:
        """Ask an agent and suspend until its answer is there, for days if need be.

        Args:
            to: The agent.
            payload: The question.
            key: Picks one of many.
            topic: Picks the handler.
            timeout: Seconds to wait; None is for ever.
            returns: Type to validate the answer as.

        Raises:
            AskTimeout: No answer in time.
            AskFailed: The asked agent gave up; the text says why.
            AskCycle: The asked agent waits for this one.
        """
        return await self.ask_for(address_of(to, key), payload, topic=topic, timeout=timeout, returns=returns)

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        at_most_once: bool = False,
        timeout: float | None = None,
        returns: Any = UNKNOWN_TYPE,
        **kwargs: Any,
    ) -> Any:
        """Run an outside effect and record its result, so that it is not run again when the handler is.

        An error is not recorded: it fails the turn, and the next attempt runs the function again. A parameter of the
        function that is called `idempotency_key` gets a text that is the same in every attempt.

        Args:
            name: Names the step within the handler.
            function: Called with `args` and `kwargs`, awaited if it is async.
            at_most_once: Record the intent first, and never run it a second time.
            timeout: Seconds after which it is cancelled.
            returns: Type of the result; from the function's annotation if it has one.

        Raises:
            StepOutcomeUnknown: With `at_most_once`: it was begun before and its result was never recorded.
            StepMismatch: The recorded steps are not those of this code.
        """
        return await self.record_step(
            name, function, args, kwargs, at_most_once=at_most_once, timeout=timeout, returns=returns
        )

    async def wait_for(self, topic: str, *, timeout: float | None = None, returns: Any = Any) -> Any:
        """Suspend until something is published on a topic (a pattern is allowed), and take it; raises `AskTimeout`."""
        return (await self.wait_for_message(topic, timeout=timeout)).payload(returns)

    async def schedule(
        self,
        name: str,
        payload: Any = None,
        *,
        topic: str = "",
        after: float | None = None,
        at: datetime | float | None = None,
        every: float | None = None,
        cron: str | None = None,
    ) -> None:
        """Set a timer that sends this agent a message; a timer of the same name is replaced.

        Args:
            name: Names the timer within this agent.
            payload: What the message carries.
            topic: Picks the handler.
            after: Seconds from now.
            at: A time: an aware datetime, or seconds since the epoch.
            every: Repeat every so many seconds.
            cron: Repeat by a cron expression, in UTC.
        """
        if sum(value is not None for value in (after, at, every, cron)) != 1:
            raise InvalidInput(f"the timer {name!r} needs one of after=, at=, every= and cron=")
        repeat = ""
        if at is not None:
            if isinstance(at, datetime) and at.tzinfo is None:
                raise InvalidInput(f"the time of the timer {name!r} has no time zone: give an aware datetime")
            when = at.astimezone(UTC).timestamp() if isinstance(at, datetime) else at
        elif after is not None:
            when = self.moment + after
        else:
            repeat = every_repeat(every) if every is not None else cron_repeat(cron or "")
            when = next_time(repeat, after=self.moment)
        self.stage_timer(name, payload, topic=topic, at=when, repeat=repeat)

    async def unschedule(self, name: str) -> None:
        """Take a timer away; one that is not there is no error."""
        self.unstage_timer(name)
