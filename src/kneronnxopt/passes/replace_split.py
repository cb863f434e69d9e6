"""Split becomes Slices."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import constant, int_attribute, ints_attribute, opset_of
from kneronnxopt.passes._slices import dimension, insert_slice

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["ReplaceSplit"]


class ReplaceSplit(NodePass):
    """x -> Split -> y1, y2, ...   becomes   x -> Slice -> y1, x -> Slice -> y2, ...

    1. The sizes are an attribute (before opset 13), a constant input, or equal parts; with ``num_outputs``
       (opset 18) the last part may be smaller.
    2. A part that nobody reads gets no Slice.
    3. Stays: sizes that are computed, a size of 0, an axis whose length is not known.
    """

    name = "replace_split"
    op_types = ("Split",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Split."""
        source = node.inputs[0]
        if source is None or source.shape is None or opset_of(node) < 2:
            return False
        axis = int_attribute(node, "axis", 0)
        axis = axis + len(source.shape) if axis < 0 else axis
        total = dimension(source, axis)
        sizes = None if total is None else _sizes(node, total)
        if sizes is None or len(sizes) != len(node.outputs) or sum(sizes) != total or min(sizes, default=0) < 1:
            return False
        for output, size, end in zip(node.outputs, sizes, itertools.accumulate(sizes), strict=True):
            if output.uses() or output.is_graph_output():  # case 2
                name = output.name
                part = insert_slice(node, source, {axis: slice(end - size, end, 1)}, hint=name or "split")
                output.name = None
                part.name, part.shape, part.type = name, output.shape or part.shape, output.type
                part.metadata_props.update(output.metadata_props)
                output.replace_all_uses_with(part, replace_graph_outputs=True)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        return True


def _sizes(node: ir.Node, total: int) -> tuple[int, ...] | None:
    count = len(node.outputs)
    sizes = ints_attribute(node, "split")
    if sizes is not None:
        return sizes
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant(node.inputs[1])
        return None if array is None else tuple(int(size) for size in array.reshape(-1))
    if total % count and opset_of(node) < 18:
        return None
    part = -(-total // count)
    return (*[part] * (count - 1), total - part * (count - 1))
