"""optimize on every real network: same results, same interface, every shape known."""

from __future__ import annotations

import onnx
import pytest

import kneronnxopt
import zoo
from graphs import refines, shapes


@pytest.mark.parametrize("name", zoo.ZOO_NAMES)
def test_network_is_optimised_and_unchanged(name):
    original = zoo.materialize(name)
    result = kneronnxopt.optimize(original, skip_check=True)
    onnx.checker.check_model(result)
    assert refines(result, original)
    if not any(node.op_type in ("GRU", "LSTM") for node in original.graph.node):  # unrolled: no chip has them
        assert len(result.graph.node) <= len(original.graph.node)
    comparison = kneronnxopt.compare(original, result, tolerance=1e-4)
    assert comparison.equal, comparison.differences
    known = shapes(result)
    for node in result.graph.node:
        for output in filter(None, node.output):
            assert all(isinstance(dim, int) for dim in known[output]), f"{output} has shape {known[output]}"


ALL_OPTIONS = {
    "duplicate_shared_weights": 2,
    "clear_descriptions": True,
    "opt_matmul": True,
    "clear_shapes": True,
    "replace_avgpool_with_conv": True,
    "replace_dilated_conv": True,
    "defuse_gaps": True,
    "fuse_bn": True,
}


@pytest.mark.parametrize("name", ["bert_mini_128", "lite_hrnet30_256x192", "mobilenet_v1_224", "squeezenet1_1_224"])
def test_network_survives_every_rewriting_option(name):
    original = zoo.materialize(name)
    result = kneronnxopt.optimize(original, skip_check=True, **ALL_OPTIONS)
    comparison = kneronnxopt.compare(original, result)
    assert comparison.equal, comparison.differences


def test_fusions_act_on_real_networks():
    bert = zoo.materialize("bert_mini_128")
    before = sum(node.op_type == "MatMul" for node in bert.graph.node)
    after = sum(node.op_type == "MatMul" for node in kneronnxopt.optimize(bert, skip_check=True).graph.node)
    assert before - after == 8  # q, k and v of four layers: two products fewer in each
    hrnet = zoo.materialize("lite_hrnet30_256x192")
    result = kneronnxopt.optimize(hrnet, skip_check=True)
    assert not any(node.op_type in ("Shape", "Gather", "Div", "Constant") for node in result.graph.node)
    for name in ("gru_speech_100", "lstm_speech_200"):
        steps = kneronnxopt.optimize(zoo.materialize(name), skip_check=True)
        assert not any(node.op_type in ("GRU", "LSTM") for node in steps.graph.node)
