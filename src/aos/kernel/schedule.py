"""When a repeating timer comes next."""

from __future__ import annotations

import math
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


def next_time(repeat: str, *, after: float, since: float | None = None) -> float:
    """The first time of a repeating timer after a time; both in seconds since the epoch.

    Args:
        repeat: What `every` or `cron` made.
        after: A moment.
        since: When a timer of `every` began, or had a beat; the moment if it is None.
    """
    form, _, value = repeat.partition(" ")
    if form == "every":
        seconds, since = float(value), after if since is None else since
        # A beat that is due in less than a thousandth of the interval is the one that comes just now.
        return since + seconds * (math.floor((after - since) / seconds + 0.001) + 1)
    from croniter import croniter

    found: float = croniter(value, datetime.fromtimestamp(after, UTC)).get_next(float)
    return found
