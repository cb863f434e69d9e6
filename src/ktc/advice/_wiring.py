"""Who writes and who reads each tensor of an ONNX graph."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import onnx

from kneronnxopt.walk import subgraphs
from ktc.frontend.graph import tensor_content

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Wiring", "weightless"]


class Wiring:
    """The nodes of a graph by the tensors they write and read.

    Parameters
    ----------
    graph : onnx.GraphProto
        The graph; it may be changed later, and then this view is outdated.

    Attributes
    ----------
    producers : dict of str to onnx.NodeProto
        Tensor -> the node that writes it.
    readers : dict of str to list of onnx.NodeProto
        Tensor -> the nodes that read it, each once.
    initializers : dict of str to onnx.TensorProto
        Constants by name.
    kept : set of str
        Tensors that are outputs of the graph or read inside subgraphs: they have to stay what they are.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self.producers: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.kept = {value.name for value in graph.output}
        for node in graph.node:
            self.producers.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(node.input):
                if name:
                    self.readers[name].append(node)
            for inner in subgraphs(node):
                self.kept.update(_names_in(inner))

    def nodes(self, *types: str) -> Iterator[onnx.NodeProto]:
        """ONNX's own nodes of some types, in order; all nodes without an argument."""
        for node in self._graph.node:
            if not types or (node.op_type in types and node.domain in ("", "ai.onnx")):
                yield node

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor; None if there are none or several, or the tensor has to stay."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.kept else None

    def labels(self) -> dict[str, str]:
        """First output of each node -> the name that reports give the node."""
        return {
            node.output[0]: node.name or f"{node.op_type}_{position}"
            for position, node in enumerate(self._graph.node)
            if node.output
        }


def _names_in(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from _names_in(inner)


def weightless(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without the data of its large constants, which no estimate reads.

    Names, types and shapes stay; so do constants that the frontend reads, such as shapes and bounds.
    """
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    copy.graph.CopyFrom(
        onnx.GraphProto(
            name=graph.name,
            node=graph.node,
            input=graph.input,
            output=graph.output,
            value_info=graph.value_info,
            sparse_initializer=graph.sparse_initializer,
        )
    )
    for tensor in graph.initializer:
        if tensor_content(tensor) is not None:
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return copy
