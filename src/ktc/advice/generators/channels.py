"""Numbers of channels that fill the blocks of the array."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import narrow_channels
from ktc.advice.changes.channels import find_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_channels"]

_SMALLEST_PART_KEPT = 0.5


def propose_channels(situation: Situation) -> Iterator[Candidate]:
    """Output channels rounded down to the platform's block: the one costliest convolution, and all of them.

    Rounding up costs no time either, since the block is computed anyway; it brings none, so it is no advice.
    """
    platform, wiring = situation.platform, situation.wiring
    block = max(platform.input_channel_block, platform.output_channel_block)
    if block == 1:
        return
    counts: dict[str, int] = {}
    names: dict[str, tuple[str, ...]] = {}
    for node in wiring.nodes("Conv"):
        weights = wiring.initializers.get(node.input[1]) if len(node.input) > 1 else None
        if weights is None or not weights.dims or not weights.dims[0] % block:
            continue
        count = weights.dims[0] // block * block
        chain = find_chain(node, wiring) if count >= _SMALLEST_PART_KEPT * weights.dims[0] else None
        if chain is not None:
            counts[node.output[0]] = count
            names[node.output[0]] = situation.names(chain.nodes)
    candidates = []
    for output, count in counts.items():
        text = f"Give {names[output][0]} {count} output channels, a multiple of {platform.title}'s block of {block}."
        candidates.append(edit(situation, "channels", names[output], text, narrow_channels, {output: count}))
    if len(counts) > 1:
        heads = [chain[0] for chain in names.values()]
        text = (
            f"Round the output channels of the {len(counts)} convolutions {listed(heads)} down to multiples of {block}."
        )
        together = [name for chain in names.values() for name in chain]
        yield edit(situation, "channels", tuple(dict.fromkeys(together)), text, narrow_channels, counts)
    yield from sorted(candidates, key=lambda candidate: -candidate.time_ms)[:1]
