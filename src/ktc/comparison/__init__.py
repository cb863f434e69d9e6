"""Evaluations side by side: platforms, settings, two versions of a model."""

from __future__ import annotations

from ktc.comparison._compare import compare
from ktc.comparison._comparison import Cell, Comparison, ComparisonColumn, ComparisonRow
from ktc.comparison._json import schema
from ktc.comparison._regressions import Baseline, Regression, find_regressions, read_baseline

__all__ = [
    "Baseline",
    "Cell",
    "Comparison",
    "ComparisonColumn",
    "ComparisonRow",
    "Regression",
    "compare",
    "find_regressions",
    "read_baseline",
    "schema",
]
