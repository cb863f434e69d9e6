"""What each operator becomes if it works on data that have not been transposed yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    ints_attribute,
    opset_of,
    static_shape,
)
from kneronnxopt.passes.global_average_pool import reduction_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

__all__ = ["Move", "Perm", "inverse", "is_identity", "plan"]

Perm = tuple[int, ...]

#: A constant that several nodes read is copied for one of them only up to this many elements.
_MAX_COPIED = 4096

_UNARY = frozenset(
    {
        *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip"),
        *("Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf"),
        *("IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink"),
        *("Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu"),
    }
)
_BROADCASTING = frozenset(
    {
        *("Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater"),
        *("GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow"),
        *("Sub", "Sum", "Where", "Xor"),
    }
)
_VARIADIC = ("Max", "Mean", "Min", "Sum")
_REDUCTIONS = frozenset(
    {
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
        *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
    }
)


@dataclass(slots=True)
class Move:
    """How a node is written on operands from before the Transposes.

    Attributes
    ----------
    data : tuple of int
        Operands that must all be transposed by the same permutation; the others stay or are in ``constants``.
    perm : tuple of int
        Permutation that its outputs then need.
    attributes : dict
        Attributes that change.
    constants : dict
        Operand -> array to put in its place.
    """

    data: tuple[int, ...]
    perm: Perm
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)


def inverse(perm: Perm) -> Perm:
    """Permutation that undoes ``perm``."""
    result = [0] * len(perm)
    for position, axis in enumerate(perm):
        result[axis] = position
    return tuple(result)


def is_identity(perm: Perm) -> bool:
    """Whether nothing moves."""
    return perm == tuple(range(len(perm)))


def plan(node: ir.Node, perm: Perm) -> Move | None:
    """How ``node``, whose data were transposed by ``perm``, works on them before that; None if it cannot."""
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    handler = _HANDLERS.get(node.op_type)
    return None if handler is None else handler(node, perm)


def _unary(_node: ir.Node, perm: Perm) -> Move | None:
    return Move((0,), perm)


def _quantize(node: ir.Node, perm: Perm) -> Move | None:
    shape = static_shape(node.inputs[1])
    return Move((0,), perm) if shape in ((), (1,)) and "block_size" not in node.attributes else None


def _broadcasting(node: ir.Node, perm: Perm) -> Move | None:
    if opset_of(node) < (8 if node.op_type in _VARIADIC else 7):  # before that, broadcasting had other rules
        return None
    data: list[int] = []
    constants = {}
    for index, operand in enumerate(node.inputs):
        if operand is None:
            return None
        shape = static_shape(operand)
        fixed = constant_tensor(operand) is not None
        if shape is not None and all(size == 1 for size in shape) and len(shape) < len(perm) + fixed:
            continue  # one element broadcasts in any layout
        if not fixed:
            data.append(index)
            continue
        array = _turned(operand, perm)
        if array is None:
            return None
        constants[index] = array
    return Move(tuple(data), perm, {}, constants) if data and (node.op_type != "PRelu" or data == [0]) else None


def _turned(operand: ir.Value, perm: Perm) -> np.ndarray[Any, Any] | None:
    """A constant operand as it broadcasts before the Transpose."""
    tensor = constant_tensor(operand)
    if tensor is None or len(tensor.shape) > len(perm) or (len(operand.uses()) > 1 and tensor.size > _MAX_COPIED):
        return None
    array = constant(operand)
    if array is None:
        return None
    array = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.transpose(array, inverse(perm))


def _concat(node: ir.Node, perm: Perm) -> Move | None:
    axis = _axis(node.attributes["axis"].as_int() if "axis" in node.attributes else None, perm)
    if axis is None:
        return None
    data, constants = [], {}
    for index, operand in enumerate(node.inputs):
        if operand is None or constant_tensor(operand) is None:
            data.append(index)
            continue
        array = _turned(operand, perm) if len(static_shape(operand) or ()) == len(perm) else None
        if array is None:
            return None
        constants[index] = array
    return Move(tuple(data), perm, {"axis": axis}, constants) if data else None


def _pad(node: ir.Node, perm: Perm) -> Move | None:
    rank = len(perm)
    if opset_of(node) < 11:
        pads = ints_attribute(node, "pads")
        if pads is None or len(pads) != 2 * rank:
            return None
        return Move((0,), perm, {"pads": _turned_pads(pads, perm)})
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = _constant_axes(node.inputs[3], perm)
        return None if axes is None else Move((0,), perm, {}, {3: axes})
    array = constant(node.inputs[1])
    if array is None or array.shape != (2 * rank,):
        return None
    turned = _turned_pads([int(size) for size in array], perm)
    return Move((0,), perm, {}, {1: np.array(turned, dtype=np.int64)})


def _turned_pads(pads: Sequence[int], perm: Perm) -> list[int]:
    rank, back = len(perm), inverse(perm)
    return [pads[half * rank + back[axis]] for half in (0, 1) for axis in range(rank)]


def _reduce(node: ir.Node, perm: Perm) -> Move | None:
    axes = reduction_axes(node, len(perm))
    if axes is None or len(set(axes)) != len(axes):
        return None
    moved = sorted(perm[axis] for axis in axes)
    result = perm if int_attribute(node, "keepdims", 1) else _without(perm, axes)
    if "axes" in node.attributes:
        return Move((0,), result, {"axes": moved})
    return Move((0,), result, {}, {1: np.array(moved, dtype=np.int64)})


def _arg(node: ir.Node, perm: Perm) -> Move | None:
    axis = _axis(int_attribute(node, "axis", 0), perm)
    if axis is None:
        return None
    old = inverse(perm)[axis]
    return Move((0,), perm if int_attribute(node, "keepdims", 1) else _without(perm, (old,)), {"axis": axis})


def _squeeze(node: ir.Node, perm: Perm) -> Move | None:
    axes = reduction_axes(node, len(perm))
    if axes is None or len(set(axes)) != len(axes):
        return None
    moved = sorted(perm[axis] for axis in axes)
    if "axes" in node.attributes:
        return Move((0,), _without(perm, axes), {"axes": moved})
    return Move((0,), _without(perm, axes), {}, {1: np.array(moved, dtype=np.int64)})


def _unsqueeze(node: ir.Node, perm: Perm) -> Move | None:
    listed = ints_attribute(node, "axes")
    count = len(listed) if listed is not None else (static_shape(node.inputs[1]) or (0,))[0]
    rank = len(perm) + count
    axes = reduction_axes(node, rank)
    if axes is None or len(set(axes)) != count:
        return None
    kept = [axis for axis in range(rank) if axis not in axes]
    result = list(range(rank))
    for position, axis in enumerate(kept):
        result[axis] = kept[perm[position]]
    return Move((0,), tuple(result))


def _without(perm: Perm, axes: Sequence[int]) -> Perm:
    """The permutation that is left when these axes of the result are gone."""
    kept = [perm[position] for position in range(len(perm)) if position not in axes]
    places = {axis: place for place, axis in enumerate(sorted(kept))}
    return tuple(places[axis] for axis in kept)


def _slice(node: ir.Node, perm: Perm) -> Move | None:
    if opset_of(node) < 10:
        starts = ints_attribute(node, "starts")
        axes = ints_attribute(node, "axes", range(len(starts or ())))
        if not starts or axes is None or not all(-len(perm) <= axis < len(perm) for axis in axes):
            return None
        return Move((0,), perm, {"axes": [perm[axis % len(perm)] for axis in axes]})
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        array = _constant_axes(node.inputs[3], perm)
    else:
        shape = static_shape(node.inputs[1])
        array = None if shape is None or len(shape) != 1 or shape[0] > len(perm) else np.array(perm[: shape[0]])
        tensor = constant_tensor(node.inputs[1])
        if array is not None:
            array = array.astype(np.int64 if tensor is None else tensor.numpy().dtype)
            if tensor is None and str(node.inputs[1].dtype if node.inputs[1] else "") != "INT64":
                return None
    return None if array is None else Move((0,), perm, {}, {3: array})


def _constant_axes(value: ir.Value | None, perm: Perm) -> np.ndarray[Any, Any] | None:
    array = constant(value)
    if array is None or not all(-len(perm) <= axis < len(perm) for axis in array.reshape(-1)):
        return None
    return np.array([perm[int(axis) % len(perm)] for axis in array.reshape(-1)], dtype=array.dtype)


def _split(node: ir.Node, perm: Perm) -> Move | None:
    axis = _axis(int_attribute(node, "axis", 0), perm) if opset_of(node) >= 2 else None
    return None if axis is None else Move((0,), perm, {"axis": axis})


def _softmax(node: ir.Node, perm: Perm) -> Move | None:
    new = opset_of(node) >= 13
    axis = _axis(int_attribute(node, "axis", -1 if new else 1), perm)
    if axis is None:
        return None
    last = len(perm) - 1
    if not new and (axis != last or inverse(perm)[axis] != last):
        return None  # before opset 13, all axes from this one on were one
    return Move((0,), perm, {"axis": axis})


def _per_channel(node: ir.Node, perm: Perm) -> Move | None:
    fits = len(perm) > 1 and perm[1] == 1 and len(node.outputs) == 1 and opset_of(node) >= 9
    return Move((0,), perm) if fits else None


def _layer_normalization(node: ir.Node, perm: Perm) -> Move | None:
    axis = int_attribute(node, "axis", -1)
    rank = len(perm)
    if not -rank <= axis < rank or len(node.outputs) != 1:
        return None
    last = range(axis % rank, rank)
    if any(
        operand is not None and (operand.shape is None or len(operand.shape) > len(last)) for operand in node.inputs[1:]
    ):
        return None
    return Move((0,), perm) if all(perm[position] == position for position in last) else None


def _matmul(node: ir.Node, perm: Perm) -> Move | None:
    weight = constant_tensor(node.inputs[1])
    fits = weight is not None and len(weight.shape) == 2 and len(perm) > 2 and perm[-1] == len(perm) - 1
    return Move((0,), perm) if fits else None


def _axis(axis: int | None, perm: Perm) -> int | None:
    """Where an axis of the transposed data lies before that."""
    return None if axis is None or not -len(perm) <= axis < len(perm) else perm[axis % len(perm)]


_HANDLERS: dict[str, Callable[[ir.Node, Perm], Move | None]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _per_channel),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), _softmax),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _quantize),
    "Concat": _concat,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
