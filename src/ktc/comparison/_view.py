"""What text and HTML show of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.report._breakdown import share, time_by_bound
from ktc.report._format import single_line
from ktc.report._summary import calibration_sentence

if TYPE_CHECKING:
    from ktc.comparison._comparison import Comparison, ComparisonRow
    from ktc.evaluator import Evaluation

__all__ = ["cautions", "costliest_rows", "main_bounds", "row_shares"]

_BOUNDS_SHOWN = 2


def cautions(comparison: Comparison) -> list[str]:
    """Say where times do not compare, for CPU nodes differ in number, and where the expected error says little."""
    sentences = []
    for column in comparison.columns:
        if column.evaluation is None:
            continue
        if column.evaluation.user_figures:
            names = ", ".join(figure.name for figure in column.evaluation.user_figures)
            sentences.append(
                f"{single_line(column.label)}: figures of your own ({names}); the expected error does not hold for them"
            )
        if words := calibration_sentence(column.evaluation):
            sentences.append(f"{single_line(column.label)}: the expected error says little: {words}")
    for version in dict.fromkeys(column.version for column in comparison.columns):
        numbers = [
            (single_line(column.label), len(column.evaluation.cpu_nodes))
            for column in comparison.columns
            if column.evaluation is not None and column.version == version
        ]
        if len({number for _, number in numbers}) > 1:
            listed = ", ".join(f"{label}: {number}" for label, number in numbers)
            sentences.append(
                f"the columns differ in their number of CPU nodes ({listed}), whose time is left out, "
                "so their times and fps do not compare directly"
            )
    for first, second in comparison.pairs:
        evaluations = [comparison.columns[index].evaluation for index in (first, second)]
        counts = [len(evaluation.cpu_nodes) for evaluation in evaluations if evaluation is not None]
        if len(set(counts)) > 1:
            label = single_line(comparison.columns[second].label)
            sentences.append(
                f"{label}: the versions have {counts[0]} and {counts[1]} CPU nodes, whose time is left out, "
                "so their times and fps do not compare directly"
            )
    return sentences


def row_shares(comparison: Comparison, row: ComparisonRow) -> list[float]:
    """Return the part of each column's time that a row takes, 0 to 1."""
    return [
        0.0 if cell is None else share(cell.time_ms, column.time_ms or 0.0)
        for column, cell in zip(comparison.columns, row.cells, strict=True)
    ]


def costliest_rows(comparison: Comparison, limit: int | None) -> tuple[ComparisonRow, ...]:
    """Return the rows to show, in their order.

    Two versions: the first ones, which changed most. One model: those that take the largest part of the time of
    any column.
    """
    rows = comparison.rows
    if limit is None or len(rows) <= limit or comparison.pairs:
        return rows[:limit]
    weights = [max(row_shares(comparison, row)) for row in rows]
    best = sorted(range(len(rows)), key=lambda index: weights[index], reverse=True)[:limit]
    return tuple(rows[index] for index in sorted(best))


def main_bounds(evaluation: Evaluation) -> str:
    """Name the causes that determine most of the time, e.g. ``"compute 61 %, read 20 %"``."""
    parts = sorted(time_by_bound(evaluation), key=lambda part: part.time_ms, reverse=True)
    shown = (part for part in parts[:_BOUNDS_SHOWN] if part.time_ms)
    return ", ".join(f"{part.bound} {100 * part.share:.0f} %" for part in shown) or "-"
