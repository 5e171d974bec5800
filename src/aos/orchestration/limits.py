"""How long an orchestration may take."""

from __future__ import annotations

import math

import msgspec

from aos.orchestration.errors import OrchestrationError


def too_late(seconds: float) -> str:
    """What a record says of an agent whose own time was up."""
    return f"no answer within its time-out of {seconds:g} s"


def out_of_time(seconds: float) -> str:
    """What a record says of an agent when the time of the whole orchestration was up."""
    return f"the orchestration's time-out of {seconds:g} s passed"


class Limits(msgspec.Struct, frozen=True):
    """How long things may take, in seconds.

    Args:
        timeout: The whole orchestration; None is without limit.
        agent_timeout: Each agent's call; None is without limit.
        grace: How long an agent that was cancelled may take to end, before it is left behind and reported.
    """

    timeout: float | None = None
    agent_timeout: float | None = None
    grace: float = 5.0

    def __post_init__(self) -> None:
        for name in ("timeout", "agent_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise OrchestrationError(
                    f"{name} is a number of seconds above 0, or None for no limit, not {seconds!r}"
                )
        if not 0 <= self.grace < math.inf:
            raise OrchestrationError(f"grace is a number of seconds, 0 or more, not {self.grace!r}")
