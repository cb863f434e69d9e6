"""Time of one ``python -m ktc.sweep`` against as many separate evaluations.

    python benchmarks/sweep_speed.py [--networks N] [--sample N]

14 networks of ``tests/data/zoo`` (with weights, written to a temporary folder) x 5 platforms x 3 bandwidths, as

1. one command ``python -m ktc.sweep``, which writes a CSV file; the start of Python counts;
2. separate ``ModelConfig(...).evaluate()`` one after another in this process, each with its own report;
3. separate commands ``python -m ktc.opt_and_eval -e``: a sample, as these take long.

The estimates are compared as well: 1 and 2 have to give the same. On a busy machine look at the CPU times.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

import ktc

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests"))
import zoo  # noqa: E402 - it lies with the tests

NETWORKS = (
    *("densenet121_224", "efficientnet_b0_224", "fsrcnn_x2_360x640", "inception_v3_224", "lite_hrnet30_256x192"),
    *("mobilenet_v1_224", "mobilenet_v2_224", "mobilenet_v3_large_224", "resnet50_v1_5_224", "shufflenet_v2_x1_224"),
    *("squeezenet1_1_224", "srcnn_384", "swin_tiny_224", "yolov5s_640"),
)
PLATFORMS = ("520", "720", "530", "630", "730")
BANDWIDTHS = ("1", "2", "4")


def main() -> None:
    """Print the three times and their factors."""
    parser = argparse.ArgumentParser(description="Time of a sweep against separate evaluations.")
    parser.add_argument("--networks", type=int, default=len(NETWORKS), help="use so many networks")
    parser.add_argument("--sample", type=int, default=10, help="separate commands to time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        models.mkdir()
        for name in NETWORKS[: options.networks]:
            onnx.save(zoo.materialize(name), models / f"{name}.onnx")
        before = cpu_seconds()
        seconds, rows = sweep(models, Path(folder, "sweep.csv"))
        middle = cpu_seconds()
        apart, times = separately(rows, models, Path(folder, "report"))
        cpu = middle - before, cpu_seconds() - middle
        show("one sweep", f"{len(rows)} evaluations, {seconds:.2f} s ({cpu[0]:.2f} s of CPU)")
        show("separate evaluations", f"{len(times)} evaluations, {apart:.2f} s ({cpu[1]:.2f} s of CPU)")
        show("factor", f"{apart / seconds:.1f} ({cpu[1] / cpu[0]:.1f} in CPU time)")
        worst = max(abs(apart - float(row["time_ms"])) for apart, row in zip(times, rows, strict=True))
        show("largest difference of a time", f"{worst} ms")
        if options.sample:
            each = by_commands(rows, models, Path(folder, "report"), options.sample)
            total = each * len(rows)
            shown = f"{each:.2f} s each (mean of {options.sample}), {total:.0f} s for all, {total / seconds:.0f} times"
            show("separate commands", f"{shown} the sweep")


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def show(what: str, result: str) -> None:
    """Print a line."""
    print(f"{what + ':':<30} {result}")


def sweep(models: Path, table: Path) -> tuple[float, list[dict[str, str]]]:
    """Run the one command; return its time, and its table."""
    command = [sys.executable, "-m", "ktc.sweep", str(models), "--dma-bandwidth", *BANDWIDTHS]
    start = time.perf_counter()
    subprocess.run([*command, "--platform", *PLATFORMS, "--csv", str(table)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    with table.open(newline="") as file:
        return seconds, list(csv.DictReader(file))


def separately(rows: list[dict[str, str]], models: Path, report: Path) -> tuple[float, list[float]]:
    """Evaluate each row on its own in this process; return the time, and the estimates in ms."""
    start, times = time.perf_counter(), []
    for row in rows:
        config = ktc.ModelConfig(32769, "0001", row["platform"], onnx_path=models / f"{row['model']}.onnx")
        times.append(config.evaluate(output_dir=report, dma_bandwidth=float(row["dma_bandwidth"])).time_ms)
    return time.perf_counter() - start, times


def by_commands(rows: list[dict[str, str]], models: Path, report: Path, sample: int) -> float:
    """Time some of the rows as commands (which do not take a bandwidth); return the mean in seconds."""
    chosen = rows[:: max(1, len(rows) // sample)][:sample]
    start = time.perf_counter()
    for row in chosen:
        command = ["-m", "ktc.opt_and_eval", "-e", row["platform"], str(models / f"{row['model']}.onnx")]
        subprocess.run([sys.executable, *command, "-E", str(report)], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) / len(chosen)


if __name__ == "__main__":
    main()
