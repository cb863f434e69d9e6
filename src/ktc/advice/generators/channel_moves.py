"""Channels picked and shuffled by convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import convolve_channel_moves
from ktc.advice.changes.channel_moves import find_channel_move

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_channel_moves"]


def propose_channel_moves(situation: Situation) -> Iterator[Candidate]:
    """1x1 convolutions for channel shuffles, for slices and splits of channels, and for both."""
    wiring = situation.wiring
    moving = list(wiring.nodes("Transpose", "Slice", "Split"))
    if not moving:
        return
    shuffles: list[tuple[onnx.NodeProto, tuple[str, ...]]] = []
    picks: list[tuple[onnx.NodeProto, tuple[str, ...]]] = []
    operators = {item.outputs[0]: item for item in situation.graph.operators if item.outputs}
    for node in moving:
        move = find_channel_move(node, operators[node.output[0]], wiring, situation.graph)
        if move is not None:
            (shuffles if node.op_type == "Transpose" else picks).append((node, situation.names(move.nodes)))
    kinds = ((shuffles, "channel shuffles"), (picks, "slices of channels"))
    proposals = [(found, f"the {len(found)} {what}") for found, what in kinds if found]
    if len(proposals) > 1:
        proposals.append((shuffles + picks, " and ".join(what for _, what in proposals)))
    for found, what in proposals:
        names = [name for _, names in found for name in names]
        heads = [situation.labels[node.output[0]] for node, _ in found]
        text = f"Use 1x1 convolutions with weights 0 and 1 for {what} {listed(heads)}."
        outputs = [node.output[0] for node, _ in found]
        yield edit(situation, "layout", names, text, convolve_channel_moves, outputs, exact=True, group="channel moves")
