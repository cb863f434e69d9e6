"""Follow all advice on the networks of ``tests/data/zoo``, and hold it to its promises.

python benchmarks/advice.py [NETWORK ...] [--platform 720] [--quick]

For every advice, its snippet is executed on the saved model, and the result evaluated: the predicted time has to
come out within 5 %, and the number of CPU nodes exactly.  What an exact advice changed is run in onnxruntime beside
the original.  A line for each network and platform says how many pieces of advice there were, what the best gains,
and the worst deviations; a broken promise ends in exit code 1.  ``--quick`` takes the advice of ``evaluate`` in place
of that of ``ktc.advise``, which also tries the optimizer.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests"))
import zoo  # noqa: E402 - they lie with the tests
from advised import follow, largest_difference  # noqa: E402
from ktc.advice._search import FULL, QUICK, find_advice  # noqa: E402
from ktc.evaluator import EvaluationSettings  # noqa: E402
from ktc.hardware.platform import load_platform, platform_names  # noqa: E402

if TYPE_CHECKING:
    from ktc.advice import Advice

TOLERATED_GAIN = 0.05
TOLERATED_RESULT = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """What came of the advice on one network and platform."""

    advice: tuple[Advice, ...]
    tried: int
    seconds: float
    worst_time: float
    worst_result: float
    broken: tuple[str, ...]


def measure(name: str, model: onnx.ModelProto, path: Path, platform: str, *, quick: bool) -> Row:
    """Get advice, follow it, and compare."""
    start = time.perf_counter()
    found = find_advice(
        model, load_platform(platform), EvaluationSettings(), path=path, budget=QUICK if quick else FULL
    )
    seconds = time.perf_counter() - start
    inputs = zoo.random_inputs(model)
    worst_time = worst_result = 0.0
    broken = []
    for advice in found.items:
        time_ms, cpu_nodes = follow(advice, path, platform)
        deviation = abs(time_ms - advice.time_after_ms) / max(advice.time_after_ms, 1e-12)
        worst_time = max(worst_time, deviation)
        difference = 0.0
        if advice.exact and advice.kind != "settings":
            difference = largest_difference(advice, path, inputs)
            worst_result = max(worst_result, difference)
        kept = cpu_nodes == advice.cpu_nodes_after and deviation <= TOLERATED_GAIN and difference <= TOLERATED_RESULT
        if not kept:
            broken.append(
                f"{name} on KL{platform}: {advice.text} Time off by {100 * deviation:.2f} %, "
                f"{cpu_nodes} CPU nodes for {advice.cpu_nodes_after}, results off by {difference:.1e}"
            )
    return Row(found.items, found.tried, seconds, worst_time, worst_result, tuple(broken))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=zoo.ZOO_NAMES)
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    parser.add_argument("--quick", action="store_true", help="the advice of evaluate, without the optimizer")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        f"{'network':>32s} {'chip':>4s} {'tried':>5s} {'s':>5s} {'advice':>6s} {'exact':>5s} {'best %':>7s} "
        f"{'time off %':>10s} {'results off':>11s}  best advice"
    )
    broken: list[str] = []
    total = 0
    for name in options.networks:
        model = zoo.materialize(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(model, path)
            for platform in options.platform or platform_names():
                row = measure(name, model, path, platform, quick=options.quick)
                best = row.advice[0] if row.advice else None
                print(
                    f"{name:>32s} {platform:>4s} {row.tried:5d} {row.seconds:5.1f} {len(row.advice):6d} "
                    f"{sum(advice.exact for advice in row.advice):5d} {100 * best.gain if best else 0:7.1f} "
                    f"{100 * row.worst_time:10.2f} {row.worst_result:11.1e}  {best.text[:70] if best else '-'}",
                    flush=True,
                )
                total += len(row.advice)
                broken.extend(row.broken)
    print(f"{total} pieces of advice followed, {len(broken)} promises broken")
    for sentence in broken:
        print(sentence)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
