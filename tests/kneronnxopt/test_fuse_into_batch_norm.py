"""Factors and addends after BatchNormalization go into its scale and bias, and only where nothing changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import model, operators, weight
from kneronnxopt.passes.fold_constants import FoldConstants
from kneronnxopt.passes.fuse_into_batch_norm import FuseArithmeticIntoBatchNorm
from rewriting import rewritten, run_alone

NAME = FuseArithmeticIntoBatchNorm.name
FORMS = ["Mul({}, {})", "Add({}, {})", "Sub({}, {})", "Div({}, {})"]
SWAPPED = ["Mul({1}, {0})", "Add({1}, {0})", "Sub({1}, {0})"]


def dims(shape) -> str:
    return ",".join(map(str, shape))


def constants(channels: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of a BatchNormalization."""
    random = np.random.default_rng(seed)
    return {
        "s": random.uniform(-2, 2, channels).astype(np.float32),
        "b": random.standard_normal(channels).astype(np.float32),
        "m": random.standard_normal(channels).astype(np.float32),
        "v": random.uniform(0.1, 2, channels).astype(np.float32),
    }


def operand_shapes(channels: int, rank: int) -> list[tuple[int, ...]]:
    """Shapes that hold one number, or one per channel."""
    tail = (1,) * (rank - 2)
    return [(), (1,), (1,) * rank, (channels, *tail), (1, channels, *tail)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([7, 9, 13, 14, 15, 21]), st.integers(2, 4), st.integers(1, 4), st.data())
def test_arithmetic_goes_into_batch_norm(opset, rank, channels, data):
    shape = [2, channels, 3, 5][:rank]
    forms = data.draw(st.lists(st.sampled_from(FORMS + SWAPPED), min_size=1, max_size=3))
    weights, text, random = constants(channels), "a0 = BatchNormalization(x, s, b, m, v)\n", np.random.default_rng(3)
    for index, form in enumerate(forms):
        operand = data.draw(st.sampled_from(operand_shapes(channels, rank)))
        sign = data.draw(st.sampled_from([-1, 1]))
        weights[f"c{index}"] = (sign * random.uniform(0.5, 2, operand)).astype(np.float32)
        result = f"a{index + 1}" if index + 1 < len(forms) else "y"
        text += f"{result} = {form.format(f'a{index}', f'c{index}')}\n"
    original = model(f"g (float[{dims(shape)}] x) => (float[{dims(shape)}] y) {{ {text} }}", opset, **weights)
    counts, applied, _ = rewritten(original, FuseArithmeticIntoBatchNorm(), pipeline=False)
    assert counts == {"BatchNormalization": 1}
    assert applied == {NAME: len(forms)}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FORMS + SWAPPED), st.data())
def test_other_constants_stay(form, data):
    """One value per column, row, or sample, or one that makes the result larger."""
    operand = data.draw(st.sampled_from([(3,), (3, 1), (2, 1, 1, 1), (1, 1, 3, 3), (2, 3, 1, 1), (4, 1, 3, 1, 1)]))
    shape = [1 if data.draw(st.booleans()) else 2, 3, 3, 3]
    result = np.broadcast_shapes(shape, operand)
    original = model(
        f"""g (float[{dims(shape)}] x) => (float[{dims(result)}] y) {{
            a = BatchNormalization(x, s, b, m, v) y = {form.format("a", "c")} }}""",
        c=np.random.default_rng(3).uniform(0.5, 2, operand).astype(np.float32),
        **constants(3),
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm(), pipeline=False)[1] == {}


def test_scalar_of_a_higher_rank_stays():
    original = model(
        "g (float[2,3] x) => (float[1,2,3] y) { a = BatchNormalization(x, s, b, m, v) y = Mul(a, c) }",
        c=np.full((1, 1, 1), 1.5, np.float32),
        **constants(3),
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm())[1] == {}


@pytest.mark.parametrize(
    "text",
    [
        "a = BatchNormalization(x, s, b, m, v) z = Mul(a, c) y = Add(z, a)",
        "a = BatchNormalization(x, s, b, m, v) y = Div(c, a)",
        "a = BatchNormalization(x, s, b, m, v) y = Mul(a, a)",
        "a = BatchNormalization(x, s, b, m, v) y = Mul(a, x)",
        "a = BatchNormalization(x, x1, b, m, v) y = Mul(a, c)",
        "a = BatchNormalization(x, s, b, m, x1) y = Mul(a, c)",
        "a, n, w = BatchNormalization<training_mode=1>(x, s, b, m, v) y = Mul(a, c)",
    ],
)
def test_cases_that_stay(text):
    original = model(
        f"g (float[2,3,4,5] x, float[3] x1) => (float[2,3,4,5] y) {{ {text} }}",
        c=np.array([[[2.0]], [[3.0]], [[4.0]]], np.float32),
        **constants(3),
    )
    feeds = {"x": weight(2, 3, 4, 5), "x1": np.array([1, 2, 3], np.float32)}
    assert rewritten(original, FuseArithmeticIntoBatchNorm(), feeds=feeds, pipeline=False)[1] == {}


def test_a_normalisation_that_is_an_output_stays():
    original = model(
        "g (float[2,3] x) => (float[2,3] y, float[2,3] a) { a = BatchNormalization(x, s, b, m, v) y = Mul(a, c) }",
        c=np.float32(2),
        **constants(3),
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm())[1] == {}


def test_weights_that_a_caller_may_override_stay():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = BatchNormalization(x, s, b, m, v) y = Mul(a, c) }",
        c=np.float32(2),
        **constants(3),
    )
    for name in ("s", "c"):
        given_ = onnx.ModelProto()
        given_.CopyFrom(original)
        shape = [3] if name == "s" else []
        given_.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        assert run_alone(given_, FuseArithmeticIntoBatchNorm())[1] == {}


def test_scale_from_a_node_is_not_constant_until_it_is_folded():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) "
        "{ s = ConstantOfShape(n) a = BatchNormalization(x, s, b, m, v) y = Add(a, c) }",
        n=[3],
        c=np.float32(2),
        **{name: array for name, array in constants(3).items() if name != "s"},
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm(), pipeline=False)[1] == {}
    folded = run_alone(original, FoldConstants(), FuseArithmeticIntoBatchNorm())[0]
    assert operators(folded) == {"BatchNormalization": 1}


def test_shared_weights_stay_for_their_other_readers():
    original = model(
        """g (float[2,3] x) => (float[2,3] y, float[2,3] z) {
            a = BatchNormalization(x, s, b, m, v) y = Mul(a, c) z = BatchNormalization(x, s, b, m, v) }""",
        c=np.array([2, 3, 4], np.float32),
        **constants(3),
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm())[0] == {"BatchNormalization": 2}


def test_attributes_are_kept():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = BatchNormalization<epsilon=0.5>(x, s, b, m, v) y = Mul(a, c) }",
        c=np.float32(2),
        **constants(3),
    )
    result = rewritten(original, FuseArithmeticIntoBatchNorm())[2]
    assert [attribute.f for attribute in result.graph.node[0].attribute if attribute.name == "epsilon"] == [0.5]


@pytest.mark.parametrize(
    ("operator", "scale", "bias", "operand"),
    [
        ("Mul", 1e30, 0.0, 1e30),  # overflows
        ("Mul", 1e-30, 0.0, 1e-30),  # underflows
        ("Mul", 1e-20, 1e20, 1e-20),  # only the scale underflows
        ("Mul", 1.0, 0.0, np.inf),
        ("Div", 1.0, 0.0, 0.0),
        ("Add", 1.0, 1e8, -1e8),  # rounds x, on purpose or not
        ("Add", 1.0, 0.0, np.nan),
        ("Sub", 1.0, 0.0, np.inf),
    ],
)
def test_extreme_constants_stay(operator, scale, bias, operand):
    weights = constants(3) | {"s": np.full(3, scale, np.float32), "b": np.full(3, bias, np.float32)}
    original = model(
        f"g (float[2,3] x) => (float[2,3] y) {{ a = BatchNormalization(x, s, b, m, v) y = {operator}(a, c) }}",
        c=np.float32(operand),
        **weights,
    )
    assert run_alone(original, FuseArithmeticIntoBatchNorm())[1] == {}


def test_a_variance_that_makes_the_scale_overflow_stays():
    weights = constants(3) | {"v": np.full(3, 1e-30, np.float32)}
    original = model(
        """g (float[2,3] x) => (float[2,3] y) {
            a = BatchNormalization<epsilon=0.0>(x, s, b, m, v) y = Mul(a, c) }""",
        c=np.float32(1e3),
        **weights,
    )
    assert run_alone(original, FuseArithmeticIntoBatchNorm())[1] == {}


def test_a_dead_channel_is_fused():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = BatchNormalization(x, s, b, m, v) y = Mul(a, c) }",
        c=np.array([0, 1, 2], np.float32),
        **constants(3),
    )
    assert rewritten(original, FuseArithmeticIntoBatchNorm())[0] == {"BatchNormalization": 1}
