"""Constant factors after convolutions go into their weights, and only where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, operators, weight
from kneronnxopt.passes.fuse_scale_into_conv import FuseScaleIntoConv
from rewriting import rewritten, run_alone

NAME = FuseScaleIntoConv.name
FORMS = ["Mul({}, {})", "Mul({1}, {0})", "Div({}, {})", "Sub({1}, {0})"]


def dims(shape) -> str:
    return ",".join(map(str, shape))


@st.composite
def convolutions(draw) -> tuple[str, list[int], dict[str, np.ndarray]]:
    """Text of a convolution of x, its input's shape, and its weights; it has 6 output channels."""
    rank, group, transposed = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 6])), draw(st.booleans())
    inputs = group * draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    shape = [inputs, 6 // group, *kernel] if transposed else [6, inputs // group, *kernel]
    weights = {"w": weight(*shape, seed=1)}
    operands = "x, w"
    if draw(st.booleans()):
        operands, weights["b"] = "x, w, b", weight(6, seed=2)
    operator = "ConvTranspose" if transposed else "Conv"
    strides = [draw(st.integers(1, 2)) for _ in range(rank)]
    text = f"c = {operator}<group={group}, strides={strides}>({operands})"
    return text, [2, inputs, *[5] * rank], weights


@settings(max_examples=60, deadline=None)
@given(
    convolutions(), st.lists(st.sampled_from(FORMS), min_size=1, max_size=3), st.sampled_from([7, 11, 17]), st.data()
)
def test_factors_go_into_weights(convolution, forms, opset, data):
    text, shape, weights = convolution
    random, tail, before = np.random.default_rng(3), (1,) * (len(shape) - 2), "c"
    for index, form in enumerate(forms):
        operand = data.draw(st.sampled_from([(), (1,), (1,) * len(shape), (6, *tail), (1, 6, *tail)]))
        weights[f"k{index}"] = (random.uniform(0.5, 2, operand) * random.choice([-1, 1], operand)).astype(np.float32)
        after = "y" if index + 1 == len(forms) else f"a{index}"
        text, before = f"{text} {after} = {form.format(before, f'k{index}')}", after
    symbols = ["N", "6", *"HWD"[: len(tail)]]
    original = model(f"g (float[{dims(shape)}] x) => (float[{','.join(symbols)}] y) {{ {text} }}", opset, **weights)
    counts, applied, _ = rewritten(original, FuseScaleIntoConv(), pipeline=False)
    assert sum(counts.values()) == 1
    assert applied == {NAME: len(forms)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("c = Conv(x, w) y = Mul(c, k) z = Neg(c)", "the result has another user"),
        ("c = Conv(x, w) z = Relu(c) y = Mul(z, k)", "not next to it"),
        ("c = Conv(x, w) y = Mul(c, r) z = Neg(x)", "one factor per column"),
        ("c = Conv(x, w) y = Mul(c, n) z = Neg(x)", "one factor per sample"),
        ("c = Conv(x, w) y = Mul(c, zero) z = Neg(x)", "a factor of 0"),
        ("c = Conv(x, w) y = Div(c, zero) z = Neg(x)", "a division by 0"),
        ("c = Conv(x, w) y = Mul(c, huge) z = Neg(x)", "a factor that could overflow"),
        ("c = Conv(x, w) y = Mul(c, tiny) z = Neg(x)", "a factor that could underflow"),
        ("c = Conv(x, w) y = Div(k, c) z = Neg(x)", "not linear"),
        ("c = Conv(x, w) y = Mul(c, f) z = Neg(x)", "the factor is an input"),
        ("c = Conv(x, v) y = Mul(c, k) z = Neg(x)", "the weight is an input"),
        ("c = Conv(x, w, u) y = Mul(c, k) z = Neg(x)", "the bias is an input"),
        ("c = Conv(x, w) y = Mul(c, l) z = Neg(x)", "one factor per sample and channel"),
        ("c = Conv(x, w) e = Mul(c, o) y = Squeeze(e) z = Neg(x)", "the factor adds an axis"),
    ],
)
def test_cases_that_stay(text, why):
    original = model(
        f"""g (float[2,3,5,5] x, float[1,3,1,1] f, float[3,3,1,1] v, float[3] u) =>
            (float y, float[2,3,A,B] z) {{ {text} }}""".replace("float y", "float[M,N,K,L] y"),
        w=weight(3, 3, 1, 1),
        k=weight(3, 1, 1),
        r=weight(5),
        n=weight(2, 1, 1, 1),
        l=weight(2, 3, 1, 1),
        o=weight(1, 1, 3, 1, 1),
        zero=np.array([[1.0]], np.float32) * np.array([[[0.0]], [[1.0]], [[2.0]]], np.float32),
        huge=np.float32(1e30),
        tiny=np.float32(1e-30),
    )
    assert run_alone(original, FuseScaleIntoConv())[1] == {}, why


def test_weights_that_others_use_are_copied_if_small():
    def shared(channels: int):
        return model(
            f"""g (float[1,{channels},4,4] x) => (float[1,{channels},4,4] y, float[1,{channels},4,4] z) {{
                c = Conv(x, w) y = Mul(c, k) z = Conv(x, w) }}""",
            w=weight(channels, channels, 1, 1),
            k=np.float32(0.3),
        )

    assert rewritten(shared(4), FuseScaleIntoConv(), pipeline=False)[1] == {NAME: 1}
    assert rewritten(shared(64), FuseScaleIntoConv(), pipeline=False)[1] == {}


def test_weights_that_a_caller_may_override_stay():
    original = model(
        "g (float[1,3,4,4] x, float[3,3,1,1] w) => (float[1,3,4,4] y) { c = Conv(x, w) y = Mul(c, k) }",
        w=weight(3, 3, 1, 1),
        k=np.float32(0.3),
    )
    assert run_alone(original, FuseScaleIntoConv())[1] == {}


def test_a_denormal_weight_may_stay_denormal():
    tensor = weight(3, 3, 1, 1)
    tensor[0, 0] = 1e-40
    original = model(
        "g (float[1,3,4,4] x) => (float[1,3,4,4] y) { c = Conv(x, w) y = Mul(c, k) }", w=tensor, k=np.float32(0.3)
    )
    assert rewritten(original, FuseScaleIntoConv())[1] == {NAME: 1}
    tensor[0, 0] = 1e-37
    original = model(
        "g (float[1,3,4,4] x) => (float[1,3,4,4] y) { c = Conv(x, w) y = Mul(c, k) }", w=tensor, k=np.float32(0.03)
    )
    assert run_alone(original, FuseScaleIntoConv())[1] == {}


def test_scale_and_shift_after_a_convolution_leave_one_convolution():
    """What tf2onnx writes for a BatchNormalization that it could not fold."""
    original = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w) a = Mul(c, k) b = Add(a, d) y = Relu(b) }",
        w=weight(4, 3, 3, 3),
        k=weight(1, 4, 1, 1, seed=1),
        d=weight(1, 4, 1, 1, seed=2),
    )
    rewritten(original, FuseScaleIntoConv())
    assert operators(kneronnxopt.optimize(original)) == {"Conv": 1, "Relu": 1}
