"""When a repeating timer comes next."""

from __future__ import annotations

from datetime import UTC, datetime

from aos.errors import InvalidInput


def every(seconds: float) -> str:
    """The `repeat` of a timer that comes every so many seconds."""
    if not seconds > 0:
        raise InvalidInput(f"a timer cannot repeat every {seconds!r} s: give more than 0")
    return f"every {seconds!r}"


def cron(expression: str) -> str:
    """The `repeat` of a timer that follows a cron expression, in UTC."""
    from croniter import croniter

    if not croniter.is_valid(expression):
        raise InvalidInput(f"{expression!r} is no cron expression: write five fields, such as '0 7 * * *'")
    return f"cron {expression}"


def next_time(repeat: str, *, after: float) -> float:
    """The first time of a repeating timer after a time; both in seconds since the epoch."""
    form, _, value = repeat.partition(" ")
    if form == "every":
        return after + float(value)
    from croniter import croniter

    found: float = croniter(value, datetime.fromtimestamp(after, UTC)).get_next(float)
    return found
