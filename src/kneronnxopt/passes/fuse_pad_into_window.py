"""Padding before a convolution or a MaxPool becomes its own."""

from __future__ import annotations

import abc

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._algebra import bounds
from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    int_attribute,
    ints_attribute,
    is_op,
    opset_of,
    remove_if_unused,
    replace_node,
    sole_consumer,
    static_shape,
    string_attribute,
)
from kneronnxopt.passes.fuse_pads import fill_value, read_pads

__all__ = ["FusePadIntoConv", "FusePadIntoMaxPool"]


class _FusePad(NodePass):
    def rewrite(self, node: ir.Node) -> bool:
        """Take the padding before one operator into it."""
        padded = node.inputs[0]
        pad = padded.producer() if padded is not None else None
        if padded is None or pad is None or not is_op(pad, "Pad") or opset_of(node) < 2:
            return False
        source = pad.inputs[0]
        if (
            source is None
            or sole_consumer(padded) is not node
            or string_attribute(pad, "mode", "constant") != "constant"
        ):
            return False
        kernel = self.kernel(pad, node)
        pads = None if kernel is None else _joined(pad, node, kernel)
        if pads is None:
            return False
        attributes = {name: attribute for name, attribute in node.attributes.items() if name != "auto_pad"}
        replace_node(node, node.op_type, [source, *node.inputs[1:]], {**attributes, "pads": pads})
        return remove_if_unused(pad)

    @staticmethod
    @abc.abstractmethod
    def kernel(pad: ir.Node, node: ir.Node) -> tuple[int, ...] | None:
        """Size of the window of ``node``; None if unknown, or if its own padding could differ from that of ``pad``."""


class FusePadIntoConv(_FusePad):
    """x -> Pad(0) -> Conv(pads) -> y   becomes   x -> Conv(pads + those of Pad) -> y.

    1. Pad is in constant mode, fills in 0, and pads only rows, columns and other spatial axes, by constants that are
       not negative. Nothing else reads its result.
    2. Conv has explicit pads, or none (``auto_pad`` NOTSET or VALID).
    3. The sum is smaller than the kernel with its dilation on every side; wider padding is nothing that exporters or
       accelerators have in a convolution.
    """

    name = "fuse_pad_into_conv"
    op_types = ("Conv",)

    @staticmethod
    def kernel(pad: ir.Node, node: ir.Node) -> tuple[int, ...] | None:
        """The weight's spatial dimensions."""
        shape, value = static_shape(node.inputs[1]), fill_value(pad)
        return None if shape is None or value is None or any(value) else shape[2:]


class FusePadIntoMaxPool(_FusePad):
    """x -> Pad(-inf) -> MaxPool(pads) -> y   becomes   x -> MaxPool(pads + those of Pad) -> y.

    1. Pad as for a convolution, but it fills in minus infinity; or 0, where x is the result of a Relu, a Sigmoid or a
       Clip from 0 or more, which is never below.
    2. MaxPool has explicit pads or none, no ``ceil_mode``, which counts differently, no dilation, and no indices as
       output.
    3. The sum is smaller than the kernel on every side, so that each window has an element of x.
    """

    name = "fuse_pad_into_max_pool"
    op_types = ("MaxPool",)

    @staticmethod
    def kernel(pad: ir.Node, node: ir.Node) -> tuple[int, ...] | None:
        """The window, if the fill value never exceeds what is in it."""
        value, dtype, source = fill_value(pad), node.outputs[0].dtype, pad.inputs[0]
        if value is None or source is None or dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16):
            return None
        if int_attribute(node, "ceil_mode", 0) or len(node.outputs) > 1 or len(value) != dtype.itemsize:
            return None
        if set(ints_attribute(node, "dilations", (1,)) or ()) != {1} or 0 in (static_shape(source) or ()):
            return None
        number = float(np.frombuffer(value, dtype=dtype.numpy())[0])
        fits = number == -np.inf or (number == 0 and _is_never_negative(source))
        return ints_attribute(node, "kernel_shape") if fits else None


def _is_never_negative(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None or not is_op(producer, "Relu", "Sigmoid", "Clip"):
        return False
    if producer.op_type != "Clip":
        return True
    lower = bounds(producer)[0]
    return lower is not None and lower >= 0


def _joined(pad: ir.Node, node: ir.Node, kernel: tuple[int, ...]) -> list[int] | None:
    """Pads of the operator with those of ``pad``; None where they cannot be its own."""
    rank, before = len(kernel), read_pads(pad)
    own = ints_attribute(node, "pads", (0,) * (2 * rank))
    if before is None or own is None or len(before) != 2 * rank + 4 or len(own) != 2 * rank or min(before) < 0:
        return None
    if string_attribute(node, "auto_pad", "NOTSET") not in ("", "NOTSET", "VALID"):
        return None
    if any((*before[:2], *before[rank + 2 : rank + 4])) or not any(before):
        return None
    if string_attribute(node, "auto_pad", "NOTSET") == "VALID":
        own = (0,) * (2 * rank)
    spatial = (*before[2 : rank + 2], *before[rank + 4 :])
    total = [a + b for a, b in zip(spatial, own, strict=True)]
    dilations = ints_attribute(node, "dilations", (1,) * rank) or ()
    reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    return total if all(n <= limit for n, limit in zip(total, (*reach, *reach), strict=True)) else None
