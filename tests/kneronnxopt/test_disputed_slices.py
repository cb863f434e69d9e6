"""Slices that go backwards to INT_MAX, of which onnx and onnxruntime make different things, stay as they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import kneronnxopt
from graphs import interface, model, operators
from kneronnxopt.verify import difference_of, run_model

ENDS = [2**31 - 1, 2**63 - 1]
EVERY = {"clear_shapes": True, "onnxsim": True, "opt_matmul": True, "replace_split": True}
DATA = np.arange(24, dtype=np.float32).reshape(4, 6)


def optimised(original: onnx.ModelProto, feeds: dict[str, np.ndarray], **options: bool) -> onnx.ModelProto:
    """The result, which keeps its interface and computes the same, proven without the optimizer's own check."""
    result = kneronnxopt.optimize(original, skip_check=True, **options)
    onnx.checker.check_model(result)
    assert interface(result) == interface(original)
    assert max(difference_of(run_model(original, feeds), run_model(result, feeds)).values()) == 0
    return result


@pytest.mark.parametrize("options", [{}, EVERY], ids=["default", "every"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", [-1, -2])
def test_slices_of_an_input_stay(end, step, options):
    rows = len(range(3, -1, step))
    original = model(
        f"""g (float[4,6] x) => (float[{rows},6] y) {{
            a = Slice(x, s, e, zero, t) b = Slice(a, zero, e1, zero) c = Identity(b) y = Neg(c) }}""",
        s=[3],
        e=[end],
        t=[step],
        e1=[ENDS[1]],
        zero=[0],
    )
    result = optimised(original, {"x": DATA}, **options)
    assert operators(result)["Slice"] >= 1
    shape = run_model(original, {"x": DATA})["y"].shape
    assert shape == (rows, 6), "onnxruntime takes the elements that the standard leaves out"


@pytest.mark.parametrize("options", [{}, EVERY], ids=["default", "every"])
@pytest.mark.parametrize("end", ENDS)
def test_slices_of_constants_and_shapes_stay(end, options):
    original = model(
        """g (float[4,6] x) => (float[6,4] y, float[4,6] z) {
            s = Shape(x) r = Slice(s, minus, e, zero, minus) y = Reshape(x, r)
            f = Slice(w, minus, e, zero, minus) z = Neg(f) }""",
        e=[end],
        minus=[-1],
        zero=[0],
        w=DATA,
    )
    assert operators(optimised(original, {"x": DATA}, **options))["Slice"] == 2


@pytest.mark.parametrize("options", [{}, EVERY], ids=["default", "every"])
def test_operands_that_become_constant_are_waited_for(options):
    original = model(
        """g (float[4,6] x) => (float[4,6] y) {
            e = Mul(half, two) t = Neg(one) a = Slice(x, last, e, zero, t) y = Relu(a) }""",
        half=[2**62 - 1],
        two=[2],
        one=[1],
        last=[3],
        zero=[0],
    )
    feeds = {"x": DATA}
    expected = np.asarray(run_model(original, feeds)["y"]).shape
    assert expected == (0, 6)  # an end below INT64_MAX is past the axis like any other
    original = model(
        """g (float[4,6] x) => (float[4,6] y) {
            e = Add(half, half1) t = Neg(one) a = Slice(x, last, e, zero, t) y = Relu(a) }""",
        half=[2**62 - 1],
        half1=[2**62],
        one=[1],
        last=[3],
        zero=[0],
    )
    assert operators(optimised(original, feeds, **options))["Slice"] == 1


@pytest.mark.parametrize("end", ENDS)
def test_inside_a_branch(end):
    original = model(
        """g (float[4,6] x, bool c) => (float[4,6] y) {
            a = If(c) <
                then_branch = t () => (float[4,6] u) { u = Slice(x, minus, e, zero, minus) },
                else_branch = f () => (float[4,6] v) { v = Neg(x) }> y = Relu(a) }""",
        minus=[-1],
        e=[end],
        zero=[0],
    )
    optimised(original, {"x": DATA, "c": np.array(True)})


@pytest.mark.parametrize("end", [4, 6, 7, 2**31 - 2, 2**31, 2**63 - 2])
def test_other_ends_past_the_axis_take_nothing(end):
    original = model(
        "g (float[4,6] x) => (float[0,6] y) { a = Slice(x, minus, e, zero, minus) y = Neg(a) }",
        minus=[-1],
        e=[end],
        zero=[0],
    )
    optimised(original, {"x": DATA})


def test_a_flip_is_folded():
    original = model(
        "g (float[4,6] x) => (float[4,6] y) { f = Slice(w, minus, e, zero, minus) y = Add(x, f) }",
        minus=[-1],
        e=[-(2**63)],
        zero=[0],
        w=DATA,
    )
    assert operators(optimised(original, {"x": DATA})) == {"Add": 1}
