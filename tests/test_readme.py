"""What the README shows is what its command prints, and its script runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def block(marker: str) -> str:
    return re.search(rf"<!-- {marker} -->\n```bash\n(.*?)```", README, re.DOTALL)[1].strip()


@pytest.fixture
def repository(tmp_path):
    """A folder with what the README's commands need; they write beside it."""
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "examples" / "digits")
    return tmp_path


def test_main_command_prints_what_the_readme_shows(repository):
    command = [sys.executable, *block("main").split()[1:]]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    shown = re.search(r"<!-- main -->.*?```\n\n```\n(.*?)```", README, re.DOTALL)[1]
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", shown)
    for printed, promised in zip(NUMBER.findall(done.stdout), NUMBER.findall(shown), strict=True):
        assert float(printed) == pytest.approx(float(promised), rel=0.02)
    assert (repository / "report" / "model_fx_report.html").is_file()


def test_script_runs(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    shutil.copy("examples/digits/digits.onnx", "model.onnx")
    script = next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "evaluate" in code)
    names = {"image": np.zeros((1, 1, 32, 32))}
    exec(compile(script, "README.md", "exec"), names)
    assert "kdp720/ip_eval/fps" in capsys.readouterr().out
    assert names["results"][0].shape == (1, 10)


def test_commands_that_compare_and_sweep_run(repository):
    commands = [*block("main").splitlines(), *block("compare").splitlines(), *block("sweep").splitlines()]
    for command in commands:
        subprocess.run([sys.executable, *command.split()[1:]], cwd=repository, capture_output=True, check=True)
    written = ("comparison/comparison.html", "base.json", "sweep.csv")
    assert all((repository / name).is_file() for name in written)


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
    with Image.open(ROOT / "docs" / "report.png") as picture:
        picture.verify()
