"""onnx2onnx_flow and its old keywords."""

from __future__ import annotations

import inspect

import pytest

import ktc
from bad_files import good_model
from graphs import model, operators, weight
from ktc.errors import ConfigError


def test_signature_begins_as_documented():
    assert list(inspect.signature(ktc.onnx_optimizer.onnx2onnx_flow).parameters)[:3] == [
        "m",
        "opt_matmul",
        "duplicate_shared_weights",
    ]


def test_it_optimises():
    original = model("g (float[2] x) => (float[2] y) { a = Identity(x) y = Relu(a) }")
    assert operators(ktc.onnx_optimizer.onnx2onnx_flow(original)) == {"Relu": 1}


def test_arguments_reach_the_optimizer():
    original = model("g (float[3,6,4] x) => (float[3,6,5] y) { y = MatMul(x, w) }", w=weight(3, 4, 5))
    assert operators(ktc.onnx_optimizer.onnx2onnx_flow(original, True))["MatMul"] == 3
    shared = model("g (float[2] x) => (float[2] y) { a = Add(x, w) b = Relu(a) y = Add(b, w) }", w=weight(2))
    assert len(ktc.onnx_optimizer.onnx2onnx_flow(shared).graph.initializer) == 1
    assert len(ktc.onnx_optimizer.onnx2onnx_flow(shared, duplicate_shared_weights=True).graph.initializer) == 2


def test_old_keywords_with_a_meaning_are_accepted():
    original = model("g (float[3,6,4] x) => (float[3,6,5] y) { y = MatMul(x, w) }", w=weight(3, 4, 5))
    with pytest.warns(DeprecationWarning, match="opt_720"):
        assert operators(ktc.onnx_optimizer.onnx2onnx_flow(original, opt_720=True))["MatMul"] == 3
    with pytest.warns(DeprecationWarning, match="eliminate_tail"):
        ktc.onnx_optimizer.onnx2onnx_flow(good_model(), eliminate_tail=False)
    with pytest.warns(DeprecationWarning, match="disable_fuse_bn"):
        ktc.onnx_optimizer.onnx2onnx_flow(good_model(), disable_fuse_bn=True)


@pytest.mark.parametrize("keyword", ["eliminate_tail", "bgr", "norm", "rgba2yynn"])
def test_old_keywords_without_a_meaning_are_refused(keyword):
    with pytest.raises(ConfigError, match=keyword):
        ktc.onnx_optimizer.onnx2onnx_flow(good_model(), **{keyword: True})


def test_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        ktc.onnx_optimizer.onnx2onnx_flow(good_model(), colour=True)
