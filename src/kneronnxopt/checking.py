"""Running a model before and after optimisation: here, or in a process of its own where it could do harm."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from kneronnxopt._text import one_line
from kneronnxopt.errors import OptimizationError
from kneronnxopt.skeleton import hide_unchecked_axes, make_skeleton
from kneronnxopt.verify import (
    TOLERANCE,
    Comparison,
    cast_inputs,
    compare,
    difference_of,
    is_checkable,
    random_inputs,
    run_model,
)
from kneronnxopt.walk import all_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["Checker", "compare_safely", "default_tolerance", "main", "make_checker", "may_do_harm"]

logger = logging.getLogger(__name__)

#: Relative tolerance for models that compute in half precision (10 bits of mantissa).
_HALF_TOLERANCE = 2e-2
_TIME_LIMIT_SECONDS = 120
#: Operators that may run forever, or end the process (integer division by zero or of the smallest number by -1).
_ENDLESS = frozenset({"Loop", "Scan", "SequenceMap"})
_TRAPPING = frozenset({"Div", "Mod"})
_SMALL = 1024


class Checker:
    """Compares optimised models with one original.

    Parameters
    ----------
    original : onnx.ModelProto
        The reference, declared with the input shapes to run on.
    """

    def __init__(self, original: onnx.ModelProto) -> None:
        self.original = original
        self.tolerance = default_tolerance(original)

    def agrees(self, result: onnx.ModelProto) -> bool:
        """Whether ``result`` runs and computes what the original does."""
        try:
            differences = self.differences(result)
        except OptimizationError as error:
            logger.info("the optimised model does not run: %s", error)
            return False
        logger.info("largest relative difference after optimisation: %s", max(differences.values(), default=0.0))
        return all(difference <= self.tolerance for difference in differences.values())

    def differences(self, result: onnx.ModelProto) -> dict[str, float]:
        """Relative difference of each output."""
        raise NotImplementedError


@dataclass
class _Reference:
    """Inputs and outputs of the original."""

    feeds: Mapping[str, np.ndarray[Any, Any]]
    outputs: Mapping[str, Any]


class _HereChecker(Checker):
    def __init__(self, original: onnx.ModelProto) -> None:
        super().__init__(original)
        feeds = random_inputs(original)
        self.reference = _Reference(feeds, run_model(original, feeds))

    def differences(self, result: onnx.ModelProto) -> dict[str, float]:
        outputs = run_model(result, cast_inputs(result, self.reference.feeds))
        return difference_of(self.reference.outputs, outputs)


class _ApartChecker(Checker):
    """Runs both models in a process of its own, with a limit on its time."""

    def __init__(self, original: onnx.ModelProto) -> None:
        super().__init__(original)
        self.differences(original)  # raises where the original cannot be run at all

    def differences(self, result: onnx.ModelProto) -> dict[str, float]:
        return _compare_apart(self.original, result, seed=0, tolerance=self.tolerance).differences


def default_tolerance(*models: onnx.ModelProto) -> float:
    """Relative tolerance of a comparison: larger where a model computes in half precision."""
    return _HALF_TOLERANCE if any(map(_uses_half, models)) else TOLERANCE


def compare_safely(
    first: onnx.ModelProto, second: onnx.ModelProto, *, seed: int = 0, tolerance: float | None = None
) -> Comparison:
    """Compare two models as ``kneronnxopt.verify.compare`` does, whatever they do when they run.

    Models that may run forever or end the process run in a process of their own, with a limit on its time.

    Parameters
    ----------
    first, second : onnx.ModelProto
        Models with the same inputs and outputs.
    seed : int
        Seed of the inputs.
    tolerance : float, optional
        Relative to the scale of each output; by default ``default_tolerance``.

    Raises
    ------
    OptimizationError
        One of the models is too large or cannot be run.
    """
    for ordinal, model in (("first", first), ("second", second)):
        if not is_checkable(model):
            raise OptimizationError(f"the {ordinal} model is too large to be run from memory (2 GiB of weights)")
    tolerance = default_tolerance(first, second) if tolerance is None else tolerance
    run = _compare_apart if may_do_harm(first) or may_do_harm(second) else compare
    return run(first, second, seed=seed, tolerance=tolerance)


def _compare_apart(first: onnx.ModelProto, second: onnx.ModelProto, *, seed: int, tolerance: float) -> Comparison:
    with tempfile.TemporaryDirectory(prefix="kneronnxopt-") as folder:
        paths = [Path(folder) / "first.onnx", Path(folder) / "second.onnx"]
        for path, model in zip(paths, (first, second), strict=True):
            path.write_bytes(model.SerializeToString())
        command = [sys.executable, "-m", "kneronnxopt.checking", *map(str, paths), str(seed)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS, check=False)  # noqa: S603 - our own interpreter and module
        except subprocess.TimeoutExpired:
            raise OptimizationError(f"the model runs for more than {_TIME_LIMIT_SECONDS} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise OptimizationError(lines[-1] if done.returncode > 0 and lines else "the model ends the process")
    found = json.loads(done.stdout)
    differences = {name: math.inf if value is None else value for name, value in found["differences"].items()}
    return Comparison(differences, tolerance, found["shapes"])


def make_checker(original: onnx.ModelProto) -> Checker | None:
    """Prepare the check of a model; None, with a warning, if it cannot be run."""
    try:
        return _ApartChecker(original) if may_do_harm(original) else _HereChecker(original)
    except OptimizationError as error:
        _refuse_inconsistent(original, error)
        logger.warning("the result is not checked: %s", error)
        return None


def _refuse_inconsistent(model: onnx.ModelProto, error: OptimizationError) -> None:
    """Raise if onnx, too, finds that the nodes of a model that does not run do not fit together."""
    skeleton = make_skeleton(model, keep_shapes=False)
    hide_unchecked_axes(skeleton)
    try:
        onnx.shape_inference.infer_shapes(skeleton, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as inconsistency:
        raise OptimizationError(
            f"the model is inconsistent: {one_line(str(inconsistency).strip())}; onnxruntime says: {error}"
        ) from inconsistency


def main(arguments: list[str]) -> int:
    """Compare two files; print the differences as JSON. The process that ``_compare_apart`` starts."""
    first, second = (onnx.load(path) for path in arguments[:2])
    try:
        comparison = compare(first, second, seed=int(arguments[2]))
    except OptimizationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finite = {name: value if math.isfinite(value) else None for name, value in comparison.differences.items()}
    sys.stdout.write(json.dumps({"differences": finite, "shapes": comparison.shapes}))
    return 0


def may_do_harm(model: onnx.ModelProto) -> bool:
    """Whether running the model could hang, or end the process by an integer division."""
    divisors: set[str] = set()
    for node in all_nodes(model):
        if node.op_type in _ENDLESS:
            return True
        if node.op_type in _TRAPPING:
            divisors.update(node.input[1:2])
    divisors -= _harmless_constants(model)
    return bool(divisors) and bool(divisors - _float_values(model))


def _harmless_constants(model: onnx.ModelProto) -> set[str]:
    """Constants of floats, or of integers without 0 and -1."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name
        for name, tensor in tensors.items()
        if tensor.data_type in _FLOATS
        or (
            tensor.data_type != onnx.TensorProto.STRING
            and math.prod(tensor.dims) <= _SMALL
            and not np.isin(onnx.numpy_helper.to_array(tensor), (0, -1)).any()
        )
    }


def _float_values(model: onnx.ModelProto) -> set[str]:
    """Values of the main graph that are known to be floats, by onnx's shape inference on the skeleton."""
    skeleton = make_skeleton(model, keep_shapes=False)
    hide_unchecked_axes(skeleton)
    try:
        inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=False).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return set()
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name for value in values if value.type.tensor_type.elem_type in _FLOATS}


_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    }
)


def _uses_half(model: onnx.ModelProto) -> bool:
    half = onnx.TensorProto.FLOAT16
    return any(tensor.data_type == half for tensor in model.graph.initializer) or any(
        value.type.tensor_type.elem_type == half for value in (*model.graph.input, *model.graph.output)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
