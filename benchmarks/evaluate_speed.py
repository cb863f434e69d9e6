"""Time to evaluate a network against one inference of it by onnxruntime on one thread.

    python benchmarks/evaluate_speed.py [--platform 720] [--repeats N] [NAME ...]

On every network of ``tests/data/zoo`` with weights, as it is and after ``kneronnxopt.optimize``: from the model in
memory to an ``Evaluation`` (lower and evaluate; no report), and one run of a session that exists already.  Both take
turns in one process and use one thread; the table has the least processor times in milliseconds, which other work on
the machine disturbs less than wall times.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

import kneronnxopt
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

LIMIT = 1.0


def seconds(action: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def measure(model: onnx.ModelProto, platform_name: str, repeats: int) -> tuple[float, float]:
    """Return the seconds of one evaluation and of one inference."""
    inputs, platform, settings = zoo.random_inputs(model), load_platform(platform_name), EvaluationSettings()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pairs = [
        (
            seconds(lambda: evaluate(lower(model, platform), platform, settings)),
            seconds(lambda: session.run(None, inputs)),
        )
        for _ in range(repeats)
    ]
    ours, theirs = (min(column) for column in zip(*pairs, strict=True))
    return ours, theirs


def forms(name: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield a network as it is in the zoo, and optimised."""
    model = zoo.materialize(name)
    yield "as it is", model
    yield "optimised", kneronnxopt.optimize(model, skip_check=True)


def main() -> None:
    """Print the table, and which networks take longer than their inference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks")
    parser.add_argument("--platform", default="720", choices=platform_names())
    parser.add_argument("--repeats", type=int, default=7, metavar="N")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(f"{'network':<32}{'form':<11}{'nodes':>7}{'evaluate':>10}{'inference':>11}{'ratio':>7}")
    slow = []
    for name in arguments.names or zoo.ZOO_NAMES:
        for form, model in forms(name):
            ours, theirs = measure(model, arguments.platform, arguments.repeats)
            row = f"{name:<32}{form:<11}{len(model.graph.node):>7}{ours * 1e3:>10.1f}{theirs * 1e3:>11.1f}"
            print(f"{row}{ours / theirs:>7.2f}", flush=True)
            if ours / theirs >= LIMIT:
                slow.append(f"{name} ({form})")
    print(f"above the limit of {LIMIT}: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
