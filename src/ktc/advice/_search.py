"""Try the candidates, within a budget, and keep what helps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktc.advice._advice import Advice, Advised
from ktc.advice._candidate import Situation
from ktc.advice._wiring import weightless
from ktc.advice.generators import GENERATORS, OPTIMIZER
from ktc.errors import KtcError
from ktc.evaluator import evaluate
from ktc.frontend import lower

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx

    from ktc.advice._candidate import Candidate
    from ktc.evaluator import Evaluation, EvaluationSettings
    from ktc.frontend import Program
    from ktc.hardware.platform import Platform

__all__ = ["FULL", "QUICK", "Budget", "find_advice"]

logger = logging.getLogger(__name__)

#: Evaluating other settings of a lowered model costs about this part of lowering and evaluating a changed one.
_SETTINGS_COST = 0.2
#: And running kneronnxopt, its evaluation included.
_OPTIMIZER_COST = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be tried.

    Attributes
    ----------
    candidates : int
        Number of evaluations.
    nodes : int
        ONNX nodes over all evaluations: what their time is proportional to. At least two are made in any case.
    optimizer : bool
        Whether kneronnxopt may be run; its import alone takes half a second.
    """

    candidates: int
    nodes: int
    optimizer: bool


#: For every evaluation: a fraction of a second.
QUICK = Budget(candidates=8, nodes=6000, optimizer=False)
#: For who asks for advice: seconds.
FULL = Budget(candidates=40, nodes=60_000, optimizer=True)


@dataclass(frozen=True, slots=True)
class _Result:
    time_ms: float
    cpu_nodes: int
    cpu_ms: float | None

    def helps(self, other: _Result, threshold: float) -> bool:
        """Whether this is better than the other: less time, or fewer CPU nodes, and not more of these."""
        if self.cpu_nodes != other.cpu_nodes:
            return self.cpu_nodes < other.cpu_nodes
        return self.time_ms < (1 - threshold) * other.time_ms


def find_advice(
    model: onnx.ModelProto,
    platform: Platform,
    settings: EvaluationSettings,
    *,
    path: str | Path = "model.onnx",
    program: Program | None = None,
    evaluation: Evaluation | None = None,
    budget: Budget = FULL,
    threshold: float = 0.01,
    ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
) -> Advised:
    """Change the model, evaluate each changed one, and report what helps; see `ktc.advise`.

    Parameters
    ----------
    model : onnx.ModelProto
        The model; it is not changed.
    platform : Platform
        The platform.
    settings : EvaluationSettings
        The settings as they are.
    path : path
        How snippets call the model's file.
    program, evaluation : Program, Evaluation, optional
        What is known of the model already.
    budget : Budget
        How much may be tried.
    threshold : float
        Part of the time that has to be gained, unless CPU nodes become fewer.
    ip_config : path or mapping, optional
        Where the platform's figures come from, for code and commands that need them again.
    """
    program = lower(model, platform) if program is None else program
    evaluation = evaluate(program, platform, settings) if evaluation is None else evaluation
    situation = Situation(model, weightless(model), platform, settings, program, evaluation, Path(path), ip_config)
    before = _result(evaluation)
    candidates = _worthwhile(situation, budget, threshold)
    results: dict[int, _Result] = {}
    by_key: dict[str, _Result] = {}
    spent = 0.0
    left = 0
    for index, candidate in enumerate(candidates):
        affordable = spent < budget.nodes and len(results) < budget.candidates
        if not affordable and len(results) >= min(2, budget.candidates):
            left += 1
            continue
        result, cost = _try(situation, candidate)
        spent += cost
        if result is not None:
            results[index] = result
            by_key[candidate.key] = result
    helping = {
        index: result
        for index, result in results.items()
        if all(result.helps(by_key.get(key, before), threshold) for key in candidates[index].beyond)
        and result.helps(before, threshold)
    }
    chosen = _best_of_groups(candidates, helping)
    items = [_advice(candidates[index], before, helping[index], evaluation) for index in chosen]
    items.sort(key=lambda item: (-item.gain, item.cpu_nodes_after, not item.exact, item.text))
    return Advised(tuple(items), len(results), tuple(_left_out(left, situation, budget)))


def _worthwhile(situation: Situation, budget: Budget, threshold: float) -> list[Candidate]:
    """Candidates that can gain enough, those first that can gain most; options of the optimizer come last.

    Options cost most, and most of them only matter to few models.
    """
    total_ms = situation.evaluation.time_ms
    total_cpu = len(situation.evaluation.cpu_nodes)
    graph_generators = () if situation.model.functions else GENERATORS
    generators = (*((OPTIMIZER,) if budget.optimizer else ()), *graph_generators)
    found: list[Candidate] = []
    for generator in generators:
        try:
            found.extend(generator(situation))
        except Exception as error:  # a bug of ours in an extra must not take the report from the caller
            logger.warning("no advice by %s; please report this failure: %s", generator.__name__, error, exc_info=True)
    found = [item for item in found if item.cpu_nodes or item.time_ms > threshold * total_ms]

    def promise(item: Candidate) -> float:
        if item.beyond:
            return 0.0
        return item.time_ms / max(total_ms, 1e-12) + item.cpu_nodes / max(total_cpu, 1)

    return sorted(found, key=promise, reverse=True)


def _try(situation: Situation, candidate: Candidate) -> tuple[_Result | None, float]:
    """What a candidate brings, None if it cannot be made; and its cost in nodes."""
    try:
        model, settings = candidate.change()
        if model is None:
            evaluation = evaluate(situation.program, situation.platform, settings)
            return _result(evaluation), _SETTINGS_COST * len(situation.skeleton.graph.node)
        evaluation = evaluate(lower(model, situation.platform), situation.platform, settings)
        cost = _OPTIMIZER_COST if candidate.kind == "optimizer" else 1
        return _result(evaluation), cost * len(situation.skeleton.graph.node)
    except KtcError as error:
        logger.info("no advice from '%s': %s", candidate.text, error)
    except Exception as error:  # as above
        logger.warning("'%s' failed; please report this failure: %s", candidate.text, error, exc_info=True)
    return None, len(situation.skeleton.graph.node)


def _result(evaluation: Evaluation) -> _Result:
    cpu_ms = None if evaluation.cpu_nodes_without_time else evaluation.cpu_time_ms
    return _Result(evaluation.time_ms, len(evaluation.cpu_nodes), cpu_ms)


def _best_of_groups(candidates: list[Candidate], helping: dict[int, _Result]) -> list[int]:
    """Of each group the one with the fewest CPU nodes; then an exact one, the first proposed, the fastest."""
    best: dict[str, int] = {}
    alone = []

    def rank(index: int) -> tuple[int, bool, float]:
        return helping[index].cpu_nodes, not candidates[index].exact, helping[index].time_ms

    for index in helping:
        group = candidates[index].group
        if not group:
            alone.append(index)
        elif group not in best or rank(index) < rank(best[group]):
            best[group] = index
    return [*alone, *best.values()]


def _advice(candidate: Candidate, before: _Result, after: _Result, evaluation: Evaluation) -> Advice:
    return Advice(
        kind=candidate.kind,
        nodes=candidate.nodes,
        text=candidate.text,
        condition=candidate.condition,
        exact=candidate.exact,
        snippet=candidate.snippet,
        command=candidate.command,
        time_before_ms=before.time_ms,
        time_after_ms=after.time_ms,
        cpu_nodes_before=before.cpu_nodes,
        cpu_nodes_after=after.cpu_nodes,
        expected_error_percent=evaluation.expected_error_percent,
        cpu_ms_before=before.cpu_ms,
        cpu_ms_after=after.cpu_ms,
    )


def _left_out(left: int, situation: Situation, budget: Budget) -> list[str]:
    path, flag = situation.quoted(situation.path), situation.ip_config_flag
    command = "python -m ktc.advise"
    if path and flag is not None:
        command += f" {situation.platform.name} {path}{flag}"
    elif flag is None:
        command = "ktc.advise(..., ip_config=...)"
    sentences = []
    if not budget.optimizer:
        sentences.append(f"The optimizer and its options were not tried here; this does: {command}")
    if left and budget.optimizer:
        sentences.append(f"{left} more changes were not tried, to save time; ktc.advise(..., candidates=N) tries N.")
    elif left:
        sentences.append(f"{left} more changes were not tried here, to save time; the same command tries more.")
    return sentences
