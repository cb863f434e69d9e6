"""What an operator makes the units of the chip do: MAC work, auxiliary passes, layout moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.frontend.conditions import OperatorView
from ktc.frontend.graph import element_count
from ktc.frontend.program import AuxiliaryStep, MacWork

if TYPE_CHECKING:
    from ktc.frontend.graph import Graph, Operator

__all__ = ["MAC_OPERATORS", "auxiliary_steps", "constant_elements", "is_channel_constant", "mac_work"]

MAC_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_WITH_CONSTANTS = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "BatchNormalization", "Concat", "Pow"})
_POOLS = frozenset({"MaxPool", "AveragePool"})
_MOVES = frozenset({"Pad", "Expand", "Gather", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample"})
_INTERPOLATION_REACH = 2
_COMPOSED_WINDOW = 3  # larger windows are composed of 3x3 pools (facts: "MaxPool k > 3 composed of smaller")


def mac_work(operator: Operator, graph: Graph) -> MacWork | str:
    """Work of the MAC array for one operator of `MAC_OPERATORS`.

    Returns
    -------
    MacWork or str
        The work, or a sentence why the operator is not a valid convolution or product.
    """
    if operator.type in ("Conv", "ConvTranspose"):
        return _convolution(operator, graph)
    return _product(operator, graph)


def _plane(extents: tuple[int, ...]) -> tuple[int, int]:
    """One or two spatial extents as (rows, columns)."""
    rows, columns = (1, *extents)[-2:]
    return rows, columns


def _convolution(operator: Operator, graph: Graph) -> MacWork | str:
    data, result = graph.shape(operator.inputs[0]) or (), graph.shape(operator.outputs[0]) or ()
    weights = (graph.shape(operator.inputs[1]) or ()) if len(operator.inputs) > 1 else ()
    groups = operator.integer("group", 1)
    view = OperatorView(operator, graph, "")
    transposed = operator.type == "ConvTranspose"
    valid = len(data) == len(result) == len(weights) >= 3 and groups >= 1 and 0 not in (*data, *result, *weights)
    if not valid or data[1] % groups or (data[1] if transposed else data[1] // groups) != weights[1 - transposed]:
        return f"{operator.type} of {list(data)} with weights {list(weights)} in {groups} groups is not well formed."
    if not graph.is_constant(operator.inputs[1]):
        return f"{operator.type} has weights that are computed at run time."
    kernel, stride = weights[2:], view.stride
    if len(kernel) > 2 or len(stride) != len(kernel) or len(operator.integers("dilations", kernel)) != len(kernel):
        return f"{operator.type} over {len(kernel)} spatial dimensions is not a row-and-column convolution."
    dilation = operator.integers("dilations") or (1,) * len(kernel)
    rows, columns = _plane(result[2:])
    per_position = weights[1] * (data[1] // groups if transposed else 1) * element_count(kernel)
    positions = element_count(data[2:]) if transposed else rows * columns
    macs = data[0] * positions * (per_position * groups if transposed else per_position * result[1])
    depthwise = groups > 1 and data[1] == groups
    return MacWork(
        kind="deconv" if transposed else "depthwise" if depthwise else "conv",
        batch=data[0],
        groups=groups,
        in_channels=data[1] // groups,
        out_channels=result[1],
        kernel=_plane(kernel),
        stride=_plane(stride),
        dilation=_plane(dilation),
        out_rows=rows,
        out_columns=columns,
        weight_elements=element_count(weights),
        bias_elements=result[1] if len(operator.inputs) > 2 and operator.inputs[2] else 0,
        macs=macs,
    )


def _product(operator: Operator, graph: Graph) -> MacWork | str:
    shapes = [graph.shape(name) or () for name in operator.inputs[:2]]
    if len(shapes) < 2 or not all(shapes):
        return f"{operator.type} needs two operands that are not scalars."
    first, second = shapes
    if operator.type == "Gemm":
        if len(first) != 2 or len(second) != 2:
            return f"Gemm of {list(first)} by {list(second)} is not a product of matrices."
        first = first[::-1] if operator.integer("transA", 0) else first
        second = second[::-1] if operator.integer("transB", 0) else second
    rows, inner = (1, *first)[-2:]
    inner2, columns = (*second, 1)[:2] if len(second) == 1 else second[-2:]
    if inner != inner2:
        return f"{operator.type} of {list(first)} by {list(second)} does not fit together."
    result = graph.shape(operator.outputs[0]) or ()
    batch = element_count(result) // max(1, rows * columns)
    constant = graph.is_constant(operator.inputs[1]) or graph.is_constant(operator.inputs[0])
    stored = second if graph.is_constant(operator.inputs[1]) else first
    bias = operator.type == "Gemm" and len(operator.inputs) > 2 and bool(operator.inputs[2])
    return MacWork(
        kind="matmul",
        batch=batch,
        groups=1,
        in_channels=inner,
        out_channels=columns,
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        out_rows=1,
        out_columns=rows,
        weight_elements=element_count(stored) if constant else 0,
        bias_elements=columns if bias else 0,
        macs=batch * rows * inner * columns,
    )


def auxiliary_steps(operator: Operator, graph: Graph, steps: tuple[str, ...]) -> tuple[AuxiliaryStep, ...]:
    """Passes of the auxiliary units for an operator that is neither MAC work nor a layout move.

    A pass costs what it reads, over all its feature maps, or what it writes, if that is more.  Each step of a
    decomposition is one pass over the largest of them; a sum of several maps is taken two at a time.
    """
    maps = [name for name in dict.fromkeys(operator.inputs) if name and not graph.is_constant(name)]
    ins = [element_count(graph.shape(name) or ()) for name in maps]
    outs = [element_count(graph.shape(name) or ()) for name in operator.outputs if name]
    elements = max([*outs, *ins], default=0)
    if steps == (operator.type,) * 2:  # rows first, then columns
        before, after = (graph.shape(name) or () for name in (operator.inputs[0], operator.outputs[0]))
        return _step(operator.type, element_count((*after[:-1], *before[-1:]))), _step(operator.type, elements)
    if steps:
        if operator.type in ("Sum", "Mean") and len(ins) > 1:
            return tuple(_step(step, 2 * elements) for step in steps for _ in ins[1:])
        return tuple(_step(step, elements) for step in steps)
    if operator.type in _POOLS:
        view = OperatorView(operator, graph, "")
        kernel = max(view.kernel, default=1)
        composed = kernel > _COMPOSED_WINDOW and kernel > min(view.stride, default=1)
        passes = -(-(kernel - 1) // (_COMPOSED_WINDOW - 1)) if composed else 1
        reach = view.kernel[0] if len(view.kernel) == 2 else 1
        return (AuxiliaryStep(operator.type, elements * passes, pooling=True, reach=max(1, reach)),)
    return (_step(operator.type, max(elements, sum(ins))),)


def _step(kind: str, elements: int) -> AuxiliaryStep:
    reach = _INTERPOLATION_REACH if kind in ("Resize", "Upsample") else 1
    return AuxiliaryStep(kind, elements, pooling=kind in _MOVES or kind.startswith("Global"), reach=reach)


def constant_elements(operator: Operator, graph: Graph) -> int:
    """Elements of the constant operands of an operator (not shapes, pads and the like)."""
    if operator.type not in _WITH_CONSTANTS:
        return 0
    return sum(element_count(graph.shape(n) or ()) for n in operator.inputs if n and graph.is_constant(n))


def is_channel_constant(operator: Operator, graph: Graph, *, channel_last: bool = False) -> bool:
    """Whether ``Add``, ``Sub``, ``Mul`` or ``Div`` has one constant operand, a scalar or one value per channel.

    ``x / c`` counts, ``c / x`` does not.  The channel axis is 1, or the last one if ``channel_last``.
    """
    if operator.type not in ("Add", "Sub", "Mul", "Div") or len(operator.inputs) != 2 or operator.domain:
        return False
    constants = [graph.is_constant(name) for name in operator.inputs]
    if sum(constants) != 1 or (operator.type == "Div" and constants[0]):
        return False
    shape = graph.shape(operator.inputs[constants.index(True)])
    result = graph.shape(operator.outputs[0])
    data = graph.shape(operator.inputs[constants.index(False)])
    if shape is None or not result or data != result:
        return False
    axis = len(result) - 1 if channel_last else min(1, len(result) - 1)
    padded = (1,) * (len(result) - len(shape)) + shape
    return all(extent in (1, result[axis] if i == axis else 1) for i, extent in enumerate(padded))
