"""Activations that the platform fuses or at least runs; networks without channel gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import remove_channel_gates, replace_activations
from ktc.advice.changes.activations import ACTIVATIONS, find_activations
from ktc.advice.changes.gates import find_channel_gates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_activations", "propose_gates"]

_SUBSTITUTES = {"HardSigmoid": "Sigmoid"}
_TITLES = {"Swish": "Swish (SiLU)", "Gelu": "GELU"}


def propose_activations(situation: Situation) -> Iterator[Candidate]:
    """ReLU (Sigmoid for HardSigmoid) in place of each kind of activation that is not free."""
    for kind in ACTIVATIONS:
        found = list(find_activations(situation.wiring, kind))
        names = [name for parts in found for name in situation.names(parts)]
        on_cpu = any(row.type == "CPU" for row in situation.rows(names))
        if not found or (kind in situation.platform.fused_activations and not on_cpu):
            continue
        by = _SUBSTITUTES.get(kind, "Relu")
        results = situation.names(parts[-1] for parts in found)
        many = f"the {len(found)} activations" if len(found) > 1 else "the activation"
        text = f"Use {by} in place of {_TITLES.get(kind, kind)} in {many} {listed(results)}."
        yield edit(situation, "activation", names, text, replace_activations, kind, by)


def propose_gates(situation: Situation) -> Iterator[Candidate]:
    """A network without squeeze-and-excitation blocks."""
    products = [product for product, _ in find_channel_gates(situation.wiring)]
    if products:
        names = situation.names(products)
        many = f"the {len(products)} squeeze-and-excitation blocks" if len(products) > 1 else "the block"
        text = f"Leave out {many} that end{'s' if len(products) == 1 else ''} in {listed(names)}."
        yield edit(situation, "gate", names, text, remove_channel_gates)
