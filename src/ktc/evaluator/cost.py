"""Traffic and work -> time, node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ktc.evaluator.macs import mac_cycles

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Bound
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.evaluator.tiling import TiledNode
    from ktc.frontend.program import Node
    from ktc.hardware.platform import Platform

__all__ = ["Bandwidths", "NodeTime", "bandwidths", "node_time", "overlapped"]


@dataclass(frozen=True, slots=True)
class Bandwidths:
    """DMA rates in force, in GB/s."""

    weight: float
    read: float
    write: float


#: What bounds a node, in the order of the parts that `NodeTime.bound` compares.
_BOUNDS: tuple[Bound, ...] = ("compute", "weights", "read", "write", "auxiliary", "layout", "overhead")


class NodeTime(NamedTuple):  # one per node: made several times as fast as a frozen dataclass
    """Time of one NPU node and its parts; all in ms but ``cycles``."""

    cycles: float
    compute: float
    weights: float
    read: float
    write: float
    auxiliary: float
    pooling: float
    layout: float
    overhead: float
    total: float

    @property
    def bound(self) -> Bound:
        """The largest part."""
        parts = (
            self.compute,
            self.weights,
            self.read,
            self.write,
            self.auxiliary + self.pooling,
            self.layout,
            self.overhead,
        )
        return _BOUNDS[parts.index(max(parts))]


def overlapped(platform: Platform, compute: float, weights: float, maps: float) -> float:
    """Time of computing, weight loading and feature-map transfer together (any unit).

    ``max(C, W + D) + exposed_share * min(C, W)``: weights and feature maps queue on one channel beside computing, but
    the first weights of a node have to be there before it starts.
    """
    return max(compute, weights + maps) + platform.exposed_share * min(compute, weights)


def bandwidths(platform: Platform, settings: EvaluationSettings) -> Bandwidths:
    """The platform's DMA rates, or those that were asked for."""
    dma = settings.dma_bandwidth
    return Bandwidths(
        weight=float(settings.weight_bandwidth or platform.weight_bandwidth),
        read=float(dma or platform.read_bandwidth),
        write=float(dma or platform.write_bandwidth),
    )


def node_time(
    node: Node, tiled: TiledNode, platform: Platform, rates: Bandwidths, computing_bits: int, weight_bits: int
) -> NodeTime:
    """Time of an NPU node: ``overlapped(C, W, D) + AUX + layout + overhead``.

    AUX and layout moves pass the auxiliary unit: bytes read over `Platform.auxiliary_bandwidth`; a layout move counts
    as `Platform.layout_passes` passes over what it writes.
    """
    cycles = tiled.repeats * mac_cycles(node.mac, platform, computing_bits, weight_bits) if node.mac else 0.0
    compute = cycles / platform.frequency_mhz / 1e3
    weights = tiled.weight_bytes / rates.weight / 1e6
    read = tiled.read_bytes / rates.read / 1e6
    write = tiled.write_bytes / rates.write / 1e6
    auxiliary = pooling = 0.0
    for step in node.auxiliary:
        size = step.elements * computing_bits / 8
        time = tiled.repeats * size / platform.auxiliary_bandwidth / 1e6
        if step.pooling:
            pooling += time
        else:
            auxiliary += time
    layout = platform.layout_passes * tiled.layout_bytes / platform.auxiliary_bandwidth / 1e6
    overhead = platform.node_overhead_us / 1e3
    moved = overlapped(platform, compute, weights, read + write)
    total = moved + auxiliary + pooling + layout + overhead
    return NodeTime(cycles, compute, weights, read, write, auxiliary, pooling, layout, overhead, total)
