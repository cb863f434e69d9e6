"""Reads elementwise arithmetic as a polynomial, so that a formula is found in whatever order it is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    float_attribute,
    is_op,
    opset_of,
    remove_if_unused,
    sole_consumer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import onnx_ir as ir

__all__ = [
    "Polynomial",
    "bounds",
    "downstream",
    "is_close",
    "matches",
    "number",
    "polynomial",
    "remove_dead",
    "same_rank",
    "upstream",
]

#: A few roundings to float32: what separates a constant in a model from the one in the formula.
_TOLERANCE = 5e-7
#: Longest expression that is read; a GELU has 9 nodes.
_MAX_NODES = 16
_MAX_DEGREE = 4
_ARITHMETIC = ("Add", "Div", "Mul", "Neg", "Pow", "Sub")

#: Powers of the atoms -> coefficient.
Polynomial = dict[tuple[int, ...], float]


def is_close(value: float | None, expected: float) -> bool:
    """Whether two constants are the same to float32 rounding."""
    return value is not None and math.isclose(value, expected, rel_tol=_TOLERANCE, abs_tol=0.0)


def number(value: ir.Value | None) -> float | None:
    """Value of a constant with a single finite element; None for anything else."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.size != 1:
        return None
    array = constant(value)
    if array is None or array.dtype.kind not in "fiu":
        return None
    result = float(array.reshape(())[()])
    return result if np.isfinite(result) else None


def polynomial(value: ir.Value | None, atoms: Sequence[ir.Value]) -> Polynomial | None:
    """Write ``value`` as a polynomial in ``atoms``; None if it is not one, or is a long one."""
    memo: dict[ir.Value, Polynomial | None] = {}
    for position, atom in enumerate(atoms):
        memo[atom] = {tuple(int(index == position) for index in range(len(atoms))): 1.0}
    stack = [value]
    visits = 0
    while stack:
        current = stack[-1]
        if current is None:
            return None
        if current in memo:
            stack.pop()
            continue
        constant_value = number(current)
        if constant_value is not None:
            memo[current] = {(0,) * len(atoms): constant_value}
            continue
        node = current.producer()
        if node is None or not is_op(node, *_ARITHMETIC) or opset_of(node) < 7:
            return None
        pending = [operand for operand in node.inputs if operand is None or operand not in memo]
        if pending:
            visits += 1
            if visits > 2 * _MAX_NODES:
                return None
            stack += pending
            continue
        memo[current] = _combine(node.op_type, [memo[operand] for operand in node.inputs if operand is not None])
        if memo[current] is None:
            return None
    return None if value is None else memo[value]


def matches(found: Polynomial | None, expected: Mapping[tuple[int, ...], float]) -> bool:
    """Whether two polynomials have the same terms, and coefficients that are equal to float32 rounding."""
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(is_close(found[powers], coefficient) for powers, coefficient in expected.items())
    )


def upstream(value: ir.Value | None) -> Iterator[ir.Value]:
    """``value`` and the computed values from which arithmetic makes it, nearest first; few."""
    queue = [value]
    seen: set[ir.Value] = set()
    for current in queue:
        if current is None or current in seen or len(seen) >= _MAX_NODES or constant_tensor(current) is not None:
            continue
        seen.add(current)
        yield current
        node = current.producer()
        if node is not None and is_op(node, *_ARITHMETIC):
            queue += node.inputs


def downstream(value: ir.Value, limit: int = 4) -> Iterator[ir.Node]:
    """The arithmetic nodes that follow ``value``, one by one, while each is read by the next alone."""
    for _ in range(limit):
        node = sole_consumer(value)
        if node is None or not is_op(node, *_ARITHMETIC):
            return
        yield node
        value = node.outputs[0]


def bounds(node: ir.Node) -> tuple[float | None, float | None]:
    """Lower and upper bound of a Clip as constants; None where a bound is absent or not constant."""
    if opset_of(node) < 11:
        if "min" not in node.attributes or "max" not in node.attributes:
            return None, None
        return float_attribute(node, "min", 0.0), float_attribute(node, "max", 0.0)
    lower = node.inputs[1] if len(node.inputs) > 1 else None
    upper = node.inputs[2] if len(node.inputs) > 2 else None
    return number(lower), number(upper)


def same_rank(a: ir.Value, b: ir.Value) -> bool:
    """Whether two values have the same known rank (so that a constant [1, 1, 1] has added no axis)."""
    return a.shape is not None and b.shape is not None and len(a.shape) == len(b.shape)


def remove_dead(values: Collection[ir.Value | None]) -> None:
    """Remove the producers of values that nothing reads any more, and what only they read."""
    stack = list(values)
    while stack:
        value = stack.pop()
        node = value.producer() if value is not None else None
        if node is None or node.graph is None:
            continue
        operands = list(node.inputs)
        if remove_if_unused(node):
            stack += operands


def _combine(op_type: str, operands: list[Polynomial | None]) -> Polynomial | None:
    terms = [operand for operand in operands if operand is not None]
    if len(terms) != len(operands):
        return None
    if op_type == "Neg":
        return _scaled(terms[0], -1.0)
    left, right = terms
    scalar = next(iter(right.values())) if all(not any(powers) for powers in right) and len(right) == 1 else None
    if op_type == "Add":
        return _sum(left, right)
    if op_type == "Sub":
        return _sum(left, _scaled(right, -1.0))
    if op_type == "Mul":
        return _product(left, right)
    if op_type == "Div":
        return _scaled(left, 1.0 / scalar) if scalar else None
    if scalar not in (1.0, 2.0, 3.0):
        return None
    result: Polynomial | None = left
    for _ in range(int(scalar) - 1):
        result = None if result is None else _product(result, left)
    return result


def _scaled(terms: Polynomial, factor: float) -> Polynomial:
    return {powers: coefficient * factor for powers, coefficient in terms.items()}


def _sum(left: Polynomial, right: Polynomial) -> Polynomial:
    return {powers: left.get(powers, 0.0) + right.get(powers, 0.0) for powers in (left | right)}


def _product(left: Polynomial, right: Polynomial) -> Polynomial | None:
    result: Polynomial = {}
    for p, a in left.items():
        for q, b in right.items():
            powers = tuple(i + j for i, j in zip(p, q, strict=True))
            if sum(powers) > _MAX_DEGREE:
                return None
            result[powers] = result.get(powers, 0.0) + a * b
    return result
