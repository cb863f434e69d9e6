"""``python -m kneronnxopt.onnx_vs_onnx``: what it prints, and its exit code."""

from __future__ import annotations

import math
import platform
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import model, weight
from kneronnxopt import checking
from kneronnxopt.onnx_vs_onnx import main
from kneronnxopt.verify import difference_of

TWO_OUTPUTS = "g (float[N,3] x) => (float[N,5] y, float[N,3] z) { y = MatMul(x, w) z = Relu(x) }"


@pytest.fixture
def files(tmp_path):
    def write(*models: onnx.ModelProto) -> list[str]:
        paths = [str(tmp_path / f"{index}.onnx") for index in range(len(models))]
        for path, proto in zip(paths, models, strict=True):
            onnx.save(proto, path)
        return paths

    return write


def two_outputs(factor: float = 1.0, shape: str = "N,3") -> onnx.ModelProto:
    return model(TWO_OUTPUTS.replace("float[N,3] x", f"float[{shape}] x"), w=weight(3, 5) * np.float32(factor))


def test_equal_models(files, capsys):
    assert main(files(two_outputs(), two_outputs(1 + 1e-5))) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("equal: largest relative difference 1")
    assert printed.err == ""


def test_different_models(files, capsys):
    assert main(files(two_outputs(), two_outputs(1.5))) == 1
    assert capsys.readouterr().out == ("different: largest relative difference 0.5 in output 'y', tolerance 0.001\n")


@pytest.mark.parametrize("option", ["--separate", "--seperate"])
def test_each_output_on_request(files, capsys, option):
    assert main([*files(two_outputs(), two_outputs(1.5)), option]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        ["output", "shape", "difference"],
        ["y", "1x5", "0.5", "different"],
        ["z", "1x3", "0"],
    ]


def test_both_shapes_of_an_output_are_printed(files, capsys):
    first = model("g (float[2,3] x) => (float[a,b] y) { y = Relu(x) }")
    second = model("g (float[2,3] x) => (float[a,b] y) { y = Transpose(x) }")
    assert main([*files(first, second), "--separate"]) == 1
    assert "2x3 and 3x2" in capsys.readouterr().out


def test_small_scores_beside_large_coordinates_count(files, capsys):
    text = "g (float[1,16] x) => (float[1,{n},16] y) {{ b = Mul(x, c) u = Unsqueeze(x, a) v = Unsqueeze(b, a) {} }}"
    weights = {"c": np.float32(1000), "a": [1]}
    first = model(text.format("y = Concat<axis=1>(u, v)", n=2), **weights)
    second = model(text.format("w = Mul(u, h) y = Concat<axis=1>(w, v)", n=2), h=np.float32(0.5), **weights)
    assert main(files(first, second)) == 1
    assert "difference 0.5 " in capsys.readouterr().out


@given(
    shape=st.lists(st.integers(1, 6), max_size=4),
    scale=st.floats(1e-30, 1e30),
    seed=st.integers(0, 2**32 - 1),
)
def test_rounding_errors_are_no_difference(shape, scale, seed):
    expected = np.random.default_rng(seed).standard_normal(shape) * scale
    rounded = expected.astype(np.float32)
    assert difference_of({"y": expected}, {"y": rounded})["y"] <= 1e-4
    assert difference_of({"y": expected}, {"y": expected})["y"] == 0
    assert difference_of({"y": expected}, {"y": expected * 1.5})["y"] == pytest.approx(0.5)


def test_maps_of_probabilities_agree_up_to_rounding():
    first = [{7: 0.25, 9: 0.75}]
    assert difference_of({"y": first}, {"y": [{7: 0.25, 9: 0.7500001}]})["y"] == pytest.approx(1.3e-7, rel=0.1)
    assert difference_of({"y": first}, {"y": [{7: 0.5, 9: 0.5}]})["y"] == pytest.approx(1 / 3)
    assert difference_of({"y": first}, {"y": [{7: 0.25, 8: 0.75}]})["y"] == math.inf
    assert difference_of({"y": first}, {"y": [[0.25, 0.75]]})["y"] == math.inf


def test_tolerance_decides(files):
    paths = files(two_outputs(), two_outputs(1.01))
    assert main(paths) == 1
    assert main([*paths, "--tolerance", "0.02"]) == 0


def test_seed_changes_the_inputs(files, capsys):
    # Relu and Elu differ for negative values only, so the difference depends on the inputs.
    paths = files(
        model("g (float[1,8] x) => (float[1,8] y) { y = Relu(x) }"),
        model("g (float[1,8] x) => (float[1,8] y) { y = Elu(x) }"),
    )
    printed = []
    for seed in ("1", "2", "1"):
        assert main([*paths, "--seed", seed]) == 1
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[2] != printed[1]


def test_half_against_single_precision(files, capsys):
    half = model("g (float16[2,3] x) => (float16[2,5] y) { y = MatMul(x, w) }", w=weight(3, 5).astype(np.float16))
    single = model(
        "g (float[2,3] x) => (float[2,5] y) { y = MatMul(x, w) }",
        w=weight(3, 5).astype(np.float16).astype(np.float32),
    )
    assert main(files(half, single)) == 0
    assert "tolerance 0.02" in capsys.readouterr().out


def test_a_symbol_takes_the_number_of_the_other_model(files):
    paths = files(two_outputs(), two_outputs(shape="4,3"))
    assert main(paths) == 0
    assert main(paths[::-1]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (float[N,3] other) => (float[N,5] y, float[N,3] z) { y = MatMul(other, w) z = Relu(other) }", "inputs"),
        ("g (float[N,3] x) => (float[N,5] y) { y = MatMul(x, w) }", "the outputs are y, z and y"),
        ("g (double[N,3] x) => (float[N,5] y, float[N,3] z) { c = Cast<to=1>(x) y = MatMul(c, w) z = Relu(c) }", "x"),
        ("g (float[1,N,3] x) => (float[1,N,5] y, float[1,N,3] z) { y = MatMul(x, w) z = Relu(x) }", "float[1,N,3]"),
    ],
)
def test_other_inputs_or_outputs_are_a_difference(files, capsys, text, words):
    assert main(files(two_outputs(), model(text, w=weight(3, 5)))) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("different: ")
    assert words in printed


def test_integers_are_not_floats(files):
    first = model("g (float[4] x) => (float[4] y) { y = Sign(x) }")
    second = model("g (float[4] x) => (int64[4] y) { s = Sign(x) y = Cast<to=7>(s) }")
    assert main(files(first, second)) == 1


def test_missing_and_damaged_files_are_one_line(files, capsys, tmp_path):
    good = files(two_outputs())[0]
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x00\xff")
    for pair in ([good, str(tmp_path / "none.onnx")], [str(damaged), good]):
        assert main(pair) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("python -m kneronnxopt.onnx_vs_onnx: error: ")
        assert ("none.onnx" if pair[0] == good else "damaged.onnx") in error


def test_a_model_that_does_not_run_is_named(files, capsys):
    bad = model(
        "g (float[N,3] x) => (float[N,5] y, float[N,3] z) { y = MatMul(x, w) z = Reshape(x, s) }",
        s=[7, 7],
        w=weight(3, 5),
    )
    assert main(files(two_outputs(), bad)) == 2
    error = capsys.readouterr().err
    assert "the second model does not run" in error
    assert error.count("\n") == 1


def divide(divisor: int) -> onnx.ModelProto:
    smallest = np.array([np.iinfo(np.int64).min], dtype=np.int64)
    return model(
        "g (int64[1] x) => (int64[1] y) { n = Mul(x, zero) l = Add(n, low) y = Div(l, d) }",
        zero=[0],
        low=smallest,
        d=np.array([divisor], dtype=np.int64),
    )


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors give a result")
def test_a_model_that_ends_its_process_does_not_end_this_one(files, capsys):
    assert main(files(divide(2), divide(-1))) == 2
    assert "ends the process" in capsys.readouterr().err


def test_a_model_that_never_ends_is_given_up(files, capsys, monkeypatch):
    monkeypatch.setattr(checking, "_TIME_LIMIT_SECONDS", 4)
    endless = model(
        """g (float[1] x) => (float[1] y) {
            y = Loop(trips, go, x) <body = b (int64 i, bool c, float[1] v) => (bool o, float[1] w)
                { o = Identity(c) w = Identity(v) }> }""",
        trips=np.array(2**62, dtype=np.int64),
        go=np.array(True),
    )
    assert main(files(endless, endless)) == 2
    assert "more than 4 s" in capsys.readouterr().err


def test_models_in_a_process_of_their_own_use_seed_and_tolerance(files, capsys):
    text = """g (float[1,8] x, int64[1] a, int64[1] b) => (float[1,8] y, int64[1] z) {
        y = OP(x) c = Max(b, one) z = Div(a, c) }"""
    paths = files(*(model(text.replace("OP", op), one=[1]) for op in ("Relu", "Elu")))
    printed = []
    for seed in ("1", "2"):
        assert main([*paths, "--seed", seed, "--separate"]) == 1
        printed.append(capsys.readouterr().out)
    assert printed[0] != printed[1]
    assert "1x8" in printed[0]
    assert main([*paths, "--tolerance", "10"]) == 0


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--tolerance", "nan"], ["--tolerance", "-1"], ["--log", "x"]])
def test_bad_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["a.onnx", "b.onnx", *arguments])
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_as_a_module_and_beside_the_package(files):
    paths = files(two_outputs(), two_outputs(2.0))
    command = [sys.executable, "-W", "error", "-m", "kneronnxopt.onnx_vs_onnx", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    code = (
        "import kneronnxopt; names = {n: getattr(kneronnxopt, n) for n in kneronnxopt.__all__}\n"
        "import kneronnxopt.onnx_vs_onnx\n"
        "assert all(getattr(kneronnxopt, n) is names[n] for n in names)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
