"""What a measurement of one file says, and how two of them compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]
Category = Literal["lint", "complexity", "dead-code", "security", "docs", "types"]
Verdict = Literal["first", "better", "worse", "changed", "same"]

WEIGHTS: dict[Severity, float] = {"error": 10.0, "warning": 3.0, "info": 0.25}
"""What an issue of each severity weighs against the score."""
UNMEASURED = frozenset({"syntax-error", "not-text", "too-large", "too-deep", "not-measured", "unreadable"})
"""Rules of issues that say why a file could not be measured; any of them makes the score 0."""

_SMALLEST = 100
_HALF = 20.0
_WISHES = 5.0


class Issue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finding of one tool.

    Args:
        rule: The tool's own name for it, such as "F401".
        line: Counted from 1; 0 is the whole file.
        column: Counted from 1; 0 is the whole line.
    """

    rule: str
    message: str
    line: int = 0
    column: int = 0
    severity: Severity = "warning"
    category: Category = "lint"
    tool: str = "ruff"


class Complexity(msgspec.Struct, frozen=True):
    """Cyclomatic complexity of the functions and methods of a file."""

    highest: int = 0
    mean: float = 0.0
    functions: int = 0


class CodeQualityMetrics(msgspec.Struct, frozen=True):
    """How good a piece of code is, and why.

    Args:
        score: 0.0 (worst, or it could not be measured) to 1.0 (nothing found); `score_of` has the formula.
        issues: The findings, worst first.
        lines: Lines that are not blank.
        maintainability: Maintainability index, 0 to 100; None where the syntax is too new for this Python.
        counts: Findings by category, those left out of `issues` included.
        rules: Findings by rule, those left out of `issues` included.
        omitted: How many findings were left out of `issues` by `brief`.
        duration: Seconds that the batch of this file took, 0 where it was not measured.
        simulated: True where no tool measured this.

    Raises:
        ValueError: The score is not between 0 and 1.
    """

    score: float
    issues: list[Issue] = []
    lines: int = 0
    complexity: Complexity = Complexity()
    maintainability: float | None = None
    counts: dict[str, int] = {}
    rules: dict[str, int] = {}
    omitted: int = 0
    duration: float = 0.0
    simulated: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"the score is {self.score!r}, it must be between 0.0 and 1.0")
        if self.issues and not self.counts:
            msgspec.structs.force_setattr(self, "counts", dict(Counter(issue.category for issue in self.issues)))
        if self.issues and not self.rules:
            msgspec.structs.force_setattr(self, "rules", dict(Counter(issue.rule for issue in self.issues)))

    @property
    def total(self) -> int:
        """How many issues there are, those left out included."""
        return len(self.issues) + self.omitted

    def brief(self, limit: int) -> CodeQualityMetrics:
        """The same with at most `limit` issues, the worst ones; the counts stay whole."""
        spare = len(self.issues) - limit
        if spare <= 0:
            return self
        return msgspec.structs.replace(self, issues=self.issues[:limit], omitted=self.omitted + spare)


def score_of(issues: Iterable[Issue], *, lines: int) -> float:
    """The score of a file with these issues, 0.0 to 1.0.

    `20 / (20 + p)`, where p is the sum of the issues' `WEIGHTS` for each hundred lines (a shorter file counts
    as a hundred), to which all infos together add at most 5. So it is 1.0 without issues, at least 0.8 with
    infos only, and 0.5 with two errors or seven warnings in a hundred lines. One more issue, or a worse one,
    never raises it. A file that could not be measured has 0.
    """
    found = list(issues)
    if any(issue.rule in UNMEASURED for issue in found):
        return 0.0
    hundreds = max(lines, _SMALLEST) / 100.0
    heavy = sum(WEIGHTS[issue.severity] for issue in found if issue.severity != "info") / hundreds
    wishes = sum(WEIGHTS[issue.severity] for issue in found if issue.severity == "info") / hundreds
    return round(_HALF / (_HALF + heavy + min(wishes, _WISHES)), 4)


def metrics_of(
    issues: Iterable[Issue],
    *,
    lines: int,
    complexity: Complexity | None = None,
    maintainability: float | None = None,
    duration: float = 0.0,
) -> CodeQualityMetrics:
    """Metrics with the score that `score_of` gives, the issues sorted worst first."""
    found = sorted(issues, key=lambda issue: (-WEIGHTS[issue.severity], issue.line, issue.column, issue.rule))
    return CodeQualityMetrics(
        score=score_of(found, lines=lines),
        issues=found,
        lines=lines,
        complexity=complexity or Complexity(),
        maintainability=maintainability,
        duration=duration,
    )


class Change(msgspec.Struct, frozen=True):
    """What changed between two measurements of a file.

    Args:
        before: The score before; None at the first look.
        gone: Issues that were there before; one that only moved to another line is not among them.
        new: Issues that were not there before. Where one of the measurements was `brief`, both lists have
            one entry for a rule, whose message says how many fewer or more.
    """

    verdict: Verdict
    before: float | None
    after: float
    gone: list[Issue] = []
    new: list[Issue] = []

    @property
    def delta(self) -> float:
        """How much the score rose; 0 at the first look."""
        return 0.0 if self.before is None else round(self.after - self.before, 4)

    @property
    def text(self) -> str:
        """The change in one line."""
        if self.before is None:
            return f"first look: {self.after:.2f}"
        digits = 2 if abs(self.delta) >= 0.01 else 4
        moved = f"{self.before:.{digits}f} → {self.after:.{digits}f}"
        parts = [f"{self.verdict}: {moved if self.delta else f'{self.after:.2f}'}"]
        if self.gone:
            parts.append(f"gone: {_names(self.gone)}")
        if self.new:
            parts.append(f"new: {_names(self.new)}")
        return ", ".join(parts)


def compare(before: CodeQualityMetrics | None, after: CodeQualityMetrics) -> Change:
    """What got better and what got worse from `before` (None: never measured) to `after`.

    Issues are matched by rule and message, so code that only moved to other lines has not changed.
    """
    if before is None:
        return Change("first", None, after.score, [], list(after.issues))
    if before.omitted or after.omitted:
        gone, new = _by_rule(before.rules, after.rules, "fewer"), _by_rule(after.rules, before.rules, "more")
    else:
        gone, new = _missing(before.issues, after.issues), _missing(after.issues, before.issues)
    verdict: Verdict = "changed" if gone or new else "same"
    if after.score != before.score:
        verdict = "better" if after.score > before.score else "worse"
    return Change(verdict, before.score, after.score, gone, new)


def _missing(there: list[Issue], here: list[Issue]) -> list[Issue]:
    left = Counter((issue.rule, issue.message) for issue in here)
    missing = []
    for issue in there:
        if left[issue.rule, issue.message] > 0:
            left[issue.rule, issue.message] -= 1
        else:
            missing.append(issue)
    return missing


def _by_rule(there: dict[str, int], here: dict[str, int], word: str) -> list[Issue]:
    extra = Counter(there) - Counter(here)
    return [Issue(rule, f"{count} {word}") for rule, count in sorted(extra.items())]


def _names(issues: list[Issue], limit: int = 3) -> str:
    names = list(dict.fromkeys(f"{issue.rule} {issue.message}" for issue in issues))
    rest = f" and {len(issues) - limit} more" if len(issues) > limit else ""
    return "; ".join(names[:limit]) + rest
