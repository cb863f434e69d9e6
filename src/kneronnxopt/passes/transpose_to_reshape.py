"""A Transpose that only moves axes of size 1 joins the Reshapes around it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    ints_attribute,
    is_op,
    new_constant,
    opset_of,
    replace_node,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes.fuse_shape_chains import RESHAPES

__all__ = ["TransposeToReshape", "keeps_order"]


class TransposeToReshape(NodePass):
    """x [1, 8, 1, 4] -> Transpose(0, 2, 1, 3) -> Reshape -> y   becomes   x -> Reshape -> Reshape -> y.

    1. The axes that are longer than 1 keep their order; the shapes are static and without 0.
    2. Acts only next to a Reshape, Flatten, Squeeze or Unsqueeze with which the result then merges: it makes x
       for this Transpose alone, or is its only reader.
    3. A Transpose that keeps the shape too is none of its business (``eliminate_nop_shape`` removes it).
    4. Opset 5 and later, where Reshape takes its shape as an input.
    """

    name = "transpose_to_reshape"
    op_types = ("Transpose",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Transpose."""
        source, after, graph = node.inputs[0], static_shape(node.outputs[0]), node.graph
        if source is None or after is None or not keeps_order(node) or static_shape(source) == after:
            return False
        producer = source.producer()
        merges = is_op(sole_consumer(node.outputs[0]), *RESHAPES) or (
            is_op(producer, *RESHAPES) and sole_consumer(source) is node
        )
        if not merges:
            return False
        assert isinstance(graph, ir.Graph)
        shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(after, dtype=np.int64))
        replace_node(node, "Reshape", [source, shape])
        return True


def keeps_order(node: ir.Node) -> bool:
    """Whether a Transpose moves axes of size 1 only, so that a Reshape (opset 5) can stand for it."""
    perm, before, after = ints_attribute(node, "perm"), static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if perm is None or before is None or after is None or 0 in before or opset_of(node) < 5:
        return False
    if sorted(perm) != list(range(len(before))) or after != tuple(before[axis] for axis in perm):
        return False
    moved = [axis for axis in perm if before[axis] != 1]
    return moved == sorted(moved)
