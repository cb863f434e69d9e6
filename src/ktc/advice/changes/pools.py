"""Large poolings composed of small ones."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import onnx

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import attribute, set_attribute, writers
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["chain_max_pools", "find_parallel_pools"]


def chain_max_pools(model: onnx.ModelProto, outputs: Iterable[str]) -> None:
    """Compute several MaxPools of one tensor from one another, the larger from the smaller.

    The maximum over a window is the maximum over smaller windows, so that a 9x9 pooling is a 5x5 pooling of the
    5x5 pooling: the results stay the same. (This turns SPP into SPPF.)

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    outputs : iterable of str
        First output of each MaxPool: all of one input, with stride 1, odd square kernels and "same" padding.

    Raises
    ------
    ModelError
        The tensors are not written by such MaxPools.
    """
    nodes = writers(model, outputs, "MaxPool")
    names = {node.output[0] for node in nodes}
    if not any(names <= {node.output[0] for node in group} for group in find_parallel_pools(Wiring(model.graph))):
        raise ModelError(f"{sorted(names)} are not poolings of one tensor with stride 1 that can be chained.")
    nodes.sort(key=_size)
    first = min(position for position, node in enumerate(model.graph.node) if node.output[0] in names)
    chained: list[onnx.NodeProto] = []
    previous = nodes[0]
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if chained:
            size = _size(node) - _size(previous) + 1
            copy.input[0] = previous.output[0]
            set_attribute(copy, "kernel_shape", [size, size])
            set_attribute(copy, "pads", [size // 2] * 4)
        chained.append(copy)
        previous = node
    others = [_copied(node) for node in model.graph.node if node.output[0] not in names]
    del model.graph.node[:]
    model.graph.node.extend([*others[:first], *chained, *others[first:]])


def find_parallel_pools(wiring: Wiring) -> list[list[onnx.NodeProto]]:
    """Groups of MaxPools of different sizes that `chain_max_pools` can chain."""
    groups: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in wiring.nodes("MaxPool"):
        if _is_same_pool(node):
            groups[node.input[0]].append(node)
    return [nodes for nodes in groups.values() if len({_size(node) for node in nodes}) == len(nodes) > 1]


def _size(node: onnx.NodeProto) -> int:
    return int((attribute(node, "kernel_shape") or [1])[0])


def _is_same_pool(node: onnx.NodeProto) -> bool:
    kernel = attribute(node, "kernel_shape") or []
    return (
        len(kernel) == 2
        and kernel[0] == kernel[1]
        and kernel[0] % 2 == 1
        and (attribute(node, "strides") or [1, 1]) == [1, 1]
        and (attribute(node, "dilations") or [1, 1]) == [1, 1]
        and (attribute(node, "pads") or [0] * 4) == [kernel[0] // 2] * 4
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        and len([name for name in node.output if name]) == 1
    )


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
