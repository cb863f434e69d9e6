"""Operators that only move data take one form, and keep every number."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, weight
from kneronnxopt.passes.fuse_concats import ReplaceConcatWithPad
from kneronnxopt.passes.fuse_focus import FuseFocusIntoConv
from kneronnxopt.passes.replace_gather import ReplaceGather
from kneronnxopt.passes.replace_reshapes import EliminateExpandBeforeBroadcast, ReplaceWithReshape
from kneronnxopt.passes.replace_split import ReplaceSplit
from kneronnxopt.passes.replace_sum import ReplaceSum
from rewriting import rewritten, run_alone

few = settings(max_examples=20, deadline=None)
opsets = st.sampled_from([9, 10, 11, 13, 17, 18, 21])


def dims(shape) -> str:
    return ",".join(map(str, shape))


# --- Reshape -----------------------------------------------------------------------------------------


@few
@given(opsets, st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_squeeze_and_unsqueeze(opset, shape, data):
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    squeezes = data.draw(st.booleans()) and len(ones) not in (0, len(shape))
    op = "Squeeze" if squeezes else "Unsqueeze"
    if squeezes:
        axes = data.draw(st.lists(st.sampled_from(ones), min_size=1, unique=True))
        result = [size for axis, size in enumerate(shape) if axis not in axes]
    else:
        axes = sorted(data.draw(st.permutations(range(len(shape) + 2)))[:2])
        result = np.expand_dims(np.empty(shape), tuple(axes)).shape
    head = f"g (float[{dims(shape)}] x) => (float[{dims(result)}] y)"
    if opset < 13:
        original = model(f"{head} {{ y = {op}<axes={axes}>(x) }}", opset)
    else:
        original = model(f"{head} {{ y = {op}(x, a) }}", opset, a=axes)
    assert rewritten(original, ReplaceWithReshape(), tolerance=0.0)[0] == {"Reshape": 1}


@pytest.mark.parametrize("declared", ["2", "A"])
def test_axes_of_an_early_squeeze_may_stand_in_any_order(declared):
    """onnx takes the second axis of [1, 0] for not given, and refused what such models declare."""
    original = model(f"g (float[1,1,2] x) => (float[{declared}] y) {{ a = Squeeze<axes=[1,0]>(x) y = Relu (a) }}", 9)
    result = kneronnxopt.optimize(original)
    assert [dim.dim_value for dim in result.graph.output[0].type.tensor_type.shape.dim] == [2]


def test_axes_of_an_early_squeeze_in_a_branch_may_stand_in_any_order():
    squeeze = "{ u = Squeeze<axes=[1,0]>(x) v = Relu (u) }"
    original = model(
        f"g (bool c, float[1,1,2] x) => (float[A] y) {{ y = If (c) <then_branch = t () => (float[B] v) {squeeze},"
        f" else_branch = e () => (float[B] v) {squeeze}> }}",
        9,
    )
    result = kneronnxopt.optimize(original)
    assert [dim.dim_value for dim in result.graph.output[0].type.tensor_type.shape.dim] == [2]


@few
@given(opsets, st.integers(0, 3), st.sampled_from(["Gemm", "Relu"]))
def test_flatten(opset, axis, user):
    shape = (2, 3, 4)
    flat = (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
    last = ("y = Gemm(a, w, b)", 5) if user == "Gemm" else ("y = Relu(a)", flat[1])
    original = model(
        f"g (float[2,3,4] x) => (float[{flat[0]},{last[1]}] y) {{ a = Flatten<axis={axis}>(x) {last[0]} }}",
        opset,
        w=weight(flat[1], 5),
        b=weight(5),
    )
    stays = axis == 1 and user == "Gemm"
    assert rewritten(original, ReplaceWithReshape())[0] == {"Flatten" if stays else "Reshape": 1, user: 1}


@few
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 2), st.booleans())
def test_expand_that_repeats_stays(shape, more, repeats):
    target = [*[1] * more, *shape]
    if repeats:
        target[0] *= 2 if target[0] == 1 else 1
    result = np.broadcast_shapes(shape, target)
    original = model(f"g (float[{dims(shape)}] x) => (float[{dims(result)}] y) {{ y = Expand(x, s) }}", s=target)
    same = np.prod(result) == np.prod(shape)
    assert rewritten(original, ReplaceWithReshape(), tolerance=0.0)[0] == {"Reshape" if same else "Expand": 1}


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,1] x) => (float[N] y) { y = Squeeze(x, one) }",
        "g (float[0,1] x) => (float[0] y) { y = Squeeze(x, one) }",
        "g (float[2,1] x, int64[1] a) => (float[2] y) { y = Squeeze(x, a) }",
    ],
)
def test_squeeze_that_stays(text):
    assert run_alone(model(text, one=[1]), ReplaceWithReshape())[1] == {}


# --- Expand before broadcasting ----------------------------------------------------------------------


@few
@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div", "Pow", "Min", "Sum"]),
    st.sampled_from([(1, 3), (3,), (2, 1), (1, 1), (2, 3), ()]),
    st.sampled_from([(2, 3), (1, 3), (3,), (4, 2, 3)]),
    st.booleans(),
)
def test_expand_before_broadcast(op, shape, other, first):
    operands = "e, o" if first else "o, e"
    result = np.broadcast_shapes((2, 3), other)
    original = model(
        f"""g (float[{dims(shape) or "1"}] x, float[{dims(other)}] o) => (float[{dims(result)}] y) {{
            a = Abs(x) b = Add(a, one) e = Expand(b, s) y = {op}({operands}) }}""",
        one=np.float32(1),
        s=[2, 3],
    )
    needed = np.broadcast_shapes(shape or (1,), other) != result
    counts = rewritten(original, EliminateExpandBeforeBroadcast())[0]
    assert counts.get("Expand", 0) == needed


@pytest.mark.parametrize(
    ("users", "goes"),
    [
        ("y = Mul(e, e)", False),
        ("y = Where(c, e, o)", True),
        ("y = Where(c, o, e)", True),
        ("a = Add(e, o) b = Mul(o, e) y = Sub(a, b)", True),
        ("a = Add(e, o) b = Relu(e) y = Sub(a, b)", False),
        ("y = Concat<axis=0>(e, o)", False),
        ("a = PRelu(o, e) y = Identity(a)", False),
    ],
)
def test_users_of_an_expand(users, goes):
    rows = 4 if "Concat" in users else 2
    original = model(
        f"""g (float[1,3] x, float[2,3] o) => (float[{rows},3] y) {{
            e = Expand(x, s) c = Greater(o, z) {users} }}""",
        s=[2, 3],
        z=np.float32(0),
    )
    assert rewritten(original, EliminateExpandBeforeBroadcast())[1] == (
        {"eliminate_expand_before_broadcast": 1} if goes else {}
    )


def test_expanded_output_and_subgraph_use_stay():
    text = """g (float[1,3] x, float[2,3] o, bool p) => (float[2,3] y, float[2,3] z) {
        e = Expand(x, s) z = Add(e, o)
        y = If (p) <then_branch = t () => (float[2,3] a) { a = Add(e, o) },
                    else_branch = f () => (float[2,3] b) { b = Sub(e, o) }> }"""
    assert rewritten(model(text, s=[2, 3]), EliminateExpandBeforeBroadcast())[1] == {}
    text = "g (float[1,3] x, float[2,3] o) => (float[2,3] e, float[2,3] y) { e = Expand(x, s) y = Add(e, o) }"
    assert rewritten(model(text, s=[2, 3]), EliminateExpandBeforeBroadcast())[1] == {}


# --- Gather ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(opsets, st.integers(0, 2), st.booleans(), st.data())
def test_gather(opset, axis, negative, data):
    shape = (2, 5, 6)
    size = shape[axis]
    kind = data.draw(st.sampled_from(["scalar", "row", "whole", "table", "any"]))
    start = data.draw(st.integers(0, size - 1))
    indices = {
        "scalar": np.array(start),
        "row": np.arange(start, data.draw(st.integers(start + 1, size))),
        "whole": np.arange(size),
        "table": np.arange(size - size % 2).reshape(2, -1),
        "any": np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=7))),
    }[kind]
    neighbours = bool((np.diff(indices.reshape(-1)) == 1).all())
    if negative and opset >= 11:
        indices = indices - size
    named = axis - 3 if negative else axis
    result = np.take(np.empty(shape), indices, axis).shape
    original = model(
        f"g (float[2,5,6] x) => (float[{dims(result)}] y) {{ a = Relu(x) b = Gather<axis={named}>(a, i) y = Neg(b) }}",
        opset,
        i=indices,
    )
    counts, acted, _ = rewritten(original, ReplaceGather(single_index=True), tolerance=0.0)
    assert acted == ({"replace_gather": 1} if neighbours else {})
    whole = indices.size == size
    if neighbours:
        reshapes = indices.ndim != 1
        assert counts == {
            "Relu": 1,
            "Neg": 1,
            **({} if whole else {"Slice": 1}),
            **({"Reshape": 1} if reshapes else {}),
        }


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("g (float[3,4] x, int64[1] i) => (float[1,4] y) { y = Gather(x, i) }", None),
        ("g (float[N,4] x) => (float[1,4] y) { y = Gather(x, i) }", [0]),
        ("g (float[3,N] x) => (float[N] y) { y = Gather(x, i) }", np.array(0)),
        ("g (float[3] x) => (float y) { y = Gather(x, i) }", np.array(0)),
        ("g (float[3,4] x) => (float[0,4] y) { y = Gather(x, i) }", []),
        ("g (float[3,4] x) => (float[1,4] y) { y = Gather(x, i) }", [3]),
    ],
)
def test_gather_that_stays(text, indices):
    original = model(text, **({} if indices is None else {"i": indices}))
    assert run_alone(original, ReplaceGather(single_index=True))[1] == {}


def test_gather_between_input_and_output_stays():
    original = model("g (float[3,4] x) => (float[3,4] y) { y = Gather(x, i) }", i=[0, 1, 2])
    assert rewritten(original, ReplaceGather(single_index=True))[0] == {"Gather": 1}


# --- Split -------------------------------------------------------------------------------------------


@few
@given(opsets, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 1), st.booleans(), st.data())
def test_split(opset, sizes, axis, equal, data):
    if equal:
        sizes = [sizes[0]] * len(sizes)
    total = sum(sizes)
    if equal and opset >= 18 and sizes[0] > 1:
        total -= data.draw(st.integers(0, 1))  # the last part is smaller
    shape = [3, 3]
    shape[axis] = total
    names = [f"y{index}" for index in range(len(sizes))]
    read = sorted(data.draw(st.sets(st.sampled_from(names), min_size=1)))
    if equal:
        named = f"<axis={axis - 2 * (opset >= 11)}{f', num_outputs={len(sizes)}' if opset >= 18 else ''}>(x)"
    else:
        named = f"<axis={axis}, split={sizes}>(x)" if opset < 13 else f"<axis={axis}>(x, s)"
    outputs = dict(zip(names, [*sizes[:-1], total - sum(sizes[:-1])], strict=True))
    declared = ", ".join(f"float[{dims((outputs[n], 3) if axis == 0 else (3, outputs[n]))}] {n}" for n in read)
    original = model(
        f"g (float[{dims(shape)}] x) => ({declared}) {{ {', '.join(names)} = Split{named} }}",
        opset,
        **({} if equal or opset < 13 else {"s": sizes}),
    )
    assert rewritten(original, ReplaceSplit(), tolerance=0.0)[0] == {"Slice": len(read)}


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("g (float[4] x, int64[2] s) => (float[2] y, float[2] z) { y, z = Split(x, s) }", 13),
        ("g (float[N] x) => (float[A] y, float[B] z) { y, z = Split(x) }", 13),
        ("g (float[4] x) => (float[4] y, float[0] z) { y, z = Split<split=[4,0]>(x) }", 11),
    ],
)
def test_split_that_stays(text, opset):
    assert run_alone(model(text, opset), ReplaceSplit())[1] == {}


def test_part_that_a_subgraph_reads_keeps_its_name():
    original = model(
        """g (float[4] x, bool p) => (float[2] y) {
            a, b = Split(x)
            y = If (p) <then_branch = t () => (float[2] c) { c = Relu(a) },
                        else_branch = f () => (float[2] d) { d = Neg(b) }> }"""
    )
    counts, _, result = rewritten(original, ReplaceSplit())
    assert counts == {"Slice": 2, "If": 1}
    assert {name for node in result.graph.node for name in node.output} == {"a", "b", "y"}


# --- Sum ---------------------------------------------------------------------------------------------


@few
@given(opsets, st.lists(st.sampled_from([(2, 3), (1, 3), (3,), (2, 1), (4, 1, 1)]), min_size=1, max_size=5))
def test_sum(opset, shapes):
    inputs = ", ".join(f"float[{dims(shape)}] x{index}" for index, shape in enumerate(shapes))
    names = ", ".join(f"x{index}" for index in range(len(shapes)))
    result = np.broadcast_shapes(*shapes)
    original = model(
        f"g ({inputs}) => (float[{dims(result)}] y) {{ a = Abs(x0) b = Sum({names}) c = Sub(b, a) y = Neg(c) }}", opset
    )
    counts = rewritten(original, ReplaceSum(), tolerance=1e-6)[0]
    assert "Sum" not in counts
    assert counts.get("Add", 0) == len(shapes) - 1


def test_sum_of_one_input_that_is_an_output_stays():
    assert rewritten(model("g (float[2] x) => (float[2] y) { y = Sum(x) }"), ReplaceSum())[0] == {"Sum": 1}


def test_sum_of_old_opsets_stays():
    original = model("g (float[2] x, float[2] z) => (float[2] y) { y = Sum(x, z) }", 7)
    assert run_alone(original, ReplaceSum())[1] == {}


# --- Concat with zeros -------------------------------------------------------------------------------


@few
@given(
    opsets,
    st.integers(0, 3),
    st.lists(st.sampled_from(["x", "zeros", "more", "ones", "negative"]), min_size=2, max_size=4),
    st.sampled_from(["float", "double", "int64"]),
)
def test_concat_with_zeros(opset, axis, parts, kind):
    dtype = {"float": np.float32, "double": np.float64, "int64": np.int64}[kind]

    def constant(size: int, value: float) -> np.ndarray:
        return np.full([size if index == axis else 2 + index for index in range(4)], value, dtype)

    sizes = {"x": 2 + axis, "zeros": 2, "more": 1, "ones": 1, "negative": 1}
    result = [sum(sizes[part] for part in parts) if index == axis else 2 + index for index in range(4)]
    original = model(
        f"g ({kind}[2,3,4,5] x) => ({kind}[{dims(result)}] y) {{ y = Concat<axis={axis}>({', '.join(parts)}) }}",
        opset,
        zeros=constant(2, 0),
        more=constant(1, 0),
        ones=constant(1, 1),
        negative=constant(1, -0.0),
    )
    pads = parts.count("x") == 1 and axis > 0 and "ones" not in parts and (kind != "int64" or opset >= 11)
    pads = pads and ("negative" not in parts or kind == "int64")
    counts = rewritten(original, ReplaceConcatWithPad(), tolerance=0.0)[0]
    assert counts == {"Pad" if pads else "Concat": 1}


# --- focus -------------------------------------------------------------------------------------------


@st.composite
def focus(draw):
    """Four corners in any order, by one Slice each or by two in either order, the first maybe shared."""
    corners = draw(st.permutations([(0, 0), (1, 0), (0, 1), (1, 1)]))
    height_first, shared = draw(st.booleans()), draw(st.booleans())
    lines, names = [], []
    for index, (row, column) in enumerate(corners):
        name = f"part{index}"
        outer = ("h", row) if height_first else ("w", column)
        inner = ("w", column) if height_first else ("h", row)
        if draw(st.booleans()):
            lines.append(f"{name} = Slice(x, from{row}{column}, both, hw, steps)")
        else:
            half = f"half{outer[1]}" if shared else f"half{index}"
            line = f"{half} = Slice(x, from{outer[1]}, end, {outer[0]}, two)"
            lines += [line] * (line not in lines)
            lines.append(f"{name} = Slice({half}, from{inner[1]}, end, {inner[0]}, two)")
        names.append(name)
    return " ".join(lines), names


def focus_model(
    lines: str, names: list[str], shape=(2, 3, 6, 8), *, opset: int = 17, kind: str = "float"
) -> onnx.ModelProto:
    n, c, h, w = shape
    constants = {f"from{row}{column}": [row, column] for row in (0, 1) for column in (0, 1)}
    return model(
        f"""g ({kind}[{dims(shape)}] x) => ({kind}[{n},{4 * c},{h // 2},{w // 2}] y) {{
            {lines} y = Concat<axis=1>({", ".join(names)}) }}""",
        opset,
        **constants,
        from0=[0],
        from1=[1],
        h=[2],
        w=[-1],
        hw=[2, 3],
        two=[2],
        steps=[2, 2],
        end=[2**63 - 1],
        both=[h, 99],
    )


@few
@given(focus(), st.sampled_from([10, 13, 18, 21]), st.sampled_from([1, 3, 5]))
def test_focus(parts, opset, channels):
    original = focus_model(*parts, (2, channels, 6, 8), opset=opset)
    counts, _, result = rewritten(original, FuseFocusIntoConv(), tolerance=0.0)
    assert counts == {"Conv": 1}
    assert onnx.numpy_helper.to_array(result.graph.initializer[0]).shape == (4 * channels, channels, 2, 2)


CORNERS = [f"p{row}{column} = Slice(x, from{row}{column}, both, hw, steps)" for row in (0, 1) for column in (0, 1)]


@pytest.mark.parametrize(
    ("names", "shape", "kind"),
    [
        (["p00", "p01", "p10", "p10"], (1, 3, 4, 4), "float"),  # one comes twice
        (["p00", "p01", "p10", "p11"], (1, 33, 4, 4), "float"),  # too many channels
        (["p00", "p01", "p10", "p11"], (1, 3, 4, 4), "double"),
    ],
)
def test_focus_that_stays(names, shape, kind):
    lines = " ".join(line for line in CORNERS if line[:3] in names)
    original = focus_model(lines, names, shape, kind=kind)
    assert rewritten(original, FuseFocusIntoConv())[1] == {}


@pytest.mark.parametrize(
    "replacement",
    [
        "p00 = Slice(x, from00, middle, hw)",  # not every second pixel
        "q = Slice(x, from00, both, hw, steps) p00 = Relu(q)",
        "q = Neg(x) p00 = Slice(q, from00, both, hw, steps)",
        "p00 = Slice(x, from11, both, hw, steps)",  # a corner that comes twice
        "p00 = Slice(x, computed, both, hw, steps)",
    ],
)
def test_focus_with_another_part_stays(replacement):
    original = model(
        f"""g (float[1,3,4,4] x, int64[2] computed) => (float[1,12,N,M] y) {{
            {replacement} {" ".join(CORNERS[1:])} y = Concat<axis=1>(p00, p01, p10, p11) }}""",
        **{f"from{row}{column}": [row, column] for row in (0, 1) for column in (0, 1)},
        hw=[2, 3],
        steps=[2, 2],
        both=[9, 9],
        middle=[2, 2],
    )
    feeds = {"x": weight(1, 3, 4, 4), "computed": np.array([1, 0])}
    assert rewritten(original, FuseFocusIntoConv(), feeds=feeds, tolerance=0.0)[1] == {}


def test_focus_of_a_crop_keeps_the_crop():
    lines = "c = Slice(x, from1, end, h) " + " ".join(line.replace("(x,", "(c,") for line in CORNERS)
    original = model(
        f"""g (float[1,3,7,6] x) => (float[1,12,3,3] y) {{ {lines} y = Concat<axis=1>(p00, p01, p10, p11) }}""",
        **{f"from{row}{column}": [row, column] for row in (0, 1) for column in (0, 1)},
        from1=[1],
        end=[7],
        h=[2],
        hw=[2, 3],
        steps=[2, 2],
        both=[9, 9],
    )
    assert rewritten(original, FuseFocusIntoConv(), tolerance=0.0)[0] == {"Slice": 1, "Conv": 1}


def test_focus_part_with_another_user_stays():
    lines = " ".join(CORNERS)
    original = model(
        f"""g (float[1,3,4,4] x) => (float[1,12,2,2] y, float[1,3,2,2] z) {{
            {lines} y = Concat<axis=1>(p00, p01, p10, p11) z = Relu(p00) }}""",
        **{f"from{row}{column}": [row, column] for row in (0, 1) for column in (0, 1)},
        hw=[2, 3],
        steps=[2, 2],
        both=[9, 9],
    )
    assert rewritten(original, FuseFocusIntoConv())[1] == {}


def test_all_forms_together_come_to_rest(caplog):
    lines = " ".join(CORNERS)
    original = model(
        f"""g (float[1,3,8,8] x) => (float[N] y) {{
            {lines} f = Concat<axis=1>(p00, p01, p10, p11) a, b = Split<axis=1>(f) s = Sum(a, b, a)
            g = Gather<axis=1>(s, zero) u = Unsqueeze(g, z) e = Expand(u, wide) m = Mul(e, s) y = Reshape(m, all) }}""",
        **{f"from{row}{column}": [row, column] for row in (0, 1) for column in (0, 1)},
        hw=[2, 3],
        steps=[2, 2],
        both=[9, 9],
        zero=np.array(0),
        z=[1],
        wide=[1, 6, 4, 4],
        all=[-1],
    )
    passes = [
        *(
            EliminateExpandBeforeBroadcast(),
            ReplaceWithReshape(),
            ReplaceGather(single_index=True),
            ReplaceSplit(),
            ReplaceSum(),
        ),
        *(FuseFocusIntoConv(), ReplaceConcatWithPad()),
    ]
    counts = rewritten(original, *passes)[0]
    assert counts == {"Conv": 1, "Slice": 3, "Add": 2, "Reshape": 3, "Mul": 1}
    kneronnxopt.optimize(original, extra_passes=passes)
    assert not caplog.messages
