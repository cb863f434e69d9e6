"""Questions that passes ask of a graph, and the few edits that they all make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "bypass",
    "constant",
    "constant_tensor",
    "dtype_of",
    "float_attribute",
    "free_name",
    "int_attribute",
    "ints_attribute",
    "is_op",
    "new_constant",
    "new_node",
    "nodes_inside",
    "opset_of",
    "producer_for",
    "remove_if_unused",
    "replace_node",
    "share_constant",
    "sole_consumer",
    "static_shape",
    "string_attribute",
]


# --- questions ---------------------------------------------------------------------------------------


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` is one of these operators of the standard ONNX domain."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Tensor of an initializer that no caller can override; None otherwise. Reads no data.

    Before IR version 4 every initializer had to be listed as an input, so there it still counts as constant,
    as onnxruntime has it.
    """
    if value is None or not value.is_initializer():
        return None
    if value.is_graph_input() and (value.graph is None or value.graph.meta.get("kneronnxopt.ir_version", 4) >= 4):
        return None
    return value.const_value


def constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Data of a constant value; None if ``value`` is not constant."""
    tensor = constant_tensor(value)
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Shape of a value if every dimension is a known number; None otherwise."""
    if value is None or value.shape is None:
        return None
    dims = value.shape.dims
    for dim in dims:  # asked some ten times a node: neither the shape's own methods nor generators
        if not isinstance(dim, int) or dim < 0:
            return None
    return cast("tuple[int, ...]", dims)


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a tensor value."""
    return None if value is None else value.dtype


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node of the same graph that reads ``value``, once; None if it is read otherwise or is an output."""
    uses = tuple(value.uses())
    if value.is_graph_output() or len(uses) != 1:
        return None
    node = uses[0].node
    return node if node.graph is value.graph else None


def producer_for(value: ir.Value | None, reader: ir.Node, *op_types: str) -> ir.Node | None:
    """The node of one of these types that computes ``value`` for ``reader`` alone; None if there is none."""
    node = value.producer() if value is not None else None
    if value is None or node is None or not is_op(node, *op_types) or sole_consumer(value) is not reader:
        return None
    return node


def opset_of(node: ir.Node) -> int:
    """Version of the standard operator set in force for ``node``."""
    assert node.graph is not None
    imports = node.graph.opset_imports
    version = imports.get("")
    return imports.get("ai.onnx", 1) if version is None else version


def _attribute(node: ir.Node, name: str) -> ir.Attr | None:
    # The dict itself: get() of the mapping around it raises and catches a KeyError for each attribute that is absent.
    return node.attributes.data.get(name)


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Integer attribute, or its default."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """Float attribute, or its default."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_float()


def string_attribute(node: ir.Node, name: str, default: str) -> str:
    """String attribute, or its default."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_string()


def ints_attribute(node: ir.Node, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """Attribute that is a list of integers, or its default."""
    attribute = _attribute(node, name)
    if attribute is None:
        return None if default is None else tuple(default)
    return tuple(attribute.as_ints())


# --- edits -------------------------------------------------------------------------------------------


def new_constant(graph: ir.Graph, hint: str, array: np.ndarray[Any, Any]) -> ir.Value:
    """Register ``array`` as an initializer under a name that starts with ``hint`` and is not taken."""
    name = free_name(graph, hint)
    tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)  # ir.tensor() is ten times slower
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def share_constant(graph: ir.Graph, hint: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Register an initializer with the data of ``tensor``, which are not copied, under a name of its own."""
    name = free_name(graph, hint)
    shape = ir.Shape(tensor.shape.numpy())
    view = ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=shape, name=name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=view)
    graph.register_initializer(value)
    return value


def new_node(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    hint: str,
    shape: Sequence[int | None] | None = None,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert a node with one new output before ``before``; return the output."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    name = free_name(graph, hint)
    output = ir.Value(
        name=name,
        shape=None if shape is None else ir.Shape(shape),
        type=None if dtype is None else ir.TensorType(dtype),
    )
    node = ir.node(op_type, inputs, attributes, outputs=[output], name=name)
    graph.insert_before(before, node)
    return output


def replace_node(
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
) -> ir.Node:
    """Put a new node in place of ``node``; its first output keeps name, shape, type and users."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = node.outputs[0]
    output = ir.Value(name=old.name, shape=old.shape, type=old.type, metadata_props=dict(old.metadata_props))
    replacement = ir.node(
        op_type,
        inputs,
        attributes,
        outputs=[output],
        name=node.name,
        doc_string=node.doc_string,
        metadata_props=dict(node.metadata_props),
    )
    graph.insert_before(node, replacement)
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return replacement


def bypass(node: ir.Node, value: ir.Value) -> bool:
    """Let every user of ``node``'s first output read ``value`` instead, and remove ``node``.

    A graph output keeps its name: its new producer's value takes it. Where that cannot be (``value`` is
    itself an input, an initializer or an output), nothing changes and False is returned.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = node.outputs[0]
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    if old.is_graph_output():
        producer = value.producer()
        if value.is_graph_output() or producer is None or producer.graph is not graph:
            return False
        name = old.name
        old.name = None
        value.name = name
        value.shape, value.type = old.shape, old.type
    elif value.shape is None:
        value.shape = old.shape
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True


def remove_if_unused(node: ir.Node) -> bool:
    """Remove ``node`` if nothing reads its outputs."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return False
    assert node.graph is not None
    node.graph.remove(node, safe=True)
    return True


def free_name(graph: ir.Graph, hint: str) -> str:
    """Reserve a name that starts with ``hint`` and that nothing in the graph has."""
    taken = graph.meta.get("kneronnxopt.names")
    if taken is None:
        taken = {value.name for value in graph.inputs} | set(graph.initializers)
        for node in graph:
            taken.add(node.name)
            for value in (*node.inputs, *node.outputs):
                if value is not None:
                    taken.add(value.name)
            for inner in nodes_inside(node):
                taken.update(value.name for value in (*inner.inputs, *inner.outputs) if value is not None)
                taken.add(inner.name)
                if inner.graph is not None:
                    taken.update(value.name for value in inner.graph.inputs)
        graph.meta["kneronnxopt.names"] = taken
    name, number = hint, 0
    while name in taken:
        number += 1
        name = f"{hint}_{number}"
    taken.add(name)
    return name


def nodes_inside(node: ir.Node) -> Iterator[ir.Node]:
    """Nodes of the graphs that a node has, and of graphs inside these."""
    for attribute in node.attributes.data.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from ir.traversal.RecursiveGraphIterator(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from ir.traversal.RecursiveGraphIterator(graph)
