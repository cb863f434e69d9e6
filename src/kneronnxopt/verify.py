"""Numerical equivalence of two models under onnxruntime."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from kneronnxopt._text import first_line
from kneronnxopt.errors import OptimizationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Comparison", "cast_inputs", "compare", "difference_of", "is_checkable", "random_inputs", "run_model"]

logger = logging.getLogger(__name__)

#: Largest difference that a rewrite of float32 arithmetic may cause, relative to the output's largest value.
TOLERANCE = 1e-3
_LARGE_MODEL_BYTES = 2**31 - 2**24


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models differ on the same inputs.

    Attributes
    ----------
    differences : dict of str to float
        For each output: largest absolute difference over the largest absolute value of the first model's
        output; infinity where shapes, types or special values differ.
    tolerance : float
        Differences up to this count as equal.
    """

    differences: dict[str, float]
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether every output agrees within the tolerance."""
        return all(difference <= self.tolerance for difference in self.differences.values())


def compare(
    first: onnx.ModelProto, second: onnx.ModelProto, *, seed: int = 0, tolerance: float = TOLERANCE
) -> Comparison:
    """Run both models on the same random inputs and compare their outputs.

    Parameters
    ----------
    first, second : onnx.ModelProto
        ``second`` has the inputs and outputs of ``first``; where one has float16 and the other float32, the
        values are converted.
    seed : int
        Seed of the inputs.
    tolerance : float
        Relative to the scale of each output.

    Raises
    ------
    OptimizationError
        onnxruntime cannot run one of the models.
    """
    feeds = random_inputs(second, seed=seed)
    expected = run_model(first, cast_inputs(first, feeds))
    actual = run_model(second, feeds)
    return Comparison(difference_of(expected, actual), tolerance)


def difference_of(expected: Mapping[str, object], actual: Mapping[str, object]) -> dict[str, float]:
    """Relative difference of each output; see ``Comparison``.

    Raises
    ------
    OptimizationError
        The outputs have different names.
    """
    if list(expected) != list(actual):
        raise OptimizationError(f"the models have different outputs: {list(expected)} and {list(actual)}")
    return {name: _difference(expected[name], actual[name]) for name in expected}


def random_inputs(model: onnx.ModelProto, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs that respect names, types and static dimensions; an unknown dimension is 1.

    Floats are drawn from N(0, 1); integers from 0 to 1, so that they are valid indices and masks.

    Raises
    ------
    OptimizationError
        An input is not a tensor.
    """
    generator = np.random.default_rng(seed)
    initializers = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for value in model.graph.input:
        if value.name in initializers:
            continue
        if not value.type.HasField("tensor_type"):
            raise OptimizationError(f"input '{value.name}' is not a tensor; it cannot be checked at random")
        tensor = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else 1 for dim in tensor.shape.dim]
        if math.prod(shape) > 2**31:
            raise OptimizationError(f"input '{value.name}' of shape {shape} is too large to be checked")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        feeds[value.name] = _draw(generator, shape, dtype)
    return feeds


def run_model(model: onnx.ModelProto, feeds: Mapping[str, object]) -> dict[str, Any]:
    """Run a model in onnxruntime without its graph optimisations.

    Raises
    ------
    OptimizationError
        onnxruntime refuses the model or the inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(None, dict(feeds))
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise OptimizationError(f"onnxruntime cannot run the model: {first_line(error)}") from error
    return dict(zip((output.name for output in session.get_outputs()), results, strict=True))


def is_checkable(model: onnx.ModelProto) -> bool:
    """Whether a model is small enough to be serialised for onnxruntime."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) < _LARGE_MODEL_BYTES


def _draw(generator: np.random.Generator, shape: list[int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind in "iub":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "OUS":
        return np.full(shape, "text", dtype=object)
    return generator.standard_normal(shape).astype(dtype)


def cast_inputs(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Cast arrays to the types that ``model`` declares for its inputs."""
    types = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
        if value.type.HasField("tensor_type")
    }
    return {name: array.astype(types.get(name, array.dtype), copy=False) for name, array in feeds.items()}


def _difference(expected: object, actual: object) -> float:
    if isinstance(expected, list) or isinstance(actual, list):
        if not (isinstance(expected, list) and isinstance(actual, list)) or len(expected) != len(actual):
            return math.inf
        return max((_difference(a, b) for a, b in zip(expected, actual, strict=True)), default=0.0)
    a, b = np.asarray(expected), np.asarray(actual)
    if a.shape != b.shape:
        return math.inf
    if a.dtype.kind not in "fc" and a.dtype.kind != "V":
        return 0.0 if np.array_equal(a, b) else math.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    scale = float(np.abs(a[finite]).max())
    worst = float(np.abs(a[finite] - b[finite]).max())
    return worst / scale if scale > 0 else (0.0 if worst == 0 else math.inf)
