"""Averages over the whole feature map become GlobalAveragePool."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    int_attribute,
    ints_attribute,
    new_constant,
    new_node,
    opset_of,
    replace_node,
    static_shape,
    string_attribute,
)

__all__ = ["AveragePoolToGlobal", "ReduceMeanToGlobal"]


class AveragePoolToGlobal(NodePass):
    """x [N, C, H, W] -> AveragePool(kernel H x W, no pads) -> y [N, C, 1, 1]   becomes   GlobalAveragePool."""

    name = "average_pool_to_global"
    op_types = ("AveragePool",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one AveragePool."""
        source, kernel = node.inputs[0], ints_attribute(node, "kernel_shape")
        shape = static_shape(source)
        fits = (
            shape is not None
            and kernel is not None
            and shape[2:] == kernel
            and not any(ints_attribute(node, "pads", (0,)) or ())
            and set(ints_attribute(node, "dilations", (1,)) or ()) <= {1}
            and string_attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID", "")
            and static_shape(node.outputs[0]) == (*shape[:2], *(1 for _ in kernel))
        )
        if fits:
            replace_node(node, "GlobalAveragePool", [source])
        return fits


class ReduceMeanToGlobal(NodePass):
    """x [N, C, H, W] -> ReduceMean(axes = all spatial) -> y   becomes   GlobalAveragePool (-> Reshape).

    1. Rank 4, axes are exactly 2 and 3, given as attribute (before opset 18) or constant input.
    2. keepdims 0: a Reshape to [N, C] follows; N and C must be static.
    3. Stays where H * W exceeds the limit, if one is given.

    Parameters
    ----------
    area_limit : int or None
        Largest H * W to act on.
    """

    name = "reduce_mean_to_global"
    op_types = ("ReduceMean",)
    rounds_otherwise = True

    def __init__(self, area_limit: int | None = None) -> None:
        self.area_limit = area_limit

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one ReduceMean."""
        source = node.inputs[0]
        if source is None or source.shape is None or len(source.shape) != 4 or source.dtype != ir.DataType.FLOAT:
            return False
        if reduction_axes(node, rank=4) != (2, 3) or not self._is_small_enough(source):
            return False
        if int_attribute(node, "keepdims", 1):
            replace_node(node, "GlobalAveragePool", [source])
            return True
        result = static_shape(node.outputs[0])
        if result is None or 0 in result or opset_of(node) < 5:
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        pooled = new_node(
            node,
            "GlobalAveragePool",
            [source],
            hint=f"{node.outputs[0].name}_pooled",
            shape=(*result, 1, 1),
            dtype=source.dtype,
        )
        shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(result, dtype=np.int64))
        replace_node(node, "Reshape", [pooled, shape])
        return True

    def _is_small_enough(self, source: ir.Value) -> bool:
        shape = static_shape(source)
        return self.area_limit is None or (shape is not None and shape[2] * shape[3] <= self.area_limit)


def reduction_axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """Sorted, non-negative axes of a Reduce operator; None if unknown or if it reduces all or nothing by default."""
    axes = ints_attribute(node, "axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant(node.inputs[1])
        axes = None if array is None else tuple(int(axis) for axis in array.reshape(-1))
    if not axes or any(not -rank <= axis < rank for axis in axes):
        return None
    return tuple(sorted(axis % rank for axis in axes))
