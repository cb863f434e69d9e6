"""All commands: what their usage says, and the lists of them."""

from __future__ import annotations

import importlib

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
