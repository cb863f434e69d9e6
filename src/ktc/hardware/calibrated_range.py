"""What the published networks contain, platform by platform: estimates of anything else were never compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from ktc.hardware._data import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CalibratedRange", "MacRange", "calibrated_range"]


@dataclass(frozen=True, slots=True)
class MacRange:
    """Convolutions or products of one kind that occur in published networks.

    Attributes
    ----------
    kernels : tuple of str
        Kernels, e.g. ``"3x3"``, rows by columns.
    grouped : bool
        Some have several groups of several channels (of kind "depthwise" all have groups, of one channel).
    between_maps : bool
        Some have two operands that are computed.
    max_stride, max_dilation, max_batch, max_rows : int
        Largest stride and dilation in any direction, batch, and rows of the left operand (products only, else 0).
    max_in_channels, max_out_channels : int
        Most channels of all groups; of a product, its inner extent and its columns.
    """

    kernels: tuple[str, ...]
    grouped: bool
    between_maps: bool
    max_stride: int
    max_dilation: int
    max_batch: int
    max_rows: int
    max_in_channels: int
    max_out_channels: int


@dataclass(frozen=True, slots=True)
class CalibratedRange:
    """Everything that occurs in the published networks of one platform.

    Attributes
    ----------
    networks : tuple of str
        The networks.
    mac : Mapping of str to MacRange
        Kind (``"conv"``, ``"depthwise"``, ``"deconv"``, ``"matmul"``) to what occurs of it.
    operators : tuple of str
        Backend operators of nodes without multiply-accumulates, and operators of passes.
    """

    networks: tuple[str, ...]
    mac: Mapping[str, MacRange]
    operators: tuple[str, ...]


@cache
def calibrated_range(platform: str) -> CalibratedRange:
    """Load the range of one platform, by its normalised name (``calibrated_range.json``)."""
    entry = read_json("calibrated_range.json")["platforms"][platform]
    kinds = {kind: MacRange(**fields | {"kernels": tuple(fields["kernels"])}) for kind, fields in entry["mac"].items()}
    return CalibratedRange(tuple(entry["networks"]), MappingProxyType(kinds), tuple(entry["operators"]))
