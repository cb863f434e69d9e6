"""Shapes that a model computes become constants where they can, and only where they can."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import model, shapes, weight
from kneronnxopt.passes._dimensions import Term, evaluate_dimensions
from kneronnxopt.passes.fold_shape_arithmetic import FoldDimension, FoldExpandTarget, FoldReshapeTarget
from kneronnxopt.passes.lift_constants import LiftConstants
from kneronnxopt.passes.shapes import InferShapes
from kneronnxopt.verify import run_model
from rewriting import rewritten, run_alone

PASSES = (FoldDimension(), FoldReshapeTarget(), FoldExpandTarget())
UNSQUEEZE = {True: "Unsqueeze<axes=[0]>({})", False: "Unsqueeze({}, zero)"}


def dims(shape) -> str:
    return ",".join(map(str, shape))


def anonymous(original: onnx.ModelProto, rank: int) -> onnx.ModelProto:
    """Let the first output have dimensions that nobody knows."""
    shape = original.graph.output[0].type.tensor_type.shape
    shape.ClearField("dim")
    for _ in range(rank):
        shape.dim.add()
    return original


# --- reading -----------------------------------------------------------------------------------------


@st.composite
def programs(draw, opset: int):
    """Arithmetic on the dimensions of x [N, 6, M, 4], as text: every value is an integer vector or scalar."""
    lines, vectors, scalars = ["v0 = Shape(x)"], [("v0", 4)], []
    weights: dict[str, object] = {}
    for index in range(1, draw(st.integers(2, 7))):
        kind = draw(
            st.sampled_from(["gather", "pick", "slice", "concat", "unsqueeze", "squeeze", "scalars", "vectors"])
        )
        name, length = draw(st.sampled_from(vectors))
        if kind == "gather":
            chosen = draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=4))
            weights[f"i{index}"] = chosen
            lines.append(f"v{index} = Gather({name}, i{index})")
            vectors.append((f"v{index}", len(chosen)))
        elif kind == "pick":
            chosen = draw(st.integers(-length, length - 1))
            weights[f"i{index}"] = np.array(chosen, np.int64)
            lines.append(f"s{index} = Gather<axis=0>({name}, i{index})")
            scalars.append(f"s{index}")
        elif kind == "slice":
            start, end, step = draw(st.tuples(*[st.integers(-6, 6)] * 2, st.sampled_from([-2, -1, 1, 2])))
            left = len(range(length)[start:end:step])
            if not left:
                continue
            weights.update({f"b{index}": [start], f"e{index}": [end], f"p{index}": [step]})
            lines.append(f"v{index} = Slice({name}, b{index}, e{index}, zero, p{index})")
            vectors.append((f"v{index}", left))
        elif kind == "concat":
            other, size = draw(st.sampled_from(vectors))
            lines.append(f"v{index} = Concat<axis=0>({name}, {other}, two)")
            vectors.append((f"v{index}", length + size + 1))
        elif kind == "squeeze" and length == 1:
            lines.append(f"s{index} = Squeeze{'' if opset >= 13 else '<axes=[0]>'}({name}{', zero' * (opset >= 13)})")
            scalars.append(f"s{index}")
        elif kind == "unsqueeze" and scalars:
            lines.append(f"v{index} = {UNSQUEEZE[opset < 13].format(draw(st.sampled_from(scalars)))}")
            vectors.append((f"v{index}", 1))
        elif kind == "scalars" and scalars:
            operator = draw(st.sampled_from(["Add", "Mul", "Sub", "Div"]))
            pair = [draw(st.sampled_from([*scalars, "three"])), draw(st.sampled_from([*scalars, "three"]))]
            pair[1] = "three" if operator == "Div" else pair[1]  # never by zero
            lines.append(f"s{index} = {operator}({dims(pair)})")
            scalars.append(f"s{index}")
        elif kind == "vectors":
            operator = draw(st.sampled_from(["Add", "Mul", "Sub", "Div"]))
            lines.append(f"v{index} = {operator}({name}, two)")
            vectors.append((f"v{index}", length))
    return lines, vectors[-1][0], weights


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([11, 13, 17]), st.integers(1, 9), st.integers(1, 9), st.data())
def test_what_is_read_is_what_is_computed(opset, n, m, data):
    lines, result, weights = data.draw(programs(opset))
    original = model(
        f"g (float[N,6,M,4] x) => (int64[A] y) {{ {' '.join(lines)} y = Neg({result}) }}",
        opset,
        zero=[0],
        two=[2],
        three=np.array(3, np.int64),
        **weights,
    )
    expected = -run_model(original, {"x": np.zeros((n, 6, m, 4), np.float32)})["y"]
    graph = ir.from_proto(original)
    for stage in (LiftConstants(), InferShapes(check_declared=True)):
        stage(graph)
    entries = evaluate_dimensions(graph.graph.outputs[0].producer().inputs[0])
    assert entries is not None
    assert len(entries) == len(expected)
    for entry, number in zip(entries, expected, strict=True):
        if entry is not None:
            assert entry.coefficient * math.prod({"N": n, "M": m}[name] for name in entry.symbols) == number


def test_arithmetic_keeps_symbols():
    original = model(
        """g (float[N,6,M] x) => (int64[3] y) {
            s = Shape(x) a = Mul(s, f) b = Add(a, a) c = Div(b, f) e = Sub(c, s) y = Neg(e) }""",
        f=[4],
    )
    graph = ir.from_proto(original)
    InferShapes(check_declared=True)(graph)
    value = graph.graph.outputs[0].producer().inputs[0]
    assert evaluate_dimensions(value) == [Term(1, ("N",)), Term(6), Term(1, ("M",))]


def test_numbers_are_folded_out_of_a_dynamic_shape():
    original = model(
        "g (float[N,6,4] x) => (float[A] y) { s = Shape(x) a = Gather(s, i) b = Mul(a, f) y = ConstantOfShape(b) }",
        i=[-1],
        f=[3],
    )
    counts, applied, _ = rewritten(original, *PASSES, feeds={"x": weight(2, 6, 4)}, pipeline=False)
    assert applied == {"fold_dimension": 1}
    assert counts == {"Mul": 1, "ConstantOfShape": 1}


def test_an_output_and_an_unknown_dimension_are_not_folded():
    original = model(
        "g (float[N,6,4] x) => (int64[1] y, int64[1] z) { s = Shape(x) y = Gather(s, i) a = Gather(s, o) z = Neg(a) }",
        i=[-1],
        o=[0],
    )
    assert rewritten(original, *PASSES, feeds={"x": weight(2, 6, 4)}, tolerance=0.0)[1] == {}


def test_floating_point_detours_and_overflow_are_not_followed():
    original = model(
        """g (float[N,6] x) => (int64[2] y, int64[1] z) {
            s = Shape(x) a = Cast<to=1>(s) b = Cast<to=7>(a) y = Neg(b)
            c = Gather(s, i) d = Mul(c, big) e = Mul(d, big) z = Neg(e) }""",
        i=[1],
        big=[2**40],
    )
    graph = ir.from_proto(original)
    InferShapes(check_declared=True)(graph)
    found = [evaluate_dimensions(output.producer().inputs[0]) for output in graph.graph.outputs]
    assert found == [[None, None], [None]]


# --- Reshape -----------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([11, 13, 17, 21]), st.integers(1, 5), st.data())
def test_targets_with_one_unknown_dimension(opset, n, data):
    """The batch anywhere, the rest of the elements anyhow, maybe a -1, in the form that exporters write."""
    rest = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    at, other = data.draw(st.integers(0, len(rest))), data.draw(st.integers(0, 3))
    source = [*rest[:at], "N", *rest[at:]]
    result = list(data.draw(st.permutations(rest)))
    result.insert(min(other, len(rest)), "N")
    text, names, weights = "s = Shape(x) b = Gather(s, at)\n", [], {"zero": [0], "at": np.array(at, np.int64)}
    inferred = data.draw(st.sampled_from([None, *range(len(result))]))
    for index, size in enumerate(result):
        names.append(f"d{index}")
        if index == inferred:
            weights[f"d{index}"] = [-1]
        elif size == "N":
            text += f"d{index} = {UNSQUEEZE[opset < 13].format('b')}\n"
        elif size in rest and data.draw(st.booleans()):  # read from x, though its number is known
            weights[f"i{index}"] = [source.index(size)]
            text += f"d{index} = Gather(s, i{index})\n"
        else:
            weights[f"d{index}"] = [size]
    original = anonymous(
        model(
            f"""g (float[{dims(source)}] x) => (float[A] y) {{
                {text} t = Concat<axis=0>({", ".join(names)}) r = Reshape(x, t) y = Neg(r) }}""",
            opset,
            **weights,
        ),
        len(result),
    )
    feeds = {"x": weight(*(n if size == "N" else size for size in source))}
    counts = rewritten(original, *PASSES, feeds=feeds, pipeline=False, tolerance=0.0)[0]
    beside = inferred is not None and result[inferred] != "N"
    moved = source.index("N") != result.index("N")
    if not (beside and moved):
        assert counts == {"Reshape": 1, "Neg": 1}
    for size in (0, n):  # an empty batch too, where the original takes it
        feeds = {"x": np.zeros([size if dim == "N" else dim for dim in source], np.float32)}
        if size or inferred is None:
            folded = run_model(run_alone(original, *PASSES)[0], feeds)["y"]
            if size or not moved:
                assert folded.shape == run_model(original, feeds)["y"].shape


def test_dimensions_that_stay_in_place_are_copied():
    original = anonymous(
        model(
            """g (float[N,M,12] x) => (float[A] y) {
                s = Shape(x) a = Gather(s, two) t = Concat<axis=0>(a, c) r = Reshape(x, t) y = Neg(r) }""",
            two=[0, 1],
            c=[3, 4],
        ),
        4,
    )
    for n, m in ((2, 5), (0, 5), (2, 0)):
        counts, _, result = rewritten(original, *PASSES, feeds={"x": weight(n, m, 12)}, pipeline=False)
        assert counts == {"Reshape": 1, "Neg": 1}
    assert shapes(kneronnxopt.optimize(original))["r"] == ("N", "M", 3, 4)
    assert [list(onnx.numpy_helper.to_array(t)) for t in result.graph.initializer if t.name.startswith("t")] == [
        [0, 0, 3, 4]
    ]


@pytest.mark.parametrize(
    ("target", "applied"),
    [
        ("b, a, c", {}),  # both moved
        ("a, e, c", {}),  # 0 with -1 fails where N is 0
        ("a, b, c", {"fold_reshape_target": 1}),
        ("a, minus, c", {"fold_reshape_target": 1}),
        ("b, minus, c", {}),  # M is not where it was
        ("a, e, minus", {}),
    ],
)
def test_two_unknown_dimensions(target, applied):
    original = anonymous(
        model(
            f"""g (float[N,M,4] x) => (float[A] y) {{
                s = Shape(x) a = Gather(s, zero) b = Gather(s, one) f = Gather(s, two) e = Mul(b, f)
                t = Concat<axis=0>({target}) r = Reshape(x, t) y = Neg(r) }}""",
            zero=[0],
            one=[1],
            two=[2],
            c=[1 if "e" in target else 4],
            minus=[-1],
        ),
        3,
    )
    counts = rewritten(original, FoldReshapeTarget(), feeds={"x": weight(2, 3, 4)}, pipeline=False)[1]
    assert counts == applied


@pytest.mark.parametrize(("name", "applied"), [("None", {}), ("unknown", {}), ("size", {"fold_reshape_target": 1})])
def test_a_name_that_says_nothing_is_no_symbol(name, applied):
    """Some converters call every dimension None; that does not make them equal."""
    original = anonymous(
        model(
            f"""g (float[{name},M,4] x) => (float[A] y) {{
                s = Shape(x) a = Gather(s, zero) t = Concat<axis=0>(a, minus) r = Reshape(x, t) y = Neg(r) }}""",
            zero=[0],
            minus=[-1],
        ),
        2,
    )
    assert rewritten(original, FoldReshapeTarget(), feeds={"x": weight(2, 3, 4)}, pipeline=False)[1] == applied


def test_dimensions_called_alike_are_not_taken_for_equal():
    original = anonymous(
        model(
            """g (float[None,None,4] x) => (float[A] y) {
                s = Shape(x) a = Gather(s, one) t = Concat<axis=0>(a, minus) r = Reshape(x, t) y = Neg(r) }""",
            one=[1],
            minus=[-1],
        ),
        2,
    )
    assert rewritten(original, FoldReshapeTarget(), feeds={"x": weight(2, 6, 4)}, tolerance=0.0)[1] == {}


def test_a_zero_of_the_model_stays():
    original = anonymous(
        model(
            """g (float[N,3,M] x, int64[1] k) => (float[A] y) {
                t = Concat<axis=0>(k, zero, k) r = Reshape(x, t) y = Neg(r) }""",
            zero=[0],
        ),
        3,
    )
    feeds = {"x": weight(2, 3, 2), "k": np.array([2])}
    assert rewritten(original, *PASSES, feeds=feeds)[1] == {}


@pytest.mark.parametrize(("names", "applied"), [("k, c", 1), ("c, k", 1), ("k, k", 0), ("k, o", 0), ("k, minus", 0)])
def test_a_dimension_from_a_caller(names, applied):
    original = anonymous(
        model(
            f"""g (float[3,4] x, int64[1] k) => (float[A] y) {{
                t = Concat<axis=0>({names}) r = Reshape(x, t) y = Neg(r) }}""",
            c=[6],
            o=[0],
            minus=[-1],
        ),
        2,
    )
    number = {"k, k": None, "k, o": 3, "k, minus": 6}.get(names, 2)
    if number is None:
        assert run_alone(original, *PASSES)[1] == {}
        return
    for value in (number, -1) if applied else (number,):
        feeds = {"x": weight(3, 4), "k": np.array([value])}
        assert rewritten(original, *PASSES, feeds=feeds)[1] == ({"fold_reshape_target": 1} if applied else {})


@pytest.mark.parametrize("allowzero", [0, 1])
def test_allowzero(allowzero):
    original = anonymous(
        model(
            f"""g (float[N,M,4] x) => (float[A] y) {{
                s = Shape(x) a = Gather(s, i) t = Concat<axis=0>(a, c) r = Reshape<allowzero={allowzero}>(x, t)
                y = Neg(r) }}""",
            i=[0, 1],
            c=[2, 2],
        ),
        4,
    )
    for n, m in ((2, 3), (0, 3)):
        counts = rewritten(original, *PASSES, feeds={"x": weight(n, m, 4)}, pipeline=False)[0]
        assert counts == {"Reshape": 1, "Neg": 1}


def test_zero_under_allowzero_stays_beside_an_unknown():
    original = anonymous(
        model(
            """g (float[N,0,4] x) => (float[A] y) {
                s = Shape(x) t = Gather(s, i) r = Reshape<allowzero=1>(x, t) y = Neg(r) }""",
            i=[1, 0],
        ),
        2,
    )
    assert rewritten(original, *PASSES, feeds={"x": weight(2, 0, 4)})[1] == {}


def test_rank_is_known_where_the_target_is_not():
    original = anonymous(
        model(
            """g (float[N,M,4] x, int64[1] k) => (float[A] y) {
                s = Shape(x) a = Gather(s, i) t = Concat<axis=0>(k, a, c) r = Reshape(x, t) y = Neg(r) }""",
            13,
            i=[0],
            c=[2],
        ),
        3,
    )
    feeds = {"x": weight(3, 5, 4), "k": np.array([10])}
    counts, _, result = rewritten(original, *PASSES, feeds=feeds)
    assert counts == {"Shape": 1, "Gather": 1, "Concat": 1, "Reshape": 1, "Neg": 1}
    assert len(shapes(result)["r"]) == 3


# --- Expand ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.lists(st.sampled_from(["N", 1, 5]), min_size=1, max_size=3), st.data())
def test_expand(n, source, data):
    """Each dimension is kept, or repeated where it is 1; more may come in front."""
    known = {"N": n}
    front = data.draw(st.lists(st.sampled_from(["N", 1, 2]), max_size=2))
    target = [*front, *(data.draw(st.sampled_from([dim, 1, "N", 3] if dim == 1 else [dim, 1])) for dim in source)]
    weights: dict[str, object] = {"zero": [0]}
    for index, size in enumerate(target):
        weights[f"d{index}"] = [1 if size == "N" else size]
    names = ["b" if size == "N" else f"d{index}" for index, size in enumerate(target)]
    original = anonymous(
        model(
            f"""g (float[{dims(source)}] x, float[N] z) => (float[A] y) {{
                b = Shape(z) t = Concat<axis=0>({", ".join(names)}) r = Expand(x, t) y = Neg(r) }}""",
            **weights,
        ),
        len(target),
    )
    feeds = {"x": weight(*(known.get(size, size) for size in source)), "z": weight(n)}
    counts = rewritten(original, *PASSES, feeds=feeds, pipeline=False, tolerance=0.0)[0]
    aligned = [None] * len(front) + source
    foldable = all(size != "N" or dim == "N" for size, dim in zip(target, aligned, strict=True))
    assert ("Concat" not in counts) == foldable


def test_expand_to_its_own_shape_goes():
    original = anonymous(
        model("g (float[N,1,M] x) => (float[A] y) { s = Shape(x) r = Expand(x, s) y = Neg(r) }"),
        3,
    )
    assert rewritten(original, *PASSES, feeds={"x": weight(2, 1, 3)})[0] == {"Neg": 1}
