"""ONNX graph -> Program: legality, decomposition, fusion, CPU fallback."""

from __future__ import annotations

from ktc.frontend.lower import lower
from ktc.frontend.program import AuxiliaryStep, CpuWork, MacWork, Node, Program, Tensor

__all__ = ["AuxiliaryStep", "CpuWork", "MacWork", "Node", "Program", "Tensor", "lower"]
