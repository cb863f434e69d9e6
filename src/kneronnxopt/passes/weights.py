"""How weights are stored: half precision, and sharing."""

from __future__ import annotations

import logging

import onnx_ir as ir

from kneronnxopt.passes._base import Pass
from kneronnxopt.passes._graph import constant_tensor, int_attribute, is_op, share_constant

__all__ = ["ConvertFloat16", "DuplicateSharedWeights"]

logger = logging.getLogger(__name__)

_HALF, _SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
#: Attributes that name an element type.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type", "softmax_precision")
#: Operators whose operands all play the same role.
_ORDER_FREE = ("Add", "And", "Concat", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor")
_MAX_COPIED_BYTES = 2**30


class ConvertFloat16(Pass):
    """float16 becomes float32: weights, constants, values between, Casts, and the model's inputs and outputs.

    Subgraphs are converted with the main graph. A model with local functions is left alone: their bodies have
    no types of their own to convert.
    """

    name = "convert_f16"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert everything, or nothing."""
        if model.functions:
            return ir.passes.PassResult(model, modified=False)
        modified = False
        for graph in model.graphs():
            for value in (*graph.inputs, *graph.initializers.values()):
                modified |= _widen_value(value)
            for node in graph:
                for output in node.outputs:
                    modified |= _widen_value(output)
                modified |= _widen_attributes(node)
        return ir.passes.PassResult(model, modified=modified)


class DuplicateSharedWeights(Pass):
    """One initializer, several users   becomes   one copy for each user, or for each way of using it.

    Level 1: users share a copy if they are the same operator and read it as the same input with the same
    transposition; otherwise each way gets its own. Level 2: every user has its own.
    Graph inputs and outputs, and values that a subgraph reads, are left alone.

    Parameters
    ----------
    level : {1, 2}
        How eagerly to copy.
    """

    name = "duplicate_shared_weights"

    def __init__(self, level: int) -> None:
        self.level = level

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy what has to be copied."""
        graph, modified, added = model.graph, False, 0
        for value in list(graph.initializers.values()):
            tensor = constant_tensor(value)
            uses = tuple(value.uses())
            if tensor is None or len(uses) < 2 or value.is_graph_output() or tensor.dtype == ir.DataType.STRING:
                continue
            if any(use.node.graph is not graph for use in uses):
                continue
            groups: dict[object, list[tuple[ir.Node, int]]] = {}
            for number, use in enumerate(uses):
                key = number if self.level >= 2 else _role(use.node, use.idx)
                groups.setdefault(key, []).append((use.node, use.idx))
            for members in list(groups.values())[1:]:
                added += tensor.nbytes
                if added > _MAX_COPIED_BYTES:
                    logger.warning("weight '%s' stays shared: the copies would take over 1 GiB", value.name)
                    break
                copy = share_constant(graph, f"{value.name}_copy", tensor)
                for node, index in members:
                    node.replace_input_with(index, copy)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _role(node: ir.Node, index: int) -> tuple[object, ...]:
    if node.op_type in _ORDER_FREE:
        index = 0
    transposed = is_op(node, "Gemm") and int_attribute(node, "transB" if index == 1 else "transA", 0)
    return node.domain, node.op_type, index, bool(transposed)


def _widen_value(value: ir.Value) -> bool:
    modified = False
    if value.const_value is not None and value.const_value.dtype == _HALF:
        value.const_value = ir.tensor(value.const_value.numpy().astype("float32"), name=value.name)
        modified = True
    widened = _widen_type(value.type)
    if widened is not None:
        value.type = widened
        modified = True
    return modified


def _widen_type(type_: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    """The float32 form of a type, or None if it holds no float16."""
    if isinstance(type_, ir.TensorType):
        return ir.TensorType(_SINGLE) if type_.dtype == _HALF else None
    if isinstance(type_, ir.SequenceType | ir.OptionalType):
        inner = _widen_type(type_.elem_type)
        return None if inner is None else type(type_)(inner)
    return None


def _widen_attributes(node: ir.Node) -> bool:
    modified = False
    for name, attribute in list(node.attributes.data.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == _HALF:
            tensor = attribute.value  # as_tensor() asks isinstance of a protocol, which costs more than the rest
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(tensor.numpy().astype("float32"), name=tensor.name))
            modified = True
        elif (
            name in _TYPE_ATTRIBUTES
            and attribute.type == ir.AttributeType.INT
            and attribute.as_int() == _HALF
            and node.domain in ("", "ai.onnx")
        ):
            node.attributes[name] = ir.AttrInt64(name, int(_SINGLE))
            modified = True
    return modified
