"""Padding goes into the Conv or MaxPool that follows where, and only where, the result is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import model, weight
from kneronnxopt.passes.fuse_pad_into_window import FusePadIntoConv, FusePadIntoMaxPool
from rewriting import rewritten, run_alone

INFINITY = np.array(-np.inf, np.float32)
AUTO = ["", ', auto_pad="VALID"', ', auto_pad="NOTSET", pads={own}', ", pads={own}"]


def padding(opset: int, pads: list[int], value: str = "") -> tuple[str, dict[str, list[int]]]:
    """A Pad of r to p, and its constant."""
    if opset < 11:
        return f"p = Pad<pads={pads}>(r)", {}
    return f"p = Pad(r, pads{value})", {"pads": pads}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([7, 10, 11, 13, 17, 18, 21]), st.integers(1, 3), st.data())
def test_zeros_go_into_conv(opset, rank, data):
    kernel = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)] * 2
    own = [data.draw(st.integers(0, n)) for n in reach]
    auto = data.draw(st.sampled_from(AUTO))
    own = own if "own" in auto else [0] * len(own)
    pads = [data.draw(st.integers(0, n - o)) for n, o in zip(reach, own, strict=True)]
    text, constants = padding(opset, [0, 0, *pads[:rank], 0, 0, *pads[rank:]])
    original = model(
        f"""g (float[1,2,{",".join("9" * rank)}] x) => (float[1,3,{",".join("ABC"[:rank])}] y) {{
            r = Relu(x) {text}
            y = Conv<dilations={dilations}, strides={strides}{auto.format(own=own)}>(p, w, b) }}""",
        opset,
        w=weight(3, 2, *kernel),
        b=weight(3),
        **constants,
    )
    counts, applied, _ = rewritten(original, FusePadIntoConv(), pipeline=False)
    assert applied == ({"fuse_pad_into_conv": 1} if any(pads) else {})
    assert counts.get("Pad", 0) == (0 if any(pads) else 1)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([9, 11, 13, 17, 18, 21]), st.integers(1, 2), st.sampled_from(["zero", "infinity"]), st.data())
def test_padding_goes_into_max_pool(opset, rank, fill, data):
    kernel = [data.draw(st.integers(2, 4)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    limits = [size - 1 for size in kernel] * 2
    own = [data.draw(st.integers(0, n)) for n in limits]
    pads = [data.draw(st.integers(0, n - o)) for n, o in zip(limits, own, strict=True)]
    fill = "zero" if opset < 11 else fill
    first = data.draw(st.sampled_from(["Relu(x)", "Sigmoid(x)"] + (["Neg(x)"] if fill == "infinity" else [])))
    text, constants = padding(opset, [0, 0, *pads[:rank], 0, 0, *pads[rank:]], f", {fill}")
    original = model(
        f"""g (float[1,2,{",".join("5" * rank)}] x) => (float[1,2,{",".join("AB"[:rank])}] y) {{
            r = {first} {text} y = MaxPool<kernel_shape={kernel}, strides={strides}, pads={own}>(p) }}""",
        opset,
        **({"zero": np.array(0, np.float32), "infinity": INFINITY} if opset >= 11 else {}),
        **constants,
    )
    counts, applied, _ = rewritten(original, FusePadIntoMaxPool(), pipeline=False)
    assert applied == ({"fuse_pad_into_max_pool": 1} if any(pads) else {})
    assert counts.get("Pad", 0) == (0 if any(pads) else 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p = Pad(x, one, value) y = Conv(p, w)", "another value"),
        ('p = Pad<mode="reflect">(x, one) y = Conv(p, w)', "another mode"),
        ("p = Pad(x, crop) y = Conv(p, w)", "a crop"),
        ("p = Pad(x, channel) y = Conv(p, w3)", "channels"),
        ("p = Pad(x, batch) y = Conv(p, w)", "samples"),
        ("p = Pad(x, wide) y = Conv(p, w)", "wider than the kernel"),
        ("p = Pad(x, one) y = Conv(p, w1)", "wider than a kernel of 1"),
        ("p = Pad(x, one) y = Conv<pads=[2,2,2,2]>(p, w)", "wider with the pads that are there"),
        ('p = Pad(x, one) y = Conv<auto_pad="SAME_UPPER">(p, w)', "pads that depend on the size"),
        ("p = Pad(x, one) a = Conv(p, w) b = Relu(p) c = Conv(b, w) y = Add(a, c)", "the padded is read twice"),
        ("p = Pad(x, inputs) y = Conv(p, w)", "pads that are computed"),
        ("p = Pad(x, one) y = ConvTranspose(p, w2)", "a ConvTranspose cuts"),
        ("p = Pad(x, one) y = AveragePool<kernel_shape=[2,2]>(p)", "an average counts the padding"),
        ("p = Pad(x, one) y = MaxPool<kernel_shape=[2,2]>(p)", "zeros may exceed what is there"),
        ("r = Relu(x) p = Pad(r, one, value) y = MaxPool<kernel_shape=[2,2]>(p)", "another value"),
        ("r = Clip(x, minus) p = Pad(r, one) y = MaxPool<kernel_shape=[2,2]>(p)", "a Clip from below 0"),
        ("r = Relu(x) p = Pad(r, one) y = MaxPool<kernel_shape=[2,2], ceil_mode=1>(p)", "ceil_mode"),
        ("r = Relu(x) p = Pad(r, one) y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(p)", "dilated"),
        ("r = Relu(x) p = Pad(r, one) y, i = MaxPool<kernel_shape=[2,2]>(p)", "indices"),
        ("r = Relu(x) p = Pad(r, wide) y = MaxPool<kernel_shape=[2,2]>(p)", "windows of padding alone"),
    ],
)
def test_cases_that_stay(text, why):
    original = model(
        f"g (float[1,2,6,6] x, int64[8] inputs) => (float[A,B,C,D] y) {{ {text} }}",
        value=np.array(1, np.float32),
        minus=np.array(-1, np.float32),
        one=[0, 0, 1, 1, 0, 0, 1, 1],
        crop=[0, 0, -1, 1, 0, 0, 1, 1],
        channel=[0, 1, 1, 1, 0, 0, 1, 1],
        batch=[1, 0, 1, 1, 0, 0, 1, 1],
        wide=[0, 0, 3, 3, 0, 0, 3, 3],
        w=weight(2, 2, 3, 3),
        w1=weight(2, 2, 1, 1),
        w2=weight(2, 2, 2, 2),
        w3=weight(2, 3, 3, 3),
    )
    assert run_alone(original, FusePadIntoConv(), FusePadIntoMaxPool())[1] == {}, why


def test_clip_from_zero_is_never_negative():
    original = model(
        """g (float[1,2,6,6] x) => (float[1,2,4,4] y) {
            r = Clip(x, zero, six) p = Pad(r, one) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(p) }""",
        zero=np.array(0, np.float32),
        six=np.array(6, np.float32),
        one=[0, 0, 1, 1, 0, 0, 1, 1],
    )
    assert rewritten(original, FusePadIntoMaxPool())[0] == {"Clip": 1, "MaxPool": 1}


def test_a_padded_map_that_is_an_output_stays():
    original = model(
        "g (float[1,2,6,6] x) => (float[1,2,6,6] y, float[1,2,8,8] p) { p = Pad(x, one) y = Conv(p, w) }",
        one=[0, 0, 1, 1, 0, 0, 1, 1],
        w=weight(2, 2, 3, 3),
    )
    assert rewritten(original, FusePadIntoConv())[1] == {}
