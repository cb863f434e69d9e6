"""Evaluation of small constants, chiefly the shape arithmetic that exporters leave in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from ktc.frontend.graph import element_count, tensor_content

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktc.frontend.graph import Graph, Operator

__all__ = ["constant_content"]

_MAX_ELEMENTS = 4096
Array = np.ndarray[Any, Any]


def _divide(a: Array, b: Array) -> Array:
    if np.issubdtype(a.dtype, np.integer):
        if not np.all(b):
            raise ValueError("division by zero")
        return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)), dtype=a.dtype)  # ONNX truncates
    return np.asarray(np.divide(a, b))


_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": np.power,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
}
_UNARY: dict[str, Callable[[Array], Any]] = {
    "Identity": np.asarray,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Not": np.logical_not,
    "NonZero": lambda x: np.array(np.nonzero(x), dtype=np.int64),
}
_FOLD: dict[str, Callable[..., Any]] = {"Min": np.minimum, "Max": np.maximum, "Sum": np.add}
_REDUCE: dict[str, Callable[..., Any]] = {
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}


def _axes(operator: Operator, operands: Sequence[Array | None], position: int = 1) -> tuple[int, ...] | None:
    given = operands[position] if len(operands) > position else None
    if given is not None:
        return tuple(int(axis) for axis in np.ravel(given))
    return operator.integers("axes") or None


def _slice(operator: Operator, operands: Sequence[Array | None]) -> Array:
    data = _need(operands[0])
    if len(operands) > 1:
        starts, ends = np.ravel(_need(operands[1])), np.ravel(_need(operands[2]))
        axes = operands[3] if len(operands) > 3 else None
        steps = operands[4] if len(operands) > 4 else None
    else:
        starts, ends = np.array(operator.integers("starts")), np.array(operator.integers("ends"))
        axes, steps = (np.array(operator.integers("axes")) if operator.attribute("axes") else None), None
    axes = np.arange(len(starts)) if axes is None else np.ravel(axes)
    steps = np.ones(len(starts), dtype=np.int64) if steps is None else np.ravel(steps)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop: int | None = int(end)
        if step < 0 and end < -data.shape[int(axis)]:
            stop = None
        index[int(axis)] = slice(int(start), stop, int(step))
    return data[tuple(index)]


def _reshape(operator: Operator, operands: Sequence[Array | None]) -> Array:
    data = _need(operands[0])
    target = [int(v) for v in np.ravel(_need(operands[1]))]
    if not operator.integer("allowzero", 0):
        target = [data.shape[i] if extent == 0 else extent for i, extent in enumerate(target)]
    return data.reshape(target)


def _unsqueeze(operator: Operator, operands: Sequence[Array | None]) -> Array:
    axes = _axes(operator, operands)
    if axes is None:
        raise ValueError("no axes")
    return np.expand_dims(_need(operands[0]), axes)


def _reduce(operator: Operator, operands: Sequence[Array | None]) -> Array:
    axes = _axes(operator, operands)
    if axes is None and operator.integer("noop_with_empty_axes", 0):
        return _need(operands[0])
    keep = bool(operator.integer("keepdims", 1))
    return np.asarray(_REDUCE[operator.type](_need(operands[0]), axis=axes, keepdims=keep))


def _constant_of_shape(operator: Operator, operands: Sequence[Array | None]) -> Array:
    shape = tuple(int(v) for v in np.ravel(_need(operands[0])))
    if element_count(shape) > _MAX_ELEMENTS:
        raise ValueError("too large")
    fill = operator.attribute("value")
    content = tensor_content(fill) if fill is not None else np.zeros(1, np.float32)
    return np.full(shape, _need(content).ravel()[0])


def _range(_: Operator, operands: Sequence[Array | None]) -> Array:
    start, limit, step = (_need(operand).item() for operand in operands)
    if not step or abs((limit - start) / step) > _MAX_ELEMENTS:
        raise ValueError("too large")
    return np.arange(start, limit, step, dtype=_need(operands[0]).dtype)


def _expand(_: Operator, operands: Sequence[Array | None]) -> Array:
    data, shape = _need(operands[0]), tuple(int(v) for v in np.ravel(_need(operands[1])))
    target = np.broadcast_shapes(data.shape, shape)
    if element_count(target) > _MAX_ELEMENTS:
        raise ValueError("too large")
    return np.broadcast_to(data, target)


def _fold(operator: Operator, operands: Sequence[Array | None]) -> Array:
    result = _need(operands[0])
    for operand in operands[1:]:
        result = _FOLD[operator.type](result, _need(operand))
    return result


def _cast(operator: Operator, operands: Sequence[Array | None]) -> Array:
    return _need(operands[0]).astype(helper.tensor_dtype_to_np_dtype(operator.integer("to", 1)))


_OTHER: dict[str, Callable[[Operator, Sequence[Array | None]], Array]] = {
    "Slice": _slice,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda op, x: np.squeeze(_need(x[0]), _axes(op, x)),
    "Gather": lambda op, x: np.take(_need(x[0]), _need(x[1]), axis=op.integer("axis", 0)),
    "Concat": lambda op, x: np.concatenate([_need(part) for part in x], axis=op.integer("axis", 0)),
    "Transpose": lambda op, x: np.transpose(_need(x[0]), op.integers("perm") or None),
    "Where": lambda _, x: np.where(_need(x[0]), _need(x[1]), _need(x[2])),
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Expand": _expand,
    "Cast": _cast,
    "Mod": lambda op, x: (np.fmod if op.integer("fmod", 0) else np.mod)(_need(x[0]), _need(x[1])),
}


def _need(operand: Array | None) -> Array:
    if operand is None:
        raise ValueError("unknown operand")
    return operand


def _from_attribute(operator: Operator) -> Array | None:
    """Content of a Constant node."""
    tensor = operator.attribute("value")
    if tensor is not None:
        return tensor_content(tensor)
    for name, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        value = operator.attribute(name)
        if value is not None and np.size(value) <= _MAX_ELEMENTS:
            return np.array(value, dtype=dtype)
    return None


def _shape_slice(operator: Operator, shape: tuple[int, ...]) -> Array:
    end = operator.attribute("end")
    return np.array(shape[operator.integer("start", 0) : end if isinstance(end, int) else None], dtype=np.int64)


def constant_content(operator: Operator, graph: Graph) -> np.ndarray[Any, Any] | None:
    """Content of the first output of an operator whose operands are known.

    Returns
    -------
    numpy.ndarray or None
        None if an operand is unknown, the result is large, or the operator is not one of those that
        exporters use for shape arithmetic.
    """
    if operator.type == "Constant":
        return _from_attribute(operator)
    if operator.type in ("Shape", "Size"):
        shape = graph.shape(operator.inputs[0]) if operator.inputs else None
        if shape is None:
            return None
        if operator.type == "Size":
            return np.array(min(element_count(shape), np.iinfo(np.int64).max), dtype=np.int64)
        return _shape_slice(operator, shape)
    operands = [graph.content(name) for name in operator.inputs]
    try:
        with np.errstate(all="ignore"):
            result = _apply(operator, operands)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError):
        return None  # malformed or unknown operands: the value stays unknown, its shape may still be inferred
    return result if result is None or result.size <= _MAX_ELEMENTS else None


def _apply(operator: Operator, operands: Sequence[Array | None]) -> Array | None:
    kind = operator.type
    if kind in _BINARY:
        return np.asarray(_BINARY[kind](_need(operands[0]), _need(operands[1])))
    if kind in _UNARY:
        return np.asarray(_UNARY[kind](_need(operands[0])))
    if kind in _FOLD:
        return _fold(operator, operands)
    if kind in _REDUCE:
        return _reduce(operator, operands)
    if kind in _OTHER:
        return _OTHER[kind](operator, operands)
    return None
