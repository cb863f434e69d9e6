"""Rewrite ONNX graphs by composable passes without changing what they compute."""

from __future__ import annotations

from kneronnxopt._api import compare, optimize, pass_names
from kneronnxopt._version import __version__
from kneronnxopt.errors import OptimizationError

__all__ = ["OptimizationError", "__version__", "compare", "optimize", "pass_names"]
