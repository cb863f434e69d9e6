"""Resizing in forms that the chips have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import attribute, inferred, replace_nodes, set_attribute, unused_name, writers
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktc.frontend.graph import Graph

__all__ = ["can_split", "replace_resizes"]

_POSITION_IN_OPSET_10 = 1
_SCALES, _SIZES = 2, 3
_ROWS, _COLUMNS = 2, 3


def replace_resizes(
    model: onnx.ModelProto,
    outputs: Iterable[str],
    mode: str | None = None,
    coordinates: str | None = None,
    split: bool = False,
) -> None:
    """Change how feature maps are resized.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    outputs : iterable of str
        First output of each Resize of a map of four dimensions.
    mode : str, optional
        ``"nearest"`` (rounded down) or ``"linear"`` in place of what it is.
    coordinates : str, optional
        Value for ``coordinate_transformation_mode``, e.g. ``"asymmetric"``, which begins at pixel 0.
    split : bool
        First the rows, then the columns, by a Resize each. The result is the same.

    Raises
    ------
    ModelError
        A tensor is not written by a Resize, or one that cannot be split (see `can_split`) is to be split.
    """
    wiring = Wiring(model.graph)
    nodes = writers(model, outputs, "Resize")
    for node in nodes:
        if mode is not None:
            set_attribute(node, "mode", mode)
            set_attribute(node, "nearest_mode", "floor" if mode == "nearest" else None)
            for name in ("antialias", "cubic_coeff_a", "exclude_outside"):
                set_attribute(node, name, None)
        if coordinates is not None:
            set_attribute(node, "coordinate_transformation_mode", coordinates)
    if not split:
        return
    taken = {*wiring.producers, *wiring.initializers, *wiring.readers}
    graph = inferred(model)
    replaced = {}
    for node in nodes:
        if not can_split(node, wiring):
            raise ModelError(f"the Resize that writes {node.output[0]!r} cannot be split into rows and columns.")
        replaced[node.output[0]] = _split(model, node, wiring, graph, taken)
    replace_nodes(model, replaced)


def can_split(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Whether a Resize is the same as one over its rows followed by one over its columns.

    1. It is nearest or linear, without antialiasing and without a region of interest.
    2. Its scales or sizes are a constant for all four dimensions, and batch and channels stay.
    """
    if attribute(node, "mode", "nearest") not in ("nearest", "linear") or attribute(node, "antialias", 0):
        return False
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    if attribute(node, "axes") is not None or attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    position = _target_position(node)
    target = _constant(node.input[position], wiring) if position is not None else None
    if target is None or target.size != 4:
        return False
    return position == _SIZES or bool(np.all(target[:2] == 1))


def _target_position(node: onnx.NodeProto) -> int | None:
    """Which input holds scales or sizes."""
    if len(node.input) == 2:
        return _POSITION_IN_OPSET_10
    given = [position for position in (_SIZES, _SCALES) if len(node.input) > position and node.input[position]]
    return given[0] if given else None


def _constant(name: str, wiring: Wiring) -> np.ndarray | None:
    tensor = wiring.initializers.get(name)
    if tensor is None and (node := wiring.producers.get(name)) is not None and node.op_type == "Constant":
        tensor = attribute(node, "value")
    return None if tensor is None else np.ravel(onnx.numpy_helper.to_array(tensor))


def _split(
    model: onnx.ModelProto, node: onnx.NodeProto, wiring: Wiring, graph: Graph, taken: set[str]
) -> list[onnx.NodeProto]:
    """The Resize over the rows and the one over the columns; their targets are added to the model."""
    position = _target_position(node)
    target = _constant(node.input[position], wiring) if position is not None else None
    shape = graph.shape(node.input[0]) or ()
    if position is None or target is None or len(shape) != target.size:
        raise ModelError(f"the Resize that writes {node.output[0]!r} has no constant scales or sizes for its input.")
    rows, columns = target.copy(), target.copy()
    if position == _SIZES:
        rows[_COLUMNS] = shape[_COLUMNS]
    else:
        rows[_COLUMNS], columns[_ROWS] = 1, 1
    between = unused_name(f"{node.output[0]}_rows", taken)
    parts = []
    for array, part in ((rows, "rows"), (columns, "columns")):
        name = unused_name(f"{node.output[0]}_{part}_target", taken)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[position] = name
        parts.append(copy)
    first, second = parts
    first.name = f"{node.name}_rows" if node.name else ""
    first.output[0] = second.input[0] = between
    return parts
