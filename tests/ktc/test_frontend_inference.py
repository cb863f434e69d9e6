"""What is inferred once for equal operators is not taken for others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from graphs import model
from ktc.frontend.graph import read_graph
from ktc.frontend.inference import infer_values

FLOAT = onnx.TensorProto.FLOAT


def analysed(given):
    graph = read_graph(given)
    infer_values(graph)
    return graph


def graph_of(nodes, inputs, outputs, constants=()):
    """A model whose outputs declare no shape."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_equal_nodes_are_of_one_kind():
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], name="first", axis=1),
        helper.make_node("Softmax", ["a"], ["b"], name="second", axis=1),
        helper.make_node("Softmax", ["b"], ["c"], name="third", axis=0),
    ]
    first, second, third = analysed(graph_of(nodes, {"x": [2, 3]}, "c")).operators
    assert first.kind == second.kind != third.kind
    assert (second.name, second.attributes, third.attributes) == ("second", {"axis": 1}, {"axis": 0})
    assert first.signature == second.signature != third.signature


def test_shapes_that_constants_say_go_by_their_contents():
    nodes = [helper.make_node("Reshape", ["x", f"c{i}"], [f"y{i}"]) for i in range(3)]
    constants = [("c0", [2, 6]), ("c1", [3, 4]), ("c2", [2, 6])]
    graph = analysed(graph_of(nodes, {"x": [12]}, ["y0", "y1", "y2"], constants))
    assert [graph.shape(f"y{i}") for i in range(3)] == [(2, 6), (3, 4), (2, 6)]


@pytest.mark.parametrize("size", [3, 64, 65, 500])
def test_folded_contents_are_those_of_each_operator(size):
    nodes = [helper.make_node("Neg", [f"c{i}"], [f"y{i}"]) for i in range(3)]
    constants = [(f"c{i}", np.full(size, value, np.float32)) for i, value in enumerate((1, 2, 1))]
    graph = analysed(graph_of(nodes, {"x": [1]}, ["y0", "y1", "y2"], constants))
    assert [graph.content(f"y{i}").tolist() for i in range(3)] == [[-1.0] * size, [-2.0] * size, [-1.0] * size]


@pytest.mark.parametrize("size", [3, 500])
def test_constant_nodes_have_their_own_contents(size):
    values = [np.full(size, value, np.float32) for value in (1, 2, 1)]
    nodes = [
        helper.make_node("Constant", [], [f"y{i}"], value=numpy_helper.from_array(v)) for i, v in enumerate(values)
    ]
    graph = analysed(graph_of(nodes, {"x": [1]}, ["y0", "y1", "y2"]))
    assert [graph.content(f"y{i}").tolist() for i in range(3)] == [array.tolist() for array in values]


def test_texts_of_equal_length_are_different_contents():
    nodes = [helper.make_node("Identity", [f"c{i}"], [f"y{i}"]) for i in range(2)]
    constants = [(f"c{i}", np.array([text], object)) for i, text in enumerate(("ab", "cd"))]
    graph = analysed(graph_of(nodes, {"x": [1]}, ["y0", "y1"], constants))
    assert [graph.content(f"y{i}").tolist() for i in range(2)] == [["ab"], ["cd"]]


def test_omitted_outputs_are_not_mistaken_for_others():
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], outputs, hidden_size=4)
        for outputs in (["y", "h", "c"], ["", "h2", ""], ["y3", "", ""], ["y4"])
    ]
    constants = [("w", np.zeros((1, 16, 3), np.float32)), ("r", np.zeros((1, 16, 4), np.float32))]
    graph = analysed(graph_of(nodes, {"x": [5, 1, 3]}, ["y", "h2", "y3", "y4"], constants))
    assert [graph.shape(name) for name in ("h2", "y3", "y4")] == [(1, 1, 4), (5, 1, 1, 4), (5, 1, 1, 4)]


def test_every_node_that_does_not_fit_is_named():
    nodes = [helper.make_node("MatMul", ["x", "w"], [f"y{i}"], name=f"n{i}") for i in range(2)]
    graph = analysed(graph_of(nodes, {"x": [2, 3]}, ["y0", "y1"], [("w", np.zeros((4, 5), np.float32))]))
    assert ["'n0'" in graph.warnings[0], "'n1'" in graph.warnings[1]] == [True, True]


def test_element_types_are_those_of_each_operand():
    graph = analysed(
        model(
            "g (float[2] x, int64[2] k) => (float[2] y, int64[2] z) { y = Identity(x)  z = Identity(k) }",
        )
    )
    assert [graph.values[name].elem_type for name in "yz"] == [FLOAT, onnx.TensorProto.INT64]


@pytest.mark.parametrize(
    "operands",
    [
        {"roi": None, "scales": np.array([1, 1, 2, 2], np.int64)},
        {"roi": None, "scales": np.array([1, 1, np.nan, np.inf], np.float32)},
        {"roi": None, "scales": np.array([1, 2, 2], np.float32)},
        {"roi": None, "scales": None, "sizes": np.array([1, 3, 8, 8], np.float32)},
        {"roi": None, "scales": None, "sizes": np.array([1, 3, 8, 8, 8], np.int64)},
        {"roi": None, "scales": np.ones(4, np.float32), "sizes": np.array([1, 3, 8, 8], np.int64)},
    ],
)
def test_a_resize_that_onnx_refuses_gets_no_shape(operands):
    names = ["x", *(name if array is not None else "" for name, array in operands.items())]
    constants = [(name, array) for name, array in operands.items() if array is not None]
    graph = analysed(
        graph_of([helper.make_node("Resize", names, ["y"], name="n")], {"x": [1, 3, 4, 4]}, "y", constants)
    )
    assert graph.shape("y") is None
