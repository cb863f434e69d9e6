"""Sum becomes Adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import bypass, new_node, opset_of, replace_node, static_shape

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["ReplaceSum"]


class ReplaceSum(NodePass):
    """Sum(a, b, c, ...) -> y   becomes   Add(Add(a, b), c) ... -> y, in the same order.

    1. One operand: it is the result.
    2. Stays before opset 8, where neither has today's broadcasting.
    """

    name = "replace_sum"
    op_types = ("Sum",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Sum."""
        values = [value for value in node.inputs if value is not None]
        if len(values) != len(node.inputs) or not values or opset_of(node) < 8:
            return False
        if len(values) == 1:  # case 1
            return bypass(node, values[0])
        total = values[0]
        for value in values[1:-1]:
            shapes = static_shape(total), static_shape(value)
            shape = None if shapes[0] is None or shapes[1] is None else np.broadcast_shapes(shapes[0], shapes[1])
            hint, dtype = f"{node.outputs[0].name}_partial", node.outputs[0].dtype
            total = new_node(node, "Add", [total, value], hint=hint, shape=shape, dtype=dtype)
        replace_node(node, "Add", [total, values[-1]])
        return True
