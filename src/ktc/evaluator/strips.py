"""Layer fusion by strips of rows: the search behind ``compiler_tiling="deep_search"``."""

from __future__ import annotations

import dataclasses
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.evaluator.cost import bandwidths, node_time
from ktc.evaluator.tiling import ELEMENTWISE, TiledNode, TiledProgram, weight_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktc.evaluator.bitwidths import BitWidths
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.frontend.program import Node, Tensor
    from ktc.hardware.platform import Platform

__all__ = ["search_strips"]

_LOGGER = logging.getLogger(__name__)
_LONGEST_GROUP = 8
_SECONDS_WITHOUT_BAR = 2.0
_PLAIN_WEIGHT_BITS = 8
_RESAMPLING = frozenset({"KneronResize", "MaxPool", "AveragePool"})


@dataclass(frozen=True, slots=True)
class _Stage:
    """A node that can run strip by strip: its rows, its reach over rows, and the maps at both ends."""

    source: str
    target: str
    in_rows: int
    out_rows: int
    reach: int


def search_strips(tiled: TiledProgram, platform: Platform, settings: EvaluationSettings) -> TiledProgram:
    """Fuse runs of consecutive nodes so that the maps between them never leave the chip.

    A run of up to eight nodes, each the only reader of the one before, computes one strip of output rows after
    the other.  Rows that strips share are computed again, and the weights of all its nodes are loaded once per
    strip, or as often as they would be without it if that is more.  Dynamic programming over the node order takes the
    partition with the least time, of equal ones that with the least traffic; since every node on its own (as in
    ``"default"``) is one of the choices, the result is never slower.

    Weights of 4 bits cost so little that more strips could move more bytes than the best partition with 8 bits does.
    Then that partition, or every node on its own if this is faster, is taken with 4 bits.  Which of them it is can
    change with the bandwidth, so with 4-bit weights more of it may, in rare cases, cost a little time.

    Returns
    -------
    TiledProgram
        The same program with the traffic of the best partition.
    """
    _LOGGER.info("deep_search: %d nodes on KL%s", len(tiled.nodes), platform.name)
    search = _Search(tiled, platform, settings)
    nodes = search.best()
    widths = tiled.widths
    if any(bits < _PLAIN_WEIGHT_BITS for bits in widths.weights):
        plain = dataclasses.replace(widths, weights=(_PLAIN_WEIGHT_BITS,) * len(nodes))
        wide = _Search(_in_widths(tiled, plain), platform, settings).best()
        if _weight_traffic(nodes) > _weight_traffic(wide):
            same_cuts = _in_widths(dataclasses.replace(tiled, nodes=wide), widths).nodes
            nodes = min((same_cuts, tiled.nodes), key=lambda choice: search.cost(0, choice))
    fused = sum(new is not old for new, old in zip(nodes, tiled.nodes, strict=True))
    _LOGGER.info("deep_search: %d nodes run in strips", fused)
    return dataclasses.replace(tiled, nodes=nodes)


def _in_widths(tiled: TiledProgram, widths: BitWidths) -> TiledProgram:
    """The same cuts with weights of other widths."""
    nodes = [
        traffic._replace(weight_bytes=traffic.weight_loads * weight_bytes(node, bits))
        for node, traffic, bits in zip(tiled.program.nodes, tiled.nodes, widths.weights, strict=True)
    ]
    return dataclasses.replace(tiled, widths=widths, nodes=tuple(nodes))


def _weight_traffic(nodes: Iterable[TiledNode]) -> int:
    return sum(node.weight_bytes for node in nodes)


def _plus(first: tuple[float, int], second: tuple[float, int]) -> tuple[float, int]:
    return first[0] + second[0], first[1] + second[1]


def _progress(count: int) -> Iterable[int]:
    """0, 1, ... ``count`` - 1, with a bar on a terminal if it lasts longer than two seconds."""
    if sys.stderr is None or not sys.stderr.isatty():
        return range(count)
    from tqdm import tqdm  # here, because importing ktc must stay fast

    bar: Iterable[int] = tqdm(
        range(count), "deep_search", file=sys.stderr, unit="node", leave=False, delay=_SECONDS_WITHOUT_BAR
    )
    return bar


class _Search:
    """Costs of groups of consecutive nodes."""

    def __init__(self, tiled: TiledProgram, platform: Platform, settings: EvaluationSettings) -> None:
        self._tiled, self._platform = tiled, platform
        self._rates = bandwidths(platform, settings)
        tensors = {tensor.name: tensor for tensor in tiled.program.tensors}
        readers: dict[str, int] = {}
        for node in tiled.program.nodes:
            for name in node.inputs:
                readers[name] = readers.get(name, 0) + 1
        border = {*tiled.program.inputs, *tiled.program.outputs, *(source for _, source in tiled.program.sources)}
        self._private = {name for name, count in readers.items() if count == 1 and name not in border}
        self._stages: list[_Stage | None] = []
        previous: Node | None = None
        for node in tiled.program.nodes:
            self._stages.append(_stage(node, previous, tensors))
            previous = node

    def best(self) -> tuple[TiledNode, ...]:
        """Traffic of all nodes in the partition with the least time, of equal ones that with the least traffic."""
        alone = self._tiled.nodes
        best: list[tuple[float, int]] = [(0.0, 0)]  # time in ms and DRAM bytes
        choice: list[tuple[int, tuple[TiledNode, ...]]] = []
        for end in _progress(len(alone)):
            cost = _plus(best[end], self.cost(end, (alone[end],)))
            pick: tuple[int, tuple[TiledNode, ...]] = (end, (alone[end],))
            for begin in self._begins(end):
                group = self._group(begin, end)
                if group is None:
                    continue
                total = _plus(best[begin], self.cost(begin, group))
                if total < cost:
                    cost, pick = total, (begin, group)
            best.append(cost)
            choice.append(pick)
        nodes: list[TiledNode] = []
        end = len(alone)
        while end:
            begin, group = choice[end - 1]
            nodes[:0] = group
            end = begin
        return tuple(nodes)

    def cost(self, begin: int, nodes: Sequence[TiledNode]) -> tuple[float, int]:
        """Time in ms and DRAM bytes of consecutive nodes."""
        time = sum(self._time(begin + k, node) for k, node in enumerate(nodes))
        return time, sum(node.read_bytes + node.write_bytes + node.weight_bytes for node in nodes)

    def _time(self, index: int, node: TiledNode) -> float:
        """Time of one node in ms; CPU nodes are free."""
        source = self._tiled.program.nodes[index]
        if source.type == "CPU":
            return 0.0
        widths = self._tiled.widths
        return node_time(
            source, node, self._platform, self._rates, widths.computing[index], widths.weights[index]
        ).total

    def _begins(self, end: int) -> range:
        """First nodes of the groups that may end at a node, nearest first; empty if nothing spills before it."""
        begin = end
        while begin > 0 and end - begin + 1 < _LONGEST_GROUP and self._linked(begin):
            begin -= 1
        return range(end - 1, begin - 1, -1)

    def _linked(self, index: int) -> bool:
        """Whether a node continues the one before it, over a private map that spills."""
        stage, before = self._stages[index], self._stages[index - 1]
        if stage is None or before is None or stage.source != before.target:
            return False
        return stage.source in self._private and self._tiled.spilled[stage.source] > 0

    def _group(self, begin: int, end: int) -> tuple[TiledNode, ...] | None:
        """Traffic of the nodes of a group in its best number of strips; None if not even single rows fit on chip.

        Of 2, 4, 8, ... strips the first that fits is the best but for a ragged last strip, so larger numbers are
        tried as long as they gain.
        """
        stages = [stage for stage in self._stages[begin : end + 1] if stage is not None]
        if len(stages) <= end - begin:
            return None
        out_rows = stages[-1].out_rows
        best: tuple[tuple[float, int], tuple[TiledNode, ...]] | None = None
        strips = 2
        while strips <= 2 * out_rows:
            height = -(-out_rows // strips)
            rows = _rows_per_strip(stages, height)
            if self._fits(stages, rows):
                nodes = self._traffic(begin, stages, rows, height)
                cost = self.cost(begin, nodes)
                if best is not None and cost >= best[0]:
                    break
                best = cost, nodes
            strips *= 2
        return None if best is None else best[1]

    def _fits(self, stages: list[_Stage], rows: list[int]) -> bool:
        sizes = self._tiled.sizes
        for stage, before, after in zip(stages, rows, rows[1:], strict=False):
            strip_in = sizes[stage.source] * before / stage.in_rows
            strip_out = sizes[stage.target] * after / stage.out_rows
            if strip_in + strip_out > self._platform.feature_memory_bytes:
                return False
        return True

    def _traffic(self, begin: int, stages: list[_Stage], rows: list[int], height: int) -> tuple[TiledNode, ...]:
        tiled, result = self._tiled, []
        strips = -(-stages[-1].out_rows // height)
        last = _rows_per_strip(stages, stages[-1].out_rows - (strips - 1) * height)
        total = [(strips - 1) * full + rest for full, rest in zip(rows, last, strict=True)]
        for position, stage in enumerate(stages):
            default = tiled.nodes[begin + position]
            inside_in = position > 0
            inside_out = position < len(stages) - 1
            repeats = max(1.0, total[position + 1] / stage.out_rows)
            halo = max(1.0, total[position] / stage.in_rows)
            kept = round(tiled.sizes[stage.source] * tiled.spilled[stage.source])
            loads = max(strips, default.weight_loads)
            bits = tiled.widths.weights[begin + position]
            result.append(
                TiledNode(
                    read_bytes=default.read_bytes - kept if inside_in else round(default.read_bytes * halo),
                    write_bytes=0 if inside_out else default.write_bytes,
                    weight_bytes=loads * weight_bytes(tiled.program.nodes[begin + position], bits),
                    repeats=repeats,
                    weight_loads=loads,
                )
            )
        return tuple(result)


def _rows_per_strip(stages: list[_Stage], height: int) -> list[int]:
    """Rows of one strip at every map of the group, from its input to its output, which has ``height``."""
    rows = [height]
    for stage in reversed(stages):
        needed = -(-rows[0] * stage.in_rows // stage.out_rows) + stage.reach - 1
        rows.insert(0, min(stage.in_rows, needed))
    return rows


def _stage(node: Node, previous: Node | None, tensors: dict[str, Tensor]) -> _Stage | None:
    """How a node runs strip by strip; None if it needs whole maps."""
    if node.type == "CPU" or not node.inputs or len(node.outputs) != 1 or node.layout_moves:
        return None
    following = previous is not None and bool(previous.outputs) and previous.outputs[0] in node.inputs
    source = previous.outputs[0] if previous is not None and following else node.inputs[0]
    before, after = tensors[source].shape, tensors[node.outputs[0]].shape
    if before is None or after is None or len(before) != 4 or len(after) != 4 or 0 in (*before, *after):
        return None
    if node.mac is not None:
        if node.mac.kind not in ("conv", "depthwise"):
            return None
        reach = (node.mac.kernel[0] - 1) * node.mac.dilation[0] + 1
    elif node.backend in _RESAMPLING:
        reach = max(step.reach for step in node.auxiliary)
    elif node.backend in ELEMENTWISE:
        reach = 1
    else:
        return None
    return _Stage(source, node.outputs[0], before[2], after[2], reach)
