"""A comparison as one HTML page without scripts, and as a fragment for notebooks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

from ktc.comparison._text import signed
from ktc.comparison._view import cautions, costliest_rows, main_bounds, row_shares
from ktc.evaluator.evaluation import Bound
from ktc.report._breakdown import time_by_bound
from ktc.report._format import digits, single_line
from ktc.report._summary import STATEMENT, tool_version
from ktc.report._templates import style_sheet, template_environment

if TYPE_CHECKING:
    import jinja2

    from ktc.comparison._comparison import Comparison, ComparisonColumn

__all__ = ["render_html", "render_notebook"]

_ROWS_IN_NOTEBOOK = 10


def render_html(comparison: Comparison) -> str:
    """Render a comparison as one self-contained page.

    It loads nothing, has no script, is readable in ``w3m``, follows the dark mode of the reader's system, and
    prints. Names from the models are escaped, and a content security policy admits no script at all.
    """
    page = _environment().get_template("comparison.html.j2")
    return page.render(_view(comparison, None), style=style_sheet("ktc.comparison", "comparison.css"))


def render_notebook(comparison: Comparison) -> str:
    """Render totals and the rows that matter most as a fragment of HTML."""
    return _environment().get_template("notebook.html.j2").render(_view(comparison, _ROWS_IN_NOTEBOOK))


def _view(comparison: Comparison, limit: int | None) -> dict[str, Any]:
    rows = costliest_rows(comparison, limit)
    bars = [_bar(column) for column in comparison.columns]
    return {
        "comparison": comparison,
        "title": " and ".join(map(single_line, comparison.models)),
        "tool": tool_version(),
        "statement": STATEMENT,
        "cautions": cautions(comparison),
        "bars": bars,
        "bounds": [bound for bound in get_args(Bound) if any(part["bound"] == bound for bar in bars for part in bar)],
        "rows": [(row, row_shares(comparison, row)) for row in rows],
        "cpu": _cpu_table(comparison),
        "left_out": len(comparison.rows) - len(rows),
    }


def _cpu_table(comparison: Comparison) -> list[tuple[str, str, list[int]]]:
    """Operator and reason of the nodes on the CPU, with their number in each column."""
    counts: dict[tuple[str, str], list[int]] = {}
    for index, column in enumerate(comparison.columns):
        for node in () if column.evaluation is None else column.evaluation.cpu_nodes:
            key = node.backend, node.reason or "No reason recorded."
            counts.setdefault(key, [0] * len(comparison.columns))[index] += 1
    return [(*key, numbers) for key, numbers in counts.items()]


def _bar(column: ComparisonColumn) -> list[dict[str, Any]]:
    """Segments of the bar that shows what bounds the time of a column; the bar is 1000 wide."""
    evaluation = column.evaluation
    segments, left = [], 0.0
    for part in () if evaluation is None else time_by_bound(evaluation):
        if part.time_ms:
            label = f"{part.bound}: {digits(part.time_ms, 4)} ms, {100 * part.share:.1f} %"
            segments.append({"bound": part.bound, "left": left, "width": 1000 * part.share, "label": label})
            left += 1000 * part.share
    return segments


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return template_environment("ktc.comparison", signed=signed, bounds=main_bounds)
