"""Constant nodes become initializers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass

__all__ = ["LiftConstants"]

_SCALARS = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


class LiftConstants(NodePass):
    """Constant -> y   becomes   initializer y.

    1. ``value``, ``value_int(s)`` and ``value_float(s)`` are lifted, with the types the standard gives them.
    2. Sparse and string constants stay nodes, as does one that is a graph output.
    """

    name = "lift_constants"
    op_types = ("Constant",)

    def rewrite(self, node: ir.Node) -> bool:
        """Lift one Constant."""
        old, graph = node.outputs[0], node.graph
        assert isinstance(graph, ir.Graph)
        tensor = None if old.is_graph_output() else _tensor_of(node)
        if tensor is None or old.name is None:
            return False
        value = ir.Value(
            name=old.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        old.replace_all_uses_with(value)
        graph.remove(node, safe=True)
        graph.register_initializer(value)
        return True


def _tensor_of(node: ir.Node) -> ir.TensorProtocol | None:
    if len(node.attributes) != 1:
        return None
    name, attribute = next(iter(node.attributes.items()))
    if attribute.is_ref():
        return None
    if name == "value" and attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.value  # as_tensor() asks isinstance of a protocol, which costs more than the rest
        if tensor.dtype == ir.DataType.STRING:
            return None
        # Giving a tensor of the caller's model another name would change that model; a view has its own.
        return ir.LazyTensor(
            lambda: tensor, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=node.outputs[0].name
        )
    if name in _SCALARS:
        return ir.Tensor(np.array(attribute.value, dtype=_SCALARS[name]), name=node.outputs[0].name)
    return None
