"""Transposes move down through the graph where they then cancel or merge."""

from __future__ import annotations

import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    bypass,
    free_name,
    ints_attribute,
    is_op,
    new_constant,
    new_node,
    remove_if_unused,
)
from kneronnxopt.passes._layout import Move, Perm, inverse, is_identity, plan

__all__ = ["PushTranspose"]

_SETTLED = "kneronnxopt.settled_transposes"


class PushTranspose(NodePass):
    """x -> Transpose(p) -> Relu -> Add(c) -> Transpose(p') -> y   becomes   x -> Relu -> Add(c') -> y.

    1. It looks at the whole region of operators around a Transpose that can work in either layout: unary
       and broadcasting elementwise operators (with a constant, one element, or an operand transposed alike),
       Concat, Pad, Reduce*, ArgMax, ArgMin, Slice, Split, Squeeze, Unsqueeze, Softmax; BatchNormalization
       and InstanceNormalization if the channels stay on axis 1; LayerNormalization and MatMul with a constant
       if the axes that they sum over stay last. Axes, pads and constants are turned. An operand that is not
       transposed will do where the graph has its Transpose to the other layout already.
    2. Acts only if fewer Transposes are left: two cancel below, two operands become one result, or a
       reduction removes the axes that were moved. A Transpose that would only sink stays where it is.
    3. A value that is also read by another operator, by a subgraph or as a graph output keeps its name and
       its layout, through a Transpose that counts.
    4. A constant that other nodes read too is copied only if it is small.
    """

    name = "push_transpose"
    op_types = ("Transpose",)

    def rewrite(self, node: ir.Node) -> bool:
        """Move whatever saves Transposes; the whole graph is looked at once in a sweep, at its first Transpose."""
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        settled: set[ir.Node] = graph.meta.setdefault(f"{_SETTLED}.{id(self)}", set())
        if node in settled:
            settled.discard(node)
            return False
        layouts = _Layouts(graph)
        layouts.choose()
        touched: set[ir.Node] = set()
        changed = False
        # Asked before the first edit: one region's edit may take away the Transposes that the next one begins with.
        found = [(region, layouts.transposes(region)) for region in layouts.regions()]
        for region, transposes in found:
            if layouts.gain(region) > 0 and touched.isdisjoint(transposes):
                touched |= transposes
                layouts.commit(region)
                changed = True
            elif not touched.isdisjoint(transposes):
                touched |= transposes
        settled.clear()
        settled.update(other for other in graph if is_op(other, "Transpose") and other is not node)
        return changed


class _Layouts:
    """Which nodes of a graph can work on data from before a Transpose, and which of them should.

    Attributes
    ----------
    layout : dict
        Value -> permutation that makes it from the same value in the other layout.
    level : dict
        Value -> how many Transposes it has behind it in a row; only values of one level meet in a node, so a
        Transpose that ends a region never begins the same one.
    moves : dict
        Node -> how it is written in the other layout, operands first.
    foreign : dict
        Node -> its operands that are in the layout as they are, with the Transpose of each that there is.
    live : set
        Nodes of the graph on which an output depends; to spare another Transpose saves nothing.
    needed : set
        Values of ``layout`` that somebody reads as they are now.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.layout: dict[ir.Value, Perm] = {}
        self.level: dict[ir.Value, int] = {}
        self.moves: dict[ir.Node, Move] = {}
        self.foreign: dict[ir.Node, dict[int, ir.Value]] = {}
        self.needed: set[ir.Value] = set()
        turned: dict[tuple[ir.Value, Perm], ir.Value] = {}
        self.live = _live(graph)
        for node in graph:
            if is_op(node, "Transpose"):
                if node not in self.live:
                    continue
                perm, source = _perm(node), node.inputs[0]
                if perm is not None and source is not None and not is_identity(perm):
                    self._label(node, perm, self.level.get(source, 0) + 1)
                    turned.setdefault((source, perm), node.outputs[0])
            elif node in self.live and any(value in self.layout for value in node.inputs):
                self._try(node, turned)

    def _try(self, node: ir.Node, turned: dict[tuple[ir.Value, Perm], ir.Value]) -> None:
        """Add a node that can work in the other layout."""
        for value in node.inputs:
            perm = None if value is None else self.layout.get(value)
            if value is None or perm is None or is_identity(perm):
                continue
            move, level = plan(node, perm), self.level[value]
            if move is None:
                continue
            data, foreign = [], {}
            for index in move.data:
                operand = node.inputs[index]
                if operand is None:
                    break
                if operand in self.layout:
                    if self.layout[operand] != perm or self.level[operand] != level:
                        break
                    data.append(index)
                elif (operand, inverse(perm)) in turned:
                    foreign[index] = turned[operand, inverse(perm)]
                else:
                    break
            else:
                move.data = tuple(data)
                self.moves[node] = move
                self.foreign[node] = foreign
                self.needed.update(foreign.values())
                self._label(node, move.perm, level)
                return

    def _label(self, node: ir.Node, perm: Perm, level: int) -> None:
        for output in node.outputs:
            if output.name:
                self.layout[output] = perm
                self.level[output] = level

    # --- the choice ----------------------------------------------------------------------------------

    def choose(self) -> None:
        """Drop the nodes whose move saves no Transpose, from the last to the first."""
        for value in self.layout:
            if value.is_graph_output() or any(not self._absorbs(use.node, use.idx, value) for use in value.uses()):
                self.needed.add(value)
        for node in reversed(list(self.moves)):
            operands = self._operands(node)
            outputs = [output for output in node.outputs if output in self.layout]
            if any(use.node in self.moves for output in outputs for use in output.uses()):
                continue  # what comes after it has moved already
            cost = sum(output in self.needed and not self._is_plain(output) for output in outputs)
            saved = sum(operand not in self.needed for operand in operands)
            saved += sum(len(self._vanishing(output)) for output in outputs)
            if saved <= cost:
                del self.moves[node]
                for output in outputs:
                    del self.layout[output]
                self.needed.update(operands)

    def regions(self) -> list[list[ir.Node]]:
        """Groups of the nodes left that share values, operands first."""
        group: dict[ir.Node, list[ir.Node]] = {}
        by_value: dict[ir.Value, ir.Node] = {}
        for node in self.moves:
            group[node] = [node]
            for value in (*self._operands(node), *node.outputs):
                other = by_value.setdefault(value, node)
                small, large = sorted((group[node], group[other]), key=len)
                if small is not large:
                    large += small
                    group.update((member, large) for member in small)
        order = {node: position for position, node in enumerate(self.moves)}
        distinct = {id(members): members for members in group.values()}
        return [sorted(members, key=order.__getitem__) for members in distinct.values()]

    def gain(self, region: list[ir.Node]) -> int:
        """How many Transposes it saves to move a region."""
        total = sum(source not in self.needed for source in self._sources(region))
        for node in region:
            for output in node.outputs:
                if output in self.layout:
                    total += len(self._vanishing(output))
                    total -= output in self.needed and not self._is_plain(output)
        return total

    def transposes(self, region: list[ir.Node]) -> set[ir.Node]:
        """The Transposes at which a region begins and ends."""
        read = [*self._sources(region), *(value for node in region for value in self.foreign[node].values())]
        found = {producer for value in read if (producer := value.producer()) is not None}
        for node in region:
            found.update(use.node for output in node.outputs for use in output.uses() if is_op(use.node, "Transpose"))
        return found

    def _operands(self, node: ir.Node) -> set[ir.Value]:
        return {value for index in self.moves[node].data if (value := node.inputs[index]) is not None}

    def _sources(self, region: list[ir.Node]) -> dict[ir.Value, None]:
        """Results of Transposes that a region reads."""
        operands = (node.inputs[index] for node in region for index in self.moves[node].data)
        return {value: None for value in operands if value is not None and is_op(value.producer(), "Transpose")}

    def _absorbs(self, node: ir.Node, index: int, value: ir.Value) -> bool:
        """Whether a reader takes the value in the other layout: it moves too, or is a Transpose itself."""
        if self._takes(node, index):
            return True
        turns = is_op(node, "Transpose") and node.graph is self.graph and _perm(node) is not None
        return turns and value.producer() in self.moves

    def _takes(self, node: ir.Node, index: int) -> bool:
        """Whether a use is by a node that moves, and as its data."""
        move = self.moves.get(node)
        return move is not None and index in move.data

    def _vanishing(self, value: ir.Value) -> list[ir.Node]:
        """Transposes of ``value`` that cancel; one at most whose result is a graph output."""
        found: list[ir.Node] = []
        names = 0
        if self._is_plain(value):
            return found
        for use in value.uses():
            node = use.node
            if node not in self.live or not is_op(node, "Transpose"):
                continue
            if _perm(node) == inverse(self.layout[value]):
                names += node.outputs[0].is_graph_output()
                if names <= 1 or not node.outputs[0].is_graph_output():
                    found.append(node)
        return found

    def _is_plain(self, value: ir.Value) -> bool:
        return is_identity(self.layout[value])

    # --- the edit ------------------------------------------------------------------------------------

    def commit(self, region: list[ir.Node]) -> None:
        """Write the nodes of a region anew, with Transposes where a value is needed as it was."""
        before: dict[ir.Value, ir.Value] = {}
        sources = [producer for value in self._sources(region) if (producer := value.producer()) is not None]
        for source in sources:
            operand = source.inputs[0]
            assert operand is not None
            before[source.outputs[0]] = operand
        for node in region:
            self._rewrite(node, before)
        for node in reversed(region):
            self.graph.remove(node, safe=True)
        for source in sources:
            remove_if_unused(source)

    def _rewrite(self, node: ir.Node, before: dict[ir.Value, ir.Value]) -> None:
        graph, move = self.graph, self.moves[node]
        inputs = list(node.inputs)
        for index in move.data:
            operand = inputs[index]
            assert operand is not None
            inputs[index] = before[operand]
        for index, value in self.foreign[node].items():
            inputs[index] = value
        for index, array in move.constants.items():
            inputs += [None] * (index + 1 - len(inputs))
            operand = inputs[index]
            inputs[index] = new_constant(graph, f"{operand.name if operand else node.outputs[0].name}_turned", array)
        attributes = {name: value for name, value in node.attributes.items() if name not in move.attributes}
        outputs = [self._untransposed(output) for output in node.outputs]
        replacement = ir.node(
            node.op_type,
            inputs,
            {**attributes, **move.attributes},
            outputs=outputs,
            name=node.name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        graph.insert_before(node, replacement)
        for old, new in zip(node.outputs, outputs, strict=True):
            if old in self.layout:
                before[old] = new
                self._redirect(old, new, node)

    def _untransposed(self, output: ir.Value) -> ir.Value:
        """The value that takes the place of ``output`` in the other layout."""
        if not output.name:
            return ir.Value(name=output.name)
        perm, shape = self.layout[output], output.shape
        if shape is not None and len(shape) == len(perm):
            shape = ir.Shape([shape[axis] for axis in inverse(perm)])
        return ir.Value(name=free_name(self.graph, f"{output.name}_untransposed"), shape=shape, type=output.type)

    def _redirect(self, old: ir.Value, new: ir.Value, node: ir.Node) -> None:
        """Give the readers of ``old`` what they need, made from ``new``."""
        perm = self.layout[old]
        if self._is_plain(old):
            new.name, old.name = old.name, None
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            return
        vanishing = self._vanishing(old)
        for reader in {use.node: None for use in old.uses()}:
            if is_op(reader, "Transpose") and reader.graph is self.graph:
                q = _perm(reader)
                assert q is not None
                reader.replace_input_with(0, new)
                reader.attributes["perm"] = ir.AttrInt64s("perm", [perm[axis] for axis in q])
                if reader in vanishing:
                    bypass(reader, new)
        if old in self.needed:
            turned = new_node(node, "Transpose", [new], {"perm": perm}, hint=f"{old.name}_transposed")
            turned.shape, turned.type = old.shape, old.type
            turned.metadata_props.update(old.metadata_props)
            turned.name, old.name = old.name, None
            for use in tuple(old.uses()):
                if not self._takes(use.node, use.idx):
                    use.node.replace_input_with(use.idx, turned)
            if old.is_graph_output():
                for position, output in enumerate(self.graph.outputs):
                    if output is old:
                        self.graph.outputs[position] = turned


def _live(graph: ir.Graph) -> set[ir.Node]:
    live: set[ir.Node] = set()
    for node in reversed(graph):
        if any(output.is_graph_output() or _is_read(output, live, graph) for output in node.outputs):
            live.add(node)
    return live


def _is_read(value: ir.Value, live: set[ir.Node], graph: ir.Graph) -> bool:
    for use in value.uses():  # noqa: SIM110 - a generator takes twice as long
        if use.node in live or use.node.graph is not graph:
            return True
    return False


def _perm(node: ir.Node) -> Perm | None:
    """Permutation of a Transpose; None if it is not known."""
    perm = ints_attribute(node, "perm")
    source = node.inputs[0] if node.inputs else None
    if perm is None:
        shape = source.shape if source is not None else None
        return None if shape is None else tuple(reversed(range(len(shape))))
    return perm if sorted(perm) == list(range(len(perm))) else None
