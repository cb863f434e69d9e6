"""Time of ``import ktc`` against ``import onnx``, in fresh processes, taken in turn.

python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 15
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Import ``module`` in a new process; return the time that took."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print both medians and their ratio."""
    for module in ("onnx", "ktc"):
        seconds(module)  # fill the file cache
    pairs = [(seconds("onnx"), seconds("ktc")) for _ in range(RUNS)]
    onnx, ktc = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"import onnx {onnx * 1e3:.0f} ms, import ktc {ktc * 1e3:.0f} ms, ratio {ratio:.2f} (limit 1.20)")


if __name__ == "__main__":
    main()
