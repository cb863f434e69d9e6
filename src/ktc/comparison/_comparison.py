"""The result of a comparison: columns, and rows of aligned nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ktc.evaluator import Evaluation, EvaluationSettings
    from ktc.evaluator.evaluation import Bound

__all__ = ["Cell", "Comparison", "ComparisonColumn", "ComparisonRow", "Status", "Version"]

Version = Literal["model", "other"]
Status = Literal["both", "added", "removed"]


@dataclass(frozen=True, slots=True)
class ComparisonColumn:
    """One evaluation of a comparison, or why there is none.

    Attributes
    ----------
    version : {"model", "other"}
        Which of the two models.
    model : str
        Its name.
    platform : str
        ``"520"``, ``"720"``, ``"530"``, ``"630"`` or ``"730"``.
    setting : str
        Name of the settings.
    settings : EvaluationSettings
        The settings.
    label : str
        What tells the column from the others.
    evaluation : Evaluation or None
        The evaluation, None if it failed.
    error : str or None
        The sentence that says why there is no evaluation.
    """

    version: Version
    model: str
    platform: str
    setting: str
    settings: EvaluationSettings
    label: str
    evaluation: Evaluation | None
    error: str | None = None

    @property
    def fps(self) -> float | None:
        """Inferences per second; None without an evaluation, or if nothing runs on the NPU."""
        return self.evaluation.fps if self.evaluation is not None and self.evaluation.time_ms else None

    @property
    def time_ms(self) -> float | None:
        """Time of one inference, in ms; None without an evaluation."""
        return None if self.evaluation is None else self.evaluation.time_ms


@dataclass(frozen=True, slots=True)
class Cell:
    """What the nodes of one row cost in one column.

    Attributes
    ----------
    nodes : tuple of str
        Names of the backend nodes.
    backends : tuple of str
        Their operators.
    time_ms : float
        Their part of the total time, in ms.
    mac_cycles : float
        Cycles of the MAC array.
    read_bytes, write_bytes, weight_bytes : int
        DRAM traffic.
    bound : str
        What determines the time of the costliest of them.
    cpu_nodes : int
        How many of them run on the CPU.
    reason : str or None
        Why the first of these does.
    """

    nodes: tuple[str, ...]
    backends: tuple[str, ...]
    time_ms: float
    mac_cycles: float
    read_bytes: int
    write_bytes: int
    weight_bytes: int
    bound: Bound
    cpu_nodes: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One part of the network in all columns.

    Attributes
    ----------
    origins, other_origins : tuple of str
        ONNX nodes of the model, and of its other version.
    operators : tuple of str
        Backend operators that occur, without repetition.
    status : {"both", "added", "removed"} or None
        Whether both versions have it; None where one model is compared with itself.
    cells : tuple of Cell or None
        One for each column; None where it has no such node, or no evaluation.
    changes_ms : tuple of float or None
        For each pair of columns (`Comparison.pairs`): time of the other version less that of the model, in ms;
        None where an evaluation is missing.
    """

    origins: tuple[str, ...]
    other_origins: tuple[str, ...]
    operators: tuple[str, ...]
    status: Status | None
    cells: tuple[Cell | None, ...]
    changes_ms: tuple[float | None, ...] = ()

    @property
    def name(self) -> str:
        """The ONNX nodes as one text."""
        return " + ".join(self.origins or self.other_origins)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Evaluations side by side; prints as text, and shows itself in notebooks.

    Attributes
    ----------
    models : tuple of str
        Names of the one or two models.
    columns : tuple of ComparisonColumn
        One per platform, setting and version.
    rows : tuple of ComparisonRow
        One model: in the order of the network. Two: the largest change first, as a part of the total time.
    files : Mapping of str to Path
        The files that were written: name to path.
    """

    models: tuple[str, ...]
    columns: tuple[ComparisonColumn, ...]
    rows: tuple[ComparisonRow, ...]
    files: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Positions of the columns (model, other) that differ in the version alone; empty for one model."""
        return column_pairs(self.columns)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``comparison.json``, as `ktc.comparison.schema` describes them."""
        from ktc.comparison._json import render_json

        return render_json(self)

    def to_text(self, limit: int | None = None) -> str:
        """Render as text.

        Parameters
        ----------
        limit : int, optional
            Show so many rows; of one model those that take the largest part of any column's time.
        """
        from ktc.comparison._text import render_text

        return render_text(self, limit)

    def to_html(self) -> str:
        """Render as one self-contained HTML page without scripts."""
        from ktc.comparison._html import render_html

        return render_html(self)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from ktc.comparison._html import render_notebook

        return render_notebook(self)


def column_pairs(columns: tuple[ComparisonColumn, ...]) -> tuple[tuple[int, int], ...]:
    """Positions of the columns (model, other) that differ in the version alone."""
    first = {(c.platform, c.setting): index for index, c in enumerate(columns) if c.version == "model"}
    return tuple(
        (first[column.platform, column.setting], index)
        for index, column in enumerate(columns)
        if column.version == "other"
    )
