"""The report as plain values, and the JSON Schema that describes them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ktc.report._advice import render_advice_json
from ktc.report._breakdown import time_by_bound, time_range
from ktc.report._columns import ALL_COLUMNS
from ktc.report._ioinfo import render_ioinfo
from ktc.report._summary import STATEMENT, messages, summary, tool_version

if TYPE_CHECKING:
    from ktc.advice import Advised
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["SCHEMA_VERSION", "render_json", "schema"]

SCHEMA_VERSION = "2.0"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``model_fx_report.json``, units included."""
    text = files("ktc.report").joinpath("model_fx_report.schema.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def render_json(evaluation: Evaluation, advised: Advised | None = None) -> dict[str, Any]:
    """Return everything that an evaluation holds, as described by :func:`schema`.

    What does not exist, such as the frame rate of a model that never uses the NPU, is None.
    """
    fastest, slowest = time_range(evaluation)
    return {
        "schema_version": SCHEMA_VERSION,
        "generator": tool_version(),
        "statement": STATEMENT,
        "platform": evaluation.platform,
        "model_name": evaluation.model_name,
        "warnings": list(messages(evaluation)),
        "summary": {field.name: field.value for field in summary(evaluation)},
        "result": {
            "fps": evaluation.fps if math.isfinite(evaluation.fps) else None,
            "time_ms": evaluation.time_ms,
            "time_ms_range": [fastest, slowest],
            "expected_error_percent": evaluation.expected_error_percent,
            "expected_error_source": evaluation.expected_error_source,
            "share_outside_calibration": evaluation.share_outside_calibration,
            "nodes_outside_calibration": len(evaluation.nodes_outside_calibration),
            "settings_outside_calibration": list(evaluation.settings_outside_calibration),
            "theoretical_conv_ms": evaluation.theoretical_conv_ms,
            "mac_efficiency_percent": 100 * evaluation.mac_efficiency,
            "cpu_time_ms": evaluation.cpu_time_ms,
            "cpu_nodes_without_time": evaluation.cpu_nodes_without_time,
            "mac_running_ms": evaluation.mac_running_ms,
            "mac_idle_ms": evaluation.mac_idle_ms,
            "read_bytes": evaluation.read_bytes,
            "write_bytes": evaluation.write_bytes,
            "weight_bytes": evaluation.weight_bytes,
            "average_dram_bandwidth_gbps": evaluation.average_dram_bandwidth,
        },
        "hardware": {
            "frequency_mhz": evaluation.frequency_mhz,
            "macs_per_cycle": evaluation.macs_per_cycle,
            "read_bandwidth_gbps": evaluation.read_bandwidth,
            "write_bandwidth_gbps": evaluation.write_bandwidth,
            "weight_bandwidth_gbps": evaluation.weight_bandwidth,
            "feature_memory_bytes": evaluation.feature_memory_bytes,
            "exposed_share": evaluation.exposed_share,
            "cpu_core": evaluation.cpu_core,
            "cpu_frequency_mhz": evaluation.cpu_frequency_mhz,
            "user_figures": [asdict(figure) for figure in evaluation.user_figures],
        },
        "settings": asdict(evaluation.settings),
        "time_by_bound": [asdict(part) for part in time_by_bound(evaluation)],
        "nodes": [{column.name: column.of(node) for column in ALL_COLUMNS} for node in evaluation.nodes],
        "io": render_ioinfo(evaluation),
        "advice": render_advice_json(advised),
    }
