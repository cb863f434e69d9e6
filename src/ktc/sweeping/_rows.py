"""Rows of a sweep, filled in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ktc.errors import KtcError
from ktc.evaluator.evaluation import Bound
from ktc.sweeping._table import FIGURES, SETTINGS

if TYPE_CHECKING:
    from ktc._estimator import Estimator
    from ktc.evaluator import Evaluation
    from ktc.sweeping._cases import Case, Task
    from ktc.sweeping._table import Row

__all__ = ["failure", "fill_rows"]


def fill_rows(task: Task) -> list[Row]:
    """Fill the rows of one task; runs in a worker."""
    try:
        estimator = task[0].source.estimator()
    except KtcError as error:
        return [failure(case, str(error)) for case in task]
    return [_row(case, estimator) for case in task]


def _row(case: Case, estimator: Estimator) -> Row:
    try:
        evaluation = estimator.evaluate(case.platform, case.setting.settings, case.setting.ip_config)
    except KtcError as error:
        return failure(case, str(error))
    return _names(case) | _figures(evaluation) | {"error": None}


def failure(case: Case, error: str) -> Row:
    """The row of an evaluation that failed."""
    return _names(case) | dict.fromkeys(FIGURES) | {"error": error}


def _names(case: Case) -> Row:
    names = {"model": case.source.name, "platform": case.platform, "setting": case.setting.name}
    return names | {name: getattr(case.setting.settings, name) for name in SETTINGS}


def _figures(evaluation: Evaluation) -> Row:
    from ktc.report._breakdown import time_by_bound

    shares = {part.bound: part.share for part in time_by_bound(evaluation)}
    return {
        "fps": evaluation.fps if evaluation.time_ms else None,
        "time_ms": evaluation.time_ms,
        "expected_error_percent": evaluation.expected_error_percent,
        "mac_efficiency": evaluation.mac_efficiency,
        "nodes": len(evaluation.nodes),
        "cpu_nodes": len(evaluation.cpu_nodes),
        "macs": sum(node.macs for node in evaluation.nodes),
        "read_bytes": evaluation.read_bytes,
        "write_bytes": evaluation.write_bytes,
        "weight_bytes": evaluation.weight_bytes,
        "dram_bytes": evaluation.dram_bytes,
    } | {f"bound_{bound}": shares.get(bound, 0.0) for bound in get_args(Bound)}
