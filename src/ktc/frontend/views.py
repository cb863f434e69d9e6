"""Operators that disappear: constants, dead code, identities and views of another tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from ktc.frontend.conditions import OperatorView

if TYPE_CHECKING:
    from ktc.frontend.graph import Graph, Operator

__all__ = ["RESHAPES", "Flow", "trace_flow"]

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
_SAME_WHEN_SAME_SHAPE = frozenset({"Expand", "Tile", "Resize", "Upsample"})
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_LISTS = frozenset({"Concat", "Sum", "Mean", "Max", "Min"})
_POOLS = frozenset({"MaxPool", "AveragePool"})
#: All operators that `_viewed` can say something about.
_CANDIDATES = RESHAPES | _SAME_WHEN_SAME_SHAPE | _LISTS | _POOLS | _NEUTRAL.keys()
_CANDIDATES |= {"Identity", "Dropout", "Cast", "Slice", "Transpose"}


@dataclass(slots=True)
class Flow:
    """Which operators do work, and which feature map each name stands for.

    Attributes
    ----------
    operators : list of Operator
        Operators with data-dependent work, in execution order.
    reads : dict of int to list of str
        Index of a working operator -> names of what it reads that is not constant; views are not resolved.
    root : dict of str to str
        View -> the feature map that holds its data.  Names that are not views are absent.
    reshaped_by : dict of str to Operator
        View -> the last reshape on its way from the root.
    consumers : dict of str to list of Operator
        Feature map (root) -> working operators that read it, through any views.
    outputs : set of str
        Feature maps (roots) that are outputs of the graph.
    """

    operators: list[Operator]
    reads: dict[int, list[str]]
    root: dict[str, str]
    reshaped_by: dict[str, Operator]
    consumers: dict[str, list[Operator]]
    outputs: set[str]

    def source(self, name: str) -> str:
        """The feature map that a name stands for."""
        return self.root.get(name, name)


def _live(graph: Graph, constants: set[str]) -> list[Operator]:
    """Operators that an output depends on and that are not constant."""
    needed = set(graph.outputs)
    live = []
    for operator in reversed(graph.operators):
        needed.discard("")  # an omitted operand is nobody's output
        if needed.isdisjoint(operator.outputs) or constants.issuperset(operator.outputs):
            continue
        needed.update(operator.inputs)
        if operator.captured:
            needed.update(operator.captured)
        live.append(operator)
    return live[::-1]


def trace_flow(graph: Graph) -> Flow:
    """Find working operators, views and consumers."""
    flow = Flow([], {}, {}, {}, {}, set())
    root, consumers, operators, reads = flow.root, flow.consumers, flow.operators, flow.reads
    constants = {name for name, value in graph.values.items() if value.constant}
    constants.add("")
    for operator in _live(graph, constants):
        if operator.type not in _CANDIDATES or (operator.type in _NEUTRAL and constants.isdisjoint(operator.inputs)):
            source = None
        else:
            source = _viewed(operator, graph)
        if source is None:
            operators.append(operator)
            names = [name for name in operator.inputs if name not in constants]
            if operator.captured:
                names += [name for name in operator.captured if name not in constants]
            reads[operator.index] = names
            for name in names:
                held = root.get(name, name)
                readers = consumers.get(held)
                if readers is None:
                    consumers[held] = [operator]
                elif readers[-1] is not operator:
                    readers.append(operator)
            continue
        output = operator.outputs[0]
        root[output] = flow.source(source)
        if operator.type in RESHAPES:
            flow.reshaped_by[output] = operator
        elif source in flow.reshaped_by:
            flow.reshaped_by[output] = flow.reshaped_by[source]
    flow.outputs.update(flow.source(output) for output in graph.outputs)
    return flow


def _viewed(operator: Operator, graph: Graph) -> str | None:
    """The input whose data the first output repeats unchanged; None if the operator does work."""
    if operator.domain or not operator.inputs or not operator.outputs or graph.is_constant(operator.inputs[0]):
        return _neutral_operand(operator, graph)
    source, output = operator.inputs[0], operator.outputs[0]
    shapes = graph.shape(source), graph.shape(output)
    if operator.type == "Identity":
        return source
    if operator.type == "Dropout":
        training = graph.content(operator.inputs[2]) if len(operator.inputs) > 2 else None
        return None if training is not None and np.any(training) else source
    if None in shapes:
        return None
    if operator.type in RESHAPES:
        return source
    if operator.type == "Cast":
        return source if _is_free_cast(operator, graph) else None
    if shapes[0] == shapes[1] and _repeats(operator, graph):
        return source
    if operator.type == "Transpose" and _moves_only_units(operator, graph):
        return source
    return _neutral_operand(operator, graph)


def _is_free_cast(operator: Operator, graph: Graph) -> bool:
    before = graph.values[operator.inputs[0]].elem_type
    to_float = operator.integer("to", 0) in _FLOATS
    return to_float and (before in _FLOATS or operator.inputs[0] in graph.inputs)


def _repeats(operator: Operator, graph: Graph) -> bool:
    """Whether an operator whose output has its input's shape changes nothing."""
    if operator.type in _SAME_WHEN_SAME_SHAPE:
        return str(operator.attribute("coordinate_transformation_mode")) != "tf_crop_and_resize"
    if operator.type in _LISTS:
        return len(operator.inputs) == 1
    if operator.type == "Slice":
        view = OperatorView(operator, graph, "")
        steps = view.constant(4)
        return len(operator.inputs) < 5 or not operator.inputs[4] or (steps is not None and bool(np.all(steps > 0)))
    if operator.type in _POOLS:
        view = OperatorView(operator, graph, "")
        return set(view.kernel) == {1} and set(view.stride) <= {1}
    return False


def _moves_only_units(operator: Operator, graph: Graph) -> bool:
    shape = graph.shape(operator.inputs[0]) or ()
    permutation = operator.integers("perm") or tuple(reversed(range(len(shape))))
    kept = [axis for axis in permutation if 0 <= axis < len(shape) and shape[axis] != 1]
    return kept == sorted(kept)


def _neutral_operand(operator: Operator, graph: Graph) -> str | None:
    """The feature map of ``x + 0``, ``x - 0``, ``x * 1`` or ``x / 1``."""
    neutral = _NEUTRAL.get(operator.type)
    if operator.domain or neutral is None or len(operator.inputs) != 2:
        return None
    for data, constant in (operator.inputs, operator.inputs[::-1]):
        if graph.is_constant(constant) and not graph.is_constant(data):
            shape, content = graph.shape(data), graph.content(constant)
            same = shape is not None and shape == graph.shape(operator.outputs[0])
            # the first item rules out almost all, without a comparison of arrays
            first = content.item(0) if content is not None and content.size else neutral
            if same and content is not None and first == neutral and np.all(content == neutral):
                return data
        if operator.type in ("Sub", "Div"):
            break
    return None
