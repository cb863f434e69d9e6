"""Nodes and settings that lie outside of what the model was calibrated with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.hardware.calibrated_range import calibrated_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import MacWork, Node
    from ktc.hardware.calibrated_range import MacRange
    from ktc.hardware.platform import Platform

__all__ = ["node_outside_calibration", "settings_outside_calibration"]


def node_outside_calibration(node: Node, platform: str, feature_bits: int, weight_bits: int | None) -> tuple[str, ...]:
    """Say what of an NPU node occurs in no published network.

    Parameters
    ----------
    node : Node
        The node.
    platform : str
        Normalised name of the platform.
    feature_bits : int
        Widest of what it computes with, reads and writes.
    weight_bits : int or None
        Width of its weights, if it has any.

    Returns
    -------
    tuple of str
        Phrases such as ``"kernel 5x5"``; empty for a node that is inside.
    """
    if node.type == "CPU":
        return ()
    known = calibrated_range(platform)
    reasons: list[str] = []
    if node.mac is not None:
        seen = known.mac.get(node.mac.kind)
        reasons.extend([f"operator {node.backend}"] if seen is None else _beyond(node.mac, seen))
        passes = dict.fromkeys(step.operator for step in node.auxiliary)
        reasons.extend(f"operator {operator}" for operator in passes if operator not in known.operators)
    elif node.backend not in known.operators and not _consists_of(node, known.operators):
        reasons.append(f"operator {node.backend}")
    if feature_bits != 8:
        reasons.append(f"{feature_bits}-bit feature maps")
    if weight_bits not in (None, 8):
        reasons.append(f"{weight_bits}-bit weights")
    return tuple(reasons)


def _consists_of(node: Node, operators: tuple[str, ...]) -> bool:
    """Whether a node is a sequence of known passes."""
    return bool(node.auxiliary) and all(step.operator in operators for step in node.auxiliary)


def _beyond(work: MacWork, seen: MacRange) -> Iterator[str]:
    kernel = "x".join(map(str, work.kernel))
    if kernel not in seen.kernels:
        yield f"kernel {kernel}"
    if max(work.stride) > seen.max_stride:
        yield f"stride {max(work.stride)}"
    if max(work.dilation) > seen.max_dilation:
        yield f"dilation {max(work.dilation)}"
    if is_grouped(work) and not seen.grouped:
        yield f"{work.groups} groups"
    if is_between_maps(work) and not seen.between_maps:
        yield "product of two feature maps"
    if work.batch > seen.max_batch:
        yield f"batch {work.batch}"
    if product_rows(work) > seen.max_rows:
        yield f"product of {product_rows(work)} rows"
    if work.in_channels * work.groups > seen.max_in_channels:
        yield f"{work.in_channels * work.groups} input channels"
    if work.out_channels > seen.max_out_channels:
        yield f"{work.out_channels} output channels"


def is_grouped(work: MacWork) -> bool:
    """Several groups of several channels."""
    return work.groups > 1 and work.kind != "depthwise"


def is_between_maps(work: MacWork) -> bool:
    """Both operands are computed."""
    return not work.weight_elements


def product_rows(work: MacWork) -> int:
    """Rows of the left operand of a product; 0 for a convolution."""
    return work.out_rows * work.out_columns if work.kind == "matmul" else 0


def settings_outside_calibration(settings: EvaluationSettings, platform: Platform) -> tuple[str, ...]:
    """Say which settings no published time has, e.g. ``"dma_bandwidth=2"``; they concern every node."""
    reasons = []
    if settings.weight_bandwidth not in (None, platform.weight_bandwidth):
        reasons.append(f"weight_bandwidth={settings.weight_bandwidth:g}")
    own = {platform.read_bandwidth, platform.write_bandwidth}
    if settings.dma_bandwidth is not None and own != {settings.dma_bandwidth}:
        reasons.append(f"dma_bandwidth={settings.dma_bandwidth:g}")
    if settings.compiler_tiling != "default" and settings.compiler_tiling in platform.compiler_tilings:
        reasons.append(f"compiler_tiling={settings.compiler_tiling}")
    if settings.input_fmt is not None:
        reasons.append(f"input_fmt={settings.input_fmt}")
    return tuple(reasons)
