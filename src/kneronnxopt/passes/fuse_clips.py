"""Two bounds in a row become one Clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    float_attribute,
    is_op,
    new_constant,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
)

__all__ = ["FuseConsecutiveClips"]

_BOUNDING = ("Clip", "Max", "Min", "Relu")
_DTYPES: dict[ir.DataType | None, np.dtype[np.floating[Any]]] = {
    ir.DataType.FLOAT: np.dtype(np.float32),
    ir.DataType.DOUBLE: np.dtype(np.float64),
}


@dataclass(frozen=True, slots=True)
class _Bounds:
    """``y = min(max(source, low), high)``."""

    source: ir.Value
    low: float
    high: float


class FuseConsecutiveClips(NodePass):
    """x -> Relu | Clip | Max(c) | Min(c) -> Relu | Clip | Max(c) | Min(c) -> y   becomes   x -> Clip -> y.

    1. Two intervals that meet: the result is their intersection. Relu is [0, inf); a bound that a Clip lacks
       is the largest finite number, as the standard has it, so an infinite x still comes out finite.
    2. Relu after Relu: Relu.
    3. Stays: bounds that are not constant scalars, or NaN; a minimum above the maximum, of one or of both
       together; Max after Max, and whatever else has neither two bounds nor a Clip.
    4. float, and from opset 12 double; NaN passes through each of these operators. Nothing else reads the
       value between.
    """

    name = "fuse_consecutive_clips"
    op_types = _BOUNDING

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the bound before it."""
        later = _bounds(node)
        first = later.source.producer() if later is not None else None
        if later is None or first is None or not is_op(first, *_BOUNDING) or sole_consumer(later.source) is not node:
            return False
        earlier = _bounds(first)
        if earlier is None:
            return False
        low, high = max(earlier.low, later.low), min(earlier.high, later.high)
        if low > high:  # case 3
            return False
        if is_op(first, "Relu") and is_op(node, "Relu"):  # case 2
            replace_node(node, "Relu", [earlier.source])
        elif is_op(first, "Clip") or is_op(node, "Clip") or (low > -math.inf and high < math.inf):
            _replace_by_clip(node, earlier.source, low, high)
        else:
            return False
        return remove_if_unused(first)


def _replace_by_clip(node: ir.Node, source: ir.Value, low: float, high: float) -> None:
    dtype = _DTYPES[source.dtype]
    limits = np.finfo(dtype)
    bounds = {"min": low if low != limits.min else None, "max": high if high != limits.max else None}
    if opset_of(node) < 11:
        replace_node(node, "Clip", [source], {key: bound for key, bound in bounds.items() if bound is not None})
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    inputs: list[ir.Value | None] = [source]
    for key, bound in bounds.items():
        array: np.ndarray[Any, Any] = np.array(bound, dtype=dtype)
        inputs.append(None if bound is None else new_constant(graph, f"{node.outputs[0].name}_{key}", array))
    while inputs[-1] is None:
        inputs.pop()
    replace_node(node, "Clip", inputs)


def _bounds(node: ir.Node) -> _Bounds | None:
    """Interval of one operator; None where the pass must not act."""
    opset, dtype = opset_of(node), node.outputs[0].dtype
    if opset < 6 or dtype not in _DTYPES or (opset < 12 and dtype != ir.DataType.FLOAT):
        return None
    if node.op_type in ("Max", "Min"):
        return _two_operands(node)
    source = node.inputs[0]
    if source is None or source.dtype != dtype:
        return None
    if node.op_type == "Relu":
        return _Bounds(source, 0.0, math.inf)
    limits = np.finfo(_DTYPES[dtype])
    bounds: list[float | None] = [float(limits.min), float(limits.max)]
    for index, key in enumerate(("min", "max")):
        if opset < 11:
            bounds[index] = float_attribute(node, key, float(bounds[index] or 0.0))
        elif len(node.inputs) > index + 1 and node.inputs[index + 1] is not None:
            bounds[index] = _scalar(node.inputs[index + 1])
    low, high = bounds
    return None if low is None or high is None or low > high else _Bounds(source, low, high)


def _two_operands(node: ir.Node) -> _Bounds | None:
    """Min or Max with a constant of one element that does not raise the rank."""
    if len(node.inputs) != 2 or opset_of(node) < 8:
        return None
    for data, other in ((0, 1), (1, 0)):
        source, operand = node.inputs[data], node.inputs[other]
        bound = _scalar(operand)
        if source is None or source.shape is None or operand is None or operand.shape is None or bound is None:
            continue
        if len(operand.shape) <= len(source.shape):
            return _Bounds(source, *((bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)))
    return None


def _scalar(value: ir.Value | None) -> float | None:
    array = constant(value)
    if array is None or array.size != 1:
        return None
    bound = float(array.reshape(())[()])
    return None if math.isnan(bound) else bound
