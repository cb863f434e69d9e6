"""A Gather that takes neighbours becomes a Slice."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    constant_tensor,
    int_attribute,
    new_constant,
    opset_of,
    replace_node,
    static_shape,
)
from kneronnxopt.passes._slices import insert_slice, replace_by_slice

__all__ = ["ReplaceGather"]


class ReplaceGather(NodePass):
    """x -> Gather(i, i + 1, ..., j) -> y   becomes   x -> Slice(i : j + 1) (-> Reshape) -> y.

    1. One index as a scalar: Slice, and a Reshape that drops the axis, if asked for. Every chip has Gather with a
       single index, but KL520 has neither Slice nor Reshape.
    2. A row of indices, each one above the last: Slice.
    3. The indices cover the whole axis in order: nothing is left, or the Reshape if they form a table.
    4. Stays: indices that are computed, out of order, apart, out of range or none; a constant x; the arithmetic
       of shapes (a scalar result); shapes that are not static.

    Parameters
    ----------
    single_index : bool
        Whether case 1 acts.
    """

    name = "replace_gather"
    op_types = ("Gather",)

    def __init__(self, *, single_index: bool = False) -> None:
        self.single_index = single_index

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Gather."""
        source, shape, result = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.outputs[0])
        if source is None or not shape or not result or 0 in (*shape, *result) or constant_tensor(source) is not None:
            return False
        axis = int_attribute(node, "axis", 0) % len(shape)
        span = self._span(node, shape[axis])
        if span is None or opset_of(node) < 5:
            return False
        whole = span.stop - span.start == shape[axis]
        sliced = (*shape[:axis], span.stop - span.start, *shape[axis + 1 :])
        if sliced == result:
            if whole:  # case 3
                return bypass(node, source)
            replace_by_slice(node, source, {axis: span})  # case 2
            return True
        graph, name = node.graph, node.outputs[0].name
        assert isinstance(graph, ir.Graph)
        if not whole and not self.single_index:
            return False
        if not whole:  # case 1
            source = insert_slice(node, source, {axis: span}, hint=f"{name}_slice")
        target = new_constant(graph, f"{name}_shape", np.array(result, dtype=np.int64))
        replace_node(node, "Reshape", [source, target])
        return True

    @staticmethod
    def _span(node: ir.Node, size: int) -> slice | None:
        """The neighbours that constant indices name, in order."""
        tensor = constant_tensor(node.inputs[1])
        if tensor is None or tensor.size > size:
            return None
        array = constant(node.inputs[1])
        if array is None or array.size == 0:
            return None
        indices = array.reshape(-1).astype(np.int64)
        if indices.min() < -size or indices.max() >= size:
            return None
        indices = np.where(indices < 0, indices + size, indices)
        return slice(int(indices[0]), int(indices[-1]) + 1, 1) if (np.diff(indices) == 1).all() else None
