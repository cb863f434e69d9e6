"""Resizing that the NPU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import replace_resizes, replace_transposed_convolutions
from ktc.advice.changes._edit import attribute
from ktc.advice.changes.resizes import can_split
from ktc.advice.changes.transposed import can_replace_transposed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_resizes", "propose_transposed"]


def propose_resizes(situation: Situation) -> Iterator[Candidate]:
    """For resizing on the CPU: rows and columns one after the other, from pixel 0, or nearest pixels."""
    if "Resize" not in {row.backend.removeprefix("Kneron") for row in situation.evaluation.cpu_nodes}:
        return
    on_cpu = {origin for row in situation.evaluation.cpu_nodes for origin in row.origins}
    nodes = [n for n in situation.wiring.nodes("Resize") if situation.labels[n.output[0]] in on_cpu]
    nodes = [node for node in nodes if attribute(node, "antialias", 0) == 0]
    splittable = [node for node in nodes if can_split(node, situation.wiring)]
    modern = [node for node in nodes if len(node.input) > 2]
    both = [node for node in splittable if len(node.input) > 2]
    linear = any(attribute(node, "mode", "nearest") != "nearest" for node in modern)

    def propose(targets: list[onnx.NodeProto], text: str, **options: object) -> Candidate:
        names = situation.names(targets)
        exact = set(options) == {"split"}
        arguments = [node.output[0] for node in targets]
        text = f"{text} in Resize of {listed(names)}."
        return edit(
            situation, "resize", names, text, replace_resizes, arguments, exact=exact, group="resize", **options
        )

    in_turn = "rows and columns one after the other"
    from_0 = "Begin at pixel 0 (asymmetric coordinates)"
    if splittable:
        yield propose(splittable, f"Take {in_turn}", split=True)
    if both and linear:
        yield propose(both, f"{from_0}, and take {in_turn},", coordinates="asymmetric", split=True)
    if modern and linear:
        yield propose(modern, from_0, coordinates="asymmetric")
    if modern:
        yield propose(modern, "Take the nearest pixel", mode="nearest", coordinates="asymmetric")
    if both:
        options = {"mode": "nearest", "coordinates": "asymmetric", "split": True}
        yield propose(both, f"Take the nearest pixel, {in_turn},", **options)


def propose_transposed(situation: Situation) -> Iterator[Candidate]:
    """A 1x1 convolution and a resize to the nearest pixel in place of transposed convolutions."""
    wiring, model = situation.wiring, situation.skeleton
    nodes = [node for node in wiring.nodes("ConvTranspose") if can_replace_transposed(node, wiring, model)]
    if not nodes:
        return
    names, outputs = situation.names(nodes), [node.output[0] for node in nodes]
    for split, how in ((False, "a Resize"), (True, "a Resize of the rows and one of the columns")):
        text = f"Use a 1x1 convolution and {how} to the nearest pixel in place of ConvTranspose in {listed(names)}."
        yield edit(
            situation, "resize", names, text, replace_transposed_convolutions, outputs, group="transposed", split=split
        )
