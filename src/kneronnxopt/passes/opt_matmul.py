"""MatMul in the forms that the NPU takes (on request)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    new_constant,
    new_node,
    opset_of,
    replace_node,
    static_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OptimizeMatMul"]


class OptimizeMatMul(NodePass):
    """MatMul takes the form: constant second operand W x V or 1 x 1 x W x V, or both operands of rank 4.

    1. Constant second operand whose leading dimensions are all 1: they go.
    2. Constant second operand with one batch axis: Slice, one MatMul per batch, Concat.
    3. Constant first operand of two dimensions: a @ b becomes (b' @ a')', with Transposes.
    4. Two computed operands of rank 2, 3 or above 4 with equal batch dimensions: Reshape to rank 4 and back.
    5. Everything else, and anything without static shapes, stays.
    """

    name = "opt_matmul"
    op_types = ("MatMul",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bring one MatMul into a supported form."""
        a, b = node.inputs[0], node.inputs[1]
        shape_a, shape_b, result = static_shape(a), static_shape(b), static_shape(node.outputs[0])
        if a is None or b is None or shape_a is None or shape_b is None or result is None or opset_of(node) < 10:
            return False
        if min(len(shape_a), len(shape_b)) < 2 or 0 in (*shape_a, *shape_b):
            return False
        if constant_tensor(b) is not None:
            return self._constant_second(node, a, b, shape_a, shape_b, result)
        if constant_tensor(a) is not None:
            return self._constant_first(node, a, b, shape_a, shape_b, result)
        return self._both_computed(node, a, b, shape_a, shape_b, result)

    @staticmethod
    def _constant_second(
        node: ir.Node,
        a: ir.Value,
        b: ir.Value,
        shape_a: tuple[int, ...],
        shape_b: tuple[int, ...],
        result: tuple[int, ...],
    ) -> bool:
        graph, array = node.graph, constant(b)
        assert isinstance(graph, ir.Graph)
        assert array is not None
        batches = [axis for axis, size in enumerate(shape_b[:-2]) if size != 1]
        if len(shape_b) == 2 or (len(shape_b) == 4 and not batches):
            return False
        if not batches and len(shape_a) >= len(shape_b):
            node.replace_input_with(1, new_constant(graph, f"{b.name}_2d", array.reshape(shape_b[-2:])))
            return True
        if len(batches) != 1 or len(shape_a) < len(shape_b):
            return False
        axis = len(result) - len(shape_b) + batches[0]
        parts = []
        for index in range(shape_b[batches[0]]):
            weight = new_constant(graph, f"{b.name}_{index}", array.take(index, axis=batches[0]).reshape(shape_b[-2:]))
            part = a if shape_a[axis] == 1 else _slice(node, a, axis, index, shape_a)
            shape = [1 if i == axis else size for i, size in enumerate(result)]
            parts.append(
                new_node(
                    node,
                    "MatMul",
                    [part, weight],
                    hint=f"{node.outputs[0].name}_{index}",
                    shape=shape,
                    dtype=a.dtype,
                )
            )
        replace_node(node, "Concat", parts, {"axis": axis})
        return True

    @staticmethod
    def _constant_first(
        node: ir.Node,
        a: ir.Value,
        b: ir.Value,
        shape_a: tuple[int, ...],
        shape_b: tuple[int, ...],
        result: tuple[int, ...],
    ) -> bool:
        graph, array = node.graph, constant(a)
        assert isinstance(graph, ir.Graph)
        assert array is not None
        if any(size != 1 for size in shape_a[:-2]) or len(shape_a) > len(shape_b):
            return False
        perm = [*range(len(shape_b) - 2), len(shape_b) - 1, len(shape_b) - 2]
        name = node.outputs[0].name
        turned = new_node(
            node,
            "Transpose",
            [b],
            {"perm": perm},
            hint=f"{name}_turned",
            shape=[shape_b[i] for i in perm],
            dtype=b.dtype,
        )
        weight = new_constant(graph, f"{a.name}_turned", array.reshape(shape_a[-2:]).T)
        product = new_node(
            node,
            "MatMul",
            [turned, weight],
            hint=f"{name}_product",
            shape=[result[i] for i in perm],
            dtype=b.dtype,
        )
        replace_node(node, "Transpose", [product], {"perm": perm})
        return True

    @staticmethod
    def _both_computed(
        node: ir.Node,
        a: ir.Value,
        b: ir.Value,
        shape_a: tuple[int, ...],
        shape_b: tuple[int, ...],
        result: tuple[int, ...],
    ) -> bool:
        if len(shape_a) == len(shape_b) == 4 or shape_a[:-2] != shape_b[:-2]:
            return False
        batch = int(np.prod(shape_a[:-2], dtype=np.int64))
        name = node.outputs[0].name
        left = _reshape(node, a, (1, batch, *shape_a[-2:]), f"{name}_left")
        right = _reshape(node, b, (1, batch, *shape_b[-2:]), f"{name}_right")
        product = new_node(
            node,
            "MatMul",
            [left, right],
            hint=f"{name}_product",
            shape=(1, batch, *result[-2:]),
            dtype=a.dtype,
        )
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        replace_node(node, "Reshape", [product, new_constant(graph, f"{name}_shape", np.array(result, dtype=np.int64))])
        return True


def _reshape(before: ir.Node, value: ir.Value, shape: Sequence[int], hint: str) -> ir.Value:
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    target = new_constant(graph, f"{hint}_shape", np.array(shape, dtype=np.int64))
    return new_node(before, "Reshape", [value, target], hint=hint, shape=shape, dtype=value.dtype)


def _slice(before: ir.Node, value: ir.Value, axis: int, index: int, shape: Sequence[int]) -> ir.Value:
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    name = f"{before.outputs[0].name}_in{index}"
    ranges = [
        new_constant(graph, f"{name}_{role}", np.array([number], dtype=np.int64))
        for role, number in (("start", index), ("end", index + 1), ("axis", axis))
    ]
    target = [1 if i == axis else size for i, size in enumerate(shape)]
    return new_node(before, "Slice", [value, *ranges], hint=name, shape=target, dtype=value.dtype)
