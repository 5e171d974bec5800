"""Which of ruff's rules are asked, and how each finding is sorted."""

from __future__ import annotations

from pathlib import PurePath

from aos.coding.metrics import Category, Severity

SELECT = (
    *("E4", "E7", "E9", "F", "B", "PLE", "PLW", "ASYNC", "BLE", "RUF006", "RUF012"),
    *("C901", "PLR0911", "PLR0912", "PLR0913", "PLR0915"),
    "S",
    "ERA001",
    *("D100", "D101", "D102", "D103"),
    *("ANN201", "ANN205", "ANN206"),
)
"""ruff's rule sets: likely bugs, complexity, security, dead code (and F401, F811, F841), docs, types."""
IN_TESTS_IGNORED = ("ANN", "D", "PLR0913", "PLW0108", "S101", "S105", "S106", "S107", "S108", "S3")
"""What is fine in a test: no docstrings and annotations, asserts, invented passwords, pickles of its own."""

_CATEGORIES: tuple[tuple[str, Category], ...] = (
    ("F401", "dead-code"),
    ("F811", "dead-code"),
    ("F841", "dead-code"),
    ("ERA", "dead-code"),
    ("C901", "complexity"),
    ("PLR09", "complexity"),
    ("ANN", "types"),
    ("PLE2502", "security"),
    ("D", "docs"),
    ("S", "security"),
)
_ERRORS = (
    *("E9", "F50", "F62", "F63", "F7", "F82", "PLE01", "PLE03", "PLE1", "PLE2", "B002", "B006", "B023"),
    *("S102", "S202", "S302", "S307", "S323", "S501", "S502", "S506", "S602", "S604", "S605"),
)
_INFOS = (
    "ANN",
    "ASYNC109",
    "D",
    "ERA",
    "E4",
    "E7",
    "B007",
    "B009",
    "B010",
    "B028",
    "B904",
    "B905",
    "PLR0913",
    "PLW29",
    "S101",
    "S311",
    "S404",
)
_SOFT = ("S603", "S607", "RUF012")


def category_of(rule: str) -> Category:
    """The category of one of ruff's rules."""
    return next((category for prefix, category in _CATEGORIES if rule.startswith(prefix)), "lint")


def severity_of(rule: str) -> Severity:
    """The severity of a rule of ruff's: an error is wrong or dangerous anywhere, an info is a wish."""
    if rule.startswith(_ERRORS):
        return "error"
    return "info" if rule.startswith(_INFOS + _SOFT) else "warning"


def is_test(path: str) -> bool:
    """Whether a path looks like a test, where other habits hold."""
    pure = PurePath(path)
    if pure.name == "conftest.py" or pure.stem.startswith("test_") or pure.stem.endswith("_test"):
        return True
    return not {"test", "tests", "testing"}.isdisjoint(pure.parts[:-1])
