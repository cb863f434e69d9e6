"""Large poolings from small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import chain_max_pools
from ktc.advice.changes.pools import find_parallel_pools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_pools"]


def propose_pools(situation: Situation) -> Iterator[Candidate]:
    """Parallel MaxPools of one map (SPP) computed from one another (SPPF)."""
    for nodes in find_parallel_pools(situation.wiring):
        names = situation.names(nodes)
        text = f"Compute the poolings {listed(names)} from one another, the larger from the smaller."
        yield edit(situation, "pool", names, text, chain_max_pools, [node.output[0] for node in nodes], exact=True)
