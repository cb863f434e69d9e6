"""Partial evaluation of the arithmetic that exporters do on shapes: integers, symbols, and what stays unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    ints_attribute,
    is_op,
    opset_of,
    static_shape,
)
from kneronnxopt.passes._slices import is_disputed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Entries", "Term", "dimensions_of", "evaluate_dimensions"]

#: Longest vector that is read; a shape has fewer dimensions.
_MAX_LENGTH = 64
#: Most nodes that one evaluation reads.
_MAX_NODES = 64
#: Beyond, int64 arithmetic might wrap around.
_MAX_INTEGER = 2**31
#: Names that converters write for any dimension that they do not know: two of them need not be the same size.
_PLACEHOLDERS = frozenset({"", "?", "*", "-1", "any", "dynamic", "none", "unk", "unknown"})
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


@dataclass(frozen=True, slots=True)
class Term:
    """``coefficient`` times symbols, each of which stands for a size, 0 or more; an integer has no symbols.

    Attributes
    ----------
    coefficient : int
        Positive if there are symbols.
    symbols : tuple of str
        Names, sorted; twice for a square.
    """

    coefficient: int
    symbols: tuple[str, ...] = ()

    @property
    def integer(self) -> int | None:
        """The number, if it is one."""
        return None if self.symbols else self.coefficient


#: Elements of a vector (or the one of a scalar), None where nothing is known.
Entries = list[Term | None]


def dimensions_of(value: ir.Value | None) -> Entries | None:
    """Dimensions of a value; None if not even their number is known."""
    if value is None or value.shape is None:
        return None
    return [_dimension(dim) for dim in value.shape]


def evaluate_dimensions(value: ir.Value | None) -> Entries | None:
    """Read an integer scalar or vector through the nodes that compute it; None if its length is unknown or large.

    Follows Shape, Gather, Slice, Concat, Squeeze, Unsqueeze, Reshape, Cast and the four arithmetic operations.
    """
    return _Evaluation().entries(value)


class _Evaluation:
    def __init__(self) -> None:
        self.known: dict[ir.Value, Entries | None] = {}

    def entries(self, value: ir.Value | None) -> Entries | None:
        """Elements of one value."""
        if value is None or value.dtype not in _INTEGERS:
            return None
        if value not in self.known:
            visited = len(self.known)
            self.known[value] = _unknown(value)
            found = _literal(value) if constant_tensor(value) is not None else None
            if found is None and visited < _MAX_NODES:
                found = self._computed(value)
            if found is not None and len(found) <= _MAX_LENGTH:
                self.known[value] = found
        return self.known[value]

    def _computed(self, value: ir.Value) -> Entries | None:
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or value is not node.outputs[0]:
            return None
        rule = _RULES.get(node.op_type)
        rank = None if value.shape is None else len(value.shape)
        if rule is None or (rank is not None and rank > 1):
            return None
        return rule(self, node)

    def shape(self, node: ir.Node) -> Entries | None:
        dims = dimensions_of(node.inputs[0])
        return None if dims is None else dims[int_attribute(node, "start", 0) : int_attribute(node, "end", len(dims))]

    def gather(self, node: ir.Node) -> Entries | None:
        data, indices = self.entries(node.inputs[0]), constant(node.inputs[1])
        if data is None or indices is None or indices.ndim > 1 or not _is_vector(node.inputs[0]):
            return None
        if int_attribute(node, "axis", 0) not in (0, -1) or indices.size > _MAX_LENGTH:
            return None
        numbers = [int(index) for index in indices.reshape(-1)]
        return [data[i] for i in numbers] if all(-len(data) <= i < len(data) for i in numbers) else None

    def slice(self, node: ir.Node) -> Entries | None:
        data = self.entries(node.inputs[0])
        if is_disputed(node):
            return None
        if opset_of(node) < 10:
            ranges: list[Sequence[int] | None] = [ints_attribute(node, role) for role in ("starts", "ends", "axes")]
        else:
            ranges = [_integers(value) for value in node.inputs[1:]]
            if any(value is not None and found is None for value, found in zip(node.inputs[1:], ranges, strict=True)):
                return None
        starts, ends, axes, steps = (*ranges, None, None)[:4]
        if data is None or starts is None or ends is None or not _is_vector(node.inputs[0]):
            return None
        steps = [1] if steps is None else steps
        if len(starts) != 1 or len(ends) != 1 or len(steps) != 1 or steps[0] == 0:
            return None
        if axes is not None and list(axes) not in ([0], [-1]):
            return None
        return data[starts[0] : ends[0] : steps[0]]

    def concat(self, node: ir.Node) -> Entries | None:
        result: Entries = []
        for value in node.inputs:
            part = self.entries(value)
            if part is None or not _is_vector(value) or len(result) + len(part) > _MAX_LENGTH:
                return None
            result += part
        return result

    def same(self, node: ir.Node) -> Entries | None:
        """A change of rank between scalar and vector, or of type, leaves the elements as they are."""
        source, result = node.inputs[0], node.outputs[0]
        if result.shape is None or result.dtype != ir.DataType.INT64:  # a narrower type might wrap
            return None
        return self.entries(source)

    def arithmetic(self, node: ir.Node) -> Entries | None:
        left, right = self.entries(node.inputs[0]), self.entries(node.inputs[1])
        if left is None or right is None or opset_of(node) < 7 or node.outputs[0].dtype != ir.DataType.INT64:
            return None
        length = max(len(left), len(right)) if left and right else 0
        if not {len(left), len(right)} <= {1, length}:
            return None
        combine = _ARITHMETIC[node.op_type]
        pairs = [(left[i % len(left)], right[i % len(right)]) for i in range(length)]
        return [None if a is None or b is None else combine(a, b) for a, b in pairs]


_RULES: dict[str, Callable[[_Evaluation, ir.Node], Entries | None]] = {
    "Shape": _Evaluation.shape,
    "Gather": _Evaluation.gather,
    "Slice": _Evaluation.slice,
    "Concat": _Evaluation.concat,
    **dict.fromkeys(("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _Evaluation.same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _Evaluation.arithmetic),
}


def _dimension(dim: int | ir.SymbolicDim) -> Term | None:
    if isinstance(dim, int):
        return Term(dim) if 0 <= dim < _MAX_INTEGER else None
    name = dim.value
    return None if name is None or name.strip().lower() in _PLACEHOLDERS else Term(1, (name,))


def _unknown(value: ir.Value) -> Entries | None:
    shape = static_shape(value)
    if shape is None or len(shape) > 1 or shape > (_MAX_LENGTH,):
        return None
    return [None] * (shape[0] if shape else 1)


def _literal(value: ir.Value) -> Entries | None:
    numbers = _integers(value)
    return None if numbers is None else [Term(n) if abs(n) < _MAX_INTEGER else None for n in numbers]


def _integers(value: ir.Value | None) -> list[int] | None:
    """Elements of a constant integer scalar or vector."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype not in _INTEGERS or len(tensor.shape) > 1 or tensor.size > _MAX_LENGTH:
        return None
    return [int(number) for number in tensor.numpy().reshape(-1)]


def _is_vector(value: ir.Value | None) -> bool:
    return value is not None and (
        (value.shape is not None and len(value.shape) == 1) or is_op(value.producer(), "Shape")
    )


def _term(coefficient: int, symbols: tuple[str, ...]) -> Term | None:
    if coefficient == 0:
        return Term(0)
    if abs(coefficient) >= _MAX_INTEGER or (symbols and coefficient < 0):
        return None
    return Term(coefficient, symbols)


def _add(a: Term, b: Term) -> Term | None:
    if 0 in (a.integer, b.integer):
        return b if a.integer == 0 else a
    return _term(a.coefficient + b.coefficient, a.symbols) if a.symbols == b.symbols else None


def _subtract(a: Term, b: Term) -> Term | None:
    if b.integer == 0:
        return a
    return _term(a.coefficient - b.coefficient, a.symbols) if a.symbols == b.symbols else None


def _multiply(a: Term, b: Term) -> Term | None:
    return _term(a.coefficient * b.coefficient, tuple(sorted((*a.symbols, *b.symbols))))


def _divide(a: Term, b: Term) -> Term | None:
    """Exact division by a positive number."""
    divisor = b.integer
    if divisor is None or divisor <= 0 or a.coefficient % divisor:
        return None
    return _term(a.coefficient // divisor, a.symbols)


_ARITHMETIC: dict[str, Callable[[Term, Term], Term | None]] = {
    "Add": _add,
    "Div": _divide,
    "Mul": _multiply,
    "Sub": _subtract,
}
