"""Transposes sink, cancel and merge; what the graph computes, its names and its interface stay."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import interface, model, operators, weight
from kneronnxopt.passes.fuse_transpose_into_gemm import FuseTransposeIntoGemm, FuseTransposeIntoWeight
from kneronnxopt.passes.push_transpose import PushTranspose
from kneronnxopt.passes.transpose_to_reshape import TransposeToReshape

few = settings(max_examples=20, deadline=None)

TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def pushed(original: onnx.ModelProto) -> onnx.ModelProto:
    """Optimise with the Transpose passes and compare with the original."""
    passes = [PushTranspose(), TransposeToReshape(), FuseTransposeIntoGemm(), FuseTransposeIntoWeight()]
    result = kneronnxopt.optimize(original, skip_check=True, extra_passes=passes)
    onnx.checker.check_model(result, full_check=True)
    assert interface(result)[: len(original.graph.input)] == interface(original)[: len(original.graph.input)]
    comparison = kneronnxopt.compare(original, result, tolerance=1e-5)
    assert comparison.equal, comparison.differences
    return result


def transposes(result: onnx.ModelProto) -> int:
    return operators(result).get("Transpose", 0)


def typed(name: str, shape: list[int], dtype: str = "float") -> str:
    return f"{dtype}[{','.join(map(str, shape))}] {name}"


def ir_version(opset: int) -> int:
    return 8 if opset < 19 else 10


# --- one operator between two Transposes that cancel -------------------------------------------------

#: Name -> function of (shape of t, opset) that writes v = f(t), with its weights.
ONE = {
    "relu": lambda s, o: ("v = Relu(t)", {}),
    "clip": lambda s, o: (
        "v = Clip(t, lo, hi)" if o >= 11 else "v = Clip<min=-0.5, max=0.5>(t)",
        {"lo": np.float32(-0.5), "hi": np.float32(0.5)},
    ),
    "add vector": lambda s, o: ("v = Add(t, c)", {"c": weight(s[-1])}),
    "sub from map": lambda s, o: ("v = Sub(c, t)", {"c": weight(*s[1:])}),
    "mul row": lambda s, o: ("v = Mul(t, c)", {"c": weight(s[2], 1)}),
    "div by scalar": lambda s, o: ("v = Div(t, c)", {"c": np.float32(3)}),
    "prelu": lambda s, o: ("v = PRelu(t, c)", {"c": weight(s[-1])}),
    "itself": lambda s, o: ("r = Relu(t) v = Mul(r, t)", {}),
    "max": lambda s, o: ("v = Max(t, c, d)", {"c": weight(s[-1]), "d": np.float32([[0.1]])}),
    "where": lambda s, o: ("b = Cast<to=9>(t) v = Where(b, t, c)", {"c": weight(s[-1])}),
    "cast": lambda s, o: ("b = Cast<to=11>(t) v = Cast<to=1>(b)", {}),
    "concat": lambda s, o: ("v = Concat<axis=3>(t, t)", {}),
    "concat constant": lambda s, o: ("v = Concat<axis=-2>(t, c)", {"c": weight(s[0], s[1], 2, s[3])}),
    "pad": lambda s, o: (
        "v = Pad(t, p)" if o >= 11 else "v = Pad<pads=[0,1,2,0,0,0,1,3]>(t)",
        {"p": [0, 1, 2, 0, 0, 0, 1, 3]},
    ),
    "pad axes": lambda s, o: (
        "v = Pad(t, p, z, a)" if o >= 18 else "v = Relu(t)",
        {"p": [1, 0, 2, 3], "z": np.float32(7), "a": [-1, 1]},
    ),
    "reduce": lambda s, o: ("v = ReduceMax(t, a)" if o >= 18 else "v = ReduceMax<axes=[1,-2]>(t)", {"a": [1, -2]}),
    "reduce sum": lambda s, o: ("v = ReduceSum(t, a)" if o >= 13 else "v = ReduceSum<axes=[-1]>(t)", {"a": [-1]}),
    "arg": lambda s, o: ("i = ArgMax<axis=3>(t) v = Cast<to=1>(i)", {}),
    "slice": lambda s, o: (
        "v = Slice(t, b, e, a, n)" if o >= 10 else "v = Slice<starts=[1,0], ends=[3,1], axes=[-1,1]>(t)",
        {"b": [1, 0], "e": [3, 1], "a": [-1, 1], "n": [1, 1]},
    ),
    "flip": lambda s, o: (
        "v = Slice(t, b, e, a, n)" if o >= 10 else "v = Relu(t)",
        {"b": [-1], "e": [-99], "a": [2], "n": [-1]},
    ),
    "slice without axes": lambda s, o: (
        "v = Slice(t, b, e)" if o >= 10 else "v = Slice<starts=[0,1], ends=[9,9]>(t)",
        {"b": [0, 1], "e": [9, 9]},
    ),
    "split": lambda s, o: (
        f"m, n = Split{'(t, p)' if o >= 13 else f'<axis=0, split=[1,{s[0] - 1}]>(t)'} v = Add(m, n)",
        {"p": [1, s[0] - 1]},
    ),
    "softmax last": lambda s, o: ("v = Softmax<axis=3>(t)", {}),
    "quantise": lambda s, o: (
        "q = QuantizeLinear(t, c, z) v = DequantizeLinear(q, c, z)",
        {"c": np.float32(0.1), "z": np.uint8(100)},
    ),
    "matmul": lambda s, o: ("v = MatMul(t, c)", {"c": weight(s[3], s[3])}),
    "squeeze": lambda s, o: (
        "u = Unsqueeze(t, a) w = Relu(u) v = Squeeze(w, a)"
        if o >= 13
        else "u = Unsqueeze<axes=[2]>(t) w = Relu(u) v = Squeeze<axes=[2]>(w)",
        {"a": [2]},
    ),
}


def between(which: str, perm: list[int], dims: list[int], opset: int) -> onnx.ModelProto:
    shape = [dims[axis] for axis in perm]
    line, weights = ONE[which](shape, opset)
    back = [int(axis) for axis in np.argsort(perm)]
    # the output's shape is found by running the lines
    text = f"r0 = Neg(x) t = Transpose<perm={perm}>(r0) {line} u0 = Transpose<perm={back}>(v) y = Neg(u0)"
    used = {name: value for name, value in weights.items() if re.search(rf"\b{name}\b", text)}
    return model(f"g ({typed('x', dims)}) => (float[a,b,c,d] y) {{ {text} }}", opset, ir_version(opset), **used)


@pytest.mark.parametrize("which", sorted(ONE))
@settings(max_examples=6, deadline=None)
@given(
    st.permutations(range(4)), st.lists(st.integers(2, 4), min_size=4, max_size=4), st.sampled_from([9, 11, 13, 18, 21])
)
def test_an_operator_between_two_transposes(which, perm, dims, opset):
    if which == "matmul" and perm[3] != 3:
        perm = [*(axis for axis in perm if axis != 3), 3]
    if which == "softmax last" and opset < 13 and perm[3] != 3:
        assert transposes(pushed(between(which, perm, dims, opset))) == 2
        return
    if which == "quantise":
        opset = max(opset, 10)
    if which == "split" and dims[perm[0]] != 2:
        dims[perm[0]] = 2
    assert transposes(pushed(between(which, perm, dims, opset))) == 0


@pytest.mark.parametrize(("perm", "left"), [([0, 1, 3, 2], 0), (TO_NHWC, 2)])
def test_batch_normalization_needs_the_channels_on_axis_1(perm, left):
    dims = [2, 3, 4, 5]
    shape = [dims[axis] for axis in perm]
    statistics = {name: np.abs(weight(shape[1], seed=i)) + 0.5 for i, name in enumerate("sbmv")}
    back = [int(axis) for axis in np.argsort(perm)]
    original = model(
        f"""g ({typed("x", dims)}) => ({typed("y", dims)}) {{
            r = Neg(x) t = Transpose<perm={perm}>(r) n = BatchNormalization(t, s, b, m, v)
            u = Transpose<perm={back}>(n) y = Relu(u) }}""",
        **statistics,
    )
    assert transposes(pushed(original)) == left


@pytest.mark.parametrize(("perm", "axis", "left"), [([1, 0, 2, 3], 2, 0), ([1, 0, 2, 3], 1, 2), ([0, 1, 3, 2], -1, 2)])
def test_layer_normalization_needs_its_axes_last(perm, axis, left):
    dims = [2, 3, 4, 5]
    shape = [dims[i] for i in perm]
    back = [int(i) for i in np.argsort(perm)]
    original = model(
        f"""g ({typed("x", dims)}) => ({typed("y", dims)}) {{
            r = Neg(x) t = Transpose<perm={perm}>(r) n = LayerNormalization<axis={axis}>(t, s)
            u = Transpose<perm={back}>(n) y = Relu(u) }}""",
        s=weight(*shape[axis:]),
    )
    assert transposes(pushed(original)) == left


@few
@given(st.permutations(range(4)), st.sets(st.integers(0, 3), min_size=1, max_size=3), st.sampled_from([13, 18]))
def test_a_reduction_that_drops_axes(perm, axes, opset):
    dims = [2, 3, 4, 5]
    given_axes = "" if opset >= 18 else f"axes={sorted(axes)}, "
    operand = ", a" if opset >= 18 else ""
    original = model(
        f"""g ({typed("x", dims)}) => (float[{",".join("abc"[: 4 - len(axes)])}] y) {{
            r = Neg(x) t = Transpose<perm={list(perm)}>(r)
            m = ReduceMax<{given_axes}keepdims=0>(t{operand}) y = Exp(m) }}""",
        opset,
        **({"a": sorted(axes)} if opset >= 18 else {}),
    )
    rest = [axis for position, axis in enumerate(perm) if position not in axes]
    expected = 0 if rest == sorted(rest) else 1
    assert transposes(pushed(original)) == expected


# --- networks whose data lie in the order N, H, W, C -------------------------------------------------


class Nhwc:
    """Writes a network as TensorFlow's exporters do: every convolution between two Transposes."""

    def __init__(self, size: int, channels: int) -> None:
        self.lines: list[str] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shape = [1, size, size, channels]

    def line(self, text: str, **weights) -> str:
        name = f"v{len(self.lines)}"
        for key, array in weights.items():
            self.weights[f"{name}_{key}"] = np.asarray(array)
            text = text.replace(f"${key}", f"{name}_{key}")
        self.lines.append(f"{name} = {text}")
        return name

    def conv(self, x: str, channels: int, inputs: int, *, kernel: int = 3, pool: bool = False) -> str:
        a = self.line(f"Transpose<perm={TO_NCHW}>({x})")
        pads = [kernel // 2] * 4
        b = self.line(
            f"Conv<pads={pads}>({a}, $w)", w=weight(channels, inputs, kernel, kernel, seed=len(self.lines), scale=0.2)
        )
        if pool:
            b = self.line(f"MaxPool<kernel_shape=[2,2], strides=[2,2]>({b})")
        return self.line(f"Transpose<perm={TO_NHWC}>({b})")

    def model(self, outputs: str, opset: int) -> onnx.ModelProto:
        text = "\n".join(self.lines)
        return model(f"g ({typed('x', self.shape)}) => ({outputs}) {{ {text} }}", opset, **self.weights)


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_a_residual_network_with_squeeze_and_excitation(opset):
    net = Nhwc(8, 3)
    x = net.line(f"{net.conv('x', 8, 3, pool=True)}".join(["Relu(", ")"]))
    for _ in range(2):
        a = net.line(f"Add({net.conv(x, 8, 8)}, $c)", c=weight(8))
        a = net.line(f"Relu({a})")
        a = net.line(f"Mul({net.conv(a, 8, 8)}, $g)", g=weight(1, 1, 1, 8))
        mean = "ReduceMean(%s, $a)" if opset >= 18 else "ReduceMean<axes=[1,2]>(%s)"
        s = net.line(mean % a, **({"a": np.array([1, 2])} if opset >= 18 else {}))
        s = net.line(f"Relu({net.conv(s, 4, 8, kernel=1)})")
        s = net.line(f"Sigmoid({net.conv(s, 8, 4, kernel=1)})")
        a = net.line(f"Mul({a}, {s})")
        x = net.line(f"Relu({net.line(f'Add({x}, {a})')})")
    p = "Pad<pads=[0,1,0,0,0,0,1,0]>(%s)" if opset < 11 else "Pad(%s, $p)"
    x = net.line(p % x, **({"p": np.array([0, 1, 0, 0, 0, 0, 1, 0])} if opset >= 11 else {}))
    x = net.line(f"Concat<axis=3>({net.conv(x, 4, 8)}, {net.conv(x, 6, 8)})")
    flat = net.line(f"Reshape({x}, $s)", s=np.array([1, 250]))
    net.line(f"MatMul({flat}, $w)", w=weight(250, 5))
    original = net.model(f"float[1,5] {net.lines[-1].split(' = ')[0]}", opset)
    assert transposes(original) == 2 * 11
    result = pushed(original)
    assert transposes(result) == 1  # the one that brings the input to the first convolution
    assert len(result.graph.node) <= len(original.graph.node) - 21


def test_a_dense_chain_of_concatenations():
    net = Nhwc(6, 4)
    x, channels = "x", 4
    for _ in range(5):
        y = net.line(f"Relu({net.conv(x, 4, channels)})")
        x = net.line(f"Concat<axis=-1>({x}, {y})")
        channels += 4
    net.line(f"Relu({x})")
    original = net.model(f"float[1,6,6,{channels}] {net.lines[-1].split(' = ')[0]}", 13)
    assert transposes(pushed(original)) == 2  # of the input and of the output


@few
@given(st.data())
def test_random_networks_never_get_more_transposes(data):
    """Random elementwise graphs over maps in both layouts, with outputs and other readers everywhere."""
    opset = data.draw(st.sampled_from([9, 13, 18]))
    lines, kinds = ["a0 = Relu(x)", f"b0 = Transpose<perm={TO_NHWC}>(a0)"], {"a0": "a", "b0": "b"}
    weights = {"ca": weight(3, 1, 1), "cb": weight(3)}
    for index in range(data.draw(st.integers(3, 14))):
        source = data.draw(st.sampled_from(sorted(kinds)))
        kind, name = kinds[source], f"n{index}"
        choice = data.draw(st.sampled_from(["turn", "turn", "unary", "constant", "join", "split", "pool"]))
        if choice == "turn":
            lines.append(f"{name} = Transpose<perm={TO_NHWC if kind == 'a' else TO_NCHW}>({source})")
            kind = "b" if kind == "a" else "a"
        elif choice == "unary":
            lines.append(f"{name} = {data.draw(st.sampled_from(['Relu', 'Neg', 'Sigmoid']))}({source})")
        elif choice == "constant":
            lines.append(f"{name} = Add({source}, c{kind})")
        elif choice == "join":
            other = data.draw(st.sampled_from(sorted(n for n, k in kinds.items() if k == kind)))
            lines.append(f"{name} = Mul({source}, {other})")
        elif choice == "split":
            axis = 1 if kind == "a" else 3
            parts = ", num_outputs=3" if opset >= 18 else ""
            lines.append(f"{name}p, {name}q, {name}r = Split<axis={axis}{parts}>({source})")
            lines.append(f"{name} = Concat<axis={axis}>({name}q, {name}r, {name}p)")
        else:
            lines.append(f"{name} = GlobalAveragePool({source}) {name}z = Add({source}, {name})")
            name = f"{name}z"
        kinds[name] = kind
    outputs = data.draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=4, unique=True))
    shape = {"a": "float[2,3,4,5]", "b": "float[2,4,5,3]"}
    text = " ".join(lines)
    original = model(
        f"g (float[2,3,4,5] x) => ({', '.join(f'{shape[kinds[n]]} {n}' for n in outputs)}) {{ {text} }}",
        opset,
        **{name: array for name, array in weights.items() if f"{name})" in text},
    )
    names = ["push_transpose", "transpose_to_reshape", "fuse_transpose_into_gemm", "fuse_transpose_into_weight"]
    plain = kneronnxopt.optimize(original, skip_check=True, skipped_optimizers=names)
    result = pushed(original)
    assert transposes(result) <= transposes(plain)
    assert len(result.graph.node) <= len(plain.graph.node)


def test_a_transpose_that_would_only_sink_stays():
    original = model(
        """g (float[2,3,4] x) => (float[4,3,2] y) { t = Transpose<perm=[2,1,0]>(x) r = Relu(t) y = Neg(r) }"""
    )
    assert [node.op_type for node in pushed(original).graph.node] == ["Transpose", "Relu", "Neg"]


def test_two_operands_become_one_result():
    original = model(
        """g (float[2,3] x, float[2,3] z) => (float[3,2] y) {
            a = Transpose(x) b = Transpose(z) c = Relu(b) d = Add(a, c) y = Exp(d) }"""
    )
    assert transposes(pushed(original)) == 1


def test_an_operand_in_another_layout_stops_it():
    original = model(
        """g (float[3,3] x, float[3,3] z) => (float[3,3] y) {
            t = Transpose<perm=[1,0]>(x) a = Add(t, z) y = Transpose<perm=[1,0]>(a) }"""
    )
    assert transposes(pushed(original)) == 2


def test_values_that_others_read_keep_names_and_layout():
    original = model(
        """g (float[2,3,4] x, bool b) => (float[2,3,4] y, float[4,3,2] r, float[4,3,2] w) {
            t = Transpose<perm=[2,1,0]>(x) r = Relu(t) n = Neg(r)
            w = If(b) <then_branch = q () => (float[4,3,2] p) { p = Abs(r) },
                       else_branch = q () => (float[4,3,2] o) { o = Exp(n) }>
            m = Sigmoid(n) u = Transpose<perm=[2,1,0]>(m) k = Transpose<perm=[2,1,0]>(t) l = Add(u, k)
            y = Relu(l) }"""
    )
    result = pushed(original)
    assert transposes(result) <= 2
    assert [value.name for value in result.graph.output] == ["y", "r", "w"]


def test_an_overridable_constant_is_not_turned():
    original = model(
        """g (float[2,3,4] x, float[2] c) => (float[2,3,4] y) {
            t = Transpose<perm=[2,1,0]>(x) a = Add(t, c) u = Transpose<perm=[2,1,0]>(a) y = Relu(u) }""",
        c=weight(2),
    )
    assert transposes(pushed(original)) == 2


def test_a_dynamic_batch_is_pushed_too():
    original = model(
        f"""g (float[N,3,4,5] x) => (float[N,3,4,5] y) {{
            t = Transpose<perm={TO_NHWC}>(x) a = Add(t, c) u = Transpose<perm={TO_NCHW}>(a) y = Relu(u) }}""",
        c=weight(3),
    )
    assert transposes(pushed(original)) == 0


def test_a_long_chain_is_tried_in_linear_time():
    lines = ["v0 = Relu(x)"]
    for index in range(400):
        lines.append(f"t{index} = Transpose<perm=[1,0]>(v{index}) a{index} = Add(t{index}, z)")
        lines.append(f"v{index + 1} = Softmax<axis=1>(a{index})")
    original = model(f"g (float[3,3] x, float[3,3] z) => (float[3,3] v400) {{ {' '.join(lines)} }}")
    assert transposes(pushed(original)) == 400


# --- Transpose to Reshape ----------------------------------------------------------------------------


@few
@given(st.permutations(range(4)), st.lists(st.sampled_from([1, 1, 2, 3]), min_size=4, max_size=4), st.booleans())
def test_a_transpose_of_unit_axes_joins_a_reshape(perm, dims, first):
    turned = [dims[axis] for axis in perm]
    size = int(np.prod(dims))
    text = (
        f"z = Neg(x) r = Reshape(z, s) t = Transpose<perm={list(perm)}>(r) y = Neg(t)"
        if first
        else f"r = Neg(x) t = Transpose<perm={list(perm)}>(r) u = Reshape(t, s) y = Neg(u)"
    )
    before, after = ([size], turned) if first else (dims, [size])
    original = model(
        f"g ({typed('x', before)}) => ({typed('y', after)}) {{ {text} }}",
        s=dims if first else [size],
    )
    long = [axis for axis in perm if dims[axis] != 1]
    assert transposes(pushed(original)) == int(long != sorted(long))


def test_a_transpose_of_unit_axes_without_a_reshape_stays():
    original = model(
        """g (float[1,4,5] x) => (float[4,1,5] y) { a = Neg(x) t = Transpose<perm=[1,0,2]>(a) y = Neg(t) }"""
    )
    assert transposes(pushed(original)) == 1


# --- Transpose into Gemm, MatMul and their weights ---------------------------------------------------


@few
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([9, 11, 13]), st.booleans())
def test_transposes_join_a_product(turn_a, turn_b, trans_a, trans_b, opset, gemm):
    trans_a, trans_b = trans_a and gemm, trans_b and gemm
    a = [4, 3] if turn_a != trans_a else [3, 4]
    b = [5, 4] if turn_b != trans_b else [4, 5]
    product = f"Gemm<alpha=0.5, transA={int(trans_a)}, transB={int(trans_b)}>(c, d, k)" if gemm else "MatMul(c, d)"
    original = model(
        f"""g ({typed("x", a)}, {typed("z", b)}) => (float[3,5] y) {{
            a = Neg(x) b = Neg(z)
            c = {"Transpose<perm=[1,0]>(a)" if turn_a else "Relu(a)"}
            d = {"Transpose<perm=[1,0]>(b)" if turn_b else "Relu(b)"}
            y = {product} }}""",
        opset,
        **({"k": weight(5)} if gemm else {}),
    )
    fused = gemm or opset >= 11
    assert transposes(pushed(original)) == (0 if fused else turn_a + turn_b)


def test_a_transpose_with_two_readers_stays_before_gemm():
    original = model(
        """g (float[4,3] x) => (float[3,5] y, float[3,4] t) { t = Transpose<perm=[1,0]>(x) y = Gemm(t, w, c) }""",
        w=weight(4, 5),
        c=weight(5),
    )
    result = pushed(original)
    assert transposes(result) == 1
    assert "t" in [value.name for value in result.graph.output]


@few
@given(
    st.permutations(range(1, 4)),
    st.lists(st.integers(1, 4), min_size=4, max_size=4),
    st.booleans(),
    st.sampled_from(["Gemm", "Gemm, transB", "MatMul"]),
)
def test_a_transpose_before_a_flattened_product_joins_its_weight(perm, dims, flatten, product):
    rows = int(np.prod(dims[1:]))
    shape = (5, rows) if product == "Gemm, transB" else (rows, 5)
    call = {"Gemm": "Gemm(f, w, c)", "Gemm, transB": "Gemm<transB=1>(f, w, c)", "MatMul": "MatMul(f, w)"}[product]
    joined = "Flatten(t)" if flatten else "Reshape(t, s)"
    original = model(
        f"""g ({typed("x", dims)}) => (float[{dims[0]},5] y) {{
            r = Neg(x) t = Transpose<perm={[0, *perm]}>(r) f = {joined} y = {call} }}""",
        w=weight(*shape),
        **({"c": weight(5)} if product != "MatMul" else {}),
        **({} if flatten else {"s": [dims[0], rows]}),
    )
    assert transposes(pushed(original)) == 0


def test_a_transpose_of_the_batch_or_a_computed_weight_stays():
    original = model(
        """g (float[3,2,4] x) => (float[2,5] y) {
            t = Transpose<perm=[1,2,0]>(x) f = Flatten(t) y = MatMul(f, w) }""",
        w=weight(12, 5),
    )
    assert transposes(pushed(original)) == 1
    original = model(
        """g (float[2,3,4] x, float[12,5] w) => (float[2,5] y) {
            t = Transpose<perm=[0,2,1]>(x) f = Flatten(t) y = MatMul(f, w) }"""
    )
    assert transposes(pushed(original)) == 1


@pytest.mark.parametrize("pairs", [2, 3, 7])
def test_regions_that_share_a_transpose_are_moved_one_after_the_other(pairs):
    steps = " ".join(f"t{i} = Transpose(r{i - 1}) r{i} = Relu(t{i})" for i in range(1, 2 * pairs))
    text = f"g (float[1,2,3,4] r0) => (float[1,2,3,4] y) {{ {steps} t = Transpose(r{2 * pairs - 1}) y = Relu(t) }}"
    result = kneronnxopt.optimize(model(text, opset=13))
    assert operators(result) == {"Relu": 1}
    assert kneronnxopt.compare(model(text, opset=13), result).equal
