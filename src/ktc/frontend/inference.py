"""Shapes of all values, in one pass over the operators and without touching weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import checker, defs, helper, numpy_helper, shape_inference

from ktc.frontend.constants import constant_content
from ktc.frontend.graph import MAX_ELEMENTS, element_count
from ktc.frontend.shapes import output_shape, output_shape_by_content

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktc.frontend.graph import Graph, Operator, Value

__all__ = ["CONTROL_FLOW", "infer_values"]

_LOGGER = logging.getLogger(__name__)
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_AXIS_WITHIN_RANK = frozenset({"LayerNormalization", "RMSNormalization", "Split", "Softmax", "LogSoftmax", "TopK"})
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_INFERENCE_ERRORS = (
    shape_inference.InferenceError,
    checker.ValidationError,
    defs.SchemaError,
    RuntimeError,
    KeyError,
    ValueError,
    IndexError,
)
_MAX_PASSED_ELEMENTS = 64


def infer_values(graph: Graph) -> None:
    """Fill in shape, element type, constness and small contents of every value of the graph.

    Operators are visited once, in execution order.  What ONNX's shape inference cannot say keeps the
    shape that the file declares, or stays unknown.
    """
    inference = _Inference(graph)
    for operator in graph.operators:
        constant = _is_constant(operator, graph)
        content = constant_content(operator, graph) if constant else None
        if content is not None:
            _set_content(graph, operator.outputs[0], content)
            continue
        if operator.type == "Constant" and not operator.domain:
            _set_large_constant(graph, operator)
            graph.take_declared(operator.outputs[0])
            continue
        inference.visit(operator)
        for name in operator.outputs:
            if name:
                value = graph.values[name]
                value.constant = constant
                if value.shape is None or not value.elem_type:
                    graph.take_declared(name)


def _is_constant(operator: Operator, graph: Graph) -> bool:
    """Whether the result is known before inference."""
    if operator.type in _SHAPE_ONLY and not operator.domain and operator.outputs:
        return bool(operator.inputs) and graph.shape(operator.inputs[0]) is not None
    if not graph.are_constant(operator.inputs):
        return False
    return not (operator.domain or operator.type in _RANDOM or operator.type in CONTROL_FLOW or not operator.outputs)


def _set_content(graph: Graph, name: str, content: np.ndarray[Any, Any]) -> None:
    value = graph.values[name]
    value.known, value.shape, value.constant = content, content.shape, True
    value.elem_type = helper.np_dtype_to_tensor_dtype(content.dtype)


def _set_large_constant(graph: Graph, operator: Operator) -> None:
    value, tensor = graph.values[operator.outputs[0]], operator.attribute("value")
    value.constant = True
    if isinstance(tensor, onnx.TensorProto):
        value.shape, value.elem_type = tuple(tensor.dims), tensor.data_type


_TypeAndShape = tuple[int, tuple[int, ...] | None]


class _Inference:
    """Shape inference of one graph, whose blocks repeat: what was inferred once is not inferred again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
        self._shapes: dict[tuple[object, ...], tuple[int, ...] | None] = {}
        self._operands: dict[tuple[object, ...], list[_TypeAndShape]] = {}

    def visit(self, operator: Operator) -> None:
        """Set element type and shape of each output that can be told."""
        values = self._graph.values
        shapes = [values[name].shape if name else None for name in operator.inputs]
        key = (operator.kind, len(operator.outputs), *shapes)
        try:
            shape = self._shapes[key]
        except KeyError:
            shape = self._shapes[key] = output_shape(operator, shapes)
        if shape is not None:
            output = values[operator.outputs[0]]
            output.shape, output.elem_type = shape, values[operator.inputs[0]].elem_type or output.elem_type
            return
        for name, (elem_type, given) in self._by_operands(operator):
            value = values[name]
            value.elem_type = elem_type or value.elem_type
            value.shape = given if given is not None else value.shape

    def _by_operands(self, operator: Operator) -> Iterable[tuple[str, _TypeAndShape]]:
        """Element type and shape of outputs that depend on contents, or that only ONNX's own inference tells."""
        key = _operands_key(operator, self._graph)
        known = self._operands.get(key)
        if known is not None:
            return zip(operator.outputs, known, strict=True)
        inferred = _infer_by_content(operator, self._graph) or _infer_with_onnx(operator, self._graph, self._opsets)
        if inferred and inferred.keys() == set(operator.outputs):  # else it may have warned, as each operator has to
            self._operands[key] = [inferred[name] for name in operator.outputs]
        return inferred.items()


def _infer_by_content(operator: Operator, graph: Graph) -> dict[str, _TypeAndShape]:
    if not operator.inputs or not operator.inputs[0]:
        return {}
    data = graph.values[operator.inputs[0]]
    given = [_passed_content(graph.values[name]) if name else None for name in operator.inputs[1:]]
    contents = [None if x is None or x.ndim != 1 or x.dtype.kind != "i" else x.tolist() for x in given]
    shape = output_shape_by_content(operator, data.shape, contents)
    return {} if shape is None else {operator.outputs[0]: (data.elem_type, shape)}


def _passed_content(value: Value) -> np.ndarray[Any, Any] | None:
    """Content of a value that ONNX's inference gets to see."""
    if not value.constant or value.shape is None or element_count(value.shape) > _MAX_PASSED_ELEMENTS:
        return None
    content = value.content
    return None if content is None or content.dtype == object else content


def _operands_key(operator: Operator, graph: Graph) -> tuple[object, ...]:
    """All that ONNX's inference sees of an operator."""
    key: list[object] = [operator.kind, len(operator.outputs)]
    for name in operator.inputs:
        value = graph.values[name] if name else None
        if value is None:
            key.append(None)
            continue
        content = _passed_content(value)
        key.append((value.shape, value.elem_type, None if content is None else content.tobytes()))
    return tuple(key)


def _is_plausible(operator: Operator, graph: Graph) -> bool:
    """Whether attributes that ONNX's inference uses as indices are in range.

    It does not check all of them itself: with onnx 1.23, ``axis`` of LayerNormalization beyond the rank, or
    ``num_outputs`` of Split other than the number of outputs, ends the process.
    """
    shape = graph.shape(operator.inputs[0]) if operator.inputs and operator.inputs[0] else None
    if shape is None:
        return operator.type != "Split" or operator.attribute("num_outputs") in (None, len(operator.outputs))
    rank = len(shape)
    axis, axes = operator.attribute("axis", 0), operator.attribute("axes", ())
    permutation = operator.attribute("perm", ())
    indices = [index for given in (axes, permutation) if isinstance(given, tuple) for index in given]
    bound = rank + len(indices)
    if not isinstance(axis, int) or not -rank - 1 <= axis <= rank:
        return False
    if operator.type in _AXIS_WITHIN_RANK and axis == rank and rank:
        return False
    if any(not isinstance(index, int) or not -bound <= index < bound for index in indices):
        return False
    return operator.type != "Split" or operator.attribute("num_outputs") in (None, len(operator.outputs))


def _infer_with_onnx(
    operator: Operator, graph: Graph, opsets: list[onnx.OperatorSetIdProto]
) -> dict[str, _TypeAndShape]:
    version = graph.opsets.get(operator.domain)
    if version is None or operator.type in CONTROL_FLOW or not defs.has(operator.type, operator.domain):
        return {}
    if not _is_plausible(operator, graph):
        return {}
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for name in filter(None, operator.inputs):
        value = graph.values[name]
        if not value.elem_type:
            return {}
        types[name] = helper.make_tensor_type_proto(value.elem_type, value.shape)
        content = _passed_content(value)
        if content is not None:
            data[name] = numpy_helper.from_array(np.ascontiguousarray(content).reshape(content.shape), name)
    try:
        schema = defs.get_schema(operator.type, version, operator.domain)
        inferred = shape_inference.infer_node_outputs(
            schema, operator.proto, types, data, opset_imports=opsets, ir_version=graph.ir_version
        )
    except _INFERENCE_ERRORS as error:
        _LOGGER.debug("no shape for %s (%s): %s", operator.name, operator.type, error)
        if isinstance(error, shape_inference.InferenceError):
            reason = " ".join(str(error).split())
            graph.warnings.append(f"node {operator.name!r} ({operator.type}) does not fit its inputs: {reason}")
        return {}
    return {name: _static(proto) for name, proto in inferred.items() if name in graph.values}


def _static(proto: onnx.TypeProto) -> _TypeAndShape:
    tensor = proto.tensor_type
    if proto.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape"):
        return tensor.elem_type, None
    dims = [d.dim_value if d.WhichOneof("value") == "dim_value" else -1 for d in tensor.shape.dim]
    if any(extent < 0 for extent in dims) or element_count(tuple(dims)) > MAX_ELEMENTS:
        return tensor.elem_type, None
    return tensor.elem_type, tuple(dims)
