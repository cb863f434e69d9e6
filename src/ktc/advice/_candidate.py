"""What generators read, and what they propose."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import onnx

from ktc.advice import changes
from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import inferred
from ktc.hardware.user_config import configuration_in_force, user_figures

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from ktc.evaluator import Evaluation, EvaluationSettings, NodeEvaluation
    from ktc.frontend import Program
    from ktc.frontend.graph import Graph
    from ktc.hardware.platform import Platform

__all__ = ["Candidate", "Situation", "edit", "listed"]

SAME_RESULTS = "The results stay the same."
RETRAIN = "The results change: train the changed network again, and check its accuracy."

_SHOWN = 2
Value = TypeVar("Value")


class Situation:
    """A model as it is evaluated now.

    Parameters
    ----------
    model : onnx.ModelProto
        The model with its weights; is not changed.
    skeleton : onnx.ModelProto
        The same without the data of large constants.
    platform : Platform
        The platform.
    settings : EvaluationSettings
        The settings.
    program : Program
        The model lowered for the platform.
    evaluation : Evaluation
        What it costs.
    path : Path
        How snippets call the model's file.
    ip_config : path or mapping, optional
        Where the platform's figures come from; None for the packaged ones or those of the environment.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        skeleton: onnx.ModelProto,
        platform: Platform,
        settings: EvaluationSettings,
        program: Program,
        evaluation: Evaluation,
        path: Path,
        ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.skeleton, self.platform, self.settings = model, skeleton, platform, settings
        self.program, self.evaluation, self.path = program, evaluation, path
        self._ip_config = configuration_in_force(ip_config)
        self.advised_path = path.with_name(f"{path.stem}.advised.onnx")

    @cached_property
    def wiring(self) -> Wiring:
        """Who writes and reads each tensor."""
        return Wiring(self.skeleton.graph)

    @cached_property
    def graph(self) -> Graph:
        """Shapes, and contents of small constants."""
        return inferred(self.skeleton)

    @cached_property
    def labels(self) -> dict[str, str]:
        """First output of each ONNX node -> its name in reports."""
        return self.wiring.labels()

    def names(self, nodes: Iterable[onnx.NodeProto]) -> tuple[str, ...]:
        """Names of nodes as reports give them."""
        return tuple(self.labels[node.output[0]] for node in nodes)

    @cached_property
    def _rows(self) -> dict[str, list[NodeEvaluation]]:
        rows = defaultdict(list)
        for row in self.evaluation.nodes:
            for origin in row.origins:
                rows[origin].append(row)
        return rows

    def rows(self, names: Iterable[str]) -> list[NodeEvaluation]:
        """What nodes cost: each backend node that computes one of them, once."""
        found = {id(row): row for name in names for row in self._rows.get(name, ())}
        return list(found.values())

    @cached_property
    def ip_config(self) -> str | dict[str, Any] | None:
        """The path of the user's figures, or the figures as a literal; None if all are the packaged ones."""
        figures = {figure.name: figure.value for figure in user_figures(self.platform)}
        if not figures:
            return None
        return figures if isinstance(self._ip_config, Mapping) else str(self._ip_config)

    @property
    def ip_config_flag(self) -> str | None:
        """The option of command lines for it, with a space in front; None if no command line can hold it."""
        if self.ip_config is None:
            return ""
        path = self.quoted(Path(self.ip_config)) if isinstance(self.ip_config, str) else None
        return None if path is None else f" --ip-config {path}"

    def quoted(self, path: Path) -> str | None:
        """A path as a shell takes it; None if no line of text can hold it."""
        return shlex.quote(str(path)) if str(path).isprintable() else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that may help.

    Attributes
    ----------
    kind, nodes, text, condition, exact, snippet, command
        As in `ktc.advice.Advice`.
    change : callable
        Makes the changed model and settings; a model of None stands for the one that is.
    time_ms : float
        Time of the backend nodes concerned: no more than this can be gained (decides what is tried first, and
        never what is reported).
    cpu_nodes : int
        How many of them fall to the CPU.
    group : str
        Of candidates with the same group, which exclude one another, only the best is reported.
    key : str
        Name of the result for ``beyond``.
    beyond : tuple of str
        Keys of earlier candidates, over each of which this one has to gain as well.
    """

    kind: str
    nodes: tuple[str, ...]
    text: str
    condition: str
    exact: bool
    snippet: str
    change: Callable[[], tuple[onnx.ModelProto | None, EvaluationSettings]]
    time_ms: float
    cpu_nodes: int = 0
    command: str | None = None
    group: str = ""
    key: str = ""
    beyond: tuple[str, ...] = ()


def edit(
    situation: Situation,
    kind: str,
    nodes: Sequence[str],
    text: str,
    function: Callable[..., None],
    *arguments: object,
    exact: bool = False,
    group: str = "",
    **options: object,
) -> Candidate:
    """Propose a function of `ktc.advice.changes`; the snippet calls it just as the evaluation does."""

    def change() -> tuple[onnx.ModelProto, EvaluationSettings]:
        copy = onnx.ModelProto()
        copy.CopyFrom(situation.skeleton)
        function(copy, *arguments, **options)
        return copy, situation.settings

    if getattr(changes, function.__name__, None) is not function:
        raise ValueError(f"{function.__name__} is not a function of ktc.advice.changes")
    values = [repr(value) for value in arguments] + [f"{name}={value!r}" for name, value in options.items()]
    rows = situation.rows(nodes)
    return Candidate(
        kind=kind,
        nodes=tuple(nodes),
        text=text,
        condition=SAME_RESULTS if exact else RETRAIN,
        exact=exact,
        snippet=(
            "import onnx\n\nfrom ktc.advice import changes\n\n"
            f"model = onnx.load({str(situation.path)!r})\n"
            f"changes.{function.__name__}({', '.join(['model', *values])})\n"
            f"onnx.save(model, {str(situation.advised_path)!r})\n"
        ),
        change=change,
        time_ms=sum(row.sync_ms for row in rows),
        cpu_nodes=sum(row.type == "CPU" for row in rows),
        group=group,
    )


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: ``"a, b and 3 more"``."""
    if len(names) <= _SHOWN + 1:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
