"""3x3 kernels in place of larger ones."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ktc.advice._candidate import edit, listed
from ktc.advice.changes import shrink_kernels
from ktc.advice.changes._edit import attribute
from ktc.advice.changes.kernels import can_shrink

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["propose_kernels"]

_SIZE = 3


def propose_kernels(situation: Situation) -> Iterator[Candidate]:
    """Kernels of at most 3 rows and columns, for all convolutions of one kind and kernel at once."""
    wiring = situation.wiring
    groups: dict[tuple[bool, tuple[int, ...]], list[onnx.NodeProto]] = defaultdict(list)
    for node in wiring.nodes("Conv"):
        if can_shrink(node, wiring, _SIZE):
            dims = wiring.initializers[node.input[1]].dims
            depthwise = dims[1] == 1 and attribute(node, "group", 1) == dims[0]
            groups[depthwise, tuple(dims[2:])].append(node)
    for (depthwise, kernel), nodes in groups.items():
        names = situation.names(nodes)
        smaller = "x".join(str(min(extent, _SIZE)) for extent in kernel)
        kind = "depthwise convolution" if depthwise else "convolution"
        many = f"the {len(nodes)} {kind}s" if len(nodes) > 1 else f"the {kind}"
        text = f"Use kernels of {smaller} in place of {'x'.join(map(str, kernel))} in {many} {listed(names)}."
        yield edit(situation, "kernel", names, text, shrink_kernels, [node.output[0] for node in nodes], _SIZE)
