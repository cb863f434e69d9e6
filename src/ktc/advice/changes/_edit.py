"""What all changes need: find nodes, cut weights to size, sweep up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ktc.advice._wiring import Wiring, weightless
from ktc.errors import ModelError
from ktc.frontend.graph import read_graph
from ktc.frontend.inference import infer_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ktc.frontend.graph import Graph

__all__ = [
    "attribute",
    "crop",
    "forget_shapes",
    "has_data",
    "inferred",
    "remove_dead",
    "replace_nodes",
    "set_attribute",
    "unused_name",
    "writers",
]


def writers(model: onnx.ModelProto, outputs: Iterable[str], *types: str) -> list[onnx.NodeProto]:
    """Find the nodes that write some tensors.

    Raises
    ------
    ModelError
        No node, or a node of another type, writes one of them.
    """
    producers = Wiring(model.graph).producers
    nodes = []
    for name in outputs:
        node = producers.get(name)
        if node is None or node.op_type not in types:
            found = "no node" if node is None else f"a node of type {node.op_type}"
            raise ModelError(
                f"tensor {name!r} is written by {found}, not by {' or '.join(types)}; "
                "the change was made for another model."
            )
        nodes.append(node)
    return nodes


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, lists as lists and texts as ``str``."""
    for given in node.attribute:
        if given.name == name:
            value = onnx.helper.get_attribute_value(given)
            if isinstance(value, bytes):
                return value.decode("utf-8", "replace")
            return list(value) if given.type == onnx.AttributeProto.INTS else value
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Give an attribute a value, or remove it with None."""
    for position, given in enumerate(node.attribute):
        if given.name == name:
            del node.attribute[position]
            break
    if value is not None:
        node.attribute.append(onnx.helper.make_attribute(name, value))


def has_data(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's values are in the model, and not in another file or left out."""
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    return not external and bool(tensor.raw_data or tensor.float_data or tensor.int32_data or tensor.double_data)


def crop(tensor: onnx.TensorProto, shape: Sequence[int], offsets: Sequence[int]) -> None:
    """Cut a constant to ``shape``, beginning at ``offsets``; a constant without data only gets the shape."""
    if has_data(tensor):
        window = tuple(slice(begin, begin + extent) for begin, extent in zip(offsets, shape, strict=True))
        array = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)[window])
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        return
    del tensor.dims[:]
    tensor.dims.extend(shape)


def forget_shapes(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Remove declared shapes of intermediate tensors that changed."""
    gone = set(names)
    kept = [value for value in model.graph.value_info if value.name not in gone]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def inferred(model: onnx.ModelProto) -> Graph:
    """The frontend's view of a model: shapes and contents of small constants."""
    graph = read_graph(weightless(model))
    infer_values(graph)
    return graph


def unused_name(name: str, taken: set[str]) -> str:
    """A name that is not taken yet; from now on it is."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def replace_nodes(model: onnx.ModelProto, replaced: Mapping[str, Sequence[onnx.NodeProto]]) -> None:
    """Put other nodes in the place of some, which are named by their first output."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        nodes.extend(replaced.get(node.output[0], [copy]) if node.output else [copy])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def remove_dead(model: onnx.ModelProto, released: Iterable[str] = ()) -> None:
    """Remove nodes whose results nobody reads, and the constants that only they, or nobody any more, read.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    released : iterable of str
        Tensors that nodes read before they were changed.
    """
    wiring = Wiring(model.graph)
    needed = set(wiring.kept)
    alive: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            alive.append(copy)
    unused = ({*wiring.readers, *released} & wiring.initializers.keys()) - needed
    unused -= {value.name for value in model.graph.input}
    del model.graph.node[:]
    model.graph.node.extend(reversed(alive))
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name in unused:
            del model.graph.initializer[index]
