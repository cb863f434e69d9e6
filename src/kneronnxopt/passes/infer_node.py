"""Shapes follow a rewrite at once: one node at a time, in the sweep that folds and fuses."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from kneronnxopt.passes._base import ANY_OPERATOR, NodePass
from kneronnxopt.passes._graph import constant_tensor, opset_of
from kneronnxopt.passes._slices import is_disputed
from kneronnxopt.passes._writing import node_by_position
from kneronnxopt.passes.shapes import is_complete, merge_type
from kneronnxopt.skeleton import SMALL_TENSOR_ELEMENTS, UNCHECKED_AXIS, sort_squeezed_axes

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = ["InferNode"]

logger = logging.getLogger(__name__)

#: Numbers, symbols, and None for unknown dimensions.
_Dims = tuple[int | str | None, ...]

_SEEN = "kneronnxopt.inferred_from"
#: Their outputs depend on graphs or sequences, which onnx infers for whole models only; or it infers them wrongly.
_LEFT_TO_WHOLE_MODELS = frozenset({"Einsum", "STFT", "If", "Loop", "Scan", "SequenceMap"})


class InferNode(NodePass):
    """x: known shape -> node -> y: unknown shape   becomes   ... -> y: known shape.

    1. Acts where a shape or type of an output is not fully known, and only once for the same inputs.
    2. Leaves control flow, functions and custom operators to the inference on the whole model.
    3. A Slice that goes backwards to INT_MAX keeps what is declared, or gets a rank alone: onnx and onnxruntime
       disagree on its result.
    """

    name = "infer_node"
    op_types = (ANY_OPERATOR,)

    def __init__(self) -> None:
        # Networks repeat their blocks, so most questions come several times in one run.
        self._ask = functools.cache(_infer)

    def rewrite(self, node: ir.Node) -> bool:
        """Complete the outputs of one node; a shape that is found counts as a change."""
        for output in node.outputs:
            if output.name and not is_complete(output):
                break
        else:
            return False
        if node.op_type in _LEFT_TO_WHOLE_MODELS:
            return False
        state = _state(node)
        if state is None or node.meta.get(_SEEN) == state:
            return False
        node.meta[_SEEN] = state
        if node.op_type in UNCHECKED_AXIS:
            return _copy_shape(node)
        if node.op_type == "Slice" and is_disputed(node):
            return _copy_rank(node)
        inferred = self._inferred(node)
        changed = False
        for index, output in enumerate(node.outputs):
            type_ = inferred.get(f"o{index}")
            if output.name and type_ is not None and type_.HasField("tensor_type"):
                changed |= merge_type(output, type_.tensor_type)
        return changed

    def _inferred(self, node: ir.Node) -> Mapping[str, onnx.TypeProto]:
        """Types of the outputs o0, o1 ... of a node."""
        types: list[tuple[str, int, _Dims | None]] = []
        data: list[tuple[str, int, tuple[int, ...], bytes]] = []
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype is None:
                continue
            dims = (
                None
                if value.shape is None
                else tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
            )
            types.append((f"i{index}", int(value.dtype), dims))
            tensor = constant_tensor(value)
            if tensor is not None and tensor.size <= SMALL_TENSOR_ELEMENTS and tensor.dtype != ir.DataType.STRING:
                data.append((f"i{index}", int(tensor.dtype), tuple(tensor.shape.numpy()), tensor.tobytes()))
        content = node_by_position(node).SerializeToString()
        try:
            return self._ask(content, opset_of(node), tuple(types), tuple(data))
        except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, RuntimeError, ValueError) as error:
            logger.debug("no shape for %s '%s': %s", node.op_type, node.name, error)
            return {}


def _state(node: ir.Node) -> Hashable | None:
    """What the inference depends on; None while an input has no type."""
    state: list[Hashable] = []
    for value in node.inputs:
        if value is None:
            state.append(None)
        elif not isinstance(value.type, ir.TensorType):
            return None
        else:
            dims = None if value.shape is None else value.shape.dims
            state.append((value.dtype, dims, constant_tensor(value) is not None))
    return tuple(state)


def _copy_shape(node: ir.Node) -> bool:
    source, output = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or any(other.name for other in node.outputs[1:]):
        return False
    output.shape, output.type = source.shape, output.type or source.type
    return True


def _copy_rank(node: ir.Node) -> bool:
    source, output = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or (output.shape is not None and output.type is not None):
        return False
    output.shape = output.shape or ir.Shape([None] * len(source.shape))
    output.type = output.type or source.type
    return True


def _infer(
    content: bytes,
    opset: int,
    types: tuple[tuple[str, int, _Dims | None], ...],
    data: tuple[tuple[str, int, tuple[int, ...], bytes], ...],
) -> Mapping[str, onnx.TypeProto]:
    """Infer for a serialised node; ``types``: name, element type, shape; ``data``: name, element type, shape, bytes."""
    node = onnx.NodeProto.FromString(content)
    sort_squeezed_axes([node])
    return dict(
        onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, opset, ""),
            node,
            {name: onnx.helper.make_tensor_type_proto(dtype, dims) for name, dtype, dims in types},
            {
                name: onnx.TensorProto(name=name, data_type=dtype, dims=dims, raw_data=content)
                for name, dtype, dims, content in data
            },
            opset_imports=[onnx.helper.make_opsetid("", opset)],
            ir_version=onnx.IR_VERSION,
        )
    )
