"""What a GRU, LSTM or RNN node says, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._graph import constant, int_attribute, opset_of, static_shape, string_attribute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GATES", "Activation", "Cell", "optional_input", "read_cell"]

#: Blocks of rows in a weight, one for each gate.
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULT_ACTIVATIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
#: Activations and their (alpha, beta). None: the attribute must say it, as runtimes differ about the default.
_ACTIVATIONS: dict[str, tuple[float | None, ...]] = {
    "Affine": (None, None),
    "Elu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "Relu": (),
    "ScaledTanh": (None, None),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (None,),
}


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation function: its operator, and alpha and beta if it takes them."""

    op_type: str
    parameters: tuple[float, ...]

    @property
    def nodes(self) -> int:
        """How many nodes it takes."""
        return {"Affine": 2, "ScaledTanh": 3}.get(self.op_type, 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One recurrent node in plain values. ``batch`` is a number or a symbolic dimension."""

    op_type: str
    steps: int
    batch: int | ir.SymbolicDim
    size: int
    hidden: int
    reverse: tuple[bool, ...]
    layout: int
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None
    linear_before_reset: bool
    input_forget: bool
    peepholes: bool
    dtype: ir.DataType

    def node_bound(self) -> int:
        """No less than the number of nodes that unrolling takes."""
        arithmetic = {"RNN": 1, "GRU": 9, "LSTM": 8 + 6 * self.peepholes}[self.op_type]
        clips = 0 if self.clip is None else 4
        step = arithmetic + clips + max(sum(a.nodes for a in some) for some in self.activations)
        if self.peepholes:  # i, f and o take their activation one by one
            step += 2 * max(some[0].nodes for some in self.activations)
        return len(self.reverse) * (self.steps * step + 30) + 6


def read_cell(node: ir.Node) -> Cell | None:
    """The node in plain values; None if a precondition does not hold."""
    if len(node.inputs) < 3:
        return None
    x, w, r = node.inputs[:3]
    shape_w, shape_r = static_shape(w), static_shape(r)
    if opset_of(node) < 7 or x is None or x.shape is None or len(x.shape) != 3 or not shape_w or not shape_r:
        return None
    if x.dtype is None or x.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE) or 0 in (*shape_w, *shape_r):
        return None
    gates, layout = GATES[node.op_type], int_attribute(node, "layout", 0)
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(
        string_attribute(node, "direction", "forward")
    )
    if reverse is None or layout not in (0, 1) or len(shape_w) != 3 or len(shape_r) != 3:
        return None
    hidden, size = shape_r[2], shape_w[2]
    steps, batch = x.shape[layout], x.shape[1 - layout]
    activations, clip = _activations(node, len(reverse)), node.attributes.get("clip")
    fits = (
        shape_w == (len(reverse), gates * hidden, size)
        and shape_r == (len(reverse), gates * hidden, hidden)
        and int_attribute(node, "hidden_size", hidden) == hidden
        and isinstance(steps, int)
        and steps > 0
        and batch != 0
        and x.shape[2] == size
        and (clip is None or clip.as_float() > 0)
    )
    if not fits or not isinstance(steps, int) or activations is None:
        return None
    cell = Cell(
        op_type=node.op_type,
        steps=steps,
        batch=batch,
        size=size,
        hidden=hidden,
        reverse=reverse,
        layout=layout,
        activations=activations,
        clip=None if clip is None else clip.as_float(),
        linear_before_reset=bool(int_attribute(node, "linear_before_reset", 0)),
        input_forget=bool(int_attribute(node, "input_forget", 0)),
        peepholes=optional_input(node, 7) is not None,
        dtype=x.dtype,
    )
    return cell if _operands_fit(node, cell) else None


def _operands_fit(node: ir.Node, cell: Cell) -> bool:
    """Whether the optional inputs have the shapes of the standard, and all steps count."""
    directions, lengths = len(cell.reverse), optional_input(node, 4)
    if lengths is not None:
        array = constant(lengths)
        if array is None or array.ndim != 1 or not array.size or not bool(np.all(array == cell.steps)):
            return False
    states = (cell.batch, directions, cell.hidden) if cell.layout else (directions, cell.batch, cell.hidden)
    expected: dict[int, tuple[int | ir.SymbolicDim, ...]] = {
        3: (directions, 2 * GATES[cell.op_type] * cell.hidden),
        5: states,
        6: states,
        7: (directions, 3 * cell.hidden),
    }
    for index, dims in expected.items():
        value = optional_input(node, index)
        if value is None:
            continue
        if value.dtype not in (cell.dtype, None):
            return False
        if value.shape is None:
            if index in (3, 7):
                return False
        elif not _may_equal(value.shape, dims) or (index in (3, 7) and not value.shape.is_static()):
            return False
    return all(value is None or value.dtype == cell.dtype for value in node.inputs[1:3])


def _may_equal(shape: ir.Shape, dims: Sequence[int | ir.SymbolicDim]) -> bool:
    pairs = zip(shape, dims, strict=False)
    return len(shape) == len(dims) and not any(
        isinstance(known, int) and isinstance(wanted, int) and known != wanted for known, wanted in pairs
    )


def _activations(node: ir.Node, directions: int) -> tuple[tuple[Activation, ...], ...] | None:
    """The activations of each direction; None if one is unknown or its parameters are not certain."""
    default = _DEFAULT_ACTIVATIONS[node.op_type]
    attribute = node.attributes.get("activations")
    names = default * directions if attribute is None else tuple(attribute.as_strings())
    if len(names) != len(default) * directions or any(name not in _ACTIVATIONS for name in names):
        return None
    columns = []  # alphas, then betas, in the order of the activations
    for position, name in enumerate(("activation_alpha", "activation_beta")):
        takers = [index for index, op_type in enumerate(names) if len(_ACTIVATIONS[op_type]) > position]
        attribute = node.attributes.get(name)
        given = () if attribute is None else tuple(attribute.as_floats())
        if given and len(given) != len(takers):
            return None
        columns.append(dict(zip(takers, given, strict=True)) if given else {})
    found = []
    for index, op_type in enumerate(names):
        parameters = []
        for position, fallback in enumerate(_ACTIVATIONS[op_type]):
            parameter = columns[position].get(index, fallback)
            if parameter is None or not np.isfinite(parameter):
                return None
            parameters.append(float(parameter))
        if op_type == "ThresholdedRelu" and opset_of(node) < 10:
            return None
        found.append(Activation(op_type, tuple(parameters)))
    return tuple(tuple(found[i * len(default) : (i + 1) * len(default)]) for i in range(directions))


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index``; None if the node has no such input."""
    return node.inputs[index] if index < len(node.inputs) else None
