"""One model on many platforms with many settings: analysed once, lowered once per platform."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ktc.hardware.platform import load_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from ktc.evaluator import Evaluation, EvaluationSettings
    from ktc.frontend import Analysis, Program
    from ktc.frontend.graph import Operator
    from ktc.hardware.platform import Platform

__all__ = ["Estimator"]


class Estimator:
    """Evaluations of one model, each equal to what ``ModelConfig.evaluate`` reports, without writing files.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, checked; it is not changed, and its weights are not read.
    name : str
        What the evaluations call the model.

    Raises
    ------
    ModelError
        The graph is malformed, or an input has a dynamic dimension other than the batch.
    """

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        from ktc.frontend import analyse

        self.name = name
        self._analysis: Analysis = analyse(model)
        self._programs: dict[str, Program] = {}

    @property
    def operators(self) -> Sequence[Operator]:
        """The ONNX nodes, in execution order."""
        return self._analysis.graph.operators

    def program(self, platform: Platform) -> Program:
        """Lower the model for a platform, the first time that it is asked for."""
        from ktc.frontend import lower_analysed

        if platform.name not in self._programs:
            self._programs[platform.name] = lower_analysed(self._analysis, platform)
        return self._programs[platform.name]

    def evaluate(self, platform: str, settings: EvaluationSettings) -> Evaluation:
        """Estimate what one inference costs.

        Raises
        ------
        ConfigError
            The platform does not know a setting.
        """
        from ktc.evaluator import check_settings, evaluate
        from ktc.hardware.input_formats import input_format

        loaded = load_platform(platform)
        if settings.input_fmt is not None and loaded.selectable_input_format:
            settings = dataclasses.replace(settings, input_fmt=input_format(settings.input_fmt).name)
        check_settings(settings, loaded)
        return dataclasses.replace(evaluate(self.program(loaded), loaded, settings), model_name=self.name)
