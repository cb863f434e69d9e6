"""The exception that kneronnxopt raises on purpose."""

from __future__ import annotations

__all__ = ["OptimizationError"]


class OptimizationError(RuntimeError):
    """A model cannot be read, is not valid ONNX, or an argument does not fit it."""
