"""Follow advice to the letter, and see whether it keeps its promises."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware.platform import load_platform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ktc.advice import Advice

__all__ = ["follow", "follow_command", "largest_difference", "run"]


def follow(advice: Advice, path: Path, platform: str, **settings: object) -> tuple[float, int]:
    """Execute the snippet of an advice on the model at ``path``; return time in ms and CPU nodes of what results."""
    names: dict[str, object] = {}
    with contextlib.chdir(path.parent):
        exec(compile(advice.snippet, "snippet", "exec"), names)
    if advice.kind == "settings":
        report = names["report"]
        return report.time_ms, len(report.cpu_nodes)
    return _evaluated(path, platform, settings)


def follow_command(advice: Advice, path: Path, platform: str, **settings: object) -> tuple[float, int]:
    """Run the command line of an advice in place of its snippet."""
    words = shlex.split(advice.command)
    done = subprocess.run([sys.executable, *words[1:]], cwd=path.parent, capture_output=True, text=True, check=True)
    if advice.kind == "settings":
        (headline,) = [line for line in done.stdout.splitlines() if line.startswith("estimate:")]
        return float(headline.split(" fps, ")[1].split()[0]), int(headline.rsplit("), ")[1].split()[0])
    return _evaluated(path, platform, settings)


def _evaluated(path: Path, platform: str, settings: Mapping[str, object]) -> tuple[float, int]:
    model = onnx.load(path.with_name(f"{path.stem}.advised.onnx"))
    chip = load_platform(platform)
    evaluation = evaluate(lower(model, chip), chip, EvaluationSettings(**settings))
    return evaluation.time_ms, len(evaluation.cpu_nodes)


def run(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a model in onnxruntime, without its optimisations; return its outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    given = {name: array for name, array in inputs.items() if name in wanted}
    return dict(zip(names, session.run(names, given), strict=True))


def largest_difference(advice: Advice, path: Path, inputs: Mapping[str, np.ndarray]) -> float:
    """Compare what a model and the model changed by an exact advice compute, after `follow`.

    Returns the largest difference, relative to the scale of its tensor.  For a cut, the parts run one after the
    other, and the outputs of the kept part are compared with the same tensors inside the original as well.
    """
    original = onnx.load(path)
    changed = onnx.load(path.with_name(f"{path.stem}.advised.onnx"))
    if advice.kind != "cut":
        return _difference(run(original, inputs), run(changed, inputs))
    values = dict(inputs)
    before, after = (path.with_name(f"{path.stem}.{part}.onnx") for part in ("before", "after"))
    if "before.onnx" in advice.snippet:
        values |= run(onnx.load(before), values)
    kept = run(changed, values)
    values |= kept
    if "after.onnx" in advice.snippet:
        values |= run(onnx.load(after), values)
    declared = {value.name for value in original.graph.output}
    for name in kept:
        if name not in declared:
            original.graph.output.append(onnx.ValueInfoProto(name=name))
    return _difference(run(original, inputs), values)


def _difference(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> float:
    worst = 0.0
    for name, array in expected.items():
        other = actual[name]
        assert array.shape == other.shape, name
        scale = float(np.max(np.abs(array), initial=0.0)) or 1.0
        difference = np.abs(array.astype(np.float64) - other.astype(np.float64))
        worst = max(worst, float(np.max(difference, initial=0.0)) / scale)
    return worst
