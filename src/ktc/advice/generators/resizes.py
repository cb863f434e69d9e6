"""Resizing that the NPU does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import replace_resizes, replace_transposed_convolutions
from ktc.advice.changes._edit import attribute
from ktc.advice.changes.transposed import can_replace_transposed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_resizes", "propose_transposed"]


def propose_resizes(situation: Situation) -> Iterator[Candidate]:
    """For resizing on the CPU: from pixel 0, or nearest pixels."""
    if "Resize" not in {row.backend.removeprefix("Kneron") for row in situation.evaluation.cpu_nodes}:
        return
    on_cpu = {origin for row in situation.evaluation.cpu_nodes for origin in row.origins}
    nodes = [n for n in situation.wiring.nodes("Resize") if situation.labels[n.output[0]] in on_cpu]
    nodes = [node for node in nodes if attribute(node, "antialias", 0) == 0]
    modern = [node for node in nodes if len(node.input) > 2]
    if not modern:
        return
    names, arguments = situation.names(modern), [node.output[0] for node in modern]

    def propose(text: str, **options: Any) -> Candidate:
        text = f"{text} in Resize of {listed(names)}."
        return edit(situation, "resize", names, text, replace_resizes, arguments, group="resize", **options)

    if any(attribute(node, "mode", "nearest") != "nearest" for node in modern):
        yield propose("Begin at pixel 0 (asymmetric coordinates)", coordinates="asymmetric")
    yield propose("Take the nearest pixel", mode="nearest", coordinates="asymmetric")


def propose_transposed(situation: Situation) -> Iterator[Candidate]:
    """A 1x1 convolution and a resize to the nearest pixel in place of transposed convolutions."""
    wiring, model = situation.wiring, situation.skeleton
    nodes = [node for node in wiring.nodes("ConvTranspose") if can_replace_transposed(node, wiring, model)]
    if not nodes:
        return
    names, outputs = situation.names(nodes), [node.output[0] for node in nodes]
    text = f"Use a 1x1 convolution and a Resize to the nearest pixel in place of ConvTranspose in {listed(names)}."
    yield edit(situation, "resize", names, text, replace_transposed_convolutions, outputs, group="transposed")
