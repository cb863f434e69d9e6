"""Concats of Concats become one; zeros at the ends of a Concat become a Pad."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    is_op,
    new_constant,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
    static_shape,
)

__all__ = ["FuseConsecutiveConcats", "ReplaceConcatWithPad"]


class FuseConsecutiveConcats(NodePass):
    """Concat(a, Concat(b, c), d) -> y   becomes   Concat(a, b, c, d) -> y.

    1. All have the same axis, and nothing else reads the inner results. Any depth is taken at once.
    2. Stays: another axis, an inner result that is used elsewhere, or twice.
    """

    name = "fuse_consecutive_concats"
    op_types = ("Concat",)

    def rewrite(self, node: ir.Node) -> bool:
        """Take in the Concats that feed one Concat."""
        axis = _axis(node)
        outer = sole_consumer(node.outputs[0])
        if axis is None or (is_op(outer, "Concat") and outer is not None and _axis(outer) == axis):
            return False  # the outermost takes all, so that a long chain costs no more than its length
        inputs: list[ir.Value | None] = []
        inner: list[ir.Node] = []
        waiting = list(reversed(node.inputs))
        while waiting:
            value = waiting.pop()
            producer = value.producer() if value is not None else None
            if (
                value is not None
                and producer is not None
                and is_op(producer, "Concat")
                and sole_consumer(value) is not None
                and producer.graph is node.graph
                and _axis(producer) == axis
            ):
                inner.append(producer)
                waiting.extend(reversed(producer.inputs))
            else:
                inputs.append(value)
        if not inner:
            return False
        replace_node(node, "Concat", inputs, node.attributes)
        for producer in inner:  # outermost first
            remove_if_unused(producer)
        return True


class ReplaceConcatWithPad(NodePass):
    """Concat(zeros, x, zeros) -> y   becomes   x -> Pad -> y.

    1. x is the one input that is not constant; all others are zeros (+0), before or after it.
    2. Not along the batch axis; y has a static shape.
    3. float and double; from opset 11 also the integers of 8, 32 and 64 bits.
    """

    name = "replace_concat_with_pad"
    op_types = ("Concat",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Concat."""
        axis, shape, opset = _axis(node), static_shape(node.outputs[0]), opset_of(node)
        data = [value for value in node.inputs if constant_tensor(value) is None]
        if axis is None or axis < 1 or shape is None or axis >= len(shape) or len(data) != 1 or len(node.inputs) < 2:
            return False
        source = data[0]
        if source is None or source.dtype not in (_PADDABLE if opset >= 11 else _PADDABLE[:2]) or opset < 2:
            return False
        pads, seen = [0] * (2 * len(shape)), False
        for value in node.inputs:
            if value is source:
                seen = True
                continue
            array = constant(value)
            if (
                array is None
                or array.ndim != len(shape)
                or array.any()
                or np.signbit(array.astype(np.float64, copy=False)).any()
            ):
                return False
            pads[axis + len(shape) * seen] += array.shape[axis]
        if opset < 11:
            replace_node(node, "Pad", [source], {"pads": pads})
            return True
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        amounts = new_constant(graph, f"{node.outputs[0].name}_pads", np.array(pads, dtype=np.int64))
        replace_node(node, "Pad", [source, amounts])
        return True


_PADDABLE = (
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT32,
    ir.DataType.INT64,
)


def _axis(node: ir.Node) -> int | None:
    """Non-negative axis of a Concat; None if its rank is not known."""
    shape = node.outputs[0].shape
    if shape is None or opset_of(node) < 4:
        return None
    axis = int_attribute(node, "axis", 0)
    return axis + len(shape) if axis < 0 else axis
