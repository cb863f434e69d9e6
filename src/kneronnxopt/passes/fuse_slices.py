"""Slices of slices become one Slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import producer_for, remove_if_unused
from kneronnxopt.passes._slices import dimension, read_slice, replace_by_slice

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["FuseConsecutiveSlices"]


class FuseConsecutiveSlices(NodePass):
    """x -> Slice -> Slice -> y   becomes   x -> Slice -> y.

    1. Starts, ends, axes and steps of both are constant; nothing else reads the value between.
    2. Different axes are taken together as they are, also where dimensions are dynamic.
    3. The same axis twice: its size must be static, both steps positive, and something must be left.
    """

    name = "fuse_consecutive_slices"
    op_types = ("Slice",)

    def rewrite(self, node: ir.Node) -> bool:
        """Join ``node`` with the Slice before it."""
        first = producer_for(node.inputs[0], node, "Slice")
        if first is None:
            return False
        source, earlier, later = first.inputs[0], read_slice(first), read_slice(node)
        if source is None or earlier is None or later is None:
            return False
        joined = {**earlier, **later}
        for axis in earlier.keys() & later.keys():  # case 3
            span = _compose(dimension(source, axis), earlier[axis], later[axis])
            if span is None:
                return False
            joined[axis] = span
        replace_by_slice(node, source, joined)
        return remove_if_unused(first)


def _compose(size: int | None, first: slice, second: slice) -> slice | None:
    if size is None or first.step < 1 or second.step < 1:
        return None
    taken = range(size)[first][second]
    return slice(taken.start, taken.stop, taken.step) if len(taken) else None
