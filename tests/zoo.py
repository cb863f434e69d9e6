"""Real network graphs for tests: kept without weights in `data/zoo`, filled with reproducible ones on demand.

    model = zoo.materialize("mobilenet_v2_224")
    inputs = zoo.random_inputs(model)

A tensor without data is filled by the first of these that applies:

1. The table in `metadata_props["zoo_fill"]` names it, with
   a string: the exact float32 values, zlib and base64 (masks, slopes, states);
   a number: the standard deviation of a normal distribution around zero;
   a pair: mean and standard deviation.
2. It is the scale or the variance of a normalisation, and must be positive: uniform in 0.8 .. 1.2.
3. Anything else (biases, means): normal around zero, standard deviation 0.05.

The generator is seeded by the tensor's name, so that a tensor keeps its values whatever stands around it.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ZOO_NAMES", "materialize", "random_inputs", "skeleton"]

_FOLDER = Path(__file__).parent / "data" / "zoo"
_FILL_TABLE = "zoo_fill"
_POSITIVE_INPUTS = {"BatchNormalization": (1, 4), "LayerNormalization": (1,)}

ZOO_NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.onnx")))


def skeleton(name: str) -> onnx.ModelProto:
    """Return the network `name` as it is in the file: large float tensors have dims and no data."""
    if name not in ZOO_NAMES:
        raise KeyError(f"no network {name!r} in the zoo; there are {', '.join(ZOO_NAMES)}")
    return onnx.load(_FOLDER / f"{name}.onnx")


def materialize(name: str) -> onnx.ModelProto:
    """Return the network `name` with weights: the same bits on every call."""
    model = skeleton(name)
    table = _take_fill_table(model)
    positive = _positive_tensors(model.graph)
    for tensor_name, tensor in _tensors(model.graph):
        if _lacks_data(tensor):
            is_positive = tensor_name in positive
            values = _values(tensor_name, math.prod(tensor.dims), table.get(tensor_name), is_positive)
            tensor.raw_data = values.astype("<f4").tobytes()
    return model


def random_inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Return one random array for each graph input that is not an initializer.

    Floats are standard normal, integers are in 0 .. 99, booleans are either. Inputs whose name contains
    "mask" or "type" (segment ids) hold 0 and 1; a mask begins with 1, for a network that attends to nothing
    at all divides by zero. A dimension without a number counts as 1.
    """
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor_type = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in tensor_type.shape.dim]
        inputs[value.name] = _random_array(rng, value.name.lower(), dtype, shape)
    return inputs


def _random_array(rng: np.random.Generator, name: str, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    is_mask = "mask" in name
    if is_mask or "type" in name or dtype == np.bool_:
        array = np.asarray(rng.integers(0, 2, shape), dtype)
        if is_mask and shape:
            array[..., :1] = 1
        return array
    if np.issubdtype(dtype, np.integer):
        return np.asarray(rng.integers(0, 100, shape), dtype)
    return np.asarray(rng.standard_normal(shape), dtype)


def _take_fill_table(model: onnx.ModelProto) -> dict[str, str | float | list[float]]:
    """Remove the fill table from the model's metadata and return it."""
    for index, entry in enumerate(model.metadata_props):
        if entry.key == _FILL_TABLE:
            table = json.loads(zlib.decompress(base64.b64decode(entry.value)))
            del model.metadata_props[index]
            return table
    return {}


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield the initializers and the tensors of Constant nodes, each with the name of its value."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _lacks_data(tensor: TensorProto) -> bool:
    is_empty = not tensor.raw_data and not tensor.float_data
    return tensor.data_type == TensorProto.FLOAT and is_empty and math.prod(tensor.dims) > 0


def _positive_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of scales and variances, also of those that reach the node through an Identity."""
    positive = {
        node.input[index]
        for node in graph.node
        for index in _POSITIVE_INPUTS.get(node.op_type, ())
        if index < len(node.input)
    }
    for node in reversed(graph.node):
        if node.op_type == "Identity" and node.output[0] in positive:
            positive.add(node.input[0])
    return positive


def _values(name: str, size: int, fill: str | float | list[float] | None, positive: bool) -> np.ndarray:
    if isinstance(fill, str):
        return np.frombuffer(zlib.decompress(base64.b64decode(fill)), dtype="<f4")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if fill is None and positive:
        return rng.uniform(0.8, 1.2, size)
    mean, std = fill if isinstance(fill, list) else (0.0, 0.05 if fill is None else fill)
    return rng.standard_normal(size, dtype=np.float32) * np.float32(std) + np.float32(mean)
