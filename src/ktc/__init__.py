"""Prepare neural networks for Kneron NPUs: optimise, estimate performance, check results.

The names are those that Kneron documents for its own toolchain. This is an independent, open implementation:
its estimates come from an analytical model, and its files are not loaded by a chip.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kneronnxopt._version import __version__
from ktc import errors, onnx_optimizer
from ktc.inference import convert_channel_last_to_first, kneron_inference
from ktc.model_config import ModelConfig

if TYPE_CHECKING:
    from ktc._annotate import annotate
    from ktc.advice import advise
    from ktc.comparison import Comparison, compare
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

#: Names that are loaded on first use, because importing ktc must stay fast, and the module of each.
_ON_FIRST_USE = {
    "Comparison": "ktc.comparison",
    "Sweep": "ktc.sweeping",
    "advise": "ktc.advice",
    "annotate": "ktc._annotate",
    "compare": "ktc.comparison",
    "sweep": "ktc.sweeping",
    "sweep_rows": "ktc.sweeping",
}
#: Packages that need no import of their own.
_PACKAGES = ("advice", "comparison", "evaluator", "hardware", "sweeping")
#: Documented names that say why they are not there.
_NOT_YET = ("combine_nef", "compile", "encrypt_compile", "get_radix")

if not TYPE_CHECKING:  # a type checker would take any name for one of the module's

    def __getattr__(name: str) -> object:
        if name in _ON_FIRST_USE:
            value = getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
            globals()[name] = value
            return value
        if name in _PACKAGES:
            return importlib.import_module(f"ktc.{name}")
        if name in _NOT_YET:
            # With ``name``, Python does not add the name that is most alike, here another function.
            raise AttributeError(f"ktc.{name} is not available yet; it follows with BIE and NEF files", name=name)
        raise AttributeError(f"module 'ktc' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_ON_FIRST_USE, *_PACKAGES})
