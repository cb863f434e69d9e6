"""Expanded formulas become the operator that computes them, where the opset has it, and only those."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, operators, weight
from kneronnxopt.passes.recognise_depth_to_space import RecogniseDepthToSpace
from kneronnxopt.passes.recognise_gelu import RecogniseGelu
from kneronnxopt.passes.recognise_hard_swish import RecogniseHardSigmoid, RecogniseHardSwish
from kneronnxopt.passes.recognise_layer_norm import RecogniseLayerNormalization

few = settings(max_examples=12, deadline=None, derandomize=False)
orders = st.lists(st.booleans(), min_size=12, max_size=12)


def recognised(original: onnx.ModelProto) -> dict[str, int]:
    """Optimise with the recognisers, compare with the original, count operators."""
    passes = [
        RecogniseLayerNormalization(),
        RecogniseGelu(),
        RecogniseHardSigmoid(),
        RecogniseHardSwish(),
        RecogniseDepthToSpace(),
    ]
    result = kneronnxopt.optimize(original, skip_check=True, extra_passes=passes)
    onnx.checker.check_model(result, full_check=True)
    comparison = kneronnxopt.compare(original, result, tolerance=1e-5)
    assert comparison.equal, comparison.differences
    return operators(result)


class Writer:
    """Writes commutative operators in the order that the list of booleans says."""

    def __init__(self, swaps: list[bool]) -> None:
        self.swaps, self.lines = list(swaps), []

    def __call__(self, op: str, *operands: str, attributes: str = "", name: str = "") -> str:
        if op in ("Add", "Mul") and self.swaps.pop():
            operands = operands[::-1]
        name = name or f"v{len(self.lines)}"
        self.lines.append(f"{name} = {op}{attributes}({', '.join(operands)})")
        return name


def scalars(**values: float) -> dict[str, np.ndarray]:
    return {name: np.float32(value) for name, value in values.items()}


# --- GELU --------------------------------------------------------------------------------------------


def gelu(swaps, way, divide, function, opset=20, **changed):
    """x * 0.5 * (1 + Erf | Tanh) in one of three orders."""
    constants = scalars(half=0.5, two=2, one=1, three=3, r=math.sqrt(2), i=math.sqrt(0.5))
    constants |= scalars(k=math.sqrt(2 / math.pi), c=0.044715)
    constants |= scalars(**changed)
    w = Writer(swaps)
    x = w("Abs", "a")
    if function == "Erf":
        argument = w("Div", x, "r") if divide else w("Mul", x, "i")
    else:
        cube = w("Pow", x, "three") if divide else w("Mul", w("Mul", x, x), x)
        argument = w("Mul", w("Add", x, w("Mul", cube, "c")), "k")
    gate = w("Add", w(function, argument), "one")
    scale = ("Div", "two") if divide else ("Mul", "half")
    if way == 0:
        w(scale[0], w("Mul", x, gate), scale[1], name="y")
    elif way == 1:
        w("Mul", w(scale[0], x, scale[1]), gate, name="y")
    else:
        w("Mul", x, w(scale[0], gate, scale[1]), name="y")
    return model(f"g (float[2,5] a) => (float[2,5] y) {{ {' '.join(w.lines)} }}", opset, 10, **constants)


@few
@given(orders, st.integers(0, 2), st.booleans(), st.sampled_from(["Erf", "Tanh"]), st.integers(20, 21))
def test_gelu_in_any_order(swaps, way, divide, function, opset):
    assert recognised(gelu(swaps, way, divide, function, opset)) == {"Abs": 1, "Gelu": 1}


@pytest.mark.parametrize("function", ["Erf", "Tanh"])
def test_gelu_that_is_read_by_others_or_older_stays(function):
    original = gelu([False] * 12, 0, True, function, 19)
    assert "Gelu" not in recognised(original)
    original = gelu([False] * 12, 0, True, function)
    value = next(node.output[0] for node in original.graph.node if node.op_type == function)
    original.graph.output.append(onnx.helper.make_tensor_value_info(value, 1, [2, 5]))
    assert "Gelu" not in recognised(original)


@pytest.mark.parametrize(
    "changed",
    [{"one": 1.0001}, {"r": 1.42}, {"two": 3}, {"one": -1}],
)
def test_almost_gelu_stays(changed):
    assert "Gelu" not in recognised(gelu([False] * 12, 0, True, "Erf", **changed))
    assert "Gelu" not in recognised(gelu([False] * 12, 0, True, "Tanh", **{"c": 0.0447, **changed}))


def test_gelu_of_mixed_operands_stays():
    original = model(
        """g (float[4] x, float[4] z) => (float[4] y) {
            a = Div(x, r) b = Erf(a) c = Add(b, one) d = Mul(z, c) y = Mul(d, half) }""",
        20,
        10,
        **scalars(r=math.sqrt(2), one=1, half=0.5),
    )
    assert "Gelu" not in recognised(original)


def test_gelu_with_an_overridable_constant_stays():
    original = gelu([False] * 12, 0, True, "Erf")
    original.graph.input.append(onnx.helper.make_tensor_value_info("r", 1, []))
    result = kneronnxopt.optimize(original, skip_check=True, extra_passes=[RecogniseGelu()])
    assert "Gelu" not in operators(result)


def test_gelu_whose_constant_adds_an_axis_stays():
    original = model(
        """g (float[4] x) => (float[1,4] y) {
            a = Div(x, r) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half) }""",
        20,
        10,
        r=np.float32(math.sqrt(2)),
        one=np.float32(1),
        half=np.full((1, 1), 0.5, np.float32),
    )
    assert "Gelu" not in recognised(original)


# --- HardSigmoid, HardSwish --------------------------------------------------------------------------


def clip(w, value, upper, opset):
    if opset < 11:
        return w("Clip", value, attributes=f"<min=0.0, max={upper}.0>")
    return w("Clip", value, "zero", "one" if upper == 1 else "six")


def hard(swaps, form, opset, *, swish, offset=3.0, alpha=1 / 6):
    """Clip(x * alpha + 0.5, 0, 1) or Clip(x + 3, 0, 6) / 6, times x if ``swish``."""
    constants = scalars(zero=0, one=1, six=6, sixth=1 / 6, three=offset, half=offset / 6, alpha=alpha)
    w = Writer(swaps)
    x = w("Relu", "a")
    if form == "one":
        gate = clip(w, w("Add", w("Mul", x, "alpha"), "half"), 1, opset)
    elif form == "one, divided":
        gate = clip(w, w("Add", w("Div", x, "six"), "half"), 1, opset)
    else:
        gate = clip(w, w("Add", x, "three"), 6, opset)
    if form == "six, product first" and swish:
        w("Div", w("Mul", x, gate), "six", name="y")
    elif form.startswith("six"):
        gate = w("Div", gate, "six") if form == "six" else w("Mul", gate, "sixth")
    if swish and w.lines[-1][:2] != "y ":
        w("Mul", x, gate, name="y")
    elif not swish:
        w("Neg", gate, name="y")
    used = " ".join(w.lines)
    constants = {name: value for name, value in constants.items() if name in used}
    return model(f"g (float[2,5] a) => (float[2,5] y) {{ {used} }}", opset, 8 if opset < 19 else 10, **constants)


forms = st.sampled_from(["one", "one, divided", "six", "six, product first", "six, multiplied"])


@few
@given(orders, forms, st.integers(9, 21))
def test_hard_sigmoid(swaps, form, opset):
    assert recognised(hard(swaps, form, opset, swish=False)) == {"Relu": 1, "HardSigmoid": 1, "Neg": 1}


@few
@given(orders, forms, st.integers(9, 21))
def test_hard_swish(swaps, form, opset):
    counts = recognised(hard(swaps, form, opset, swish=True))
    if opset >= 14:
        assert counts == {"Relu": 1, "HardSwish": 1}
    elif form != "six, product first":
        assert counts == {"Relu": 1, "HardSigmoid": 1, "Mul": 1}
    else:
        assert "Clip" in counts


def test_hard_sigmoid_of_keras():
    counts = recognised(hard([False] * 12, "one", 17, swish=False, alpha=0.2))
    assert counts == {"Relu": 1, "HardSigmoid": 1, "Neg": 1}


@pytest.mark.parametrize("form", ["one", "six"])
@pytest.mark.parametrize("swish", [True, False])
def test_almost_hard_sigmoid_stays(form, swish):
    assert "Clip" in recognised(hard([False] * 12, form, 17, swish=swish, offset=2.9))
    assert "Clip" in recognised(hard([False] * 12, "one", 17, swish=swish, alpha=0.19))


@pytest.mark.parametrize(("alpha", "becomes"), [(1 / 6, True), (0.2, False)])
def test_hard_swish_from_hard_sigmoid(alpha, becomes):
    original = model(
        f"""g (float[4] x) => (float[4] y) {{ g = HardSigmoid<alpha={alpha:.9f}, beta=0.5>(x) y = Mul(g, x) }}"""
    )
    assert ("HardSwish" in recognised(original)) is becomes


def test_hard_sigmoid_with_two_readers_stays():
    original = model(
        """g (float[4] x) => (float[4] y, float[4] z) {
            g = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(g, x) z = Neg(g) }"""
    )
    assert "HardSwish" not in recognised(original)


# --- LayerNormalization ------------------------------------------------------------------------------


def layer_norm(swaps, dims, count, opset, *, square="Pow", quotient="Div", twice=False, affine=(True, True), **changed):
    last = tuple(dims[-count:])
    rank = len(dims)
    axes = changed.get("axes", list(range(-count, 0)))
    keep = changed.get("keepdims", 1)
    weights = scalars(two=2, eps=1e-5, half=-0.5, one=1)
    weights["g"], weights["b"] = weight(*last, seed=1), weight(*last, seed=2)
    w = Writer(swaps)
    if opset >= 18:
        weights["axes"] = np.array(axes, dtype=np.int64)

    def mean(value: str) -> str:
        if opset >= 18:
            return w("ReduceMean", value, "axes", attributes=f"<keepdims={keep}>")
        return w("ReduceMean", value, attributes=f"<axes={axes}, keepdims={keep}>")

    average = mean("x")
    centred = w("Sub", "x", average)
    base = w("Sub", "x", average) if twice else centred
    variance = mean(w("Pow", base, "two") if square == "Pow" else w("Mul", base, base))
    shifted = w("Add", variance, "eps")
    if quotient == "Div":
        value = w("Div", centred, w("Sqrt", shifted))
    elif quotient == "Pow":
        value = w("Mul", centred, w("Pow", shifted, "half"))
    elif quotient == "one over":
        value = w("Mul", centred, w("Div", "one", w("Sqrt", shifted)))
    else:
        value = w("Mul", centred, w("Reciprocal", w("Sqrt", shifted)))
    if affine[0]:
        value = w("Mul", value, "g")
    if affine[1]:
        value = w("Add", value, "b")
    w("Relu", value, name="y")
    text = " ".join(w.lines)
    used = {name for line in w.lines for name in line[line.index("(") + 1 : -1].split(", ")}
    shape = ",".join(map(str, dims))
    assert rank >= count
    return model(
        f"g (float[{shape}] x) => (float[{shape}] y) {{ {text} }}",
        opset,
        8 if opset < 19 else 10,
        **{name: array for name, array in weights.items() if name in used},
    )


@few
@given(
    orders,
    st.lists(st.integers(2, 5), min_size=2, max_size=4),
    st.data(),
    st.sampled_from([17, 18, 21]),
    st.sampled_from(["Pow", "Mul"]),
    st.sampled_from(["Div", "Pow", "one over", "Reciprocal"]),
    st.booleans(),
    st.tuples(st.booleans(), st.booleans()),
)
def test_layer_normalization(swaps, dims, data, opset, square, quotient, twice, affine):
    count = data.draw(st.integers(1, min(2, len(dims))))
    original = layer_norm(swaps, dims, count, opset, square=square, quotient=quotient, twice=twice, affine=affine)
    assert recognised(original) == {"LayerNormalization": 1, "Relu": 1}


def test_layer_normalization_is_not_put_into_an_older_model():
    assert "LayerNormalization" not in recognised(layer_norm([False] * 12, [2, 3, 4], 1, 16))


@pytest.mark.parametrize("axes", [[0], [1], [0, 2]])
def test_normalisation_over_other_axes_stays(axes):
    original = layer_norm([False] * 12, [4, 4, 4], 1, 17, axes=axes)
    assert "LayerNormalization" not in recognised(original)


def test_normalisation_whose_parts_are_read_by_others_stays():
    for op_type in ("Sub", "Sqrt"):
        original = layer_norm([False] * 12, [2, 3, 4], 1, 17)
        value = next(node.output[0] for node in original.graph.node if node.op_type == op_type)
        shape = [2, 3, 4 if op_type == "Sub" else 1]
        original.graph.output.append(onnx.helper.make_tensor_value_info(value, 1, shape))
        assert "LayerNormalization" not in recognised(original)


@pytest.mark.parametrize("op_type", ["Sub", "Pow"])
def test_normalisation_by_something_else_stays(op_type):
    original = layer_norm([False] * 12, [2, 3, 4], 1, 17)
    if op_type == "Pow":
        next(t for t in original.graph.initializer if t.name == "two").CopyFrom(
            onnx.numpy_helper.from_array(np.float32(4), "two")
        )
    else:
        original.graph.input.append(onnx.helper.make_tensor_value_info("z", 1, [2, 3, 4]))
        next(node for node in original.graph.node if node.op_type == "Sub").input[0] = "z"
    assert "LayerNormalization" not in recognised(original)


def test_layer_normalization_with_a_scale_per_row_keeps_the_scale_apart():
    original = layer_norm([False] * 12, [2, 3, 4], 1, 17)
    scale = next(t for t in original.graph.initializer if t.name == "g")
    scale.CopyFrom(onnx.numpy_helper.from_array(weight(3, 1), "g"))
    assert recognised(original) == {"LayerNormalization": 1, "Mul": 1, "Add": 1, "Relu": 1}


# --- DepthToSpace ------------------------------------------------------------------------------------


def shuffle(mode, n, c, b, other, h, w, opset):
    if mode == "CRD":
        middle, perm = [n, c, b, other, h, w], [0, 1, 4, 2, 5, 3]
    else:
        middle, perm = [n, b, other, c, h, w], [0, 3, 4, 1, 5, 2]
    return model(
        f"""g (float[{n},{c * b * other},{h},{w}] x) => (float[{n},{c},{h * b},{w * other}] y) {{
            r = Relu(x) a = Reshape(r, s) t = Transpose<perm={perm}>(a) u = Reshape(t, o) y = Neg(u) }}""",
        opset,
        8,
        s=middle,
        o=[n, c, h * b, w * other],
    )


@few
@given(
    st.sampled_from(["CRD", "DCR"]),
    st.tuples(*(st.integers(1, 3) for _ in range(4))),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(9, 18),
)
def test_depth_to_space(mode, sizes, b, other, opset):
    n, c, h, w = sizes
    original = shuffle(mode, n, c + 1, b, other, h + 1, w + 1, opset)
    becomes = b == other > 1 and (mode == "DCR" or opset >= 11)
    assert ("DepthToSpace" in recognised(original)) is becomes


def test_channel_shuffle_and_shared_parts_stay():
    original = model(
        """g (float[1,6,4,4] x) => (float[1,6,4,4] y) {
            a = Reshape(x, s) t = Transpose<perm=[0,2,1,3,4]>(a) y = Reshape(t, o) }""",
        s=[1, 2, 3, 4, 4],
        o=[1, 6, 4, 4],
    )
    assert recognised(original) == {"Reshape": 2, "Transpose": 1}
    original = shuffle("CRD", 1, 2, 2, 2, 3, 3, 13)
    original.graph.output.append(onnx.helper.make_tensor_value_info("t", 1, [1, 2, 3, 2, 3, 2]))
    assert "DepthToSpace" not in recognised(original)
