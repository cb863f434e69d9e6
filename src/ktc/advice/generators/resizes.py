"""Resizing that the NPU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import replace_resizes
from ktc.advice.changes._edit import attribute
from ktc.advice.changes.resizes import can_split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_resizes"]

_GROUP = "resize"


def propose_resizes(situation: Situation) -> Iterator[Candidate]:
    """For resizing on the CPU: rows and columns one after the other, from pixel 0, or nearest pixels."""
    if "Resize" not in {row.backend.removeprefix("Kneron") for row in situation.evaluation.cpu_nodes}:
        return
    on_cpu = {origin for row in situation.evaluation.cpu_nodes for origin in row.origins}
    nodes = [n for n in situation.wiring.nodes("Resize") if situation.labels[n.output[0]] in on_cpu]
    nodes = [node for node in nodes if attribute(node, "antialias", 0) == 0]
    if not nodes:
        return
    names, outputs = situation.names(nodes), [node.output[0] for node in nodes]
    linear = any(attribute(node, "mode", "nearest") != "nearest" for node in nodes)
    modern = all(len(node.input) > 2 for node in nodes)
    which = f"Resize of {listed(names)}"

    def propose(text: str, **options: object) -> Candidate:
        exact = set(options) == {"split"}
        options = {"exact": exact, "group": _GROUP, **options}
        return edit(situation, "resize", names, text, replace_resizes, outputs, **options)  # type: ignore[arg-type]

    can_split_all = all(can_split(node, situation.wiring) for node in nodes)
    if can_split_all:
        yield propose(f"Resize rows and columns one after the other in {which}.", split=True)
    if modern and linear:
        if can_split_all:
            text = f"Begin at pixel 0 (asymmetric coordinates), rows and columns one after the other, in {which}."
            yield propose(text, coordinates="asymmetric", split=True)
        yield propose(f"Begin at pixel 0 (asymmetric coordinates) in {which}.", coordinates="asymmetric")
    if modern:
        yield propose(f"Take the nearest pixel in {which}.", mode="nearest", coordinates="asymmetric")
        if can_split_all:
            text = f"Take the nearest pixel, rows and columns one after the other, in {which}."
            yield propose(text, mode="nearest", coordinates="asymmetric", split=True)
