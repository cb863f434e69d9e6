"""Many evaluations at once: models x platforms x settings, in parallel, as a table."""

from __future__ import annotations

from ktc.sweeping._sweep import sweep, sweep_rows
from ktc.sweeping._table import COLUMNS, Row, Sweep

__all__ = ["COLUMNS", "Row", "Sweep", "sweep", "sweep_rows"]
