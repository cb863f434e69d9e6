"""A constant that is added to a linear operator's result becomes its bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    constant_tensor,
    float_attribute,
    int_attribute,
    new_constant,
    opset_of,
    producer_for,
    replace_node,
    static_shape,
)

__all__ = ["FuseAddIntoConv", "FuseMatMulAddIntoGemm"]


class FuseAddIntoConv(NodePass):
    """x -> Conv | ConvTranspose -> Add(c) -> y   becomes   x -> Conv(bias + c) -> y.

    1. c is constant and holds one value per output channel, or one for all: its shape is [C, 1, ..., 1]
       (also with leading 1s) or has a single element, and it does not change the result's shape.
    2. The convolution's result has no other user and is no graph output; an existing bias is constant.
    3. Sub(c) counts as Add(-c).
    """

    name = "fuse_add_into_conv"
    op_types = ("Add", "Sub")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse one Add or Sub."""
        for data, other in ((0, 1), (1, 0)) if node.op_type == "Add" else ((0, 1),):
            conv = producer_for(node.inputs[data], node, "Conv", "ConvTranspose")
            if conv is not None and self._fuse(node, conv, node.inputs[other]):
                return True
        return False

    def _fuse(self, node: ir.Node, conv: ir.Node, operand: ir.Value | None) -> bool:
        shape, array = static_shape_or_rank(conv.outputs[0]), constant(operand)
        if array is None or shape is None or conv.graph is not node.graph:
            return False
        channels, rank = shape
        addend = per_channel(array, channels, rank)
        old = conv.inputs[2] if len(conv.inputs) > 2 else None
        bias = np.zeros(channels, dtype=array.dtype) if old is None else constant(old)
        if addend is None or bias is None or bias.shape != (channels,):
            return False
        with np.errstate(over="ignore"):
            total = bias - addend if node.op_type == "Sub" else bias + addend
        if not np.isfinite(total).all():
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        new = new_constant(graph, f"{conv.outputs[0].name}_bias", total.astype(array.dtype))
        replacement = replace_node(conv, conv.op_type, [conv.inputs[0], conv.inputs[1], new], conv.attributes)
        return bypass(node, replacement.outputs[0])


class FuseMatMulAddIntoGemm(NodePass):
    """x [M, K] -> MatMul(w [K, N]) -> Add(c) -> y   becomes   x -> Gemm(w, c) -> y.

    1. Both operands of MatMul have rank 2, w is constant, all are float or double.
    2. c is constant and broadcasts to the result without changing its shape.
    3. MatMul's result has no other user.
    """

    name = "fuse_matmul_add_into_gemm"
    op_types = ("Add",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse one Add."""
        if opset_of(node) < 7:
            return False
        for data, other in ((0, 1), (1, 0)):
            matmul, operand = producer_for(node.inputs[data], node, "MatMul"), node.inputs[other]
            if matmul is None:
                continue
            x, w = matmul.inputs[0], matmul.inputs[1]
            shape, result, bias = static_shape(w), matmul.outputs[0].shape, static_shape(operand)
            fits = (
                x is not None
                and x.shape is not None
                and len(x.shape) == 2
                and result is not None
                and shape is not None
                and len(shape) == 2
                and constant_tensor(w) is not None
                and constant_tensor(operand) is not None
                and w is not None
                and w.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
                and bias is not None
                and (bias in ((), (1,), (shape[1],), (1, shape[1])))
            )
            if fits:
                replace_node(node, "Gemm", [x, w, operand])
                assert matmul.graph is not None
                matmul.graph.remove(matmul, safe=True)
                return True
        return False


def static_shape_or_rank(value: ir.Value) -> tuple[int, int] | None:
    """Channels (axis 1) and rank of a feature map; None if either is unknown."""
    if value.shape is None or len(value.shape) < 2 or not isinstance(value.shape[1], int):
        return None
    return value.shape[1], len(value.shape)


def per_channel(array: np.ndarray[Any, Any], channels: int, rank: int) -> np.ndarray[Any, Any] | None:
    """Flatten a broadcast operand to one value per channel of a map of this rank; None if it is not one."""
    if array.size == 1 and array.ndim <= rank:
        return np.broadcast_to(array.reshape(()), (channels,))
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) == rank and shape[1] == channels and array.size == channels:
        return array.reshape(channels)
    return None


def gemm_is_plain(node: ir.Node) -> bool:
    """Whether a Gemm is ``x @ w (+ c)`` with w maybe transposed: alpha = beta = 1 and x as it is."""
    return (
        float_attribute(node, "alpha", 1.0) == 1.0
        and float_attribute(node, "beta", 1.0) == 1.0
        and int_attribute(node, "transA", 0) == 0
    )
