"""Each pass acts when it must, only then, and never changes a result."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import interface, model, operators, weight
from kneronnxopt.passes.fold_constants import FoldConstants
from rewriting import rewritten, run_alone

few = settings(max_examples=15, deadline=None)


def optimized(original: onnx.ModelProto, **options) -> onnx.ModelProto:
    """Optimise without the built-in check, and check from outside."""
    before = original.SerializeToString(deterministic=True)
    result = kneronnxopt.optimize(original, skip_check=True, **options)
    assert original.SerializeToString(deterministic=True) == before, "the caller's model was changed"
    onnx.checker.check_model(result, full_check=True)
    comparison = kneronnxopt.compare(original, result, tolerance=1e-5)
    assert comparison.equal, comparison.differences
    return result


def test_identity_and_inference_dropout_go():
    original = model(
        """g (float[2,3] x) => (float[2,3] y) { a = Identity(x) b = Dropout(a) c = Relu(b) y = Identity(c) }"""
    )
    result = optimized(original)
    assert operators(result) == {"Relu": 1}
    assert interface(result) == interface(original)


def test_identity_from_input_to_output_stays():
    assert operators(optimized(model("g (float[2] x) => (float[2] y) { y = Identity(x) }"))) == {"Identity": 1}


def test_training_dropout_stays():
    original = model("g (float[2] x) => (float[2] y) { y = Dropout(x, r, t) }", r=np.float32(0.5), t=np.array(True))
    assert operators(kneronnxopt.optimize(original, skip_check=True)) == {"Dropout": 1}


def test_shape_arithmetic_is_folded():
    original = model(
        """g (float[2,3,4] x) => (float[2,12] y) {
            s = Shape(x) n = Gather<axis=0>(s, i) u = Unsqueeze(n, z) t = Concat<axis=0>(u, m) y = Reshape(x, t) }""",
        i=np.array(0),
        z=[0],
        m=[-1],
    )
    assert operators(optimized(original)) == {"Reshape": 1}


@pytest.mark.parametrize("opset", [14, 15, 18])
def test_shape_honours_start_and_end(opset):
    attributes = "<start=1, end=-1>" if opset >= 15 else ""
    size = 2 if opset >= 15 else 4
    original = model(
        f"g (float[2,3,4,5] x) => (int64[{size}] y) {{ s = Shape{attributes}(x) y = Add(s, one) }}", opset, one=[1]
    )
    optimized(original)


def test_cast_like_becomes_cast_and_keeps_its_attributes():
    original = model("g (float[3] x, float16[1] t) => (float16[3] y) { y = CastLike(x, t) }", 19, 9)
    assert operators(optimized(original, convert_f16=False)) == {"Cast": 1}
    eight = onnx.TensorProto.FLOAT8E4M3FN
    original.graph.node[0].attribute.append(onnx.helper.make_attribute("saturate", 0))
    for value in (original.graph.input[1], original.graph.output[0]):
        value.type.tensor_type.elem_type = eight
    cast = kneronnxopt.optimize(original, skip_check=True).graph.node[0]
    assert {attribute.name: attribute.i for attribute in cast.attribute} == {"to": eight, "saturate": 0}


def test_zero_bias_that_is_cast_and_expanded_goes():
    original = model(
        """g (float[1,8,8,8] x) => (float[1,4,6,6] y) {
            z = CastLike(zero, x) b = Expand(z, shape) y = Conv(x, w, b) }""",
        zero=np.zeros(1, np.float64),
        shape=[4],
        w=weight(4, 8, 3, 3),
    )
    assert operators(optimized(original)) == {"Conv": 1}


def test_large_results_are_not_folded():
    original = model(
        """g (float[1] x) => (float[1000,1000] y) { big = Expand(c, shape) y = Add(x, big) }""",
        c=weight(1, 1),
        shape=[1000, 1000],
    )
    result = optimized(original)
    assert result.ByteSize() < 2 * original.ByteSize() + 1000


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.bool_]),
    st.sampled_from(["", "<upper=0>", "<upper=1>"]),
    st.lists(st.integers(1, 5), min_size=2, max_size=3),
    st.integers(-6, 6),
)
def test_trilu_of_a_constant_is_folded(dtype, upper, shape, k):
    dims = ",".join(map(str, shape))
    name = {"float32": "float", "float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    array = np.random.default_rng(0).uniform(-3, 3, shape).astype(dtype)
    result = ",".join(map(str, (2 * shape[0], *shape[1:])))
    original = model(
        f"g ({name}[{dims}] x) => ({name}[{result}] y) {{ a = Trilu{upper}(w, k) y = Concat<axis=0>(a, x) }}",
        w=array,
        k=np.array(k, np.int64),
    )
    feeds = {"x": np.ones(shape, dtype)}
    assert rewritten(original, FoldConstants(), feeds=feeds, tolerance=0.0, pipeline=False)[0] == {"Concat": 1}


def test_causal_mask_is_folded():
    original = model(
        """g (float[1,2,6,6] x) => (float[1,2,6,6] y) {
            a = Trilu<upper=0>(ones) b = Cast<to=9>(a) c = Not(b) m = Where(c, low, zero) y = Add(x, m) }""",
        ones=np.ones((6, 6), np.float32),
        low=np.float32(-10000),
        zero=np.float32(0),
    )
    assert rewritten(original, FoldConstants())[0] == {"Add": 1}


def test_large_trilu_stays():
    original = model(
        """g (float[2000,2000] x) => (float[2000,2000] y) {
            o = ConstantOfShape(n) a = Trilu(o) y = Mul(x, a) }""",
        n=[2000, 2000],
    )
    assert run_alone(original, FoldConstants())[1] == {}


def test_random_numbers_are_not_folded():
    original = model("g (float[2] x) => (float[2] y) { r = RandomNormal<shape=[2]>() y = Add(x, r) }")
    assert "RandomNormal" in operators(kneronnxopt.optimize(original, skip_check=True))


def test_integer_division_of_the_smallest_number_does_not_kill_the_process():
    original = model(
        "g (int64[1] x) => (int64[1] y) { q = Div(a, b) y = Add(x, q) }",
        a=np.array([np.iinfo(np.int64).min]),
        b=np.array([-1]),
    )
    kneronnxopt.optimize(original, skip_check=True)  # onnxruntime itself dies of this, so no comparison


def test_flip_is_not_taken_for_a_full_slice():
    original = model("g (float[4] x) => (float[4] y) { y = Slice(x, s, e, a, t) }", s=[-1], e=[-9], a=[0], t=[-1])
    assert operators(optimized(original)) == {"Slice": 1}


@few
@given(st.permutations(range(4)), st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4))
def test_transposes_are_joined(p, q, dims):
    turned = [dims[axis] for axis in (p[a] for a in q)]
    original = model(
        f"""g (float[{",".join(map(str, dims))}] x) => (float[{",".join(map(str, turned))}] y) {{
            r = Relu(x) a = Transpose<perm={list(p)}>(r) b = Transpose<perm={list(q)}>(a) y = Neg(b) }}"""
    )
    assert operators(optimized(original)).get("Transpose", 0) <= 1


@few
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.data())
def test_reshape_chains_are_joined(dims, data):
    axis = data.draw(st.integers(0, len(dims)))
    size = int(np.prod(dims))
    original = model(
        f"""g (float[{",".join(map(str, dims))}] x) => (float[{size}] y) {{
            r = Relu(x) f = Flatten<axis={axis}>(r) u = Unsqueeze(f, z) v = Reshape(u, m) y = Neg(v) }}""",
        z=[0],
        m=[-1],
    )
    counts = operators(optimized(original))
    assert counts.get("Unsqueeze", 0) + counts.get("Flatten", 0) == 0
    assert counts.get("Reshape", 0) <= 1


@pytest.mark.parametrize("operator", ["Add", "Sub"])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1,), ()])
@pytest.mark.parametrize("bias", [True, False])
def test_added_constant_becomes_bias(operator, shape, bias):
    original = model(
        f"""g (float[1,3,8,8] x) => (float[1,4,6,6] y) {{
            c = Conv(x, w{", b" if bias else ""}) y = {operator}(c, k) }}""",
        w=weight(4, 3, 3, 3),
        k=weight(*shape),
        **({"b": weight(4)} if bias else {}),
    )
    assert operators(optimized(original)) == {"Conv": 1}


def test_added_constant_that_is_no_bias_stays():
    original = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w) y = Add(c, k) }",
        w=weight(4, 3, 3, 3),
        k=weight(6, 6),
    )
    assert operators(optimized(original)) == {"Conv": 1, "Add": 1}


def test_result_with_another_user_is_not_fused():
    original = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y, float[1,4,6,6] z) { c = Conv(x, w) y = Add(c, k) z = Relu(c) }",
        w=weight(4, 3, 3, 3),
        k=weight(4, 1, 1),
    )
    assert operators(optimized(original))["Add"] == 1


def test_bias_that_overflows_stays_apart():
    huge = np.full((4, 1, 1), 3e38, dtype=np.float32)
    original = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w, b) y = Add(c, k) }",
        w=weight(4, 3, 3, 3),
        b=huge.reshape(4),
        k=huge,
    )
    result = kneronnxopt.optimize(original, skip_check=True)
    assert operators(result)["Add"] == 1


@few
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8), st.sampled_from(["", "1,"]))
def test_matmul_and_add_become_gemm(m, k, n, lead):
    original = model(
        f"g (float[{m},{k}] x) => (float[{m},{n}] y) {{ p = MatMul(x, w) y = Add(b, p) }}",
        w=weight(k, n) + 3,
        b=weight(*([1, n] if lead else [n])) + 3,
    )
    assert operators(optimized(original)) == {"Gemm": 1}


def test_matmul_and_add_of_rank_3_stay():
    original = model(
        "g (float[2,3,4] x) => (float[2,3,5] y) { p = MatMul(x, w) y = Add(p, b) }", w=weight(4, 5), b=weight(5)
    )
    assert operators(optimized(original)) == {"MatMul": 1, "Add": 1}


def batch_norm(channels: int) -> dict[str, np.ndarray]:
    """Weights s, o, m, v of a BatchNormalization."""
    return {
        "s": weight(channels, seed=1),
        "o": weight(channels, seed=2),
        "m": weight(channels, seed=3),
        "v": np.abs(weight(channels, seed=4)) + 0.1,
    }


@pytest.mark.parametrize("trans_b", [0, 1])
def test_batch_norm_goes_into_gemm(trans_b):
    original = model(
        f"""g (float[2,3] x) => (float[2,5] y) {{
            a = Gemm<transB={trans_b}>(x, w, b) y = BatchNormalization(a, s, o, m, v) }}""",
        w=weight(*((5, 3) if trans_b else (3, 5))),
        b=weight(5),
        **batch_norm(5),
    )
    assert operators(optimized(original)) == {"Gemm": 1}


def test_batch_norm_goes_into_conv_only_on_request():
    original = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w) y = BatchNormalization(c, s, o, m, v) }",
        w=weight(4, 3, 3, 3),
        **batch_norm(4),
    )
    assert operators(optimized(original)) == {"Conv": 1, "BatchNormalization": 1}
    assert operators(optimized(original, fuse_bn=True)) == {"Conv": 1}


def test_average_over_the_whole_map_becomes_global():
    pool = model("g (float[1,3,7,5] x) => (float[1,3,1,1] y) { y = AveragePool<kernel_shape=[7,5]>(x) }")
    assert operators(optimized(pool)) == {"GlobalAveragePool": 1}
    mean = model("g (float[1,3,7,5] x) => (float[1,3,1,1] y) { y = ReduceMean<axes=[-1,2]>(x) }")
    assert operators(optimized(mean)) == {"GlobalAveragePool": 1}
    flat = model("g (float[2,3,7,5] x) => (float[2,3] y) { y = ReduceMean<keepdims=0>(x, a) }", 18, a=[2, 3])
    assert operators(optimized(flat)) == {"GlobalAveragePool": 1, "Reshape": 1}
    channels = model("g (float[1,3,7,5] x) => (float[1,1,1,5] y) { y = ReduceMean<axes=[1,2]>(x) }")
    assert operators(optimized(channels)) == {"ReduceMean": 1}


@pytest.mark.parametrize("kind", ["matmul", "matmul_bias", "gemm", "gemm_bias"])
def test_qkv_projections_become_one(kind):
    widths = {"q": 8, "k": 4, "v": 4}  # grouped queries: k and v are narrower
    rows = "6" if "gemm" in kind else "2,6"
    body, weights = "", {}
    for name, width in widths.items():
        weights[f"w{name}"] = weight(8, width, seed=ord(name))
        weights[f"b{name}"] = weight(width, seed=ord(name) + 1)
        if "gemm" in kind:
            body += f" {name} = Gemm(x, w{name}{f', b{name}' if 'bias' in kind else ''})"
        elif "bias" in kind:
            body += f" p{name} = MatMul(x, w{name}) {name} = Add(b{name}, p{name})"
        else:
            body += f" {name} = MatMul(x, w{name})"
    outputs = ", ".join(f"float[{rows},{width}] {name}" for name, width in widths.items())
    used = {name: array for name, array in weights.items() if name[0] == "w" or "bias" in kind}
    original = model(f"g (float[{rows},8] x) => ({outputs}) {{ {body} }}", **used)
    counts = operators(optimized(original))
    assert counts["Slice"] == 3
    assert counts.get("MatMul", 0) + counts.get("Gemm", 0) == 1
    assert operators(optimized(original, skip_fuse_qkv=True)) == operators(original)


def test_two_or_four_projections_are_not_qkv():
    for count in (2, 4):
        names = "abcd"[:count]
        body = " ".join(f"{name} = MatMul(x, w{name})" for name in names)
        outputs = ", ".join(f"float[2,8] {name}" for name in names)
        original = model(
            f"g (float[2,8] x) => ({outputs}) {{ {body} }}",
            **{f"w{n}": weight(8, 8, seed=i) for i, n in enumerate(names)},
        )
        assert operators(optimized(original)) == {"MatMul": count}


@few
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_average_pool_becomes_conv(kernel, strides, pad, include, ceil, auto_pad):
    if auto_pad != "NOTSET":
        pad = ceil = 0
        kernel = tuple(map(max, kernel, strides))  # onnxruntime refuses SAME where the window skips elements
    pad = min(pad, min(kernel) - 1)
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "count_include_pad": include,
        "ceil_mode": ceil,
        **({"pads": [pad] * 4} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}),
    }
    node = onnx.helper.make_node("AveragePool", ["x"], ["y"], **attributes)
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [tensor("x", 1, [1, 3, 9, 8])], [tensor("y", 1, [1, 3, None, None])])
    original = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    counts = operators(optimized(original, replace_avgpool_with_conv=True))
    # A window that lies in the padding altogether has no average; such a pool stays as it is.
    sizes = [dim.dim_value for dim in kneronnxopt.optimize(original).graph.output[0].type.tensor_type.shape.dim[2:]]
    last_starts = [(size - 1) * stride - pad for size, stride in zip(sizes, strides, strict=True)]
    empty = auto_pad == "NOTSET" and (last_starts[0] >= 9 or last_starts[1] >= 8)
    if not (ceil and include) and not empty and kernel != (1, 1):
        assert "AveragePool" not in counts


@pytest.mark.parametrize(("height", "width", "expected"), [(112, 112, "AveragePool"), (37, 41, "ReduceMean")])
@pytest.mark.parametrize("opset", [13, 18])
def test_large_global_average_pool_is_split(height, width, expected, opset):
    original = model(f"g (float[1,2,{height},{width}] x) => (float[1,2,1,1] y) {{ y = GlobalAveragePool(x) }}", opset)
    assert operators(optimized(original)) == {"GlobalAveragePool": 1}
    assert expected in operators(optimized(original, defuse_gaps=True))


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_conv_gets_a_zero_inserted_kernel(group, stride):
    size = 24 - 4 if stride == 1 else 10
    original = model(
        f"""g (float[1,4,24,24] x) => (float[1,8,{size},{size}] y) {{
            y = Conv<dilations=[2,2], strides=[{stride},{stride}], group={group}>(x, w) }}""",
        w=weight(8, 4 // group, 3, 3),
    )
    result = optimized(original, replace_dilated_conv=True)
    kernel = next(t.dims for t in result.graph.initializer)
    assert list(kernel[2:]) == [5, 5]
    dilations = [a.ints for a in result.graph.node[0].attribute if a.name == "dilations"]
    assert all(set(d) == {1} for d in dilations)


def test_dilated_conv_beyond_the_limit_stays():
    original = model(
        "g (float[1,1,40,40] x) => (float[1,1,28,28] y) { y = Conv<dilations=[6,6]>(x, w) }", w=weight(1, 1, 3, 3)
    )
    result = optimized(original, replace_dilated_conv=True)
    assert [list(a.ints) for a in result.graph.node[0].attribute if a.name == "dilations"] == [[6, 6]]


@pytest.mark.parametrize(
    ("a", "b", "constants", "expected"),
    [
        ((2, 3, 4), (4, 5), "b", {"MatMul": 1}),
        ((1, 3, 4), (1, 4, 5), "b", {"MatMul": 1}),
        ((3, 6, 4), (3, 4, 5), "b", {"Slice": 3, "MatMul": 3, "Concat": 1}),
        ((6, 4), (2, 4, 5), "a", {"Transpose": 2, "MatMul": 1}),
        ((3, 6, 4), (3, 4, 5), "", {"Reshape": 3, "MatMul": 1}),
        ((2, 3, 6, 4), (2, 3, 4, 5), "", {"MatMul": 1}),
        ((2, 2, 3, 6, 4), (2, 2, 3, 4, 5), "", {"Reshape": 3, "MatMul": 1}),
    ],
)
def test_matmul_takes_a_supported_form(a, b, constants, expected):
    result = [*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]]
    declared = [f"float[{','.join(map(str, s))}] {n}" for n, s in (("a", a), ("b", b)) if n not in constants]
    original = model(
        f"g ({', '.join(declared)}) => (float[{','.join(map(str, result))}] y) {{ y = MatMul(a, b) }}",
        **{name: weight(*shape) for name, shape in (("a", a), ("b", b)) if name in constants},
    )
    counts = operators(optimized(original, opt_matmul=True))
    counts.pop("Squeeze", None)
    assert counts == expected


def test_onnx_simplifier_passes_can_be_skipped_by_name():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) b = Relu(a) c = Relu(x) d = Relu(c) y = Add(b, d) }"
    )
    assert operators(optimized(original))["Relu"] == 1
    kept = optimized(
        original, skipped_optimizers=["eliminate_consecutive_idempotent_ops", "eliminate_common_subexpression"]
    )
    assert operators(kept)["Relu"] == 4


def test_own_passes_can_be_skipped_by_name():
    original = model(
        "g (float[2,3] x) => (float[2,5] y) { p = MatMul(x, w) y = Add(p, b) }", w=weight(3, 5), b=weight(5)
    )
    assert operators(optimized(original, skipped_optimizers=["fuse_matmul_add_into_gemm"]))["MatMul"] == 1


def test_subgraphs_and_captured_values_survive():
    then_graph = onnx.parser.parse_graph("t () => (float[2,2] a) { a = Add(p, k) }")
    else_graph = onnx.parser.parse_graph("e () => (float[2,2] a) { a = Identity(p) }")
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=then_graph, else_branch=else_graph)
    original = model(
        "g (float[2,2] x, bool[1] c) => (float[2,2] y) { p = Identity(x) y = Identity(p) }", k=weight(2, 2)
    )
    original.graph.node[1].CopyFrom(node)
    result = optimized(original)
    assert "If" in operators(result)


def test_unsorted_nodes_are_sorted():
    original = model("g (float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }")
    first = onnx.NodeProto()
    first.CopyFrom(original.graph.node[0])
    original.graph.node.append(first)
    del original.graph.node[0]
    result = kneronnxopt.optimize(original, skip_check=True)
    onnx.checker.check_model(result)
    assert [node.op_type for node in result.graph.node] == ["Relu", "Neg"]
    assert [node.op_type for node in original.graph.node] == ["Neg", "Relu"]


def test_initializers_that_callers_may_override_are_not_folded():
    original = model("g (float[2] x, float[2] w) => (float[2] y) { v = Neg(w) y = Add(x, v) }", w=weight(2))
    result = optimized(original)
    assert interface(result) == interface(original)
    assert operators(result) == {"Neg": 1, "Add": 1}
    assert [tensor.name for tensor in result.graph.initializer] == ["w"]


def test_old_models_keep_initializers_among_their_inputs():
    original = model("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", 8, 3, w=weight(2))
    assert interface(optimized(original)) == interface(original)


def test_a_classifier_that_returns_maps_is_optimised():
    original = model(
        """g (float[1,3] x) => (float[1,2] y) {
            i = Identity(x) h = Gemm(i, w) s = Softmax(h) y = Identity(s) }""",
        w=weight(3, 2),
    )
    zip_map = onnx.helper.make_node("ZipMap", ["s"], ["m"], domain="ai.onnx.ml", classlabels_int64s=[7, 9])
    maps = onnx.helper.make_map_type_proto(
        onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    )
    kind = onnx.helper.make_sequence_type_proto(maps)
    original.graph.node.append(zip_map)
    original.graph.output.append(onnx.helper.make_value_info("m", kind))
    original.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    result = optimized(original)
    assert operators(result) == {"Gemm": 1, "Softmax": 1, "ZipMap": 1}
    assert interface(result) == interface(original)


@pytest.mark.parametrize(
    ("dims", "node", "shape", "goes"),
    [
        ("N,3,4", "Add(r, k)", (4,), True),
        ("N,3,4", "Add(k, r)", (1, 1, 4), True),
        ("N,M,4", "Sub(r, k)", (), True),
        ("N,M,4", "Sub(r, k)", (3, 4), False),
        ("N,3,4", "Sub(k, r)", (4,), False),
        ("N,3,4", "Add(r, k)", (2, 1, 1), False),
        ("N,3,1", "Add(r, k)", (4,), False),
        ("N", "Add(r, k)", (1, 1), False),
    ],
)
def test_zeros_are_added_to_nothing_of_unknown_batch(dims, node, shape, goes):
    rank = max(len(dims.split(",")), len(shape))
    symbols = ",".join("ABC"[:rank])
    original = model(
        f"g (float[{dims}] x) => (float[{symbols}] y) {{ r = Relu(x) a = {node} y = Tanh(a) }}",
        k=np.zeros(shape, np.float32),
    )
    counts = operators(optimized(original))
    assert counts.get("Add", 0) + counts.get("Sub", 0) + counts.get("Neg", 0) == (not goes)
