"""``compare``: evaluate, align, and write."""

from __future__ import annotations

import dataclasses
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ktc._estimator import Estimator
from ktc._models import given_model
from ktc._variants import (
    DEFAULT_NAME,
    PLATFORMS,
    check_ip_configs,
    file_name,
    model_name,
    parse_platforms,
    parse_settings,
)
from ktc.comparison._comparison import Cell, Comparison, ComparisonColumn, ComparisonRow, column_pairs
from ktc.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import onnx

    from ktc._variants import Setting
    from ktc.comparison._align import Group
    from ktc.comparison._comparison import Status, Version
    from ktc.evaluator import NodeEvaluation

    Model = onnx.ModelProto | str | os.PathLike[str]

__all__ = ["compare"]

logger = logging.getLogger(__name__)

_VERSIONS: tuple[Version, Version] = ("model", "other")


def compare(
    model: Model,
    other: Model | None = None,
    *,
    platforms: str | int | Iterable[str | int] = PLATFORMS,
    settings: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Evaluate a model on several platforms, with several settings, and against another version, side by side.

    Backend nodes are aligned by the ONNX nodes that they compute, through different fusions; between two versions
    ONNX nodes correspond that write a tensor of the same name, and else those of the same name.

    Parameters
    ----------
    model : onnx.ModelProto or path
        The model.
    other : onnx.ModelProto or path, optional
        Another version of it, for example the optimised one.
    platforms : list of str
        Names of platforms.
    settings : list of dict, or dict of dict, optional
        Arguments of ``ModelConfig.evaluate`` (not ``output_dir`` and ``advice``), ``ip_config`` included; ``"name"`` or
        the key names them. None is the defaults.
    output_dir : path, optional
        Folder for ``comparison.html``, ``comparison.json`` and ``comparison.txt``; without it nothing is written.

    Returns
    -------
    Comparison
        One column per platform, setting and version. A setting that a platform refuses makes a column that says so.

    Raises
    ------
    ConfigError
        An argument is not what it has to be, or the folder cannot be written to.
    ModelError
        A model cannot be read, is not valid ONNX, or has an input whose shape is not known.
    """
    chosen = parse_platforms(platforms)
    parsed = parse_settings(settings)
    check_ip_configs(chosen, parsed)
    folder = None
    if output_dir is not None:
        from ktc._folders import output_folder

        folder = output_folder(output_dir, "")
    given = [model] if other is None else [model, other]
    estimators = [
        Estimator(given_model(item, argument), model_name(item), file_name(item))
        for item, argument in zip(given, _VERSIONS, strict=False)
    ]
    columns = tuple(
        _column(estimator, version, platform, setting, _label(estimators, version, platform, setting, parsed))
        for platform in chosen
        for setting in parsed
        for estimator, version in zip(estimators, _VERSIONS, strict=False)
    )
    comparison = Comparison(tuple(e.name for e in estimators), columns, _rows(estimators, columns))
    if folder is None:
        return comparison
    from ktc.comparison._write import write_comparison

    files = write_comparison(comparison, folder)
    logger.info("Wrote %s", ", ".join(map(str, files)))
    return dataclasses.replace(comparison, files=MappingProxyType({path.name: path for path in files}))


def _label(
    estimators: list[Estimator], version: Version, platform: str, setting: Setting, settings: tuple[Setting, ...]
) -> str:
    parts = [f"KL{platform}"]
    if len(settings) > 1 or setting.name != DEFAULT_NAME:
        parts.append(setting.name)
    if len(estimators) > 1:
        names = [estimator.name for estimator in estimators]
        parts.append(names[_VERSIONS.index(version)] if names[0] != names[1] else version)
    return " ".join(parts)


def _column(estimator: Estimator, version: Version, platform: str, setting: Setting, label: str) -> ComparisonColumn:
    evaluation, error = None, None
    try:
        evaluation = estimator.evaluate(platform, setting.settings, setting.ip_config)
    except ConfigError as refusal:
        error = str(refusal)
    return ComparisonColumn(version, estimator.name, platform, setting.name, setting.settings, label, evaluation, error)


def _rows(estimators: list[Estimator], columns: tuple[ComparisonColumn, ...]) -> tuple[ComparisonRow, ...]:
    from ktc.comparison._align import align, match_operators

    operators = [estimator.operators for estimator in estimators]
    matches = match_operators(operators[0], operators[1]) if len(operators) > 1 else {}
    nodes = [() if column.evaluation is None else column.evaluation.nodes for column in columns]
    groups = align(
        [(_VERSIONS.index(column.version), part) for column, part in zip(columns, nodes, strict=True)],
        operators,
        matches,
    )
    rows = [_row(group, columns, nodes) for group in groups]
    pairs = column_pairs(columns)
    if not pairs:
        return tuple(rows)
    totals = [columns[first].time_ms or 0.0 for first, _ in pairs]
    return tuple(sorted(rows, key=lambda row: _weight(row, totals), reverse=True))


def _weight(row: ComparisonRow, totals: list[float]) -> float:
    """The largest change of a row, as a part of the total time of its pair."""
    changes = zip(row.changes_ms, totals, strict=True)
    return max((abs(change) / (total or 1.0) for change, total in changes if change is not None), default=0.0)


def _row(group: Group, columns: tuple[ComparisonColumn, ...], nodes: list[tuple[NodeEvaluation, ...]]) -> ComparisonRow:
    cells = tuple(
        _cell([part[index] for index in positions]) for positions, part in zip(group.nodes, nodes, strict=True)
    )
    backends = dict.fromkeys(backend for cell in cells if cell is not None for backend in cell.backends)
    changes = tuple(_change(first, second, columns, cells) for first, second in column_pairs(columns))
    return ComparisonRow(
        origins=group.origins[0],
        other_origins=group.origins[1] if len(group.origins) > 1 else (),
        operators=tuple(backends),
        status=_status(columns, cells),
        cells=cells,
        changes_ms=changes,
    )


def _status(columns: tuple[ComparisonColumn, ...], cells: tuple[Cell | None, ...]) -> Status | None:
    if all(column.version == "model" for column in columns):
        return None
    # Versions that were not evaluated at all say nothing about which nodes they have.
    evaluated = {column.version for column in columns if column.evaluation is not None}
    present = {column.version for column, cell in zip(columns, cells, strict=True) if cell is not None}
    if "model" in evaluated - present:
        return "added"
    return "removed" if "other" in evaluated - present else "both"


def _change(
    first: int, second: int, columns: tuple[ComparisonColumn, ...], cells: tuple[Cell | None, ...]
) -> float | None:
    if columns[first].evaluation is None or columns[second].evaluation is None:
        return None
    before, after = cells[first], cells[second]
    return (after.time_ms if after is not None else 0.0) - (before.time_ms if before is not None else 0.0)


def _cell(nodes: list[NodeEvaluation]) -> Cell | None:
    if not nodes:
        return None
    on_cpu = [node for node in nodes if node.type == "CPU"]
    return Cell(
        nodes=tuple(node.name for node in nodes),
        backends=tuple(node.backend for node in nodes),
        time_ms=sum(node.sync_ms for node in nodes),
        mac_cycles=sum(node.mac_cycles for node in nodes),
        read_bytes=sum(node.read_bytes for node in nodes),
        write_bytes=sum(node.write_bytes for node in nodes),
        weight_bytes=sum(node.weight_bytes for node in nodes),
        bound=max(nodes, key=lambda node: node.sync_ms).bound,
        cpu_nodes=len(on_cpu),
        reason=on_cpu[0].reason if on_cpu else None,
    )
