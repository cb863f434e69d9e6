"""Evaluate the backend test models of the onnx package, the zoo and the exports, on every platform.

    python benchmarks/evaluate_corpus.py [--every N] [--list]

The corpus is that of ``backend_corpus.py``, and the networks of ``tests/data``.  A model counts, over all platforms,
under the first kind that applies:

- crash: an exception that is not one of ``ktc.errors``;
- unexplained: a CPU node without a reason that is a sentence, or a time that is no number;
- slow: more than a second on one platform;
- refused: a ``ModelError`` (an input without a shape, for example), which ``--list`` prints;
- evaluated.

Exit code 1 if anything crashes or is unexplained.
"""

from __future__ import annotations

import argparse
import collections
import math
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from backend_corpus import node_cases, shipped_models

from ktc.errors import KtcError
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.report import render_csv, render_html, render_json, render_text

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
SLOW_SECONDS = 1.0
KINDS = ("evaluated", "refused", "slow", "unexplained", "crash")


@dataclass(frozen=True)
class Case:
    """A model of the corpus."""

    group: str
    name: str
    model: onnx.ModelProto


def corpus() -> Iterator[Case]:
    """Yield every model."""
    for case in (*node_cases(), *shipped_models()):
        yield Case(case.group, case.name, case.model)
    for group in ("zoo", "exports"):
        for path in sorted((DATA / group).glob("*.onnx")):
            yield Case(group, path.stem, onnx.load(path, load_external_data=False))


def judge(model: onnx.ModelProto) -> tuple[str, str]:
    """Return the kind under which a model counts, and why."""
    verdicts = [judge_on(model, platform) for platform in platform_names()]
    return max(verdicts, key=lambda verdict: KINDS.index(verdict[0]))


def judge_on(model: onnx.ModelProto, name: str) -> tuple[str, str]:
    """Evaluate on one platform and render all forms of the report."""
    platform = load_platform(name)
    settings = [EvaluationSettings()]
    if "int16" in platform.datapath_modes:
        settings.append(EvaluationSettings(datapath_bitwidth_mode="mix light", compiler_tiling="deep_search"))
    start = time.perf_counter()
    try:
        program = lower(model, platform)
        evaluations = [evaluate(program, platform, each) for each in settings]
    except KtcError as error:
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        return "crash", f"KL{name}: {type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    try:
        for evaluation in evaluations:
            for render in (render_text, render_html, render_csv, render_json):
                render(evaluation)
    except Exception as error:  # noqa: BLE001
        return "crash", f"KL{name}: report: {type(error).__name__}: {error}"
    for evaluation in evaluations:
        if not math.isfinite(evaluation.time_ms) or evaluation.time_ms < 0:
            return "unexplained", f"KL{name}: the time is {evaluation.time_ms}"
        for node in evaluation.cpu_nodes:
            if not is_sentence(node.reason):
                return "unexplained", f"KL{name}: {node.backend} {node.name}: {node.reason!r}"
    if seconds > SLOW_SECONDS:
        return "slow", f"KL{name}: {seconds:.1f} s"
    return "evaluated", ""


def is_sentence(reason: str | None) -> bool:
    """Whether a CPU node says why, in one complete sentence."""
    return reason is not None and len(reason.split()) >= 4 and reason.endswith(".") and "\n" not in reason


def main() -> None:
    """Print the counts of each group, and the models that are not evaluated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth model")
    parser.add_argument("--list", action="store_true", help="list the refused models too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for case in list(corpus())[:: arguments.every]:
        kind, why = judge(case.model)
        counts[case.group, kind] += 1
        if kind != "evaluated" and (arguments.list or kind != "refused"):
            print(f"{kind}  {case.group}  {case.name}  {' '.join(why.split())[:200]}")
    print(f"{'group':<20}" + "".join(f"{kind:>13}" for kind in KINDS))
    for group in dict.fromkeys(group for group, _ in counts):
        print(f"{group:<20}" + "".join(f"{counts[group, kind]:>13}" for kind in KINDS))
    print(f"{'all':<20}" + "".join(f"{sum(counts[g, k] for g, k in counts if k == kind):>13}" for kind in KINDS))
    print(f"{time.perf_counter() - start:.0f} s, onnx {onnx.__version__}")
    sys.exit(any(kind in ("crash", "unexplained") for _, kind in counts))


if __name__ == "__main__":
    main()
