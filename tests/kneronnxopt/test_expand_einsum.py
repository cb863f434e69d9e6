"""Einsum becomes standard operators with the result that onnxruntime's Einsum has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import interface, operators
from kneronnxopt.passes._einsum_plan import parse_equation
from kneronnxopt.passes.expand_einsum import ExpandEinsum
from kneronnxopt.pipeline import pass_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXTRA = [] if ExpandEinsum.name in pass_names() else [ExpandEinsum()]
SIZES = {"b": 2, "h": 3, "i": 4, "j": 5, "k": 6, "l": 1, "X": 3}


def einsum(
    equation: str, arrays: Sequence[NDArray], opset: int = 17, constants: Sequence[int] = (), shape: object = "numpy"
) -> onnx.ModelProto:
    """One Einsum; operands whose index is in ``constants`` are initializers."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    if shape == "numpy":
        shape = np.einsum(equation, *arrays).shape
    node = onnx.helper.make_node("Einsum", [f"i{n}" for n in range(len(arrays))], ["y"], equation=equation)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [
            onnx.helper.make_tensor_value_info(f"i{n}", kind, array.shape)
            for n, array in enumerate(arrays)
            if n not in constants
        ],
        [onnx.helper.make_tensor_value_info("y", kind, shape)],
        [onnx.numpy_helper.from_array(arrays[n], f"i{n}") for n in constants],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def numbers(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> NDArray:
    rng = np.random.default_rng(seed)
    return rng.integers(-5, 6, shape).astype(dtype) if dtype[0] == "i" else rng.standard_normal(shape).astype(dtype)


def operands(equation: str, dtype: str = "float32") -> list[NDArray]:
    terms = equation.split("->")[0].split(",")
    return [numbers([SIZES[label] for label in term], dtype, seed) for seed, term in enumerate(terms)]


def optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Run this pass alone, and constant folding."""
    pass_ = ExpandEinsum()
    pass_.name = "under_test"  # its own name is skipped with the others
    skipped = [name for name in pass_names() if name != "fold_constants"]
    return kneronnxopt.optimize(
        model, skip_check=True, convert_f16=False, extra_passes=[pass_], skipped_optimizers=skipped
    )


def expanded(original: onnx.ModelProto, arrays: Sequence[NDArray], *, alone: bool = True) -> onnx.ModelProto:
    """The model without its Einsum, which computes the same under onnxruntime, and whose shapes are all known."""
    result = optimized(original) if alone else kneronnxopt.optimize(original, skip_check=True, extra_passes=EXTRA)
    onnx.checker.check_model(result, full_check=True)
    assert interface(result) == interface(original)
    assert "Einsum" not in operators(result)
    feeds = {value.name: arrays[int(value.name[1:])] for value in original.graph.input}
    old, new = (
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for model in (original, result)
    )
    assert new.dtype == old.dtype
    np.testing.assert_allclose(new, old, rtol=0, atol=1e-5 * max(1, float(np.abs(old).max(initial=0))))
    for value in result.graph.value_info:
        assert all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    return result


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("bhik,bhkj->bhij", {"MatMul": 1}),
        ("bhik,bhjk->bhij", {"Transpose": 1, "MatMul": 1}),
        ("bihk,bjhk->bhij", {"Transpose": 2, "MatMul": 1}),
        ("bhij,bjhk->bihk", {"Transpose": 2, "MatMul": 1}),
        ("ij,jk", {"MatMul": 1}),
        ("ij,jk->ki", {"Transpose": 1, "MatMul": 1}),
        ("jk,ij->ik", {"MatMul": 1}),
        ("bik,khj->bhij", {"Reshape": 2, "MatMul": 1, "Transpose": 1}),
        ("bik,khj->bihj", {"Reshape": 2, "MatMul": 1}),
        ("ij,jk,kh->ih", {"MatMul": 2}),
        ("ij->ji", {"Transpose": 1}),
        ("ij->", {"ReduceSum": 1}),
        ("ij->j", {"ReduceSum": 1}),
        ("ij->ij", {"Identity": 1}),
        ("bi,bi->b", {"Mul": 1, "ReduceSum": 1}),
        ("bi,i->bi", {"Mul": 1}),
        ("bi,b->bi", {"Reshape": 1, "Mul": 1}),
        ("i,j->ij", {"Reshape": 1, "Mul": 1}),
        ("ij,kh->jk", {"ReduceSum": 2, "Reshape": 1, "Mul": 1}),
        ("ii->i", {"Reshape": 1, "Slice": 1}),
        ("ii", {"Reshape": 1, "Slice": 1, "ReduceSum": 1}),
    ],
)
def test_the_form_is_the_smallest(equation, expected):
    arrays = operands(equation)
    result = expanded(einsum(equation, arrays), arrays)
    counts = operators(result)
    assert {op_type: counts.get(op_type, 0) for op_type in {*expected, *counts}} == expected


def test_a_constant_operand_is_arranged_beforehand():
    arrays = operands("bik,hjk->bihj")
    result = expanded(einsum("bik,hjk->bihj", arrays, constants=[1]), arrays)
    assert operators(result) == {"MatMul": 1, "Reshape": 1}


def test_a_constant_is_moved_rather_than_a_feature_map():
    arrays = operands("khb,hk->b")
    result = expanded(einsum("khb,hk->b", arrays, constants=[1]), arrays)
    assert operators(result) == {"Reshape": 2, "MatMul": 1}


@pytest.mark.parametrize("equation", ["bhXij,bhXjk->bhXik", "bhXij,bhXjk->kXihb", "bhXij,jk->bhXik", "bhXi,bhXj->ij"])
def test_products_have_a_rank_of_four_at_most(equation):
    arrays = operands(equation)
    result = expanded(einsum(equation, arrays), arrays)
    known = {value.name: value for value in (*result.graph.value_info, *result.graph.input, *result.graph.output)}
    for node in result.graph.node:
        if node.op_type == "MatMul":
            names = (*node.input, *node.output)
            assert all(len(known[name].type.tensor_type.shape.dim) <= 4 for name in names)


@st.composite
def cases(draw):
    labels = draw(st.lists(st.sampled_from("bhijklX"), min_size=1, max_size=5, unique=True))
    sizes = {label: draw(st.integers(1, 4)) for label in labels}
    dots = draw(st.lists(st.integers(1, 3), max_size=2)) if draw(st.booleans()) else None
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        term = draw(st.lists(st.sampled_from(labels), max_size=4, unique=draw(st.integers(0, 5)) > 0))
        shape = [sizes[label] for label in term]
        if dots is not None and draw(st.booleans()):
            at = draw(st.integers(0, len(term)))
            term, shape = [*term[:at], "...", *term[at:]], [*shape[:at], *dots, *shape[at:]]
        terms.append("".join(term))
        shapes.append(shape)
    equation = draw(st.sampled_from([",", " , "])).join(terms)
    if draw(st.booleans()):
        used = sorted(set("".join(terms)) - {"."})
        result = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
        at = draw(st.integers(0, len(result)))
        equation += "->" + "".join([*result[:at], *(["..."] if "..." in "".join(terms) else []), *result[at:]])
    dtype = draw(st.sampled_from(["float32", "float64", "int32", "int64"]))
    arrays = [numbers(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    constants = [n for n in range(1, len(arrays)) if draw(st.booleans())]
    return equation, arrays, constants, draw(st.integers(12, 21))


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans())
def test_any_equation(case, alone):
    equation, arrays, constants, opset = case
    plain = equation.replace(" ", "")
    letters = [letter for letter in plain if letter.isalpha()]
    if "->" not in plain and any(letter == "X" for letter in letters):
        plain = plain.replace("X", "z")  # onnxruntime sorts capitals last, numpy first
        equation = plain
    expanded(einsum(equation, arrays, opset, constants), arrays, alone=alone)


@pytest.mark.parametrize("opset", [12, 13, 18, 21])
def test_axes_of_one_are_widened(opset):
    arrays = [numbers((3, 1, 4)), numbers((3, 5, 1), seed=1)]
    model = einsum("bij,bik->bjk", arrays, opset, shape=(3, 4, 1))
    assert "MatMul" not in operators(expanded(model, arrays))  # i is summed in the second operand alone


def test_each_opset_has_its_reduce_sum():
    arrays = operands("bij->bj")
    for opset, inputs in ((12, 1), (13, 2)):
        result = expanded(einsum("bij->bj", arrays, opset), arrays)
        assert [len(node.input) for node in result.graph.node] == [inputs]


@pytest.mark.parametrize(
    ("equation", "shapes", "dtype"),
    [
        ("ij->ji", [("n", 3)], "float32"),
        ("ij,jk", [(2, 0), (0, 3)], "float32"),
        ("ij,jk", [(2, 3), (3, 4)], "float16"),
        ("ij,jk", [(2, 3), (3, 4)], "uint32"),
        ("iX", [(2, 3)], "float32"),
    ],
)
def test_what_is_not_certain_stays(equation, shapes, dtype):
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = [f"i{n}" for n in range(len(shapes))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Einsum", names, ["y"], equation=equation)],
        "g",
        [onnx.helper.make_tensor_value_info(n, kind, shape) for n, shape in zip(names, shapes, strict=True)],
        [onnx.helper.make_tensor_value_info("y", kind, ["rows", "columns"])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    result = optimized(model)
    assert operators(result) == {"Einsum": 1}


def test_an_ellipsis_that_differs_or_vanishes_is_not_read():
    assert parse_equation("...i->i", [(2, 3)]) is None
    assert parse_equation("...i,...j->...ij", [(2, 3), (1, 2, 3)]) is None
    assert parse_equation("...ij->...", [(3,)]) is None
    assert parse_equation("...ij->...", [(2, 3)]) is not None


@pytest.mark.parametrize(
    "equation", ["i->ii", "ij->ik", "i,j", "i1->i", "i.->i", "i......->i", "ij->i->j", "", "(i)->i"]
)
def test_what_is_no_equation_is_not_read(equation):
    assert parse_equation(equation, [(2, 2)]) is None


def test_sizes_that_disagree_are_not_read():
    assert parse_equation("ij,jk", [(2, 3), (4, 5)]) is None
    assert parse_equation("ii", [(2, 3)]) is None
    assert parse_equation("ii", [(1, 3)]) is None
    assert parse_equation("ij,jk", [(2, 1), (4, 5)]) is not None


def test_a_huge_value_between_is_not_made():
    arrays = [numbers((300,)), numbers((300,), seed=1), numbers((300,), seed=2)]
    model = einsum("i,j,k->", arrays)
    expanded(model, arrays)  # each is summed first
    model = einsum("i,j,ij->", [arrays[0], arrays[1], numbers((300, 300))])
    expanded(model, [arrays[0], arrays[1], numbers((300, 300))])
    arrays = [numbers((64,)), numbers((64,)), numbers((64,)), numbers((64, 1, 1)), numbers((64, 64))]
    model = einsum("i,j,k,iab,jk->i", arrays)
    result = optimized(model)
    assert operators(result) == {"Einsum": 1}  # i * j * k holds 64 times as much as any operand


def test_a_captured_result_keeps_its_name():
    arrays = operands("ij,jk->ik")
    model = einsum("ij,jk->ik", arrays)
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["y"], ["n"])], "branch", [], [onnx.helper.make_empty_tensor_value_info("n")]
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("i2", onnx.TensorProto.BOOL, []))
    model.graph.node.append(onnx.helper.make_node("If", ["i2"], ["z"], then_branch=branch, else_branch=branch))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [4, 6]))
    expanded(model, [*arrays, np.array(True)])
