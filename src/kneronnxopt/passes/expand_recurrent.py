"""GRU, LSTM and RNN over a known number of time steps become products and elementwise operators."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._emitter import Emitter
from kneronnxopt.passes._graph import constant, static_shape
from kneronnxopt.passes._recurrent_cell import GATES, Activation, Cell, optional_input, read_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ExpandRecurrent"]

logger = logging.getLogger(__name__)

_EMITTED = "kneronnxopt.recurrent_nodes"
_PIECES = "kneronnxopt.recurrent_pieces"
_AT_MOST_ONE = ("HardSigmoid", "Sigmoid", "Softsign", "Tanh")


class ExpandRecurrent(NodePass):
    r"""GRU, LSTM and RNN are unrolled in time; the input is projected once, for all steps.

    ::

        x [T, N, I] -> LSTM(w, r, b, h0, c0) -> y, y_h, y_c         becomes

        x -> Reshape [T*N, I] -> Gemm(w, b) -> Split -> x1 ... xT
        h, xt -> Gemm(h, r, xt) -> Sigmoid, Split, Tanh, Mul, Add -> h, c       for each step
        h1 ... hT -> Concat -> Reshape -> y

    The gates of one activation (z and r of a GRU; i, o and f of an LSTM) are one product; the candidate is another.
    A step takes 2 nodes for an RNN, 9 or 10 for a GRU, 10 for an LSTM, with the default activations.

    1. The number of steps T and the shapes of w and r are static; the batch N need not be. Elements are float or
       double, and the opset is 7 or later.
    2. Directions forward, reverse and bidirectional; layouts 0 and 1; initial states, biases, peepholes,
       linear_before_reset, input_forget. w, r, b may be computed by the graph. A constant zero state costs nothing.
    3. clip bounds the inputs of the activations, as onnxruntime has it: all but that of LSTM's last, h(Ct).
    4. Each listed activation has a form of its own in ONNX. Affine, ScaledTanh and ThresholdedRelu need their alpha
       and beta from the attributes, and these must name as many as the activations take, or none.
       (Softplus is right above 88 too, where onnxruntime's recurrent kernels overflow.)
    5. sequence_lens is absent, or constant and equal to T throughout.
    6. No more than ``max_nodes`` nodes are put into one model.

    Parameters
    ----------
    max_nodes : int
        Bound for all the nodes that this pass adds to a model.
    """

    name = "expand_recurrent"
    op_types = ("GRU", "LSTM", "RNN")
    MAX_NODES: ClassVar[int] = 20_000

    def __init__(self, max_nodes: int = MAX_NODES) -> None:
        self.max_nodes = max_nodes

    def rewrite(self, node: ir.Node) -> bool:
        """Unroll one recurrent operator."""
        graph, cell = node.graph, read_cell(node)
        if cell is None or not isinstance(graph, ir.Graph):
            return False
        total = graph.meta.get(_EMITTED, 0) + cell.node_bound()
        if total > self.max_nodes:
            logger.info("%s '%s' stays: unrolled, it would take %d nodes", node.op_type, node.name, cell.node_bound())
            return False
        graph.meta[_EMITTED] = total
        _Unrolling(node, cell).run()
        return True


class _Unrolling(Emitter):
    """Puts the steps of one cell before its node. Values of a step have the shape [batch, width]."""

    def __init__(self, node: ir.Node, cell: Cell) -> None:
        super().__init__(node, cell.dtype)
        self.cell = cell
        self.rows = cell.steps * cell.batch if isinstance(cell.batch, int) else None
        self.dims = (cell.batch, cell.hidden)

    def run(self) -> None:
        """Emit all directions, then the outputs, and remove the node."""
        cell, directions, hidden = self.cell, len(self.cell.reverse), self.cell.hidden
        every: list[list[ir.Value]] = []
        lasts: list[tuple[ir.Value, ...]] = []
        given = self.node.inputs[0]
        assert given is not None
        x = self.reshape(given, (-1, cell.size), "rows", (self.rows, cell.size))
        for direction in range(directions):
            hiddens, last = self._direction(direction, x)
            every.append(hiddens)
            lasts.append(last)
        self.place = self.prefix
        batch = cell.batch if isinstance(cell.batch, int) else -1
        sequence = (batch, cell.steps, directions, hidden) if cell.layout else (cell.steps, directions, batch, hidden)
        state = (batch, directions, hidden) if cell.layout else (directions, batch, hidden)
        outputs = [[value for step in zip(*every, strict=True) for value in step]]
        outputs += [list(parts) for parts in zip(*lasts, strict=True)]
        for index, old in enumerate(self.node.outputs):
            if index < len(outputs) and (old.uses() or old.is_graph_output()):
                self._output(old, outputs[index], state if index else sequence)
        self.graph.remove(self.node, safe=True)

    def _direction(self, direction: int, x: ir.Value) -> tuple[list[ir.Value], tuple[ir.Value, ...]]:
        """Hidden states of one direction in the order of time, and the states that it ends with."""
        cell, hidden = self.cell, self.cell.hidden
        functions = cell.activations[direction]
        self.place = f"{self.prefix}_d{direction}"
        inputs, weights, linear = self._project(direction, x)
        h, c = self._initial(5, direction), self._initial(6, direction)
        peepholes = [self._piece(7, direction, i * hidden, hidden, f"p{name}") for i, name in enumerate("iof")]
        hiddens: dict[int, ir.Value] = {}
        for step in range(cell.steps)[:: -1 if cell.reverse[direction] else 1]:
            self.place = f"{self.prefix}_d{direction}_t{step}"
            gates = [parts[step] for parts in inputs]
            if cell.op_type == "LSTM":
                h, c = self._lstm_step(gates, h, c, weights, peepholes, functions)
            elif cell.op_type == "GRU":
                h = self._gru_step(gates, h, weights, linear, functions)
            else:
                h = self._apply(functions[0], self._clip(self._recur(h, weights[0], gates[0], "gate")), "hidden")
            hiddens[step] = h
        assert h is not None
        return [hiddens[step] for step in range(cell.steps)], (h,) if c is None else (h, c)

    def _project(self, direction: int, x: ir.Value) -> tuple[list[list[ir.Value]], list[ir.Value], ir.Value | None]:
        """Inputs of the gates for each step, the recurrent weights, and the bias that the reset gate scales."""
        cell, hidden = self.cell, self.cell.hidden
        widths = (hidden,) if cell.op_type == "RNN" else ((GATES[cell.op_type] - 1) * hidden, hidden)
        inputs: list[list[ir.Value]] = []
        weights: list[ir.Value] = []
        linear, start = None, 0
        for part, width in enumerate(widths):
            bias = self._piece(3, direction, start, width, f"wb{part}")
            second = self._piece(3, direction, sum(widths) + start, width, f"rb{part}")
            if part == 1 and cell.linear_before_reset:
                linear = second
            else:
                bias = self._sum(bias, second, f"b{part}")
            weight = self._piece(1, direction, start, width, f"w{part}")
            recurrent = self._piece(2, direction, start, width, f"r{part}")
            assert weight is not None
            assert recurrent is not None
            gates = self.gemm(x, weight, bias, f"projected{part}", (self.rows, width))
            inputs.append(self._by_step(gates, width, f"projected{part}"))
            weights.append(recurrent)
            start += width
        return inputs, weights, linear

    def _by_step(self, value: ir.Value, width: int, hint: str) -> list[ir.Value]:
        """Cut [steps * batch, width], or [batch * steps, width] for layout 1, into one [batch, width] a step."""
        cell, axis = self.cell, 0
        if cell.steps == 1:
            return [value]
        if cell.layout and cell.batch != 1:
            axis, wide = 1, cell.steps * width
            value = self.reshape(value, (-1, wide), f"{hint}_by_batch", (cell.batch, wide))
        return self.split(value, axis, cell.steps, f"{hint}_t", (cell.batch, width))

    # --- steps ---

    def _lstm_step(
        self,
        x: Sequence[ir.Value],
        h: ir.Value | None,
        c: ir.Value | None,
        weights: Sequence[ir.Value],
        peepholes: Sequence[ir.Value | None],
        functions: Sequence[Activation],
    ) -> tuple[ir.Value, ir.Value]:
        gates = self._recur(h, weights[0], x[0], "gates")
        candidate = self._apply(functions[1], self._clip(self._recur(h, weights[1], x[1], "gate_c")), "candidate")
        p_i, p_o, p_f = peepholes
        if self.cell.peepholes:
            i, o, f = self.split(gates, 1, 3, "gate", self.dims)
            i = self._apply(functions[0], self._clip(self._peep(i, p_i, c, "i")), "i")
            f = self._apply(functions[0], self._clip(self._peep(f, p_f, c, "f")), "f")
        else:
            i, o, f = self.split(self._apply(functions[0], self._clip(gates), "iof"), 1, 3, "open", self.dims)
        c_new = self._binary("Mul", i, candidate, "entering")
        if c is not None:
            kept = self._binary("Sub", self.number(1.0), i, "coupled") if self.cell.input_forget else f
            c_new = self._binary("Add", self._binary("Mul", kept, c, "kept"), c_new, "cell")
        if self.cell.peepholes:
            o = self._apply(functions[0], self._clip(self._peep(o, p_o, c_new, "o")), "o")
        return self._binary("Mul", o, self._apply(functions[2], c_new, "shown"), "hidden"), c_new

    def _gru_step(
        self,
        x: Sequence[ir.Value],
        h: ir.Value | None,
        weights: Sequence[ir.Value],
        linear: ir.Value | None,
        functions: Sequence[Activation],
    ) -> ir.Value:
        gates = self._apply(functions[0], self._clip(self._recur(h, weights[0], x[0], "gates")), "zr")
        z, r = self.split(gates, 1, 2, "open", self.dims)
        candidate = x[1]
        if self.cell.linear_before_reset:
            product = linear if h is None else self.gemm(h, weights[1], linear, "linear", self.dims)
            if product is not None:
                candidate = self._binary("Add", self._binary("Mul", r, product, "reset"), candidate, "gate_h")
        elif h is not None:
            candidate = self._recur(self._binary("Mul", r, h, "reset"), weights[1], candidate, "gate_h")
        n = self._apply(functions[1], self._clip(candidate), "candidate")
        if functions[1].op_type not in _AT_MOST_ONE:  # z * (h - n) + n would cancel where n is large
            share = self._binary("Mul", self._binary("Sub", self.number(1.0), z, "rest"), n, "entering")
            return share if h is None else self._binary("Add", self._binary("Mul", z, h, "kept"), share, "hidden")
        if h is None:
            return self._binary("Sub", n, self._binary("Mul", z, n, "share"), "hidden")
        share = self._binary("Mul", z, self._binary("Sub", h, n, "difference"), "share")
        return self._binary("Add", n, share, "hidden")

    def _recur(self, h: ir.Value | None, weight: ir.Value, x: ir.Value, hint: str) -> ir.Value:
        """Product of state and weight, plus x; x alone where the state is zero."""
        return x if h is None else self.gemm(h, weight, x, hint, list(x.shape or ()))

    def _peep(self, gate: ir.Value, peephole: ir.Value | None, c: ir.Value | None, hint: str) -> ir.Value:
        if peephole is None or c is None:
            return gate
        return self._binary("Add", gate, self._binary("Mul", peephole, c, f"{hint}_peeped"), f"{hint}_gate")

    def _binary(self, op_type: str, a: ir.Value, b: ir.Value, hint: str) -> ir.Value:
        return self.emit(op_type, [a, b], hint, self.dims)

    def _apply(self, function: Activation, value: ir.Value, hint: str) -> ir.Value:
        dims = list(value.shape or ())
        if function.op_type == "Affine":
            factor, offset = map(self.number, function.parameters)
            return self.emit("Add", [self.emit("Mul", [value, factor], f"{hint}_scaled", dims), offset], hint, dims)
        if function.op_type == "ScaledTanh":
            outer, inner = map(self.number, function.parameters)
            bent = self.emit("Tanh", [self.emit("Mul", [value, inner], f"{hint}_scaled", dims)], f"{hint}_tanh", dims)
            return self.emit("Mul", [bent, outer], hint, dims)
        attributes = dict(zip(("alpha", "beta"), function.parameters, strict=False))
        return self.emit(function.op_type, [value], hint, dims, attributes)

    def _clip(self, value: ir.Value) -> ir.Value:
        clip, dims = self.cell.clip, list(value.shape or ())
        if clip is None:
            return value
        if self.opset < 11:
            return self.emit("Clip", [value], "clipped", dims, {"min": -clip, "max": clip})
        return self.emit("Clip", [value, self.number(-clip), self.number(clip)], "clipped", dims)

    # --- operands and results ---

    def _piece(self, index: int, direction: int, start: int, width: int, hint: str) -> ir.Value | None:
        """Rows ``start`` to ``start + width`` of one direction of a weight; None for a bias that is absent or zero."""
        value = optional_input(self.node, index)
        if value is None or (index == 7 and not self.cell.peepholes):
            return None
        array, dims = constant(value), static_shape(value)
        assert dims is not None
        if array is not None:
            piece = array[direction, start : start + width]
            if index in (1, 2):
                return self._weight(value, piece, (direction, start, width), hint)
            return self.constant(piece, hint) if piece.any() else None
        shape = (1, width, *dims[2:])
        if shape != dims:
            ranges = [direction, start], [direction + 1, start + width], [0, 1]
            value = self.slice(value, *ranges, f"{hint}_rows", shape)
        return self.reshape(value, shape[1:], hint)

    def _weight(self, whole: ir.Value, piece: np.ndarray[Any, Any], rows: tuple[int, int, int], hint: str) -> ir.Value:
        """Constant for a piece of a weight; the same one where another node has the same weight."""
        known = self.graph.meta.setdefault(_PIECES, {})
        value: ir.Value | None = known.get((whole.name, *rows))
        if value is None or self.graph.initializers.get(value.name or "") is not value:
            value = known[(whole.name, *rows)] = self.constant(piece, hint)
        return value

    def _sum(self, a: ir.Value | None, b: ir.Value | None, hint: str) -> ir.Value | None:
        if a is None or b is None:
            return b if a is None else a
        left, right = constant(a), constant(b)
        if left is None or right is None:
            return self.emit("Add", [a, b], hint, static_shape(a) or ())
        with np.errstate(all="ignore"):
            return self.constant(left + right, hint)

    def _initial(self, index: int, direction: int) -> ir.Value | None:
        """State of one direction before the first step, [batch, hidden]; None if it is zero."""
        value, cell = optional_input(self.node, index), self.cell
        if value is None:
            return None
        array, hint = constant(value), "initial_h" if index == 5 else "initial_c"
        if array is not None:
            piece = array.take(direction, axis=cell.layout)
            return self.constant(piece, hint) if piece.any() else None
        if len(cell.reverse) > 1:
            dims = (cell.batch, 1, cell.hidden) if cell.layout else (1, cell.batch, cell.hidden)
            value = self.slice(value, [direction], [direction + 1], [cell.layout], f"{hint}_part", dims)
        return self.reshape(value, (-1, cell.hidden), hint, self.dims)

    def _output(self, old: ir.Value, parts: Sequence[ir.Value], target: tuple[int, ...]) -> None:
        """Join the parts and give them the shape, the name and the users of ``old``."""
        cell, axis, value = self.cell, self.cell.layout, parts[0]
        if len(parts) > 1:
            dims: list[int | ir.SymbolicDim | None] = [cell.batch, cell.hidden]
            dim = dims[axis]
            dims[axis] = dim * len(parts) if isinstance(dim, int) else None
            value = self.emit("Concat", parts, f"{old.name}_joined", dims, {"axis": axis})
        shape = self.integers(target, f"{old.name}_shape")
        self.stand_in(old, "Reshape", [value, shape], [cell.batch if dim == -1 else dim for dim in target])
