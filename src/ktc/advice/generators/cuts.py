"""Ends of the network that are better computed before or after the NPU."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import onnx
import onnx.utils

from ktc.advice._candidate import Candidate
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Situation
    from ktc.evaluator import EvaluationSettings
    from ktc.frontend import Node, Program

__all__ = ["propose_cuts"]

_CONDITION = "The results stay the same, if the host computes the part that is cut off; its time is not in the figures."
#: A node with more multiply-accumulates than this, or than this part of the model's, is not given to the host.
_HEAVY, _HEAVY_PART = 1e6, 1e-2
#: Nor are these, whose work is not counted where they fall to the CPU.
_HEAVY_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum"})
_SHOWN_TYPES = 4


def propose_cuts(situation: Situation) -> Iterator[Candidate]:
    """Cut off the tail, the head, or both, where CPU nodes or moves of data begin or end the network."""
    if situation.model.functions or situation.model.graph.sparse_initializer:
        return
    flow = _Flow(situation.program)
    head = flow.head()
    tails = dict.fromkeys((flow.cpu_tail(), flow.tail()))
    proposals = [(frozenset[int](), tail) for tail in tails if tail]
    if head:
        proposals += [(head, frozenset[int]()), *((head, tail) for tail in tails if tail and not head & tail)]
    for begin, end in proposals:
        border = flow.border(begin, end)
        if border is not None:
            yield _cut(situation, begin, end, *border)


class _Flow:
    """The nodes of a program as a graph; sets of nodes are sets of positions."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._nodes = program.nodes
        writer = {name: index for index, node in enumerate(self._nodes) for name in node.outputs}
        self._writer = writer
        self._before = [{writer[name] for name in node.inputs if name in writer} for node in self._nodes]
        self._after: list[set[int]] = [set() for _ in self._nodes]
        for index, sources in enumerate(self._before):
            for source in sources:
                self._after[source].add(index)
        total = sum(node.mac.macs for node in self._nodes if node.mac)
        limit = min(_HEAVY, _HEAVY_PART * total)
        self._heavy = [node.mac.macs > limit if node.mac else node.backend in _HEAVY_OPERATORS for node in self._nodes]
        self._awkward = [node.type == "CPU" or node.layout_moves > 0 for node in self._nodes]

    def cpu_tail(self) -> frozenset[int]:
        """All CPU nodes and everything behind them; empty if that is heavy."""
        tail = self._closed({i for i, node in enumerate(self._nodes) if node.type == "CPU"}, forward=True)
        return frozenset() if any(self._heavy[index] for index in tail) else tail

    def tail(self) -> frozenset[int]:
        """Behind the last heavy nodes: the CPU nodes, the moves of data, and what follows them."""
        free = self._free(range(len(self._nodes))[::-1], self._after)
        return self._closed({index for index in free if self._awkward[index]}, forward=True)

    def head(self) -> frozenset[int]:
        """Before the first heavy nodes: the CPU nodes, the moves of data, and what they need."""
        free = self._free(range(len(self._nodes)), self._before)
        return self._closed({index for index in free if self._awkward[index]}, forward=False)

    def _free(self, order: range, neighbours: list[set[int]]) -> set[int]:
        """Nodes that are not heavy, with only such nodes on one side."""
        free: set[int] = set()
        for index in order:
            if not self._heavy[index] and neighbours[index] <= free:
                free.add(index)
        return free

    def _closed(self, nodes: set[int], *, forward: bool) -> frozenset[int]:
        """Nodes with all that follow (or precede) them."""
        result, pending = set(nodes), list(nodes)
        while pending:
            index = pending.pop()
            for neighbour in (self._after if forward else self._before)[index]:
                if neighbour not in result:
                    result.add(neighbour)
                    pending.append(neighbour)
        return frozenset(result)

    def border(self, head: frozenset[int], tail: frozenset[int]) -> tuple[_Part, _Part | None, _Part | None] | None:
        """Inputs and outputs of the kept part, of the head and of the tail; None if that makes no sense.

        What is kept has to have a heavy node: it is the network.

        A graph output that is a view of a tensor stays an output of the part that writes the tensor.
        """
        program, sources = self._program, dict(self._program.sources)
        kept = [index for index in range(len(self._nodes)) if index not in head and index not in tail]
        written_by_head = {name for index in head for name in self._nodes[index].outputs}
        held = {name: sources.get(name, name) for name in program.outputs}
        if not any(self._heavy[index] for index in kept) or written_by_head & set(held.values()):
            return None
        read = dict.fromkeys(name for index in kept for name in self._nodes[index].inputs)
        read_by_tail = dict.fromkeys(name for index in sorted(tail) for name in self._nodes[index].inputs)
        written_by_tail = {name for index in tail for name in self._nodes[index].outputs}
        if written_by_head & set(read_by_tail):
            return None
        written = {name for index in kept for name in self._nodes[index].outputs}
        cut = [name for name in read_by_tail if name in written]
        last = [name for name, source in held.items() if source in written_by_tail]
        own = [name for name in program.outputs if name not in last]
        if any(held[name] in program.inputs for name in own):
            return None
        first_cut = [name for name in read if name in written_by_head]
        inputs = [name for name in read if name in program.inputs]
        middle = _Part((*inputs, *first_cut), tuple(dict.fromkeys((*own, *cut))))
        begin = _Part(_inputs(program, self._nodes, head), tuple(first_cut)) if head else None
        if not tail:
            return middle, begin, None
        end_inputs = (*cut, *(name for name in read_by_tail if name in program.inputs))
        return middle, begin, _Part(end_inputs, tuple(last))


class _Part(NamedTuple):
    """Names of the inputs and of the outputs of a part of the graph."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _inputs(program: Program, nodes: tuple[Node, ...], part: frozenset[int]) -> tuple[str, ...]:
    read = dict.fromkeys(name for index in sorted(part) for name in nodes[index].inputs)
    return tuple(name for name in read if name in program.inputs)


def _cut(
    situation: Situation,
    head: frozenset[int],
    tail: frozenset[int],
    middle: _Part,
    begin: _Part | None,
    end: _Part | None,
) -> Candidate:
    inputs, outputs = middle

    def change() -> tuple[onnx.ModelProto, EvaluationSettings]:
        try:
            model = onnx.shape_inference.infer_shapes(situation.skeleton)
            return onnx.utils.Extractor(model).extract_model(list(inputs), list(outputs)), situation.settings
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"the model cannot be cut at {', '.join(outputs)}: {error}") from error

    nodes = [situation.program.nodes[index] for index in sorted(head | tail)]
    rows = [situation.evaluation.nodes[index] for index in sorted(head | tail)]
    path = situation.path
    lines = ["import onnx.utils", ""]
    for part, suffix in ((begin, "before"), (middle, "advised"), (end, "after")):
        if part is not None:
            paths = [str(path), str(path.with_name(f"{path.stem}.{suffix}.onnx"))]
            arguments = ", ".join(map(repr, [*paths, list(part.inputs), list(part.outputs)]))
            lines.append(f"onnx.utils.extract_model({arguments})")
    what = [
        f"{_types([situation.program.nodes[index] for index in sorted(cut)])} {where} the network"
        for cut, where in ((head, "before"), (tail, "after"))
        if cut
    ]
    return Candidate(
        kind="cut",
        nodes=tuple(origin for node in nodes for origin in node.origins),
        text=f"Compute on the host what is now {' and '.join(what)}.",
        condition=_CONDITION,
        exact=True,
        snippet="\n".join(lines) + "\n",
        change=change,
        time_ms=sum(row.sync_ms for row in rows),
        cpu_nodes=sum(row.type == "CPU" for row in rows),
        group="cut",
    )


def _types(nodes: list[Node]) -> str:
    counts = Counter(node.backend for node in nodes).most_common()
    shown = [f"{count} {name}" for name, count in counts[:_SHOWN_TYPES]]
    rest = sum(count for _, count in counts[_SHOWN_TYPES:])
    return ", ".join([*shown, *([f"{rest} other nodes"] if rest else [])])
