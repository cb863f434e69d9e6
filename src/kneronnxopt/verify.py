"""Numerical equivalence of two models under onnxruntime."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from kneronnxopt._text import first_line
from kneronnxopt.errors import OptimizationError
from kneronnxopt.external_data import weight_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Comparison", "cast_inputs", "compare", "difference_of", "is_checkable", "random_inputs", "run_model"]

logger = logging.getLogger(__name__)

#: Largest difference that a rewrite of float32 arithmetic may cause; see ``Comparison``.
TOLERANCE = 1e-3
#: A slice of an output counts as having at least this part of the output's largest value: below it, rounding rules.
_LEAST_SCALE = 1e-3
#: Smaller slices are too small to have a scale of their own: one of their values may be zero by chance.
_LEAST_SLICE = 16
#: NumPy's kinds of floating-point types; the short ones (bfloat16, float8) are of kind V.
_FLOAT_KINDS = "fcV"
_LARGE_MODEL_BYTES = 2**31 - 2**24


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models differ on the same inputs.

    Attributes
    ----------
    differences : dict of str to float
        For each output: the largest relative difference of the whole or of any slice along any axis (a channel, a
        row) of at least 16 values. It is the largest absolute difference in it over the largest absolute value that
        the first model has in it, or over 1/1000 of the largest of the whole output if that is more. So small
        scores beside large coordinates count. Infinity where shapes, types or special values differ.
    tolerance : float
        Differences up to this count as equal.
    shapes : dict of str to str
        Shape of each output, such as ``1x3x8``; both where they differ.
    """

    differences: dict[str, float]
    tolerance: float
    shapes: dict[str, str] = field(default_factory=dict)

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
        values are converted; where one has a symbol for a dimension, the other's number is taken.
    seed : int
        Seed of the inputs.
    tolerance : float
        Relative to the scale of each output.

    Raises
    ------
    OptimizationError
        onnxruntime cannot run one of the models; the message says which.
    """
    feeds = random_inputs(second, seed=seed, known_shapes=_known_shapes(first))
    expected = _run_named("first", first, cast_inputs(first, feeds))
    actual = _run_named("second", second, feeds)
    shapes = {name: _shapes_text(expected[name], actual.get(name)) for name in expected}
    return Comparison(difference_of(expected, actual), tolerance, shapes)


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


def random_inputs(
    model: onnx.ModelProto, *, seed: int = 0, known_shapes: Mapping[str, Sequence[int | None]] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs that respect names, types and static dimensions.

    An unknown dimension is that of ``known_shapes``, or else 1. Floats are drawn from N(0, 1); integers from 0 to 1,
    so that they are valid indices and masks.

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
        shape = _dimensions(value, (known_shapes or {}).get(value.name, ()))
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
    return weight_bytes(model) < _LARGE_MODEL_BYTES


def _run_named(ordinal: str, model: onnx.ModelProto, feeds: Mapping[str, object]) -> dict[str, Any]:
    try:
        return run_model(model, feeds)
    except OptimizationError as error:
        raise OptimizationError(f"the {ordinal} model does not run: {error}") from error


def _static_dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims]


def _known_shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    return {value.name: _static_dimensions(value) for value in model.graph.input if value.type.HasField("tensor_type")}


def _dimensions(value: onnx.ValueInfoProto, known: Sequence[int | None]) -> list[int]:
    """Dimensions of an input, those that it leaves open from ``known`` if that has the same rank."""
    declared = _static_dimensions(value)
    others = known if len(known) == len(declared) else [None] * len(declared)
    return [next((size for size in pair if size is not None), 1) for pair in zip(declared, others, strict=True)]


def _shapes_text(expected: object, actual: object) -> str:
    texts = [_shape_text(expected), _shape_text(actual)]
    return texts[0] if texts[0] == texts[1] else " and ".join(texts)


def _shape_text(value: object) -> str:
    if isinstance(value, list):
        return f"sequence of {len(value)}"
    return "x".join(map(str, np.asarray(value).shape)) or "scalar"


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
    if isinstance(expected, dict) or isinstance(actual, dict):
        if not (isinstance(expected, dict) and isinstance(actual, dict)) or list(expected) != list(actual):
            return math.inf
        return _difference(np.array(list(expected.values())), np.array(list(actual.values())))
    a, b = np.asarray(expected), np.asarray(actual)
    if a.shape != b.shape:
        return math.inf
    if (a.dtype.kind in _FLOAT_KINDS) != (b.dtype.kind in _FLOAT_KINDS):
        return math.inf
    if a.dtype.kind not in _FLOAT_KINDS:
        return 0.0 if np.array_equal(a, b) else math.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    magnitude = np.abs(np.where(finite, a, 0.0))
    difference = np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0))
    largest = float(magnitude.max())
    if largest == 0:
        return math.inf if difference.any() else 0.0
    sliced = [
        _worst_slice(difference, np.maximum(magnitude, _LEAST_SCALE * largest), axis)
        for axis in range(a.ndim)
        if a.size >= _LEAST_SLICE * a.shape[axis]
    ]
    return max(float(difference.max()) / largest, *sliced, 0.0)


def _worst_slice(difference: np.ndarray[Any, Any], magnitude: np.ndarray[Any, Any], axis: int) -> float:
    others = tuple(other for other in range(difference.ndim) if other != axis)
    return float((difference.max(axis=others) / magnitude.max(axis=others)).max())
