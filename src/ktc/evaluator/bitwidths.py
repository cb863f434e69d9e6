"""Bit widths of feature maps, weights and computing, from the documented modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import Node, Program
    from ktc.hardware.platform import Platform

__all__ = ["BitWidths", "assign_bitwidths"]

_FIXED_BITS = {"int4": 4, "int8": 8, "int16": 16}


@dataclass(frozen=True, slots=True)
class BitWidths:
    """Widths in bits.

    Attributes
    ----------
    tensors : Mapping of str to int
        Each feature map.
    computing : tuple of int
        Each node: the widest of its datapath and its inputs.
    weights : tuple of int
        Each node, whether or not it has weights.
    """

    tensors: Mapping[str, int]
    computing: tuple[int, ...]
    weights: tuple[int, ...]


def assign_bitwidths(program: Program, platform: Platform, settings: EvaluationSettings) -> BitWidths:
    """Decide every width.

    A feature map has the width of the datapath of the node that writes it; model inputs, model outputs and
    what CPU nodes read or write have the widths of their own arguments.
    """
    cpu = _FIXED_BITS[settings.cpu_node_bitwidth_mode]
    tensors = dict.fromkeys(program.inputs, _FIXED_BITS[settings.model_in_bitwidth_mode])
    datapath = _node_widths(program, platform, settings.datapath_bitwidth_mode)
    for node, bits in zip(program.nodes, datapath, strict=True):
        if node.type == "CPU":
            tensors.update((name, cpu) for name in node.inputs if name not in program.inputs)
        for name in node.outputs:
            tensors[name] = cpu if node.type == "CPU" else bits
    sources = dict(program.sources)
    out = _FIXED_BITS[settings.model_out_bitwidth_mode]
    tensors.update(
        (name, out) for o in program.outputs for name in (o, sources.get(o, o)) if name not in program.inputs
    )
    computing = datapath
    if len({*tensors.values(), *datapath}) > 1:
        operands = [[tensors[name] for name in node.inputs] for node in program.nodes]
        computing = tuple([max([bits, *read]) for read, bits in zip(operands, datapath, strict=True)])
    weights = _node_widths(program, platform, settings.weight_bitwidth_mode)
    return BitWidths(tensors, computing, weights)


def _node_widths(program: Program, platform: Platform, mode: str) -> tuple[int, ...]:
    """Width that a mode gives to each node."""
    if mode in _FIXED_BITS:
        return (_FIXED_BITS[mode],) * len(program.nodes)
    return tuple(_node_bits(node, platform, mode) for node in program.nodes)


def _node_bits(node: Node, platform: Platform, mode: str) -> int:
    """Width that a mix gives to one node.

    "mix light" puts Conv with few channels and BatchNormalization in 16 bit; "mix balance" everything but
    wide products (documentation: "small-channel Conv and BN in 16 bit", "leans to int16").
    """
    mac = node.mac
    channels = (mac.in_channels, mac.out_channels) if mac else None
    if mac and mac.kind == "depthwise":
        channels = (mac.groups, mac.out_channels)
    if mode == "mix light":
        small = channels is not None and min(channels) <= platform.mix_light_channels
        return 16 if small or node.backend == "BatchNormalization" else 8
    wide = channels is not None and min(channels) > platform.mix_balance_channels
    return 8 if wide else 16
