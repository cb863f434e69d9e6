"""Cycles of the MAC array for one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktc.frontend.program import MacWork
    from ktc.hardware.platform import Platform

__all__ = ["TAP_RULES", "mac_cycles", "theoretical_ms", "width_factor"]

_NARROW_KERNEL = 3

TAP_RULES: dict[str, Callable[[int, int], int]] = {
    # square of 3x3 blocks: 7x7, and 1x7 as well, costs 81
    "square_blocks_3x3": lambda rows, columns: 9 * (-(-max(rows, columns) // 3)) ** 2,
    # each kernel row is padded to a multiple of 3: 1x7 costs 9
    "rows_of_3": lambda rows, columns: rows * 3 * -(-columns // 3),
    # the taps in groups of 9: 1x7 costs 9, 7x7 costs 54
    "groups_of_9": lambda rows, columns: 9 * -(-(rows * columns) // 9),
}


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def mac_cycles(work: MacWork, platform: Platform, activation_bits: int, weight_bits: int) -> float:
    """Cycles of the array, padding included, or those in which its results leave it, if these are more.

    ``padded MACs / rate * strided waste * width factors`` with ``padded MACs = round_up(columns, lanes) * rows *
    round_up(Cin / groups, ci) * round_up(Cout, co) * taps(kernel)`` (design of the evaluator; 1x1 kernels,
    products and depthwise kernels have rates of their own), against ``results / outputs_per_cycle`` with the factor
    of the activations alone.
    """
    kernel_rows, kernel_columns = work.kernel
    pointwise = work.kernel == (1, 1)
    taps = 1 if pointwise else TAP_RULES[platform.tap_rule](kernel_rows, kernel_columns)
    positions = work.batch * work.out_rows * _columns(work, platform)
    if work.kind == "depthwise":
        narrow = max(work.kernel) <= _NARROW_KERNEL
        rate = platform.depthwise_macs_per_cycle if narrow else platform.depthwise_wide_macs_per_cycle
        padded = positions * work.out_channels * taps
    else:
        rate = platform.pointwise_macs_per_cycle if pointwise else platform.conv_macs_per_cycle
        out_channels = _round_up(work.out_channels // work.groups or 1, platform.output_channel_block)
        padded = (
            positions * work.groups * _round_up(work.in_channels, platform.input_channel_block) * out_channels * taps
        )
    skipped = work.stride[0] * work.stride[1] if work.kind in ("conv", "depthwise") else 1
    waste = min(platform.strided_waste, skipped)
    computed = padded / rate * waste * width_factor(platform, activation_bits, weight_bits)
    leaving = work.results / platform.outputs_per_cycle * width_factor(platform, activation_bits, 8)
    return max(computed, leaving)


def _columns(work: MacWork, platform: Platform) -> int:
    return work.out_columns if work.kind == "matmul" else _round_up(work.out_columns, platform.lanes)


def width_factor(platform: Platform, activation_bits: int, weight_bits: int) -> float:
    """Factor on the cycles of 8-bit computing."""
    factor = platform.activation_16bit_factor if activation_bits > 8 else 1.0
    if weight_bits > 8:
        factor *= platform.weight_16bit_factor
    if weight_bits < 8:
        factor *= platform.weight_4bit_factor
    return factor


def theoretical_ms(work: MacWork, platform: Platform, activation_bits: int, weight_bits: int) -> float:
    """Time of one node's MAC work at the full rate of the array, in ms (facts 1.3)."""
    if work.kind == "depthwise":
        full = platform.theoretical_depthwise_macs_per_cycle
    elif work.kernel == (1, 1):
        full = platform.theoretical_pointwise_macs_per_cycle
    else:
        full = platform.theoretical_spatial_macs_per_cycle
    return work.macs / full * width_factor(platform, activation_bits, weight_bits) / platform.frequency_mhz / 1e3
