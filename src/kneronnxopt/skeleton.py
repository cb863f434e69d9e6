"""A model without its weights: what checks and shape inference need, and no more.

A skeleton costs what the graph costs. Initializers above a small size stand as graph inputs of the same
name, type and shape, so that no library has to copy, hash or serialise them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import onnx

from kneronnxopt.errors import OptimizationError
from kneronnxopt.walk import all_nodes, subgraphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = [
    "SMALL_TENSOR_ELEMENTS",
    "UNCHECKED_AXIS",
    "hide_nodes",
    "hide_unchecked_axes",
    "make_skeleton",
    "sort_nodes",
    "sort_squeezed_axes",
]

#: Initializers of up to this many elements keep their data: shapes, axes, scales, scalars.
SMALL_TENSOR_ELEMENTS = 256
#: Operators whose ``axis`` onnx's shape inference trusts.
UNCHECKED_AXIS = ("LayerNormalization", "RMSNormalization")
#: Of nodes that no schema describes.
_HIDDEN_DOMAIN = "kneronnxopt.hidden"


def make_skeleton(model: onnx.ModelProto, *, keep_shapes: bool = True) -> onnx.ModelProto:
    """Copy ``model`` without its large initializers.

    Parameters
    ----------
    model : onnx.ModelProto
        Is not changed.
    keep_shapes : bool
        Whether declared shapes of intermediate values and outputs are kept.

    Returns
    -------
    onnx.ModelProto
        Nodes, inputs, outputs, functions and opsets as in ``model``; every large initializer that was
        not an input is appended to the inputs. An initializer that callers may override (it is an input,
        and the IR version is 4 or later) has no data here, whatever its size.
    """
    result = onnx.ModelProto(ir_version=model.ir_version)
    result.opset_import.extend(model.opset_import)
    result.functions.extend(model.functions)
    graph = result.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    if keep_shapes:
        graph.value_info.extend(model.graph.value_info)
    else:
        for output in graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
    inputs = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        overridable = tensor.name in inputs and model.ir_version >= 4
        if not external and not overridable and math.prod(tensor.dims) <= SMALL_TENSOR_ELEMENTS:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return result


def hide_unchecked_axes(skeleton: onnx.ModelProto) -> None:
    """Turn normalisations into Identity, which has the same shape.

    onnx's shape inference does not check their ``axis``, and reads beyond its buffers (seen with 1.23).
    """
    for node in skeleton.graph.node:
        if node.op_type in UNCHECKED_AXIS and not any(node.output[1:]):
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.output[1:], node.attribute[:]


def sort_squeezed_axes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Put the axes of each Squeeze among some nodes in order, which means the same.

    Below opset 11, onnx's shape inference overlooks those that stand after a larger one (seen with 1.23).
    """
    for node in nodes:
        if node.op_type == "Squeeze":
            for attribute in node.attribute:
                if attribute.name == "axes":
                    attribute.ints[:] = sorted(attribute.ints)


def hide_nodes(skeleton: onnx.ModelProto, results: Collection[str]) -> None:
    """Make nodes, named by their results, operators that onnx does not know, so that it infers nothing for them."""
    if results:
        skeleton.opset_import.add(domain=_HIDDEN_DOMAIN, version=1)
        for node in all_nodes(skeleton):
            if any(name in results for name in node.output):
                node.domain = _HIDDEN_DOMAIN


def sort_nodes(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Order nodes so that each stands after the producers of its inputs; stable.

    Raises
    ------
    OptimizationError
        The graph has a cycle, or two nodes write the same value.
    """
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name and producer.setdefault(name, index) != index:
                other = nodes[producer[name]]
                raise OptimizationError(
                    f"value '{name}' is written by two nodes, '{other.name or other.op_type}' and "
                    f"'{node.name or node.op_type}'; give each its own output name"
                )
    if all(producer.get(name, -1) < index for index, node in enumerate(nodes) for name in _read_names(node)):
        return list(nodes)
    waits: list[set[int]] = []
    consumers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        needs = {producer[name] for name in _read_names(node) if name in producer} - {index}
        if any(name in node.input for name in node.output if name):
            needs.add(index)
        waits.append(needs)
        for other_index in needs:
            consumers[other_index].append(index)
    ready = deque(index for index, needs in enumerate(waits) if not needs)
    order: list[onnx.NodeProto] = []
    while ready:
        index = ready.popleft()
        order.append(nodes[index])
        for consumer in consumers[index]:
            waits[consumer].discard(index)
            if not waits[consumer]:
                ready.append(consumer)
    if len(order) != len(nodes):
        stuck = next(nodes[index] for index, needs in enumerate(waits) if needs)
        raise OptimizationError(
            f"the graph has a cycle through node '{stuck.name or stuck.op_type}'; "
            "a node may not depend on its own output"
        )
    return order


def _read_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those captured by its subgraphs included."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        own.update(tensor.values.name for tensor in graph.sparse_initializer)
        own.update(name for inner in graph.node for name in inner.output)
        read = {name for inner in graph.node for name in _read_names(inner)}
        read.update(output.name for output in graph.output)
        names += read - own
    return names
