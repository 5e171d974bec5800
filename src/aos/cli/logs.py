"""Log lines on standard error."""

from __future__ import annotations

import logging
import sys

import msgspec

from aos.cli.failure import one_line

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def show_logs(verbose: int, *, as_json: bool) -> None:
    """Show the log of AOS and of the user's agents.

    Args:
        verbose: 0 shows what went wrong, 1 also what is noted, 2 everything.
        as_json: One JSON object a line.
    """
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler()
        handler.setFormatter(_JsonLine())
    elif sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - loaded only where there is a terminal
        from rich.logging import RichHandler  # noqa: PLC0415 - as above

        handler = RichHandler(console=Console(stderr=True), show_path=False, omit_repeated_times=False)
        handler.setFormatter(_OneLine("%(message)s", datefmt="%H:%M:%S"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=_LEVELS[min(verbose, 2)], handlers=[handler], force=True)


class _OneLine(logging.Formatter):
    """A record on one line; its traceback, if it has one, below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        record.message = one_line(record.message)
        return super().formatMessage(record)


class _JsonLine(logging.Formatter):
    """A record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()
