"""``optimize``: the pipeline around one model, and the check of its result."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.resources
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import onnx

from kneronnxopt._text import first_line
from kneronnxopt._version import __version__
from kneronnxopt.errors import OptimizationError
from kneronnxopt.model_io import check_model, load_model, save_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from kneronnxopt.pipeline import Options, Stage

__all__ = ["known_pass_names", "optimize_model"]

logger = logging.getLogger(__name__)

_DOCUMENTED_OPSETS = range(8, 19)
#: Relative tolerance of the check for models that compute in half precision (10 bits of mantissa).
_HALF_TOLERANCE = 2e-2


def optimize_model(
    model: onnx.ModelProto | str | os.PathLike[str],
    options: Options,
    *,
    overwrite_input_shapes: object = None,
    skipped_optimizers: Sequence[str] | None = None,
    skip_check: bool = False,
    target_opset: int | None = None,
    output_path: str | os.PathLike[str] | None = None,
) -> onnx.ModelProto:
    """Optimise a model; see ``kneronnxopt.optimize`` for the arguments."""
    from kneronnxopt.passes.shapes import parse_input_shapes

    original = _as_model(model)
    initializers = {tensor.name for tensor in original.graph.initializer}
    names = [value.name for value in original.graph.input if value.name not in initializers]
    options = dataclasses.replace(
        options,
        input_shapes=parse_input_shapes(overwrite_input_shapes, names),
        skipped=_check_pass_names(skipped_optimizers),
    )
    _check_level(options.duplicate_shared_weights)
    start = original if target_opset is None else _convert_opset(original, target_opset)
    result, stages = _run(start, options)
    if not skip_check:
        result = _checked(start, result, stages, options)
    if output_path is not None:
        save_model(result, output_path)
    return result


@functools.cache
def known_pass_names() -> tuple[str, ...]:
    """Every name that ``skipped_optimizers`` accepts: our passes, then onnx-simplifier's."""
    from kneronnxopt.pipeline import pass_names

    text = importlib.resources.files("kneronnxopt").joinpath("data/simplifier_passes.json").read_text("utf-8")
    return tuple(dict.fromkeys([*pass_names(), *json.loads(text)["passes"]]))


def _as_model(model: onnx.ModelProto | str | os.PathLike[str]) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return check_model(model, "model")
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    raise OptimizationError(f"model is a {type(model).__name__}; give an onnx.ModelProto or the path of an .onnx file")


def _run(model: onnx.ModelProto, options: Options) -> tuple[onnx.ModelProto, list[Stage]]:
    import onnx_ir as ir

    from kneronnxopt.pipeline import run_pipeline

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is not None and opset not in _DOCUMENTED_OPSETS:
        logger.warning(
            "the model uses opset %d; 8 to 18 are documented, others are optimised as far as they are known",
            opset,
        )
    edited = ir.from_proto(model)
    stages = run_pipeline(edited, options)
    edited.producer_name, edited.producer_version = "kneronnxopt", __version__
    # Initializers that are not inputs need IR version 4.
    edited.ir_version = max(edited.ir_version, 4)
    return ir.to_proto(edited), stages


def _checked(
    original: onnx.ModelProto, result: onnx.ModelProto, stages: list[Stage], options: Options
) -> onnx.ModelProto:
    """Return ``result`` if it computes what ``original`` does; otherwise do without the pass at fault."""
    from kneronnxopt.verify import is_checkable, random_inputs, run_model

    if not is_checkable(original):
        logger.warning("the model is too large to be run for the check; it is not checked")
        return result
    reference = _with_input_shapes(original, options.input_shapes)
    try:
        feeds = random_inputs(reference)
        expected = run_model(reference, feeds)
    except OptimizationError as error:
        logger.warning("the result is not checked: %s", error)
        return result
    tolerance = _HALF_TOLERANCE if _uses_half(original) else None
    while not _agrees(expected, feeds, result, tolerance):
        culprit = _find_culprit(original, expected, feeds, stages, options, tolerance)
        if culprit is None:
            logger.warning("no single pass explains a changed result; the model is returned as it was")
            copied = onnx.ModelProto()
            copied.CopyFrom(original)
            return copied
        logger.warning("pass '%s' changes the result of this model and is left out; please report it", culprit)
        options = dataclasses.replace(options, skipped=options.skipped | {culprit})
        result, stages = _run(original, options)
    return result


def _find_culprit(
    original: onnx.ModelProto,
    expected: Mapping[str, object],
    feeds: Mapping[str, np.ndarray[Any, Any]],
    stages: list[Stage],
    options: Options,
    tolerance: float | None,
) -> str | None:
    """The first pass that makes the result differ once it is added to those before it."""
    from kneronnxopt.pipeline import pass_names

    acted = {stage.name for stage in stages if stage.count}
    names = [name for name in pass_names() if name in acted]
    for index, name in enumerate(names):
        trial = dataclasses.replace(options, skipped=options.skipped | set(names[index + 1 :]))
        if not _agrees(expected, feeds, _run(original, trial)[0], tolerance):
            baseline = dataclasses.replace(options, skipped=options.skipped | set(names[index:]))
            if index == 0 and not _agrees(expected, feeds, _run(original, baseline)[0], tolerance):
                return None
            return name
    return None


def _agrees(
    expected: Mapping[str, object],
    feeds: Mapping[str, np.ndarray[Any, Any]],
    result: onnx.ModelProto,
    tolerance: float | None,
) -> bool:
    from kneronnxopt.verify import TOLERANCE, cast_inputs, difference_of, run_model

    try:
        actual = run_model(result, cast_inputs(result, feeds))
    except OptimizationError as error:
        logger.info("the optimised model does not run: %s", error)
        return False
    differences = difference_of(expected, actual)
    logger.info("largest relative difference after optimisation: %s", max(differences.values(), default=0.0))
    return all(difference <= (tolerance or TOLERANCE) for difference in differences.values())


def _with_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The model as it has to be declared to run on the overwritten shapes."""
    if not shapes:
        return model
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for value in copied.graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape
            del dims.dim[:]
            for size in shapes[value.name]:
                dims.dim.add().dim_value = size
    del copied.graph.value_info[:]
    for output in copied.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copied


def _convert_opset(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(model, target)
    except (RuntimeError, ValueError) as error:
        raise OptimizationError(
            f"target_opset={target}: onnx cannot convert this model: {first_line(error)}"
        ) from error


def _check_pass_names(names: Sequence[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset()
    if isinstance(names, str):
        names = [names]
    known = known_pass_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3) or ["see kneronnxopt.pass_names()"]
            raise OptimizationError(
                f"skipped_optimizers: there is no pass '{name}'; the nearest names are: {', '.join(near)}"
            )
    return frozenset(names)


def _check_level(level: int) -> None:
    if level not in (0, 1, 2):
        raise OptimizationError(f"duplicate_shared_weights={level!r} is not a level; 0 never, 1 where needed, 2 always")


def _uses_half(model: onnx.ModelProto) -> bool:
    half = onnx.TensorProto.FLOAT16
    return any(tensor.data_type == half for tensor in model.graph.initializer) or any(
        value.type.tensor_type.elem_type == half for value in (*model.graph.input, *model.graph.output)
    )
