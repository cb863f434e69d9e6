"""All commands: what their usage says, and the lists of them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

REQUIRED = {
    "ktc.advise": ("{520,720,530,630,730} path",),
    "ktc.compare": ("model.onnx [other.onnx]",),
    "ktc.opt_and_eval": ("{520,720,530,630,730} path",),
    "ktc.sweep": ("models [models ...]",),
    "kneronnxopt.large_model_fast_proc": ("path",),
    "kneronnxopt.onnx_vs_onnx": ("A B",),
    "kneronnxopt.optimize": ("path", "--list-passes"),
}


@pytest.mark.parametrize("command", REQUIRED)
def test_usage_shows_what_is_required(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(command).main(["--help"])
    assert caught.value.code == 0
    usage = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert usage[0].startswith(f"usage: python -m {command} [")
    assert len(usage) == len(REQUIRED[command])
    for line, required in zip(usage, REQUIRED[command], strict=True):
        assert line.endswith(f" {required}")


@pytest.mark.parametrize("command", REQUIRED)
def test_what_is_required_is_missed(command, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(command).main([])
    assert caught.value.code == 2
    assert f"python -m {command}: error: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ktc.advise", "ktc.opt_and_eval"])
def test_a_platform_may_be_written_as_everywhere(command, tmp_path, capsys):
    main = importlib.import_module(command).main
    for platform in ("720", "KL720", "kdp720"):
        assert main([platform, str(tmp_path / "missing.onnx")]) == 2
        assert capsys.readouterr().err.endswith("missing.onnx: no such file; check the path\n")
    for platform in ("540", "KL", ""):
        with pytest.raises(SystemExit) as caught:
            main([platform, "missing.onnx"])
        assert caught.value.code == 2
        assert f"argument platform: invalid choice: '{platform}' (choose from" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["ktc", "kneronnxopt"])
def test_a_package_lists_its_commands(package, capsys):
    main = importlib.import_module(f"{package}.__main__").main
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"python -m {command} " in text for command in REQUIRED if command.startswith(f"{package}."))
    with pytest.raises(SystemExit) as caught:
        main(["compare", "model.onnx"])
    assert caught.value.code == 2
    assert f"usage: python -m {package}.COMMAND" in capsys.readouterr().err


def test_the_list_as_a_command():
    done = subprocess.run([sys.executable, "-m", "ktc"], capture_output=True, text=True, check=True)
    assert done.stdout.count("python -m ktc.") == 5
    assert not done.stderr
