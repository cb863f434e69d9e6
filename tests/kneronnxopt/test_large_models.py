"""Models with weights in files of their own go from file to file."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import kneronnxopt
from bad_files import KINDS, bad_file
from graphs import model, operators, weight
from kneronnxopt.large_model_fast_proc import main
from kneronnxopt.model_io import load_model


@pytest.fixture
def stored(tmp_path):
    """A model with its weights in `weights.bin`; q, k and v read a weight that others share."""
    original = model(
        """g (float[2,64] x) => (float[2,64] y, float[2,64] z) {
            i = Identity(x) a = MatMul(i, w) b = Add(a, k) r = Relu(b) y = MatMul(r, w) z = Gemm(r, w) }""",
        w=weight(64, 64),
        k=weight(64),
    )
    onnx.save(original, tmp_path / "in.onnx", save_as_external_data=True, location="weights.bin", size_threshold=1024)
    return tmp_path / "in.onnx", load_model(tmp_path / "in.onnx")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_weights_are_copied_through(stored, tmp_path, level):
    path, original = stored
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    result = kneronnxopt.optimize(path, output_path=tmp_path / "out.onnx", duplicate_shared_weights=level)
    assert operators(result).get("Identity", 0) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx", "out.onnx", "out.onnx.data", "weights.bin"]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    written = load_model(tmp_path / "out.onnx")
    assert kneronnxopt.compare(original, written).equal
    assert onnx.load(tmp_path / "out.onnx", load_external_data=False) == result
    assert (tmp_path / "out.onnx.data").stat().st_size >= 64 * 64 * 4


def test_weights_that_no_pass_needs_are_not_read(stored, tmp_path, monkeypatch):
    path, _ = stored

    def refuse(self):
        raise AssertionError(f"{self.name} was read")

    monkeypatch.setattr(ir.ExternalTensor, "numpy", refuse)
    monkeypatch.setattr(ir.ExternalTensor, "tobytes", refuse)
    kneronnxopt.optimize(path, output_path=tmp_path / "out.onnx", skip_check=True, duplicate_shared_weights=0)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(
            next(t for t in load_model(tmp_path / "out.onnx").graph.initializer if t.name == "w")
        ),
        weight(64, 64),
    )


def test_without_an_output_path_the_weights_are_in_the_message(stored):
    path, original = stored
    result = kneronnxopt.optimize(path)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in result.graph.initializer)
    assert kneronnxopt.compare(original, result).equal


def test_wrong_pass_is_found_in_files_too(stored, tmp_path, monkeypatch, caplog):
    from kneronnxopt.passes import eliminate_identity

    path, original = stored
    real = eliminate_identity.bypass

    def wrong(node, value):
        bias = next(v for v in node.graph.initializers.values() if v.name == "k")
        bias.const_value = ir.tensor(np.ones(64, np.float32), name="k")
        return real(node, value)

    monkeypatch.setattr(eliminate_identity, "bypass", wrong)
    kneronnxopt.optimize(path, output_path=tmp_path / "out.onnx")
    assert "'eliminate_identity' changes the result" in caplog.text
    assert kneronnxopt.compare(original, load_model(tmp_path / "out.onnx")).equal


def test_command(stored, tmp_path, capsys, caplog):
    path, original = stored
    assert main([str(path), "--onnxtool", "--skip-fuse-qkv", "--overwrite-input-shapes", "x:2,64"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'in_optimized.onnx'}\n"
    assert "--onnxtool has no effect" in caplog.text
    assert kneronnxopt.compare(original, load_model(tmp_path / "in_optimized.onnx")).equal


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_ends_with_2_and_leaves_nothing(kind, tmp_path, capsys):
    path, words = bad_file(kind, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words)
    assert sorted(tmp_path.iterdir()) == before
