"""Means of means become one mean; a mean moves before the Transpose that feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    int_attribute,
    ints_attribute,
    new_constant,
    new_node,
    opset_of,
    producer_for,
    remove_if_unused,
    replace_node,
    static_shape,
)
from kneronnxopt.passes.global_average_pool import reduction_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FuseConsecutiveReduceMeans", "ReduceMeanBeforeTranspose"]

_REAL = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class FuseConsecutiveReduceMeans(NodePass):
    """x -> ReduceMean(a) -> ReduceMean(b) -> y   becomes   x -> ReduceMean(a and b) -> y.

    1. Both keep the reduced dimensions: the axes are joined.
    2. Neither keeps them: the axes of the second are counted in x first.
    3. One keeps them and the other does not, or the axes are not constant, or absent (all, or none): stays.
    4. float and double only (integers round in between); nothing else reads the value between.
    """

    name = "fuse_consecutive_reduce_means"
    op_types = ("ReduceMean",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the ReduceMean before it."""
        first = producer_for(node.inputs[0], node, "ReduceMean")
        if first is None:
            return False
        source, keeps = first.inputs[0], int_attribute(node, "keepdims", 1)
        if source is None or source.shape is None or source.dtype not in _REAL:
            return False
        if int_attribute(first, "keepdims", 1) != keeps:  # case 3
            return False
        rank = len(source.shape)
        inner = reduction_axes(first, rank)
        left = [axis for axis in range(rank) if keeps or axis not in (inner or ())]
        outer = reduction_axes(node, len(left))
        if inner is None or outer is None:
            return False
        axes = sorted({*inner, *(left[axis] for axis in outer)})
        replace_node(node, "ReduceMean", *_operands(node, source, axes))
        return remove_if_unused(first)


class ReduceMeanBeforeTranspose(NodePass):
    """x -> Transpose(p) -> ReduceMean(a) -> y   becomes   x -> ReduceMean(p[a]) (-> Transpose | Reshape) -> y.

    1. The remaining axes are in order and keepdims is 0: the Transpose goes.
    2. keepdims is 1 and the remaining axes are in order: a Reshape follows if the shape is static.
    3. Otherwise a Transpose of the smaller result follows.
    4. float and double only; nothing else reads the transposed value; axes constant and given.
    """

    name = "reduce_mean_before_transpose"
    op_types = ("ReduceMean",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Move one ReduceMean before its Transpose."""
        first = producer_for(node.inputs[0], node, "Transpose")
        if first is None:
            return False
        source, perm = first.inputs[0], ints_attribute(first, "perm")
        if source is None or source.dtype not in _REAL or perm is None:
            return False
        axes = reduction_axes(node, len(perm))
        if axes is None:
            return False
        keeps = bool(int_attribute(node, "keepdims", 1))
        kept = [axis for index, axis in enumerate(perm) if index not in axes]
        inputs, attributes = _operands(node, source, sorted(perm[axis] for axis in axes))
        if not keeps and kept == sorted(kept):  # case 1
            replace_node(node, "ReduceMean", inputs, attributes)
            return remove_if_unused(first)
        mean = new_node(node, "ReduceMean", inputs, attributes, hint=f"{node.outputs[0].name}_mean", dtype=source.dtype)
        mean.shape = _reduced_shape(source, {perm[axis] for axis in axes}, keeps=keeps)
        result = static_shape(node.outputs[0])
        if kept == sorted(kept) and result is not None and 0 not in result and opset_of(node) >= 5:  # case 2
            graph = node.graph
            assert isinstance(graph, ir.Graph)
            shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(result, dtype=np.int64))
            replace_node(node, "Reshape", [mean, shape])
        else:  # case 3
            turned = perm if keeps else [sorted(kept).index(axis) for axis in kept]
            replace_node(node, "Transpose", [mean], {"perm": list(turned)})
        return remove_if_unused(first)


def _operands(node: ir.Node, source: ir.Value, axes: Sequence[int]) -> tuple[list[ir.Value | None], dict[str, Any]]:
    """Inputs and attributes of ``node`` with other data and axes, in the form of the opset."""
    attributes: dict[str, Any] = {"keepdims": int_attribute(node, "keepdims", 1)}
    if opset_of(node) < 18:
        return [source], {**attributes, "axes": list(axes)}
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return [source, new_constant(graph, f"{node.outputs[0].name}_axes", np.array(axes, dtype=np.int64))], attributes


def _reduced_shape(source: ir.Value, axes: set[int], *, keeps: bool) -> ir.Shape | None:
    if source.shape is None:
        return None
    dims = [1 if axis in axes else dim for axis, dim in enumerate(source.shape) if keeps or axis not in axes]
    return ir.Shape(dims)
