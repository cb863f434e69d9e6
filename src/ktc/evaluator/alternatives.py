"""The same program in the other bit widths of its platform."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ktc.evaluator.evaluate import evaluate

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Evaluation
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import Program
    from ktc.hardware.platform import Platform

__all__ = ["other_widths"]


def other_widths(program: Program, platform: Platform, settings: EvaluationSettings) -> tuple[Evaluation, ...]:
    """Evaluate a program in each other width of the datapath, and in each other width of the weights.

    Both choices are independent: the width of the weights changes no feature map, that of the datapath no weight,
    and each has a factor of its own on the MAC cycles. So these few evaluations hold the parts of every pair.

    Parameters
    ----------
    program : Program
        What `ktc.frontend.lower` made for the same platform.
    platform : Platform
        The platform.
    settings : EvaluationSettings
        The settings from which one mode at a time is changed.

    Returns
    -------
    tuple of Evaluation
        Without that of ``settings`` itself; empty for ``"deep_search"``, whose cuts depend on every setting at once.

    Raises
    ------
    ConfigError
        A setting is not allowed, or the program was lowered for another platform.
    """
    if settings.compiler_tiling != "default" and settings.compiler_tiling in platform.compiler_tilings:
        return ()
    changed = [
        *(dataclasses.replace(settings, datapath_bitwidth_mode=mode) for mode in platform.datapath_modes),
        *(dataclasses.replace(settings, weight_bitwidth_mode=mode) for mode in platform.weight_modes),
    ]
    return tuple(evaluate(program, platform, each) for each in changed if each != settings)
