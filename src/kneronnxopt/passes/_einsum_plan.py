"""An Einsum in terms of standard operators, as a plan that can be weighed before a node is made."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Equation", "Plan", "Step", "Term", "parse_equation", "plan_equation"]

_COSTS = {"Transpose": 4.0, "Slice": 2.0, "Reshape": 1.0}
#: Highest rank of a product's operands where the labels can be merged.
_RANK = 4


@dataclass(frozen=True, slots=True)
class Equation:
    """Labels of each operand and of the result, one label to an axis, and the size of each label."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """A node to be: operands are inputs of the Einsum (0, 1, ...) or earlier steps (-1 is the first of them)."""

    op_type: str
    operands: tuple[int, ...]
    dims: tuple[int, ...]
    attributes: Mapping[str, Any]
    #: Lists of integers that follow the operands as constant inputs.
    numbers: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor of the plan: which operand or step, and the label of each axis."""

    source: int
    labels: tuple[str, ...]
    constant: bool


def parse_equation(text: str, shapes: Sequence[tuple[int, ...]]) -> Equation | None:
    """Read an equation for operands of these shapes; None if runtimes differ about it, or it does not fit.

    The labels of an ellipsis are ``.0``, ``.1`` and so on. It stands for as many axes in all operands that have one.
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        return None
    ranks = {len(shape) - len(term) + 3 for term, shape in zip(terms, shapes, strict=True) if "..." in term}
    if len(ranks) > 1 or min(ranks, default=0) < 0:
        return None
    dots = tuple(f".{axis}" for axis in range(max(ranks, default=0)))
    operands = [_labels(term, dots) for term in terms]
    letters = Counter(label for labels in operands for label in labels or () if len(label) == 1)
    if arrow:
        result = _labels(right, dots)
    else:
        once = sorted(label for label, count in letters.items() if count == 1)
        mixed = any(label.isupper() for label in once) and any(label.islower() for label in once)
        result = None if mixed else (*dots, *once)  # runtimes disagree on whether A or a comes first
    if result is None or len(set(result)) != len(result) or (ranks and "." in text and not set(dots) <= set(result)):
        return None
    sizes: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        if labels is None or len(labels) != len(shape):
            return None
        seen: dict[str, int] = {}
        for label, size in zip(labels, shape, strict=True):
            if seen.setdefault(label, size) != size or (1 < sizes.get(label, 1) != size > 1):
                return None
            sizes[label] = max(size, sizes.get(label, 1))
    if not set(result) <= set(sizes):
        return None
    return Equation(tuple(labels for labels in operands if labels is not None), result, sizes)


def _labels(term: str, dots: tuple[str, ...]) -> tuple[str, ...] | None:
    before, ellipsis, after = term.partition("...")
    if not all(letter.isascii() and letter.isalpha() for letter in before + after):
        return None
    return (*before, *(dots if ellipsis else ()), *after)


def plan_equation(equation: Equation, shapes: Sequence[tuple[int, ...]], constants: Sequence[bool]) -> Plan:
    """Nodes for an equation: operand after operand is taken in, each time in the cheapest way found."""
    plan = Plan(equation.sizes)
    terms = [
        plan.diagonal(plan.without_broadcast(Term(index, labels, constant), shape))
        for index, (labels, shape, constant) in enumerate(zip(equation.operands, shapes, constants, strict=True))
    ]
    first, *rest = terms
    if not rest:
        first = plan.sum_over(first, set(first.labels) - set(equation.result))
    for number, term in enumerate(rest):
        needed = set(equation.result).union(*(later.labels for later in rest[number + 1 :]))
        is_last = number == len(rest) - 1
        plan, first = min(
            _products(plan, first, term, needed, equation.result, is_last), key=lambda found: found[0].cost
        )
    plan.arrange(first, [(label,) if label in first.labels else () for label in equation.result])
    return plan


class Plan:
    """Steps so far, and what they cost. Steps on constants alone are folded later and cost next to nothing."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.steps: list[Step] = []
        self.cost = 0.0

    def copy(self) -> Plan:
        """The same plan, to be continued in another way."""
        other = Plan(self.sizes)
        other.steps, other.cost = list(self.steps), self.cost
        return other

    def add(
        self,
        op_type: str,
        terms: Sequence[Term],
        labels: tuple[str, ...],
        dims: Sequence[int] | None = None,
        attributes: Mapping[str, Any] | None = None,
        numbers: tuple[tuple[int, ...], ...] = (),
    ) -> Term:
        """One more step; ``dims`` where they are not simply the sizes of the labels."""
        constant = all(term.constant for term in terms)
        self.cost += _COSTS.get(op_type, 5.0) * (0.1 if constant else 1.0)
        dims = self.dims(labels) if dims is None else tuple(dims)
        self.steps.append(Step(op_type, tuple(term.source for term in terms), tuple(dims), attributes or {}, numbers))
        return Term(-len(self.steps), labels, constant)

    def dims(self, labels: Iterable[str]) -> tuple[int, ...]:
        """Sizes of labels."""
        return tuple(self.sizes[label] for label in labels)

    def without_broadcast(self, term: Term, shape: tuple[int, ...]) -> Term:
        """Drop the axes of size 1 that another operand widens."""
        kept = tuple(label for label, size in zip(term.labels, shape, strict=True) if size == self.sizes[label])
        if kept == term.labels:
            return term
        return self.add("Reshape", [term], kept, numbers=(self.dims(kept),))

    def diagonal(self, term: Term) -> Term:
        """Take diagonals until no label is repeated: axes to the end, joined, and every (n + 1)-th element."""
        while repeated := [label for label, count in Counter(term.labels).items() if count > 1]:
            label, size = repeated[0], self.sizes[repeated[0]]
            axes = [axis for axis, other in enumerate(term.labels) if other == label][:2]
            others = [axis for axis in range(len(term.labels)) if axis not in axes]
            labels = tuple(term.labels[axis] for axis in others)
            order = (*others, *axes)
            if order != tuple(range(len(order))):
                term = self.add("Transpose", [term], (*labels, label, label), attributes={"perm": order})
            joined = (*self.dims(labels), size * size)
            term = self.add("Reshape", [term], (*labels, label), joined, numbers=(joined,))
            if size > 1:
                ranges = ((0,), (size * size,), (len(labels),), (size + 1,))
                term = self.add("Slice", [term], (*labels, label), numbers=ranges)
        return term

    def sum_over(self, term: Term, labels: set[str]) -> Term:
        """ReduceSum over these labels."""
        axes = tuple(axis for axis, label in enumerate(term.labels) if label in labels)
        if not axes:
            return term
        kept = tuple(label for label in term.labels if label not in labels)
        return self.add("ReduceSum", [term], kept, attributes={"keepdims": 0}, numbers=(axes,))

    def arrange(self, term: Term, groups: Sequence[tuple[str, ...]], shape: tuple[int, ...] | None = None) -> Term:
        """Bring the axes into this order and join each group; an empty group is an axis of size 1.

        ``shape`` is that of ``term`` where its axes are still joined.
        """
        order = tuple(label for group in groups for label in group)
        shape = self.dims(term.labels) if shape is None else shape
        real = [label for label in term.labels if self.sizes[label] > 1]
        if real != [label for label in order if self.sizes[label] > 1]:
            if shape != self.dims(term.labels):
                term = self.add("Reshape", [term], term.labels, numbers=(self.dims(term.labels),))
            perm = tuple(term.labels.index(label) for label in order)
            term = self.add("Transpose", [term], order, attributes={"perm": perm})
            shape = self.dims(order)
        target = tuple(math.prod(self.dims(group)) for group in groups)
        if shape != target:
            term = self.add("Reshape", [term], order, target, numbers=(target,))
        return Term(term.source, order, term.constant)


def _products(
    plan: Plan, a: Term, b: Term, needed: set[str], result: tuple[str, ...], is_last: bool
) -> Iterator[tuple[Plan, Term]]:
    """Ways to multiply two terms and to sum over what nobody needs afterwards."""
    plan = plan.copy()
    a = plan.sum_over(a, set(a.labels) - set(b.labels) - needed)
    b = plan.sum_over(b, set(b.labels) - set(a.labels) - needed)
    common = set(a.labels) & set(b.labels)
    contracted = common - needed
    only_a, only_b = set(a.labels) - common, set(b.labels) - common
    if not contracted or not (only_a or only_b):
        yield _elementwise(plan, a, b, contracted, result)
        return
    for left, right in ((a, b), (b, a)):
        batches = _orders(common - contracted, result, left.labels, right.labels)
        rows = _orders(set(left.labels) - common, left.labels, result)
        columns = _orders(set(right.labels) - common, right.labels, result)
        sums = _orders(contracted, left.labels, right.labels)
        for batch, row, column, inner in itertools.product(batches, rows, columns, sums):
            trial = plan.copy()
            term = _matmul(trial, left, right, batch, row, column, inner, result if is_last else None)
            yield trial, term


def _orders(labels: set[str], *likes: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The labels in the order of each of ``likes``, without repetition."""
    found: dict[tuple[str, ...], None] = {}
    for like in likes:
        order = tuple(label for label in like if label in labels)
        if len(order) == len(labels):
            found[order] = None
    return list(found) or [tuple(sorted(labels))]


def _elementwise(plan: Plan, a: Term, b: Term, contracted: set[str], result: tuple[str, ...]) -> tuple[Plan, Term]:
    """Mul of the two, axis by axis, and a ReduceSum over what is contracted."""
    both = dict.fromkeys((*a.labels, *b.labels))
    order = (*(label for label in result if label in both), *(label for label in both if label not in result))
    shaped = []
    for term in (a, b):
        first = next((axis for axis, label in enumerate(order) if label in term.labels), len(order))
        groups = [(label,) if label in term.labels else () for label in order[first:]]
        shaped.append(plan.arrange(term, groups))
    product = plan.add("Mul", shaped, order)
    return plan, plan.sum_over(product, contracted)


def _matmul(
    plan: Plan,
    left: Term,
    right: Term,
    batch: tuple[str, ...],
    row: tuple[str, ...],
    column: tuple[str, ...],
    inner: tuple[str, ...],
    result: tuple[str, ...] | None,
) -> Term:
    """MatMul over ``inner``; the result is brought into the order of ``result`` if there is one."""
    ahead: list[tuple[str, ...]]
    if batch:
        ahead = [(label,) for label in batch] if len(batch) + 2 <= _RANK else [batch]
        rows = [row]
    else:
        ahead = []
        rows = [(label,) for label in row] if row and len(row) + 1 <= _RANK else [row]
    a = plan.arrange(left, [*ahead, *rows, inner])
    b = plan.arrange(right, [*ahead, inner, column])
    groups = [*ahead, *rows, column]
    dims = tuple(math.prod(plan.dims(group)) for group in groups)
    labels = (*batch, *row, *column)
    product = plan.add("MatMul", [a, b], labels, dims)
    order = labels if result is None else tuple(label for label in result if label in labels)
    return plan.arrange(product, [(label,) for label in order], dims)
