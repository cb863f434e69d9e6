"""What nothing reads is removed: nodes, initializers, optional outputs."""

from __future__ import annotations

import functools

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from kneronnxopt.passes._base import Pass

__all__ = ["RemoveUnused"]

_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic
_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


class RemoveUnused(Pass):
    """Remove nodes and initializers that no output needs, and names of optional outputs that nothing reads.

    The work is onnx-ir's. It asks onnx for the schema of each node, which takes longer than all the rest, so a graph
    without anything for it but dead nodes and initializers, as most are, is dealt with here.
    """

    name = "remove_unused"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Remove everything that is not needed."""
        graph = model.graph
        opset = graph.opset_imports.get("")
        if model.functions or any(_needs_a_closer_look(node, opset) for node in graph):
            return common.RemoveUnusedNodesPass()(model)
        count = 0
        for node in reversed(graph):
            for output in node.outputs:
                if output.uses() or output.is_graph_output():
                    break
            else:
                graph.remove(node, safe=True)
                count += 1
        for name, value in list(graph.initializers.items()):
            if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                del graph.initializers[name]
                count += 1
        return ir.passes.PassResult(model, modified=bool(count))


def _needs_a_closer_look(node: ir.Node, opset: int | None) -> bool:
    """Whether a node has graphs, missing inputs at its end, or may have outputs that can be left out."""
    for attribute in node.attributes.data.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            return True
    if node.inputs and node.inputs[-1] is None:
        return True
    if node.op_type == "BatchNormalization" and "training_mode" in node.attributes.data:
        return True
    return (
        len(node.outputs) > 1 and opset is not None and not node.domain and _has_optional_outputs(node.op_type, opset)
    )


@functools.cache
def _has_optional_outputs(op_type: str, opset: int) -> bool:
    try:
        outputs = onnx.defs.get_schema(op_type, opset, "").outputs
    except onnx.defs.SchemaError:
        return False
    options = [output.option for output in outputs]
    return _OPTIONAL in options and _VARIADIC not in options
