"""A comparison against an earlier one: what became slower, and what fell to the CPU."""

from __future__ import annotations

import json
import logging
import math
import re
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ktc.errors import ConfigError, FormatError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ktc.comparison._comparison import Comparison, ComparisonColumn
    from ktc.evaluator import NodeEvaluation

__all__ = ["Baseline", "BaselineColumn", "CpuNode", "Regression", "check_factor", "find_regressions", "read_baseline"]

logger = logging.getLogger(__name__)

#: Larger than the comparison of a network of ten thousand nodes in a hundred columns.
_LARGEST_FILE = 512 * 2**20
_MAJOR_VERSION = "1"

#: What nodes without a name are called, after their operator and position.
_POSITIONAL = re.compile(r"[A-Z][A-Za-z0-9]*_[0-9]+")

Key = tuple[str, str, str]  # version, platform, setting


@dataclass(frozen=True, slots=True)
class CpuNode:
    """What is remembered of one node on the CPU: its ONNX nodes, and its operator."""

    origins: tuple[str, ...]
    operator: str

    @property
    def positional(self) -> bool:
        """Whether its names say no more than its operator and where it stands."""
        return all(_POSITIONAL.fullmatch(name) for name in self.origins)


@dataclass(frozen=True, slots=True)
class BaselineColumn:
    """What is remembered of one column.

    Attributes
    ----------
    fps : float or None
        Inferences per second; None if nothing ran on the NPU, or there was no evaluation.
    evaluated : bool
        There was an evaluation.
    cpu_nodes : tuple of CpuNode
        What ran on the CPU.
    model : str or None
        What the model was called.
    """

    fps: float | None
    evaluated: bool
    cpu_nodes: tuple[CpuNode, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """An earlier comparison: (version, platform, setting) -> its column."""

    columns: dict[Key, BaselineColumn]


@dataclass(frozen=True, slots=True)
class Regression:
    """One thing that is worse than in the baseline.

    Attributes
    ----------
    column : str
        Label of the column.
    what : str
        ``"fps"``, ``"CPU node"`` or ``"evaluation"``.
    before, now : str
        Figures or words for the table.
    """

    column: str
    what: str
    before: str
    now: str


def read_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read a ``comparison.json``. The file is untrusted: what is used of it is validated, the rest is ignored.

    Raises
    ------
    FormatError
        The file is not a comparison of this version; the message says what is wrong, and where in it.
    ConfigError
        The file does not exist or cannot be read.
    """
    path = Path(path)
    document = _parse(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(version, str) or "columns" not in document:
        _refuse(path, "has no schema_version and columns, so it is no comparison")
    if version.split(".")[0] != _MAJOR_VERSION:
        _refuse(path, f"has schema_version {version[:20]!r}, and this version of ktc reads {_MAJOR_VERSION}.x")
    entries = document["columns"]
    if not isinstance(entries, list) or not entries:
        _refuse(path, "columns is not a list of evaluations")
    columns: dict[Key, BaselineColumn] = {}
    for index, entry in enumerate(entries):
        key, column = _column(path, f"columns[{index}]", entry)
        if key in columns:
            _refuse(path, f"columns[{index}] repeats version, platform and setting of an earlier one")
        columns[key] = column
    return Baseline(columns)


def find_regressions(comparison: Comparison, baseline: Baseline, fail_below: float = 0.95) -> tuple[Regression, ...]:
    """Find what is worse than in a baseline.

    1. The fps of a column are below `fail_below` times the baseline's, or nothing runs on the NPU any more.
    2. A node runs on the CPU for which there is none in the baseline's column: none of the same name, as often as
       names repeat, and none of the same operator where names are made up from positions.
    3. A column that the baseline has could not be evaluated.

    CPU nodes have no time, so a column whose nodes moved from the CPU to the NPU counts as slower; make a new baseline
    then. Columns are matched by version (model or other), platform and setting; those that only one side has are
    left out. A warning is logged where the models' names differ.

    Raises
    ------
    ConfigError
        `fail_below` is not a positive number, there is no column in common, or none of these has fps.
    """
    check_factor(fail_below)
    pairs = [(column, baseline.columns.get(_key(column))) for column in comparison.columns]
    known = [(column, before) for column, before in pairs if before is not None and before.evaluated]
    if not known:
        raise ConfigError(
            "the baseline has no evaluation of the same platforms and settings; make it with the same options."
        )
    if all(before.fps is None for _, before in known):
        raise ConfigError(
            "the baseline has no fps for these platforms and settings; make it with a model that runs on the NPU."
        )
    for names in dict.fromkeys((before.model, column.model) for column, before in known):
        if names[0] is not None and names[0] != names[1]:
            logger.warning("the baseline is of the model %s, compared is %s", *map(reprlib.repr, names))
    return tuple(found for column, before in known for found in _worse(column, before, fail_below))


def check_factor(fail_below: object) -> None:
    """Refuse a factor that is not a positive number, with a ConfigError."""
    number = isinstance(fail_below, (int, float)) and not isinstance(fail_below, bool)
    if not number or not 0 < fail_below < math.inf:  # type: ignore[operator]
        raise ConfigError(f"fail_below={fail_below!r} is not a positive number; give for example 0.95.")


def _worse(column: ComparisonColumn, before: BaselineColumn, fail_below: float) -> list[Regression]:
    from ktc.report._format import digits

    def rate(fps: float | None) -> str:
        return "none" if fps is None else digits(fps, 4)

    evaluation, now = column.evaluation, column.fps
    if evaluation is None:
        return [Regression(column.label, "evaluation", rate(before.fps), f"failed: {column.error}")]
    found = []
    if before.fps is not None and (now is None or now < fail_below * before.fps):
        ratio = "" if now is None else f" ({now / before.fps:.3f} times)"
        found.append(Regression(column.label, "fps", rate(before.fps), rate(now) + ratio))
    fallen = _fallen(evaluation.cpu_nodes, before.cpu_nodes)
    found += [Regression(column.label, "CPU node", "not on the CPU", f"{node.name}: {node.reason}") for node in fallen]
    return found


def _fallen(now: Sequence[NodeEvaluation], before: Sequence[CpuNode]) -> list[NodeEvaluation]:
    """The nodes that have no partner among earlier ones; so there are at least as many as were added in total.

    Partners are, in this order: nodes of the same names and operator; nodes that share a name; nodes of the same
    operator, where one of the two has names that are made up from positions, which change with any node before it.
    """
    rules: tuple[Callable[[CpuNode, CpuNode], bool], ...] = (
        CpuNode.__eq__,
        lambda node, other: (
            not (node.positional or other.positional) and not set(node.origins).isdisjoint(other.origins)
        ),
        lambda node, other: node.operator == other.operator and (node.positional or other.positional),
    )
    left = [(node, CpuNode(node.origins, node.backend)) for node in now]
    free = list(before)
    for same in rules:
        unmatched = []
        for node, known in left:
            partner = next((index for index, other in enumerate(free) if same(known, other)), None)
            if partner is None:
                unmatched.append((node, known))
            else:
                del free[partner]
        left = unmatched
    return [node for node, _ in left]


def _key(column: ComparisonColumn) -> Key:
    return column.version, column.platform, column.setting


def _column(path: Path, where: str, entry: object) -> tuple[Key, BaselineColumn]:
    if not isinstance(entry, dict):
        _refuse(path, f"{where} is not an object")
    version, platform, setting = (_text(path, where, entry, name) for name in ("version", "platform", "setting"))
    model = entry.get("model")
    model = model if isinstance(model, str) else None
    result = entry.get("result", "")
    if result is None:
        return (version, platform, setting), BaselineColumn(None, evaluated=False, cpu_nodes=(), model=model)
    if not isinstance(result, dict):
        _refuse(path, f"{where}.result is neither an object nor null")
    fps, nodes = result.get("fps", ""), result.get("cpu_nodes")
    number = isinstance(fps, (int, float)) and not isinstance(fps, bool)
    if fps is not None and not (number and 0 < fps <= sys.float_info.max):
        _refuse(path, f"{where}.result.fps is neither a positive number nor null")
    if not isinstance(nodes, list):
        _refuse(path, f"{where}.result.cpu_nodes is not a list")
    cpu_nodes = []
    for index, node in enumerate(nodes):
        names = node.get("origins") if isinstance(node, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            _refuse(path, f"{where}.result.cpu_nodes[{index}].origins is not a list of names")
        operator = node.get("operator")
        if not isinstance(operator, str):
            _refuse(path, f"{where}.result.cpu_nodes[{index}].operator is not a text")
        cpu_nodes.append(CpuNode(tuple(names), operator))
    return (version, platform, setting), BaselineColumn(fps, evaluated=True, cpu_nodes=tuple(cpu_nodes), model=model)


def _text(path: Path, where: str, entry: dict[str, object], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        _refuse(path, f"{where}.{name} is not a text")
    return value


def _parse(path: Path) -> object:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; give the JSON file that --json wrote.")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is no regular file; give the JSON file that --json wrote.")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            _refuse(path, f"is larger than {_LARGEST_FILE // 2**20} MiB")
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError | FormatError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read ({reason}); give the JSON file that --json wrote.") from error
    try:
        document: object = json.loads(content, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not JSON ({str(error)[:100]})")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {reprlib.repr(twice)} stands there twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse(path: Path, what: str) -> NoReturn:
    raise FormatError(f"{path}: {what}; write the baseline again with --json.")
