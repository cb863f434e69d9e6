"""What a sweep has to do: one case per row, grouped into tasks that travel to workers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ktc._estimator import Estimator
from ktc._models import checked_model, read_model
from ktc._variants import model_name
from ktc.errors import ConfigError, KtcError

if TYPE_CHECKING:
    import onnx

    from ktc._variants import Setting

__all__ = ["Case", "Source", "Task", "find_sources", "group_cases", "make_cases"]

#: A model is read again by a second worker only where each of them has so many evaluations to do: on networks of
#: 40 to 1300 nodes, reading and analysing cost as much as 10 to 30 evaluations.
_WORTH_READING_AGAIN = 32
#: The frontend reads constants of at most so many elements; larger ones travel to a worker without their data.
_SMALL_CONSTANT = 4096


@dataclass(frozen=True, slots=True)
class Source:
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
        """Read the model; raises a KtcError if that is not possible."""
        if self.path is not None:
            return Estimator(read_model(self.path, "models"), self.name, self.path)
        import onnx

        return Estimator(onnx.ModelProto.FromString(self.graph), self.name)


@dataclass(frozen=True, slots=True)
class Case:
    """One row to fill; ``index`` is its place in the table."""

    index: int
    source: Source
    platform: str
    setting: Setting


Task = tuple[Case, ...]  # of one model


def make_cases(models: object, platforms: tuple[str, ...], settings: tuple[Setting, ...]) -> list[Case]:
    """List the rows to fill, in the order of the table.

    Raises
    ------
    ConfigError
        There are no models.
    """
    sources = find_sources(models)
    keys = [(source, platform, setting) for source in sources for platform in platforms for setting in settings]
    return [Case(index, *key) for index, key in enumerate(keys)]


def find_sources(models: object) -> list[Source]:
    """Find the models that a caller means, and name them; those in memory are checked.

    Raises
    ------
    ConfigError
        There is none.
    """
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


def _source(name: str, model: object) -> Source:
    if isinstance(model, (str, os.PathLike)):
        return Source(name, path=os.path.abspath(model))  # noqa: PTH100  (Path.absolute keeps "..", either would do)
    try:
        checked = checked_model(model, f"models: {name}")
    except KtcError as error:
        return Source(name, error=str(error))
    return Source(name, graph=_without_large_weights(checked).SerializeToString())


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


def group_cases(cases: list[Case], workers: int) -> list[Task]:
    """Group the cases by model, the largest files first; cut groups where there are more workers than models."""
    groups: dict[int, list[Case]] = {}
    for case in cases:
        groups.setdefault(id(case.source), []).append(case)
    largest_first = sorted(groups.values(), key=lambda group: _size(group[0].source), reverse=True)
    tasks: list[Task] = []
    for group in largest_first:
        parts = max(1, min(math.ceil(workers / len(groups)), len(group) // _WORTH_READING_AGAIN))
        length = math.ceil(len(group) / parts)
        tasks += [tuple(group[begin : begin + length]) for begin in range(0, len(group), length)]
    return tasks


def _size(source: Source) -> int:
    if source.path is None:
        return len(source.graph)
    try:
        return Path(source.path).stat().st_size
    except (OSError, ValueError):
        return 0  # the worker says what is wrong with it
