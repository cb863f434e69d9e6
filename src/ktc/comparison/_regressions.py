"""A comparison against an earlier one: what became slower, and what fell to the CPU."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ktc.errors import ConfigError, FormatError

if TYPE_CHECKING:
    import os

    from ktc.comparison._comparison import Comparison, ComparisonColumn

__all__ = ["Baseline", "BaselineColumn", "Regression", "find_regressions", "read_baseline"]

#: Larger than the comparison of a network of ten thousand nodes in a hundred columns.
_LARGEST_FILE = 512 * 2**20
_MAJOR_VERSION = "1"

Key = tuple[str, str, str]  # version, platform, setting


@dataclass(frozen=True, slots=True)
class BaselineColumn:
    """What is remembered of one column.

    Attributes
    ----------
    fps : float or None
        Inferences per second; None if nothing ran on the NPU, or there was no evaluation.
    evaluated : bool
        There was an evaluation.
    cpu_origins : frozenset of str
        ONNX nodes that ran on the CPU.
    """

    fps: float | None
    evaluated: bool
    cpu_origins: frozenset[str]


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
    2. An ONNX node runs on the CPU that did not in the baseline's column.
    3. A column that the baseline has could not be evaluated.

    CPU nodes have no time, so a column whose nodes moved from the CPU to the NPU counts as slower; make a new baseline
    then. Columns are matched by version (model or other), platform and setting, whatever the models are called; those
    that only one side has are left out.

    Raises
    ------
    ConfigError
        `fail_below` is not a positive number, or there is no column in common.
    """
    number = isinstance(fail_below, (int, float)) and not isinstance(fail_below, bool)
    if not number or not 0 < fail_below < math.inf:
        raise ConfigError(f"fail_below={fail_below!r} is not a positive number; give for example 0.95.")
    pairs = [(column, baseline.columns.get(_key(column))) for column in comparison.columns]
    known = [(column, before) for column, before in pairs if before is not None and before.evaluated]
    if not known:
        raise ConfigError(
            "the baseline has no evaluation of the same platforms and settings; make it with the same options."
        )
    return tuple(found for column, before in known for found in _worse(column, before, fail_below))


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
    fallen = (node for node in evaluation.cpu_nodes if before.cpu_origins.isdisjoint(node.origins))
    found += [Regression(column.label, "CPU node", "not on the CPU", f"{node.name}: {node.reason}") for node in fallen]
    return found


def _key(column: ComparisonColumn) -> Key:
    return column.version, column.platform, column.setting


def _column(path: Path, where: str, entry: object) -> tuple[Key, BaselineColumn]:
    if not isinstance(entry, dict):
        _refuse(path, f"{where} is not an object")
    version, platform, setting = (_text(path, where, entry, name) for name in ("version", "platform", "setting"))
    result = entry.get("result", "")
    if result is None:
        return (version, platform, setting), BaselineColumn(None, evaluated=False, cpu_origins=frozenset())
    if not isinstance(result, dict):
        _refuse(path, f"{where}.result is neither an object nor null")
    fps, nodes = result.get("fps", ""), result.get("cpu_nodes")
    number = isinstance(fps, (int, float)) and not isinstance(fps, bool)
    if fps is not None and not (number and 0 < fps <= sys.float_info.max):
        _refuse(path, f"{where}.result.fps is neither a positive number nor null")
    if not isinstance(nodes, list):
        _refuse(path, f"{where}.result.cpu_nodes is not a list")
    origins: set[str] = set()
    for index, node in enumerate(nodes):
        names = node.get("origins") if isinstance(node, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            _refuse(path, f"{where}.result.cpu_nodes[{index}].origins is not a list of names")
        origins.update(names)
    return (version, platform, setting), BaselineColumn(fps, evaluated=True, cpu_origins=frozenset(origins))


def _text(path: Path, where: str, entry: dict[str, object], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        _refuse(path, f"{where}.{name} is not a text")
    return value


def _parse(path: Path) -> object:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; give the JSON file that --json wrote.")
        if path.stat().st_size > _LARGEST_FILE:
            _refuse(path, f"is larger than {_LARGEST_FILE // 2**20} MiB")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError | FormatError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read ({reason}); give the JSON file that --json wrote.") from error
    try:
        document: object = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not JSON ({str(error)[:100]})")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse(path: Path, what: str) -> NoReturn:
    raise FormatError(f"{path}: {what}; write the baseline again with --json.")
