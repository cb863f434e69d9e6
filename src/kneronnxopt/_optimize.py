"""``optimize``: the pipeline around one model, and the check of its result."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.resources
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from kneronnxopt._collector import paused_collector
from kneronnxopt._text import first_line
from kneronnxopt._version import __version__
from kneronnxopt.errors import OptimizationError
from kneronnxopt.external_data import external_tensors
from kneronnxopt.model_io import given_model, has_sparse_tensors, read_model, save_model
from kneronnxopt.opaque_types import hide_opaque_types, restore_opaque_types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kneronnxopt.checking import Checker
    from kneronnxopt.pipeline import Options, Stage

__all__ = ["optimize_model"]

logger = logging.getLogger(__name__)

_DOCUMENTED_OPSETS = range(8, 19)
#: onnx converts from and to this one and newer ones well enough to be tried.
_OLDEST_OPSET = 7


def optimize_model(
    model: onnx.ModelProto | str | os.PathLike[str],
    options: Options,
    *,
    overwrite_input_shapes: object = None,
    skipped_optimizers: Sequence[str] | None = None,
    skip_check: bool = False,
    target_opset: int | None = None,
    output_path: str | os.PathLike[str] | None = None,
) -> tuple[onnx.ModelProto, list[Stage]]:
    """Optimise a model; see ``kneronnxopt.optimize`` for the arguments. Also return what each pass did."""
    from kneronnxopt.passes.shapes import parse_input_shapes

    original, folder = _as_model(model, keep_apart=output_path is not None)
    initializers = {tensor.name for tensor in original.graph.initializer}
    names = [value.name for value in original.graph.input if value.name not in initializers]
    options = dataclasses.replace(
        options,
        input_shapes=parse_input_shapes(overwrite_input_shapes, names),
        skipped=_check_pass_names(skipped_optimizers),
    )
    _check_level(options.duplicate_shared_weights)
    task = _Task(original if target_opset is None else _convert_opset(original, target_opset, options), folder)
    result, stages = task.optimized(options)
    checker = None if skip_check else _make_checker(original, options, folder)
    if checker is not None:
        result, stages = _checked(task, result, stages, options, checker)
    if output_path is not None:
        save_model(result, output_path, source_folder=folder)
    return result, stages


@functools.cache
def _simplifier_passes() -> dict[str, list[str]]:
    """onnx-simplifier's names of passes, each with our passes that do the same."""
    text = importlib.resources.files("kneronnxopt").joinpath("data/simplifier_passes.json").read_text("utf-8")
    return dict(json.loads(text)["passes"])


def _as_model(
    model: onnx.ModelProto | str | os.PathLike[str], *, keep_apart: bool
) -> tuple[onnx.ModelProto, Path | None]:
    """Return the checked model and, where its weights stay in files of their own, the folder of these."""
    if not keep_apart or not isinstance(model, str | os.PathLike):
        return given_model(model, "model"), None
    read = read_model(model)
    return read, Path(model).parent if any(external_tensors(read)) else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """A model to optimise, maybe several times, and the folder of its weights if these stay in files of their own."""

    model: onnx.ModelProto
    folder: Path | None

    def optimized(self, options: Options) -> tuple[onnx.ModelProto, list[Stage]]:
        """Run the pipeline without passes that fail; where all of it fails, the caller gets the model as it was."""
        from kneronnxopt.passes._base import PassError

        if has_sparse_tensors(self.model):
            logger.warning("the model has sparse tensors, which are not optimised; it is returned as it was")
            return _copied(self.model), []
        try:
            return self._run(options)
        except OptimizationError:
            raise
        except Exception as error:  # a bug of ours or of a library must not take a correct model from the caller
            if isinstance(error, PassError) and error.name not in options.skipped:
                logger.warning("pass '%s' fails and is left out; please report it", error.name, exc_info=True)
                return self.optimized(dataclasses.replace(options, skipped=options.skipped | {error.name}))
            logger.warning("the model is returned as it was; please report this failure: %s", error, exc_info=True)
            return _copied(self.model), []

    def is_equal(self, checker: Checker, result: onnx.ModelProto) -> bool:
        """Whether a result of this task computes what the checker's model does."""
        return checker.agrees(_loaded(result, self.folder))

    def _run(self, options: Options) -> tuple[onnx.ModelProto, list[Stage]]:
        import onnx_ir as ir

        from kneronnxopt.passes._writing import to_proto
        from kneronnxopt.pipeline import run_pipeline

        opset = next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), None)
        if opset is not None and opset not in _DOCUMENTED_OPSETS:
            logger.warning(
                "the model uses opset %d; 8 to 18 are documented, others are optimised as far as they are known",
                opset,
            )
        readable, hidden = hide_opaque_types(self.model)
        with paused_collector():
            edited = ir.from_proto(readable)
            if self.folder is not None:
                ir.external_data.set_base_dir(edited.graph, self.folder)
            stages = run_pipeline(edited, options, source=self.model)
            edited.producer_name, edited.producer_version = "kneronnxopt", __version__
            # Initializers that are not inputs need IR version 4.
            edited.ir_version = max(edited.ir_version, 4)
            result = to_proto(edited, annotated=bool(self.model.graph.quantization_annotation))
            restore_opaque_types(result, hidden)
            return result, stages


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _make_checker(original: onnx.ModelProto, options: Options, folder: Path | None) -> Checker | None:
    from kneronnxopt.checking import make_checker
    from kneronnxopt.verify import is_checkable

    if not is_checkable(original):  # before its weights are loaded
        logger.warning("the model is too large to be run for the check; it is not checked")
        return None
    declared = _loaded(original, folder)
    checker = make_checker(_with_input_shapes(declared, options.input_shapes))
    if checker is None and options.input_shapes and make_checker(declared) is not None:
        given = "; ".join(f"{name}:{','.join(map(str, dims))}" for name, dims in options.input_shapes.items())
        raise OptimizationError(
            f"overwrite_input_shapes={given}: the model runs with the shapes that it declares, but not with these; "
            "give shapes that its operators take"
        )
    return checker


def _loaded(model: onnx.ModelProto, folder: Path | None) -> onnx.ModelProto:
    """Return the model with its weights in the message, as onnxruntime needs it."""
    if folder is None:
        return model
    copied = _copied(model)
    onnx.external_data_helper.load_external_data_for_model(copied, str(folder))
    return copied


def _checked(
    task: _Task, result: onnx.ModelProto, stages: list[Stage], options: Options, checker: Checker
) -> tuple[onnx.ModelProto, list[Stage]]:
    """Return ``result`` if it computes what the original does; otherwise do without the pass at fault."""
    while not task.is_equal(checker, result):
        culprit = _find_culprit(task, stages, options, checker)
        if culprit is None:
            logger.warning("no single pass explains a changed result; the model is returned as it was")
            return _copied(task.model), []
        logger.warning("pass '%s' changes the result of this model and is left out; please report it", culprit)
        options = dataclasses.replace(options, skipped=options.skipped | {culprit})
        result, stages = task.optimized(options)
    return result, stages


def _find_culprit(task: _Task, stages: list[Stage], options: Options, checker: Checker) -> str | None:
    """Name the first pass that makes the result differ once it is added to those before it."""
    from kneronnxopt.pipeline import pass_names

    def agrees_without(skipped: Sequence[str]) -> bool:
        trial = dataclasses.replace(options, skipped=options.skipped | set(skipped))
        return task.is_equal(checker, task.optimized(trial)[0])

    acted = {stage.name for stage in stages if stage.count}
    names = [name for name in [*pass_names(), *(p.name for p in options.extra_passes)] if name in acted]
    if not names or not agrees_without(names):
        return None
    return next((name for index, name in enumerate(names) if not agrees_without(names[index + 1 :])), None)


def _with_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The model as it has to be declared to run on the overwritten shapes."""
    if not shapes:
        return model
    copied = _copied(model)
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


def _convert_opset(model: onnx.ModelProto, target: object, options: Options) -> onnx.ModelProto:
    """Convert with onnx's version converter, whose result is checked whether the caller wants checks or not."""
    if isinstance(target, bool) or not isinstance(target, int):
        raise OptimizationError(f"target_opset={target!r} is not an opset; give a number such as 18")
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST_OPSET <= target <= newest:
        raise OptimizationError(f"target_opset={target} is not between {_OLDEST_OPSET} and {newest}")
    if any(external_tensors(model)):
        raise OptimizationError(f"target_opset={target}: only a model with all weights in one file can be converted")
    if model.functions:
        raise OptimizationError(f"target_opset={target}: a model with local functions cannot be converted")
    try:
        converted = onnx.version_converter.convert_version(model, target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise OptimizationError(f"target_opset={target}: onnx cannot convert the model: {first_line(error)}") from error
    checker = _make_checker(model, options, None)
    if checker is not None and not checker.agrees(converted):
        raise OptimizationError(
            f"target_opset={target}: onnx's conversion changes what the model computes; export it with that opset"
        )
    return converted


def _check_pass_names(names: Sequence[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset()
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list | tuple | set | frozenset):
        raise OptimizationError(f"skipped_optimizers={names!r} is not a list of names")
    from kneronnxopt.pipeline import pass_names

    known = [*pass_names(), *_simplifier_passes()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3) or [
                "none; kneronnxopt.pass_names() and --list-passes list them all"
            ]
            raise OptimizationError(
                f"skipped_optimizers: there is no pass '{name}'; the nearest names are: {', '.join(near)}"
            )
    return frozenset(names).union(*(_simplifier_passes().get(name, []) for name in names))


def _check_level(level: int) -> None:
    if level not in (0, 1, 2):
        raise OptimizationError(f"duplicate_shared_weights={level!r} is not a level; 0 never, 1 where needed, 2 always")
