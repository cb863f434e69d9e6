"""A tensor whose Slices are each divided into heads is divided once, and only where all of them agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, operators, weight
from kneronnxopt.passes.reshape_before_slices import ReshapeBeforeSlices
from rewriting import rewritten


def dims(shape) -> str:
    return ",".join(map(str, shape))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([9, 10, 13, 17, 21]), st.lists(st.integers(1, 3), max_size=3), st.data())
def test_slices_into_heads(opset, lead, data):
    """Any parts, that may overlap or be left out, in any order; the last may be aligned or not."""
    size, heads = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 6))
    width, rank = size * heads, len(lead) + 1
    spans = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, heads - 1))
        spans.append((start * size, data.draw(st.integers(start + 1, heads)) * size))
    shift = data.draw(st.sampled_from([0, 0, 0, 1]))
    spans[-1] = (spans[-1][0] + shift, spans[-1][1] + shift) if spans[-1][1] + shift <= width else spans[-1]
    text, outputs, weights = "", [], {"last": [data.draw(st.sampled_from([-1, rank - 1]))]}
    for index, (start, end) in enumerate(spans):
        from_end = data.draw(st.booleans())
        first, stop = (start - width, end if end < width else 2**31) if from_end else (start, end)
        if opset < 10:
            text += f"a{index} = Slice<starts=[{first}], ends=[{stop}], axes=[{rank - 1}]>(x)\n"
        else:
            weights.update({f"s{index}": [first], f"e{index}": [stop]})
            text += f"a{index} = Slice(x, s{index}, e{index}, last)\n"
        shape = [*lead, (end - start) // size, size]
        weights[f"p{index}"] = shape
        text += f"y{index} = Reshape(a{index}, p{index})\n"
        outputs.append(f"float[{dims(shape)}] y{index}")
    source = [*lead, width]
    original = model(f"g (float[{dims(source)}] z) => ({', '.join(outputs)}) {{ x = Neg(z) {text} }}", opset, **weights)
    counts = rewritten(original, ReshapeBeforeSlices(), pipeline=False, tolerance=0.0)[0]
    aligned = all(start % size == 0 for start, _ in spans)
    acts = len(spans) > 1 and aligned
    assert counts == {"Neg": 1, "Slice": len(spans), "Reshape": 1 if acts else len(spans)}


NUMBERS = {
    "zero": [0],
    "four": [4],
    "eight": [8],
    "two": [2],
    "minus": [-1],
    "p": [2, 2, 2],
    "q": [2, 1, 4],
    "merged": [4, 2],
}


LEFT, RIGHT = "zero, four, minus", "four, eight, minus"
PAIR = "y = Reshape(a, p) z = Reshape(b, p)"


@pytest.mark.parametrize(
    ("first", "second", "tail", "ranks"),
    [
        (LEFT, RIGHT, "y = Reshape(a, p) z = Reshape(b, q)", (3, 3)),  # other sizes of heads
        (LEFT, RIGHT, "y = Reshape(a, merged) z = Reshape(b, merged)", (2, 2)),  # not divided
        (LEFT, RIGHT, "y = Reshape(a, p) z = Neg(b)", (3, 2)),
        (LEFT, RIGHT, "y = Reshape(a, p) c = Neg(b) z = Add(c, b)", (3, 2)),
        (LEFT, RIGHT, "y = Reshape(a, p) c = Reshape(b, p) d = ReduceMax(x) z = Add(c, d)", (3, 3)),
        ("zero, eight, minus, two", RIGHT, PAIR, (3, 3)),  # a step
        ("zero, four, minus", "four, k, minus", PAIR, (3, 3)),  # a computed bound
    ],
)
def test_other_graphs_stay(first, second, tail, ranks):
    y, z = (dims("ABC"[:rank]) for rank in ranks)
    original = model(
        f"""g (float[2,8] u, int64[1] k) => (float[{y}] y, float[{z}] z) {{
            x = Neg(u) a = Slice(x, {first}) b = Slice(x, {second}) {tail} }}""",
        **NUMBERS,
    )
    feeds = {"u": weight(2, 8), "k": np.array([8])}
    assert rewritten(original, ReshapeBeforeSlices(), feeds=feeds, pipeline=False)[1] == {}


def test_an_output_stays():
    original = model(
        """g (float[2,8] u) => (float[2,8] x, float[2,2,2] y, float[2,2,2] z) {
            x = Neg(u) a = Slice(x, zero, four, minus) b = Slice(x, four, eight, minus)
            y = Reshape(a, p) z = Reshape(b, p) }""",
        **NUMBERS,
    )
    assert rewritten(original, ReshapeBeforeSlices(), pipeline=False)[1] == {}


def test_three_projections_are_divided_once():
    original = model(
        """g (float[1,6,8] x) => (float[1,6,2,4] q, float[1,6,2,4] k, float[1,6,2,4] v) {
            a = MatMul(x, wa) b = MatMul(x, wb) c = MatMul(x, wc) d = Add(a, ba) e = Add(b, bb) f = Add(c, bc)
            q = Reshape(d, p) k = Reshape(e, p) v = Reshape(f, p) }""",
        p=[1, 6, 2, 4],
        **{f"w{name}": weight(8, 8, seed=seed) for seed, name in enumerate("abc")},
        **{f"b{name}": weight(8, seed=seed + 3) for seed, name in enumerate("abc")},
    )
    assert operators(kneronnxopt.optimize(original)) == {"MatMul": 1, "Add": 1, "Reshape": 1, "Slice": 3}
