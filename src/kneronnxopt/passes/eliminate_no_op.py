"""Operators that return their input unchanged are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    constant_tensor,
    dtype_of,
    int_attribute,
    ints_attribute,
    opset_of,
    static_shape,
    string_attribute,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

__all__ = [
    "EliminateNopArithmetic",
    "EliminateNopCast",
    "EliminateNopPad",
    "EliminateNopPool",
    "EliminateNopShape",
]


class EliminateNopShape(NodePass):
    """x -> Reshape | Flatten | Expand | Slice | Squeeze | Unsqueeze | Transpose | Concat | Tile -> y   becomes   x.

    1. Reshape, Flatten, Expand, Squeeze, Unsqueeze, Tile: input and output shape are static and equal.
    2. Transpose: the permutation is the identity, or it moves only dimensions of size 1.
    3. Concat: it has one input.
    4. Slice: input and output shape are static and equal, and every step is 1 (a flip stays).
    """

    name = "eliminate_nop_shape"
    op_types = (
        "Concat",
        "Expand",
        "Flatten",
        "Reshape",
        "Slice",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one operator that keeps the data as they are."""
        source = node.inputs[0]
        if source is None:
            return False
        before, after = static_shape(source), static_shape(node.outputs[0])
        if node.op_type == "Concat":
            same = len(node.inputs) == 1
        elif node.op_type == "Transpose":
            same = _keeps_order(node, source)
        else:
            same = before is not None and before == after
            if same and node.op_type == "Slice":
                same = _steps_are_one(node)
        return same and bypass(node, source)


class EliminateNopCast(NodePass):
    """x: T -> Cast(to=T) -> y   becomes   x."""

    name = "eliminate_nop_cast"
    op_types = ("Cast",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one Cast to the type that its input has."""
        source = node.inputs[0]
        same = source is not None and dtype_of(source) is not None and dtype_of(source) == int_attribute(node, "to", 0)
        return same and source is not None and bypass(node, source)


class EliminateNopPad(NodePass):
    """x -> Pad(all 0) -> y   becomes   x."""

    name = "eliminate_nop_pad"
    op_types = ("Pad",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one Pad that pads nothing."""
        source = node.inputs[0]
        pads = np.array(ints_attribute(node, "pads", ())) if opset_of(node) < 11 else constant(_input(node, 1))
        return source is not None and pads is not None and not pads.any() and bypass(node, source)


class EliminateNopPool(NodePass):
    """x -> MaxPool | AveragePool (kernel 1, stride 1, no pad) -> y   becomes   x.

    Stays where MaxPool's indices are used.
    """

    name = "eliminate_nop_pool"
    op_types = ("AveragePool", "MaxPool")

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one pool over single elements."""
        source = node.inputs[0]
        kernel = ints_attribute(node, "kernel_shape", ()) or ()
        trivial = (
            bool(kernel)
            and set(kernel) == {1}
            and set(ints_attribute(node, "strides", (1,)) or ()) <= {1}
            and not any(ints_attribute(node, "pads", (0,)) or ())
        )
        return trivial and source is not None and bypass(node, source)


class EliminateNopArithmetic(NodePass):
    """x + 0, x - 0, x * 1, x / 1, x ** 1   become   x.

    1. The constant is the second operand, or the first one of Add and Mul.
    2. Broadcasting must not change the shape: along each axis of the constant it has one element, or as many as x,
       whose other dimensions may be unknown.
    3. An element type that the operator changes stays (Pow takes its first operand's type).
    4. ``-0.0 + 0`` is ``+0.0``; without the Add the zero keeps its sign. Nothing but 1 / x can tell.
    """

    name = "eliminate_nop_arithmetic"
    op_types = ("Add", "Div", "Mul", "Pow", "Sub")

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one operation with the neutral element."""
        neutral = 0 if node.op_type in ("Add", "Sub") else 1
        orders = ((0, 1), (1, 0)) if node.op_type in ("Add", "Mul") else ((0, 1),)
        for kept, other in orders:
            source, operand = node.inputs[kept], _input(node, other)
            tensor = constant_tensor(operand)
            if source is None or tensor is None or not _fits_into(list(tensor.shape), source):
                continue
            array = constant(operand)
            if array is not None and array.size and bool(np.all(array == neutral)) and bypass(node, source):
                return True
        return False


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _fits_into(dims: Sequence[object], source: ir.Value) -> bool:
    """Whether a constant with these dimensions broadcasts to the shape of ``source``, whatever is unknown of that."""
    if source.shape is None or len(dims) > len(source.shape):
        return False
    last = list(source.shape)[len(source.shape) - len(dims) :]
    return all(size == 1 or (isinstance(own, int) and size == own) for size, own in zip(dims, last, strict=True))


def _keeps_order(node: ir.Node, source: ir.Value) -> bool:
    perm = ints_attribute(node, "perm")
    if perm is None:
        return source.shape is not None and len(source.shape) <= 1
    if perm == tuple(range(len(perm))):
        return True
    shape = static_shape(source)
    if shape is not None and sorted(perm) != list(range(len(shape))):
        return False
    moved = [axis for axis in perm if shape is not None and shape[axis] != 1]
    return shape is not None and static_shape(node.outputs[0]) == shape and moved == sorted(moved)


def _steps_are_one(node: ir.Node) -> bool:
    if opset_of(node) < 10:
        return True  # steps came with opset 10
    steps = _input(node, 4)
    if steps is None:
        return True
    array = constant(steps)
    return array is not None and bool(np.all(array == 1))


def auto_pad_is_explicit(node: ir.Node) -> bool:
    """Whether ``pads`` says what is padded (``auto_pad`` is NOTSET or VALID)."""
    return string_attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID", "")
