"""The log lines of `aos run`."""

import json
import logging
import re
import sys

import pytest

from aos.cli.logs import show_logs


@pytest.fixture(autouse=True)
def root_logger():
    """The root logger is as it was afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_one_line(capsys) -> None:
    """What a handler raised cannot break the log or act on a terminal."""
    show_logs(0, as_json=False)
    logging.getLogger("aos.kernel").warning("attempt %d failed: %s", 1, "two\nlines \x1b[2J")
    assert capsys.readouterr().err.endswith(" WARNING aos.kernel: attempt 1 failed: two lines \\x1b[2J\n")


@pytest.mark.parametrize(("verbose", "count"), [(0, 1), (1, 2), (2, 3), (5, 3)])
def test_more_is_shown_when_it_is_asked_for(verbose, count, capsys) -> None:
    """-v shows what is noted, -vv everything."""
    show_logs(verbose, as_json=False)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("mine").log(level, "text")
    assert capsys.readouterr().err.count("\n") == count


def test_json_lines_carry_everything(capsys) -> None:
    """One object a line, with the traceback if there is one."""
    show_logs(0, as_json=True)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("mine").exception("it failed")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["message"]) == ("error", "mine", "it failed")
    assert "ValueError: no" in line["traceback"]


def test_on_a_terminal_the_log_is_coloured(capsys, monkeypatch) -> None:
    """Rich shows it, without taking anything in it for markup."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_logs(0, as_json=False)
    logging.getLogger("mine").warning("[red]text")
    assert "[red]text" in re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().err)
