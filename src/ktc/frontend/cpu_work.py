"""What a CPU node makes the host core do: an order of magnitude, from the shapes alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ktc.frontend.conditions import OperatorView
from ktc.frontend.graph import element_count
from ktc.frontend.inference import CONTROL_FLOW
from ktc.frontend.program import CpuWork
from ktc.frontend.views import RESHAPES
from ktc.hardware.operators import decompositions

if TYPE_CHECKING:
    from ktc.frontend.graph import Graph, Operator

__all__ = ["cpu_work"]

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "DeformConv": 1}  # position of the weights
_PRODUCTS = {"MatMul": 0, "Gemm": 0, "MatMulInteger": 0, "QLinearMatMul": 0}  # position of the first operand
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_WINDOWS = frozenset({"AveragePool", "MaxPool", "LpPool"})
_SORTS = frozenset({"TopK", "Unique", "NonMaxSuppression"})
#: Pixels that one output pixel of an interpolation is made of.
_TAPS = {"nearest": 1, "linear": 4, "bilinear": 4, "cubic": 16, "bicubic": 16}
_RESIZES = frozenset({"Resize", "Upsample", "GridSample"})
#: Operators of one or more elementary functions a value: tens to hundreds of cycles each.
_FUNCTIONS = frozenset(
    {
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Cos",
        "Cosh",
        "Sin",
        "Sinh",
        "Tan",
        "Tanh",
        "Erf",
        "Exp",
        "Log",
    }
    | {"Pow", "Sqrt", "Sigmoid", "Softplus", "Softsign", "Mish", "Gelu", "Elu", "Celu", "Selu", "Swish", "Div"}
    | {"Reciprocal", "LogSoftmax", "Softmax", "ReduceLogSumExp", "ReduceLogSum", "ReduceL2", "LpNormalization", "Mod"}
)


def cpu_work(operator: Operator, graph: Graph) -> CpuWork | None:
    """Work of one operator on a CPU.

    Returns
    -------
    CpuWork or None
        None where the shapes do not say: a shape is not known, control flow, an operator of another domain.
    """
    names = [name for name in (*operator.inputs, *operator.outputs) if name]
    if operator.domain or operator.type in CONTROL_FLOW or any(graph.shape(name) is None for name in names):
        return None
    maps = [n for n in operator.inputs if n and not graph.is_constant(n)]
    ins = sum(element_count(graph.shape(name) or ()) for name in maps)
    outs = sum(element_count(graph.shape(name) or ()) for name in operator.outputs if name)
    moved = ins + outs
    macs = _macs(operator, graph)
    if macs is not None:
        return CpuWork(macs=macs, elements=outs, functions=0, moved_elements=moved + _constants(operator, graph))
    if operator.type in RESHAPES:
        return CpuWork(macs=0, elements=outs, functions=0, moved_elements=moved)
    size = max(ins, outs)
    steps = tuple(decompositions().get(operator.type, {}).get("steps", ())) or (operator.type,)
    functions = size * sum(step in _FUNCTIONS for step in steps)
    return CpuWork(
        macs=0,
        elements=max(size, outs * _taps(operator, graph)) * len(steps),
        functions=functions,
        moved_elements=moved,
    )


def _constants(operator: Operator, graph: Graph) -> int:
    names = [name for name in operator.inputs if name and graph.is_constant(name)]
    return sum(element_count(graph.shape(name) or ()) for name in names)


def _taps(operator: Operator, graph: Graph) -> int:
    """Elements that one output element is made of, where it is more than one."""
    if operator.type in _WINDOWS:
        return max(1, element_count(OperatorView(operator, graph, "").kernel))
    if operator.type in _RESIZES:
        return _TAPS.get(str(operator.attribute("mode", "nearest")), 1)
    if operator.type in _SORTS:
        size = element_count(graph.shape(operator.inputs[0]) or ()) if operator.inputs else 1
        return max(1, math.ceil(math.log2(size))) if size > 1 else 1
    if operator.type == "LRN":
        return max(1, operator.integer("size", 1))
    return 1


def _macs(operator: Operator, graph: Graph) -> int | None:
    """Multiply-accumulates, None if it is no convolution, product or recurrent layer."""
    shapes = [graph.shape(name) or () for name in operator.inputs]
    result = graph.shape(operator.outputs[0]) or () if operator.outputs and operator.outputs[0] else ()
    kind = operator.type
    if kind in _CONVOLUTIONS and len(shapes) > _CONVOLUTIONS[kind]:
        return element_count(result) * element_count(shapes[_CONVOLUTIONS[kind]][1:])
    if kind == "ConvTranspose" and len(shapes) > 1:
        return element_count(shapes[0]) * element_count(shapes[1][1:])
    if kind in _PRODUCTS and shapes and shapes[0]:
        inner = shapes[0][0] if kind == "Gemm" and operator.integer("transA", 0) else shapes[0][-1]
        return element_count(result) * inner
    if kind in _RECURRENT and len(shapes) > 2 and shapes[0]:
        positions = element_count(shapes[0][:-1])  # steps times batch
        return positions * (element_count(shapes[1]) + element_count(shapes[2]))
    if kind == "Einsum":
        return _einsum_macs(operator, shapes)
    return None


def _einsum_macs(operator: Operator, shapes: list[tuple[int, ...]]) -> int:
    """Product of the extents of all indices; those behind an ellipsis count as one index each."""
    terms = str(operator.attribute("equation", "")).replace(" ", "").partition("->")[0].split(",")
    extents: dict[object, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        before, _, after = term.partition("...")
        hidden = range(max(0, len(shape) - len(before) - len(after))) if "..." in term else ()
        for index, extent in zip([*before, *hidden, *after], shape, strict=False):
            extents[index] = max(extent, extents.get(index, 1))
    return element_count(tuple(extents.values()))
