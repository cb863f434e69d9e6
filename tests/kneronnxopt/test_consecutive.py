"""Two operators of a kind become one where, and only where, the result is the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import model, weight
from kneronnxopt.passes.fuse_casts import FuseConsecutiveCasts
from kneronnxopt.passes.fuse_clips import FuseConsecutiveClips
from kneronnxopt.passes.fuse_concats import FuseConsecutiveConcats
from kneronnxopt.passes.fuse_constant_arithmetic import FuseConstantArithmetic, FuseScaleIntoMatMul
from kneronnxopt.passes.fuse_gemms import FuseConsecutiveGemms
from kneronnxopt.passes.fuse_pads import FuseConsecutivePads
from kneronnxopt.passes.fuse_reduce_means import FuseConsecutiveReduceMeans, ReduceMeanBeforeTranspose
from kneronnxopt.passes.fuse_slices import FuseConsecutiveSlices
from rewriting import rewritten, run_alone

few = settings(max_examples=25, deadline=None)
fewer = settings(max_examples=12, deadline=None)
opsets = st.sampled_from([9, 10, 11, 13, 17, 18, 21])


def dims(shape) -> str:
    return ",".join(map(str, shape))


# --- Slice -------------------------------------------------------------------------------------------


@st.composite
def slices(draw, opset: int, shape: list[int]):
    """A Slice that leaves something, as text, with its constants and its result's shape."""
    count = draw(st.integers(1, len(shape)))
    axes = draw(st.permutations(range(len(shape))))[:count]
    starts, ends, steps, result = [], [], [], list(shape)
    for axis in axes:
        start = draw(st.integers(0, shape[axis] - 1))
        end = draw(st.sampled_from([start + 1, shape[axis], shape[axis] + 7, -1 if start < shape[axis] - 1 else 99]))
        step = draw(st.integers(1, 3)) if opset >= 10 else 1
        starts.append(start - shape[axis] * draw(st.integers(0, 1)))
        ends.append(end)
        steps.append(step)
        result[axis] = len(range(shape[axis])[start:end:step])
    return list(axes), starts, ends, steps, result


@few
@given(opsets, st.lists(st.integers(1, 6), min_size=1, max_size=3), st.booleans(), st.data())
def test_slices(opset, shape, shared, data):
    axes, starts, ends, steps, between = data.draw(slices(opset, shape))
    axes2, starts2, ends2, steps2, result = data.draw(slices(opset, between))
    shared_output = f", float[{dims(between)}] z" if shared else ""
    shared_node = "z = Neg(a)" if shared else ""
    head = f"g (float[{dims(shape)}] x) => (float[{dims(result)}] y{shared_output})"
    if opset < 10:
        original = model(
            f"""{head} {{ a = Slice<axes={axes}, starts={starts}, ends={ends}>(x)
                y = Slice<axes={axes2}, starts={starts2}, ends={ends2}>(a) {shared_node} }}""",
            opset,
        )
    else:
        original = model(
            f"{head} {{ a = Slice(x, s, e, i, t) y = Slice(a, s2, e2, i2, t2) {shared_node} }}",
            opset,
            s=starts,
            e=ends,
            i=axes,
            t=steps,
            s2=starts2,
            e2=ends2,
            i2=axes2,
            t2=steps2,
        )
    counts = rewritten(original, FuseConsecutiveSlices(), pipeline=False)[0]
    assert counts["Slice"] == (2 if shared else 1)


def test_slices_of_different_axes_need_no_static_shape():
    original = model(
        "g (float[N,M] x) => (float[A,B] y) { a = Slice(x, o, m, zero) y = Slice(a, o, m, one) }",
        o=[-5],
        m=[9],
        zero=[0],
        one=[-1],
    )
    feeds = {"x": weight(7, 8)}
    assert rewritten(original, FuseConsecutiveSlices(), feeds=feeds)[0] == {"Slice": 1}


def test_slices_of_the_same_dynamic_axis_stay():
    original = model(
        "g (float[N] x) => (float[A] y) { a = Slice(x, o, m, zero) y = Slice(a, o, m, zero) }",
        o=[-5],
        m=[9],
        zero=[0],
    )
    assert rewritten(original, FuseConsecutiveSlices(), feeds={"x": weight(7)})[0] == {"Slice": 2}


def test_a_flip_of_the_same_axis_stays_and_one_of_another_is_taken_in():
    for axis, left in ((0, 2), (1, 1)):
        original = model(
            "g (float[4,5] x) => (float[A,B] y) { a = Slice(x, s, e, i, t) y = Slice(a, one, three, zero) }",
            s=[-1],
            e=[-9],
            i=[axis],
            t=[-1],
            one=[1],
            three=[3],
            zero=[0],
        )
        assert rewritten(original, FuseConsecutiveSlices())[0] == {"Slice": left}


def test_a_flip_after_a_slice_of_the_same_axis_stays():
    original = model(
        "g (float[6] x) => (float[A] y) { a = Slice(x, one, five) y = Slice(a, last, first, zero, back) }",
        one=[1],
        five=[5],
        last=[-1],
        first=[-9],
        zero=[0],
        back=[-1],
    )
    assert rewritten(original, FuseConsecutiveSlices(), tolerance=0.0)[0] == {"Slice": 2}


def test_slice_with_a_computed_start_stays():
    original = model(
        "g (float[6] x, int64[1] s) => (float[A] y) { a = Slice(x, s, e) y = Slice(a, one, e) }", e=[6], one=[1]
    )
    assert rewritten(original, FuseConsecutiveSlices())[0] == {"Slice": 2}


# --- Cast --------------------------------------------------------------------------------------------

CASTABLE = {
    "bool": onnx.TensorProto.BOOL,
    "int8": onnx.TensorProto.INT8,
    "uint8": onnx.TensorProto.UINT8,
    "int16": onnx.TensorProto.INT16,
    "int32": onnx.TensorProto.INT32,
    "int64": onnx.TensorProto.INT64,
    "uint32": onnx.TensorProto.UINT32,
    "float16": onnx.TensorProto.FLOAT16,
    "float": onnx.TensorProto.FLOAT,
    "double": onnx.TensorProto.DOUBLE,
}


def everything(dtype: str) -> np.ndarray:
    """Numbers at every boundary of a type."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype in ("float16", "float", "double"):
        kind = np.dtype({"float": "float32", "double": "float64"}.get(dtype, dtype))
        limits = np.finfo(kind)
        numbers = [0, -0.0, 0.4, 0.5, -0.5, 1.5, 2.5, -1.7, 100.3, 1e-7, limits.tiny, limits.smallest_subnormal]
        return np.array([*numbers, 1 / 3, 1000.0, 65504.0 if dtype == "float16" else 70000.0], dtype=kind)
    limits = np.iinfo(dtype)
    small = [number for number in (-129, -1, 0, 1, 127, 128, 200, 255, 256, 2049) if limits.min <= number <= limits.max]
    return np.array([limits.min, limits.max, limits.max - 1, limits.max // 3, *small], dtype=dtype)


@settings(max_examples=150, deadline=None)
@given(*[st.sampled_from(sorted(CASTABLE))] * 3)
def test_casts(source, between, target):
    values = everything(source)
    original = model(
        f"""g ({source}[{values.size}] x) => ({target}[{values.size}] y) {{
            a = Cast<to={CASTABLE[between]}>(x) y = Cast<to={CASTABLE[target]}>(a) }}""",
        13,
    )
    result, counts = run_alone(original, FuseConsecutiveCasts())
    lossless = counts == {"fuse_consecutive_casts": 1}
    if lossless:
        rewritten(original, FuseConsecutiveCasts(), feeds={"x": values}, tolerance=0.0, pipeline=False)
    assert len(result.graph.node) == 2 - lossless
    holds = {
        ("bool", "float"),
        ("int8", "int32"),
        ("uint8", "int32"),
        ("uint8", "float16"),
        ("int32", "int64"),
        ("int16", "float"),
        ("int32", "double"),
        ("float16", "float"),
        ("float", "double"),
    }
    narrows = {
        ("float", "float16"),
        ("double", "float"),
        ("int32", "float"),
        ("int64", "double"),
        ("int64", "int32"),
        ("int8", "uint8"),
        ("int32", "bool"),
        ("int16", "float16"),
        ("uint32", "int32"),
        ("float", "int64"),
    }
    if (source, between) in narrows:
        assert not lossless
    elif (source, between) in holds and target in ("float", "double", "bool"):
        assert lossless


def test_float_to_double_to_integer_stays():
    original = model("g (float[3] x) => (int32[3] y) { a = Cast<to=11>(x) y = Cast<to=6>(a) }")
    assert rewritten(original, FuseConsecutiveCasts())[0] == {"Cast": 2}


def test_cast_to_float8_stays():
    original = model(
        "g (float16[3] x) => (float[3] y) { a = Cast<to=1>(x) b = Cast<to=17, saturate=0>(a) y = Cast<to=1>(b) }", 19
    )
    assert rewritten(original, FuseConsecutiveCasts())[0] == {"Cast": 3}


# --- Pad ---------------------------------------------------------------------------------------------


@few
@given(opsets, st.integers(1, 3), st.sampled_from([0.0, 1.5, -0.0]), st.sampled_from([0.0, 1.5]), st.data())
def test_pads(opset, rank, first, second, data):
    amounts = st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank)
    p, q = data.draw(amounts), data.draw(amounts)
    shape = [2 + axis for axis in range(rank)]
    result = [size + p[axis] + p[axis + rank] + q[axis] + q[axis + rank] for axis, size in enumerate(shape)]
    head = f"g (float[{dims(shape)}] x) => (float[{dims(result)}] y)"
    if opset < 11:
        original = model(
            f"{head} {{ a = Pad<pads={p}, value={first}>(x) y = Pad<pads={q}, value={second}>(a) }}", opset
        )
    else:
        axes = data.draw(st.permutations(range(rank))) if opset >= 18 else None
        named = ", i" if axes is not None else ""
        if axes is not None:  # the same pads, told in another order
            p = [p[axis + side * rank] for side in (0, 1) for axis in axes]
        original = model(
            f"{head} {{ a = Pad(x, p, v{named}) y = Pad(a, q, u) }}",
            opset,
            p=p,
            q=q,
            v=np.float32(first),
            u=np.float32(second),
            **({} if axes is None else {"i": list(axes)}),
        )
    same = np.float32(first).tobytes() == np.float32(second).tobytes()
    assert rewritten(original, FuseConsecutivePads(), tolerance=0.0)[0]["Pad"] <= 2
    assert len(run_alone(original, FuseConsecutivePads())[0].graph.node) == 2 - same


@pytest.mark.parametrize(("p", "q"), [([-1, 0], [1, 0]), ([1, 1], [-2, 0]), ([0, -1], [0, 2])])
def test_crops_stay(p, q):
    original = model("g (float[4] x) => (float[N] y) { a = Pad(x, p) y = Pad(a, q) }", p=p, q=q)
    assert rewritten(original, FuseConsecutivePads())[0] == {"Pad": 2}


def test_reflecting_pads_stay():
    original = model(
        """g (float[4] x) => (float[8] y) { a = Pad<mode="reflect">(x, p) y = Pad<mode="reflect">(a, p) }""", p=[1, 1]
    )
    assert rewritten(original, FuseConsecutivePads())[0] == {"Pad": 2}


def test_an_absent_value_is_zero():
    original = model("g (int64[4] x) => (int64[8] y) { a = Pad(x, p) y = Pad(a, p, v) }", p=[1, 1], v=np.array(0))
    assert rewritten(original, FuseConsecutivePads())[0] == {"Pad": 1}


# --- ReduceMean --------------------------------------------------------------------------------------


def mean(opset: int, axes, keeps: int, name: str, source: str, result: str):
    if opset < 18:
        return f"{result} = ReduceMean<axes={axes}, keepdims={keeps}>({source})", {}
    return f"{result} = ReduceMean<keepdims={keeps}>({source}, {name})", {name: list(axes)}


@few
@given(opsets, st.integers(3, 4), st.booleans(), st.booleans(), st.data())
def test_means(opset, rank, first_keeps, second_keeps, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    inner = data.draw(st.permutations(range(-rank, 0)))[: data.draw(st.integers(1, rank - 2))]
    left = rank if first_keeps else rank - len(inner)
    outer = data.draw(st.permutations(range(left)))[: data.draw(st.integers(1, left - 1))]
    one, first = mean(opset, inner, int(first_keeps), "i", "x", "a")
    two, second = mean(opset, outer, int(second_keeps), "j", "a", "y")
    result = left if second_keeps else left - len(outer)
    original = model(
        f"g (float[{dims(shape)}] x) => (float[{dims('D' + str(i) for i in range(result))}] y) {{ {one} {two} }}",
        opset,
        **first,
        **second,
    )
    counts = rewritten(original, FuseConsecutiveReduceMeans())[0]
    assert counts["ReduceMean"] == (1 if first_keeps == second_keeps else 2)


@pytest.mark.parametrize("kind", ["int32", "float16"])
def test_means_that_round_between_stay(kind):
    original = model(
        f"g ({kind}[2,3] x) => ({kind}[1,1] y) {{ a = ReduceMean<axes=[0]>(x) y = ReduceMean<axes=[1]>(a) }}"
    )
    result, counts = run_alone(original, FuseConsecutiveReduceMeans())
    assert (len(result.graph.node), counts) == (2, {})


@few
@given(opsets, st.permutations(range(4)), st.booleans(), st.data())
def test_means_of_transposed_data(opset, perm, keeps, data):
    axes = sorted(data.draw(st.permutations(range(4)))[: data.draw(st.integers(1, 3))])
    text, constants = mean(opset, axes, int(keeps), "i", "a", "y")
    result = 4 if keeps else 4 - len(axes)
    original = model(
        f"""g (float[2,3,4,5] x) => (float[{dims("D" + str(i) for i in range(result))}] y) {{
            a = Transpose<perm={list(perm)}>(x) {text} }}""",
        opset,
        **constants,
    )
    counts, acted, _ = rewritten(original, ReduceMeanBeforeTranspose())
    kept = [axis for index, axis in enumerate(perm) if index not in axes]
    assert acted == {"reduce_mean_before_transpose": 1}
    assert counts.get("Transpose", 0) == (kept != sorted(kept))
    assert counts.get("Reshape", 0) == (kept == sorted(kept) and keeps)


# --- Clip, Relu, Min, Max ----------------------------------------------------------------------------


def bound(opset: int, kind: str, low, high, index: int, source: str, result: str):
    """One bounding operator as text, its constants, and its interval."""
    if kind == "Relu":
        return f"{result} = Relu({source})", {}, (0.0, np.inf)
    if kind in ("Max", "Min"):
        value = low if kind == "Max" else high
        names = (source, f"c{index}") if index else (f"c{index}", source)
        interval = (value, np.inf) if kind == "Max" else (-np.inf, value)
        return f"{result} = {kind}({', '.join(names)})", {f"c{index}": np.array([value], np.float32)}, interval
    has_low, has_high = kind != "ClipHigh", kind != "ClipLow"
    interval = (low if has_low else -3e38, high if has_high else 3e38)
    if opset < 11:
        attributes = [f"min={low}"] * has_low + [f"max={high}"] * has_high
        return f"{result} = Clip<{', '.join(attributes)}>({source})", {}, interval
    names = [source, f"l{index}" if has_low else "", f"h{index}" if has_high else ""]
    constants = {f"l{index}": np.float32(low)} if has_low else {}
    constants |= {f"h{index}": np.float32(high)} if has_high else {}
    return f"{result} = Clip({', '.join(names).rstrip(', ')})", constants, interval


SPECIAL = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 0.0, -1.0, 1.0, 2.5, 6.0, 7.0, 1e-40], np.float32)


@settings(max_examples=60, deadline=None)
@given(
    opsets,
    *[st.sampled_from(["Relu", "Clip", "ClipLow", "ClipHigh", "Min", "Max"])] * 2,
    st.lists(st.sampled_from([-2.0, 0.0, 1.0, 2.5, 6.0]), min_size=4, max_size=4),
)
def test_bounds(opset, first, second, numbers):
    one, constants, a = bound(opset, first, *sorted(numbers[:2]), 0, "x", "a")
    two, more, b = bound(opset, second, *sorted(numbers[2:]), 1, "a", "y")
    original = model(f"g (float[12] x) => (float[12] y) {{ {one} {two} }}", opset, **constants, **more)
    low, high = max(a[0], b[0]), min(a[1], b[1])
    counts, _, result = rewritten(original, FuseConsecutiveClips(), feeds={"x": SPECIAL}, tolerance=0.0)
    clips = "Clip" in first + second or (low > -np.inf and high < np.inf)
    fused = low <= high and (clips or first == second == "Relu")
    assert len(result.graph.node) == (1 if fused else 2)
    assert not fused or set(counts) == ({"Relu"} if first == second == "Relu" else {"Clip"})


def test_clip_with_minimum_above_maximum_stays():
    original = model(
        "g (float[3] x) => (float[3] y) { a = Relu(x) y = Clip(a, l, h) }", l=np.float32(2), h=np.float32(1)
    )
    assert rewritten(original, FuseConsecutiveClips())[0] == {"Relu": 1, "Clip": 1}


@pytest.mark.parametrize("limit", [np.array([[[1.0]]], np.float32), np.array([1, 2, 3], np.float32)])
def test_minimum_that_broadcasts_stays(limit):
    shape = "1,1,3" if limit.size == 1 else "3"
    original = model(f"g (float[3] x) => (float[{shape}] y) {{ a = Relu(x) y = Min(a, c) }}", c=limit)
    assert rewritten(original, FuseConsecutiveClips())[0] == {"Relu": 1, "Min": 1}


def test_bounds_of_double_precision():
    text = "g (double[3] x) => (double[3] y) { a = Relu(x) y = Min(a, c) }"
    assert rewritten(model(text, 13, c=np.float64(0.1)), FuseConsecutiveClips(), tolerance=0.0)[0] == {"Clip": 1}
    assert rewritten(model(text, 11, c=np.float64(0.1)), FuseConsecutiveClips())[1] == {}


# --- Concat ------------------------------------------------------------------------------------------


@fewer
@given(opsets, st.sampled_from([1, -1]), st.sampled_from([0, 1, -1]), st.booleans())
def test_concats(opset, outer, inner, shared):
    if opset < 11:  # negative axes came with opset 11
        outer, inner = outer % 2, inner % 2
    rows = 4 if inner == 0 else 2
    output = f", float[{rows},{6 if inner else 3}] z" if shared else ""
    original = model(
        f"""g (float[2,3] p, float[2,3] q, float[{rows},3] r) => (float[{rows},N] y{output}) {{
            a = Concat<axis={inner}>(q, p) y = Concat<axis={outer}>(r, a, r) {"z = Relu(a)" if shared else ""} }}""",
        opset,
    )
    counts = rewritten(original, FuseConsecutiveConcats(), tolerance=0.0)[0]
    assert counts["Concat"] == (2 if shared or inner == 0 else 1)


def test_a_long_chain_of_concats_becomes_one():
    chain = " ".join(f"a{i + 1} = Concat<axis=0>(a{i}, x)" for i in range(1, 40))
    original = model(f"g (float[2] x) => (float[80] y) {{ a1 = Relu(x) {chain} y = Identity(a40) }}")
    counts, acted, _ = rewritten(original, FuseConsecutiveConcats())
    assert counts == {"Relu": 1, "Concat": 1, "Identity": 1}
    assert acted == {"fuse_consecutive_concats": 1}


# --- Gemm --------------------------------------------------------------------------------------------


@few
@given(
    opsets,
    st.tuples(*[st.integers(1, 6)] * 4),
    st.tuples(*[st.booleans()] * 3),
    *[st.sampled_from([(), (1,), (-1,), (1, -1), None])] * 2,
    st.sampled_from([1.0, 0.5, -2.0]),
)
def test_gemms(opset, sizes, transposed, first_bias, second_bias, alpha):
    m, k, n, o = sizes

    def constant(rows, columns, flip, seed):
        return weight(*((columns, rows) if flip else (rows, columns)), seed=seed)

    def bias(shape, columns, seed):
        if shape is None and opset >= 11:
            return None
        return weight(*(columns if size == -1 else size for size in shape or ()), seed=seed)

    c, d = bias(first_bias, n, 3), bias(second_bias, o, 4)
    trans_a, first, second = transposed
    constants = {"w": constant(k, n, first, 1), "v": constant(n, o, second, 2)}
    constants |= {name: array for name, array in (("c", c), ("d", d)) if array is not None}
    original = model(
        f"""g (float[{f"{k},{m}" if trans_a else f"{m},{k}"}] x) => (float[{m},{o}] y) {{
            a = Gemm<transA={int(trans_a)}, transB={int(first)}, alpha={alpha}, beta=0.5>(x, w{", c" * (c is not None)})
            y = Gemm<transB={int(second)}, alpha=1.5, beta={alpha}>(a, v{", d" * (d is not None)}) }}""",
        opset,
        **constants,
    )
    counts = rewritten(original, FuseConsecutiveGemms(), pipeline=False)[0]
    assert counts["Gemm"] == (1 if k * o <= n * (k + o) else 2)


@pytest.mark.parametrize(
    ("w", "v"),
    [
        (np.eye(3) * 1e30, np.eye(3) * 1e-30),
        (np.eye(3) * 1e-30, np.eye(3)),
        (np.eye(3) * 1e-11, np.diag([1, 1, 1e-30])),
        (np.array([[1e5, 1e5, 0], [0, 1, 0], [0, 0, 1]]), np.array([[1e5, 0, 0], [-1e5, 1, 0], [0, 0, 1]])),
        (np.full((3, 3), np.inf), np.eye(3)),
    ],
)
def test_gemms_with_extreme_weights_stay(w, v):
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = Gemm(x, w) y = Gemm(a, v) }",
        w=w.astype(np.float32),
        v=v.astype(np.float32),
    )
    assert run_alone(original, FuseConsecutiveGemms())[1] == {}


@pytest.mark.parametrize(
    "text",
    [
        "a = Gemm(x, w) y = Gemm<transA=1>(a, w2)",
        "a = Gemm(x, w, rows) y = Gemm(a, w2)",
        "a = Gemm(x, w) b = Relu(a) c = Gemm(a, w2) y = Add(b, c)",
        "a = Gemm(x, w2) y = Gemm(a, w2)",
    ],
)
def test_gemms_that_stay(text):
    original = model(
        f"g (float[3,3] x) => (float[3,3] y) {{ {text} }}",
        w=weight(3, 3),
        w2=weight(3, 3, seed=1),
        rows=weight(3, 1, seed=2),
    )
    assert rewritten(original, FuseConsecutiveGemms())[1] == {}


# --- constant factors and addends --------------------------------------------------------------------

shapes_of_constants = st.sampled_from([(), (1,), (4,), (3, 1), (3, 4), (1, 1, 4)])


@few
@given(
    opsets,
    st.sampled_from([("Mul", "Mul"), ("Mul", "Div"), ("Div", "Mul"), ("Div", "Div")]),
    shapes_of_constants,
    shapes_of_constants,
    st.booleans(),
)
def test_factors(opset, kinds, first, second, swapped):
    check_arithmetic(opset, kinds, first, second, swapped)


@few
@given(
    opsets,
    st.sampled_from([("Add", "Add"), ("Add", "Sub"), ("Sub", "Add"), ("Sub", "Sub")]),
    shapes_of_constants,
    shapes_of_constants,
    st.booleans(),
)
def test_addends(opset, kinds, first, second, swapped):
    check_arithmetic(opset, kinds, first, second, swapped)


def check_arithmetic(opset, kinds, first, second, swapped):
    generator = np.random.default_rng(1)
    c, d = (generator.uniform(low, low + 1, shape).astype(np.float32) for low, shape in ((0.5, first), (3, second)))
    one = f"{kinds[0]}({'c, x' if swapped and kinds[0] in ('Add', 'Mul') else 'x, c'})"
    two = f"{kinds[1]}({'d, a' if swapped and kinds[1] in ('Add', 'Mul') else 'a, d'})"
    shape = np.broadcast_shapes((3, 4), first, second)
    original = model(f"g (float[3,4] x) => (float[{dims(shape)}] y) {{ a = {one} y = {two} }}", opset, c=c, d=d)
    counts = rewritten(original, FuseConstantArithmetic(), pipeline=False)[0]
    merged = np.broadcast_shapes(first, second)
    assert sum(counts.values()) == (1 if np.prod(merged) <= max(c.size, d.size) else 2)


@pytest.mark.parametrize(
    ("text", "c", "d"),
    [
        ("a = Add(x, c) y = Sub(a, d)", 12582912.0, 12582912.0),  # rounds to whole numbers
        ("a = Add(x, c) y = Add(a, d)", 1e4, -1e4 + 1),
        ("a = Mul(x, c) y = Mul(a, d)", 1e30, 1e-30),
        ("a = Mul(x, c) y = Mul(a, d)", 1e-30, 1e-30),
        ("a = Mul(x, c) y = Mul(a, d)", 1e30, 1e30),
        ("a = Mul(x, c) y = Div(a, d)", 1.0, 0.0),
        ("a = Mul(x, c) y = Mul(a, d)", np.inf, 1.0),
        ("a = Mul(x, c) y = Mul(a, d)", np.nan, 1.0),
        ("a = Add(x, c) y = Add(a, d)", np.nan, 1.0),
        ("a = Add(x, c) y = Mul(a, d)", 1.0, 2.0),
        ("a = Div(c, x) y = Div(a, d)", 1.0, 2.0),
        ("a = Sub(x, c) y = Sub(d, a)", 1.0, 2.0),
        ("a = Mul(x, c) b = Mul(a, d) y = Sub(a, b)", 3.0, 2.0),
    ],
)
def test_arithmetic_that_stays(text, c, d):
    original = model(f"g (float[3] x) => (float[3] y) {{ {text} }}", c=np.float32(c), d=np.float32(d))
    assert run_alone(original, FuseConstantArithmetic())[1] == {}


def test_integer_arithmetic_stays():
    original = model("g (int32[3] x) => (int32[3] y) { a = Div(x, c) y = Mul(a, c) }", c=np.array(2, np.int32))
    assert rewritten(original, FuseConstantArithmetic())[1] == {}


def test_large_shared_constants_are_not_merged():
    original = model(
        "g (float[64,64] x) => (float[64,64] y, float[64,64] z) { a = Mul(x, c) y = Mul(a, d) z = Mul(x, d) }",
        c=weight(64, 64) + 5,
        d=weight(64, 64, seed=1) + 5,
    )
    assert rewritten(original, FuseConstantArithmetic())[1] == {}


# --- a factor behind a product -----------------------------------------------------------------------


@few
@given(
    opsets,
    st.sampled_from(["MatMul(x, w)", "Gemm(x, w, b)", "Gemm<transB=1>(x, t, b)"]),
    st.sampled_from([(), (1,), (5,), (1, 5), (1, 1)]),
    st.booleans(),
    st.booleans(),
)
def test_scales(opset, linear, shape, divides, swapped):
    factor = np.random.default_rng(2).uniform(0.5, 2, shape).astype(np.float32)
    scale = "Div(a, s)" if divides else "Mul(s, a)" if swapped else "Mul(a, s)"
    original = model(
        f"g (float[2,4] x) => (float[2,5] y) {{ a = {linear} y = {scale} }}",
        opset,
        w=weight(4, 5),
        t=weight(5, 4),
        b=weight(5, seed=3),
        s=factor,
    )
    counts = rewritten(original, FuseScaleIntoMatMul(), pipeline=False)[0]
    assert counts == {linear[:4].replace("MatM", "MatMul"): 1}


@fewer
@given(st.sampled_from([(3, 1), (2, 1, 1), (1, 1, 5), (1, 1, 1, 1), (3, 5)]))
def test_batched_scales(shape):
    factor = np.random.default_rng(2).uniform(0.5, 2, shape).astype(np.float32)
    result = np.broadcast_shapes((2, 3, 5), shape)
    original = model(
        f"g (float[2,3,4] x) => (float[{dims(result)}] y) {{ a = MatMul(x, w) y = Mul(a, s) }}",
        w=weight(2, 4, 5),
        s=factor,
    )
    assert rewritten(original, FuseScaleIntoMatMul())[1] == (
        {"fuse_scale_into_matmul": 1} if shape == (1, 1, 5) else {}
    )


@pytest.mark.parametrize(
    ("size", "factor"), [(1e30, 1e-30), (1e-30, 1e30), (1.0, 1e-30), (1e-20, 1e-20), (1.0, 0.0), (1.0, np.inf)]
)
def test_extreme_scales_stay(size, factor):
    original = model(
        "g (float[2,4] x) => (float[2,5] y) { a = MatMul(x, w) y = Mul(a, s) }",
        w=weight(4, 5, scale=size),
        s=np.float32(factor),
    )
    assert run_alone(original, FuseScaleIntoMatMul())[1] == {}


@pytest.mark.parametrize(
    "text",
    [
        "a = MatMul(x, w) b = Mul(a, s) c = MatMul(x, w) y = Add(b, c)",
        "a = MatMul(x, w) b = Mul(a, s) y = Add(a, b)",
        "a = MatMul(x, w) y = Div(s, a)",
        "a = Gemm<alpha=2.0>(x, w) y = Mul(a, s)",
    ],
)
def test_scales_that_stay(text):
    original = model(f"g (float[2,4] x) => (float[2,5] y) {{ {text} }}", w=weight(4, 5), s=np.float32(1.7))
    assert rewritten(original, FuseScaleIntoMatMul())[1] == {}


@few
@given(
    st.sampled_from(["x, w", "x, w, c"]),
    st.sampled_from(["Add(a, d)", "Add(d, a)"]),
    st.sampled_from(["Mul(b, s)", "Mul(s, b)", "Div(b, s)"]),
    st.sampled_from([(), (1,), (5,), (1, 5), (3, 5), (3, 1)]),
    st.sampled_from([(), (1,), (5,), (1, 5)]),
)
def test_scales_go_past_an_addend(operands, add, scale, addend, factor):
    random = np.random.default_rng(4)
    operator = "Gemm" if "c" in operands else "MatMul"
    original = model(
        f"g (float[3,4] x) => (float[3,5] y) {{ a = {operator}({operands}) b = {add} y = {scale} }}",
        w=weight(4, 5),
        c=weight(5, seed=1),
        d=random.uniform(0.5, 2, addend).astype(np.float32),
        s=random.uniform(0.5, 2, factor).astype(np.float32),
    )
    counts, applied, _ = rewritten(original, FuseScaleIntoMatMul(), pipeline=False)
    grows = addend == (3, 1) and np.prod(factor) > 1
    assert applied == ({} if grows else {"fuse_scale_into_matmul": 1})
    assert len(counts) == (3 if grows else 2)


@pytest.mark.parametrize(
    "text",
    [
        "a = MatMul(x, w) b = Add(a, z) y = Mul(b, s)",
        "a = MatMul(x, w) b = Add(a, d) c = Neg(a) e = Mul(b, s) y = Add(c, e)",
        "a = MatMul(x, w) b = Add(a, d) c = Neg(b) e = Mul(b, s) y = Add(c, e)",
        "a = MatMul(x, w) b = Sub(d, a) y = Mul(b, s)",
        "a = MatMul(x, w) b = Add(a, huge) y = Mul(b, s)",
    ],
)
def test_scales_after_other_addends_stay(text):
    original = model(
        f"g (float[2,4] x, float[2,5] z) => (float[2,5] y) {{ {text} }}",
        w=weight(4, 5),
        s=np.float32(1.7),
        d=weight(5),
        huge=np.full(5, 1e30, np.float32),
    )
    assert run_alone(original, FuseScaleIntoMatMul())[1] == {}
