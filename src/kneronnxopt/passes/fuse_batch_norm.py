"""BatchNormalization after a linear operator goes into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    constant,
    float_attribute,
    int_attribute,
    is_op,
    new_constant,
    opset_of,
    replace_node,
    sole_consumer,
)
from kneronnxopt.passes._precision import is_representable
from kneronnxopt.passes.fuse_bias import gemm_is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FuseBatchNormIntoConv", "FuseBatchNormIntoGemm", "scale_and_shift"]


class _FuseBatchNorm(NodePass):
    op_types = ("BatchNormalization",)
    rounds_otherwise = True
    #: Operators that this pass fuses with.
    linear_types: tuple[str, ...] = ()

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse one BatchNormalization."""
        value = node.inputs[0]
        linear = value.producer() if value is not None else None
        if value is None or linear is None or not is_op(linear, *self.linear_types):
            return False
        axis = _output_axis(linear)
        if linear.graph is not node.graph or sole_consumer(value) is not node or axis is None:
            return False
        affine = scale_and_shift(node)
        weight, bias = (
            constant(linear.inputs[1]),
            constant(linear.inputs[2] if len(linear.inputs) > 2 else None),
        )
        if (
            affine is None
            or weight is None
            or (len(linear.inputs) > 2 and linear.inputs[2] is not None and bias is None)
        ):
            return False
        scale, shift = affine
        size = scale.size
        if weight.shape[axis] != size or (bias is not None and bias.shape not in _column_shapes(linear, size)):
            return False
        if bias is None:
            bias = np.zeros(scale.size, dtype=weight.dtype)
        new_weight = weight * scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        new_bias = bias.reshape(-1) * scale + shift
        if not (is_representable(new_weight, weight) and is_representable(new_bias, bias)):
            return False
        new_weight, new_bias = new_weight.astype(weight.dtype), new_bias.astype(weight.dtype)
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        inputs: Sequence[ir.Value | None] = [
            linear.inputs[0],
            new_constant(graph, f"{linear.outputs[0].name}_weight", new_weight),
            new_constant(graph, f"{linear.outputs[0].name}_bias", new_bias),
        ]
        replacement = replace_node(linear, linear.op_type, inputs, linear.attributes)
        return bypass(node, replacement.outputs[0])


class FuseBatchNormIntoGemm(_FuseBatchNorm):
    """x -> Gemm(w, c) -> BatchNormalization(s, b, m, v) -> y   becomes   x -> Gemm(w k, (c - m) k + b) -> y.

    k = s / sqrt(v + epsilon). Inference mode only; all weights constant; alpha = beta = 1; Gemm's result has
    no other user; C holds one value per column; a product that overflows or underflows stays apart.
    """

    name = "fuse_bn_into_gemm"
    linear_types = ("Gemm",)


class FuseBatchNormIntoConv(_FuseBatchNorm):
    """x -> Conv(w, c) -> BatchNormalization(s, b, m, v) -> y   becomes   x -> Conv(w k, (c - m) k + b) -> y.

    k = s / sqrt(v + epsilon), per output channel. The same conditions as for Gemm. Off unless asked for, as
    documented for Kneron's optimizer since 0.31.1: its compiler fuses them itself.
    """

    name = "fuse_bn_into_conv"
    linear_types = ("Conv",)


def _output_axis(linear: ir.Node) -> int | None:
    """Axis of the weight that counts outputs; None for a Gemm that scales or transposes its data."""
    if not is_op(linear, "Gemm"):
        return 0
    if not gemm_is_plain(linear):
        return None
    return 0 if int_attribute(linear, "transB", 0) else 1


def _column_shapes(linear: ir.Node, size: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of a bias that has one value per output; Gemm's C may also be one value per row, which is not one."""
    return ((size,), (1, size)) if is_op(linear, "Gemm") else ((size,),)


def scale_and_shift(node: ir.Node) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """``y = x * scale + shift`` of an inference-mode BatchNormalization, in double precision."""
    opset = opset_of(node)
    if int_attribute(node, "training_mode", 0) or (opset < 7 and not int_attribute(node, "is_test", 0)):
        return None
    if len(node.inputs) != 5 or any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    arrays = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in arrays):
        return None
    gamma, beta, mean, variance = (np.asarray(array, dtype=np.float64) for array in arrays)
    if not gamma.shape == beta.shape == mean.shape == variance.shape or gamma.ndim != 1:
        return None
    scale = gamma / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale
