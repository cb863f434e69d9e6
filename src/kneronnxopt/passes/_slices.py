"""Read and write Slice in the form of the model's opset: attributes before 10, inputs since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._graph import (
    constant,
    ints_attribute,
    is_op,
    new_constant,
    new_node,
    nodes_inside,
    opset_of,
    replace_node,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "dimension",
    "disputed_slices",
    "insert_slice",
    "is_disputed",
    "read_slice",
    "replace_by_slice",
    "slice_operands",
]

#: Ends that onnxruntime (seen with 1.32) reads as "to the last element" whichever way a Slice goes.
_TO_THE_LAST = frozenset({2**31 - 1, 2**63 - 1})
#: Operators whose graphs onnx infers.
_WITH_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def is_disputed(node: ir.Node) -> bool:
    """Whether a Slice goes, or might go, backwards to an end of INT32_MAX or INT64_MAX.

    By the standard, onnx's shape inference and its reference evaluator it takes nothing; onnxruntime takes every
    element down to the first. Only constant operands tell; until they are, a negative step or such an end is enough.
    """
    if opset_of(node) < 10 or len(node.inputs) < 5 or node.inputs[4] is None:
        return False
    ends, steps = (None if array is None else array.reshape(-1).tolist() for array in map(constant, node.inputs[2:5:2]))
    if ends is None or steps is None or len(ends) != len(steps):
        return any(step < 0 for step in steps or ()) or not _TO_THE_LAST.isdisjoint(ends or ())
    return any(step < 0 and end in _TO_THE_LAST for end, step in zip(ends, steps, strict=True))


def disputed_slices(model: ir.Model) -> set[str]:
    """Results of the disputed Slices of a model, in subgraphs too."""
    found: set[str] = set()
    for node in model.graph:  # a walk into every node costs as much as the inference
        if node.op_type == "Slice" or node.op_type in _WITH_GRAPHS:
            inner = (other for other in (node, *nodes_inside(node)) if is_op(other, "Slice"))
            found.update(other.outputs[0].name or "" for other in inner if is_disputed(other))
    return found


def read_slice(node: ir.Node) -> dict[int, slice] | None:
    """What a Slice takes along each non-negative axis, as Python slices; None unless it is constant and undisputed."""
    if is_disputed(node):
        return None
    starts, ends, axes, steps = _operands(node)
    if starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    source = node.inputs[0]
    rank = len(source.shape) if source is not None and source.shape is not None else None
    if not len(axes) == len(steps) == len(starts) or 0 in steps or (rank is None and min(axes, default=0) < 0):
        return None
    axes = tuple(axis if rank is None or axis >= 0 else axis + rank for axis in axes)
    if len(set(axes)) != len(axes) or any(axis < 0 or (rank is not None and axis >= rank) for axis in axes):
        return None
    return {axis: slice(start, end, step) for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)}


def slice_operands(
    node: ir.Node, spans: Mapping[int, slice], hint: str
) -> tuple[list[ir.Value | None], dict[str, Any]]:
    """Further inputs, and attributes, of a Slice at ``node`` that takes ``spans``; steps need opset 10."""
    axes = sorted(spans)
    starts = [spans[axis].start for axis in axes]
    ends = [spans[axis].stop for axis in axes]
    steps = [1 if spans[axis].step is None else spans[axis].step for axis in axes]
    if opset_of(node) < 10:
        assert set(steps) <= {1}
        return [], {"starts": starts, "ends": ends, "axes": axes}
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    columns = {"starts": starts, "ends": ends, "axes": axes}
    if set(steps) != {1}:
        columns["steps"] = steps
    return [_shared_constant(graph, f"{hint}_{role}", tuple(numbers)) for role, numbers in columns.items()], {}


def replace_by_slice(node: ir.Node, source: ir.Value, spans: Mapping[int, slice]) -> ir.Node:
    """Put ``Slice(source, spans)`` in place of ``node``."""
    inputs, attributes = slice_operands(node, spans, node.outputs[0].name or "slice")
    return replace_node(node, "Slice", [source, *inputs], attributes)


def insert_slice(before: ir.Node, source: ir.Value, spans: Mapping[int, slice], *, hint: str) -> ir.Value:
    """Insert ``Slice(source, spans)`` before ``before``; the sliced dimensions of ``source`` are static."""
    inputs, attributes = slice_operands(before, spans, hint)
    value = new_node(before, "Slice", [source, *inputs], attributes, hint=hint, dtype=source.dtype)
    if source.shape is not None:
        dims = list(source.shape)
        for axis, span in spans.items():
            dims[axis] = len(range(dimension(source, axis) or 0)[span])
        value.shape = ir.Shape(dims)
    return value


def dimension(value: ir.Value, axis: int) -> int | None:
    """Size along an axis if it is a known number."""
    if value.shape is None or not 0 <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) and size >= 0 else None


def _operands(node: ir.Node) -> tuple[tuple[int, ...] | None, ...]:
    """Starts, ends, axes, steps; the first is None where any of them is not constant."""
    if opset_of(node) < 10:
        return (*(ints_attribute(node, name) for name in ("starts", "ends", "axes")), None)
    found: list[tuple[int, ...] | None] = []
    for index in range(1, 5):
        value = node.inputs[index] if index < len(node.inputs) else None
        array = constant(value)
        if value is not None and array is None:
            return None, None, None, None
        found.append(None if array is None else tuple(int(number) for number in array.reshape(-1)))
    return tuple(found)


def _shared_constant(graph: ir.Graph, hint: str, numbers: tuple[int, ...]) -> ir.Value:
    """A constant of these numbers; Slices of one graph share it, for there may be thousands (a Split per time step)."""
    known: dict[tuple[int, ...], ir.Value] = graph.meta.setdefault("kneronnxopt.slice_operands", {})
    value = known.get(numbers)
    if value is None or graph.initializers.get(value.name or "") is not value:
        value = known[numbers] = new_constant(graph, hint, np.array(numbers, dtype=np.int64))
    return value
