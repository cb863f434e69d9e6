"""A linear layer between Reshapes becomes a Gemm where that saves a node, and only there."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, operators, weight
from kneronnxopt.passes.fuse_linear_between_reshapes import FuseLinearBetweenReshapes
from rewriting import rewritten, run_alone

NAME = FuseLinearBetweenReshapes.name
FUSED = {"Reshape": 2, "Gemm": 1}


def dims(shape) -> str:
    return ",".join(map(str, shape))


@st.composite
def factored(draw, size: int, rank: int) -> list[int]:
    """A shape of this rank and number of elements."""
    shape = []
    for _ in range(rank - 1):
        factor = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        shape.append(factor)
        size //= factor
    return draw(st.permutations([*shape, size]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([9, 13, 17, 21]), st.booleans(), st.data())
def test_linear_layers(opset, swapped, data):
    lead = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    k, n = data.draw(st.sampled_from([(4, 6), (1, 3), (6, 1), (5, 5)]))
    before, after = [*lead, k], [*lead, n]
    source = data.draw(factored(math.prod(before), data.draw(st.integers(1, 4))))
    target = data.draw(factored(math.prod(after), data.draw(st.integers(1, 5))))
    bias = data.draw(st.sampled_from([(), (1,), (n,), (1, n), (1, 1, n), tuple(after)]))
    original = model(
        f"""g (float[{dims(source)}] x) => (float[{dims(target)}] y) {{
            a = Reshape(x, p) d = MatMul(a, w) e = {"Add(c, d)" if swapped else "Add(d, c)"} y = Reshape(e, q) }}""",
        opset,
        p=before,
        q=target,
        w=weight(k, n),
        c=weight(*bias, seed=1),
    )
    counts = rewritten(original, FuseLinearBetweenReshapes(), pipeline=False)[0]
    acts = len(before) > 2 and len(bias) < 2 and source != before and target != after
    assert counts == (FUSED if acts else {"Reshape": 2, "MatMul": 1, "Add": 1})


TAIL = "d = MatMul(a, w) e = Add(d, c) y = Reshape(e, q)"


def test_the_pipeline_fuses_too():
    original = model(f"g (float[2,3,4,5] x) => (float[2,12,7] y) {{ a = Reshape(x, p) {TAIL} }}", **numbers())
    assert operators(kneronnxopt.optimize(original)) == FUSED


def numbers() -> dict[str, object]:
    return {"p": [6, 4, 5], "q": [2, 12, 7], "w": weight(5, 7), "c": weight(7, seed=1)}


@pytest.mark.parametrize(
    "text",
    [
        "a = Reshape(x, p) d = MatMul(a, w) y = Reshape(d, q)",  # no node would be saved
        f"a = Neg(x) b = Reshape(a, p) f = Neg(b) {TAIL.replace('(a,', '(f,')}",
        "a = Reshape(x, p) d = MatMul(a, w) e = Add(d, c) f = Neg(e) y = Reshape(f, q)",
        "a = Reshape(x, p) d = MatMul(a, w) e = Add(d, d) y = Reshape(e, q)",
        "a = Reshape(x, p) t = ReduceMax(a) u = Reshape(t, one) d = MatMul(a, w) e = Add(d, u) y = Reshape(e, q)",
        f"a = Reshape(x, p) {TAIL.replace('w)', 'v)')}",
        "a = Reshape(x, p) d = MatMul(w2, a) e = Add(d, c2) y = Reshape(e, q2)",
    ],
)
def test_other_graphs_stay(text):
    size = "[120]" if "w2" in text else "[2,12,7]"
    original = model(
        f"g (float[2,3,4,5] x) => (float{size} y) {{ {text} }}",
        one=[1],
        v=weight(6, 5, 7),
        w2=weight(4, 4),
        c2=weight(5),
        q2=[120],
        **numbers(),
    )
    before = operators(original)
    assert rewritten(original, FuseLinearBetweenReshapes(), pipeline=False)[:2] == (before, {})


@pytest.mark.parametrize("shared", ["a", "d", "e"])
def test_values_with_another_reader_stay(shared):
    original = model(
        f"g (float[2,3,4,5] x) => (float[2,12,7] y, float[A,B,C] z) {{ a = Reshape(x, p) {TAIL} z = Neg({shared}) }}",
        **numbers(),
    )
    assert rewritten(original, FuseLinearBetweenReshapes(), pipeline=False)[1] == {}


@pytest.mark.parametrize("shared", ["a", "d", "e"])
def test_graph_outputs_stay(shared):
    shape = {"a": "6,4,5", "d": "6,4,7", "e": "6,4,7"}[shared]
    original = model(
        f"g (float[2,3,4,5] x) => (float[2,12,7] y, float[{shape}] {shared}) {{ a = Reshape(x, p) {TAIL} }}",
        **numbers(),
    )
    assert rewritten(original, FuseLinearBetweenReshapes(), pipeline=False)[1] == {}


@pytest.mark.parametrize("batch", [1, 3])
def test_a_dynamic_batch_is_kept(batch):
    original = model(
        f"g (float[N,3,4,5] x) => (float[N,12,7] y) {{ a = Reshape(x, p) {TAIL} }}",
        **numbers() | {"p": [-1, 12, 5], "q": [-1, 3, 4, 7]},
    )
    original.graph.output[0].type.tensor_type.shape.ClearField("dim")
    for size in (None, 3, 4, 7):
        dim = original.graph.output[0].type.tensor_type.shape.dim.add()
        if size:
            dim.dim_value = size
    feeds = {"x": weight(batch, 3, 4, 5)}
    assert rewritten(original, FuseLinearBetweenReshapes(), feeds=feeds)[0] == FUSED


def test_two_unknown_dimensions_stay():
    original = model(
        f"g (float[N,M,20] x) => (float[A,B] y) {{ a = Reshape(x, p) {TAIL} }}",
        **numbers() | {"p": [0, 0, 4, 5], "q": [-1, 7]},
    )
    assert rewritten(original, FuseLinearBetweenReshapes(), feeds={"x": weight(2, 3, 20)})[1] == {}


def test_an_empty_tensor_stays():
    original = model(
        f"g (float[0,3,4,5] x) => (float[0,12,7] y) {{ a = Reshape(x, p) {TAIL} }}",
        **numbers() | {"p": [0, 12, 5], "q": [0, 12, 7]},
    )
    assert run_alone(original, FuseLinearBetweenReshapes())[1] == {}


def test_integers_stay():
    original = model(
        "g (int32[2,3,4] x) => (int32[12,2] y) { a = Reshape(x, p) d = MatMul(a, w) e = Add(d, c) y = Reshape(e, q) }",
        p=[3, 2, 4],
        q=[12, 2],
        w=np.ones((4, 4), np.int32),
        c=np.ones(4, np.int32),
    )
    assert run_alone(original, FuseLinearBetweenReshapes())[1] == {}


def test_reshapes_that_cancel_out_go_instead():
    """A window partition with one window: without it, two nodes are left, and a Gemm would have Reshapes of its own."""
    original = model(
        """g (float[1,6,4] x) => (float[1,6,7] y) {
            a = Reshape(x, p) b = Transpose<perm=[0,2,1,3]>(a) f = Reshape(b, q)
            d = MatMul(f, w) e = Add(d, c) y = Reshape(e, r) }""",
        p=[1, 6, 1, 4],
        q=[1, 6, 4],
        r=[1, 6, 7],
        w=weight(4, 7),
        c=weight(7),
    )
    result = kneronnxopt.optimize(original, skip_check=True)
    assert collections.Counter(operators(result)) == {"MatMul": 1, "Add": 1}
