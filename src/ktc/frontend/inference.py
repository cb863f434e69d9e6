"""Shapes of all values, in one pass over the operators and without touching weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import checker, defs, helper, numpy_helper, shape_inference

from ktc.frontend.constants import constant_content
from ktc.frontend.graph import MAX_ELEMENTS, MAX_SHORT, element_count
from ktc.frontend.looks import Contents, Looks
from ktc.frontend.shapes import output_shape, output_shape_by_content

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def infer_values(graph: Graph) -> None:
    """Fill in shape, element type, constness and small contents of every value of the graph.

    Operators are visited once, in execution order.  What ONNX's shape inference cannot say keeps the
    shape that the file declares, or stays unknown.
    """
    _Inference(graph).run()


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
#: Shape and element type of an output, content of a small constant, and the numbers in `Looks` and, for constants,
#: `Contents`.
_Output = tuple[tuple[int, ...] | None, int, "np.ndarray[Any, Any] | None", int, int | None]
#: What an operator makes of its operands: its `Graph.signature`, and its outputs.
_Outcome = tuple[int, list[_Output]]


class _Inference:
    """Inference of one graph, whose blocks repeat: what was inferred once is not inferred again.

    Most outcomes follow from the looks of the operands: shape, element type and constness.  Others (foldings, shapes
    that a constant says) follow from the contents of constants as well, which are read for these alone.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
        self._looks = Looks(graph.values)
        self._contents = Contents(self._looks)
        #: By kind and looks of the operands; None where the contents matter.
        self._by_looks: dict[tuple[int, ...], _Outcome | None] = {}
        self._by_contents: dict[tuple[int, ...], _Outcome] = {}

    def run(self) -> None:
        """Set what can be told of the outputs of all operators; one loop, for it is run through for every node."""
        values, looks, contents = self._graph.values, self._looks, self._contents
        by_looks, by_contents = self._by_looks, self._by_contents
        look_of, content_of = looks.__getitem__, contents.__getitem__
        for operator in self._graph.operators:
            kind, inputs = operator.kind, operator.inputs
            key = (kind, *map(look_of, inputs))
            outcome = by_looks.get(key)
            if outcome is None:
                if key in by_looks:
                    outcome = by_contents.get((kind, *map(content_of, inputs)))
                if outcome is None:
                    self._infer_new(operator, key)
                    continue
            operator.signature, outputs = outcome
            for name, (shape, elem_type, known, look, content) in zip(operator.outputs, outputs, strict=True):
                value = values[name]
                value.shape, value.elem_type = shape, elem_type
                looks[name] = look
                if content is not None:
                    value.constant, value.known = True, known
                    contents[name] = content

    def _infer_new(self, operator: Operator, key: tuple[int, ...]) -> None:
        """Infer, and remember the outcome if it depends on nothing but the operands."""
        graph = self._graph
        given = [graph.values[name] if name else None for name in operator.inputs]
        constant = _is_constant(operator, graph)
        if not constant:  # what the looks tell of most operators
            shape = output_shape(operator, [None if value is None else value.shape for value in given])
            if shape is not None and given[0] is not None and given[0].elem_type and operator.outputs[0]:
                output = graph.values[operator.outputs[0]]
                output.shape, output.elem_type = shape, given[0].elem_type
                self._by_looks[key] = self._outcome(operator, [output], key)
                return
        constants = [value for value in given if value is not None and value.constant]
        if constants:
            self._by_looks[key] = None
        written = [graph.values[name] for name in operator.outputs if name]
        content = constant_content(operator, graph) if constant else None
        if content is not None:
            _set_content(graph, operator.outputs[0], content)
        elif operator.type == "Constant" and not operator.domain:
            _set_large_constant(graph, operator)
        else:
            self._infer(operator)
            for value in written:
                value.constant = constant
        if not written or any(value.shape is None or not value.elem_type for value in written):
            # the file has to say, or there was a warning, as each operator has to have its own
            for value in written if content is None else ():
                graph.take_declared(value.name)
        elif len(written) == len(operator.outputs):
            if not constants:
                self._by_looks[key] = self._outcome(operator, written, key)
            elif not constant or all(element_count(value.shape or ()) <= MAX_SHORT for value in constants):
                exact = (operator.kind, *map(self._contents.__getitem__, operator.inputs))
                self._by_contents[exact] = self._outcome(operator, written, key)

    def _outcome(self, operator: Operator, written: Sequence[Value], key: tuple[int, ...]) -> _Outcome:
        """What has been found out about an operator, for others like it."""
        looks, contents = self._looks, self._contents
        outputs: list[_Output] = [
            (v.shape, v.elem_type, v.known, looks[v.name], contents[v.name] if v.constant else None) for v in written
        ]
        operator.signature = self._graph.signature_number((*key, *[output[3] for output in outputs]))
        return operator.signature, outputs

    def _infer(self, operator: Operator) -> None:
        """Set element type and shape of each output that can be told."""
        graph = self._graph
        shape = output_shape(operator, [graph.values[name].shape if name else None for name in operator.inputs])
        if shape is not None:
            output = graph.values[operator.outputs[0]]
            output.shape, output.elem_type = shape, graph.values[operator.inputs[0]].elem_type
            return
        inferred = _infer_by_content(operator, graph) or _infer_with_onnx(operator, graph, self._opsets)
        for name, (elem_type, given) in inferred.items():
            value = graph.values[name]
            value.elem_type, value.shape = elem_type, given


def _infer_by_content(operator: Operator, graph: Graph) -> dict[str, _TypeAndShape]:
    if not operator.inputs or not operator.inputs[0]:
        return {}
    data = graph.values[operator.inputs[0]]
    given = [_passed_content(graph.values[name]) if name else None for name in operator.inputs[1:]]
    contents = [x.tolist() if x is not None and _is_list(x, operator) else None for x in given]
    shape = output_shape_by_content(operator, data.shape, contents)
    return {} if shape is None else {operator.outputs[0]: (data.elem_type, shape)}


def _is_list(content: np.ndarray[Any, Any], operator: Operator) -> bool:
    """Whether a constant is a list of a type that a rule of `output_shape_by_content` understands."""
    if operator.type == "Resize":
        return content.ndim == 1 and content.dtype in (np.int64, np.float32)
    return content.ndim == 1 and content.dtype.kind == "i"


def _passed_content(value: Value) -> np.ndarray[Any, Any] | None:
    """Content of a value that ONNX's inference gets to see."""
    if not value.constant or value.shape is None or element_count(value.shape) > MAX_SHORT:
        return None
    content = value.content
    return None if content is None or content.dtype == object else content


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
