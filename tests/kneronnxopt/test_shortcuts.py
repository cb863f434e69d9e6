"""What is done in a faster way than onnx-ir's comes out as onnx-ir does it."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import warnings

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

import zoo
from kneronnxopt._collector import paused_collector
from kneronnxopt.passes._writing import node_by_position, to_proto
from kneronnxopt.passes.remove_unused import RemoveUnused
from kneronnxopt.passes.sort_nodes import SortNodes

#: With operators of a chain, subgraphs, optional outputs, BatchNormalization, trailing missing inputs, a dead node.
TEXT = """
    <ir_version: 10, opset_import: ["" : 18, "local" : 1]>
    agraph (float[2, 3, 4] x, bool b, float[N, 4] s) => (float[2, 3, 4] y, float[N, 4] z, float[] v)
    <float[3] one = {1.0, 1.0, 1.0}, float unread = {2.0}> {
        a = Relu(x)
        dead = Neg(a)
        n, mean, variance = BatchNormalization <training_mode = 0> (a, one, one, one, one)
        d, mask = Dropout(n)
        c = Clip(d, , )
        y = If (b) <
            then_branch = then () => (float[2, 3, 4] t) { t, unused = Dropout(c) },
            else_branch = other () => (float[2, 3, 4] e) { lost = Exp(c)  e = Neg(c) }
        >
        z = Gelu <approximate: string = "tanh", alpha: float = 0.1, axes: ints = [1, 2]> (s)
        v = ReduceSum <keepdims = 0> (c)
    }
"""


@functools.cache
def corpus() -> list[onnx.ModelProto]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own expected values, and overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        cases = [case.model for case in collect_testcases(None)[::15] if case.model is not None]
    return [*cases, onnx.parser.parse_model(TEXT), described(), *(zoo.materialize(name) for name in ("srcnn_384",))]


def described() -> onnx.ModelProto:
    """The model of TEXT with every description that a message can have."""
    model = onnx.parser.parse_model(TEXT)
    model.doc_string, model.domain, model.model_version = "model", "domain", 3
    model.graph.doc_string = "graph"
    for holder in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.initializer[0]):
        holder.metadata_props.add(key="key", value="value")
    model.graph.node[1].doc_string = "node"
    model.graph.node[2].attribute[0].doc_string = "attribute"
    model.graph.input[2].doc_string = "input"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model.graph.input[2].type.denotation = "TENSOR"
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, (2, 3, 4)))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("d", onnx.TensorProto.FLOAT, None))
    return model


def content(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("annotated", [False, True])
def test_a_model_is_written_as_onnx_ir_writes_it(annotated):
    for model in corpus():
        given = onnx.ModelProto()
        given.CopyFrom(model)
        if annotated:
            entry = given.graph.quantization_annotation.add(tensor_name=given.graph.node[0].output[0])
            entry.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
        written = to_proto(ir.from_proto(given), annotated=annotated)
        assert content(written) == content(ir.to_proto(ir.from_proto(given)))


def test_unused_parts_are_removed_as_onnx_ir_removes_them():
    removed = 0
    for model in corpus():
        ours, theirs = ir.from_proto(model), ir.from_proto(model)
        assert RemoveUnused()(ours).modified == common.RemoveUnusedNodesPass()(theirs).modified
        assert content(ir.to_proto(ours)) == content(ir.to_proto(theirs))
        removed += content(ir.to_proto(ours)) != content(model)
    assert removed


def test_nodes_are_sorted_as_onnx_ir_sorts_them():
    chooser = random.Random(0)
    for model in corpus():
        shuffled = onnx.ModelProto()
        shuffled.CopyFrom(model)
        nodes = chooser.sample(list(model.graph.node), len(model.graph.node))
        del shuffled.graph.node[:]
        shuffled.graph.node.extend(nodes)
        for given in (model, shuffled):
            ours, theirs = ir.from_proto(given), ir.from_proto(given)
            assert SortNodes()(ours).modified == common.TopologicalSortPass()(theirs).modified
            assert content(ir.to_proto(ours)) == content(ir.to_proto(theirs))


def test_the_position_of_values_is_all_that_a_lone_node_tells_of_them():
    first, second = (
        onnx.parser.parse_model(f"""
            <ir_version: 10, opset_import: ["" : 18]>
            agraph (float[2] {x}, float[2] {y}) => (float[2] {z}) {{ {z} = Clip({x}, , {y}) }}
        """)
        for x, y, z in (("x", "y", "z"), ("p", "q", "r"))
    )
    lone = [node_by_position(ir.from_proto(model).graph[0]) for model in (first, second)]
    assert lone[0] == lone[1]
    assert list(lone[0].input) == ["i0", "", "i2"]
    assert list(lone[0].output) == ["o0"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(KeyError), paused_collector():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
