"""Reading hostile files and writing safely."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import onnx
import pytest

import kneronnxopt
from bad_files import KINDS, bad_file, good_model
from graphs import model, operators, weight
from kneronnxopt.model_io import load_model, save_model
from kneronnxopt.optimize import main


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_gets_one_clear_sentence(kind, tmp_path):
    path, words = bad_file(kind, tmp_path)
    with pytest.raises(kneronnxopt.OptimizationError) as caught:
        kneronnxopt.optimize(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_ends_the_command_with_2_and_leaves_nothing(kind, tmp_path, capsys):
    path, _ = bad_file(kind, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err
    assert sorted(tmp_path.iterdir()) == before


def test_external_data_through_a_link_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "m.onnx"
    onnx.save(good_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").rename(tmp_path / "weights.bin")
    (path.parent / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(kneronnxopt.OptimizationError, match="outside the model's folder"):
        load_model(path)


def test_external_data_are_read(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(good_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert kneronnxopt.compare(load_model(path), good_model()).equal


def test_model_in_memory_is_checked_too():
    broken = good_model()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(kneronnxopt.OptimizationError, match="NoSuchOperator"):
        kneronnxopt.optimize(broken)
    with pytest.raises(kneronnxopt.OptimizationError, match="model is a bytes"):
        kneronnxopt.optimize(b"bytes")


@pytest.mark.parametrize("axis", [3, -4, 99])
def test_axis_out_of_range_is_refused_before_onnx_reads_beyond_its_buffers(axis):
    original = model(
        f"g (float[2,3,4] x) => (float[2,3,4] y) {{ r = Relu(x) y = LayerNormalization<axis={axis}>(r, s) }}",
        s=weight(4),
    )
    with pytest.raises(kneronnxopt.OptimizationError, match=f"axis {axis}, but its input 'r' has rank 3"):
        kneronnxopt.optimize(original, skip_check=True)


def test_split_into_another_number_of_outputs_is_refused():
    original = model("g (float[2,6] x) => (float[2,3] y, float[2,3] z) { y, z = Split<num_outputs=3>(x) }", 18)
    with pytest.raises(kneronnxopt.OptimizationError, match="num_outputs 3, but 2 outputs"):
        kneronnxopt.optimize(original)


@pytest.mark.parametrize("place", ["is_a_folder", "missing/out.onnx", "file/out.onnx"])
def test_bad_destination_is_explained(place, tmp_path):
    (tmp_path / "is_a_folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kneronnxopt.OptimizationError) as caught:
        save_model(good_model(), tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_command_writes_beside_the_input_and_prints_a_table(tmp_path, capsys):
    onnx.save(good_model(), tmp_path / "net.onnx")
    assert main([str(tmp_path / "net.onnx")]) == 0
    assert (tmp_path / "net_optimized.onnx").is_file()
    output = capsys.readouterr().out
    assert "Conv" in output
    assert "net_optimized.onnx" in output


def test_every_option_of_optimize_is_on_the_command_line():
    flags = {"convert_f16": "--keep-f16", "skipped_optimizers": "--skip", "output_path": "--output"}
    shown = subprocess.run(
        [sys.executable, "-m", "kneronnxopt.optimize", "--help"], capture_output=True, text=True, check=True
    ).stdout
    parameters = list(inspect.signature(kneronnxopt.optimize).parameters)
    for name in parameters[1:]:
        if name != "extra_passes":  # Python objects
            assert flags.get(name, f"--{name.replace('_', '-')}") in shown


def test_options_of_the_command_reach_the_pipeline(tmp_path):
    original = model(
        """g (float16[1,4,8,8] x) => (float16[1,2,8,8] y, float16[1,2,8,8] z) {
            c = Conv(x, w) b = BatchNormalization(c, s, t, m, v) y, z = Split<axis=1>(b, n) }""",
        opset=15,
        w=weight(4, 4, 1, 1).astype(np.float16),
        n=[2, 2],
        **{name: abs(weight(4)).astype(np.float16) for name in "stmv"},
    )
    path, output = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save(original, path)
    assert main([str(path), "-o", str(output)]) == 0
    assert operators(onnx.load(output)) == {"Conv": 1, "BatchNormalization": 1, "Split": 1}
    options = ["--fuse-bn", "--replace-split", "--keep-f16", "--target-opset", "17"]
    assert main([str(path), "-o", str(output), *options]) == 0
    result = onnx.load(output)
    assert operators(result) == {"Conv": 1, "Slice": 2}
    assert result.opset_import[0].version == 17
    assert result.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


def test_command_lists_passes(capsys):
    assert main(["--list-passes"]) == 0
    assert capsys.readouterr().out.split() == kneronnxopt.pass_names()


def test_module_of_the_command_does_not_hide_the_function(tmp_path):
    import importlib

    onnx.save(good_model(), tmp_path / "net.onnx")
    importlib.import_module("kneronnxopt.optimize")
    assert kneronnxopt.optimize(tmp_path / "net.onnx").producer_name == "kneronnxopt"


def test_graph_without_outputs_is_refused():
    original = good_model()
    del original.graph.output[:]
    with pytest.raises(kneronnxopt.OptimizationError, match="no outputs"):
        kneronnxopt.optimize(original)


def test_nodes_that_do_not_fit_together_are_refused():
    parsed = onnx.parser.parse_graph("g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = Add(a, k) }")
    parsed.initializer.append(onnx.numpy_helper.from_array(weight(4), "k"))
    original = onnx.helper.make_model(parsed, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(kneronnxopt.OptimizationError, match=r"the model is inconsistent: .*Add"):
        kneronnxopt.optimize(original)


def test_message_of_the_checker_names_the_node():
    original = good_model()
    original.graph.node[1].name, original.graph.node[1].input[0] = "the_relu", "nowhere"
    with pytest.raises(kneronnxopt.OptimizationError, match="the_relu") as caught:
        kneronnxopt.optimize(original)
    assert "'nowhere'" in str(caught.value)


def test_link_is_followed_and_devices_are_refused(tmp_path):
    (tmp_path / "target.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("target.onnx")
    save_model(good_model(), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert onnx.load(tmp_path / "target.onnx") == good_model()
    with pytest.raises(kneronnxopt.OptimizationError, match="device"):
        save_model(good_model(), "/dev/null")


def test_command_does_not_overwrite_its_input(tmp_path, capsys):
    onnx.save(good_model(), tmp_path / "net.onnx")
    before = (tmp_path / "net.onnx").read_bytes()
    assert main([str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "the input itself" in capsys.readouterr().err
    assert (tmp_path / "net.onnx").read_bytes() == before


def test_command_takes_the_path_after_a_list_of_shapes(tmp_path):
    onnx.save(good_model(), tmp_path / "net.onnx")
    assert main(["--overwrite-input-shapes", "x:1,3,8,8", str(tmp_path / "net.onnx")]) == 0


def test_errors_on_the_command_line_name_the_file(tmp_path, capsys):
    broken = good_model()
    broken.graph.value_info.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [1]))
    onnx.save(broken, tmp_path / "net.onnx")
    assert main([str(tmp_path / "net.onnx")]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'net.onnx'}: Inferred shape and existing shape differ in rank" in error
    assert "--clear-shapes" in error
