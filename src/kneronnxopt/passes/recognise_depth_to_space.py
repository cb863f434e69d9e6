"""DepthToSpace is recognised from Reshape, Transpose, Reshape."""

from __future__ import annotations

import onnx_ir as ir

from kneronnxopt.passes._algebra import remove_dead
from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import ints_attribute, is_op, opset_of, replace_node, sole_consumer

__all__ = ["RecogniseDepthToSpace"]

#: Permutation -> mode, and the places of (block, block, channels, height, width) in the tensor of rank 6.
_MODES: dict[tuple[int, ...], tuple[str, tuple[int, ...]]] = {
    (0, 3, 4, 1, 5, 2): ("DCR", (1, 2, 3, 4, 5)),
    (0, 1, 4, 2, 5, 3): ("CRD", (2, 3, 1, 4, 5)),
}


class RecogniseDepthToSpace(NodePass):
    """x [N, C*b*b, H, W] -> Reshape -> Transpose -> Reshape -> y [N, C, H*b, W*b]   becomes   DepthToSpace.

    1. Reshape [N, b, b, C, H, W], perm (0, 3, 4, 1, 5, 2): mode DCR.
    2. Reshape [N, C, b, b, H, W], perm (0, 1, 4, 2, 5, 3): mode CRD (PyTorch's PixelShuffle), opset 11 and later.
    3. All sizes but N are known; blocks that are not square, and blocks of 1, stay. So does the channel shuffle.
    4. Nothing else reads the two values between. float32 and float64 only.
    """

    name = "recognise_depth_to_space"
    op_types = ("Transpose",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace the three nodes around one Transpose."""
        mode, places = _MODES.get(ints_attribute(node, "perm") or (), ("", ()))
        source, after = node.inputs[0], sole_consumer(node.outputs[0])
        before = source.producer() if source is not None else None
        if not mode or source is None or before is None or after is None or sole_consumer(source) is not node:
            return False
        x, y = before.inputs[0], after.outputs[0]
        if not is_op(before, "Reshape") or not is_op(after, "Reshape") or before.graph is not node.graph or x is None:
            return False
        if (mode == "CRD" and opset_of(node) < 11) or x.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return False
        if x.shape is None or source.shape is None or y.shape is None or len(source.shape) != 6:
            return False
        block, other, channels, height, width = (source.shape[place] for place in places)
        if not (
            isinstance(block, int)
            and isinstance(channels, int)
            and isinstance(height, int)
            and isinstance(width, int)
            and block == other
            and block > 1
            and 0 not in (channels, height, width)
        ):
            return False
        batch = x.shape[0] if len(x.shape) else None
        if tuple(x.shape) != (batch, channels * block * block, height, width):
            return False
        if tuple(y.shape)[1:] != (channels, height * block, width * block) or len(y.shape) != 4:
            return False
        attributes: dict[str, int | str] = {"blocksize": block}
        if opset_of(node) >= 11:
            attributes["mode"] = mode
        operands = list(after.inputs)
        replace_node(after, "DepthToSpace", [x], attributes)
        remove_dead(operands)
        return True
