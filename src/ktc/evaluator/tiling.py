"""Feature maps against the on-chip memory: what travels to and from DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ktc.evaluator.bitwidths import BitWidths, assign_bitwidths
from ktc.evaluator.layouts import border_format, inner_format, input_layout, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import Node, Program
    from ktc.hardware.input_formats import InputFormat
    from ktc.hardware.platform import Platform

__all__ = ["TiledNode", "TiledProgram", "tile"]


class TiledNode(NamedTuple):  # one per node: made several times as fast as a frozen dataclass
    """Traffic and repetition of one node.

    Attributes
    ----------
    read_bytes, write_bytes, weight_bytes : int
        DRAM traffic.
    repeats : float
        Factor on the MAC and auxiliary work: rows computed more than once where strips overlap.
    layout_bytes : int
        Bytes that layout moves write, wherever to.
    """

    read_bytes: int
    write_bytes: int
    weight_bytes: int
    repeats: float = 1.0
    layout_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TiledProgram:
    """A program with bit widths, layouts and DRAM traffic.

    Attributes
    ----------
    program : Program
        What runs.
    widths : BitWidths
        Bit widths.
    layouts : Mapping of str to InputFormat
        Layout of each feature map.
    sizes : Mapping of str to int
        Bytes of each feature map in memory.
    spilled : Mapping of str to float
        Share of each feature map that passes through DRAM, 0 to 1.
    nodes : tuple of TiledNode
        Traffic, node by node.
    live : tuple of int
        Bytes of all feature maps that exist while each node runs, before any cut into strips.
    outside : tuple of int
        What of these bytes is in DRAM and not on chip.
    """

    program: Program
    widths: BitWidths
    layouts: Mapping[str, InputFormat]
    sizes: Mapping[str, int]
    spilled: Mapping[str, float]
    nodes: tuple[TiledNode, ...]
    live: tuple[int, ...]
    outside: tuple[int, ...]


def tile(program: Program, platform: Platform, settings: EvaluationSettings) -> TiledProgram:
    """Decide what stays on chip.

    While a node runs, its inputs, its outputs and every feature map that a later node still needs share the
    on-chip memory; what exceeds it spills in proportion.  A feature map keeps on chip the smallest share that it
    has during its life; the rest is written once and read by each reader.  Model inputs, model outputs and what
    CPU nodes touch always pass through DRAM as a whole.
    """
    widths = assign_bitwidths(program, platform, settings)
    border = _border(program)
    layouts = _layouts(program, platform, settings, widths, border)
    sizes = {
        t.name: stored_bytes(t, layouts[t.name], widths.tensors[t.name]) for t in program.tensors if t.name in layouts
    }
    lives = _lives(program)
    live = _sums(sizes, lives, len(program.nodes))
    spilled = _spilled(platform, lives, live, border)
    outside = {name: size - int(size * (1.0 - spilled[name])) for name, size in sizes.items() if name in lives}
    moved = {name: round(size * spilled[name]) for name, size in sizes.items() if name in spilled}
    nodes = []
    for node, weight_bits in zip(program.nodes, widths.weights, strict=True):
        if node.type == "CPU":
            nodes.append(TiledNode(0, 0, 0))
            continue
        nodes.append(
            TiledNode(
                read_bytes=sum([moved[name] for name in node.inputs]),
                write_bytes=sum([moved[name] for name in node.outputs]),
                weight_bytes=weight_bytes(node, weight_bits),
                layout_bytes=sum([sizes[name] for name in node.outputs * node.layout_moves]),
            )
        )
    held_outside = _sums(outside, lives, len(program.nodes))
    return TiledProgram(program, widths, layouts, sizes, spilled, tuple(nodes), tuple(live), tuple(held_outside))


def weight_bytes(node: Node, bits: int) -> int:
    """Bytes of the constants of a node."""
    elements = node.constant_elements
    if node.mac is not None:
        elements += node.mac.weight_elements + node.mac.bias_elements
    return -(-elements * bits // 8)


def _border(program: Program) -> set[str]:
    """Feature maps that pass through DRAM in any case."""
    sources = dict(program.sources)
    names = {*program.inputs, *program.outputs, *(sources.get(name, name) for name in program.outputs)}
    for node in program.nodes:
        if node.type == "CPU":
            names.update(node.inputs, node.outputs)
    return names


def _layouts(
    program: Program, platform: Platform, settings: EvaluationSettings, widths: BitWidths, border: set[str]
) -> dict[str, InputFormat]:
    layouts: dict[str, InputFormat] = {}
    inner: dict[int, InputFormat] = {}
    for tensor in program.tensors:
        name = tensor.name
        bits = widths.tensors.get(name)
        if bits is None:
            continue
        if name not in border:
            if bits not in inner:
                inner[bits] = inner_format(platform, bits)
            layouts[name] = inner[bits]
        elif name in program.inputs:
            layouts[name] = input_layout(tensor, platform, bits, settings.input_fmt)
        else:
            layouts[name] = border_format(platform, bits)
    return layouts


def _lives(program: Program) -> dict[str, tuple[int, int]]:
    """First and last node that touch each feature map."""
    lives: dict[str, tuple[int, int]] = {}
    for index, node in enumerate(program.nodes):
        for name in (*node.inputs, *node.outputs):
            lives[name] = (lives.get(name, (index, index))[0], index)
    return lives


def _sums(amounts: Mapping[str, int], lives: Mapping[str, tuple[int, int]], count: int) -> list[int]:
    """Sum of the amounts of what is alive, for each of ``count`` nodes."""
    change = [0] * (count + 1)
    for name, (first, last) in lives.items():
        change[first] += amounts[name]
        change[last + 1] -= amounts[name]
    return list(accumulate(change[:-1]))


def _spilled(
    platform: Platform, lives: Mapping[str, tuple[int, int]], live: list[int], border: set[str]
) -> dict[str, float]:
    lowest = _RangeMinimum([min(1.0, platform.feature_memory_bytes / held) if held else 1.0 for held in live])
    spilled = {name: 1.0 - lowest(first, last) for name, (first, last) in lives.items()}
    spilled.update(dict.fromkeys(border, 1.0))
    return spilled


class _RangeMinimum:
    """Minimum over any range of a list, in constant time after n log n preparation."""

    def __init__(self, values: list[float]) -> None:
        self._levels = [values]
        span = 1
        while 2 * span <= len(values):
            below = self._levels[-1]
            self._levels.append([min(pair) for pair in zip(below, below[span:], strict=False)])
            span *= 2

    def __call__(self, begin: int, end: int) -> float:
        level = (end - begin + 1).bit_length() - 1
        values = self._levels[level]
        return min(values[begin], values[end - (1 << level) + 1])
