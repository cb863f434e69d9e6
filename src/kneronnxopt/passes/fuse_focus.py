"""YOLO's focus, four strided Slices and a Concat, becomes one Conv."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import int_attribute, is_op, new_constant, remove_if_unused, replace_node, sole_consumer
from kneronnxopt.passes._slices import dimension, read_slice

__all__ = ["FuseFocusIntoConv"]

#: Weights of the Conv have 16 C * C elements.
_MAX_CHANNELS = 32
_HEIGHT, _WIDTH = 2, 3


class FuseFocusIntoConv(NodePass):
    r"""Every second pixel, from each corner, side by side as channels.

    ::

            /-> Slice(H 0::2, W 0::2) --\
        x --+-> Slice(H 1::2, W 0::2) ---+-> Concat(axis 1) -> y   becomes   x -> Conv(2x2, stride 2) -> y
            +-> Slice(H 0::2, W 1::2) ---+
            \-> Slice(H 1::2, W 1::2) --/

    1. The four parts may come in any order, each by one Slice or by one for H and one for W, which may be shared.
    2. float; channels, H and W static; H and W even; at most 32 channels, which keeps the weights, zeros and
       ones, small.
    3. Stays: a part that is missing or comes twice, or that something else reads.
    4. As in every convolution an infinite pixel spreads: the Slices would keep it to itself.
    """

    name = "fuse_focus_into_conv"
    op_types = ("Concat",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Concat and the Slices that feed it."""
        if len(node.inputs) != 4 or node.outputs[0].shape is None or len(node.outputs[0].shape) != 4:
            return False
        if int_attribute(node, "axis", 1) not in (1, -3) or node.outputs[0].dtype != ir.DataType.FLOAT:
            return False
        parts = [_part(value, node) for value in node.inputs if value is not None]
        found = [part for part in parts if part is not None]
        if len(found) != 4 or len({(row, column) for _, row, column in found}) != 4:
            return False
        source = found[0][0]
        channels = dimension(source, 1)
        if any(other is not source for other, _, _ in found) or channels is None or not 0 < channels <= _MAX_CHANNELS:
            return False
        weight = np.zeros((4, channels, channels, 2, 2), dtype=np.float32)
        for index, (_, row, column) in enumerate(found):
            weight[index, range(channels), range(channels), row, column] = 1
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        hint = f"{node.outputs[0].name}_focus"
        kernel = new_constant(graph, hint, weight.reshape(4 * channels, channels, 2, 2))
        slices = [value.producer() for value in node.inputs if value is not None]
        replace_node(node, "Conv", [source, kernel], {"kernel_shape": [2, 2], "strides": [2, 2]})
        _remove_unused(slices)
        return True


def _part(value: ir.Value, concat: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Where the pixels come from, and the first row and column; None unless it is every second of both."""
    if sole_consumer(value) is not concat:
        return None
    chain: list[dict[int, slice]] = []
    while len(chain) < 2:
        node = value.producer()
        spans = read_slice(node) if node is not None and is_op(node, "Slice") else None
        if node is None or spans is None or node.graph is not concat.graph or not spans.keys() <= {_HEIGHT, _WIDTH}:
            return None
        source = node.inputs[0]
        assert source is not None
        chain.insert(0, spans)
        starts = [_start(source, axis, chain) for axis in (_HEIGHT, _WIDTH)]
        if starts[0] is not None and starts[1] is not None:
            return source, starts[0], starts[1]
        value = source
    return None


def _start(source: ir.Value, axis: int, chain: list[dict[int, slice]]) -> int | None:
    """0 or 1 if the Slices take every second element of an even number from there, to the end."""
    size = dimension(source, axis)
    if size is None or size % 2 or size == 0:
        return None
    taken = range(size)
    for spans in chain:
        taken = taken[spans.get(axis, slice(None))]
    return next((start for start in (0, 1) if taken == range(size)[start::2] and size > 1), None)


def _remove_unused(nodes: list[ir.Node | None]) -> None:
    """Remove Slices that nothing reads any more, and those before them."""
    while nodes:
        node = nodes.pop()
        if node is not None and node.graph is not None and is_op(node, "Slice"):
            before = node.inputs[0].producer() if node.inputs[0] is not None else None
            if remove_if_unused(node):
                nodes.append(before)
