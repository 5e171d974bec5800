"""The steward where there is no terminal: plain lines, or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from aos.cli.failure import printable
from aos.cli.printing import counted, print_json_line
from aos.clock import as_datetime
from aos.coding.events import ReviewDone
from aos.coding.report import totals, worst_findings
from aos.coding.steward import HTML, MARKDOWN
from aos.coding.team import Progress, Summary

FINDINGS = 10
_TENTH = 10


class Display(Protocol):
    """What shows how the steward works."""

    def __enter__(self) -> object:
        """Begin."""

    def __exit__(self, *error: object) -> None:
        """End, also after an error."""

    def show(self, progress: Progress) -> None:
        """How it goes, about ten times a second."""

    def passed(self, summary: Summary) -> None:
        """How the first pass ended."""


class Lines:
    """Plain lines, for a file or a pipe."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._tenth = 0

    def __enter__(self) -> None:
        """Nothing is begun."""

    def __exit__(self, *error: object) -> None:
        """Nothing is ended."""

    def show(self, progress: Progress) -> None:
        """A line for each tenth of the first pass, later a line for each review."""
        current = progress.current
        if not progress.watching:
            tenth = (current.unchanged + current.done) * _TENTH // max(current.total, 1)
            if current.total and tenth > self._tenth:
                self._tenth = tenth
                print(f"{current.unchanged + current.done:,} of {current.total:,} files", flush=True)
            return
        for review in progress.news:
            print(printable(f"{time_of(review)} {review.path}: {review.text}"), flush=True)

    def passed(self, summary: Summary) -> None:
        """The worst findings, and where the report is."""
        for line in _closing_lines(summary, self._out):
            print(printable(line), flush=True)


class JsonLines:
    """One JSON object a line."""

    def __init__(self, root: Path, out: Path) -> None:
        self._root = root
        self._out = out

    def __enter__(self) -> None:
        """Nothing is begun."""

    def __exit__(self, *error: object) -> None:
        """Nothing is ended."""

    def show(self, progress: Progress) -> None:
        """A line for each review after the first pass."""
        if progress.watching:
            for review in progress.news:
                print_json_line({"event": "review", **msgspec.to_builtins(review)})

    def passed(self, summary: Summary) -> None:
        """One line that has everything about the first pass."""
        current, whole = summary.current, totals(summary.records)
        print_json_line(
            {
                "event": "pass",
                "root": str(self._root.resolve()),
                "reports": [str(self._out / MARKDOWN), str(self._out / HTML)],
                "seconds": round(current.ended - current.began, 3),
                "reviewed": current.reviewed,
                "unchanged": current.unchanged + current.known,
                "failed": current.failed,
                "left_out": current.odd,
                **msgspec.to_builtins(whole),
                "findings": [
                    {"path": path, **msgspec.structs.asdict(issue)}
                    for path, issue in worst_findings(summary.records, FINDINGS)
                ],
            }
        )


def summary_line(summary: Summary) -> str:
    """The first pass in a line."""
    current, whole = summary.current, totals(summary.records)
    failed = f", {current.failed:,} could not be measured" if current.failed else ""
    odd = f", {current.odd:,} left out for their names" if current.odd else ""
    return (
        f"{counted(whole.files, 'file')}, {counted(whole.issues, 'issue')}, score {whole.score:.2f} "
        f"({current.reviewed:,} reviewed, {current.unchanged + current.known:,} unchanged{failed}{odd}, "
        f"{current.ended - current.began:.1f} s)"
    )


def report_line(out: Path) -> str:
    """Where the report is."""
    return f"Report: {out / MARKDOWN} and {out / HTML}"


def time_of(review: ReviewDone) -> str:
    """When a review was made, by the clock on the wall."""
    return f"{as_datetime(review.at).astimezone():%H:%M:%S}"


def _closing_lines(summary: Summary, out: Path) -> list[str]:
    worst = [
        f"  {path}:{issue.line}: {issue.severity}: {issue.rule} {issue.message}"
        for path, issue in worst_findings(summary.records, FINDINGS)
    ]
    head = ["The worst findings:", *worst, ""] if worst else []
    return [*head, summary_line(summary), report_line(out)]
