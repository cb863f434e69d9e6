"""A comparison as plain values, and the JSON Schema that describes them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ktc.comparison._comparison import Comparison, ComparisonColumn, ComparisonRow

__all__ = ["SCHEMA_VERSION", "render_json", "schema"]

SCHEMA_VERSION = "1.0"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``comparison.json``, units included."""
    text = files("ktc.comparison").joinpath("comparison.schema.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def render_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything that a comparison holds, as described by :func:`schema`."""
    from ktc.report._summary import STATEMENT, tool_version

    return {
        "schema_version": SCHEMA_VERSION,
        "generator": tool_version(),
        "statement": STATEMENT,
        "models": list(comparison.models),
        "columns": [_column(column) for column in comparison.columns],
        "rows": [_row(row) for row in comparison.rows],
    }


def _column(column: ComparisonColumn) -> dict[str, Any]:
    return {
        "label": column.label,
        "version": column.version,
        "model": column.model,
        "platform": column.platform,
        "setting": column.setting,
        "settings": {name: _setting(value) for name, value in asdict(column.settings).items()},
        "error": column.error,
        "result": _result(column),
    }


def _setting(value: object) -> str | float | None:
    """The value as JSON has it; what is neither text nor finite number was refused, and is shown as Python has it."""
    if value is None or isinstance(value, str):
        return value
    return value if isinstance(value, (int, float)) and math.isfinite(value) else repr(value)


def _result(column: ComparisonColumn) -> dict[str, Any] | None:
    from ktc.report._breakdown import time_by_bound
    from ktc.report._summary import messages

    evaluation = column.evaluation
    if evaluation is None:
        return None
    return {
        "fps": column.fps,
        "time_ms": evaluation.time_ms,
        "expected_error_percent": evaluation.expected_error_percent,
        "nodes": len(evaluation.nodes),
        "read_bytes": evaluation.read_bytes,
        "write_bytes": evaluation.write_bytes,
        "weight_bytes": evaluation.weight_bytes,
        "dram_bytes": evaluation.dram_bytes,
        "time_by_bound": [asdict(part) for part in time_by_bound(evaluation)],
        "cpu_nodes": [
            {"node": node.name, "origins": list(node.origins), "operator": node.backend, "reason": node.reason}
            for node in evaluation.cpu_nodes
        ],
        "warnings": list(messages(evaluation)),
    }


def _row(row: ComparisonRow) -> dict[str, Any]:
    return {
        "origins": list(row.origins),
        "other_origins": list(row.other_origins),
        "operators": list(row.operators),
        "status": row.status,
        "changes_ms": list(row.changes_ms),
        "cells": [None if cell is None else _plain(asdict(cell)) for cell in row.cells],
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
