"""Transposed convolutions replaced by a convolution and a resize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import attribute, has_data, replace_nodes, unused_name, writers
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["can_replace_transposed", "replace_transposed_convolutions"]

_OPSET_WITH_OPTIONAL_ROI = 13


def replace_transposed_convolutions(model: onnx.ModelProto, outputs: Iterable[str]) -> None:
    """Put a 1x1 Conv and a Resize to the nearest pixel in the place of ConvTranspose.

    The weights are the mean over the old kernel: a start for training, no more.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    outputs : iterable of str
        First output of each ConvTranspose.

    Raises
    ------
    ModelError
        A tensor is not written by a ConvTranspose that can be replaced (see `can_replace_transposed`).
    """
    wiring = Wiring(model.graph)
    taken = {*wiring.producers, *wiring.initializers, *wiring.readers}
    replaced = {}
    for node in writers(model, outputs, "ConvTranspose"):
        if not can_replace_transposed(node, wiring, model):
            raise ModelError(f"the ConvTranspose that writes {node.output[0]!r} cannot be replaced by a resize.")
        weights = wiring.initializers[node.input[1]]
        rows, columns = list(weights.dims)[2:]
        _average(weights)
        small = unused_name(f"{node.output[0]}_small", taken)
        scales = unused_name(f"{node.output[0]}_scales", taken)
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array([1, 1, rows, columns], np.float32), scales)
        )
        label = node.name or f"{node.output[0]}_resize"
        replaced[node.output[0]] = [
            onnx.helper.make_node("Conv", list(node.input), [small], label, kernel_shape=[1, 1]),
            onnx.helper.make_node(
                "Resize",
                [small, "", scales],
                [node.output[0]],
                f"{label}_1",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ]
    replace_nodes(model, replaced)


def can_replace_transposed(node: onnx.NodeProto, wiring: Wiring, model: onnx.ModelProto) -> bool:
    """Whether `replace_transposed_convolutions` can replace a ConvTranspose.

    1. It slides over rows and columns with a kernel as large as its stride, and pads nothing.
    2. It has one group, and constants of its own as weights.
    3. The model's opset is 13 or later.
    """
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    weights = wiring.initializers.get(node.input[1]) if len(node.input) > 1 else None
    if weights is None or len(weights.dims) != 4 or len(wiring.readers[weights.name]) != 1:
        return False
    return (
        opset >= _OPSET_WITH_OPTIONAL_ROI
        and weights.data_type == onnx.TensorProto.FLOAT
        and attribute(node, "strides") == list(weights.dims)[2:]
        and attribute(node, "group", 1) == 1
        and not any(attribute(node, "pads") or ())
        and not any(attribute(node, "output_padding") or ())
        and attribute(node, "output_shape") is None
        and set(attribute(node, "dilations") or [1]) == {1}
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    )


def _average(weights: onnx.TensorProto) -> None:
    """From (inputs, outputs, rows, columns) to (outputs, inputs, 1, 1)."""
    inputs, outputs = list(weights.dims)[:2]
    if has_data(weights):
        mean = onnx.numpy_helper.to_array(weights).mean(axis=(2, 3), keepdims=True).swapaxes(0, 1)
        weights.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(mean), weights.name))
        return
    del weights.dims[:]
    weights.dims.extend([outputs, inputs, 1, 1])
