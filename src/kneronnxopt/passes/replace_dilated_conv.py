"""Dilated convolutions with zero-inserted kernels (on request)."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import constant, ints_attribute, new_constant, replace_node

__all__ = ["ReplaceDilatedConv"]

logger = logging.getLogger(__name__)


class ReplaceDilatedConv(NodePass):
    """x -> Conv(w, dilation d) -> y   becomes   x -> Conv(w with d - 1 zeros between its elements) -> y.

    1. Constant weights, 1-D or 2-D, any stride, group and padding: the output is the same.
    2. Stays where the expanded kernel exceeds the limit in any axis, and says so in the log.

    Parameters
    ----------
    kernel_limit : int
        Largest expanded kernel; 12 is what KL520 supports.
    """

    name = "replace_dilated_conv"
    op_types = ("Conv",)

    def __init__(self, kernel_limit: int = 12) -> None:
        self.kernel_limit = kernel_limit

    def rewrite(self, node: ir.Node) -> bool:
        """Expand one kernel."""
        dilations, weight = ints_attribute(node, "dilations"), constant(node.inputs[1])
        if dilations is None or set(dilations) <= {1} or weight is None or weight.ndim not in (3, 4):
            return False
        kernel = weight.shape[2:]
        if len(kernel) != len(dilations):
            return False
        expanded = tuple((size - 1) * d + 1 for size, d in zip(kernel, dilations, strict=True))
        if max(expanded) > self.kernel_limit:
            logger.warning(
                "Conv '%s' stays dilated: its expanded kernel %s exceeds the limit of %d",
                node.name,
                "x".join(map(str, expanded)),
                self.kernel_limit,
            )
            return False
        array = np.zeros((*weight.shape[:2], *expanded), dtype=weight.dtype)
        spread = (slice(None), slice(None), *(slice(None, None, d) for d in dilations))
        array[spread] = weight
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        value = new_constant(graph, f"{node.outputs[0].name}_weight", array)
        attributes = {name: a for name, a in node.attributes.items() if name not in ("dilations", "kernel_shape")}
        replace_node(node, "Conv", [node.inputs[0], value, *node.inputs[2:]], {**attributes, "kernel_shape": expanded})
        return True
