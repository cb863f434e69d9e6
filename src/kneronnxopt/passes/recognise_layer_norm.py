"""LayerNormalization is recognised from its expanded form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._algebra import number, remove_dead
from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    is_op,
    new_constant,
    opset_of,
    replace_node,
    sole_consumer,
)
from kneronnxopt.passes.global_average_pool import reduction_axes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RecogniseLayerNormalization"]

#: A scale of ones is added where the model has none; never a larger one than this.
_MAX_ADDED = 65536


class RecogniseLayerNormalization(NodePass):
    r"""The mean is subtracted, the result divided by its standard deviation.

    ::

        x -> ReduceMean -\        /-> Pow(2) -> ReduceMean -> Add(epsilon) -> Sqrt -\
        x --------------> Sub -> d ------------------------------------------------> Div -> Mul(g) -> Add(b) -> y

        becomes   x -> LayerNormalization(g, b) -> y

    1. Both means run over the same last axes, keepdims 1, as attribute or (opset 18) as constant input;
       GlobalAveragePool counts as such a mean.
    2. Mul(d, d) for Pow; a second, equal Sub for d; Mul by Reciprocal(Sqrt) or by Pow(-0.5) for Div.
    3. g and b are constants over the normalised axes (or of one element) and may both be absent: a scale of
       ones is added, if it is not large. b without g, too.
    4. The sizes of the normalised axes are known.
    5. d and the values after it have no other reader. epsilon is constant, of one element and not negative.
    6. Opset 17 and later (there was no LayerNormalization before), float32 only.
    """

    name = "recognise_layer_normalization"
    op_types = ("Div", "Mul")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one normalisation, found at its Div or Mul."""
        if opset_of(node) < 17 or node.outputs[0].dtype != ir.DataType.FLOAT:
            return False
        for centred, variance in _quotients(node):
            found = _normalised(centred, variance)
            if found is not None:
                x, axes, epsilon = found
                return _replace(node, x, axes, epsilon)
        return False


def _replace(node: ir.Node, x: ir.Value, axes: int, epsilon: float) -> bool:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if x.shape is None:
        return False
    sizes = tuple(x.shape)[-axes:]
    dims = tuple(int(size) for size in sizes if isinstance(size, int))
    if len(dims) != len(sizes) or 0 in dims or node.outputs[0].shape is None:
        return False
    if len(node.outputs[0].shape) != len(x.shape):
        return False
    root, scale = _affine(node, "Mul", dims)
    root, bias = _affine(root, "Add", dims)
    if scale is None and np.prod(dims) > _MAX_ADDED:
        return False
    if root.outputs[0].shape is None or len(root.outputs[0].shape) != len(x.shape):
        return False
    prefix = root.outputs[0].name
    inputs = [x]
    for role, operand in (("scale", scale), ("bias", bias)):
        if isinstance(operand, ir.Value):
            inputs.append(operand)
        elif operand is not None or role == "scale":
            array = np.ones(dims, np.float32) if operand is None else operand
            inputs.append(new_constant(graph, f"{prefix}_{role}", array))
    operands = list(root.inputs)
    replace_node(root, "LayerNormalization", inputs, {"axis": -axes, "epsilon": epsilon})
    remove_dead(operands)
    return True


def _affine(
    node: ir.Node, op_type: str, dims: tuple[int, ...]
) -> tuple[ir.Node, ir.Value | np.ndarray[Any, Any] | None]:
    """The node after ``node`` that applies a constant over the normalised axes, and that constant in shape ``dims``."""
    following = sole_consumer(node.outputs[0])
    if following is None or not is_op(following, op_type):
        return node, None
    operand = following.inputs[1] if following.inputs[0] is node.outputs[0] else following.inputs[0]
    tensor = constant_tensor(operand)
    if operand is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return node, None
    shape = tuple(int(size) for size in tensor.shape.numpy())
    if shape == dims:
        return following, operand
    if int(np.prod(shape)) == 1 and np.prod(dims) <= _MAX_ADDED:
        array = constant(operand)
        return (node, None) if array is None else (following, np.full(dims, array.reshape(())[()], np.float32))
    stripped = shape[len(shape) - len(dims) :]
    if stripped == dims and int(np.prod(shape)) == int(np.prod(dims)) and len(operand.uses()) == 1:
        array = constant(operand)
        return (node, None) if array is None else (following, array.reshape(dims))
    return node, None


def _quotients(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """(d, variance + epsilon) for each way to read ``node`` as d / sqrt(variance + epsilon)."""
    orders = ((0, 1),) if node.op_type == "Div" else ((0, 1), (1, 0))
    for data, other in orders:
        centred, operand = node.inputs[data], node.inputs[other]
        last = _only_producer(operand)
        if centred is None or last is None:
            continue
        root: ir.Node | None = None
        if node.op_type == "Div":
            root = last
        elif is_op(last, "Reciprocal"):
            root = _only_producer(last.inputs[0])
        elif is_op(last, "Div") and number(last.inputs[0]) == 1.0:
            root = _only_producer(last.inputs[1])
        elif is_op(last, "Pow") and number(last.inputs[1]) == -0.5 and last.inputs[0] is not None:
            yield centred, last.inputs[0]
            continue
        if root is None:
            continue
        is_root = is_op(root, "Sqrt") or (is_op(root, "Pow") and number(root.inputs[1]) == 0.5)
        if is_root and root.inputs[0] is not None:
            yield centred, root.inputs[0]


def _normalised(centred: ir.Value, shifted: ir.Value) -> tuple[ir.Value, int, float] | None:
    """x, the number of its normalised axes, and epsilon; None if this is not a normalisation."""
    subtraction, addition = centred.producer(), _only_producer(shifted)
    if subtraction is None or not is_op(subtraction, "Sub") or addition is None or not is_op(addition, "Add"):
        return None
    x, mean = subtraction.inputs[0], subtraction.inputs[1]
    for data, other in ((0, 1), (1, 0)):
        epsilon, variance = number(addition.inputs[other]), _only_producer(addition.inputs[data])
        if epsilon is None or epsilon < 0 or variance is None:
            continue
        axes = _mean_axes(variance)
        square = None if axes is None else _only_producer(variance.inputs[0])
        if axes is None or square is None or x is None or mean is None or x.dtype != ir.DataType.FLOAT:
            return None
        averaging = mean.producer()
        if averaging is None or _mean_axes(averaging) != axes or averaging.inputs[0] is not x:
            return None
        if not _is_square_of(square, centred, x, mean):
            return None
        return x, axes, epsilon
    return None


def _mean_axes(node: ir.Node) -> int | None:
    """How many last axes a ReduceMean with keepdims 1, or what became of it, averages over."""
    source = node.inputs[0] if is_op(node, "GlobalAveragePool", "ReduceMean") else None
    if source is None or source.shape is None:
        return None
    rank = len(source.shape)
    if is_op(node, "GlobalAveragePool"):  # another pass makes it of a ReduceMean over two axes
        return rank - 2
    if not int_attribute(node, "keepdims", 1):
        return None
    axes = reduction_axes(node, rank)
    return len(axes) if axes and axes == tuple(range(rank - len(axes), rank)) else None


def _is_square_of(square: ir.Node, centred: ir.Value, x: ir.Value, mean: ir.Value) -> bool:
    """Whether ``square`` is d ** 2, of the same d or of an equal one, and nothing else reads d."""
    if is_op(square, "Pow"):
        bases = [square.inputs[0]]
        if number(square.inputs[1]) != 2.0:
            return False
    elif is_op(square, "Mul"):
        bases = list(square.inputs)
    else:
        return False
    for base in bases:
        producer = base.producer() if base is not None else None
        if base is None or producer is None or base.is_graph_output():
            return False
        if base is not centred and not (
            is_op(producer, "Sub") and producer.inputs[0] is x and producer.inputs[1] is mean
        ):
            return False
    readers = {use.node for use in centred.uses()}
    return len(readers - {square}) <= 1 and not centred.is_graph_output() and not mean.is_graph_output()


def _only_producer(value: ir.Value | None) -> ir.Node | None:
    """The node that computes ``value``, if nothing but its one reader needs it."""
    if value is None or value.producer() is None or sole_consumer(value) is None:
        return None
    return value.producer()
