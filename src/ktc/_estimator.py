"""One model on many platforms with many settings: analysed once, lowered once per platform."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ktc.errors import ModelError
from ktc.hardware.user_config import configured_platform, user_figures

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

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
    path : path, optional
        The file that the model was read from, which messages name.

    Raises
    ------
    ModelError
        The graph is malformed, or an input has a dynamic dimension other than the batch.
    """

    def __init__(self, model: onnx.ModelProto, name: str, path: str | os.PathLike[str] | None = None) -> None:
        from ktc.frontend import analyse

        self.name = name
        try:
            self._analysis: Analysis = analyse(model)
        except ModelError as error:
            if path is None:
                raise
            raise ModelError(f"{path}: {error}") from error
        self._programs: dict[tuple[str, ...], Program] = {}

    @property
    def operators(self) -> Sequence[Operator]:
        """The ONNX nodes, in execution order."""
        return self._analysis.graph.operators

    def program(self, platform: Platform) -> Program:
        """Lower the model for a platform with its figures, the first time that it is asked for."""
        from ktc.frontend import lower_analysed

        key = platform.name, *(f"{figure.name}={figure.value!r}" for figure in user_figures(platform))
        if key not in self._programs:
            self._programs[key] = lower_analysed(self._analysis, platform)
        return self._programs[key]

    def evaluate(
        self,
        platform: str,
        settings: EvaluationSettings,
        ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Estimate what one inference costs; `ip_config` is that of ``ModelConfig.evaluate``.

        Raises
        ------
        ConfigError
            The platform does not know a setting, or `ip_config` is not valid.
        """
        from ktc.evaluator import check_settings, evaluate
        from ktc.hardware.input_formats import input_format

        loaded = configured_platform(platform, ip_config)
        if settings.input_fmt is not None and loaded.selectable_input_format:
            settings = dataclasses.replace(settings, input_fmt=input_format(settings.input_fmt).name)
        check_settings(settings, loaded)
        return dataclasses.replace(evaluate(self.program(loaded), loaded, settings), model_name=self.name)
