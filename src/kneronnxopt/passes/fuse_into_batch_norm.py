"""A constant factor or addend after a BatchNormalization goes into its scale and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    int_attribute,
    new_constant,
    opset_of,
    producer_for,
    replace_node,
)
from kneronnxopt.passes._precision import is_moderate, keeps_precision
from kneronnxopt.passes.fuse_batch_norm import scale_and_shift
from kneronnxopt.passes.fuse_bias import per_channel

__all__ = ["FuseArithmeticIntoBatchNorm"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
#: How many times the size of a channel's result the two addends may be; beyond, they cancel and round x away.
_CANCELLATION = 1e3

#: Factor of the normalisation's result, and addend, one per channel, in double precision.
_Affine = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


class FuseArithmeticIntoBatchNorm(NodePass):
    """x -> BatchNormalization(s, b) -> Mul(c) -> Add(d) -> y   becomes   x -> BatchNormalization(s c, b c + d) -> y.

    1. One operator at a time: Mul, Add, Sub (of either operand), Div by a constant.
    2. c and d hold one value per channel (shape [C, 1, ..., 1], also with leading 1s) or a single one, and do not
       change the result's shape.
    3. Inference mode, opset 7 and later; s, b, mean and variance are constant, of the same type, float or double. Other
       readers of them keep the old ones.
    4. The normalisation's result has no other user and is no graph output; its further outputs are unused.
    5. Stays: a new scale or bias that overflows, underflows, or whose addends cancel; a division by 0.
    """

    name = "fuse_arithmetic_into_bn"
    op_types = ("Add", "Div", "Mul", "Sub")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse one operator with the BatchNormalization before it."""
        if opset_of(node) < 7:
            return False
        for data, other in ((0, 1), (1, 0)):
            norm = producer_for(node.inputs[data], node, "BatchNormalization")
            if norm is not None and self._fuse(node, norm, node.inputs[other], inverted=data == 1):
                return True
        return False

    @staticmethod
    def _fuse(node: ir.Node, norm: ir.Node, operand: ir.Value | None, *, inverted: bool) -> bool:
        array, scale, bias = constant(operand), constant(norm.inputs[1]), constant(norm.inputs[2])
        effective, result = scale_and_shift(norm), norm.outputs[0].shape
        if array is None or scale is None or bias is None or effective is None or result is None:
            return False
        if int_attribute(norm, "spatial", 1) != 1 or scale.dtype not in _DTYPES:
            return False
        if not scale.dtype == bias.dtype == array.dtype or len(result) < 2:
            return False
        channels = per_channel(array, scale.size, len(result))
        affine = None if channels is None else _affine(node.op_type, channels.astype(np.float64), inverted=inverted)
        if affine is None:
            return False
        merged = _merged((scale, bias), affine)
        if merged is None or not _stays_in_range(effective, affine, scale.dtype):
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = norm.outputs[0].name
        values = [
            new_constant(graph, f"{name}_{role}", part) for role, part in zip(("scale", "bias"), merged, strict=True)
        ]
        replacement = replace_node(norm, norm.op_type, [norm.inputs[0], *values, *norm.inputs[3:]], norm.attributes)
        return bypass(node, replacement.outputs[0])


def _affine(op_type: str, operand: np.ndarray[Any, Any], *, inverted: bool) -> _Affine | None:
    """What an operator multiplies its data operand by, and what it adds; ``inverted``: the data come second."""
    one, zero = np.ones_like(operand), np.zeros_like(operand)
    if op_type == "Mul":
        return operand, zero
    if op_type == "Add":
        return one, operand
    if op_type == "Sub":
        return (-one, operand) if inverted else (one, -operand)
    return None if inverted or (operand == 0).any() else (1 / operand, zero)


def _merged(old: _Affine, affine: _Affine) -> _Affine | None:
    """``(x scale + bias) factor + addend`` as one scale and bias of the old type; None where they lose precision."""
    dtype, (factor, addend) = old[0].dtype, affine
    scale, bias = (part.astype(np.float64) for part in old)
    with np.errstate(all="ignore"):
        new_scale, scaled_bias = scale * factor, bias * factor
        new_bias = scaled_bias + addend
        lost = ((new_scale == 0) & (scale != 0) & (factor != 0)) | ((scaled_bias == 0) & (bias != 0) & (factor != 0))
        addends = np.where((scaled_bias != 0) & (addend != 0), np.abs(scaled_bias) + np.abs(addend), 0.0)
        cancels = addends > _CANCELLATION * (np.abs(new_bias) + np.abs(new_scale))
    if lost.any() or cancels.any() or not all(keeps_precision(part, dtype) for part in (new_scale, new_bias)):
        return None
    return new_scale.astype(dtype), new_bias.astype(dtype)


def _stays_in_range(effective: _Affine, affine: _Affine, dtype: np.dtype[Any]) -> bool:
    """Whether what a runtime makes of scale, bias, mean and variance neither overflows nor underflows."""
    (scale, shift), (factor, addend) = effective, affine
    with np.errstate(all="ignore"):
        return keeps_precision(scale * factor, dtype) and is_moderate(shift * factor + addend)
