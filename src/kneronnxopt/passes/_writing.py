"""Write a model from the form that passes edit, as ``onnx_ir.to_proto`` does, in less time.

What nearly every model consists of is written here: static shapes, nodes, attributes of numbers and strings.
Whatever is not plain goes to onnx-ir.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["node_by_position", "to_proto"]

#: Fields of attributes whose value can be stored as it is.
_FIELDS = {
    ir.AttributeType.INT: "i",
    ir.AttributeType.INTS: "ints",
    ir.AttributeType.FLOAT: "f",
    ir.AttributeType.FLOATS: "floats",
}


def to_proto(model: ir.Model, *, annotated: bool = False) -> onnx.ModelProto:
    """Write out a model.

    Parameters
    ----------
    model : onnx_ir.Model
        Is not changed.
    annotated : bool
        Whether it was read from a model with quantization annotations.

    Returns
    -------
    onnx.ModelProto
        The same as ``onnx_ir.to_proto(model)``.
    """
    if annotated or model.functions or model.device_configurations:
        return ir.to_proto(model)
    graph = model.graph
    head = ir.Graph(
        (),
        (),
        nodes=(),
        name=graph.name,
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        metadata_props=graph.metadata_props,
    )
    proto = ir.to_proto(
        ir.Model(
            head,
            ir_version=model.ir_version,
            producer_name=model.producer_name,
            producer_version=model.producer_version,
            domain=model.domain,
            model_version=model.model_version,
            doc_string=model.doc_string,
            metadata_props=model.metadata_props,
        )
    )
    _GraphWriter(proto.graph, model.ir_version).write(graph)
    return proto


def node_by_position(node: ir.Node) -> onnx.NodeProto:
    """Write a node alone, its inputs as i0, i1 ... and its outputs as o0, o1 ...; missing ones keep an empty name.

    Equal messages mean equal computations, wherever the nodes are.
    """
    proto = onnx.NodeProto(
        op_type=node.op_type,
        input=["" if value is None else f"i{index}" for index, value in enumerate(node.inputs)],
        output=[f"o{index}" if value.name else "" for index, value in enumerate(node.outputs)],
    )
    for attribute in node.attributes.values():
        _write_attribute(proto, attribute)
    return proto


class _GraphWriter:
    """Fills a message with the inputs, outputs, initializers and nodes of a graph."""

    def __init__(self, proto: onnx.GraphProto, ir_version: int) -> None:
        self.proto = proto
        self.ir_version = ir_version
        self.types: dict[Hashable, onnx.TypeProto] = {}

    def write(self, graph: ir.Graph) -> None:
        """Write everything but the graph's own name and descriptions."""
        proto = self.proto
        inputs = set(graph.inputs)
        for value in graph.inputs:
            self._value(proto.input, value)
        for value in graph.initializers.values():
            if value not in inputs:
                self._describe(value)
            if value.const_value is not None:
                value.const_value.name = value.name
                ir.serde.serialize_tensor_into(proto.initializer.add(), value.const_value)
        for node in graph:
            self._node(node)
            for output in node.outputs:
                if not output.is_graph_output():
                    self._describe(output)
        for value in graph.outputs:
            self._value(proto.output, value)

    def _describe(self, value: ir.Value) -> None:
        """Write type and shape of a value of the graph, where anything is known."""
        known = value.shape is not None or value.type is not None or value.metadata_props or value.doc_string
        if value.name and known:
            self._value(self.proto.value_info, value)

    def _value(self, target: Any, value: ir.Value) -> None:
        type_ = None if value.metadata_props or value.doc_string else self._type(value)
        if type_ is None:
            ir.serde.serialize_value_into(target.add(), value)
        else:
            target.add(name=value.name, type=type_)

    def _type(self, value: ir.Value) -> onnx.TypeProto | None:
        """The one message for all values of an element type and static shape; None for any other kind of value."""
        type_, shape = value.type, value.shape
        if not isinstance(type_, ir.TensorType) or type_.denotation or shape is None:
            return None
        dims = shape.dims
        if any(map(shape.get_denotation, range(len(dims)))):
            return None
        key = type_.dtype, dims
        found = self.types.get(key)
        if found is None and shape.is_static():
            found = self.types[key] = onnx.TypeProto()
            found.tensor_type.elem_type = type_.dtype.value
            found.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=dim) for dim in shape.numpy())
            found.tensor_type.shape.SetInParent()  # a scalar's shape is empty, not absent
        return found

    def _node(self, node: ir.Node) -> None:
        proto = self.proto.node
        if node.doc_string or node.metadata_props or node.overload or node.device_configurations:
            ir.serde.serialize_node_into(proto.add(), node, model_ir_version=self.ir_version)
            return
        outputs = [output.name for output in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        written = proto.add(
            op_type=node.op_type,
            input=["" if value is None else value.name for value in node.inputs],
            output=outputs,
        )
        if node.domain:
            written.domain = node.domain
        if node.name:
            written.name = node.name
        for attribute in node.attributes.values():
            _write_attribute(written, attribute)


def _write_attribute(node: onnx.NodeProto, attribute: ir.Attr) -> None:
    kind, value = attribute.type, attribute.value
    if attribute.is_ref():
        ir.serde.serialize_reference_attribute_into(node.attribute.add(), attribute)
    elif attribute.doc_string:
        ir.serde.serialize_attribute_into(node.attribute.add(), attribute)
    elif kind in _FIELDS:
        node.attribute.add(name=attribute.name, type=kind.value, **{_FIELDS[kind]: value})
    elif kind == ir.AttributeType.STRING and isinstance(value, str):
        node.attribute.add(name=attribute.name, type=kind.value, s=value.encode())
    else:
        ir.serde.serialize_attribute_into(node.attribute.add(), attribute)
