"""How results are printed: JSON, tables, times."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aos.cli.failure import one_line, printable
from aos.clock import as_datetime, now
from aos.stores import TurnRecord

_DAY = 86_400.0


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(pretty(value))


def print_json_line(value: Any) -> None:
    """Print one JSON object on one line, at once."""
    print(msgspec.json.encode(value, enc_hook=repr).decode(), flush=True)


def pretty(value: Any) -> str:
    """A value as indented JSON; what is not JSON in it as its representation."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr), indent=2).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: framed and coloured on a terminal, in plain columns everywhere else."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_framed(columns, lines)
        return
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    for line in [[column.upper() for column in columns], *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_framed(columns: Sequence[str], lines: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - loaded only where there is a terminal
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(*columns)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def clock_time(at: float) -> str:
    """A time by the clock on the wall, with its date unless it is less than a day away."""
    local = as_datetime(at).astimezone()
    return f"{local:%H:%M:%S}" if abs(at - now()) < _DAY / 2 else f"{local:%Y-%m-%d %H:%M:%S}"


def distance(at: float) -> str:
    """How far a time is from now, such as `3 s ago` or `in 2 h`."""
    seconds = at - now()
    text = duration(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for unit, size in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun, in the plural where it must be: `1 agent`, `2 agents`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {nouns or noun + 's'}"


def turn_line(turn: TurnRecord) -> str:
    """A turn on one line."""
    parts = [clock_time(turn.at), turn.address, turn.topic or "-", turn.outcome, duration(turn.took)]
    if turn.attempt > 1:
        parts.append(f"attempt {turn.attempt}")
    if turn.sent:
        parts.append(f"sent {turn.sent}")
    if turn.error:
        parts.append(one_line(turn.error))
    return printable("  ".join(parts))
