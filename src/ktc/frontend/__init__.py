"""ONNX graph -> Program: legality, decomposition, fusion, CPU fallback."""

from __future__ import annotations

from ktc.frontend.lower import Analysis, analyse, lower, lower_analysed
from ktc.frontend.program import AuxiliaryStep, CpuWork, MacWork, Node, Program, Tensor

__all__ = [
    "Analysis",
    "AuxiliaryStep",
    "CpuWork",
    "MacWork",
    "Node",
    "Program",
    "Tensor",
    "analyse",
    "lower",
    "lower_analysed",
]
