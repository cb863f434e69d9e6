"""A linear layer on a tensor of higher rank becomes a Gemm where Reshapes around it take up the change of rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant_tensor,
    is_op,
    new_constant,
    new_node,
    opset_of,
    producer_for,
    remove_if_unused,
    replace_node,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes.fuse_shape_chains import RESHAPES, target_shape
from kneronnxopt.passes.transpose_to_reshape import keeps_order

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FuseLinearBetweenReshapes"]


class FuseLinearBetweenReshapes(NodePass):
    """x -> Reshape -> MatMul(w) -> Add(c) -> Reshape -> y   becomes   x -> Reshape -> Gemm(w, c) -> Reshape -> y.

    1. w [K, N] and c ([N], or one number) are constant, float or double.
    2. The first Reshape's result has rank 3 or more; it is static, or has one unknown dimension (not the last) and
       no 0. The same holds for y, whatever its rank. Flatten, Squeeze and Unsqueeze count as Reshapes.
    3. Each of the first three results has no other user, so that there is one node fewer; that is why MatMul without
       Add stays. Where more Reshapes come before or after, they merge first: what is left may be none.
    """

    name = "fuse_linear_between_reshapes"
    op_types = RESHAPES

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse the linear layer before the Reshape ``node``."""
        add = producer_for(node.inputs[0], node, "Add")
        target = target_shape(node.outputs[0])
        if add is None or target is None or opset_of(node) < 7:  # Gemm broadcasts its C since opset 7
            return False
        for matmul, bias in _biased_products(add):
            x, weight = matmul.inputs
            first = producer_for(x, matmul, *RESHAPES)
            rows = target_shape(x) if x is not None else None
            if first is None or rows is None or len(rows) < 3 or rows[-1] < 0 or not _is_linear(weight, bias):
                continue
            if _is_fleeting(first) or _is_fleeting(node):
                continue
            self._fuse(node, [first, matmul, add], (rows, target), bias)
            return True
        return False

    @staticmethod
    def _fuse(
        node: ir.Node, old: list[ir.Node], shapes: tuple[tuple[int, ...], tuple[int, ...]], bias: ir.Value
    ) -> None:
        graph, (first, matmul, _), (rows, target) = node.graph, old, shapes
        assert isinstance(graph, ir.Graph)
        weight = matmul.inputs[1]
        assert weight is not None
        name, dtype, width = matmul.outputs[0].name, weight.dtype, static_shape(weight)
        assert width is not None
        count = -1 if -1 in rows else math.prod(rows[:-1])
        known = count if count >= 0 else None
        matrix = new_constant(graph, f"{name}_rows_shape", np.array([count, rows[-1]], dtype=np.int64))
        data = new_node(
            node, "Reshape", [first.inputs[0], matrix], hint=f"{name}_rows", shape=[known, rows[-1]], dtype=dtype
        )
        product = new_node(
            node, "Gemm", [data, weight, bias], hint=f"{name}_gemm", shape=[known, width[1]], dtype=dtype
        )
        shape = new_constant(graph, f"{node.outputs[0].name}_shape", np.array(target, dtype=np.int64))
        replace_node(node, "Reshape", [product, shape])
        for dead in reversed(old):
            remove_if_unused(dead)


def _is_fleeting(reshape: ir.Node) -> bool:
    """Whether a Reshape is about to go, or to merge with one beside it, after which it may go."""
    source, result = reshape.inputs[0], reshape.outputs[0]
    if source is None or static_shape(source) == static_shape(result) is not None:
        return True
    return any(
        node is not None and (is_op(node, *RESHAPES) or (is_op(node, "Transpose") and keeps_order(node)))
        for node in (source.producer(), sole_consumer(result))
    )


def _biased_products(add: ir.Node) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Each way to read an Add as a MatMul and what is added to it."""
    for data, other in ((0, 1), (1, 0)):
        matmul, bias = producer_for(add.inputs[data], add, "MatMul"), add.inputs[other]
        if matmul is not None and bias is not None:
            yield matmul, bias


def _is_linear(weight: ir.Value | None, bias: ir.Value) -> bool:
    """Whether both are constants that a Gemm takes as they are."""
    shape = static_shape(weight)
    return (
        weight is not None
        and constant_tensor(weight) is not None
        and constant_tensor(bias) is not None
        and weight.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        and shape is not None
        and len(shape) == 2
        and 0 not in shape
        and static_shape(bias) in ((), (1,), (shape[1],))
    )
