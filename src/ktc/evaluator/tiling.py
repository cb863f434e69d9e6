"""Feature maps against the on-chip memory: what travels to and from DRAM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ktc.evaluator.bitwidths import BitWidths, assign_bitwidths
from ktc.evaluator.layouts import border_format, dense_bytes, inner_format, input_layout, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import MacWork, Node, Program, Tensor
    from ktc.hardware.input_formats import InputFormat
    from ktc.hardware.platform import Platform

__all__ = ["ELEMENTWISE", "TiledNode", "TiledProgram", "tile", "weight_bytes"]

#: Backend operators that make each result of what lies at the same place in their feature maps.
ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh"}
    | {"HardSigmoid", "HardSwish", "Swish", "Elu", "Neg", "Abs", "Sqrt", "Exp", "Erf", "KneronSquare", "Reciprocal"}
)


class TiledNode(NamedTuple):  # one per node: made several times as fast as a frozen dataclass
    """Traffic and repetition of one node.

    Attributes
    ----------
    read_bytes, write_bytes, weight_bytes : int
        DRAM traffic; weights as often as they are loaded.
    repeats : float
        Factor on the MAC and auxiliary work: rows computed more than once where strips overlap.
    layout_bytes : int
        Bytes that layout moves write, wherever to.
    weight_loads : int
        How often the weights are loaded.
    """

    read_bytes: int
    write_bytes: int
    weight_bytes: int
    repeats: float = 1.0
    layout_bytes: int = 0
    weight_loads: int = 1


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

    1. Model inputs, model outputs and what CPU nodes touch pass through DRAM, and so does every feature map where
       `Platform.resident_maps` is false.
    2. While a node runs, its inputs and outputs share the on-chip memory in proportion to their sizes.  What a node
       makes in place of an input that nobody else needs (depthwise and elementwise nodes) takes no room of its own.
    3. Feature maps that wait for a later node share it as well (`Platform.waiting_maps` "share"), or go to DRAM as a
       whole where they and those at work do not fit together ("leave").
    4. A feature map keeps on chip the smallest share that it has during its life; the rest is written once and read by
       each reader.
    5. A node whose share holds a part of its maps runs in as many strips, of at least one row, and loads its weights
       again for each.
    """
    widths = assign_bitwidths(program, platform, settings)
    border = _border(program)
    layouts = _layouts(program, platform, settings, widths, border)
    sizes = {t.name: _bytes(t, layouts, widths, border) for t in program.tensors if t.name in layouts}
    lives = _lives(program)
    inner = {name: size for name, size in sizes.items() if name in lives and name not in border}
    passing = {name: sizes[name] for name in lives if name in border}
    count = len(program.nodes)
    on_border, wanted = _sums(passing, lives, count), _sums(inner, lives, count)
    live = [at_border + between for at_border, between in zip(on_border, wanted, strict=True)]
    replaced = _replaced(program, inner, lives) if platform.resident_maps else {}
    for index, (_, _, saved) in replaced.items():
        wanted[index] -= saved
        live[index] -= saved
    memory = platform.feature_memory_bytes
    strips = [1] * count
    if not platform.resident_maps:
        outside = live
        spilled = dict.fromkeys(lives, 1.0)
    elif max(wanted, default=0) <= memory:  # as below, without the arithmetic
        outside = on_border
        spilled = dict.fromkeys(inner, 0.0) | dict.fromkeys(passing, 1.0)
    else:
        kept, strips = _shares(program, platform, inner, lives, wanted, replaced)
        spilled = {name: 1.0 - share for name, share in kept.items()} | dict.fromkeys(passing, 1.0)
        on_chip = {name: int(size * kept[name]) for name, size in inner.items()}
        inside = _sums(on_chip, lives, count)
        for index, (before, after, _) in replaced.items():
            inside[index] -= min(on_chip[before], on_chip[after])
        outside = [alive - held for alive, held in zip(live, inside, strict=True)]
    moved = {name: round(sizes[name] * share) for name, share in spilled.items() if share}
    nodes = []
    for node, weight_bits, parts in zip(program.nodes, widths.weights, strips, strict=True):
        if node.type == "CPU":
            nodes.append(TiledNode(0, 0, 0, weight_loads=0))
            continue
        loads = 1 if node.mac is None else min(parts, _most_strips(node.mac))
        nodes.append(
            TiledNode(
                read_bytes=sum([moved.get(name, 0) for name in node.inputs]),
                write_bytes=sum([moved.get(name, 0) for name in node.outputs]),
                weight_bytes=loads * weight_bytes(node, weight_bits),
                layout_bytes=node.layout_moves and node.layout_moves * sum([sizes[name] for name in node.outputs]),
                weight_loads=loads,
            )
        )
    return TiledProgram(program, widths, layouts, sizes, spilled, tuple(nodes), tuple(live), tuple(outside))


def _most_strips(work: MacWork) -> int:
    """Rows of the result, or its columns where it has one row, as products have."""
    return work.batch * (work.out_rows if work.out_rows > 1 else work.out_columns)


def _shares(
    program: Program,
    platform: Platform,
    sizes: Mapping[str, int],
    lives: Mapping[str, tuple[int, int]],
    wanted: Sequence[int],
    replaced: Mapping[int, tuple[str, str, int]],
) -> tuple[dict[str, float], list[int]]:
    """What each feature map keeps on chip, 0 to 1, and the strips of each node, where not everything fits."""
    memory = platform.feature_memory_bytes
    if platform.waiting_maps == "share":
        lowest = _RangeMinimum([min(1.0, memory / held) if held else 1.0 for held in wanted])
        return {name: lowest(*lives[name]) for name in sizes}, [math.ceil(held / memory) or 1 for held in wanted]
    kept = dict.fromkeys(sizes, 1.0)
    strips = []
    touched: dict[str, list[int]] = {}
    for index, node in enumerate(program.nodes):
        names = [name for name in dict.fromkeys((*node.inputs, *node.outputs)) if name in sizes]
        at_work = sum([sizes[name] for name in names]) - (replaced[index][2] if index in replaced else 0)
        strips.append(math.ceil(at_work / memory) or 1)
        for name in names:
            touched.setdefault(name, []).append(index)
            kept[name] = min(kept[name], memory / at_work if at_work > memory else 1.0)
    full = list(accumulate([held > memory for held in wanted], initial=0))
    for name, indices in touched.items():
        first, last = lives[name]
        at_work_when_full = sum([wanted[index] > memory for index in indices])
        if full[last + 1] - full[first] > at_work_when_full:  # it waits while something does not fit
            kept[name] = 0.0
    return kept, strips


def _bytes(tensor: Tensor, layouts: Mapping[str, InputFormat], widths: BitWidths, border: set[str]) -> int:
    name = tensor.name
    bits = widths.tensors[name]
    return stored_bytes(tensor, layouts[name], bits) if name in border else dense_bytes(tensor, bits)


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


def _replaced(
    program: Program, sizes: Mapping[str, int], lives: Mapping[str, tuple[int, int]]
) -> dict[int, tuple[str, str, int]]:
    """Nodes whose output takes the place of an input: position -> input, output, bytes that are there once, not twice.

    That is so for depthwise convolutions of stride 1 and elementwise nodes, with the largest input that ends there.
    """
    result = {}
    for index, node in enumerate(program.nodes):
        if node.mac is not None:
            if node.mac.kind != "depthwise" or node.mac.stride != (1, 1):
                continue
        elif node.backend not in ELEMENTWISE or node.type == "CPU":
            continue
        ending = [name for name in node.inputs if name in sizes and lives[name][1] == index]
        if ending and node.outputs[0] in sizes:
            before = max(ending, key=sizes.__getitem__)
            result[index] = before, node.outputs[0], min(sizes[before], sizes[node.outputs[0]])
    return result


def _sums(amounts: Mapping[str, int], lives: Mapping[str, tuple[int, int]], count: int) -> list[int]:
    """Sum of the amounts of what is alive, for each of ``count`` nodes."""
    change = [0] * (count + 1)
    for name, amount in amounts.items():
        first, last = lives[name]
        change[first] += amount
        change[last + 1] -= amount
    return list(accumulate(change[:-1]))


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
