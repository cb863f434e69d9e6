"""Rewrite ONNX graphs by composable passes without changing what they compute."""

from __future__ import annotations

from kneronnxopt._api import compare, optimize, pass_names
from kneronnxopt.errors import OptimizationError

__all__ = ["OptimizationError", "compare", "optimize", "pass_names"]
__version__ = "0.1.0"
