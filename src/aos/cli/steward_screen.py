"""The steward on a terminal: a bar over the files of the first pass, then a live table."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from aos.cli.failure import printable
from aos.cli.steward_lines import FINDINGS, report_line, summary_line, time_of
from aos.coding.events import ReviewDone
from aos.coding.report import worst_findings
from aos.coding.team import Progress, Summary

_ROWS = 15
_COLOURS = {"better": "green", "worse": "red", "error": "red", "warning": "yellow", "info": "dim"}


class Screen:
    """Shows how the steward works on a terminal."""

    def __init__(self, root: Path, out: Path, console: Console | None = None) -> None:
        self._root = root
        self._out = out
        self._console = console or Console()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(escape(f"reviewing {printable(str(root))}"), total=None)
        self._live: Live | None = None
        self._rows: deque[ReviewDone] = deque(maxlen=_ROWS)

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Move the bar, or add rows to the table."""
        current = progress.current
        if not progress.watching:
            if current.total:
                done = current.unchanged + current.done
                self._bar.update(self._task, total=max(current.total, done), completed=done)
            return
        self._rows.extend(progress.news)
        if self._live is None:
            self._live = Live(self._table(progress), console=self._console, auto_refresh=False)
            self._live.start(refresh=True)
        elif progress.news:
            self._live.update(self._table(progress), refresh=True)

    def passed(self, summary: Summary) -> None:
        """Replace the bar by the worst findings."""
        self._bar.stop()
        table = Table("where", "severity", "rule", "finding", title="The worst findings", expand=True)
        for path, issue in worst_findings(summary.records, FINDINGS):
            severity = Text(issue.severity, style=_COLOURS[issue.severity])
            table.add_row(
                Text(printable(f"{path}:{issue.line}")), severity, Text(issue.rule), Text(printable(issue.message))
            )
        self._console.print(table)
        self._console.print(Text(summary_line(summary)))
        self._console.print(Text(report_line(self._out)), soft_wrap=True)

    def _table(self, progress: Progress) -> Group:
        table = Table("when", expand=True)
        table.add_column("file", no_wrap=True, overflow="ellipsis", ratio=2)
        table.add_column("score", no_wrap=True)
        table.add_column("what changed", no_wrap=True, overflow="ellipsis", ratio=3)
        for review in reversed(self._rows):
            style = _COLOURS.get(review.verdict, "")
            table.add_row(
                time_of(review),
                Text(printable(review.path)),
                f"{review.score:.2f}" if review.outcome != "removed" else "",
                Text(printable(review.text), style=style),
            )
        if not self._rows:
            table.add_row("", Text("nothing has changed yet", style="dim"), "", "")
        current = progress.current
        words = f"watching {printable(str(self._root))}: {current.total:,} files, pass {current.number}; Ctrl-C ends"
        return Group(table, Text(words, style="dim"))
