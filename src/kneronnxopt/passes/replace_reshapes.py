"""Squeeze, Unsqueeze, Flatten and Expand become Reshape where they only rename axes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant_tensor,
    int_attribute,
    is_op,
    new_constant,
    opset_of,
    replace_node,
    static_shape,
)

__all__ = ["EliminateExpandBeforeBroadcast", "ReplaceWithReshape"]


class ReplaceWithReshape(NodePass):
    """x -> Squeeze | Unsqueeze | Flatten | Expand -> y   becomes   x -> Reshape(shape of y) -> y.

    1. x and y have static shapes without a 0, and an input that says how is constant (a declared shape may err).
    2. Flatten from axis 1 that feeds a Gemm stays Flatten.
    3. Expand: only where it adds dimensions of size 1 and repeats nothing.
    """

    name = "replace_with_reshape"
    op_types = ("Expand", "Flatten", "Squeeze", "Unsqueeze")

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one operator."""
        source, before, after = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.outputs[0])
        if source is None or before is None or after is None or 0 in (*before, *after) or opset_of(node) < 5:
            return False
        if len(node.inputs) > 1 and node.inputs[1] is not None and constant_tensor(node.inputs[1]) is None:
            return False
        splits_batch = is_op(node, "Flatten") and int_attribute(node, "axis", 1) in (1, 1 - len(before))
        if splits_batch and any(is_op(use.node, "Gemm") for use in node.outputs[0].uses()):  # case 2
            return False
        if math.prod(before) != math.prod(after):  # case 3
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(after, dtype=np.int64))
        replace_node(node, "Reshape", [source, shape])
        return True


#: Operators that broadcast all their operands against each other since opset 8, when Expand came.
_BROADCASTING = frozenset(
    {
        *("Add", "Div", "Mod", "Mul", "Pow", "Sub"),
        *("Max", "Mean", "Min", "Sum"),
        *("And", "Or", "Xor", "Where"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    }
)


class EliminateExpandBeforeBroadcast(NodePass):
    """x -> Expand -> Add | Mul | Where | ... -> y   becomes   x -> Add | Mul | Where | ... -> y.

    1. Every user broadcasts its operands, and its result has the same shape without the Expand.
    2. Stays: one user of another kind, a user whose other operands are too small (``Mul(e, e)``), a graph
       output, a use in a subgraph, a shape that is not static or computed.
    """

    name = "eliminate_expand_before_broadcast"
    op_types = ("Expand",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one Expand."""
        source, expanded = node.inputs[0], node.outputs[0]
        shape = static_shape(source)
        if source is None or shape is None or expanded.is_graph_output() or not expanded.uses():
            return False
        if constant_tensor(node.inputs[1]) is None:
            return False
        users = {use.node for use in expanded.uses()}
        return all(_broadcasts_anyway(user, node, shape) for user in users) and bypass(node, source)


def _broadcasts_anyway(user: ir.Node, expand: ir.Node, shape: tuple[int, ...]) -> bool:
    if not is_op(user, *_BROADCASTING) or user.graph is not expand.graph:
        return False
    operands = [shape if value is expand.outputs[0] else static_shape(value) for value in user.inputs]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands):
        return False
    try:
        return np.broadcast_shapes(*known) == static_shape(user.outputs[0])
    except ValueError:
        return False
