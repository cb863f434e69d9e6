"""Two linear layers without anything between become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    float_attribute,
    int_attribute,
    new_constant,
    opset_of,
    producer_for,
    remove_if_unused,
    replace_node,
    static_shape,
)
from kneronnxopt.passes._precision import is_moderate, keeps_precision

__all__ = ["FuseConsecutiveGemms"]

#: How much larger than the product of the weights the sum of its terms' sizes may be; beyond, they cancel.
_CANCELLATION = 1e3


class FuseConsecutiveGemms(NodePass):
    """x -> Gemm(w, c) -> Gemm(v, d) -> y   becomes   x -> Gemm(w v, c v + d) -> y.

    1. Weights and biases are constant, float or double; alpha, beta and transB are taken in; transA of the first
       stays, that of the second must be 0.
    2. w v is not larger than w and v together, which have no other user. Nothing else reads the value between.
    3. c holds one value per column, or one for all; d too.
    4. Stays: products that overflow, underflow or cancel.
    """

    name = "fuse_consecutive_gemms"
    op_types = ("Gemm",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the Gemm before it."""
        first = producer_for(node.inputs[0], node, "Gemm")
        if first is None:
            return False
        if opset_of(node) < 7 or int_attribute(node, "transA", 0) or not _is_no_larger(first, node):
            return False
        inner, outer = _weight_and_bias(first), _weight_and_bias(node)
        if inner is None or outer is None:
            return False
        (w, c), (v, d) = inner, outer
        if w.shape[1] != v.shape[0]:
            return False
        with np.errstate(all="ignore"):
            weight, bias = w @ v, c @ v + d
            terms = float((np.abs(w) @ np.abs(v)).max(initial=0.0))
        dtype = np.dtype(np.float64 if node.outputs[0].dtype == ir.DataType.DOUBLE else np.float32)
        exact = all(is_moderate(array) for array in (w, v)) and keeps_precision(weight, dtype)
        if not exact or not keeps_precision(bias, dtype) or terms > _CANCELLATION * float(np.abs(weight).max()):
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = node.outputs[0].name
        inputs: list[ir.Value | None] = [first.inputs[0], new_constant(graph, f"{name}_weight", weight.astype(dtype))]
        if bias.any() or opset_of(node) < 11:
            inputs.append(new_constant(graph, f"{name}_bias", bias.astype(dtype)))
        replace_node(node, "Gemm", inputs, {"transA": 1} if int_attribute(first, "transA", 0) else None)
        return remove_if_unused(first)


def _is_no_larger(first: ir.Node, second: ir.Node) -> bool:
    """Whether the product of the weights has at most as many elements as both; reads no data."""
    shapes = []
    for node in (first, second):
        weight = node.inputs[1]
        shape = static_shape(weight)
        if weight is None or constant_tensor(weight) is None or len(weight.uses()) != 1:
            return False
        if shape is None or len(shape) != 2 or node.outputs[0].dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return False
        shapes.append(shape[::-1] if int_attribute(node, "transB", 0) else shape)
    (rows, between), (_, columns) = shapes
    return 0 < rows * columns <= between * (rows + columns)


def _weight_and_bias(node: ir.Node) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """``x @ weight + bias`` in double precision."""
    weight = constant(node.inputs[1])
    if weight is None:
        return None
    weight = weight.astype(np.float64) * float_attribute(node, "alpha", 1.0)
    weight = weight.T if int_attribute(node, "transB", 0) else weight
    columns = weight.shape[1]
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return weight, np.zeros(columns)
    bias = constant(value)
    if bias is None or bias.shape not in ((), (1,), (1, 1), (columns,), (1, columns)):
        return None
    return weight, np.broadcast_to(bias.astype(np.float64).reshape(-1) * float_attribute(node, "beta", 1.0), (columns,))
