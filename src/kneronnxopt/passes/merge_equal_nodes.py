"""Nodes that compute the same from the same inputs become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from kneronnxopt.passes._base import Pass
from kneronnxopt.passes._graph import constant_tensor

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["MergeEqualNodes"]

#: Constants up to this many elements count as equal if their contents are.
_SMALL = 64
#: Each of these draws numbers of its own.
_RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


class MergeEqualNodes(Pass):
    """x -> Relu -> a, x -> Relu -> b   becomes   x -> Relu -> a, read by the users of both.

    1. Same operator, domain and attributes (all of them, as they stand: one that is spelt out differs from a
       default), same inputs in the same places, missing ones included, and the same outputs in use.
    2. Small constants are the same if type, shape and bytes are.
    3. Random operators, nodes with subgraphs, nodes without inputs and calls of functions stay apart, as does a
       node whose output is a graph output.
    """

    name = "merge_equal_nodes"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge in one sweep over the main graph, in topological order."""
        firsts: dict[Hashable, ir.Node] = {}
        constants: dict[ir.Value, Hashable] = {}
        count = 0
        for node in model.graph:
            key = None if node.op_identifier() in model.functions else _key(node, constants)
            if key is None:
                continue
            first = firsts.setdefault(key, node)
            if first is node or any(output.is_graph_output() for output in node.outputs):
                continue
            for old, new in zip(node.outputs, first.outputs, strict=True):
                old.replace_all_uses_with(new)
            model.graph.remove(node, safe=True)
            count += 1
        return ir.passes.PassResult(model, modified=bool(count))


def _key(node: ir.Node, constants: dict[ir.Value, Hashable]) -> Hashable | None:
    if not node.inputs or node.op_type in _RANDOM:
        return None
    attributes: list[Hashable] = []
    given = node.attributes.data
    for name in sorted(given):
        attribute = given[name]
        if attribute.is_ref():
            return None
        value = attribute.value
        if attribute.type in (ir.AttributeType.FLOATS, ir.AttributeType.INTS, ir.AttributeType.STRINGS):
            value = tuple(value)
        elif attribute.type not in (ir.AttributeType.FLOAT, ir.AttributeType.INT, ir.AttributeType.STRING):
            return None
        attributes.append((name, attribute.type, value))
    inputs = tuple(_identity(value, constants) for value in node.inputs)
    used = tuple(bool(output.name) for output in node.outputs)
    return node.domain, node.op_type, node.overload, inputs, tuple(attributes), used


def _identity(value: ir.Value | None, constants: dict[ir.Value, Hashable]) -> Hashable:
    """What makes a value the same as another: itself, or the contents of a small constant."""
    if value is None or not value.is_initializer():
        return value
    if value not in constants:
        tensor = constant_tensor(value)
        if tensor is None or tensor.size > _SMALL or tensor.dtype == ir.DataType.STRING:
            constants[value] = value
        else:
            constants[value] = (tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes())
    return constants[value]
