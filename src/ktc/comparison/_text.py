"""A comparison as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc._table import text_table
from ktc.comparison._view import cautions, costliest_rows, main_bounds
from ktc.report._format import NOT_AVAILABLE, digits, single_line
from ktc.report._summary import STATEMENT

if TYPE_CHECKING:
    from ktc.comparison._comparison import Cell, Comparison, ComparisonColumn, ComparisonRow

__all__ = ["render_text", "signed"]

_LONGEST_NAME = 60
_NONE = "-"


def render_text(comparison: Comparison, limit: int | None) -> str:
    """Render totals, what failed, and the table of nodes; every entry is one line, whatever the names contain."""
    models = " and ".join(map(single_line, comparison.models))
    failed = [column for column in comparison.columns if column.error is not None]
    sections = [
        [f"[Comparison] {models}"],
        [_totals(comparison)],
        [f"{single_line(column.label)}: not evaluated: {single_line(column.error or '')}" for column in failed],
        [f"***** Warning: {sentence}" for sentence in cautions(comparison)],
        _nodes(comparison, limit),
        [STATEMENT],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def signed(change: float | None) -> str:
    """Print a change with its sign."""
    if change is None:
        return NOT_AVAILABLE
    return f"{'+' if change > 0 else '-' if change < 0 else ''}{digits(abs(change), 4)}"


def _totals(comparison: Comparison) -> str:
    header = ("column", "fps", "ms", "expected error", "nodes", "CPU nodes", "MB weights", "MB DRAM", "bound")
    return text_table(header, [_total(column) for column in comparison.columns])


def _total(column: ComparisonColumn) -> tuple[str, ...]:
    label, evaluation = single_line(column.label), column.evaluation
    if evaluation is None:
        return (label, *[NOT_AVAILABLE] * 8)
    return (
        label,
        NOT_AVAILABLE if column.fps is None else digits(column.fps, 4),
        digits(evaluation.time_ms, 4),
        f"+-{digits(evaluation.expected_error_percent, 2)} %",
        str(len(evaluation.nodes)),
        str(len(evaluation.cpu_nodes)),
        digits(evaluation.weight_bytes / 1e6, 3),
        digits(evaluation.dram_bytes / 1e6, 3),
        main_bounds(evaluation),
    )


def _nodes(comparison: Comparison, limit: int | None) -> list[str]:
    rows = costliest_rows(comparison, limit)
    if not rows:
        return []
    pairs = comparison.pairs
    titles = [single_line(column.label) for column in comparison.columns]
    header = ["ONNX nodes", "operators", *titles]
    if pairs:
        changes = (f"change {single_line(comparison.columns[second].label)}" for _, second in pairs)
        header = ["ONNX nodes", "operators", "version", *titles, *changes]
    lines = ["[Nodes] ms", text_table(header, [_cells(row, bool(pairs)) for row in rows], names=3 if pairs else 2)]
    if len(rows) < len(comparison.rows):
        lines.append(f"... and {len(comparison.rows) - len(rows)} rows more")
    return lines


def _cells(row: ComparisonRow, two_versions: bool) -> list[str]:
    status = [row.status or ""] if two_versions else []
    name, operators = (_short(single_line(text)) for text in (row.name, " + ".join(row.operators)))
    return [name, operators, *status, *map(_time, row.cells), *map(signed, row.changes_ms)]


def _time(cell: Cell | None) -> str:
    if cell is None:
        return _NONE
    if cell.cpu_nodes:
        return f"{digits(cell.time_ms, 4)} + CPU" if cell.time_ms else "CPU"
    return digits(cell.time_ms, 4)


def _short(text: str) -> str:
    """Keep the beginning and the end of a long name."""
    if len(text) <= _LONGEST_NAME:
        return text
    half = (_LONGEST_NAME - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
