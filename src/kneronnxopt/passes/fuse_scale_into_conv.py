"""A constant factor after a convolution goes into its weight and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    constant_tensor,
    int_attribute,
    new_constant,
    opset_of,
    producer_for,
    replace_node,
)
from kneronnxopt.passes._precision import are_moderate, is_moderate, is_representable
from kneronnxopt.passes.fuse_bias import per_channel

__all__ = ["FuseScaleIntoConv"]

_DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
#: Weights up to this size may be scaled even if the old ones stay for other users.
_ALWAYS_BYTES = 4096


class FuseScaleIntoConv(NodePass):
    """x -> Conv(w, b) | ConvTranspose(w, b) -> Mul(s) -> y   becomes   x -> Conv(w s, b s) -> y.

    1. s is constant and holds one value per output channel, or one for all: its shape is [C, 1, ..., 1] (also with
       leading 1s) or has a single element, and it does not change the result's shape.
    2. Div(s) counts as Mul(1 / s), and Sub with the convolution as its second operand as Mul(-1) and an addend.
    3. w and b are constant, float or double; w has no other user or takes at most 4 KiB.
    4. The convolution's result has no other user and is no graph output.
    5. Stays: factors that are 0, huge or tiny; weights that overflow or underflow.
    """

    name = "fuse_scale_into_conv"
    op_types = ("Div", "Mul", "Sub")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Scale the weights before one operator."""
        for data, other in {"Mul": ((0, 1), (1, 0)), "Div": ((0, 1),), "Sub": ((1, 0),)}[node.op_type]:
            conv = producer_for(node.inputs[data], node, "Conv", "ConvTranspose")
            if conv is not None and opset_of(node) >= 7 and self._fuse(node, conv, node.inputs[other]):
                return True
        return False

    @staticmethod
    def _fuse(node: ir.Node, conv: ir.Node, operand: ir.Value | None) -> bool:
        weight_value = conv.inputs[1]
        tensor = constant_tensor(weight_value)
        if weight_value is None or tensor is None or tensor.dtype not in _DTYPES or constant_tensor(operand) is None:
            return False
        if len(weight_value.uses()) > 1 and tensor.nbytes > _ALWAYS_BYTES:
            return False
        weight, array = constant(weight_value), constant(operand)
        if weight is None or array is None or array.dtype != weight.dtype:
            return False
        scaled = _scaled(conv, weight, node.op_type, array)
        if scaled is None:
            return False
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = conv.outputs[0].name
        values = [new_constant(graph, f"{name}_{role}", part) for role, part in scaled.items()]
        replacement = replace_node(conv, conv.op_type, [conv.inputs[0], *values], conv.attributes)
        return bypass(node, replacement.outputs[0])


def _scaled(
    conv: ir.Node, weight: np.ndarray[Any, Any], op_type: str, operand: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]] | None:
    """The new weight, and bias if there is one; None where they lose precision or ``operand`` does not fit."""
    groups = int_attribute(conv, "group", 1) if conv.op_type == "ConvTranspose" else 1
    channels = weight.shape[0] if conv.op_type == "Conv" else weight.shape[1] * groups
    old = conv.inputs[2] if len(conv.inputs) > 2 else None
    bias = None if old is None else constant(old)
    numbers = per_channel(operand, channels, weight.ndim)
    if numbers is None or (old is not None and (bias is None or bias.shape != (channels,))):
        return None
    factor, addend = _affine(op_type, numbers.astype(np.float64))
    if not are_moderate(factor) or not is_moderate(weight):
        return None
    if conv.op_type == "Conv":
        product = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:  # [groups * inputs, outputs of a group, ...]
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        product = (grouped * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    if not is_moderate(product) or not is_representable(product, weight):
        return None
    parts = {"weight": product.astype(weight.dtype)}
    if bias is not None or addend is not None:
        moved = np.zeros(channels) if bias is None else bias * factor
        total = moved if addend is None else moved + addend
        if not is_moderate(total) or not is_representable(total, np.zeros(1, weight.dtype)):
            return None
        parts["bias"] = total.astype(weight.dtype)
    return parts


def _affine(op_type: str, numbers: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """What an operator multiplies the convolution by, and what it adds."""
    if op_type == "Sub":
        return np.full_like(numbers, -1.0), numbers
    with np.errstate(all="ignore"):
        return (1 / numbers if op_type == "Div" else numbers), None
