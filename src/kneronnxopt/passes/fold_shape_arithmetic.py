"""Shapes that a model computes become constants where all but one dimension is known, or each is known to stay."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._dimensions import Entries, Term, dimensions_of, evaluate_dimensions
from kneronnxopt.passes._graph import bypass, constant_tensor, new_constant, opset_of, static_shape
from kneronnxopt.passes.fold_constants import replace_by_constants

__all__ = ["FoldDimension", "FoldExpandTarget", "FoldReshapeTarget"]


class FoldDimension(NodePass):
    """x [N, 8, 4] -> Shape -> Gather | Slice -> y   becomes   initializer y, where only numbers are taken.

    Shape itself is followed too, with ``start`` and ``end``, and what lies between: Concat, Squeeze, Unsqueeze, Cast to
    int64, exact arithmetic. A graph output stays.
    """

    name = "fold_dimension"
    op_types = ("Gather", "Shape", "Slice")

    def rewrite(self, node: ir.Node) -> bool:
        """Fold one node."""
        output, shape = node.outputs[0], static_shape(node.outputs[0])
        if output.dtype != ir.DataType.INT64 or shape is None or len(shape) > 1:
            return False
        numbers = _integers(evaluate_dimensions(output))
        if numbers is None or len(numbers) != math.prod(shape):
            return False
        return replace_by_constants(node, [np.array(numbers, dtype=np.int64).reshape(shape)])


class FoldReshapeTarget(NodePass):
    """x -> Reshape(computed shape) -> y   becomes   x -> Reshape(constant shape) -> y.

    1. The elements of the shape are read through Shape, Gather, Slice, Concat, Squeeze, Unsqueeze, Cast to int64 and
       exact arithmetic.
    2. One unknown element, the others positive numbers: it is -1. Whatever it is at run time, only one size keeps the
       number of elements.
    3. Elements that are the dimension of x at the same position, by its symbol: 0, which copies it (-1 if it is the
       only one).
    4. A -1 of the model's own beside the elements of 3 becomes the number it must be, where it is one.
    5. Stays: two unknown elements, an unknown one beside a 0 or a -1 (where a size may be 0 at run time). The rank and
       the dimensions of y that were not known are those of the shape.
    """

    name = "fold_reshape_target"
    op_types = ("Reshape",)

    def rewrite(self, node: ir.Node) -> bool:
        """Make one target constant, or at least its length known."""
        if opset_of(node) < 5 or len(node.inputs) < 2 or constant_tensor(node.inputs[1]) is not None:
            return False
        x, shape, output, graph = node.inputs[0], node.inputs[1], node.outputs[0], node.graph
        entries = evaluate_dimensions(shape)
        if x is None or shape is None or entries is None:
            return False
        target = _reshape_target(dimensions_of(x), entries)
        if output.shape is not None and len(output.shape) != len(entries):
            return False
        numbers = [None] * len(entries) if target is None else target
        found = _refine(
            output, [Term(n) if n is not None and n > 0 else e for n, e in zip(numbers, entries, strict=True)]
        )
        if target is None:
            return found
        assert isinstance(graph, ir.Graph)
        node.replace_input_with(1, new_constant(graph, f"{shape.name}_folded", np.array(target, dtype=np.int64)))
        if 0 in target and not any(entry is not None and entry.integer == 0 for entry in entries):
            node.attributes.pop("allowzero", None)
        return True


class FoldExpandTarget(NodePass):
    """x [N, 1] -> Expand(computed shape [N, 8]) -> y   becomes   x -> Expand([1, 8]) -> y.

    1. The elements are read as for Reshape.
    2. Each is a number, or the dimension of x with which it is aligned, by its symbol: 1, which leaves it. Where all
       are 1, so that nothing is repeated or added, the Expand goes.
    3. Stays: any other unknown, even where the dimension of x is 1 (it may be repeated).
    """

    name = "fold_expand_target"
    op_types = ("Expand",)

    def rewrite(self, node: ir.Node) -> bool:
        """Make one target constant."""
        x, shape, graph = node.inputs[0], node.inputs[1], node.graph
        entries, dims = evaluate_dimensions(shape), dimensions_of(x)
        if constant_tensor(shape) is not None or shape is None or entries is None or dims is None:
            return False
        aligned: Entries = [*[None] * (len(entries) - len(dims)), *dims[max(len(dims) - len(entries), 0) :]]
        target = _integers(
            [
                Term(1) if entry is not None and entry.symbols and entry == dim else entry
                for entry, dim in zip(entries, aligned, strict=True)
            ]
        )
        if target is None:
            return False
        if x is not None and set(target) <= {1} and len(target) <= len(dims) and bypass(node, x):
            return True
        assert isinstance(graph, ir.Graph)
        node.replace_input_with(1, new_constant(graph, f"{shape.name}_folded", np.array(target, dtype=np.int64)))
        return True


def _integers(entries: Entries | None) -> list[int] | None:
    if entries is None:
        return None
    numbers = [entry.integer for entry in entries if entry is not None and entry.integer is not None]
    return numbers if len(numbers) == len(entries) else None


def _reshape_target(dims: Entries | None, entries: Entries) -> list[int] | None:
    """What to write in place of ``entries`` to reshape a tensor of ``dims``; None if no constant does."""
    numbers = _integers(entries)
    if numbers is not None:
        return numbers
    known = [None if entry is None else entry.integer for entry in entries]
    if any(number is not None and (number < -1 or number == 0) for number in known) or known.count(-1) > 1:
        return None
    dims = [] if dims is None else dims
    copied = [
        position
        for position, (entry, dim) in enumerate(zip(entries, dims, strict=False))
        if entry is not None and entry.symbols and entry == dim
    ]
    unknown = known.count(None)
    if -1 in known and unknown == len(copied):
        size = _inferred_size(dims, known, copied)
        if size is not None:
            known[known.index(-1)] = size
    if unknown == 1 and -1 not in known:
        return [-1 if number is None else number for number in known]
    return [0 if number is None else number for number in known] if unknown == len(copied) else None


def _inferred_size(dims: Entries, known: list[int | None], copied: list[int]) -> int | None:
    """The size that -1 stands for, if the dimensions that are not copied are numbers."""
    others = _integers([dim for position, dim in enumerate(dims) if position not in copied])
    if others is None:
        return None
    product = math.prod(number for number in known if number is not None and number > 0)
    size, rest = divmod(math.prod(others), product)
    return size if size > 0 and not rest else None


def _refine(output: ir.Value, entries: Entries) -> bool:
    """Give a result the rank and the dimensions that its target tells, if unknown; return whether any was."""
    old = [None] * len(entries) if output.shape is None else list(output.shape)
    dims = [
        dim if isinstance(dim, int) or (dim is not None and dim.value is not None) else _declared(entry)
        for dim, entry in zip(old, entries, strict=True)
    ]
    if output.shape is not None and ir.Shape(dims) == output.shape:
        return False
    output.shape = ir.Shape(dims)
    return True


def _declared(entry: Term | None) -> int | str | None:
    if entry is None or (entry.integer is not None and entry.integer < 1):
        return None
    if entry.integer is not None:
        return entry.integer
    return entry.symbols[0] if entry.coefficient == 1 and len(entry.symbols) == 1 else None
