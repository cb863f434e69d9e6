"""Options of optimize that concern shapes, types and weights."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

import kneronnxopt
from graphs import interface, model, operators, shapes, weight


def conv_net(shape: str = "N,3,32,32") -> onnx.ModelProto:
    return model(
        f"""g (float[{shape}] images) => (float[N,4] y) {{
            c = Conv(images, w) r = Relu(c) p = GlobalAveragePool(r) y = Flatten(p) }}""",
        w=weight(4, 3, 3, 3),
    )


@pytest.mark.parametrize(
    "spec", [["images:2,3,48,48"], ["2,3,48,48"], "2,3,48,48", "images:2,3,48,48", {"images": (2, 3, 48, 48)}]
)
def test_input_shapes_are_overwritten_and_propagated(spec):
    result = kneronnxopt.optimize(conv_net(), overwrite_input_shapes=spec)
    assert shapes(result)["images"] == (2, 3, 48, 48)
    assert shapes(result)["y"] == (2, 4)
    assert all(isinstance(dim, int) for shape in shapes(result).values() for dim in shape)


def test_input_name_with_colons():
    original = model("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    original.graph.input[0].name = original.graph.node[0].input[0] = "scope/in:0"
    result = kneronnxopt.optimize(original, overwrite_input_shapes=["scope/in:0:5,3"])
    assert shapes(result)["scope/in:0"] == (5, 3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (["nothing:1,3,32,32"], ("nothing", "images")),
        (["images:1,3"], ("rank",)),
        (["images:1,3,x,32"], ("'x'",)),
        (["images:1,3,0,32"], ("positive",)),
        (7, ("list of strings",)),
    ],
)
def test_bad_input_shapes_are_explained(spec, words):
    with pytest.raises(kneronnxopt.OptimizationError) as caught:
        kneronnxopt.optimize(conv_net(), overwrite_input_shapes=spec)
    assert all(word in str(caught.value) for word in words)


def test_bare_shape_needs_a_single_input():
    original = model("g (float[N] a, float[N] b) => (float[N] y) { y = Add(a, b) }")
    with pytest.raises(kneronnxopt.OptimizationError, match="'a', 'b'"):
        kneronnxopt.optimize(original, overwrite_input_shapes=["4"])


def test_dynamic_dimensions_stay_dynamic():
    result = kneronnxopt.optimize(conv_net())
    assert shapes(result)["images"][0] == "N"
    assert shapes(result)["y"] == ("N", 4)


def stale() -> onnx.ModelProto:
    original = model("g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = Neg(a) }")
    original.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [2, 3, 1]))
    return original


def test_conflicting_rank_has_the_documented_message():
    with pytest.raises(
        RuntimeError, match=r"^Inferred shape and existing shape differ in rank: \(2\) vs \(3\)"
    ) as caught:
        kneronnxopt.optimize(stale())
    assert "'a'" in str(caught.value)
    assert "clear_shapes=True" in str(caught.value)


def test_conflicting_dimension_has_the_documented_message():
    original = stale()
    original.graph.value_info[0].CopyFrom(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [2, 4]))
    with pytest.raises(RuntimeError, match=r"^Inferred shape and existing shape differ in dimension"):
        kneronnxopt.optimize(original)


def test_clear_shapes_mends_stale_shapes():
    result = kneronnxopt.optimize(stale(), clear_shapes=True)
    assert shapes(result)["a"] == (2, 3)


def half_model() -> onnx.ModelProto:
    # The parser takes the bits of a float16: 16384 is 2.0.
    return model(
        """g (float16[2,3] x) => (float16[2,5] y) { c = Constant<value = float16[1] {16384}>() a = MatMul(x, w)
           b = Mul(a, c) d = Cast<to=1>(b) e = Relu(d) y = Cast<to=10>(e) }""",
        w=weight(3, 5).astype(np.float16),
    )


def test_half_precision_becomes_single():
    result = kneronnxopt.optimize(half_model())
    onnx.checker.check_model(result, full_check=True)
    types = {
        v.type.tensor_type.elem_type for v in (*result.graph.input, *result.graph.value_info, *result.graph.output)
    }
    assert types == {onnx.TensorProto.FLOAT}
    assert {t.data_type for t in result.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert "Cast" not in operators(result)
    assert kneronnxopt.compare(half_model(), result, tolerance=1e-2).equal


def test_half_precision_stays_on_request():
    original = half_model()
    assert interface(kneronnxopt.optimize(original, convert_f16=False)) == interface(original)


def shared_weights() -> onnx.ModelProto:
    return model(
        """g (float[3,3] x) => (float[3,3] y) { a = Gemm<transB=1>(x, w) b = Gemm<transB=1>(a, w) c = MatMul(b, w)
           d = MatMul(c, w) y = Add(d, w) }""",
        w=weight(3, 3),
    )


@pytest.mark.parametrize(("level", "copies"), [(0, 1), (1, 3), (2, 5)])
def test_shared_weights_are_copied_by_level(level, copies):
    # Level 1: one for the Gemms, one for the MatMuls, one for the Add.
    result = kneronnxopt.optimize(
        shared_weights(), duplicate_shared_weights=level, skipped_optimizers=["fuse_matmul_add_into_gemm"]
    )
    assert len(result.graph.initializer) == copies


def test_unknown_level_is_refused():
    with pytest.raises(kneronnxopt.OptimizationError, match="duplicate_shared_weights=3"):
        kneronnxopt.optimize(shared_weights(), duplicate_shared_weights=3)


def test_descriptions_are_cleared_on_request():
    original = conv_net()
    original.doc_string = original.graph.node[0].doc_string = "secret"
    assert b"secret" in kneronnxopt.optimize(original).SerializeToString()
    assert b"secret" not in kneronnxopt.optimize(original, clear_descriptions=True).SerializeToString()


def test_unknown_pass_name_lists_near_ones():
    with pytest.raises(kneronnxopt.OptimizationError, match="eliminate_nop_transpose"):
        kneronnxopt.optimize(conv_net(), skipped_optimizers=["eliminate_nop_transpos"])


def test_target_opset_converts():
    result = kneronnxopt.optimize(conv_net(), target_opset=18)
    assert result.opset_import[0].version == 18


def test_new_opset_is_optimised_with_a_warning(caplog):
    original = model("g (float[2] x) => (float[2] y) { a = Identity(x) y = Relu(a) }", 20, 9)
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        result = kneronnxopt.optimize(original)
    assert operators(result) == {"Relu": 1}
    assert "opset 20" in caplog.text


def test_a_path_is_accepted_and_the_result_written(tmp_path):
    onnx.save(conv_net(), tmp_path / "in.onnx")
    result = kneronnxopt.optimize(tmp_path / "in.onnx", output_path=tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == result
    assert result.producer_name == "kneronnxopt"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]


def test_a_pass_that_changes_the_result_is_found_and_left_out(monkeypatch, caplog):
    from kneronnxopt.passes import fuse_bias

    real = fuse_bias.per_channel
    monkeypatch.setattr(fuse_bias, "per_channel", lambda *args: None if real(*args) is None else real(*args) + 1)
    original = model(
        "g (float[1,8,8,8] x) => (float[1,4,6,6] y) { i = Identity(x) c = Conv(i, w) y = Add(c, k) }",
        w=weight(4, 8, 3, 3),
        k=weight(4, 1, 1),
    )
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        result = kneronnxopt.optimize(original)
    assert "'fuse_add_into_conv' changes the result" in caplog.text
    assert operators(result) == {"Conv": 1, "Add": 1}
    assert kneronnxopt.compare(original, result).equal


def test_passes_from_outside_run_with_ours():
    from kneronnxopt.passes import NodePass
    from kneronnxopt.passes._graph import replace_node

    class NegNegToIdentity(NodePass):
        """x -> Neg -> Neg -> y   becomes   x -> Identity -> y."""

        name = "neg_neg_to_identity"
        op_types = ("Neg",)

        def rewrite(self, node):
            before = node.inputs[0].producer()
            if before is None or before.op_type != "Neg":
                return False
            replace_node(node, "Identity", [before.inputs[0]])
            return True

    original = model("g (float[2] x) => (float[2] y) { a = Neg(x) b = Neg(a) y = Relu(b) }")
    assert operators(kneronnxopt.optimize(original)) == {"Neg": 2, "Relu": 1}
    assert operators(kneronnxopt.optimize(original, extra_passes=[NegNegToIdentity()])) == {"Relu": 1}


def test_onnx_simplifier_runs_on_request_and_finds_nothing_wrong():
    original = model(
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) b = Softmax(a) c = Relu(x) d = Softmax(c) y = Add(b, d) }"
    )
    result = kneronnxopt.optimize(original, onnxsim=True)
    assert operators(result) == {"Relu": 1, "Softmax": 1, "Add": 1}
    assert kneronnxopt.compare(original, result).equal


def test_a_pass_that_fails_is_left_out_and_named(caplog):
    from kneronnxopt.passes import NodePass

    class Failing(NodePass):
        """y = Relu(x)   becomes   an error."""

        name = "failing"
        op_types = ("Relu",)

        def rewrite(self, node):
            node.graph.remove(node.inputs[0].producer() if node.inputs[0].producer() else node)
            raise KeyError(node.name)

    original = model("g (float[2,3] x) => (float[2,3] y) { a = Identity(x) b = Neg(a) y = Relu(b) }")
    result = kneronnxopt.optimize(original, extra_passes=[Failing()])
    assert operators(result) == {"Neg": 1, "Relu": 1}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "'failing'" in record.message


def test_shapes_that_the_operators_do_not_take_are_refused():
    with pytest.raises(kneronnxopt.OptimizationError, match=r"overwrite_input_shapes=images:1,4,32,32"):
        kneronnxopt.optimize(conv_net(), overwrite_input_shapes="images:1,4,32,32")


@pytest.mark.parametrize("opset", [3, 999])
def test_an_opset_that_does_not_exist_is_refused(opset):
    with pytest.raises(kneronnxopt.OptimizationError, match=f"target_opset={opset} is not between"):
        kneronnxopt.optimize(conv_net(), target_opset=opset)


def test_compare_takes_paths(tmp_path):
    onnx.save(conv_net(), tmp_path / "net.onnx")
    assert kneronnxopt.compare(tmp_path / "net.onnx", conv_net()).equal
    with pytest.raises(kneronnxopt.OptimizationError, match="second is a int"):
        kneronnxopt.compare(conv_net(), 3)


def test_cleared_shape_of_stft_is_the_declared_one():
    # onnx 1.23 infers 16 frequencies; onnxruntime computes 9, as declared.
    original = model(
        "g (float[1,128,1] x) => (float[1,15,9,2] y) { y = STFT(x, step, window) }",
        step=np.array(8),
        window=abs(weight(16)),
    )
    result = kneronnxopt.optimize(original, clear_shapes=True)
    assert shapes(result)["y"] == (1, 15, 9, 2)
