"""When a failed attempt is made again."""

from __future__ import annotations

from math import inf
from random import Random

import msgspec

from aos.errors import AskCycle, InvalidInput, NoHandler, StateTooLarge, StepMismatch, StepOutcomeUnknown


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential back-off with full jitter on the upper half.

    Args:
        attempts: How often a message is tried in all; 1 is never again.
        base: Delay before the second attempt, in seconds.
        factor: How much longer each further delay is.
        cap: The longest delay, in seconds.
        retry_on: Error classes worth another attempt.
        give_up_on: Error classes that are not, although they are among `retry_on`.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """

    attempts: int = 5
    base: float = 0.5
    factor: float = 2.0
    cap: float = 300.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = (
        InvalidInput,
        NoHandler,
        StateTooLarge,
        StepMismatch,
        StepOutcomeUnknown,
        AskCycle,
    )

    def __post_init__(self) -> None:
        """Look at the options where they are written, not when the first message fails."""
        if self.attempts < 1:
            raise InvalidInput(f"RetryPolicy: attempts={self.attempts!r}: a message is tried at least once")
        if not (0 <= self.base < inf and 1 <= self.factor < inf and 0 <= self.cap < inf):
            raise InvalidInput(
                f"RetryPolicy: base={self.base!r}, factor={self.factor!r}, cap={self.cap!r}: "
                "give seconds, and a factor of at least 1"
            )
        for name in ("retry_on", "give_up_on"):
            classes = getattr(self, name)
            if not isinstance(classes, tuple) or not all(
                isinstance(cls, type) and issubclass(cls, BaseException) for cls in classes
            ):
                raise InvalidInput(f"RetryPolicy: {name}={classes!r} is no tuple of error classes")

    def delay(self, attempt: int, error: BaseException, random: Random) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (1 is the first); None to give up."""
        if attempt >= self.attempts or not isinstance(error, self.retry_on) or isinstance(error, self.give_up_on):
            return None
        try:
            whole = min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:
            whole = self.cap if self.base else 0.0
        return whole * (0.5 + 0.5 * random.random())
