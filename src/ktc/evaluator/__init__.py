"""Program x Platform x settings -> Evaluation: tiling, cost, schedule."""

from __future__ import annotations

from ktc.evaluator.alternatives import other_widths
from ktc.evaluator.evaluate import evaluate
from ktc.evaluator.evaluation import Evaluation, IoTensor, NodeEvaluation
from ktc.evaluator.settings import EvaluationSettings
from ktc.evaluator.validation import check_settings

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "IoTensor",
    "NodeEvaluation",
    "check_settings",
    "evaluate",
    "other_widths",
]
