"""Serialise a model that is being edited, without its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from kneronnxopt.passes._writing import to_proto
from kneronnxopt.skeleton import SMALL_TENSOR_ELEMENTS, make_skeleton

if TYPE_CHECKING:
    import onnx

__all__ = ["weightless_proto"]


def weightless_proto(model: ir.Model, *, keep_shapes: bool) -> onnx.ModelProto:
    """Skeleton of ``model`` (see ``make_skeleton``); no weight is read or copied."""
    swapped: list[tuple[ir.Value, ir.TensorProtocol]] = []
    try:
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.size > SMALL_TENSOR_ELEMENTS:
                swapped.append((value, tensor))
                value.const_value = ir.ExternalTensor(
                    "weights",
                    0,
                    0,
                    tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()),
                    name=value.name or "",
                    base_dir="",
                )
        return make_skeleton(to_proto(model), keep_shapes=keep_shapes)
    finally:
        for value, tensor in swapped:
            value.const_value = tensor
