"""CastLike names its type by an operand; Cast names it outright."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import dtype_of, replace_node

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["ReplaceCastLike"]


class ReplaceCastLike(NodePass):
    """x, t: T -> CastLike -> y   becomes   x -> Cast(to=T) -> y.

    The type of t has to be known. ``saturate`` and other attributes stay; Cast has the same ones at every opset.
    """

    name = "replace_cast_like"
    op_types = ("CastLike",)

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one CastLike."""
        target = dtype_of(node.inputs[1])
        if target is None:
            return False
        replace_node(node, "Cast", [node.inputs[0]], {**node.attributes, "to": int(target)})
        return True
