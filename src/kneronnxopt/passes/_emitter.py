"""Nodes put before a node that they replace, one after the other, each in the form of the model's opset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._graph import free_name, new_constant, new_node, opset_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Dims = Sequence[int | ir.SymbolicDim | None]

__all__ = ["Emitter"]

#: The end of a name tells more than its start, and thousands of new names begin with it.
_LONGEST_PREFIX = 64


class Emitter:
    """Puts nodes before ``node``; their values have one element type, and shapes that may be symbolic in part.

    Parameters
    ----------
    node : onnx_ir.Node
        New nodes come before this one.
    dtype : onnx_ir.DataType
        Element type of all new values.

    Attributes
    ----------
    place : str
        Start of the names that new values get. Set it where many values would have the same name.
    """

    def __init__(self, node: ir.Node, dtype: ir.DataType) -> None:
        assert isinstance(node.graph, ir.Graph)
        self.node, self.graph, self.dtype = node, node.graph, dtype
        self.opset = opset_of(node)
        name = next((output.name for output in node.outputs if output.name), None) or node.name or node.op_type
        self.prefix = name[-_LONGEST_PREFIX:]
        self.place = self.prefix
        self._numbers: dict[float, ir.Value] = {}

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        hint: str,
        dims: Dims,
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """A node with one output."""
        value = new_node(self.node, op_type, inputs, attributes, hint=f"{self.place}_{hint}", dtype=self.dtype)
        value.shape = ir.Shape(dims)
        return value

    def integers(self, numbers: Sequence[int], hint: str) -> ir.Value:
        """A constant list of integers."""
        return self.constant(np.array(numbers, dtype=np.int64), hint)

    def number(self, number: float) -> ir.Value:
        """A constant scalar of the element type; the same one for the same number."""
        if number not in self._numbers:
            self._numbers[number] = new_constant(
                self.graph, f"{self.prefix}_number", np.array(number, dtype=self.dtype.numpy())
            )
        return self._numbers[number]

    def constant(self, array: np.ndarray[Any, Any], hint: str) -> ir.Value:
        """A constant."""
        return new_constant(self.graph, f"{self.place}_{hint}", array)

    def reshape(self, value: ir.Value, target: Sequence[int], hint: str, dims: Dims | None = None) -> ir.Value:
        """Reshape to ``target``; ``dims`` is the resulting shape where that is not ``target``."""
        shape = self.integers(target, f"{hint}_shape")
        return self.emit("Reshape", [value, shape], hint, target if dims is None else dims)

    def slice(
        self,
        value: ir.Value,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int],
        hint: str,
        dims: Dims,
        steps: Sequence[int] | None = None,
    ) -> ir.Value:
        """Slice; ``steps`` need opset 10."""
        ranges = {"starts": starts, "ends": ends, "axes": axes}
        if steps is not None:
            ranges["steps"] = steps
        if self.opset < 10:
            assert steps is None
            return self.emit("Slice", [value], hint, dims, ranges)
        operands = [self.integers(numbers, f"{hint}_{role}") for role, numbers in ranges.items()]
        return self.emit("Slice", [value, *operands], hint, dims)

    def split(self, value: ir.Value, axis: int, count: int, hint: str, dims: Dims) -> list[ir.Value]:
        """Split into equal parts of shape ``dims``."""
        outputs = [
            ir.Value(
                name=free_name(self.graph, f"{self.place}_{hint}{number}"),
                shape=ir.Shape(dims),
                type=ir.TensorType(self.dtype),
            )
            for number in range(count)
        ]
        attributes = {"axis": axis, **({"num_outputs": count} if self.opset >= 18 else {})}
        name = free_name(self.graph, f"{self.place}_{hint}_split")
        self.graph.insert_before(self.node, ir.node("Split", [value], attributes, outputs=outputs, name=name))
        return outputs

    def gemm(self, x: ir.Value, weight: ir.Value, addend: ir.Value | None, hint: str, dims: Dims) -> ir.Value:
        """Product of x with the transpose of ``weight``, plus ``addend``."""
        if addend is None and self.opset < 11:  # it may be left out since then
            addend = self.number(0.0)
        return self.emit("Gemm", [x, weight, *([] if addend is None else [addend])], hint, dims, {"transB": 1})

    def stand_in(self, old: ir.Value, op_type: str, inputs: Sequence[ir.Value | None], dims: Dims) -> None:
        """A node whose output takes the name, the users and the place among the graph outputs of ``old``."""
        shape = old.shape if old.shape is not None and old.shape.is_static() else ir.Shape(dims)
        new = ir.Value(name=old.name, shape=shape, type=old.type, metadata_props=dict(old.metadata_props))
        if new.type is None:
            new.type = ir.TensorType(self.dtype)
        name = free_name(self.graph, f"{old.name}_{op_type}")
        self.graph.insert_before(self.node, ir.node(op_type, inputs, outputs=[new], name=name))
        old.replace_all_uses_with(new, replace_graph_outputs=True)
