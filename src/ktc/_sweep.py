"""``sweep``: many models x platforms x settings, in parallel, as a table."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ktc._estimator import Estimator
from ktc._files import write_files
from ktc._models import checked_model, read_model
from ktc._variants import PLATFORMS, Setting, model_name, parse_platforms, parse_settings
from ktc.errors import ConfigError, KtcError
from ktc.evaluator.evaluation import Bound
from ktc.evaluator.settings import EvaluationSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from concurrent.futures import Executor, Future

    import onnx

    from ktc.evaluator import Evaluation

    Model = onnx.ModelProto | str | os.PathLike[str]

__all__ = ["COLUMNS", "Sweep", "sweep", "sweep_rows"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]

_SETTINGS = tuple(field.name for field in dataclasses.fields(EvaluationSettings))
_FIGURES = (
    *("fps", "time_ms", "expected_error_percent", "mac_efficiency", "nodes", "cpu_nodes", "macs"),
    *("read_bytes", "write_bytes", "weight_bytes", "dram_bytes"),
    *(f"bound_{bound}" for bound in get_args(Bound)),
)
#: Keys of a row, and columns of the CSV file.
COLUMNS = ("model", "platform", "setting", *_SETTINGS, *_FIGURES, "error")

#: A model is read again by a second worker only where each of them has so many evaluations to do: on networks of
#: 40 to 1300 nodes, reading and analysing cost as much as some 30 evaluations.
_WORTH_READING_AGAIN = 32
#: The frontend reads constants of at most so many elements; larger ones travel to a worker without their data.
_SMALL_CONSTANT = 4096


class Sweep(list[Row]):
    """Rows of a sweep: a list of dicts, one per model, platform and setting, in that order.

    The keys are ``ktc.sweep.COLUMNS``: names and settings; ``fps``, ``time_ms`` (ms per inference),
    ``expected_error_percent``, ``mac_efficiency`` (0 to 1), ``nodes``, ``cpu_nodes``, ``macs``; DRAM traffic per
    inference in bytes; ``bound_<cause>``, the share (0 to 1) of the time that a cause determines; and ``error``.
    Where an evaluation failed, ``error`` is a sentence and the figures are None; else ``error`` is None. ``fps`` is
    None too where nothing runs on the NPU.
    """

    @property
    def failed(self) -> list[Row]:
        """The rows with an error."""
        return [row for row in self if row["error"] is not None]

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Render the rows as CSV (RFC 4180), and write them to a file if a path is given.

        The file appears whole or not at all. Text that a spreadsheet would run as a formula gets an apostrophe in
        front; None is an empty cell.

        Raises
        ------
        ConfigError
            The file cannot be written.
        """
        from ktc.report._csv import inert
        from ktc.report._format import single_line

        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self:
            cells = (row[column] for column in COLUMNS)
            writer.writerow(inert(single_line(cell)) if isinstance(cell, str) else cell for cell in cells)
        text = stream.getvalue()
        if path is not None:
            target = Path(path)
            write_files(target.parent, {target.name: text})
        return text


def sweep(
    models: Model | Iterable[Model] | Mapping[str, Model],
    platforms: str | int | Iterable[str | int] = PLATFORMS,
    settings: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] | None = None,
    executor: Executor | None = None,
    *,
    on_result: Callable[[Row], None] | None = None,
    workers: int | None = None,
) -> Sweep:
    """Evaluate every model on every platform with every setting.

    A model is read, checked and analysed once, and lowered once per platform. Nothing is written. On a terminal,
    stderr shows the progress.

    Parameters
    ----------
    models : path, folder, onnx.ModelProto, list of these, or dict of names to models
        A folder stands for the ``.onnx`` files in it.
    platforms : list of str
        Names of platforms.
    settings : list of dict, or dict of dict, optional
        Arguments of ``ModelConfig.evaluate`` (not ``output_dir``); ``"name"`` or the key names them. None is the
        defaults.
    executor : concurrent.futures.Executor, optional
        Runs the evaluations and stays open; paths have to mean the same to its workers. Without one, this
        machine's processes do (a script needs the usual ``if __name__ == "__main__":`` where these are spawned).
    on_result : callable, optional
        Gets each row as soon as it is there, in any order.
    workers : int, optional
        How many workers to plan for, and to start without `executor`; by default one per CPU.

    Returns
    -------
    Sweep
        A list of dicts, ordered by model, platform, setting. What fails is a row with an ``error``.

    Raises
    ------
    ConfigError
        An argument is not what it has to be: an unknown platform, an unknown setting, no models. A file that
        cannot be read and a setting that a platform refuses are rows with an error.
    """
    cases = _cases(models, parse_platforms(platforms), parse_settings(settings))
    rows: dict[int, Row] = {}
    results = _results(cases, executor, _check_workers(workers))
    with contextlib.closing(results), _progress(cases) as advance:
        for index, row in results:
            rows[index] = row
            advance(1)
            if on_result is not None:
                on_result(row)
    return Sweep(rows[index] for index in sorted(rows))


def sweep_rows(
    models: Model | Iterable[Model] | Mapping[str, Model],
    platforms: str | int | Iterable[str | int] = PLATFORMS,
    settings: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] | None = None,
    executor: Executor | None = None,
    *,
    workers: int | None = None,
) -> Iterator[Row]:
    """Do what `sweep` does, and yield each row as soon as it is there, in any order.

    Closing the iterator cancels what has not begun. Parameters and errors are those of `sweep`.
    """
    cases = _cases(models, parse_platforms(platforms), parse_settings(settings))
    return (row for _, row in _results(cases, executor, _check_workers(workers)))


@dataclass(frozen=True, slots=True)
class _Source:
    """A model that can travel to another process: the path of its file, or its graph without large weights.

    Attributes
    ----------
    name : str
        What the rows call it.
    path : str or None
        Its file.
    graph : bytes
        A serialised, checked model, if there is no file.
    error : str or None
        Why there is no model.
    """

    name: str
    path: str | None = None
    graph: bytes = b""
    error: str | None = None

    def estimator(self) -> Estimator:
        if self.path is not None:
            return Estimator(read_model(self.path, "models"), self.name)
        import onnx

        return Estimator(onnx.ModelProto.FromString(self.graph), self.name)


@dataclass(frozen=True, slots=True)
class _Case:
    """One row to fill; ``index`` is its place in the table."""

    index: int
    source: _Source
    platform: str
    setting: Setting


_Task = tuple[_Case, ...]  # of one model


def _cases(models: object, platforms: tuple[str, ...], settings: tuple[Setting, ...]) -> list[_Case]:
    sources = _sources(models)
    keys = [(source, platform, setting) for source in sources for platform in platforms for setting in settings]
    return [_Case(index, *key) for index, key in enumerate(keys)]


def _sources(models: object) -> list[_Source]:
    if isinstance(models, Mapping):
        named = [(str(name), model) for name, model in models.items()]
    else:
        listed = models if isinstance(models, Iterable) and not isinstance(models, (str, os.PathLike)) else [models]
        flat = [file for model in listed for file in _files(model)]
        names = [model_name(model) for model in flat]
        named = [
            (name if names.count(name) == 1 else _longer_name(name, model, index), model)
            for index, (name, model) in enumerate(zip(names, flat, strict=True))
        ]
    if not named:
        raise ConfigError("models is empty; give at least one model.")
    return [_source(name, model) for name, model in named]


def _longer_name(name: str, model: object, index: int) -> str:
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else f"{name}#{index}"


def _files(model: object) -> list[object]:
    if not isinstance(model, (str, os.PathLike)) or not os.path.isdir(model):  # noqa: PTH112  (knows long names)
        return [model]
    found = sorted(path for path in Path(model).iterdir() if path.suffix.lower() == ".onnx")
    if not found:
        raise ConfigError(f"{model}: there is no .onnx file in this folder; give another folder, or files.")
    return list(found)


def _source(name: str, model: object) -> _Source:
    if isinstance(model, (str, os.PathLike)):
        return _Source(name, path=os.path.abspath(model))  # noqa: PTH100  (Path.absolute keeps "..", either would do)
    try:
        checked = checked_model(model, f"models: {name}")
    except KtcError as error:
        return _Source(name, error=str(error))
    return _Source(name, graph=_without_large_weights(checked).SerializeToString())


def _without_large_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    whole = model.graph
    graph = onnx.GraphProto(
        name=whole.name,
        node=whole.node,
        input=whole.input,
        output=whole.output,
        value_info=whole.value_info,
        sparse_initializer=whole.sparse_initializer,
    )
    for tensor in whole.initializer:
        if math.prod(tensor.dims) <= _SMALL_CONSTANT:
            graph.initializer.append(tensor)
        else:
            graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions, graph=graph
    )


def _tasks(cases: list[_Case], workers: int) -> list[_Task]:
    """Group the cases by model, the largest files first; cut groups where there are more workers than models."""
    groups: dict[int, list[_Case]] = {}
    for case in cases:
        groups.setdefault(id(case.source), []).append(case)
    largest_first = sorted(groups.values(), key=lambda group: _size(group[0].source), reverse=True)
    tasks: list[_Task] = []
    for group in largest_first:
        parts = max(1, min(math.ceil(workers / len(groups)), len(group) // _WORTH_READING_AGAIN))
        length = math.ceil(len(group) / parts)
        tasks += [tuple(group[begin : begin + length]) for begin in range(0, len(group), length)]
    return tasks


def _size(source: _Source) -> int:
    if source.path is None:
        return len(source.graph)
    try:
        return Path(source.path).stat().st_size
    except (OSError, ValueError):
        return 0  # the worker says what is wrong with it


def _check_workers(workers: int | None) -> int:
    if workers is None:
        return os.cpu_count() or 1
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers={workers!r} is not a number of workers; give 1 or more, or None.")
    return workers


def _results(cases: list[_Case], executor: Executor | None, workers: int) -> Generator[tuple[int, Row], None, None]:
    for case in cases:
        if case.source.error is not None:
            yield case.index, _failure(case, case.source.error)
    tasks = _tasks([case for case in cases if case.source.error is None], workers)
    if executor is not None:
        for task, future in _completed(tasks, executor):
            yield from zip((case.index for case in task), _rows_of(task, future), strict=True)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    lost: list[_Task] = []
    if tasks:
        with ProcessPoolExecutor(min(workers, len(tasks))) as pool:
            for task, future in _completed(tasks, pool):
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(task)
                else:
                    yield from zip((case.index for case in task), _rows_of(task, future), strict=True)
    for task in lost:  # one of these ended its process, and the pool with it: each gets a process of its own
        with ProcessPoolExecutor(1) as pool:
            for _, future in _completed([task], pool):
                yield from zip((case.index for case in task), _rows_of(task, future), strict=True)


def _completed(tasks: list[_Task], executor: Executor) -> Iterator[tuple[_Task, Future[list[Row]]]]:
    from concurrent.futures import as_completed

    futures = {executor.submit(_run, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in futures:
            future.cancel()


def _rows_of(task: _Task, future: Future[list[Row]]) -> list[Row]:
    error = future.exception()
    if error is None:
        return future.result()
    logger.warning("%s: %s: %s", task[0].source.name, type(error).__name__, error)
    return [_failure(case, f"{type(error).__name__}: {error}") for case in task]


def _run(task: _Task) -> list[Row]:
    """Fill the rows of one task; runs in a worker."""
    try:
        estimator = task[0].source.estimator()
    except KtcError as error:
        return [_failure(case, str(error)) for case in task]
    return [_row(case, estimator) for case in task]


def _row(case: _Case, estimator: Estimator) -> Row:
    try:
        evaluation = estimator.evaluate(case.platform, case.setting.settings)
    except KtcError as error:
        return _failure(case, str(error))
    return _names(case) | _figures(evaluation) | {"error": None}


def _failure(case: _Case, error: str) -> Row:
    return _names(case) | dict.fromkeys(_FIGURES) | {"error": error}


def _names(case: _Case) -> Row:
    names = {"model": case.source.name, "platform": case.platform, "setting": case.setting.name}
    return names | {name: getattr(case.setting.settings, name) for name in _SETTINGS}


def _figures(evaluation: Evaluation) -> Row:
    from ktc.report._breakdown import time_by_bound

    shares = {part.bound: part.share for part in time_by_bound(evaluation)}
    return {
        "fps": evaluation.fps if evaluation.time_ms else None,
        "time_ms": evaluation.time_ms,
        "expected_error_percent": evaluation.expected_error_percent,
        "mac_efficiency": evaluation.mac_efficiency,
        "nodes": len(evaluation.nodes),
        "cpu_nodes": len(evaluation.cpu_nodes),
        "macs": sum(node.macs for node in evaluation.nodes),
        "read_bytes": evaluation.read_bytes,
        "write_bytes": evaluation.write_bytes,
        "weight_bytes": evaluation.weight_bytes,
        "dram_bytes": evaluation.dram_bytes,
    } | {f"bound_{bound}": shares.get(bound, 0.0) for bound in get_args(Bound)}


@contextlib.contextmanager
def _progress(cases: list[_Case]) -> Iterator[Callable[[int], object]]:
    """A bar on stderr if that is a terminal; gives the function that advances it."""
    from tqdm import tqdm

    with tqdm(total=len(cases), unit="evaluation", disable=None, file=sys.stderr, leave=False) as bar:
        yield bar.update
