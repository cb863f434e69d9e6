"""Tiny models for tests: the graph as text, weights as arrays."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser

if TYPE_CHECKING:
    from numpy.typing import NDArray


def model(graph: str, opset: int = 17, ir_version: int = 8, **weights: NDArray[Any] | list[int]) -> onnx.ModelProto:
    """Parse ``agraph (float[1,3] x) => (float[1,3] y) { ... }`` and add weights as initializers."""
    parsed = onnx.parser.parse_graph(graph)
    for name, array in weights.items():
        array = np.array(array, dtype=np.int64) if isinstance(array, list) else np.asarray(array)
        parsed.initializer.append(onnx.numpy_helper.from_array(array, name))
    result = onnx.helper.make_model(parsed, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(result)
    return result


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs in the main graph."""
    return dict(collections.Counter(node.op_type for node in model.graph.node))


def weight(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    """Random float32 weights."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def interface(model: onnx.ModelProto) -> list[tuple[str, bytes]]:
    """Inputs and outputs: names, types and shapes, in order."""
    values = (*model.graph.input, *model.graph.output)
    return [(value.name, value.type.SerializeToString(deterministic=True)) for value in values]


def refines(new: onnx.ModelProto, old: onnx.ModelProto) -> bool:
    """Whether inputs and outputs are the same, except that outputs may have numbers where they had symbols."""
    if interface(new)[: len(new.graph.input)] != interface(old)[: len(old.graph.input)]:
        return False
    pairs = list(zip(new.graph.output, old.graph.output, strict=True))
    return all(
        a.name == b.name
        and a.type.tensor_type.elem_type == b.type.tensor_type.elem_type
        and all(
            x == y or not y.HasField("dim_value")
            for x, y in zip(a.type.tensor_type.shape.dim, b.type.tensor_type.shape.dim, strict=True)
        )
        for a, b in pairs
    )


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Declared shapes of all values but initializers."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim
        )
        for value in values
    }
