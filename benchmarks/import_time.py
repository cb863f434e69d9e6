"""Time of ``import ktc`` and of the evaluation command, against importing what they need, in fresh processes.

    python benchmarks/import_time.py

``import ktc`` against ``import onnx`` (limit 1.2), and ``python -m ktc.opt_and_eval -e 720`` of MobileNetV2 with
weights, report included, against ``python -c "import onnxruntime, onnx"`` (limit 3).  Both sides take turns; the
figures are medians of the wall times, and the ratio is the median of the ratios of neighbours.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import zoo

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 15
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
IMPORT_LIMIT, COMMAND_LIMIT = 1.2, 3.0


def import_seconds(module: str) -> float:
    """Import ``module`` in a new process; return the time that took."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def command_seconds(*arguments: str) -> float:
    """Run a Python command to its end; return the time that took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - start


def compare(names: tuple[str, str], first: Callable[[], float], second: Callable[[], float], limit: float) -> None:
    """Print both medians and their ratio."""
    first(), second()  # fill the file cache
    pairs = [(first(), second()) for _ in range(RUNS)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    shown = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in zip(names, medians, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"{shown}, ratio {ratio:.2f} (limit {limit:.2f})")


def main() -> None:
    """Print both comparisons."""
    compare(
        ("import onnx", "import ktc"),
        lambda: import_seconds("onnx"),
        lambda: import_seconds("ktc"),
        IMPORT_LIMIT,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet_v2.onnx"
        onnx.save(zoo.materialize("mobilenet_v2_224"), path)
        command = ("-m", "ktc.opt_and_eval", "-e", "720", str(path), "-E", folder)
        compare(
            ("import onnxruntime, onnx", "opt_and_eval -e 720 mobilenet_v2"),
            lambda: command_seconds("-c", "import onnxruntime, onnx"),
            lambda: command_seconds(*command),
            COMMAND_LIMIT,
        )


if __name__ == "__main__":
    main()
