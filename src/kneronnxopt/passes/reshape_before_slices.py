"""Parts of a tensor that are each divided into heads: the tensor is divided once, before it is sliced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    is_op,
    new_constant,
    new_node,
    opset_of,
    remove_if_unused,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes._slices import read_slice, replace_by_slice
from kneronnxopt.passes.fuse_shape_chains import RESHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ReshapeBeforeSlices"]


class ReshapeBeforeSlices(NodePass):
    r"""Parts of x that are divided alike: x is divided, once.

    ::

           /-> Slice -> Reshape([.., H, D]) -> q                                      /-> Slice -> q
        x +--> Slice -> Reshape([.., H, D]) -> k   becomes   x -> Reshape([.., 3H, D]) +--> Slice -> k
           \-> Slice -> Reshape([.., H, D]) -> v                                      \-> Slice -> v

    1. Every reader of x is a Slice along the last axis alone, with step 1 and constant bounds; there are two or more.
       x is no graph output.
    2. Each Slice is read by one Reshape alone (or Flatten, Squeeze, Unsqueeze) that splits the last axis in two and
       keeps the others. The last size D is the same for all; H may differ.
    3. Bounds and the last axis of x are multiples of D. Shapes are static, without a 0.
    """

    name = "reshape_before_slices"
    op_types = ("Slice",)

    def rewrite(self, node: ir.Node) -> bool:
        """Divide the tensor that ``node`` slices."""
        x, graph = node.inputs[0], node.graph
        shape = static_shape(x)
        if x is None or not shape or 0 in shape or x.is_graph_output() or len(x.uses()) < 2 or opset_of(node) < 5:
            return False
        slices = [use.node for use in x.uses()]
        parts = [_part(part, x, shape) for part in slices]
        sizes = {part[1] for part in parts if part is not None}
        found = [part for part in parts if part is not None]
        if len(found) < len(slices) or len(sizes) != 1:
            return False
        size, bounds = sizes.pop(), [part[0] for part in found]
        if any(number % size for span in bounds for number in (span.start, span.stop, shape[-1])):
            return False
        assert isinstance(graph, ir.Graph)
        first = next(other for other in graph if other in slices)
        self._divide(first, x, [*shape[:-1], shape[-1] // size, size], list(zip(slices, bounds, strict=True)))
        return True

    @staticmethod
    def _divide(first: ir.Node, x: ir.Value, shape: Sequence[int], parts: Sequence[tuple[ir.Node, range]]) -> None:
        graph = first.graph
        assert isinstance(graph, ir.Graph)
        target = new_constant(graph, f"{x.name}_divided_shape", np.array(shape, dtype=np.int64))
        divided = new_node(first, "Reshape", [x, target], hint=f"{x.name}_divided", shape=shape, dtype=x.dtype)
        for part, span in parts:
            reshape = sole_consumer(part.outputs[0])
            assert reshape is not None
            bounds = slice(span.start // shape[-1], span.stop // shape[-1], 1)
            replace_by_slice(reshape, divided, {len(shape) - 2: bounds})
            remove_if_unused(part)


def _part(node: ir.Node, x: ir.Value, shape: tuple[int, ...]) -> tuple[range, int] | None:
    """What a Slice takes of the last axis of ``x``, and into how long pieces a Reshape divides that; None if not so."""
    if not is_op(node, "Slice") or node.inputs[0] is not x or node.graph is not x.graph or x in node.inputs[1:]:
        return None
    spans, reshape = read_slice(node), sole_consumer(node.outputs[0])
    if spans is None or set(spans) != {len(shape) - 1} or reshape is None or not is_op(reshape, *RESHAPES):
        return None
    span, result = range(shape[-1])[spans[len(shape) - 1]], static_shape(reshape.outputs[0])
    if span.step != 1 or not span or result is None or reshape.inputs[0] is not node.outputs[0]:
        return None
    if result[:-2] != shape[:-1] or len(result) != len(shape) + 1 or result[-2] * result[-1] != len(span):
        return None
    return span, result[-1]
