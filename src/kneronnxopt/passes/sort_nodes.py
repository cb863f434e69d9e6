"""Nodes stand after those whose results they read."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from kneronnxopt.passes._base import Pass

__all__ = ["SortNodes"]


class SortNodes(Pass):
    """Sort the nodes of the model and of its functions topologically; stable.

    A plain graph that is sorted already, as nearly every one is, costs one look.
    """

    name = "sort_nodes"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Sort where it is needed."""
        if _is_sorted(model.graph) and all(map(_is_sorted, model.functions.values())):
            return ir.passes.PassResult(model, modified=False)
        return common.TopologicalSortPass()(model)


def _is_sorted(graph: ir.Graph | ir.Function) -> bool:
    """Whether the nodes are in order; False as well where nodes have graphs, whose nodes would have to be looked at."""
    seen: set[ir.Node | None] = {None}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.producer() not in seen:
                return False
        for attribute in node.attributes.data.values():
            if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
                return False
        seen.add(node)
    return True
