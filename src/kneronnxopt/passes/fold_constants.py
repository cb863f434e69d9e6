"""Nodes whose inputs are constants are computed now, within bounds."""

from __future__ import annotations

import functools
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import constant, constant_tensor, int_attribute, static_shape
from kneronnxopt.passes._slices import is_disputed
from kneronnxopt.passes._writing import node_by_position

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

__all__ = ["FoldConstants", "FoldShape", "replace_by_constants"]

logger = logging.getLogger(__name__)

#: Deterministic operators whose work is bounded by the sizes of inputs and output. No loop, no random
#: number, no string, no sequence; nothing whose result depends on the execution provider.
_FOLDABLE = (
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "ScatterElements",
    "ScatterND",
    "Sigmoid",
    "Sign",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
)
#: Those of which the shape of the output says all.
_RESHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
#: Results up to this size are always worth a fold; larger ones must not be larger than what they replace.
_ALWAYS_BYTES = 4096
#: A fold never makes a tensor above this size, whatever it replaces.
_MAX_BYTES = 2**31


class FoldShape(NodePass):
    """x: static shape -> Shape | Size -> y   becomes   initializer y. Shape honours ``start`` and ``end``."""

    name = "fold_shape"
    op_types = ("Shape", "Size")

    def rewrite(self, node: ir.Node) -> bool:
        """Fold one Shape or Size."""
        shape = static_shape(node.inputs[0])
        if shape is None:
            return False
        if node.op_type == "Size":
            result = np.array(math.prod(shape), dtype=np.int64)
        else:
            start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(shape))
            result = np.array(shape[slice(start, end)], dtype=np.int64)
        return replace_by_constants(node, [result])


class FoldConstants(NodePass):
    """constants -> node -> y   becomes   initializer y.

    1. Only operators of a fixed list, which are deterministic and whose cost their sizes bound.
    2. Every input is constant, and not an input that the caller may override.
    3. The size of every output is known beforehand. Results above 4 KiB must not be larger than the constants
       that they replace, so Tile, Expand, Range and ConstantOfShape never blow the file up.
    4. A result that is a graph output stays a node.
    5. What the standard leaves open stays: integer division by zero or of the smallest number by -1, a reduction
       over NaN or over nothing, a cast to 4 bits; a Slice that goes backwards to INT_MAX. Runtimes differ there.
    """

    name = "fold_constants"
    op_types = _FOLDABLE

    def rewrite(self, node: ir.Node) -> bool:
        """Fold one node."""
        if not node.inputs or any(value is not None and constant_tensor(value) is None for value in node.inputs):
            return False
        if any(output.is_graph_output() for output in node.outputs) or not self._is_worth_it(node):
            return False
        arrays = [constant(value) for value in node.inputs]
        if any(array is None and value is not None for array, value in zip(arrays, node.inputs, strict=True)):
            return False
        if not _is_defined(node, arrays):
            return False
        results = _evaluate(node, arrays)
        return results is not None and replace_by_constants(node, results)

    @staticmethod
    def _is_worth_it(node: ir.Node) -> bool:
        size = 0
        for output in node.outputs:
            shape, dtype = static_shape(output), output.dtype
            if shape is None or dtype is None or dtype == ir.DataType.STRING:
                return False
            size += math.ceil(math.prod(shape) * dtype.itemsize)
        replaced = sum(
            tensor.nbytes
            for value in set(node.inputs)
            if value is not None and len(value.uses()) == 1 and (tensor := constant_tensor(value)) is not None
        )
        return size <= _MAX_BYTES and (size <= _ALWAYS_BYTES or size <= replaced)


def _is_defined(node: ir.Node, arrays: list[np.ndarray[Any, Any] | None]) -> bool:
    """Whether every runtime has to compute the same result."""
    first, second = (*arrays, None, None)[:2]
    if node.op_type == "Slice" and is_disputed(node):
        return False
    if node.op_type in ("Div", "Mod") and first is not None and second is not None and first.dtype.kind in "iu":
        smallest = np.iinfo(first.dtype).min if first.dtype.kind == "i" else None
        return not (second == 0).any() and not ((second == -1).any() and (first == smallest).any())
    if node.op_type.startswith("Reduce") and first is not None:
        return first.size > 0 and not (first.dtype.kind == "f" and np.isnan(first).any())
    return all(output.dtype is None or output.dtype.itemsize >= 1 for output in node.outputs)


def _evaluate(node: ir.Node, arrays: list[np.ndarray[Any, Any] | None]) -> list[np.ndarray[Any, Any]] | None:
    """Run one node in onnx's reference evaluator; None if it refuses or returns another type or shape."""
    assert node.graph is not None
    if node.op_type in _RESHAPING:
        return _reshaped(node, arrays[0])
    proto = node_by_position(node)
    feeds = {name: array for name, array in zip(proto.input, arrays, strict=True) if name}
    try:
        evaluator = _evaluator(proto.SerializeToString(), node.graph.opset_imports.get("", 1))
        with np.errstate(all="ignore"):
            results = [np.asarray(result) for result in evaluator.run(None, feeds)]
    except Exception as error:  # noqa: BLE001 - whatever a library finds wrong, the node simply stays
        logger.info("%s '%s' is not folded: %s", node.op_type, node.name, error)
        return None
    for result, output in zip(results, node.outputs, strict=True):
        if result.shape != static_shape(output) or ir.DataType.from_numpy(result.dtype) != output.dtype:
            return None
    return results


def _reshaped(node: ir.Node, array: np.ndarray[Any, Any] | None) -> list[np.ndarray[Any, Any]] | None:
    """The same elements in the shape of the output; None if there is another number, or of another type."""
    shape = static_shape(node.outputs[0])
    if array is None or shape is None or array.size != math.prod(shape):
        return None
    same = ir.DataType.from_numpy(array.dtype) == node.outputs[0].dtype
    return [array.reshape(shape)] if same else None


@functools.lru_cache(maxsize=256)  # to make an evaluator takes longer than to run it on a small shape
def _evaluator(content: bytes, opset: int) -> ReferenceEvaluator:
    """Evaluator of a serialised node."""
    from onnx.reference import ReferenceEvaluator

    node = onnx.NodeProto.FromString(content)
    undefined = onnx.TensorProto.UNDEFINED
    graph = onnx.helper.make_graph(
        [node],
        "fold",
        [onnx.helper.make_tensor_value_info(name, undefined, None) for name in node.input if name],
        [onnx.helper.make_tensor_value_info(name, undefined, None) for name in node.output],
    )
    return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)]))


def replace_by_constants(node: ir.Node, arrays: list[np.ndarray[Any, Any]]) -> bool:
    """Put initializers in place of a node's outputs; a graph output stays, and False is returned."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if any(output.is_graph_output() or output.name is None for output in node.outputs):
        return False
    values = []
    for old, array in zip(node.outputs, arrays, strict=True):
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=old.name)
        value = ir.Value(
            name=old.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        old.replace_all_uses_with(value)
        values.append(value)
    graph.remove(node, safe=True)
    for value in values:
        graph.register_initializer(value)
    return True
