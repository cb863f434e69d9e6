"""NPU data layouts of feature maps: names, and bytes with padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.hardware.input_formats import InputFormat, input_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktc.frontend.program import Tensor
    from ktc.hardware.platform import Platform

__all__ = ["border_format", "dense_bytes", "inner_format", "input_layout", "stored_bytes"]

_ENTRY_BYTES = 16
_IMAGE_CHANNELS = (3, 4)


def _pick(names: Mapping[str, str], bits: int) -> InputFormat:
    return input_format(names["16" if bits > 8 else "8"])


def input_layout(tensor: Tensor, platform: Platform, bits: int, input_fmt: str | None) -> InputFormat:
    """Layout of a model input: as asked for, or by its channels (facts 7.4).

    Three or four channels are an image, one channel a plane, anything else as between nodes.
    """
    if input_fmt is not None:
        return input_format(input_fmt)
    channels = tensor.shape[1] if tensor.shape and len(tensor.shape) == 4 else None
    if channels in _IMAGE_CHANNELS:
        return _pick(platform.image_format, bits)
    if channels == 1:
        return _pick(platform.plane_format, bits)
    return inner_format(platform, bits)


def border_format(platform: Platform, bits: int) -> InputFormat:
    """Layout of model outputs and of tensors that cross to or from the CPU."""
    return _pick(platform.plane_format, bits)


def inner_format(platform: Platform, bits: int) -> InputFormat:
    """Layout of tensors between NPU nodes."""
    return _pick(platform.inner_format, bits)


def stored_bytes(tensor: Tensor, layout: InputFormat, bits: int) -> int:
    """Bytes of a feature map in memory where it crosses the border of the NPU program.

    Images and maps (rank 4, and rank 3 as one row) are padded to whole entries of the layout in columns and
    channels; other tensors are dense, padded to 16 bytes.
    """
    width = max(bits, layout.storage_bits) if bits > 8 else layout.storage_bits
    elements = tensor.elements
    if tensor.shape is not None and len(tensor.shape) == 4:
        batch, channels, rows, columns = tensor.shape
        elements = batch * _round_up(channels, layout.channels) * rows * _round_up(columns, layout.columns)
    return _round_up(elements * width // 8, _ENTRY_BYTES)


def dense_bytes(tensor: Tensor, bits: int) -> int:
    """Bytes of a feature map between NPU nodes, without padding but for the last entry.

    Padding of channels or columns to whole entries would take published times of networks with few channels, and the
    traffic in the published KL530 report, further away.
    """
    return _round_up(tensor.elements * bits // 8, _ENTRY_BYTES)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
