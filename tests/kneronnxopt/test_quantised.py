"""Rewrites that round otherwise leave alone what is quantised, and act elsewhere in the same model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from graphs import model, operators, weight
from kneronnxopt.passes._quantised import is_quantised
from kneronnxopt.passes.fuse_constant_arithmetic import FuseConstantArithmetic
from kneronnxopt.passes.global_average_pool import ReduceMeanToGlobal
from kneronnxopt.passes.replace_average_pool import ReplaceAveragePoolWithConv
from rewriting import run_alone

SCALES = {"s": np.float32(0.1), "z": np.uint8(120)}
OUTPUT = "q = QuantizeLinear(b, s, z) y = DequantizeLinear(q, s, z)"


@pytest.mark.parametrize(
    "after", ["b = Identity(a)", "b = Transpose(a)", "c = Relu(a) b = Add(c, c)", "b, c = Split<axis=1>(a)"]
)
@pytest.mark.parametrize(
    ("text", "pass_"),
    [
        ("a = AveragePool<kernel_shape=[2,2]>(x)", ReplaceAveragePoolWithConv()),
        ("a = ReduceMean<axes=[2,3]>(x)", ReduceMeanToGlobal()),
        ("m = Mul(x, k) a = Mul(m, l)", FuseConstantArithmetic()),
    ],
)
def test_stays_before_quantisation_alone(text, pass_, after):
    constants = {"k": np.float32(0.3), "l": np.float32(0.7)}
    head = "g (float[1,2,6,6] x) => (float[N,M,K,L] y)"
    quantised = model(f"{head} {{ {text} {after} {OUTPUT} }}", **constants, **SCALES)
    assert run_alone(quantised, pass_)[1] == {}
    softmax = model(
        f"{head} {{ {text} {after} e = Softmax(b) {OUTPUT.replace('b,', 'e,')} }}",
        **constants,
        **SCALES,
    )
    assert run_alone(softmax, pass_)[1] == {pass_.name: 1}
    plain = model(f"{head} {{ {text} {after} y = Identity(b) }}", **constants)
    assert run_alone(plain, pass_)[1] == {pass_.name: 1}


def test_only_the_quantised_of_two_stays():
    original = model(
        f"""g (float[1,2,6,6] x) => (float[1,2,5,5] y, float[1,2,5,5] w) {{
            b = AveragePool<kernel_shape=[2,2]>(x) {OUTPUT} w = AveragePool<kernel_shape=[2,2]>(x) }}""",
        **SCALES,
    )
    result, counts = run_alone(original, ReplaceAveragePoolWithConv())
    assert counts == {"replace_avgpool_with_conv": 1}
    assert operators(result)["AveragePool"] == 1


def test_the_walk_is_bounded_and_meets_each_node_once():
    steps = " ".join(f"a{i + 1} = Add(a{i}, a{i})" for i in range(40))
    original = model(f"g (float[2] x) => (float[2] y) {{ a0 = Relu(x) {steps} b = Neg(a40) {OUTPUT} }}", **SCALES)
    assert is_quantised(ir.from_proto(original).graph[0])
    steps = " ".join(f"a{i + 1} = MatMul(a{i}, w)" for i in range(2))
    original = model(
        f"g (float[2,2] x) => (float[2,2] y) {{ a0 = Relu(x) {steps} b = Neg(a2) {OUTPUT} }}", **SCALES, w=weight(2, 2)
    )
    graph = ir.from_proto(original).graph
    assert [is_quantised(node) for node in graph] == [False, False, True, True, False, False]
