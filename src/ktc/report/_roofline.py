"""The roofline: arithmetic intensity of each node against the rate that it reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.report._breakdown import share
from ktc.report._format import digits, single_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktc.evaluator.evaluation import Bound, Evaluation

__all__ = ["Point", "Roofline", "roofline"]

#: Points of one colour in the same cell of this grid are drawn as one.
_CELLS = 120
#: Part of the width that the logarithmic axis has if some nodes have no DRAM traffic; these stand beside it.
_AXIS_WIDTH = 0.9
_MARGIN = 0.2
_FEWEST_TICKS, _MOST_TICKS = 3, 9
_SMALLEST_RADIUS, _LARGEST_RADIUS = 2.5, 10.0


@dataclass(frozen=True, slots=True)
class Point:
    """One node with MACs, or several in the same place.

    Attributes
    ----------
    x, y : float
        Place in the drawing, 0 to 1, from the left and from the bottom.
    radius : float
        In pixels; its area grows with the time.
    bound : str
        What bounds the time.
    nodes : tuple of int
        Positions of the nodes, the slowest first.
    label : str
        What it is, in one line.
    """

    x: float
    y: float
    radius: float
    bound: Bound
    nodes: tuple[int, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """Points and roofs of one evaluation, in a square of side 1.

    Attributes
    ----------
    points : tuple of Point
        All nodes with MACs.
    slope : tuple of float
        ``x1, y1, x2, y2`` of the bandwidth's line.
    flat : tuple of float
        ``x1, y1, x2, y2`` of the array's peak.
    x_ticks, y_ticks : tuple of (float, str)
        Places and words of round numbers: MACs per byte, GMAC/s.
    peak : float
        GMAC/s in 8 bit, or with 4-bit weights where a node has these and they are faster.
    peak_widths : str
        Which of these it is, as part of a sentence.
    bandwidth : float
        The most that the DMA engines move together, in GB/s.
    without_traffic : int
        Nodes without DRAM traffic, which stand at the right edge.
    width : float
        Part of the width that the axis has.
    """

    points: tuple[Point, ...]
    slope: tuple[float, float, float, float]
    flat: tuple[float, float, float, float]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    peak: float
    peak_widths: str
    bandwidth: float
    without_traffic: int
    width: float

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What bounds any of the points."""
        return tuple(dict.fromkeys(point.bound for point in self.points))


def roofline(evaluation: Evaluation) -> Roofline | None:
    """Place every node with MACs; None if there is none.

    The slope is the most that weights and feature maps can move together: they queue on one channel, so it is the
    largest of their bandwidths. No node lies above it.
    """
    bandwidth = max(evaluation.read_bandwidth, evaluation.write_bandwidth, evaluation.weight_bandwidth)
    chosen = [index for index, node in enumerate(evaluation.nodes) if node.macs and node.sync_ms]
    if not chosen:
        return None
    factor = min(1.0, *(evaluation.nodes[index].width_factor for index in chosen))
    peak = evaluation.macs_per_cycle / factor * evaluation.frequency_mhz / 1e3
    traffic = {index: _bytes(evaluation, index) for index in chosen}
    intensity = {i: evaluation.nodes[i].macs / traffic[i] for i in chosen if traffic[i]}
    rate = {i: evaluation.nodes[i].macs / evaluation.nodes[i].sync_ms / 1e6 for i in chosen}
    ridge = peak / bandwidth
    left, right = _range([*intensity.values(), ridge])
    bottom, top = _range([*rate.values(), peak])
    width = _AXIS_WIDTH if len(intensity) < len(chosen) else 1.0

    def across(value: float) -> float:
        return width * (math.log10(value) - left) / (right - left)

    def up(value: float) -> float:
        return (math.log10(value) - bottom) / (top - bottom)

    first = max(10.0**left, 10.0**bottom / bandwidth)
    aside = (1 + _AXIS_WIDTH) / 2
    places = {i: (across(intensity[i]) if i in intensity else aside, up(rate[i])) for i in chosen}
    return Roofline(
        points=_points(evaluation, places, intensity),
        slope=(across(first), up(first * bandwidth), across(ridge), up(peak)),
        flat=(across(ridge), up(peak), 1.0, up(peak)),
        x_ticks=tuple((across(value), label) for value, label in _ticks(left, right)),
        y_ticks=tuple((up(value), label) for value, label in _ticks(bottom, top)),
        peak=peak,
        peak_widths="in 8 bit" if factor == 1 else "with 4-bit weights",
        bandwidth=bandwidth,
        without_traffic=len(chosen) - len(intensity),
        width=width,
    )


def _bytes(evaluation: Evaluation, index: int) -> int:
    node = evaluation.nodes[index]
    return node.read_bytes + node.write_bytes + node.weight_bytes


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the common logarithms of the ends of an axis, with some room for points and words."""
    return math.log10(min(values)) - _MARGIN, math.log10(max(values)) + _MARGIN


def _ticks(first: float, last: float) -> list[tuple[float, str]]:
    """Return the round numbers between two powers of ten: 1, 10, 100, or with 2 and 5 where these are few."""
    powers = range(math.ceil(first), math.floor(last) + 1)
    if len(powers) > _MOST_TICKS:
        powers = powers[:: -(-len(powers) // _MOST_TICKS)]
    values = [10.0**power for power in powers]
    if len(values) < _FEWEST_TICKS:
        fine = (digit * 10.0**power for power in range(math.floor(first), math.floor(last) + 1) for digit in (1, 2, 5))
        values = [value for value in fine if first <= math.log10(value) <= last]
    return [(value, f"{value:,.0f}" if value >= 1 else digits(value, 1)) for value in values]


def _points(
    evaluation: Evaluation, places: dict[int, tuple[float, float]], intensity: dict[int, float]
) -> tuple[Point, ...]:
    cells: dict[tuple[int, int, Bound], list[int]] = {}
    for index, (x, y) in places.items():
        cells.setdefault((round(x * _CELLS), round(y * _CELLS), evaluation.nodes[index].bound), []).append(index)
    points = []
    for (_, _, bound), members in cells.items():
        members.sort(key=lambda i: -evaluation.nodes[i].sync_ms)
        slowest = members[0]
        part = share(sum(evaluation.nodes[i].sync_ms for i in members), evaluation.time_ms)
        node = evaluation.nodes[slowest]
        words = [f"{digits(node.macs / node.sync_ms / 1e6, 3)} GMAC/s"]
        words.append(
            f"{digits(intensity[slowest], 3)} MAC per byte" if slowest in intensity else "no DRAM traffic",
        )
        words.append(f"{100 * part:.1f} % of the time, {bound}")
        others = f" and {len(members) - 1} more" if len(members) > 1 else ""
        radius = _SMALLEST_RADIUS + (_LARGEST_RADIUS - _SMALLEST_RADIUS) * math.sqrt(min(1.0, part))
        label = f"{single_line(node.name)}{others}: {', '.join(words)}"
        points.append(Point(*places[slowest], radius, bound, tuple(members), label))
    # Large points first, so that small ones stay in sight.
    return tuple(sorted(points, key=lambda point: -point.radius))
