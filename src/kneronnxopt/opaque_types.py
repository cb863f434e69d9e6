"""Values of types that onnx-ir cannot express: maps, as classifiers of ai.onnx.ml return them, and opaque types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from kneronnxopt.walk import all_graphs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hide_opaque_types", "restore_opaque_types"]


def hide_opaque_types(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TypeProto]]:
    """Take the types away that onnx-ir cannot express.

    Parameters
    ----------
    model : onnx.ModelProto
        Is not changed.

    Returns
    -------
    onnx.ModelProto, dict of str to onnx.TypeProto
        The model itself if it has no such type, else a copy without them; and what was taken away, by the name of
        the value.
    """
    if not any(_is_opaque(value.type) for value in _values(model)):
        return model, {}
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    hidden: dict[str, onnx.TypeProto] = {}
    for value in _values(copied):
        if _is_opaque(value.type):
            hidden[value.name] = onnx.TypeProto()
            hidden[value.name].CopyFrom(value.type)
            value.ClearField("type")
    return copied, hidden


def restore_opaque_types(model: onnx.ModelProto, hidden: dict[str, onnx.TypeProto]) -> None:
    """Give values back the types that ``hide_opaque_types`` took."""
    if not hidden:
        return
    for value in _values(model):
        if value.name in hidden:
            value.type.CopyFrom(hidden[value.name])


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """Every value with a type of its own."""
    for graph in all_graphs(model):
        yield from graph.input
        yield from graph.output
        yield from graph.value_info
    for function in model.functions:
        yield from function.value_info


def _is_opaque(kind: onnx.TypeProto) -> bool:
    """Whether a type is one that onnx-ir cannot express, or contains one."""
    held = kind.WhichOneof("value")
    if held == "sequence_type":
        return _is_opaque(kind.sequence_type.elem_type)
    if held == "optional_type":
        return _is_opaque(kind.optional_type.elem_type)
    return held in ("map_type", "opaque_type")
