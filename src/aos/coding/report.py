"""From the reviews of many files to one ranked report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from aos.clock import as_datetime
from aos.coding.metrics import UNMEASURED, WEIGHTS, Issue, Verdict

_BARS = "▁▂▃▄▅▆▇█"


class FileRecord(Struct, frozen=True):
    """What a report says of one file.

    Args:
        path: Below the root, with slashes.
        total: How many issues the file has.
        counts: Issues by category.
        findings: The worst of its issues, worst first; not necessarily all.
        change: What changed at the last review, in one line.
        trend: The scores of the latest reviews, oldest first.
        reviews: How often it was reviewed.
        reviewed_at: The last time, in seconds since the epoch.
    """

    path: str
    score: float
    total: int = 0
    lines: int = 0
    complexity: int = 0
    maintainability: float | None = None
    counts: dict[str, int] = {}
    findings: list[Issue] = []
    verdict: Verdict = "first"
    delta: float = 0.0
    change: str = ""
    trend: list[float] = []
    reviews: int = 1
    reviewed_at: float = 0.0


class Totals(Struct, frozen=True):
    """All files together. `score` is the mean weighted by lines, 1.0 without files."""

    files: int
    lines: int
    issues: int
    score: float
    counts: dict[str, int]
    better: int
    worse: int


def totals(records: Iterable[FileRecord]) -> Totals:
    """Add up records."""
    files = lines = issues = better = worse = 0
    weighted = weight = 0.0
    counts: Counter[str] = Counter()
    for record in records:
        files += 1
        lines += record.lines
        issues += record.total
        counts.update(record.counts)
        weighted += record.score * max(record.lines, 1)
        weight += max(record.lines, 1)
        better += record.verdict == "better"
        worse += record.verdict == "worse"
    score = round(weighted / weight, 4) if weight else 1.0
    return Totals(files, lines, issues, score, dict(counts.most_common()), better, worse)


def ranked(records: Iterable[FileRecord]) -> list[FileRecord]:
    """Worst first: by score, then by the number of issues."""
    return sorted(records, key=lambda record: (record.score, -record.total, record.path))


def worst_findings(records: Iterable[FileRecord], n: int = 10) -> list[tuple[str, Issue]]:
    """The `n` worst findings as `(path, issue)`: what could not be measured, then by severity, security first.

    Findings of one rule in one file are one, the first, whose message says how many there are.
    """
    found: dict[tuple[str, str], tuple[float, Issue, int]] = {}
    for record in records:
        for issue in record.findings:
            score, first, count = found.get((record.path, issue.rule), (record.score, issue, 0))
            found[record.path, issue.rule] = (score, first, count + 1)
    worst = sorted(
        found.items(),
        key=lambda row: (*_badness(row[1][1]), row[1][0], row[0]),
    )
    return [
        (path, first if count == 1 else structs.replace(first, message=f"{first.message} ({count} places)"))
        for (path, _), (_, first, count) in worst[:n]
    ]


def _badness(issue: Issue) -> tuple[bool, float, bool]:
    return (issue.rule not in UNMEASURED, -WEIGHTS[issue.severity], issue.category != "security")


def moved(records: Iterable[FileRecord], verdict: Verdict) -> list[FileRecord]:
    """Files whose last review found them better, or worse; the largest change first."""
    return sorted((r for r in records if r.verdict == verdict), key=lambda r: (-abs(r.delta), r.path))


def sparkline(scores: Sequence[float]) -> str:
    """Scores as a row of bars."""
    return "".join(_BARS[min(int(score * len(_BARS)), len(_BARS) - 1)] for score in scores)


def render_markdown(records: Sequence[FileRecord], *, root: str, at: float, rows: int = 100) -> str:
    """The report as Markdown.

    Args:
        root: The folder it is about.
        at: When it is made, in seconds since the epoch.
        rows: Files in the table, the worst ones.
    """
    whole, worst = totals(records), ranked(records)
    out = [
        f"# Code report: {_cell(Path(root).name or root)}",
        "",
        f"Score **{whole.score:.2f}**.",
        f"{whole.files:,} files, {whole.lines:,} lines, {whole.issues:,} issues.",
        f"At the last look {whole.better:,} got better and {whole.worse:,} got worse.",
        f"Made {as_datetime(at):%Y-%m-%d %H:%M:%S} UTC.",
        "",
        *_table(["category", "issues"], [[name, f"{count:,}"] for name, count in whole.counts.items()]),
        "## Worst findings",
        "",
        *_table(
            ["where", "severity", "rule", "finding"],
            [[f"{_code(path)}:{i.line}", i.severity, i.rule, _cell(i.message)] for path, i in worst_findings(records)],
        ),
    ]
    sections: list[tuple[str, Verdict]] = [("Got worse", "worse"), ("Got better", "better")]
    for title, verdict in sections:
        if changed := moved(records, verdict):
            out += [
                f"## {title}",
                "",
                *(f"- {_code(r.path)} {_cell(r.change)}" for r in changed[:rows]),
                "",
            ]
            if len(changed) > rows:
                out += [f"… and {len(changed) - rows:,} more.", ""]
    out += [
        "## Files, worst first",
        "",
        *_table(
            ["file", "score", "trend", "issues", "complexity", "lines", "worst finding"],
            [
                [
                    f"{_code(r.path)}",
                    f"{r.score:.2f}",
                    sparkline(r.trend),
                    f"{r.total:,}",
                    str(r.complexity),
                    f"{r.lines:,}",
                    _cell(f"{r.findings[0].rule} {r.findings[0].message}") if r.findings else "",
                ]
                for r in worst[:rows]
            ],
        ),
    ]
    if len(worst) > rows:
        out += [f"… and {len(worst) - rows:,} more files, none worse than these.", ""]
    return "\n".join(out)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return ["Nothing.", ""]
    return [
        f"| {' | '.join(head)} |",
        "|" + " --- |" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _cell(text: str) -> str:
    """Text that can neither end a table's cell nor begin markup of its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("|", "\\|").replace("`", "'")


def _code(text: str) -> str:
    """Text as code, where markup has no meaning but that of its end and of a table's bars."""
    return "`" + " ".join(text.split()).replace("|", "\\|").replace("`", "'") + "`"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by a whole new one: a reader, or a crash at any moment, meets the old or the new one.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
