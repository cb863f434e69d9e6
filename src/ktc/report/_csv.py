"""The node table as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from ktc.report._columns import ALL_COLUMNS

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["inert", "render_csv"]

# A spreadsheet takes a cell that begins so for a formula, and names come from models we did not write.
_FORMULA = ("=", "+", "-", "@")


def render_csv(evaluation: Evaluation) -> str:
    """Render the node table as CSV (RFC 4180, one line a node): documented columns first, then ours.

    Characters that would break the line are escaped, and text that a spreadsheet would run as a
    formula gets an apostrophe in front; the JSON report has all names as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.name for column in ALL_COLUMNS)
    for node in evaluation.nodes:
        writer.writerow(column.plain(node) if column.numeric else inert(column.plain(node)) for column in ALL_COLUMNS)
    return stream.getvalue()


def inert(text: str) -> str:
    """Return text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
