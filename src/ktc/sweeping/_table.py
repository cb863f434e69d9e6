"""The result of a sweep: a list of rows that knows how to become a CSV file."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ktc._files import write_files
from ktc.evaluator.evaluation import Bound
from ktc.evaluator.settings import EvaluationSettings

if TYPE_CHECKING:
    import os

__all__ = ["COLUMNS", "FIGURES", "SETTINGS", "Row", "Sweep"]

Row = dict[str, Any]

SETTINGS = tuple(field.name for field in dataclasses.fields(EvaluationSettings))
FIGURES = (
    *("fps", "time_ms", "expected_error_percent", "mac_efficiency", "nodes", "cpu_nodes", "macs"),
    *("read_bytes", "write_bytes", "weight_bytes", "dram_bytes"),
    *(f"bound_{bound}" for bound in get_args(Bound)),
)
#: Keys of a row, and columns of the CSV file.
COLUMNS = ("model", "platform", "setting", *SETTINGS, *FIGURES, "error")


class Sweep(list[Row]):
    """Rows of a sweep: a list of dicts, one per model, platform and setting, in that order.

    The keys are ``ktc.sweep.COLUMNS``: names and settings; ``fps``, ``time_ms`` (ms per inference),
    ``expected_error_percent``, ``mac_efficiency`` (0 to 1), ``nodes``, ``cpu_nodes``, ``macs``; DRAM traffic per
    inference in bytes; ``bound_<cause>``, the share (0 to 1) of the time that a cause determines; and ``error``.
    Where an evaluation failed, ``error`` is a sentence and the figures are None; else ``error`` is None. ``fps`` is
    None too where nothing runs on the NPU.
    """

    @property
    def failed(self) -> list[Row]:
        """The rows with an error."""
        return [row for row in self if row["error"] is not None]

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Render the rows as CSV (RFC 4180), and write them to a file if a path is given.

        The file appears whole or not at all. Text that a spreadsheet would run as a formula gets an apostrophe in
        front; None is an empty cell.

        Raises
        ------
        ConfigError
            The file cannot be written.
        """
        from ktc.report._csv import inert
        from ktc.report._format import single_line

        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self:
            cells = (row[column] for column in COLUMNS)
            writer.writerow(inert(single_line(cell)) if isinstance(cell, str) else cell for cell in cells)
        text = stream.getvalue()
        if path is not None:
            target = Path(path)
            write_files(target.parent, {target.name: text})
        return text
