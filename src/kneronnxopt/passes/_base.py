"""What every pass is: a name, a docstring that draws the rewrite, and ``call``."""

from __future__ import annotations

import abc
import logging
import time
from typing import ClassVar

import onnx_ir as ir

from kneronnxopt.errors import OptimizationError
from kneronnxopt.passes._quantised import QUANTISERS, is_quantised

__all__ = ["ANY_OPERATOR", "FixedPoint", "NodePass", "Pass", "PassError"]

logger = logging.getLogger(__name__)

#: In ``NodePass.op_types``: every operator of the standard domain.
ANY_OPERATOR = "*"


class PassError(Exception):
    """A pass raised what it should not; the graph may be half edited.

    Parameters
    ----------
    name : str
        The pass.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"pass '{name}' fails")
        self.name = name


class Pass(ir.passes.InPlacePass):
    """A graph rewrite that never changes what the model computes.

    Attributes
    ----------
    name : str
        Unique, in snake case; users skip a pass by this name.
    """

    name: ClassVar[str]


class NodePass(Pass):
    """A pass that looks at one node of the main graph at a time.

    Attributes
    ----------
    op_types : tuple of str
        ONNX operators at which ``rewrite`` is tried; ``ANY_OPERATOR`` stands for all of them.
    rounds_otherwise : bool
        Whether results may differ in the last bits.  Not tried at nodes whose results are quantised soon after: there
        the last bit decides ties, and tips values by a whole step.
    """

    op_types: ClassVar[tuple[str, ...]]
    rounds_otherwise: ClassVar[bool] = False

    @abc.abstractmethod
    def rewrite(self, node: ir.Node) -> bool:
        """Rewrite the graph at ``node`` if every precondition holds; return whether anything changed."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Try ``rewrite`` at every node, once."""
        return ir.passes.PassResult(model, modified=bool(_sweep(model, [self], {})))


class FixedPoint(Pass):
    """Apply node passes that feed each other until none changes anything.

    One sweep costs one visit per node, whatever the number of passes.

    Parameters
    ----------
    passes : list of NodePass
        Tried at each node in this order.
    refresh : Pass
        Runs when the sweeps have come to rest; if it changes anything (finds shapes that were unknown), the
        sweeps start again.
    """

    name = "fixed_point"
    #: Bounds a pair of passes that undo each other; real models need fewer than ten sweeps.
    MAX_SWEEPS: ClassVar[int] = 100

    def __init__(self, passes: list[NodePass], refresh: Pass) -> None:
        self.passes = passes
        self.refresh = refresh
        self.counts: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Sweep until neither a sweep nor the refreshing pass changes anything."""
        self.counts, self.seconds = {}, {}
        refreshed = False
        for _ in range(self.MAX_SWEEPS):
            counts = _sweep(model, self.passes, self.seconds)
            for name, count in counts.items():
                self.counts[name] = self.counts.get(name, 0) + count
            if not counts:
                if not self.refresh(model).modified:
                    break
                refreshed = True
        else:
            logger.warning("the graph still changes after %d sweeps; stopped", self.MAX_SWEEPS)
        return ir.passes.PassResult(model, modified=bool(self.counts) or refreshed)


def _sweep(model: ir.Model, passes: list[NodePass], seconds: dict[str, float]) -> dict[str, int]:
    """Visit each node of the main graph once; return how often each pass changed something, add up their times."""
    by_type: dict[str, list[NodePass]] = {}
    for pass_ in passes:
        for op_type in pass_.op_types:
            by_type.setdefault(op_type, []).append(pass_)
    anywhere = by_type.pop(ANY_OPERATOR, [])
    candidates = {op_type: [p for p in passes if p in anywhere or p in own] for op_type, own in by_type.items()}
    quantised = any(node.op_type in QUANTISERS for node in model.graph)
    counts: dict[str, int] = {}
    start = time.perf_counter()
    for node in model.graph:
        if node.domain not in ("", "ai.onnx"):
            continue
        for pass_ in candidates.get(node.op_type, anywhere):
            if node.graph is None:  # removed by the pass before
                break
            if quantised and pass_.rounds_otherwise and is_quantised(node):
                continue
            try:
                acted = pass_.rewrite(node)
            except OptimizationError:  # about the model, for its user
                raise
            except Exception as error:
                raise PassError(pass_.name) from error
            if acted:
                counts[pass_.name] = counts.get(pass_.name, 0) + 1
            end = time.perf_counter()  # one look at the clock for each pass
            seconds[pass_.name] = seconds.get(pass_.name, 0.0) + end - start
            start = end
    return counts
