"""What ``ModelConfig.evaluate`` returns: a text that also knows its numbers."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ktc.report._html import render_notebook
from ktc.report._json import render_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ktc.advice import Advice, Advised
    from ktc.evaluator.evaluation import Evaluation, NodeEvaluation

__all__ = ["EvaluationReport"]


class EvaluationReport(str):
    """The text report of an evaluation, which also carries the evaluation itself.

    It is a `str` in every respect; equality and hash are those of the text.

    Parameters
    ----------
    text : str
        The text report.
    evaluation : Evaluation
        What the text reports.
    files : iterable of Path
        The files that were written.
    advised : Advised, optional
        What would help.
    """

    _evaluation: Evaluation
    _files: tuple[Path, ...]
    _advised: Advised | None

    def __new__(
        cls, text: str, evaluation: Evaluation, files: Iterable[Path] = (), advised: Advised | None = None
    ) -> EvaluationReport:
        report = super().__new__(cls, text)
        report._evaluation = evaluation
        report._files = tuple(files)
        report._advised = advised
        return report

    def __reduce__(self) -> tuple[type[EvaluationReport], tuple[str, Evaluation, tuple[Path, ...], Advised | None]]:
        # For pickle and copy: the default would call __new__ with the text alone.
        return type(self), (str(self), self._evaluation, self._files, self._advised)

    @property
    def evaluation(self) -> Evaluation:
        """Everything that the report is made of."""
        return self._evaluation

    @property
    def fps(self) -> float:
        """Estimated inferences per second (infinite if nothing runs on the NPU)."""
        return self._evaluation.fps

    @property
    def time_ms(self) -> float:
        """Estimated time of one inference, in ms."""
        return self._evaluation.time_ms

    @property
    def nodes(self) -> tuple[NodeEvaluation, ...]:
        """All backend nodes, in execution order."""
        return self._evaluation.nodes

    @property
    def cpu_nodes(self) -> tuple[NodeEvaluation, ...]:
        """The nodes that fall to the CPU, each with its reason."""
        return self._evaluation.cpu_nodes

    @property
    def advice(self) -> tuple[Advice, ...]:
        """Changes that would help, each evaluated, the largest gain first; empty if none was sought or found."""
        return self._advised.items if self._advised is not None else ()

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that were written: file name to path."""
        return MappingProxyType({path.name: path for path in self._files})

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``model_fx_report.json``."""
        return render_json(self._evaluation, self._advised)

    def _repr_html_(self) -> str:
        return render_notebook(self._evaluation)
