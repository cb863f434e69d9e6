"""Smaller convolution kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import attribute, crop, set_attribute, writers
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

__all__ = ["can_shrink", "shrink_kernels"]


def shrink_kernels(model: onnx.ModelProto, outputs: Iterable[str], size: int = 3) -> None:
    """Give convolutions a smaller kernel, and less padding, so that the shape of the result stays.

    Extents up to ``size`` stay. The weights are the middle of the old ones: a start for training, no more.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    outputs : iterable of str
        First output of each Conv.
    size : int
        Largest extent of the new kernels.

    Raises
    ------
    ModelError
        A tensor is not written by a Conv that can be changed (see `can_shrink`).
    """
    wiring = Wiring(model.graph)
    for node in writers(model, outputs, "Conv"):
        if not can_shrink(node, wiring, size):
            raise ModelError(f"the kernel of the Conv that writes {node.output[0]!r} cannot be made {size} wide.")
        weights = wiring.initializers[node.input[1]]
        kernel = list(weights.dims)[2:]
        smaller = [min(extent, size) for extent in kernel]
        pads = _smaller_pads(node, kernel, smaller)
        offsets = [0, 0, *((old - new) // 2 for old, new in zip(kernel, smaller, strict=True))]
        crop(weights, [*weights.dims[:2], *smaller], offsets)
        set_attribute(node, "kernel_shape", smaller)
        if pads is not None:
            set_attribute(node, "pads", pads)


def can_shrink(node: onnx.NodeProto, wiring: Wiring, size: int = 3) -> bool:
    """Whether `shrink_kernels` can change a Conv.

    1. Its weights are a constant of its own.
    2. An extent exceeds ``size``.
    3. Its padding is at least what the smaller kernel needs less, or follows from the shapes (SAME).
    """
    weights = wiring.initializers.get(node.input[1]) if len(node.input) > 1 else None
    if weights is None or len(weights.dims) < 3 or len(wiring.readers[weights.name]) != 1:
        return False
    kernel = list(weights.dims)[2:]
    if max(kernel) <= size:
        return False
    if str(attribute(node, "auto_pad", "NOTSET")).startswith("SAME"):
        return True
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return False
    pads = _smaller_pads(node, kernel, [min(extent, size) for extent in kernel])
    return pads is not None and min(pads) >= 0


def _smaller_pads(node: onnx.NodeProto, kernel: list[int], smaller: list[int]) -> list[int] | None:
    """Pads with which the smaller kernel gives as many positions; None if ONNX computes them."""
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    rank = len(kernel)
    dilations = attribute(node, "dilations") or [1] * rank
    pads = attribute(node, "pads") or [0] * (2 * rank)
    excess = [d * (old - new) for d, old, new in zip(dilations, kernel, smaller, strict=True)]
    begins = [pads[axis] - excess[axis] // 2 for axis in range(rank)]
    ends = [pads[rank + axis] - (excess[axis] - excess[axis] // 2) for axis in range(rank)]
    return [*begins, *ends]
