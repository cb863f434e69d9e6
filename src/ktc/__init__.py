"""Prepare neural networks for Kneron NPUs: optimise, estimate performance, check results.

The names are those that Kneron documents for its own toolchain. This is an independent, open implementation:
its estimates come from an analytical model, and its files are not loaded by a chip.
"""

from __future__ import annotations

from kneronnxopt._version import __version__
from ktc import errors, onnx_optimizer
from ktc._annotate import annotate
from ktc.advice import advise
from ktc.comparison import Comparison, compare
from ktc.inference import convert_channel_last_to_first, kneron_inference
from ktc.model_config import ModelConfig
from ktc.sweeping import Sweep, sweep, sweep_rows

__all__ = [
    "Comparison",
    "ModelConfig",
    "Sweep",
    "__version__",
    "advise",
    "annotate",
    "compare",
    "convert_channel_last_to_first",
    "errors",
    "kneron_inference",
    "onnx_optimizer",
    "sweep",
    "sweep_rows",
]
