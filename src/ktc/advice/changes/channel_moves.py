"""Moves of channels as 1x1 convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import inferred, remove_dead, replace_nodes, unused_name, writers
from ktc.errors import ModelError
from ktc.frontend.conditions import OperatorView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktc.frontend.graph import Graph, Operator

__all__ = ["ChannelMove", "convolve_channel_moves", "find_channel_move"]

_CHANNEL = 1
_SHUFFLE = (0, 2, 1, 3, 4)


@dataclass(frozen=True, slots=True)
class ChannelMove:
    """A node, with its neighbours, that only picks or permutes channels of a map of four dimensions.

    Attributes
    ----------
    source : str
        The map.
    picked : tuple of (str, tuple of int)
        Each result, and which channel of the source each of its channels is.
    nodes : tuple of onnx.NodeProto
        The nodes that do it.
    """

    source: str
    picked: tuple[tuple[str, tuple[int, ...]], ...]
    nodes: tuple[onnx.NodeProto, ...]


def convolve_channel_moves(model: onnx.ModelProto, outputs: Iterable[str]) -> None:
    """Let 1x1 convolutions pick and permute channels, with weights that are 0 and 1. The results stay the same.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    outputs : iterable of str
        First output of each Slice or Split of channels, or of each Transpose that shuffles them (see
        `find_channel_move`).

    Raises
    ------
    ModelError
        A tensor is not written by such a node.
    """
    graph, wiring = inferred(model), Wiring(model.graph)
    operators = {operator.outputs[0]: operator for operator in graph.operators if operator.outputs}
    taken = {*wiring.producers, *wiring.initializers, *wiring.readers}
    released: list[str] = []
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in writers(model, outputs, "Slice", "Split", "Transpose"):
        move = find_channel_move(node, operators[node.output[0]], wiring, graph)
        if move is None:
            raise ModelError(f"the {node.op_type} that writes {node.output[0]!r} does more than pick channels.")
        last = move.nodes[-1]
        released.extend(last.input)
        channels = (graph.shape(move.source) or ())[_CHANNEL]
        convolutions = []
        for position, (target, picked) in enumerate(move.picked):
            weights = np.zeros((len(picked), channels, 1, 1), np.float32)
            weights[np.arange(len(picked)), list(picked)] = 1
            stored = unused_name(f"{target}_channels", taken)
            model.graph.initializer.append(onnx.numpy_helper.from_array(weights, stored))
            label = last.name if position == 0 or not last.name else f"{last.name}_{position}"
            convolutions.append(
                onnx.helper.make_node("Conv", [move.source, stored], [target], label, kernel_shape=[1, 1])
            )
        replaced[last.output[0]] = convolutions
    replace_nodes(model, replaced)
    remove_dead(model, released)


def find_channel_move(node: onnx.NodeProto, operator: Operator, wiring: Wiring, graph: Graph) -> ChannelMove | None:
    """Recognise a move of channels; ``operator`` is the frontend's view of the node.

    1. Slice along the channels alone, with constant bounds.
    2. Split along the channels.
    3. Transpose between two Reshapes that shuffles groups of channels: (N, g, k, H, W) to (N, k, g, H, W).
    """
    if operator.domain:
        return None
    if operator.type == "Transpose":
        move = _shuffle(node, operator, wiring, graph)
    elif operator.type in ("Slice", "Split"):
        move = _pick(node, operator, graph)
    else:
        move = None
    if move is None or graph.values[move.source].elem_type != onnx.TensorProto.FLOAT or graph.is_constant(move.source):
        return None
    return move


def _pick(node: onnx.NodeProto, operator: Operator, graph: Graph) -> ChannelMove | None:
    source = operator.inputs[0]
    shape = graph.shape(source) or ()
    if len(shape) != 4:
        return None
    if operator.type == "Split":
        if operator.integer("axis", 0) % len(shape) != _CHANNEL or not all(operator.outputs):
            return None
        begin, picked = 0, []
        for name in operator.outputs:
            extent = (graph.shape(name) or (0, 0))[_CHANNEL]
            picked.append((name, tuple(range(begin, begin + extent))))
            begin += extent
        return ChannelMove(source, tuple(picked), (node,)) if begin == shape[_CHANNEL] else None
    view = OperatorView(operator, graph, "")
    starts, ends, axes = view.constant(1, "starts"), view.constant(2, "ends"), view.constant(3, "axes")
    steps = view.constant(4)
    given_steps = len(operator.inputs) > 4 and bool(operator.inputs[4])
    if starts is None or ends is None or axes is None or (given_steps and steps is None):
        return None
    if [int(axis) % len(shape) for axis in axes.ravel()] != [_CHANNEL]:
        return None
    step = int(steps.ravel()[0]) if steps is not None else 1
    if step < 1:
        return None
    window = slice(int(starts.ravel()[0]), int(ends.ravel()[0]), step)
    picked_channels = tuple(range(shape[_CHANNEL])[window])
    if not picked_channels or len(picked_channels) != (graph.shape(operator.outputs[0]) or (0, 0))[_CHANNEL]:
        return None
    return ChannelMove(source, ((operator.outputs[0], picked_channels),), (node,))


def _shuffle(node: onnx.NodeProto, operator: Operator, wiring: Wiring, graph: Graph) -> ChannelMove | None:
    before, after = wiring.producers.get(node.input[0]), wiring.only_reader(node.output[0])
    if before is None or after is None or before.op_type != "Reshape" or after.op_type != "Reshape":
        return None
    source, target = before.input[0], after.output[0]
    shape, apart = graph.shape(source) or (), graph.shape(node.input[0]) or ()
    if operator.integers("perm") != _SHUFFLE or len(shape) != 4 or shape != graph.shape(target):
        return None
    if len(apart) != 5 or (apart[0], *apart[3:]) != (shape[0], *shape[2:]):
        return None
    picked = np.arange(shape[_CHANNEL]).reshape(apart[1], apart[2]).T.ravel()
    return ChannelMove(source, ((target, tuple(int(channel) for channel in picked)),), (before, node, after))
