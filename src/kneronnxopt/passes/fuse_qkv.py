"""Separate q, k and v projections of one tensor become one wide projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import (
    constant,
    constant_tensor,
    int_attribute,
    is_op,
    new_constant,
    new_node,
    opset_of,
    replace_node,
    sole_consumer,
    static_shape,
)
from kneronnxopt.passes.fuse_bias import gemm_is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FuseQkv"]


class FuseQkv(NodePass):
    r"""Three products of x with constant weights become one, followed by Slices.

    ::

             /-> MatMul(wq) -> Add(bq) -> q                                        /-> Slice -> q
        x --+--> MatMul(wk) -> Add(bk) -> k   becomes   x -> MatMul(w) -> Add(b) -+--> Slice -> k
             \-> MatMul(wv) -> Add(bv) -> v                                        \-> Slice -> v

    1. Acts where exactly three MatMul (or three Gemm) read x and each weight [K, N] is its own constant.
       N may differ (grouped queries).
    2. Either all three have a constant bias [N] (Add, or Gemm's C) or none has.
    3. Gemm: alpha = beta = 1, transA = 0, the same transB.
    4. x and the results have a static last axis; the rank of MatMul's x is 2 or more.
    """

    name = "fuse_qkv"
    op_types = ("Gemm", "MatMul")

    def rewrite(self, node: ir.Node) -> bool:
        """Fuse the three projections of which ``node`` is the first."""
        x = node.inputs[0]
        if x is None or opset_of(node) < 10:  # Slice takes its ranges as inputs since opset 10
            return False
        projections = _projections(x, node)
        if projections is None:
            return False
        tails = [_biased(projection) for projection in projections]
        biases = [bias for _, bias in tails]
        if any((bias is None) != (biases[0] is None) for bias in biases):
            return False
        if node.op_type == "Gemm" and biases[0] is None and any(len(p.inputs) > 2 and p.inputs[2] for p in projections):
            return False
        self._merge(projections, [tail for tail, _ in tails], biases)
        return True

    def _merge(self, nodes: Sequence[ir.Node], tails: Sequence[ir.Node], biases: Sequence[ir.Value | None]) -> None:
        first, x, graph = nodes[0], nodes[0].inputs[0], nodes[0].graph  # the sweep meets the earliest first
        assert isinstance(graph, ir.Graph)
        assert x is not None
        axis = 0 if int_attribute(first, "transB", 0) else 1
        weights = [constant(node.inputs[1]) for node in nodes]
        widths = [weight.shape[axis] for weight in weights if weight is not None]
        prefix = f"{first.outputs[0].name}_qkv"
        merged_weight = new_constant(
            graph, f"{prefix}_weight", np.concatenate([w for w in weights if w is not None], axis)
        )
        arrays = [array for bias in biases if (array := constant(bias)) is not None]
        merged_bias = (
            new_constant(
                graph,
                f"{prefix}_bias",
                np.concatenate([np.broadcast_to(b.reshape(-1), (n,)) for b, n in zip(arrays, widths, strict=True)]),
            )
            if arrays
            else None
        )
        old = static_shape(first.outputs[0])
        shape = None if old is None else (*old[:-1], sum(widths))
        inputs = [x, merged_weight]
        if first.op_type == "Gemm" and merged_bias is not None:
            inputs.append(merged_bias)
        product = new_node(first, first.op_type, inputs, first.attributes, hint=prefix, shape=shape, dtype=x.dtype)
        if first.op_type == "MatMul" and merged_bias is not None:
            product = new_node(
                first, "Add", [product, merged_bias], hint=f"{prefix}_biased", shape=shape, dtype=x.dtype
            )
        start = 0
        for tail, width in zip(tails, widths, strict=True):
            name = tail.outputs[0].name
            ranges = [
                new_constant(graph, f"{name}_{role}", np.array([number], dtype=np.int64))
                for role, number in (
                    ("start", start),
                    ("end", start + width),
                    ("axis", len(x.shape or ()) - 1),
                )
            ]
            replace_node(tail, "Slice", [product, *ranges])
            start += width
        for node in nodes:
            if node.graph is not None:  # not one of the tails
                node.graph.remove(node, safe=True)


def _projections(x: ir.Value, like: ir.Node) -> list[ir.Node] | None:
    """The three projections of ``x``, ``like`` first; None unless they are exactly three of a kind."""
    nodes: list[ir.Node] = []
    for use in x.uses():
        node = use.node
        if not is_op(node, like.op_type) or use.idx != 0:
            continue
        weight = node.inputs[1]
        shape = static_shape(weight)
        tensor = constant_tensor(weight)
        if (
            node.graph is not like.graph
            or weight is None
            or tensor is None
            or shape is None
            or len(shape) != 2
            or len(weight.uses()) != 1
            or static_shape(node.outputs[0]) is None
            or (node.op_type == "Gemm" and not gemm_is_plain(node))
            or int_attribute(node, "transB", 0) != int_attribute(like, "transB", 0)
        ):
            return None
        nodes.append(node)
    return sorted(nodes, key=lambda node: node is not like) if len(nodes) == 3 else None


def _biased(node: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The node that ends a projection, and its constant bias [N] if it has one."""
    width = (static_shape(node.outputs[0]) or (0,))[-1]
    if node.op_type == "Gemm":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        return node, bias if static_shape(bias) == (width,) and constant_tensor(bias) is not None else None
    add = sole_consumer(node.outputs[0])
    if add is not None and is_op(add, "Add"):
        bias = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
        if constant_tensor(bias) is not None and static_shape(bias) == (width,):
            return add, bias
    return node, None
