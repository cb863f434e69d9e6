"""``sweep`` and ``sweep_rows``: what runs where, and in which order results come."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from ktc._variants import PLATFORMS, check_ip_configs, parse_platforms, parse_settings
from ktc.errors import ConfigError
from ktc.sweeping._cases import group_cases, make_cases
from ktc.sweeping._rows import failure, fill_rows
from ktc.sweeping._table import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future

    import onnx

    from ktc.sweeping._cases import Case, Task
    from ktc.sweeping._table import Row

    Model = onnx.ModelProto | str | os.PathLike[str]

__all__ = ["sweep", "sweep_rows"]

logger = logging.getLogger(__name__)


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
        Arguments of ``ModelConfig.evaluate`` (not ``output_dir`` and ``advice``), ``ip_config`` included; ``"name"`` or
        the key names them. None is the defaults.
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
    cases = _cases(models, platforms, settings)
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
    cases = _cases(models, platforms, settings)
    return (row for _, row in _results(cases, executor, _check_workers(workers)))


def _cases(models: object, platforms: object, settings: object) -> list[Case]:
    chosen, parsed = parse_platforms(platforms), parse_settings(settings)
    check_ip_configs(chosen, parsed)
    return make_cases(models, chosen, parsed)


def _check_workers(workers: int | None) -> int:
    if workers is None:
        return os.cpu_count() or 1
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers={workers!r} is not a number of workers; give 1 or more, or None.")
    return workers


def _results(cases: list[Case], executor: Executor | None, workers: int) -> Generator[tuple[int, Row], None, None]:
    for case in cases:
        if case.source.error is not None:
            yield case.index, failure(case, case.source.error)
    tasks = group_cases([case for case in cases if case.source.error is None], workers)
    if executor is not None:
        for task, future in _completed(tasks, executor):
            yield from zip((case.index for case in task), _rows_of(task, future), strict=True)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    lost: list[Task] = []
    if tasks:
        with ProcessPoolExecutor(min(workers, len(tasks))) as pool:
            for task, future in _completed(tasks, pool):
                if isinstance(_error_of(future), BrokenProcessPool):
                    lost.append(task)
                else:
                    yield from zip((case.index for case in task), _rows_of(task, future), strict=True)
    for task in lost:  # one of these ended its process, and the pool with it: each gets a process of its own
        with ProcessPoolExecutor(1) as pool:
            for _, future in _completed([task], pool):
                yield from zip((case.index for case in task), _rows_of(task, future), strict=True)


def _completed(tasks: list[Task], executor: Executor) -> Iterator[tuple[Task, Future[list[Row]]]]:
    from concurrent.futures import as_completed

    futures = {_submitted(executor, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in futures:
            future.cancel()


def _submitted(executor: Executor, task: Task) -> Future[list[Row]]:
    """The future of a task; where the executor takes none, for it was shut down or broke, one that has the error."""
    from concurrent.futures import Future

    try:
        return executor.submit(fill_rows, task)
    except Exception as error:  # noqa: BLE001  (executors are the caller's; the error goes into the rows)
        refused: Future[list[Row]] = Future()
        refused.set_exception(error)
        return refused


def _error_of(future: Future[list[Row]]) -> BaseException | None:
    from concurrent.futures import CancelledError

    return CancelledError("the executor dropped this evaluation.") if future.cancelled() else future.exception()


def _rows_of(task: Task, future: Future[list[Row]]) -> list[Row]:
    error = _error_of(future)
    if error is None:
        return future.result()
    logger.warning("%s: %s: %s", task[0].source.name, type(error).__name__, error)
    return [failure(case, f"{type(error).__name__}: {error}") for case in task]


@contextlib.contextmanager
def _progress(cases: list[Case]) -> Iterator[Callable[[int], object]]:
    """A bar on stderr if that is a terminal; gives the function that advances it."""
    from tqdm import tqdm

    with tqdm(total=len(cases), unit="evaluation", disable=None, file=sys.stderr, leave=False) as bar:
        yield bar.update
        bar.refresh()  # a bar that was fast shows its end too
