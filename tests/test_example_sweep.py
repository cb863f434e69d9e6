"""The example of a sweep runs and prints what its README says, with and without Dask."""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ktc

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "sweep"
DIGITS = FOLDER.parent / "digits" / "digits.onnx"
SECONDS = re.compile(r"\d+\.\d s")


def test_the_script_prints_what_the_readme_says(tmp_path):
    command = [sys.executable, str(FOLDER / "run.py"), "--csv", str(tmp_path / "sweep.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path)
    (shown,) = re.findall(r"```\n(processes.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    with_dask = importlib.util.find_spec("distributed") is not None
    expected = [line for line in SECONDS.sub("#", shown).splitlines() if with_dask or "Dask" not in line]
    printed = SECONDS.sub("#", done.stdout).splitlines()
    printed.remove(f"table: {tmp_path / 'sweep.csv'}")
    if not with_dask:
        expected.remove("the same table: yes")
        printed.remove('no Dask here; install it with: pip install ".[dask]"')
    assert printed == expected
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 15


@pytest.mark.filterwarnings("default")  # Dask's own
def test_a_dask_cluster_gives_the_same_table():
    distributed = pytest.importorskip("distributed")
    plain = ktc.sweep(DIGITS, workers=1)
    with (
        distributed.LocalCluster(n_workers=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        assert ktc.sweep(DIGITS, executor=executor) == plain
