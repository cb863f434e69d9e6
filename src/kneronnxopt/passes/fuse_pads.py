"""Padding twice with the same constant becomes padding once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    float_attribute,
    ints_attribute,
    is_op,
    new_constant,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
    string_attribute,
)

__all__ = ["FuseConsecutivePads", "fill_value", "read_pads"]


class FuseConsecutivePads(NodePass):
    """x -> Pad(p, v) -> Pad(q, v) -> y   becomes   x -> Pad(p + q, v) -> y.

    1. Both are in constant mode, with constant pads and the same constant value (absent is 0).
    2. No pad is negative: a crop between would take the data away.
    3. Nothing else reads the value between. Axes as input (opset 18) are taken in.
    """

    name = "fuse_consecutive_pads"
    op_types = ("Pad",)

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the Pad before it."""
        middle = node.inputs[0]
        first = middle.producer() if middle is not None else None
        if middle is None or first is None or not is_op(first, "Pad") or opset_of(node) < 2:
            return False
        source = first.inputs[0]
        if source is None or sole_consumer(middle) is not node:
            return False
        if any(string_attribute(pad, "mode", "constant") != "constant" for pad in (first, node)):
            return False
        inner, outer, value = read_pads(first), read_pads(node), fill_value(first)
        if inner is None or outer is None or len(inner) != len(outer) or value is None or value != fill_value(node):
            return False
        if min((*inner, *outer), default=0) < 0:  # case 2
            return False
        total = [a + b for a, b in zip(inner, outer, strict=True)]
        if opset_of(node) < 11:
            replace_node(node, "Pad", [source], {**node.attributes, "pads": total})
        else:
            graph = node.graph
            assert isinstance(graph, ir.Graph)
            pads = new_constant(graph, f"{node.outputs[0].name}_pads", np.array(total, dtype=np.int64))
            replace_node(node, "Pad", [source, pads, *node.inputs[2:3]], node.attributes)
        return remove_if_unused(first)


def read_pads(node: ir.Node) -> tuple[int, ...] | None:
    """Pads of all axes, begins before ends; None if unknown."""
    if opset_of(node) < 11:
        return ints_attribute(node, "pads")
    array = constant(node.inputs[1])
    if array is None:
        return None
    pads = tuple(int(number) for number in array.reshape(-1))
    axes_value = node.inputs[3] if len(node.inputs) > 3 else None
    if axes_value is None:
        return pads
    axes, source = constant(axes_value), node.inputs[0]
    if axes is None or source is None or source.shape is None or 2 * axes.size != len(pads):
        return None
    rank = len(source.shape)
    full = [0] * (2 * rank)
    numbers = [int(axis) % rank for axis in axes.reshape(-1)] if rank else []
    if len(set(numbers)) != axes.size:
        return None
    for index, axis in enumerate(numbers):
        full[axis], full[rank + axis] = pads[index], pads[index + len(numbers)]
    return tuple(full)


def fill_value(node: ir.Node) -> bytes | None:
    """The fill value's bits, so that NaN equals itself; None if unknown."""
    if opset_of(node) < 11:
        return np.float32(float_attribute(node, "value", 0.0)).tobytes()
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return _zero(node)
    array: np.ndarray[Any, Any] | None = constant(value)
    return None if array is None or array.size != 1 else array.tobytes()


def _zero(node: ir.Node) -> bytes | None:
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    if dtype is None or dtype == ir.DataType.STRING or dtype.itemsize < 1:
        return None
    return bytes(int(dtype.itemsize))
