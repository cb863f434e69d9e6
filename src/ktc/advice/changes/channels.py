"""Fewer channels between two convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import attribute, crop, forget_shapes, set_attribute, writers
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

__all__ = ["Chain", "find_chain", "narrow_channels"]

_ELEMENTWISE = frozenset(
    {"Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Softplus"}
    | {"Mish", "Gelu", "MaxPool", "AveragePool", "Identity", "Dropout"}
)
_LONGEST = 16


@dataclass(frozen=True, slots=True)
class Chain:
    """Two convolutions and what lies between them, channel by channel.

    Attributes
    ----------
    nodes : tuple of onnx.NodeProto
        From the first convolution to the second.
    depthwise : tuple of onnx.NodeProto
        The depthwise convolutions among them.
    leading : tuple of str
        Constants whose first axis is the channel: weights and biases, batch normalisations, slopes.
    trailing : str
        Weights of the second convolution, whose second axis is the channel.
    tensors : tuple of str
        Feature maps between them.
    channels : int
        How many channels these have.
    """

    nodes: tuple[onnx.NodeProto, ...]
    depthwise: tuple[onnx.NodeProto, ...]
    leading: tuple[str, ...]
    trailing: str
    tensors: tuple[str, ...]
    channels: int


def narrow_channels(model: onnx.ModelProto, channels: Mapping[str, int]) -> None:
    """Give convolutions fewer output channels, all the way to the next convolution.

    The first channels stay: a start for training, no more.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    channels : mapping of str to int
        First output of a Conv -> its new number of channels.

    Raises
    ------
    ModelError
        A tensor is not written by a Conv that has such a chain behind it, or the number is not below the old one.
    """
    for name, count in channels.items():
        wiring = Wiring(model.graph)
        (node,) = writers(model, [name], "Conv")
        chain = find_chain(node, wiring)
        if chain is None or not 0 < count < chain.channels:
            raise ModelError(f"the Conv that writes {name!r} cannot be given {count} channels.")
        for leading in chain.leading:
            tensor = wiring.initializers[leading]
            crop(tensor, [count, *list(tensor.dims)[1:]], [0] * len(tensor.dims))
        weights = wiring.initializers[chain.trailing]
        crop(weights, [weights.dims[0], count, *list(weights.dims)[2:]], [0] * len(weights.dims))
        for depthwise in chain.depthwise:
            set_attribute(depthwise, "group", count)
        forget_shapes(model, chain.tensors)


def find_chain(head: onnx.NodeProto, wiring: Wiring) -> Chain | None:
    """Follow a Conv to the next one.

    1. Both have one group and constants of their own as weights.
    2. Between them are only BatchNormalization, activations (also ``x * Sigmoid(x)``), small poolings, and
       depthwise Conv without a channel multiplier.
    3. No map between them is an output of the graph or read by any other node.
    """
    weights = _own_weights(head, wiring)
    if weights is None or attribute(head, "group", 1) != 1:
        return None
    channels = int(weights.dims[0])
    nodes, leading, tensors = [head], [*head.input[1:]], [head.output[0]]
    depthwise: list[onnx.NodeProto] = []
    for _ in range(_LONGEST):
        step = _next(tensors[-1], wiring)
        if step is None:
            return None
        node = step[-1]
        nodes.extend(step)
        if node.op_type == "Conv" and attribute(node, "group", 1) == 1:
            return _chain(nodes, depthwise, leading, tensors, channels, wiring)
        if node.op_type == "Conv":
            own = _own_weights(node, wiring)
            if own is None or list(own.dims)[:2] != [channels, 1] or attribute(node, "group", 1) != channels:
                return None
            depthwise.append(node)
        if node.op_type in ("Conv", "BatchNormalization", "PRelu"):
            leading.extend(node.input[1:])
        elif node.op_type not in _ELEMENTWISE and len(step) == 1:
            return None
        if any(node.output[1:]):
            return None
        tensors.extend(part.output[0] for part in step)
    return None


def _next(name: str, wiring: Wiring) -> list[onnx.NodeProto] | None:
    """The only reader of a map, or the two nodes of ``x * gate(x)``."""
    if name in wiring.kept:
        return None
    readers = wiring.readers.get(name, [])
    if len(readers) == 1:
        node = readers[0]
        feature = [item for item in node.input if item == name]
        return [node] if feature == [name] and node.input[0] == name else None
    if len(readers) == 2:
        inner, outer = sorted(readers, key=lambda node: node.op_type == "Mul")
        gated = inner.op_type in ("Sigmoid", "HardSigmoid") and outer.op_type == "Mul"
        if gated and sorted(outer.input) == sorted([name, inner.output[0]]):
            return [inner, outer] if wiring.only_reader(inner.output[0]) is not None else None
    return None


def _own_weights(node: onnx.NodeProto, wiring: Wiring) -> onnx.TensorProto | None:
    tensor = wiring.initializers.get(node.input[1]) if node.op_type == "Conv" and len(node.input) > 1 else None
    return tensor if tensor is not None and len(wiring.readers[tensor.name]) == 1 else None


def _chain(
    nodes: list[onnx.NodeProto],
    depthwise: list[onnx.NodeProto],
    leading: list[str],
    tensors: list[str],
    channels: int,
    wiring: Wiring,
) -> Chain | None:
    last = _own_weights(nodes[-1], wiring)
    if last is None or list(last.dims)[1:2] != [channels]:
        return None
    named = [name for name in leading if name]
    for name in named:
        tensor = wiring.initializers.get(name)
        if tensor is None or list(tensor.dims)[:1] != [channels] or len(wiring.readers[name]) != 1:
            return None
    if len(set(named)) < len(named):
        return None
    return Chain(tuple(nodes), tuple(depthwise), tuple(named), last.name, tuple(tensors), channels)
