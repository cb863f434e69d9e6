"""Which results are quantised, so that their last bits count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["QUANTISERS", "is_quantised"]

QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
#: Operators that hand on the rounding error of what they read: they move it, choose among it or do simple arithmetic.
_TRANSPARENT = frozenset(
    {
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
        *("Abs", "Clip", "GlobalMaxPool", "LeakyRelu", "Max", "MaxPool", "Min", "PRelu", "Relu"),
        *("Add", "Cast", "Div", "Erf", "HardSigmoid", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub", "Sum"),
    }
)
#: Nodes that are visited on the way to a quantiser, at most.
_MAX_NODES = 64


def is_quantised(node: ir.Node) -> bool:
    """Whether a result of ``node`` reaches a quantiser, at once or through operators that keep its rounding error."""
    queue, seen = [node], {node}
    for current in queue:
        for output in current.outputs:
            for user in output.consumers():
                if user.op_type in QUANTISERS:
                    return True
                if user.op_type in _TRANSPARENT and user not in seen and len(seen) < _MAX_NODES:
                    seen.add(user)
                    queue.append(user)
    return False
