"""One piece of advice: what to change, and what that was found to bring."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Advice", "Advised"]


@dataclass(frozen=True, slots=True)
class Advice:
    """A change that was made to the model or its settings, and evaluated.

    Attributes
    ----------
    kind : str
        What is changed: ``"optimizer"``, ``"settings"``, ``"cut"``, ``"resize"``, ``"activation"``, ``"gate"``,
        ``"kernel"``, ``"channels"``, ``"pool"`` or ``"layout"``.
    nodes : tuple of str
        Names of the ONNX nodes concerned; empty if it is the whole model.
    text : str
        One sentence: what to do.
    condition : str
        One sentence: whether the results stay the same, and what has to be done if not.
    exact : bool
        The results stay the same (up to rounding of floats). Otherwise retrain, or check the accuracy.
    snippet : str
        Python code that makes this change.
    command : str or None
        Command line that makes it, if there is one.
    time_before_ms, time_after_ms : float
        Estimated time of one inference on the NPU, in ms. CPU nodes are not in it.
    cpu_nodes_before, cpu_nodes_after : int
        Number of nodes that fall to the CPU.
    expected_error_percent : float
        Typical error of either time, in percent.
    cpu_ms_before, cpu_ms_after : float or None
        Rough time of the CPU nodes on the host core, in ms: an order of magnitude; None if not known.
    """

    kind: str
    nodes: tuple[str, ...]
    text: str
    condition: str
    exact: bool
    snippet: str
    command: str | None
    time_before_ms: float
    time_after_ms: float
    cpu_nodes_before: int
    cpu_nodes_after: int
    expected_error_percent: float
    cpu_ms_before: float | None = None
    cpu_ms_after: float | None = None

    @property
    def gain(self) -> float:
        """Part of the time that is saved; negative if nodes come from the CPU, whose time was not counted."""
        return 1 - self.time_after_ms / self.time_before_ms if self.time_before_ms else 0.0

    @property
    def fps_before(self) -> float:
        """Inferences per second as it is (infinite if nothing runs on the NPU)."""
        return _fps(self.time_before_ms)

    @property
    def fps_after(self) -> float:
        """Inferences per second with the change."""
        return _fps(self.time_after_ms)

    @property
    def statement(self) -> str:
        """What the figures are: one sentence, the same honesty as in the report."""
        return (
            f"Both times are estimates with a typical error of {self.expected_error_percent:.0f} % each, made the same "
            "way; a gain below that is uncertain. Nothing was run on a chip; CPU nodes and the host are left out."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values, those of the properties included; None in place of infinite rates."""
        document = asdict(self)
        document["nodes"] = list(self.nodes)
        document["gain_percent"] = 100 * self.gain
        document["fps_before"] = self.fps_before if self.time_before_ms else None
        document["fps_after"] = self.fps_after if self.time_after_ms else None
        return document


@dataclass(frozen=True, slots=True)
class Advised:
    """All advice on one model.

    Attributes
    ----------
    items : tuple of Advice
        The largest gain first.
    tried : int
        Number of changes that were evaluated.
    left_out : tuple of str
        Sentences: what was not tried, and how to try it.
    """

    items: tuple[Advice, ...]
    tried: int
    left_out: tuple[str, ...] = ()


def _fps(time_ms: float) -> float:
    return 1000.0 / time_ms if time_ms else float("inf")
