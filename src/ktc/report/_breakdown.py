"""What bounds the time: an evaluation summed up by cause and by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Bound, Evaluation, NodeEvaluation

__all__ = [
    "BOUND_MEANINGS",
    "BoundShare",
    "OutsideShare",
    "costliest",
    "mac_use",
    "outside_by_reason",
    "share",
    "time_by_bound",
    "time_range",
]

BOUND_MEANINGS: dict[Bound, str] = {
    "compute": "the MAC array is the slowest part",
    "weights": "weights arrive from DRAM more slowly than they are used",
    "read": "inputs or feature maps are read from DRAM",
    "write": "feature maps are written to DRAM",
    "auxiliary": "units beside the MAC array do elementwise, resize or pooling work",
    "layout": "data is only moved: split, slice, transpose, concat",
    "overhead": "the node is so small that its fixed cost dominates",
    "cpu": "runs on the CPU; its time is not part of this estimate",
}


@dataclass(frozen=True, slots=True)
class BoundShare:
    """The nodes whose time one cause determines.

    Attributes
    ----------
    bound : str
        The cause.
    nodes : int
        How many nodes it bounds.
    time_ms : float
        Their time with overlap, in ms.
    share : float
        Their part of the total time, between 0 and 1.
    """

    bound: Bound
    nodes: int
    time_ms: float
    share: float

    @property
    def meaning(self) -> str:
        """What the cause is, as part of a sentence."""
        return BOUND_MEANINGS[self.bound]


def share(part: float, whole: float) -> float:
    """Return ``part / whole``, and 0 of nothing."""
    return part / whole if whole else 0.0


def time_by_bound(evaluation: Evaluation) -> tuple[BoundShare, ...]:
    """Sum up the time by what bounds it, in a fixed order, without causes that do not occur.

    The times add up to ``evaluation.time_ms``.
    """
    nodes: dict[Bound, list[NodeEvaluation]] = {bound: [] for bound in BOUND_MEANINGS}
    for node in evaluation.nodes:
        nodes[node.bound].append(node)
    sums = {bound: sum(node.sync_ms for node in members) for bound, members in nodes.items()}
    return tuple(
        BoundShare(bound, len(members), sums[bound], share(sums[bound], evaluation.time_ms))
        for bound, members in nodes.items()
        if members
    )


def costliest(evaluation: Evaluation, limit: int = 10) -> tuple[int, ...]:
    """Return the positions of the nodes that take the most time, the slowest first."""
    order = sorted(range(len(evaluation.nodes)), key=lambda i: evaluation.nodes[i].sync_ms, reverse=True)
    return tuple(i for i in order[:limit] if evaluation.nodes[i].sync_ms > 0)


@dataclass(frozen=True, slots=True)
class OutsideShare:
    """The nodes that have one thing that occurs in no published network.

    Attributes
    ----------
    reason : str
        The thing, e.g. ``"kernel 5x5"``.
    nodes : int
        How many nodes have it.
    time_ms : float
        Their time with overlap, in ms.
    share : float
        Their part of the total time, between 0 and 1.
    """

    reason: str
    nodes: int
    time_ms: float
    share: float


def outside_by_reason(evaluation: Evaluation) -> tuple[OutsideShare, ...]:
    """Sum up the time outside of the calibration by reason, the largest first; a node may have several reasons."""
    times: dict[str, list[float]] = {}
    for node in evaluation.nodes:
        for reason in node.outside_calibration:
            times.setdefault(reason, []).append(node.sync_ms)
    rows = [OutsideShare(key, len(ms), sum(ms), share(sum(ms), evaluation.time_ms)) for key, ms in times.items()]
    return tuple(sorted(rows, key=lambda row: -row.time_ms))


def mac_use(node: NodeEvaluation, evaluation: Evaluation) -> float | None:
    """Return the part of the MAC array's peak in its widths that a node uses; None if it has no MACs or no time."""
    if not node.macs or not node.sync_ms:
        return None
    peak_per_ms = evaluation.macs_per_cycle / node.width_factor * evaluation.frequency_mhz * 1e3
    return share(node.macs, peak_per_ms * node.sync_ms)


def time_range(evaluation: Evaluation) -> tuple[float, float]:
    """Return the estimated time less and plus the expected error, in ms."""
    error = evaluation.expected_error_percent / 100
    return evaluation.time_ms * max(0.0, 1 - error), evaluation.time_ms * (1 + error)
