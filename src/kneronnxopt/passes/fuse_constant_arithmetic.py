"""Constant factors and addends in a row are merged, and factors go into the weights before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    constant_tensor,
    is_op,
    new_constant,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes._precision import are_moderate, is_moderate, keeps_precision
from kneronnxopt.passes.fuse_bias import gemm_is_plain

__all__ = ["FuseConstantArithmetic", "FuseScaleIntoMatMul"]

_DTYPES: dict[ir.DataType | None, np.dtype[Any]] = {
    ir.DataType.FLOAT: np.dtype(np.float32),
    ir.DataType.DOUBLE: np.dtype(np.float64),
}
_FACTORS, _ADDENDS = ("Div", "Mul"), ("Add", "Sub")
#: How much larger than their sum two addends may be; beyond, the first was there to round x.
_CANCELLATION = 16.0
#: Constants up to this size may be merged even if the old ones stay for other users.
_ALWAYS_BYTES = 4096


class FuseConstantArithmetic(NodePass):
    """x -> Mul(c) -> Mul(d) -> y   becomes   x -> Mul(c d) -> y, and likewise Add(c + d).

    1. Div(c) counts as Mul(1 / c), Sub(c) as Add(-c); the constant of Div and Sub is the second operand.
    2. float and double; nothing else reads the value between.
    3. The merged constant is not larger than the larger of both, nor left beside large ones that are shared.
    4. Stays: factors that are 0, huge or tiny, whose product or partial result could overflow or underflow;
       addends that cancel, as in ``(x + 1e8) - 1e8``, which rounds.
    """

    name = "fuse_constant_arithmetic"
    op_types = (*_FACTORS, *_ADDENDS)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the operation of its kind before it."""
        family = _FACTORS if node.op_type in _FACTORS else _ADDENDS
        later = _operand(node)
        first = later[0].producer() if later is not None else None
        if later is None or first is None or not is_op(first, *family) or sole_consumer(later[0]) is not node:
            return False
        earlier = _operand(first)
        if earlier is None or not self._is_no_larger(earlier[1], later[1]):
            return False
        merged = _merged(node, first, later[1], earlier[1])
        if merged is None:
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        value = new_constant(graph, f"{node.outputs[0].name}_constant", merged)
        replace_node(node, family[1] if family is _FACTORS else family[0], [earlier[0], value])
        return remove_if_unused(first)

    @staticmethod
    def _is_no_larger(*constants: ir.Value) -> bool:
        tensors = [tensor for value in constants if (tensor := constant_tensor(value)) is not None]
        try:
            size = np.prod(np.broadcast_shapes(*(tensor.shape.numpy() for tensor in tensors)), dtype=np.int64)
        except ValueError:
            return False
        if not 0 < size <= max(tensor.size for tensor in tensors):
            return False
        small = size * max(tensor.dtype.itemsize for tensor in tensors) <= _ALWAYS_BYTES
        return bool(small) or all(len(value.uses()) == 1 for value in constants)


def _operand(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The computed and the constant operand of an operation in float or double."""
    for data, other in ((0, 1), (1, 0)) if node.op_type in ("Add", "Mul") else ((0, 1),):
        source, operand = node.inputs[data], node.inputs[other]
        if source is not None and operand is not None and constant_tensor(operand) is not None:
            known = node.outputs[0].dtype in _DTYPES and opset_of(node) >= 7
            return (source, operand) if known else None
    return None


def _merged(node: ir.Node, first: ir.Node, later: ir.Value, earlier: ir.Value) -> np.ndarray[Any, Any] | None:
    """The one constant in place of two; None where the result could differ beyond rounding."""
    a, b = constant(earlier), constant(later)
    dtype = node.outputs[0].dtype
    if a is None or b is None or dtype is None:
        return None
    a, b = a.astype(np.float64), b.astype(np.float64)
    if node.op_type in _FACTORS:
        if not (are_moderate(a) and are_moderate(b)):
            return None
        product = (1 / a if first.op_type == "Div" else a) * (1 / b if node.op_type == "Div" else b)
        return np.asarray(product).astype(_DTYPES[dtype])
    a, b = (-a if first.op_type == "Sub" else a), (-b if node.op_type == "Sub" else b)
    with np.errstate(all="ignore"):
        total: np.ndarray[Any, Any] = np.asarray(a + b)
        cancels = (np.abs(a) + np.abs(b) > _CANCELLATION * np.abs(total)).any()
    return None if cancels or not keeps_precision(total, _DTYPES[dtype]) else total.astype(_DTYPES[dtype])


class FuseScaleIntoMatMul(NodePass):
    """x -> MatMul(w) | Gemm(w, c) (-> Add(d)) -> Mul(s)   becomes   x -> MatMul(w s) | Gemm(w s, c s) (-> Add(d s)).

    1. w (rank 2 or more) and c are constant, float or double, and w has no other user.
    2. s is constant: one number, or one per column; it does not change the result's shape. Div(s) counts as
       Mul(1 / s) where s is the second operand.
    3. Gemm has alpha = beta = 1; d, if there is an Add, is constant. Nothing else reads the values between.
    4. Stays: weights or factors that are huge or tiny, so that a result could overflow or underflow.
    """

    name = "fuse_scale_into_matmul"
    op_types = _FACTORS
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Scale the weights before one Mul or Div."""
        found = _operand(node)
        last = found[0].producer() if found is not None else None
        if found is None or last is None or sole_consumer(found[0]) is not node:
            return False
        linear, addend = _before_addend(last)
        if linear is None or not is_op(linear, "MatMul", "Gemm") or not _is_scalable(linear):
            return False
        factor = _column_factor(node, found[0], found[1])
        scaled = None if factor is None else _scaled(linear, factor)
        shifted = None if factor is None or addend is None else _scaled_addend(addend, factor)
        if scaled is None or (addend is not None and shifted is None):
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = linear.outputs[0].name
        values = [new_constant(graph, f"{name}_{role}", array) for role, array in scaled.items()]
        result = replace_node(linear, linear.op_type, [linear.inputs[0], *values], linear.attributes).outputs[0]
        if shifted is not None:
            result = replace_node(last, "Add", [result, new_constant(graph, f"{name}_addend", shifted)]).outputs[0]
        return bypass(node, result)


def _before_addend(last: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """The node before an Add of a constant, and the constant; any other node itself, and None."""
    found = _operand(last) if is_op(last, "Add") else None
    if found is None:
        return last, None
    before = found[0].producer()
    return (before, found[1]) if before is not None and sole_consumer(found[0]) is last else (None, None)


def _scaled_addend(addend: ir.Value, factor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """An addend times the factor if it does not grow and keeps its precision."""
    array = constant(addend)
    if (
        array is None
        or not is_moderate(array)
        or (array.shape[-1:] != factor.shape and 1 not in (array.size, factor.size))
    ):
        return None
    product = array * (factor if factor.size > 1 else factor[0])
    return product.astype(array.dtype) if keeps_precision(product, array.dtype) else None


def _is_scalable(linear: ir.Node) -> bool:
    weight = linear.inputs[1]
    shape = static_shape(weight)
    return (
        weight is not None
        and constant_tensor(weight) is not None
        and len(weight.uses()) == 1
        and shape is not None
        and len(shape) >= 2
        and linear.outputs[0].dtype in _DTYPES
        and (linear.op_type == "MatMul" or gemm_is_plain(linear))
    )


def _column_factor(node: ir.Node, product: ir.Value, operand: ir.Value) -> np.ndarray[Any, Any] | None:
    """One factor, or one per column of ``product``, in double precision."""
    array = constant(operand)
    if array is None or product.shape is None or array.ndim > len(product.shape) or not are_moderate(array):
        return None
    columns = product.shape[-1] if len(product.shape) else None
    if not isinstance(columns, int) or (array.size != 1 and not array.size == array.shape[-1] == columns):
        return None
    factor = array.astype(np.float64).reshape(-1)
    return 1 / factor if node.op_type == "Div" else factor


def _scaled(linear: ir.Node, factor: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]] | None:
    """The new weight, and bias, if they keep their precision."""
    weight = constant(linear.inputs[1])
    if weight is None or not is_moderate(weight):
        return None
    transposed = linear.op_type == "Gemm" and "transB" in linear.attributes and linear.attributes["transB"].as_int()
    columns = weight.shape[0] if transposed else weight.shape[-1]
    if factor.size not in (1, columns):
        return None
    arrays = {"weight": weight * (factor.reshape(-1, 1) if transposed else factor)}
    bias_value = linear.inputs[2] if len(linear.inputs) > 2 else None
    if bias_value is not None:
        bias = constant(bias_value)
        if bias is None or not is_moderate(bias) or bias.shape not in ((), (1,), (columns,), (1, columns)):
            return None
        arrays["bias"] = bias * factor
    if not all(keeps_precision(array, weight.dtype) for array in arrays.values()):
        return None
    return {role: array.astype(weight.dtype) for role, array in arrays.items()}
