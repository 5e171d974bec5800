"""How `aos steward` shows what it does: lines, JSON, and a terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from aos.cli.steward import home_of
from aos.cli.steward_lines import JsonLines, Lines
from aos.cli.steward_screen import Screen
from aos.coding import Issue
from aos.coding.events import ReviewDone
from aos.coding.report import FileRecord
from aos.coding.steward import Pass
from aos.coding.team import Progress, Summary

RUNNING = Pass(number=1, total=40, unchanged=10, announced=30, done=10)
ENDED = Pass(number=1, total=40, unchanged=9, known=1, announced=31, done=31, reviewed=29, failed=1, ended=2.5)
REVIEW = ReviewDone("a\x1b[2J.py", "reviewed", score=0.5, verdict="worse", text="worse: 0.60 → 0.50")
SUMMARY = Summary(ENDED, [FileRecord("b.py", 0.4, total=1, findings=[Issue("S602", "shell", 3, severity="error")])])


def shown(display):
    """Show a whole run."""
    with display:
        for done in (10, 11, 30):
            display.show(Progress(Pass(number=1, total=40, unchanged=10, done=done), watching=False, news=[]))
        display.passed(SUMMARY)
        display.show(Progress(ENDED, watching=True, news=[REVIEW]))


def test_lines_are_few_and_plain(capsys):
    """A line for a tenth of the files, the worst findings, then a line for a review, without control characters."""
    shown(Lines(Path("out")))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["20 of 40 files", "40 of 40 files"]
    assert "  b.py:3: error: S602 shell" in lines
    assert "1 file, 1 issue, score 0.40 (29 reviewed, 10 unchanged, 1 could not be measured, 2.5 s)" in lines
    assert lines[-1].endswith(r"a\x1b[2J.py: worse: 0.60 → 0.50")


def test_json_is_one_object_a_line(capsys):
    """The pass and every later review are one JSON object each."""
    shown(JsonLines(Path("src"), Path("out")))
    whole, review = map(json.loads, capsys.readouterr().out.splitlines())
    assert (whole["event"], whole["reviewed"], whole["findings"][0]["severity"]) == ("pass", 29, "error")
    assert (review["event"], review["path"], review["verdict"]) == ("review", REVIEW.path, "worse")


@pytest.mark.parametrize("width", [30, 120])
def test_a_terminal_shows_a_bar_then_a_table(width):
    """On a terminal there is a bar over the files, then the worst findings, then the reviews."""
    out = io.StringIO()
    shown(Screen(Path("src"), Path("out"), Console(file=out, force_terminal=True, width=width)))
    text = out.getvalue()
    assert "40/40" in text or width < 40
    assert "S602" in text
    assert "watching" in text
    assert "\x1b[2J" not in text


def test_each_folder_has_a_home_of_its_own(tmp_path, monkeypatch):
    """Two folders of one name keep their reviews apart, and one folder has one home however it is named."""
    monkeypatch.chdir(tmp_path)
    for path in ("a/src", "b/src"):
        (tmp_path / path).mkdir(parents=True)
    assert home_of(Path("a/src")) != home_of(Path("b/src"))
    assert home_of(Path("a/src")) == home_of(tmp_path / "b" / ".." / "a" / "src")
    assert home_of(Path("a/src")).parts[:2] == (".aos", "steward")
