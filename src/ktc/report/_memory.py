"""On-chip memory from node to node: which feature maps are alive, and what of them is in DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.report._format import megabytes, single_line

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["Memory", "memory"]

#: More labels than this would only make the file larger: they would be narrower than a pixel or two.
_LABELS = 200
_ROWS = 5


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
    """

    kept: tuple[int, ...]
    spilled: tuple[int, ...]
    capacity: float
    highest: float
    labels: tuple[tuple[int, int, str], ...]
    largest: tuple[int, ...]

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
    return Memory(
        kept=tuple(node.live_bytes - node.spilled_bytes for node in nodes),
        spilled=tuple(node.spilled_bytes for node in nodes),
        capacity=evaluation.feature_memory_bytes,
        highest=1.05 * max(highest, evaluation.feature_memory_bytes),
        labels=tuple(labels),
        largest=tuple(order[:_ROWS]),
    )
