"""Where a command begins and where its errors end: as one line, and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from aos.cli.failure import Failure, failure_of

INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: The arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = arguments[:end]
    debug = "--debug" in options or os.environ.get("AOS_DEBUG", "") not in {"", "0"}
    # It may stand anywhere, so no command declares it.
    arguments = [option for option in options if option != "--debug"] + arguments[end:]
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the user gets a line about it
        if debug:
            traceback.print_exc()
        failure = failure_of(error)
        with suppress(OSError):  # nobody reads the errors either
            _show(failure, as_json="--json" in options)
        return failure.status


def _run(arguments: list[str]) -> int:
    from typer import Exit  # noqa: PLC0415 - where it is missing, that is reported like every other error

    from aos.cli.commands import command_for  # noqa: PLC0415 - it needs typer

    command = command_for(arguments)
    try:
        with command.make_context("aos", arguments) as context:
            status = command.invoke(context)
    except Exit as asked:
        status = asked.exit_code
    sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _show(failure: Failure, *, as_json: bool) -> None:
    print(failure.as_json() if as_json else f"error: {failure.text}", file=sys.stderr, flush=True)


def _silence() -> None:
    """Have what is left in the buffer of the output go nowhere."""
    with suppress(OSError, ValueError):  # it may be no file at all
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
