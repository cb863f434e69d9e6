"""Which operators a platform runs, and the sentence why it does not run the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ktc.frontend.conditions import CONDITIONS, OperatorView, explain
from ktc.frontend.inference import CONTROL_FLOW
from ktc.hardware.operators import decompositions, note_conditions, operator_support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktc.frontend.graph import Graph, Operator
    from ktc.hardware.platform import Platform

__all__ = ["NO_FORM", "Judge", "Verdict", "note_violation"]

#: What the user reads where none of the forms of a note holds.
NO_FORM = "{op} {window} is none of the forms that {title} takes: {text}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an operator runs on the NPU.

    Attributes
    ----------
    reason : str or None
        None if it runs; otherwise the sentence why not.
    steps : tuple of str
        Operators it is decomposed into; empty if it runs as it is.
    general : bool
        It holds for all operators of the graph with the same signature, and not of this one alone.
    """

    reason: str | None = None
    steps: tuple[str, ...] = ()
    general: bool = True


_RUNS = Verdict()


class Judge:
    """Holds the operators of one graph against the table of one platform.

    Parameters
    ----------
    graph : Graph
        Where the operators stand; shapes are inferred already.
    platform : Platform
        The platform.
    """

    def __init__(self, graph: Graph, platform: Platform) -> None:
        self._graph, self._platform = graph, platform
        self._verdicts: dict[tuple[int, str], Verdict] = {}

    def __call__(self, operator: Operator, as_type: str | None = None) -> Verdict:
        """Decide whether an operator runs.

        Parameters
        ----------
        operator : Operator
            The operator.
        as_type : str, optional
            Judge it as another operator that it is equivalent to, e.g. Mul by a constant as BatchNormalization.

        Returns
        -------
        Verdict
            The decision with its reason.
        """
        kind = as_type or operator.type
        key = self._graph.signature(operator), kind
        known = self._verdicts.get(key)
        if known is not None:
            return known
        values = self._graph.values
        unknown = [n for n in (*operator.inputs, *operator.outputs) if n and values[n].shape is None]
        view = OperatorView(operator, self._graph, self._platform.title)
        verdict = _verdict(view, kind, unknown, self._platform)
        if unknown or view.content_read:
            return replace(verdict, general=False)
        self._verdicts[key] = verdict
        return verdict


def _verdict(view: OperatorView, kind: str, unknown: Sequence[str], platform: Platform) -> Verdict:
    """Judge one operator as ``kind``; ``unknown`` names its operands without a shape."""
    operator, title = view.operator, platform.title
    if operator.domain:
        return Verdict(f"{operator.type} of the domain {operator.domain!r} is unknown to {title}.")
    if kind in CONTROL_FLOW:
        return Verdict(f"{kind} is control flow, whose cost depends on the data; {title} is not estimated for it.")
    if unknown:
        return Verdict(f"{kind}: the shape of {unknown[0]!r} is not known before it runs.")
    support = operator_support(kind, platform.name)
    if support is not None and support.supported and support.note is None:
        return _RUNS
    steps = tuple(decompositions().get(kind, {}).get("steps", ()))
    if support is not None and support.supported and support.note is not None:
        broken = note_violation(view, support.note)
        if broken is not None:
            return Verdict(broken)
        note = note_conditions()[support.note]
        if "twice" in note and CONDITIONS[note["twice"]](view) is not None:
            return Verdict(steps=(kind, kind))
        return Verdict(steps=steps) if note.get("decomposed", False) else _RUNS
    missing = sorted({step for step in steps if not _lists(step, platform.name)})
    if steps and not missing:
        broken = _rank_violation(view, steps, platform.name)
        return Verdict(broken) if broken else Verdict(steps=steps)
    if steps:
        return Verdict(f"{kind} would need {', '.join(missing)}, which {title} does not run.")
    if support is None:
        return Verdict(f"{kind} is not in the operator list of {title}.")
    return Verdict(f"{kind} is not supported by {title}.")


def _lists(operator: str, platform: str) -> bool:
    support = operator_support(operator, platform)
    return support is not None and support.supported


def _rank_violation(view: OperatorView, steps: Sequence[str], platform: str) -> str | None:
    """The first rank limit among the steps of a decomposition that the operator breaks."""
    for step in steps:
        support = operator_support(step, platform)
        note = note_conditions().get(support.note) if support is not None and support.note else None
        for name, limits in (note or {}).get("all", ()):
            if name == "rank_at_most" and (values := CONDITIONS[name](view, **limits)) is not None:
                return explain(name, view, values) + "."
    return None


def note_violation(view: OperatorView, note: int | None) -> str | None:
    """The sentence that says which condition of a note does not hold; None if all hold."""
    if note is None:
        return None
    condition = note_conditions()[note]
    twice = condition.get("twice")
    broken = _first_broken(view, [check for check in condition.get("all", ()) if check[0] != twice])
    if broken is not None:
        return broken + "."
    forms = condition.get("any", ())
    if not forms:
        return None
    failures = [_first_broken(view, form) for form in forms]
    if None in failures:
        return None
    return NO_FORM.format(op=view.operator.type, window=view.window, title=view.title, text=condition["text"])


def _first_broken(view: OperatorView, checks: Sequence[tuple[str, dict[str, Any]]]) -> str | None:
    for name, limits in checks:
        values = CONDITIONS[name](view, **limits)
        if values is not None:
            return explain(name, view, values)
    return None
