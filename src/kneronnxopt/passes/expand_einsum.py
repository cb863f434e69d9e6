"""Einsum becomes products, sums, and moves of axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._einsum_plan import Step, parse_equation, plan_equation
from kneronnxopt.passes._emitter import Emitter
from kneronnxopt.passes._graph import constant_tensor, replace_node, static_shape, string_attribute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ExpandEinsum"]

_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64)
#: A value between may be so many times as large as the largest input or output.
_GROWTH = 8


class ExpandEinsum(NodePass):
    """Einsum becomes Transpose, Reshape, MatMul, Mul and ReduceSum, with as few moves of axes as possible.

    ::

        a, b -> Einsum("bihd,bjhd->bhij") -> y    becomes    a -> Transpose [b, h, i, d] -> MatMul -> y
                                                             b -> Transpose [b, h, d, j] ---^

    1. Labels that both operands have and that are needed later are batch axes; those that nobody needs are the inner
       axis of a MatMul; those of one operand alone are its rows or columns. Several are joined by a Reshape. No
       operand of a MatMul has a rank above 4.
    2. Nothing to sum: Mul, which broadcasts. All labels common, some summed: Mul, then ReduceSum.
    3. A label of one operand that nobody else needs: ReduceSum before the product.
    4. A label repeated in one operand: its diagonal, by Reshape and Slice.
    5. Three operands and more: from left to right, in pairs, as onnxruntime has it. An axis of size 1 that another
       operand widens is dropped first. An ellipsis stands for axes like any others.
    6. Stays: shapes that are not static or contain 0; element types other than float, double, int32 and int64; an
       implicit result with letters of both cases, whose order is not agreed; an ellipsis that differs between
       operands or is missing in the result; values between that would be much larger than inputs and output.
    """

    name = "expand_einsum"
    op_types = ("Einsum",)

    def rewrite(self, node: ir.Node) -> bool:
        """Expand one Einsum."""
        values = [value for value in node.inputs if value is not None]
        shapes = [shape for value in values if (shape := static_shape(value)) is not None]
        dtype = node.inputs[0].dtype if values and node.inputs[0] is not None else None
        if len(shapes) != len(node.inputs) or any(0 in shape for shape in shapes):
            return False
        if dtype is None or dtype not in _TYPES or any(value.dtype != dtype for value in values):
            return False
        equation = parse_equation(string_attribute(node, "equation", ""), shapes)
        if equation is None:
            return False
        declared, result = static_shape(node.outputs[0]), tuple(equation.sizes[label] for label in equation.result)
        if declared not in (None, result):
            return False
        foldable = [constant_tensor(value) is not None and len(value.uses()) == 1 for value in values]
        plan = plan_equation(equation, shapes, foldable)
        largest = max(math.prod(dims) for dims in (*shapes, result))
        if any(math.prod(step.dims) > _GROWTH * largest for step in plan.steps):
            return False
        _build(node, values, plan.steps, dtype)
        return True


def _build(node: ir.Node, values: Sequence[ir.Value], steps: Sequence[Step], dtype: ir.DataType) -> None:
    """Put the steps in the place of ``node``."""
    emitter = Emitter(node, dtype)
    made: list[ir.Value] = []
    steps = steps or [Step("Identity", (0,), static_shape(values[0]) or (), {})]
    for number, step in enumerate(steps):
        hint = f"einsum{number}"
        attributes, numbers = dict(step.attributes), step.numbers
        if step.op_type == "ReduceSum" and emitter.opset < 13:
            attributes, numbers = {**attributes, "axes": numbers[0]}, ()
        inputs = [values[source] if source >= 0 else made[-source - 1] for source in step.operands]
        inputs += [emitter.integers(list_, f"{hint}_{position}") for position, list_ in enumerate(numbers)]
        if number < len(steps) - 1:
            made.append(emitter.emit(step.op_type, inputs, hint, step.dims, attributes))
        else:
            output = replace_node(node, step.op_type, inputs, attributes).outputs[0]
            if static_shape(output) is None:
                output.shape = ir.Shape(step.dims)
            output.dtype = dtype
