"""When a failed attempt is made again."""

from __future__ import annotations

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

    def delay(self, attempt: int, error: BaseException, random: Random) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (1 is the first); None to give up."""
        if attempt >= self.attempts or not isinstance(error, self.retry_on) or isinstance(error, self.give_up_on):
            return None
        whole = min(self.cap, self.base * self.factor ** min(attempt - 1, 64))
        return whole * (0.5 + 0.5 * random.random())
