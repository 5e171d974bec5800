"""Coding: measured quality of code, and the steward that watches a folder of it."""

from aos.coding.metrics import Change, CodeQualityMetrics, Complexity, Issue, compare

__all__ = ["Change", "CodeQualityMetrics", "Complexity", "Issue", "compare"]
