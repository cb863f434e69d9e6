"""The schedule as lanes over time: what the MAC array, the DMA engines and the auxiliary unit do when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ktc.report._breakdown import share
from ktc.report._format import digits, single_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.evaluator.evaluation import Evaluation, NodeEvaluation

__all__ = ["Bar", "Lane", "Step", "Timeline", "activities", "timeline"]

LaneName = Literal["compute", "weights", "read", "write", "auxiliary", "layout"]

#: Shorter neighbours than this part of the whole time are drawn as one: four pixels of a wide window.
_SHORTEST_STEP = 1 / 300
_TITLES: dict[LaneName, str] = {
    "compute": "MAC array",
    "weights": "Weight DMA",
    "read": "Read DMA",
    "write": "Write DMA",
    "auxiliary": "Auxiliary unit",
    "layout": "Data layout",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A time in which a lane is busy.

    Attributes
    ----------
    start_ms, end_ms : float
        From the start of the inference.
    fill : float
        Part of this time in which it is busy, between 0 and 1: below 1 only where nodes are drawn as one.
    """

    start_ms: float
    end_ms: float
    fill: float = 1.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One unit of the chip.

    Attributes
    ----------
    name : str
        The cause that the report calls by this name, e.g. ``"weights"``.
    title : str
        Name of the unit.
    busy_ms : float
        Sum over all nodes.
    bars : tuple of Bar
        In order of time, without overlap.
    """

    name: LaneName
    title: str
    busy_ms: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, or several short ones in a row that are drawn as one.

    Attributes
    ----------
    start_ms, end_ms : float
        From the start of the inference.
    nodes : tuple of int
        Positions of the nodes.
    """

    start_ms: float
    end_ms: float
    nodes: tuple[int, ...]

    @property
    def length_ms(self) -> float:
        """How long it takes."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class Timeline:
    """The schedule of one inference.

    Attributes
    ----------
    total_ms : float
        Its end.
    lanes : tuple of Lane
        In the order of `LaneName`, without those that never work.
    steps : tuple of Step
        From 0 to ``total_ms``, without gaps.
    cpu : tuple of tuple of (float, int)
        Time at which each CPU node would run, and its position; they take no time here.
    """

    total_ms: float
    lanes: tuple[Lane, ...]
    steps: tuple[Step, ...]
    cpu: tuple[tuple[float, int], ...]

    @property
    def merged(self) -> bool:
        """Whether some nodes are drawn as one."""
        return any(len(step.nodes) > 1 for step in self.steps)

    def label(self, step: Step, evaluation: Evaluation) -> str:
        """Return what a step is, in one line."""
        first, last = (evaluation.nodes[index] for index in (step.nodes[0], step.nodes[-1]))
        name = single_line(first.name)
        if len(step.nodes) > 1:
            name = f"{len(step.nodes)} nodes, {name} to {single_line(last.name)}"
        bound = f", {first.bound}" if len(step.nodes) == 1 else ""
        return f"{name}: {digits(step.length_ms, 3)} ms{bound}"


def activities(node: NodeEvaluation, evaluation: Evaluation) -> tuple[tuple[LaneName, float, float], ...]:
    """Return which lane is busy from when to when, in ms from the start of a node.

    The lengths are those of `ktc.evaluator.cost.node_time`; their places follow from its overlap: weights are loaded
    and feature maps are read before results are written, and the exposed share of the weights lies beside no computing.
    Passes of the auxiliary unit, moves of data and the fixed cost of the command come after it, in this order.
    """
    loaded = node.weight_ms + node.read_ms
    transfer = loaded + node.write_ms
    exposed = evaluation.exposed_share * min(node.mac_ms, node.weight_ms)
    moved = max(node.mac_ms, transfer) + exposed
    # Where the transfer is longer, computing lies beside loading and writing by their parts of it.
    beside = (node.mac_ms - exposed) * share(loaded, transfer)
    start = exposed if transfer <= node.mac_ms else loaded - beside
    end = node.sync_ms
    spans: list[tuple[LaneName, float, float]] = [
        ("compute", start, start + node.mac_ms),
        ("weights", 0.0, node.weight_ms),
        ("read", node.weight_ms, loaded),
        ("write", moved - node.write_ms, moved),
        ("auxiliary", moved, moved + node.auxiliary_ms),
        ("layout", moved + node.auxiliary_ms, moved + node.auxiliary_ms + node.layout_ms),
    ]
    # A rounding error must not reach into the next node.
    inside = ((lane, min(max(0.0, first), end), min(last, end)) for lane, first, last in spans)
    return tuple((lane, first, last) for lane, first, last in inside if last > first)


def timeline(evaluation: Evaluation) -> Timeline:
    """Lay out the nodes one after another; short neighbours become one step, which bounds the size of the drawing."""
    steps = tuple(_steps(evaluation))
    bars: dict[LaneName, list[Bar]] = {lane: [] for lane in get_args(LaneName)}
    busy: dict[LaneName, float] = dict.fromkeys(bars, 0.0)
    for step in steps:
        sums: dict[LaneName, float] = {}
        for index in step.nodes:
            for lane, first, last in activities(evaluation.nodes[index], evaluation):
                sums[lane] = sums.get(lane, 0.0) + last - first
                if len(step.nodes) == 1:
                    bars[lane].append(Bar(step.start_ms + first, min(step.start_ms + last, step.end_ms)))
        for lane, length in sums.items():
            busy[lane] += length
            if len(step.nodes) > 1:
                bars[lane].append(Bar(step.start_ms, step.end_ms, min(1.0, length / step.length_ms)))
    return Timeline(
        total_ms=evaluation.time_ms,
        lanes=tuple(Lane(lane, _TITLES[lane], busy[lane], tuple(bars[lane])) for lane in bars if bars[lane]),
        steps=steps,
        cpu=tuple(_cpu_marks(evaluation)),
    )


def _steps(evaluation: Evaluation) -> Iterator[Step]:
    shortest = evaluation.time_ms * _SHORTEST_STEP
    begin, now = 0.0, 0.0
    nodes: list[int] = []
    for index, node in enumerate(evaluation.nodes):
        if not node.sync_ms:
            continue
        if nodes and node.sync_ms >= shortest:
            yield Step(begin, now, tuple(nodes))
            begin, nodes = now, []
        nodes.append(index)
        now += node.sync_ms
        if now - begin >= shortest:
            yield Step(begin, now, tuple(nodes))
            begin, nodes = now, []
    if nodes:
        yield Step(begin, now, tuple(nodes))


def _cpu_marks(evaluation: Evaluation) -> Iterator[tuple[float, int]]:
    now = 0.0
    for index, node in enumerate(evaluation.nodes):
        if node.type == "CPU":
            yield now, index
        now += node.sync_ms
