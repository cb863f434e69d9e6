"""Chains of operators that only rename axes become one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    ints_attribute,
    is_op,
    new_constant,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
    static_shape,
)

__all__ = ["RESHAPES", "FuseConsecutiveReshapes", "FuseConsecutiveTransposes", "target_shape"]

#: Operators that keep the order of the elements.
RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


class FuseConsecutiveReshapes(NodePass):
    """x -> Reshape -> Flatten -> Squeeze -> Unsqueeze -> y   becomes   x -> Reshape(shape of y) -> y.

    1. Each pair becomes one Reshape with a constant shape, at opset 5 and later.
    2. y needs a static shape, except for at most one dimension (which is inferred) if none is 0.
    3. The first of the pair may have other users: it stays for them.
    """

    name = "fuse_consecutive_reshapes"
    op_types = RESHAPES

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the reshape-like node before it."""
        middle = node.inputs[0]
        first = middle.producer() if middle is not None else None
        graph = node.graph
        if first is None or not is_op(first, *RESHAPES) or first.graph is not graph or opset_of(node) < 5:
            return False
        source, target = first.inputs[0], target_shape(node.outputs[0])
        if source is None or target is None:
            return False
        assert isinstance(graph, ir.Graph)
        shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(target, dtype=np.int64))
        replace_node(node, "Reshape", [source, shape])
        remove_if_unused(first)
        return True


class FuseConsecutiveTransposes(NodePass):
    """x -> Transpose(p) -> Transpose(q) -> y   becomes   x -> Transpose(p[q]) -> y, or x where they cancel.

    The first may have other users: it stays for them.
    """

    name = "fuse_consecutive_transposes"
    op_types = ("Transpose",)

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the Transpose before it."""
        middle = node.inputs[0]
        first = middle.producer() if middle is not None else None
        if first is None or not is_op(first, "Transpose") or first.graph is not node.graph:
            return False
        source, p, q = first.inputs[0], ints_attribute(first, "perm"), ints_attribute(node, "perm")
        if source is None or p is None or q is None or sorted(p) != sorted(q):
            return False
        perm = tuple(p[axis] for axis in q)
        if perm == tuple(range(len(perm))) and bypass(node, source):
            remove_if_unused(first)
            return True
        replace_node(node, "Transpose", [source], {"perm": perm})
        remove_if_unused(first)
        return True


def target_shape(value: ir.Value) -> tuple[int, ...] | None:
    """What a Reshape has to be told to give ``value``'s shape: one unknown dimension is -1; None where one is 0."""
    shape = static_shape(value)
    if shape is not None:
        return shape if 0 not in shape else None
    if value.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else -1 for dim in value.shape]
    return tuple(dims) if dims.count(-1) <= 1 and 0 not in dims else None


def feeds_only(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The sole consumer of ``value`` if it is one of ``op_types``."""
    node = sole_consumer(value)
    return node if is_op(node, *op_types) else None
