"""Resizing in forms that the chips have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice.changes._edit import set_attribute, writers

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx


__all__ = ["replace_resizes"]


def replace_resizes(
    model: onnx.ModelProto,
    outputs: Iterable[str],
    mode: str | None = None,
    coordinates: str | None = None,
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

    Raises
    ------
    ModelError
        A tensor is not written by a Resize.
    """
    for node in writers(model, outputs, "Resize"):
        if mode is not None:
            set_attribute(node, "mode", mode)
            set_attribute(node, "nearest_mode", "floor" if mode == "nearest" else None)
            for name in ("antialias", "cubic_coeff_a", "exclude_outside"):
                set_attribute(node, name, None)
        if coordinates is not None:
            set_attribute(node, "coordinate_transformation_mode", coordinates)
