"""Shapes follow a rewrite at once: one node at a time, in the sweep that folds and fuses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from kneronnxopt.passes._base import ANY_OPERATOR, NodePass
from kneronnxopt.passes._graph import constant_tensor
from kneronnxopt.passes.shapes import is_complete, merge_type
from kneronnxopt.skeleton import SMALL_TENSOR_ELEMENTS, UNCHECKED_AXIS

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["InferNode"]

logger = logging.getLogger(__name__)

_SEEN = "kneronnxopt.inferred_from"
#: Their outputs depend on graphs or sequences, which onnx infers for whole models only; or it infers them wrongly.
_LEFT_TO_WHOLE_MODELS = frozenset({"Einsum", "STFT", "If", "Loop", "Scan", "SequenceMap"})


class InferNode(NodePass):
    """x: known shape -> node -> y: unknown shape   becomes   ... -> y: known shape.

    1. Acts where a shape or type of an output is not fully known, and only once for the same inputs.
    2. Leaves control flow, functions and custom operators to the inference on the whole model.
    """

    name = "infer_node"
    op_types = (ANY_OPERATOR,)

    def rewrite(self, node: ir.Node) -> bool:
        """Complete the outputs of one node; a shape that is found counts as a change."""
        outputs = [output for output in node.outputs if output.name]
        if all(is_complete(output) for output in outputs) or node.op_type in _LEFT_TO_WHOLE_MODELS:
            return False
        state = _state(node)
        if state is None or node.meta.get(_SEEN) == state:
            return False
        node.meta[_SEEN] = state
        if node.op_type in UNCHECKED_AXIS:
            return _copy_shape(node)
        inferred = _infer(node)
        changed = False
        for output in outputs:
            type_ = inferred.get(output.name or "")
            if type_ is not None and type_.HasField("tensor_type"):
                changed |= merge_type(output, type_.tensor_type)
        return changed


def _state(node: ir.Node) -> Hashable | None:
    """What the inference depends on; None while an input has no type."""
    state: list[Hashable] = []
    for value in node.inputs:
        if value is None:
            state.append(None)
        elif not isinstance(value.type, ir.TensorType):
            return None
        else:
            state.append((value.dtype, str(value.shape), constant_tensor(value) is not None))
    return tuple(state)


def _copy_shape(node: ir.Node) -> bool:
    source, output = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or any(other.name for other in node.outputs[1:]):
        return False
    output.shape, output.type = source.shape, output.type or source.type
    return True


def _infer(node: ir.Node) -> dict[str, onnx.TypeProto]:
    assert node.graph is not None
    imports = node.graph.opset_imports
    version = imports.get("", imports.get("ai.onnx", 1))
    proto = onnx.helper.make_node(
        node.op_type,
        [(value.name or "") if value is not None else "" for value in node.inputs],
        [output.name or "" for output in node.outputs],
    )
    proto.attribute.extend(ir.serde.serialize_attribute(attribute) for attribute in node.attributes.values())
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None or value.dtype is None:
            continue
        dims = None if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]
        types[value.name] = onnx.helper.make_tensor_type_proto(int(value.dtype), dims)
        tensor = constant_tensor(value)
        if tensor is not None and tensor.size <= SMALL_TENSOR_ELEMENTS and tensor.dtype != ir.DataType.STRING:
            data[value.name] = onnx.numpy_helper.from_array(tensor.numpy(), value.name)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
        return dict(
            onnx.shape_inference.infer_node_outputs(
                schema,
                proto,
                types,
                data,
                opset_imports=[onnx.helper.make_opsetid("", version)],
                ir_version=onnx.IR_VERSION,
            )
        )
    except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, RuntimeError, ValueError) as error:
        logger.debug("no shape for %s '%s': %s", node.op_type, node.name, error)
        return {}
