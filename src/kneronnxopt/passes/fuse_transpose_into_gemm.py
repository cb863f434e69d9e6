"""A Transpose before a matrix product moves into the product, or into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    ints_attribute,
    is_op,
    new_constant,
    opset_of,
    replace_node,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes._layout import inverse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FuseTransposeIntoGemm", "FuseTransposeIntoWeight"]

#: A weight that others read too is copied only up to this many elements.
_MAX_COPIED = 4096


class FuseTransposeIntoGemm(NodePass):
    """x -> Transpose(1, 0) -> Gemm(w, c) -> y   becomes   x -> Gemm(w, c; transA flipped) -> y.

    1. The Transpose may stand before the first operand (transA) or the second (transB) and feeds nothing else.
    2. MatMul of two operands of rank 2 becomes Gemm so; opset 11 and later (C is optional), float32, float64.
    """

    name = "fuse_transpose_into_gemm"
    op_types = ("Gemm", "MatMul")

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse the Transposes before one product."""
        if node.op_type == "MatMul":
            ranks = [
                None if operand is None or operand.shape is None else len(operand.shape) for operand in node.inputs
            ]
            floating = node.outputs[0].dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
            if ranks != [2, 2] or opset_of(node) < 11 or not floating:
                return False
        elif opset_of(node) < 7:  # Gemm had an attribute ``broadcast``
            return False
        inputs, flipped, transposes = list(node.inputs), {}, []
        for index, name in ((0, "transA"), (1, "transB")):
            value = inputs[index]
            transpose = value.producer() if value is not None else None
            if value is None or transpose is None or not is_op(transpose, "Transpose"):
                continue
            if ints_attribute(transpose, "perm", (1, 0)) != (1, 0) or sole_consumer(value) is not node:
                continue
            inputs[index] = transpose.inputs[0]
            flipped[name] = 1 - int_attribute(node, name, 0)
            transposes.append(transpose)
        if not transposes:
            return False
        replace_node(node, "Gemm", inputs, {**node.attributes, **flipped})
        for transpose in transposes:
            assert transpose.graph is not None
            transpose.graph.remove(transpose, safe=True)
        return True


class FuseTransposeIntoWeight(NodePass):
    """x [N, C, H, W] -> Transpose(0, 2, 3, 1) -> Reshape [N, H*W*C] -> Gemm(w)   becomes   x -> Reshape -> Gemm(w').

    1. w is constant of rank 2; w' has its rows in the other order (its columns with transB). MatMul too.
    2. The Transpose keeps axis 0, or that has size 1 before and after; Reshape or Flatten keeps it as well
       and joins all others.
    3. Sizes are known. Nothing else reads the values between; w may have other readers if it is small.
    4. Gemm has transA 0.
    """

    name = "fuse_transpose_into_weight"
    op_types = ("Gemm", "MatMul")

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse the Transpose before one product."""
        flat, weight, graph = node.inputs[0], node.inputs[1], node.graph
        tensor = constant_tensor(weight)
        if (
            flat is None
            or weight is None
            or tensor is None
            or len(tensor.shape) != 2
            or int_attribute(node, "transA", 0)
        ):
            return False
        reshape = flat.producer()
        if reshape is None or not is_op(reshape, "Flatten", "Reshape") or sole_consumer(flat) is not node:
            return False
        turned = reshape.inputs[0]
        transpose = turned.producer() if turned is not None else None
        if turned is None or transpose is None or not is_op(transpose, "Transpose"):
            return False
        if len(weight.uses()) > 1 and tensor.size > _MAX_COPIED:
            return False
        if sole_consumer(turned) is not reshape or transpose.graph is not graph or reshape.graph is not graph:
            return False
        source, perm = transpose.inputs[0], ints_attribute(transpose, "perm")
        before, after, target = static_shape(source), static_shape(turned), static_shape(flat)
        if source is None or perm is None or before is None or after is None or target is None or 0 in before:
            return False
        array = self._permuted(weight, int_attribute(node, "transB", 0), perm, before, after, target)
        if array is None or opset_of(node) < 5:
            return False
        assert isinstance(graph, ir.Graph)
        shape = new_constant(graph, f"{flat.name}_shape", np.array(target, dtype=np.int64))
        replace_node(reshape, "Reshape", [source, shape])
        node.replace_input_with(1, new_constant(graph, f"{weight.name}_turned", array))
        graph.remove(transpose, safe=True)
        return True

    @staticmethod
    def _permuted(
        weight: ir.Value,
        axis: int,
        perm: Sequence[int],
        before: tuple[int, ...],
        after: tuple[int, ...],
        target: tuple[int, ...],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """The weight for data that were not transposed; None if the Transpose mixes rows of the product."""
        keeps = len(before) > 1 and len(target) == 2 and (perm[0] == 0 or before[0] == after[0] == 1)
        if not keeps or target[0] != before[0] or target[0] != after[0] or sorted(perm) != list(range(len(before))):
            return None
        array = constant(weight)
        if array is None or array.shape[axis] != target[1]:
            return None
        rows = np.arange(target[1]).reshape((1, *after[1:]))
        order = np.transpose(rows, inverse(tuple(perm))).reshape(-1)
        return np.ascontiguousarray(array.take(order, axis=axis))
