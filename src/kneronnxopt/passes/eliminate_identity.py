"""Identity and inference-mode Dropout do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import bypass, constant, int_attribute, is_op, opset_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["EliminateDropout", "EliminateIdentity", "FuseIdempotent"]


class EliminateIdentity(NodePass):
    """x -> Identity -> y   becomes   x, which takes the name y where y is a graph output.

    Stays where an input or initializer is passed straight to an output: the output needs a node.
    """

    name = "eliminate_identity"
    op_types = ("Identity",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one Identity."""
        source = node.inputs[0]
        return source is not None and bypass(node, source)


class FuseIdempotent(NodePass):
    """x -> Relu -> Relu -> y   becomes   x -> Relu -> y; so do Abs, Ceil, Floor, Round and Sign."""

    name = "fuse_idempotent"
    op_types = ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass the second of two."""
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        same = before is not None and is_op(before, node.op_type) and before.graph is node.graph
        return same and source is not None and bypass(node, source)


class EliminateDropout(NodePass):
    """x -> Dropout -> y   becomes   x.

    1. Acts in inference mode only: ``training_mode`` absent or a constant false (opset 12 and later),
       always before opset 12 (opset 6 and earlier: ``is_test`` not 0).
    2. Stays where the mask is used.
    """

    name = "eliminate_dropout"
    op_types = ("Dropout",)

    def rewrite(self, node: ir.Node) -> bool:
        """Bypass one Dropout."""
        source, opset = node.inputs[0], opset_of(node)
        if source is None or (opset < 7 and int_attribute(node, "is_test", 0) == 0):
            return False
        if opset >= 12 and len(node.inputs) > 2 and node.inputs[2] is not None:
            mode = constant(node.inputs[2])
            if mode is None or bool(np.any(mode)):
                return False
        return bypass(node, source)
