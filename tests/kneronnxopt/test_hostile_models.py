"""Models on which optimisers go wrong: each was found by trying to break this one."""

from __future__ import annotations

import logging
import resource

import numpy as np
import onnx
import pytest

import kneronnxopt
from graphs import model, operators, shapes, weight
from kneronnxopt.verify import run_model


def equal(original: onnx.ModelProto, **options) -> onnx.ModelProto:
    result = kneronnxopt.optimize(original, skip_check=True, **options)
    onnx.checker.check_model(result, full_check=True)
    comparison = kneronnxopt.compare(original, result, tolerance=1e-5)
    assert comparison.equal, comparison.differences
    return result


def batch_norm(channels: int, scale: float = 1.0, variance: float = 1.0) -> dict[str, np.ndarray]:
    ones = np.ones(channels, dtype=np.float32)
    return {"s": ones * scale, "o": ones * 0, "m": ones * 0, "v": ones * variance}


def test_gemm_with_one_bias_per_row_keeps_its_batch_norm():
    original = model(
        "g (float[3,4] x) => (float[3,3] y) { a = Gemm(x, w, c) y = BatchNormalization(a, s, o, m, v) }",
        w=weight(4, 3),
        c=weight(3, 1),
        **batch_norm(3, scale=2.0),
    )
    assert operators(equal(original))["BatchNormalization"] == 1


def test_product_that_underflows_is_not_fused():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = Gemm(x, w) y = BatchNormalization(a, s, o, m, v) }",
        w=np.eye(3, dtype=np.float32) * 1e-30,
        **batch_norm(3, scale=1e-20),
    )
    assert operators(equal(original))["BatchNormalization"] == 1


def test_random_numbers_are_not_merged():
    original = model(
        """g (float[64] x) => (bool[1] y) {
            a = RandomNormalLike(x) b = RandomNormalLike(x) d = Sub(a, b) e = Abs(d) f = ReduceMax(e)
            y = Greater(f, zero) }""",
        zero=np.zeros(1, np.float32),
    )
    result = kneronnxopt.optimize(original, skip_check=True)
    assert run_model(result, {"x": np.zeros(64, np.float32)})["y"].all()


def test_opset_conversion_that_changes_the_result_is_refused():
    original = model("g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax<axis=1>(x) }", 13)
    with pytest.raises(kneronnxopt.OptimizationError, match="target_opset=11"):
        kneronnxopt.optimize(original, target_opset=11, skip_check=True)
    with pytest.raises(kneronnxopt.OptimizationError, match="target_opset='13'"):
        kneronnxopt.optimize(original, target_opset="13")


def branches(declared: str) -> onnx.ModelProto:
    original = model("g (float[1,3] x, bool[1] c) => (int64[2] z) { y = Relu(x) s = Shape(y) z = Mul(s, s) }")
    graphs = {
        name: onnx.parser.parse_graph(f"{name} () => (float[{declared}] {name}_out) {{ {name}_out = {op}(x) }}")
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    original.graph.node[0].CopyFrom(onnx.helper.make_node("If", ["c"], ["y"], **graphs))
    return original


def test_shapes_in_subgraphs_follow_the_input():
    result = kneronnxopt.optimize(branches("1,3"), overwrite_input_shapes=["x:2,3"], skip_check=True)
    onnx.checker.check_model(result, full_check=True)
    feeds = {"x": np.zeros((2, 3), np.float32), "c": np.array([True])}
    np.testing.assert_array_equal(run_model(result, feeds)["z"], [4, 9])


def test_dimension_of_minus_one_is_dynamic():
    original = model("g (float[N,3] x) => (int64[2] y) { s = Shape(x) y = Mul(s, s) }")
    original.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    result = kneronnxopt.optimize(original)
    feeds = {"x": np.zeros((5, 3), np.float32)}
    np.testing.assert_array_equal(run_model(result, feeds)["y"], [25, 9])


def test_sparse_models_are_returned_as_they_were(caplog):
    original = model("g (float[4] x) => (float[4] y) { i = Identity(x) y = Add(i, sw) }", sw=weight(4))
    dense = original.graph.initializer.pop()
    values = onnx.helper.make_tensor(dense.name, onnx.TensorProto.FLOAT, [1], [2.0])
    indices = onnx.helper.make_tensor("indices", onnx.TensorProto.INT64, [1], [3])
    original.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        assert kneronnxopt.optimize(original, skip_check=True) == original
    assert "sparse" in caplog.text


@pytest.mark.parametrize(
    ("expression", "constants"),
    [
        ("Cast<to=21>(k)", {"k": np.array([7.5, 3.0], np.float32)}),
        ("ReduceMax<keepdims=1>(k)", {"k": np.array([np.nan, 3.0], np.float32)}),
        ("ReduceMean<keepdims=1>(k)", {"k": np.zeros((0,), np.float32)}),
        ("Div(k, d)", {"k": np.array([4, 2]), "d": np.array([2, 0])}),
        ("Div(k, d)", {"k": np.array([np.iinfo(np.int64).min]), "d": np.array([-1])}),
    ],
)
def test_what_the_standard_leaves_open_is_not_folded(expression, constants):
    operator = expression.partition("(")[0].partition("<")[0]
    text = f"g (float[1] x) => (float[1] y) {{ c = {expression} f = Cast<to=1>(c) r = ReduceSum(f) y = Add(x, r) }}"
    original = model(text, 21, 10, **constants)
    assert operator in operators(kneronnxopt.optimize(original, skip_check=True))


def test_integer_division_that_ends_the_process_is_checked_elsewhere(caplog):
    original = model("g (int64[1] x) => (int64[1] y) { i = Identity(x) q = Div(i, d) y = Add(i, q) }", d=np.array([0]))
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        result = kneronnxopt.optimize(original)
    assert operators(result) == {"Div": 1, "Add": 1}
    assert "not checked" in caplog.text


def test_endless_loop_is_not_waited_for(caplog, monkeypatch):
    from kneronnxopt import checking

    monkeypatch.setattr(checking, "_TIME_LIMIT_SECONDS", 3)
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, float[1] a) => (bool on, float[1] b) { on = Identity(go) b = Add(a, a) }"
    )
    original = model("g (float[1] x) => (float[1] y) { y = Identity(x) }", true=np.array(True))
    original.graph.node[0].CopyFrom(onnx.helper.make_node("Loop", ["", "true", "x"], ["y"], body=body))
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        assert "Loop" in operators(kneronnxopt.optimize(original))
    assert "runs for more than 3 s" in caplog.text


def test_loop_that_ends_is_checked(caplog):
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, float[1] a) => (bool on, float[1] b) { on = Identity(go) b = Add(a, a) }"
    )
    original = model("g (float[1] x) => (float[1] y) { y = Identity(x) }", trips=np.array(3), true=np.array(True))
    original.graph.node[0].CopyFrom(onnx.helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body))
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        kneronnxopt.optimize(original)
    assert caplog.text == ""


def test_names_inside_a_subgraph_are_not_taken_for_captures():
    then_branch = onnx.parser.parse_graph("then () => (float[2] a) { t = Relu(x) a = Neg(t) }")
    else_branch = onnx.parser.parse_graph("else () => (float[2] b) { b = Identity(x) }")
    original = model("g (float[2] x, bool[1] c) => (float[2] z) { y = Relu(x) t = Abs(y) z = Neg(t) }")
    original.graph.node[0].CopyFrom(
        onnx.helper.make_node("If", ["c"], ["y"], then_branch=then_branch, else_branch=else_branch)
    )
    equal(original)


def test_shared_string_is_left_alone():
    text = "g (string[2] x) => (bool[2] a, bool[2] b) { a = Equal(x, k) b = Equal(k, x) }"
    original = model(text, 19, 9, k=np.array(["p", "q"], dtype=object))
    assert "Equal" in operators(kneronnxopt.optimize(original, skip_check=True))


def test_concat_of_one_weight_does_not_copy_it():
    repeated = ", ".join(["w"] * 200)
    original = model(f"g (float[1,64] x) => (float[201,64] y) {{ y = Concat<axis=0>(x, {repeated}) }}", w=weight(1, 64))
    assert len(equal(original).graph.initializer) == 1


def limited(function):
    """Run with at most 6 GB of address space, so that a bomb raises instead of filling the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, before[1]))
    try:
        return function()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_shape_contents_do_not_double_without_bound():
    doubling = " ".join(f"s{i + 1} = Concat<axis=0>(s{i}, s{i})" for i in range(40))
    tail = "t = ReduceMin(s40) f = Cast<to=1>(t) y = Add(x, f)"
    original = model(f"g (float[1] x) => (float[1] y) {{ {doubling} {tail} }}", s0=[1])
    result = limited(lambda: kneronnxopt.optimize(original, skip_check=True))
    assert result.ByteSize() < 10**6


def test_functions_that_call_functions_without_end_are_refused():
    original = model("g (float[1] x) => (float[1] y) { y = Relu(x) }")
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("d", 1)]
    make = onnx.helper.make_node
    for level in range(25):
        kind = ("Relu", "") if level == 0 else (f"f{level - 1}", "d")
        nodes = [make(kind[0], ["a"], ["b"], domain=kind[1]), make(kind[0], ["b"], ["c"], domain=kind[1])]
        original.functions.append(onnx.helper.make_function("d", f"f{level}", ["a"], ["c"], nodes, opsets))
    original.graph.node[0].op_type, original.graph.node[0].domain = "f24", "d"
    original.opset_import.append(opsets[1])
    with pytest.raises(kneronnxopt.OptimizationError, match="expand to more than"):
        kneronnxopt.optimize(original)


def test_huge_pools_are_not_made_convolutions():
    wide = model("g (float[1,1,100000] x) => (float[1,1,80001] y) { y = AveragePool<kernel_shape=[20000]>(x) }")
    result = limited(lambda: kneronnxopt.optimize(wide, skip_check=True, replace_avgpool_with_conv=True))
    assert operators(result) == {"Conv": 1}
    deep = model(
        "g (float[1,4096,600,600] x) => (float[1,4096,89,89] y) { y = AveragePool<kernel_shape=[512,512]>(x) }"
    )
    result = limited(lambda: kneronnxopt.optimize(deep, skip_check=True, replace_avgpool_with_conv=True))
    assert operators(result) == {"AveragePool": 1}


def test_weights_that_do_not_fit_their_shape_are_refused():
    original = model("g (float[3] x) => (float[3] y) { y = Add(x, w) }", w=weight(3))
    original.graph.initializer[0].ClearField("raw_data")
    original.graph.initializer[0].float_data.extend([1.0, 2.0])
    with pytest.raises(kneronnxopt.OptimizationError, match="'w' has data that do not fit its shape"):
        kneronnxopt.optimize(original)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("c = Conv(x, w, b) y = Add(c, k)", {"b": weight(3)}),
        ("c = Conv(x, w) y = BatchNormalization(c, s, k3, k3, k3)", {"s": weight(4), "k3": weight(3)}),
        ("c = Conv(x, w) y = Transpose<perm=[0,1,5]>(c)", {}),
        ("y = Conv<dilations=[2]>(x, w)", {}),
    ],
)
def test_inconsistent_nodes_raise_nothing_but_our_own_error(text, weights):
    parsed = onnx.parser.parse_graph(f"g (float[1,2,8,8] x) => (float[N,C,H,W] y) {{ {text} }}")
    arrays = {"w": weight(4, 2, 3, 3), "k": weight(4, 1, 1), **weights}
    parsed.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    original = onnx.helper.make_model(parsed, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    try:
        kneronnxopt.optimize(original, skip_check=True, replace_dilated_conv=True, fuse_bn=True)
    except kneronnxopt.OptimizationError as error:
        assert "\n" not in str(error)  # noqa: PT017 - refusing is as good as returning


def test_axes_out_of_range_are_not_reduced_to_the_spatial_ones():
    parsed = onnx.parser.parse_graph("g (float[1,2,3,4] x) => (float[1,2] y) { y = ReduceMean<axes=[2,7]>(x) }")
    original = onnx.helper.make_model(parsed, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    try:
        result = kneronnxopt.optimize(original, skip_check=True)
    except kneronnxopt.OptimizationError:
        return
    assert "GlobalAveragePool" not in operators(result)


def test_external_data_that_are_not_loaded_are_asked_for(tmp_path):
    onnx.save(
        model("g (float[3] x) => (float[3] y) { y = Add(x, w) }", w=weight(3)),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    bare = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    with pytest.raises(kneronnxopt.OptimizationError, match="'w' has external data that are not loaded"):
        kneronnxopt.optimize(bare)


def test_unnamed_constants_of_the_caller_stay_unnamed():
    original = model("g (float[2] x) => (float[2] y) { k = Constant<value = float[2] {1, 2}>() y = Add(x, k) }")
    original.graph.node[0].attribute[0].t.name = ""
    before = original.SerializeToString(deterministic=True)
    equal(original)
    assert original.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"overwrite_input_shapes": {"x": 5}},
        {"overwrite_input_shapes": {"x": "12"}},
        {"overwrite_input_shapes": ["x:2,99999999999999999999"]},
        {"skipped_optimizers": 5},
        {"output_path": "x" * 300},
        {"output_path": "a\0b"},
    ],
)
def test_bad_arguments_are_refused_with_our_own_error(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original = model("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    with pytest.raises(kneronnxopt.OptimizationError):
        kneronnxopt.optimize(original, **arguments)


def test_dynamic_dimensions_stay_dynamic_everywhere():
    original = model("g (float[N,3] x) => (float[N,3] y) { a = Relu(x) y = Neg(a) }")
    assert shapes(kneronnxopt.optimize(original))["a"][0] == "N"


def test_clear_shapes_keeps_what_was_declared_where_inference_finds_nothing():
    original = model("g (float[4,4] x, int64[1] a) => (float[4,2] y) { y = Slice(x, s, e, a) }", s=[0], e=[2])
    assert shapes(kneronnxopt.optimize(original, clear_shapes=True, skip_check=True))["y"] == (4, 2)


def test_subgraphs_stay_valid_without_their_shapes():
    result = kneronnxopt.optimize(branches("1,3"), clear_shapes=True)
    onnx.checker.check_model(result, full_check=True)


def test_declared_shape_is_trusted_where_onnx_infers_wrongly():
    # Broadcasting of a label over an extent of 1: onnx takes the extent of the first operand.
    original = model('g (float[1,3] x, float[4,3,2] z) => (float[3,2] y) { y = Einsum<equation="bi,bij->ij">(x, z) }')
    assert kneronnxopt.compare(original, kneronnxopt.optimize(original)).equal
