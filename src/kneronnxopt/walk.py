"""The graphs, nodes and attributes of a model, those inside nodes and functions included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["all_attributes", "all_graphs", "all_nodes", "graphs_of", "subgraphs"]

#: Undefined: the first models had no types of attributes.
_MAY_HOLD_GRAPHS = frozenset(
    {onnx.AttributeProto.UNDEFINED, onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS},
)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Graphs that are attributes of a node: branches and bodies."""
    return [graph for attribute in node.attribute for graph in graphs_of(attribute)]


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the main graph, of functions, and of graphs inside those."""
    pending = _outer_nodes(model)
    while pending:
        node = pending.pop()
        yield node
        for graph in subgraphs(node):
            pending.extend(graph.node)


def all_attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Every attribute of the nodes that ``all_nodes`` yields."""
    pending = _outer_nodes(model)
    while pending:
        for attribute in pending.pop().attribute:
            yield attribute
            for graph in graphs_of(attribute):
                pending.extend(graph.node)


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph, and every graph inside a node."""
    yield model.graph
    for attribute in all_attributes(model):
        yield from graphs_of(attribute)


def _outer_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [*model.graph.node, *(node for function in model.functions for node in function.node)]


def graphs_of(attribute: onnx.AttributeProto) -> Sequence[onnx.GraphProto]:
    """Graphs of one attribute."""
    if attribute.type not in _MAY_HOLD_GRAPHS:  # asked of every attribute, several times: one look at it
        return ()
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
