"""What a caller can choose about an evaluation."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

from ktc.hardware.user_config import LARGEST_FIGURE, SMALLEST_FIGURE

__all__ = ["EvaluationSettings"]


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The documented arguments of ``ModelConfig.evaluate``, with their documented defaults.

    Attributes
    ----------
    datapath_bitwidth_mode, weight_bitwidth_mode : str
        ``"int8"``, ``"int16"``, ``"mix balance"`` or ``"mix light"``; weights also ``"int4"``.
    model_in_bitwidth_mode, model_out_bitwidth_mode, cpu_node_bitwidth_mode : str
        ``"int8"`` or ``"int16"``.
    weight_bandwidth, dma_bandwidth : float or None
        GB/s (10^9 bytes per second), as the report prints bandwidths; None takes the platform's own.
    compiler_tiling : str
        ``"default"`` or ``"deep_search"``.
    input_fmt : str or None
        Data layout of all inputs, by its documented name; None lets the platform decide.
    """

    datapath_bitwidth_mode: str = "int8"
    weight_bitwidth_mode: str = "int8"
    model_in_bitwidth_mode: str = "int8"
    model_out_bitwidth_mode: str = "int8"
    cpu_node_bitwidth_mode: str = "int8"
    weight_bandwidth: float | None = None
    dma_bandwidth: float | None = None
    compiler_tiling: str = "default"
    input_fmt: str | None = None

    def __post_init__(self) -> None:
        # Numbers of numpy and the like become plain ones, which can be printed; check_settings refuses the others.
        for name in ("weight_bandwidth", "dma_bandwidth"):
            value = getattr(self, name)
            foreign = isinstance(value, numbers.Real) and type(value).__module__ != "builtins"
            if foreign and SMALLEST_FIGURE <= value <= LARGEST_FIGURE:
                object.__setattr__(self, name, float(value))
