"""Command line: ``python -m kneronnxopt.optimize in.onnx -o out.onnx``."""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kneronnxopt._api import optimize, pass_names
from kneronnxopt._cli import make_callable, report_error, run, start_logging
from kneronnxopt.errors import OptimizationError
from kneronnxopt.model_io import read_model, refuse_same_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from kneronnxopt.pipeline import Stage

__all__ = ["main"]

_FLAGS = {
    "skip_check": "do not compare the result with the original in onnxruntime",
    "skip_fuse_qkv": "leave separate q, k, v projections apart",
    "clear_descriptions": "remove doc strings and metadata",
    "clear_shapes": "forget declared shapes and infer them anew",
    "opt_matmul": "bring MatMul into the forms that the NPU takes",
    "replace_avgpool_with_conv": "turn AveragePool into depthwise Conv where that is exact",
    "replace_dilated_conv": "turn dilated Conv into Conv with a zero-inserted kernel",
    "defuse_gaps": "split large GlobalAveragePools",
    "fuse_bn": "fuse BatchNormalization into Conv",
    "onnxsim": "run onnx-simplifier's passes as well",
    "replace_split": "turn Split into Slices",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    start_logging(options.log)
    if options.list_passes:
        sys.stdout.write("\n".join(pass_names()) + "\n")
        return 0
    if options.path is None and options.overwrite_input_shapes and ":" not in options.overwrite_input_shapes[-1]:
        options.path = options.overwrite_input_shapes.pop()  # the option takes all words that follow it
    if options.path is None:
        parser.error("the path of the .onnx file is missing")
    path = Path(options.path)
    output = Path(options.output) if options.output else path.with_name(f"{path.stem}_optimized.onnx")
    try:
        refuse_same_file(path, output)
        before = read_model(path)
        result, stages = _optimize(path, output, options)
    except OptimizationError as error:
        return report_error(parser.prog, path, error)
    sys.stdout.write(f"{_operator_table(before, result)}\n\n{_pass_table(stages)}\n\nwritten: {output}\n")
    return 0


def _optimize(path: Path, output: Path, arguments: argparse.Namespace) -> tuple[onnx.ModelProto, list[Stage]]:
    from kneronnxopt._optimize import optimize_model
    from kneronnxopt.pipeline import Options

    flags = {name: getattr(arguments, name) for name in _FLAGS if name != "skip_check"}
    return optimize_model(
        path,
        Options(
            duplicate_shared_weights=arguments.duplicate_shared_weights, convert_f16=not arguments.keep_f16, **flags
        ),
        overwrite_input_shapes=arguments.overwrite_input_shapes,
        skipped_optimizers=arguments.skip,
        skip_check=arguments.skip_check,
        target_opset=arguments.target_opset,
        output_path=output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kneronnxopt.optimize",
        usage="%(prog)s [options] path\n       %(prog)s --list-passes",
        description="Optimise an ONNX model without changing its results.",
    )
    parser.add_argument("path", nargs="?", help="the .onnx file")
    parser.add_argument("-o", "--output", help="where to write the result (default: <path>_optimized.onnx)")
    levels = ("debug", "info", "warning", "error", "critical")
    parser.add_argument("--log", type=str.lower, choices=levels, default="warning", help="what to log on stderr")
    parser.add_argument(
        "--duplicate-shared-weights",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="0 never, 1 where needed, 2 always",
    )
    parser.add_argument(
        "--overwrite-input-shapes",
        nargs="+",
        action="extend",
        metavar="NAME:D0,D1",
        help="shapes to give the inputs, e.g. data:1,3,224,224",
    )
    for name, text in _FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    parser.add_argument("--keep-f16", action="store_true", help="do not turn float16 into float32")
    parser.add_argument("--target-opset", type=int, metavar="OPSET", help="convert to this opset first, e.g. 18")
    parser.add_argument("--skip", action="append", metavar="PASS", help="skip this pass; may be repeated")
    parser.add_argument("--list-passes", action="store_true", help="list the passes that can be skipped, and stop")
    return parser


def _operator_table(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    counts = [collections.Counter(node.op_type for node in model.graph.node) for model in (before, after)]
    rows = [(op_type, counts[0][op_type], counts[1][op_type]) for op_type in sorted(counts[0] | counts[1])]
    rows.append(("total", counts[0].total(), counts[1].total()))
    width = max(len(op_type) for op_type, _, _ in rows)
    lines = [f"{'operator':<{width}}  before   after"]
    lines += [f"{op_type:<{width}}  {old:>6}  {new:>6}" for op_type, old, new in rows]
    return "\n".join(lines)


def _pass_table(stages: list[Stage]) -> str:
    """List the passes that did something, the busiest first."""
    rows: dict[str, tuple[int, float]] = {}
    for stage in stages:
        count, seconds = rows.get(stage.name, (0, 0.0))
        rows[stage.name] = count + stage.count, seconds + stage.seconds
    acted = sorted(((count, name, seconds) for name, (count, seconds) in rows.items() if count), reverse=True)
    width = max((len(name) for _, name, _ in acted), default=4)
    lines = [f"{'pass':<{width}}   times      ms"]
    lines += [f"{name:<{width}}  {count:>6}  {seconds * 1e3:>6.1f}" for count, name, seconds in acted]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
else:
    make_callable(__name__, optimize)
