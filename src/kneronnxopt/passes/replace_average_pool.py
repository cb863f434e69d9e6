"""AveragePool as a depthwise convolution, and large GlobalAveragePools as chains (both on request)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    int_attribute,
    ints_attribute,
    new_constant,
    new_node,
    opset_of,
    replace_node,
    static_shape,
    string_attribute,
)

__all__ = ["GAP_AREA_LIMIT", "DefuseGlobalAveragePool", "ReplaceAveragePoolWithConv"]

#: Pixels of a GlobalAveragePool that every chip takes (Kneron's operator list: 256 on KL520, 16384 on the others).
GAP_AREA_LIMIT = 256
#: Weights of a depthwise convolution that is worth an AveragePool (16 MB).
MAX_WEIGHT_ELEMENTS = 2**22


class ReplaceAveragePoolWithConv(NodePass):
    """x -> AveragePool(k) -> y   becomes   x -> Conv(depthwise, weights 1 / (kh kw)) (-> Mul(border)) -> y.

    1. Static shapes, float32; any stride, padding, dilation and auto_pad.
    2. ``count_include_pad`` 0 with padding: windows at the border average fewer elements, which a constant
       Mul corrects.
    3. Stays where the weights would take more than 16 MB.
    4. ``ceil_mode``: windows that hang over the end are padded explicitly. With ``count_include_pad`` 1 the
       standard leaves the divisor of such windows open, so the node stays as it is.
    """

    name = "replace_avgpool_with_conv"
    op_types = ("AveragePool",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one AveragePool."""
        source, kernel = node.inputs[0], ints_attribute(node, "kernel_shape")
        before, after = static_shape(source), static_shape(node.outputs[0])
        if source is None or kernel is None or before is None or after is None or 0 in (*before, *after):
            return False
        if source.dtype != ir.DataType.FLOAT or len(before) != len(kernel) + 2:
            return False
        if before[1] * math.prod(kernel) > MAX_WEIGHT_ELEMENTS:
            return False
        strides = ints_attribute(node, "strides", (1,) * len(kernel)) or ()
        dilations = ints_attribute(node, "dilations", (1,) * len(kernel)) or ()
        begins = _pads_begin(node, kernel, strides, dilations, before[2:], after[2:])
        ends, counts = [], []
        for axis, size in enumerate(kernel):
            reach = dilations[axis] * (size - 1) + 1
            end = (after[2 + axis] - 1) * strides[axis] + reach - before[2 + axis] - begins[axis]
            if int_attribute(node, "count_include_pad", 0):
                if end > _declared_end(node, axis, len(kernel), end):
                    return False
                counts.append(np.full(after[2 + axis], size))
            else:
                counts.append(
                    _valid_counts(after[2 + axis], before[2 + axis], size, strides[axis], dilations[axis], begins[axis])
                )
            ends.append(max(0, end))
        if any((count == 0).any() for count in counts):
            return False
        self._replace(node, kernel, {"strides": strides, "dilations": dilations, "pads": (*begins, *ends)}, counts)
        return True

    @staticmethod
    def _replace(
        node: ir.Node, kernel: tuple[int, ...], window: dict[str, tuple[int, ...]], counts: list[np.ndarray[Any, Any]]
    ) -> None:
        graph, source, output = node.graph, node.inputs[0], node.outputs[0]
        before, after = static_shape(source), static_shape(output)
        assert isinstance(graph, ir.Graph)
        assert before is not None
        assert after is not None
        channels, area = before[1], math.prod(kernel)
        weight = new_constant(
            graph, f"{output.name}_weight", np.full((channels, 1, *kernel), 1.0 / area, dtype=np.float32)
        )
        attributes = {**window, "group": channels, "kernel_shape": kernel}
        divisor = np.ones((), dtype=np.int64)
        for count in counts:
            divisor = np.multiply.outer(divisor, count)
        if (divisor == area).all():
            replace_node(node, "Conv", [source, weight], attributes)
            return
        product = new_node(
            node,
            "Conv",
            [source, weight],
            attributes,
            hint=f"{output.name}_sum",
            shape=after,
            dtype=output.dtype,
        )
        border = new_constant(graph, f"{output.name}_border", (area / divisor)[None, None].astype(np.float32))
        replace_node(node, "Mul", [product, border])


class DefuseGlobalAveragePool(NodePass):
    """x [N, C, H, W] -> GlobalAveragePool -> y   becomes   x -> AveragePool (-> ...) -> GlobalAveragePool -> y.

    1. Acts where H * W exceeds the limit: 256 is what every chip takes (KL520; the others 16384).
    2. Each AveragePool has a square kernel equal to its stride that divides H and W, of a size that the chips
       take (2, 3 or a power of two), so the mean of means is exact.
    3. Where H and W have no such factors: ReduceMean over both axes.
    """

    name = "defuse_gaps"
    op_types = ("GlobalAveragePool",)
    rounds_otherwise = True

    def __init__(self, area_limit: int = GAP_AREA_LIMIT) -> None:
        self.area_limit = area_limit

    def rewrite(self, node: ir.Node) -> bool:
        """Split one GlobalAveragePool."""
        source = node.inputs[0]
        shape = static_shape(source)
        if source is None or shape is None or len(shape) != 4 or shape[2] * shape[3] <= self.area_limit or 0 in shape:
            return False
        graph, output = node.graph, node.outputs[0]
        assert isinstance(graph, ir.Graph)
        kernels = _square_chain(shape[2], shape[3], self.area_limit)
        if kernels is None:
            return self._as_reduce_mean(node, source)
        value, height, width = source, shape[2], shape[3]
        for kernel in kernels:
            height, width = height // kernel, width // kernel
            value = new_node(
                node,
                "AveragePool",
                [value],
                {"kernel_shape": (kernel, kernel), "strides": (kernel, kernel)},
                hint=f"{output.name}_part",
                shape=(*shape[:2], height, width),
                dtype=source.dtype,
            )
        node.replace_input_with(0, value)
        return True

    @staticmethod
    def _as_reduce_mean(node: ir.Node, source: ir.Value) -> bool:
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        if opset_of(node) < 18:
            replace_node(node, "ReduceMean", [source], {"axes": (2, 3), "keepdims": 1})
        else:
            axes = new_constant(graph, f"{node.outputs[0].name}_axes", np.array([2, 3], dtype=np.int64))
            replace_node(node, "ReduceMean", [source, axes], {"keepdims": 1})
        return True


def _square_chain(height: int, width: int, limit: int) -> tuple[int, ...] | None:
    """Fewest square kernels from {2, 3, 4, 8, 16, ...} that bring the area down to the limit."""
    powers = [2**n for n in range(1, 16)]
    for length in (1, 2, 3):
        for kernels in itertools.combinations_with_replacement(sorted([3, *powers]), length):
            factor = math.prod(kernels)
            if height % factor == 0 and width % factor == 0 and height * width <= limit * factor * factor:
                return kernels
    return None


def _declared_end(node: ir.Node, axis: int, rank: int, needed: int) -> int:
    """Padding after the last element, as the node declares it; auto_pad declares what is needed."""
    if string_attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", ""):
        return needed
    return (ints_attribute(node, "pads", (0,) * (2 * rank)) or ())[rank + axis]


def _pads_begin(
    node: ir.Node,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> tuple[int, ...]:
    """Padding before the first element of each axis, with auto_pad resolved."""
    auto = string_attribute(node, "auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return (ints_attribute(node, "pads", (0,) * (2 * len(kernel))) or ())[: len(kernel)]
    if auto == "VALID":
        return (0,) * len(kernel)
    begins = []
    for axis, size in enumerate(kernel):
        total = max(0, (after[axis] - 1) * strides[axis] + dilations[axis] * (size - 1) + 1 - before[axis])
        begins.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    return tuple(begins)


def _valid_counts(outputs: int, size: int, kernel: int, stride: int, dilation: int, begin: int) -> np.ndarray[Any, Any]:
    """How many elements of each window lie inside the input."""
    starts = np.arange(outputs, dtype=np.int64) * stride - begin
    first = np.maximum(0, -(starts // dilation))  # the first tap at a position of 0 or more
    last = np.minimum(kernel - 1, (size - 1 - starts) // dilation)
    return np.asarray(np.maximum(0, last - first + 1))
