"""What an error is called, what it says and which exit status it has."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from aos.errors import AOSError

OPTIONAL = {"typer": "cli", "rich": "cli", "croniter": "cron", "watchfiles": "coding", "radon": "coding"}
"""Packages that are no requirement, and the extra that has each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the command line shows it.

    Args:
        text: One line that says what to do.
        name: The error's class.
        status: The exit status: 2 for input that cannot be taken, 3 for the store, 1 for everything else.
    """

    text: str
    name: str
    status: int

    def as_json(self) -> str:
        """One JSON object."""
        return msgspec.json.encode({"error": self.text, "type": self.name}).decode()


def failure_of(error: Exception) -> Failure:
    """What there is to say about an error."""
    name = type(error).__name__
    if isinstance(error, AOSError):
        return Failure(one_line(str(error)), name, error.exit_status)
    if isinstance(error, ModuleNotFoundError) and (extra := OPTIONAL.get((error.name or "").partition(".")[0])):
        return Failure(
            f"this needs {error.name}: run pip install 'agent-operating-system[{extra}]'", "MissingPackage", 1
        )
    format_message = getattr(error, "format_message", None)
    if format_message is not None:  # the command line itself is wrong, as typer found
        path = getattr(getattr(error, "ctx", None), "command_path", "aos")
        text = one_line(format_message()).rstrip(".")
        return Failure(f"{text}; see '{path} --help'", name, getattr(error, "exit_code", 2))
    return Failure(f"{name}: {one_line(str(error))} (--debug shows where)", name, 1)


def one_line(text: str) -> str:
    """A text on one line, without characters that a terminal would act on."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """A text whose control characters are written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
