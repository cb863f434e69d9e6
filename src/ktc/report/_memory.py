"""On-chip memory from node to node: which feature maps are alive, and what of them is in DRAM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.report._format import megabytes, single_line

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["Memory", "memory"]

#: More labels than this would only make the file larger: they would be narrower than a pixel or two.
_LABELS = 200
_ROWS = 5
_MOST_STEPS = 6
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


@dataclass(frozen=True, slots=True)
class Memory:
    """Live feature maps, node by node.

    Attributes
    ----------
    kept, spilled : tuple of int
        Bytes on chip and in DRAM, one value a node.
    capacity : float
        Bytes that fit on chip.
    highest : float
        Top of the drawing, in bytes.
    labels : tuple of (int, int, str)
        First node, number of nodes, and what they keep alive, in one line.
    largest : tuple of int
        Positions of the nodes with most in DRAM, the largest first.
    x_ticks, y_ticks : tuple of (float, str)
        Places, 0 to 1 from the left and from the bottom, and words: positions of nodes from 1, round numbers of bytes.
    """

    kept: tuple[int, ...]
    spilled: tuple[int, ...]
    capacity: float
    highest: float
    labels: tuple[tuple[int, int, str], ...]
    largest: tuple[int, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]

    @property
    def alive(self) -> tuple[int, ...]:
        """Bytes in either place, one value a node."""
        return tuple(kept + spilled for kept, spilled in zip(self.kept, self.spilled, strict=True))

    @property
    def zero(self) -> tuple[int, ...]:
        """Nothing, one value a node: the ground of the drawing."""
        return (0,) * len(self.kept)


def memory(evaluation: Evaluation) -> Memory | None:
    """Return what is alive while each node runs; None if nothing ever is."""
    nodes = evaluation.nodes
    highest = max((node.live_bytes for node in nodes), default=0)
    if not highest:
        return None
    span = -(-len(nodes) // _LABELS)
    labels = []
    for first in range(0, len(nodes), span):
        members = nodes[first : first + span]
        node = max(members, key=lambda node: node.live_bytes)
        more = f" (the most of {len(members)} nodes)" if len(members) > 1 else ""
        spill = f", {megabytes(node.spilled_bytes)} of it in DRAM" if node.spilled_bytes else ""
        text = f"{single_line(node.name)}{more}: {megabytes(node.live_bytes)} alive{spill}"
        labels.append((first, len(members), text))
    order = sorted((i for i, node in enumerate(nodes) if node.spilled_bytes), key=lambda i: -nodes[i].spilled_bytes)
    top = 1.05 * max(highest, evaluation.feature_memory_bytes)
    return Memory(
        kept=tuple(node.live_bytes - node.spilled_bytes for node in nodes),
        spilled=tuple(node.spilled_bytes for node in nodes),
        capacity=evaluation.feature_memory_bytes,
        highest=top,
        labels=tuple(labels),
        largest=tuple(order[:_ROWS]),
        x_ticks=_node_ticks(len(nodes)),
        y_ticks=_byte_ticks(top),
    )


def _node_ticks(count: int) -> tuple[tuple[float, str], ...]:
    """Return the middles of the first node and of those whose position is a round number."""
    step = _round_step(count)
    return tuple(((position - 0.5) / count, f"{position:,}") for position in sorted({1, *range(step, count + 1, step)}))


def _byte_ticks(highest: float) -> tuple[tuple[float, str], ...]:
    """Return round numbers of bytes from 0 on, all in one unit."""
    step = _round_step(highest)
    values = [step * index for index in range(math.floor(highest / step) + 1)]
    factor, unit = next((entry for entry in _UNITS if entry[0] <= values[-1]), _UNITS[-1])
    return tuple((value / highest, f"{value / factor:.6g} {unit}" if value else "0") for value in values)


def _round_step(length: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, ... that divides a length into no more than a few parts."""
    power: int = 10 ** max(0, math.floor(math.log10(length / _MOST_STEPS)))
    return next(digit * power for digit in (1, 2, 5, 10) if length <= _MOST_STEPS * digit * power)
