"""python -m ktc.opt_and_eval: every option of the manual, and what bad input gets."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest

import kneronnxopt
from bad_files import KINDS, bad_file, good_model
from graphs import model, weight
from ktc import opt_and_eval

OPTIONS = [
    *("-h", "--help", "-P", "--print", "-e", "--evaluator-only", "-E", "--evaluator-report-path"),
    *("-o", "--optimizer-only", "-O", "--optimized-path", "--deep-search"),
]


@pytest.fixture
def network(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    onnx.save(good_model(), folder / "net.origin.onnx")
    return folder / "net.origin.onnx"


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_help_has_every_documented_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        opt_and_eval.main(["-h"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m ktc.opt_and_eval [-h] [-P] [-e] [-E EVALUATOR_REPORT_PATH] [-o]")
    assert all(option in text for option in OPTIONS)
    assert "{520,720,530,630,730}" in text


def test_both_steps(network, tmp_path, capsys):
    assert opt_and_eval.main(["730", str(network), "-E", str(tmp_path / "report")]) == 0
    assert names(network.parent) == ["net.origin.onnx", "net.origin.opt.onnx"]
    assert "model_fx_report.html" in names(tmp_path / "report")
    output = capsys.readouterr().out
    assert "fps" in output
    assert str(network.with_name("net.origin.opt.onnx")) in output
    assert str(tmp_path / "report" / "model_fx_report.html") in output
    assert kneronnxopt.compare(onnx.load(network), onnx.load(network.with_name("net.origin.opt.onnx"))).equal


def test_optimizer_only(network, tmp_path):
    assert opt_and_eval.main(["720", "-o", str(network), "-O", str(tmp_path / "x.onnx")]) == 0
    assert names(tmp_path) == ["in/net.origin.onnx", "x.onnx"]


def test_evaluator_only(network, tmp_path):
    assert opt_and_eval.main(["720", "-e", str(network), "-E", str(tmp_path / "r")]) == 0
    assert names(network.parent) == ["net.origin.onnx"]
    assert "model_fx_report.html" in names(tmp_path / "r")


def test_print_and_deep_search(network, tmp_path, capsys):
    command = ["630", "-e", str(network), "-E", str(tmp_path / "r"), "-P", "--deep-search"]
    assert opt_and_eval.main(command) == 0
    assert "[Evaluation Result]" in capsys.readouterr().out


def test_evaluator_and_optimizer_only_exclude_each_other(network, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        opt_and_eval.main(["720", "-e", "-o", str(network)])
    assert caught.value.code == 2
    assert "-e and -o" in capsys.readouterr().err
    assert names(tmp_path) == ["in/net.origin.onnx"]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_ends_with_2_and_leaves_nothing(kind, tmp_path, capsys):
    path, words = bad_file(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert opt_and_eval.main(["720", str(path), "-E", str(tmp_path / "report")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert all(word in output.err for word in words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["-E", "-O"])
def test_unusable_destination_ends_with_2_and_leaves_nothing(option, network, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    before = names(tmp_path)
    destination = str(tmp_path / "file" / "below")
    defaults = [] if option == "-E" else ["-E", str(tmp_path / "r")]
    assert opt_and_eval.main(["720", str(network), option, destination, *defaults]) == 2
    assert destination in capsys.readouterr().err
    assert names(tmp_path) == before


def test_network_that_cannot_be_evaluated_leaves_nothing(tmp_path, capsys):
    dynamic = model("g (float[1,3,H,W] x) => (float[1,4,P,Q] y) { y = Conv(x, w) }", w=weight(4, 3, 3, 3))
    onnx.save(dynamic, tmp_path / "dynamic.onnx")
    assert opt_and_eval.main(["720", str(tmp_path / "dynamic.onnx"), "-E", str(tmp_path / "r")]) == 2
    assert "overwrite_input_shapes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["dynamic.onnx"]


def test_bie_is_checked_and_refused(tmp_path, capsys):
    (tmp_path / "m.bie").write_bytes(b"PK")
    assert opt_and_eval.main(["720", str(tmp_path / "m.bie")]) == 2
    assert "not available yet" in capsys.readouterr().err
    assert opt_and_eval.main(["720", "-o", str(tmp_path / "m.bie")]) == 2
    assert "cannot be optimised" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["540", "x.onnx"], ["720"], []])
def test_wrong_usage_ends_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        opt_and_eval.main(arguments)
    assert caught.value.code == 2


def test_as_a_command(network, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "ktc.opt_and_eval", "520"]
    done = subprocess.run([*command, str(network), "-E", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    failed = subprocess.run([*command, "missing.onnx"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


def test_input_is_not_overwritten(network, tmp_path, capsys):
    assert opt_and_eval.main(["720", str(network), "-O", str(network), "-E", str(tmp_path / "r")]) == 2
    assert "the input itself" in capsys.readouterr().err


def test_options_without_effect_are_said(network, tmp_path, caplog):
    assert opt_and_eval.main(["720", str(network), "-e", "-O", "x.onnx", "-E", str(tmp_path / "r")]) == 0
    assert "-O has no effect together with -e" in caplog.text


def test_model_that_the_npu_runs_nothing_of_gets_no_frame_rate(tmp_path, capsys):
    onnx.save(model("g (float[1,3] x) => (float[1,3] y) { y = Sin(x) }"), tmp_path / "sin.onnx")
    assert opt_and_eval.main(["720", str(tmp_path / "sin.onnx"), "-E", str(tmp_path / "r")]) == 0
    assert "no estimate: nothing of this model runs on the NPU of the KL720, 1 CPU node\n" in capsys.readouterr().out


def test_dynamic_batch_is_said_to_be_one(tmp_path, caplog):
    onnx.save(model("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"), tmp_path / "batch.onnx")
    assert opt_and_eval.main(["720", str(tmp_path / "batch.onnx"), "-E", str(tmp_path / "r")]) == 0
    assert "dynamic batch" in caplog.text


def test_nobody_reading_the_output_is_no_error(network, tmp_path):
    command = f"{sys.executable} -m ktc.opt_and_eval 720 {network} -P -E {tmp_path} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
