"""Command line: ``python -m kneronnxopt.onnx_vs_onnx a.onnx b.onnx`` compares two models on random inputs."""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

import onnx

from kneronnxopt._cli import report_error, run, start_logging
from kneronnxopt._text import one_line
from kneronnxopt.checking import compare_safely, default_tolerance
from kneronnxopt.errors import OptimizationError
from kneronnxopt.model_io import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kneronnxopt.verify import Comparison

__all__ = ["main"]

_EQUAL, _DIFFERENT = 0, 1
_FLOAT_TYPES = ("FLOAT", "FLOAT16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 the models agree, 1 they differ, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    start_logging(options.log)
    path = options.first
    try:
        first = load_model(path)
        path = options.second
        second = load_model(path)
        path = f"{options.first}, {options.second}"
        mismatch = _interface_mismatch(first, second)
        if mismatch:
            sys.stdout.write(f"different: {one_line(mismatch)}\n")
            return _DIFFERENT
        tolerance = default_tolerance(first, second) if options.tolerance is None else options.tolerance
        comparison = compare_safely(first, second, seed=options.seed, tolerance=tolerance)
    except OptimizationError as error:
        return report_error(parser.prog, path, error)
    if options.separate:
        sys.stdout.write(_output_table(comparison))
    sys.stdout.write(_verdict(comparison))
    return _EQUAL if comparison.equal else _DIFFERENT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kneronnxopt.onnx_vs_onnx",
        description="Compare two ONNX models on the same random inputs.",
        epilog="Exit code: 0 the models agree, 1 they differ, 2 a model cannot be read or run.",
    )
    parser.add_argument("first", metavar="A", help="an .onnx file, the reference")
    parser.add_argument("second", metavar="B", help="the .onnx file to compare with it")
    parser.add_argument("--separate", "--seperate", action="store_true", help="print the difference of each output")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the random inputs (default: 0)")
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        help="largest difference, relative to the largest value of a channel or row, that counts as equal "
        "(default: 0.001, for half precision 0.02)",
    )
    levels = ("debug", "info", "warning", "error", "critical")
    parser.add_argument("--log", type=str.lower, choices=levels, default="warning", help="what to log on stderr")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0, such as 1e-3")
    return value


def _interface_mismatch(first: onnx.ModelProto, second: onnx.ModelProto) -> str:
    """What keeps two models from being compared: inputs or outputs that are not the same; empty if nothing does."""
    sides = [_interface(model) for model in (first, second)]
    for kind, left, right in zip(("inputs", "outputs"), *sides, strict=True):
        if sorted(left) != sorted(right) or (kind == "outputs" and list(left) != list(right)):
            return f"the {kind} are {', '.join(left) or 'none'} and {', '.join(right) or 'none'}"
    for name, value in sides[0][0].items():
        types = [_described(value), _described(sides[1][0][name])]
        if not _same_type(*types):
            return f"input '{name}' is {_type_text(types[0])} and {_type_text(types[1])}"
    return ""


def _interface(model: onnx.ModelProto) -> tuple[dict[str, onnx.ValueInfoProto], dict[str, onnx.ValueInfoProto]]:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in initializers}
    return inputs, {value.name: value for value in model.graph.output}


def _described(value: onnx.ValueInfoProto) -> tuple[str, list[int | str] | None]:
    """Type and dimensions; None for an unknown rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return onnx.TensorProto.DataType.Name(tensor.elem_type), None
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
    return onnx.TensorProto.DataType.Name(tensor.elem_type), dims


def _same_type(first: tuple[str, list[int | str] | None], second: tuple[str, list[int | str] | None]) -> bool:
    """Half and single precision count as one type, a symbol as any number."""
    if first[0] != second[0] and not (first[0] in _FLOAT_TYPES and second[0] in _FLOAT_TYPES):
        return False
    if first[1] is None or second[1] is None:
        return True
    return len(first[1]) == len(second[1]) and all(
        a == b for a, b in zip(first[1], second[1], strict=True) if isinstance(a, int) and isinstance(b, int)
    )


def _type_text(described: tuple[str, list[int | str] | None]) -> str:
    dims = "..." if described[1] is None else ",".join(map(str, described[1]))
    return one_line(f"{described[0].lower()}[{dims}]")


def _output_table(comparison: Comparison) -> str:
    names = {name: one_line(name) for name in comparison.differences}
    width = max(len("output"), *map(len, names.values()))
    shape_width = max(len("shape"), *map(len, comparison.shapes.values()))
    lines = [f"{'output':<{width}}  {'shape':<{shape_width}}  difference"]
    for name, difference in comparison.differences.items():
        remark = "" if difference <= comparison.tolerance else "  different"
        lines.append(f"{names[name]:<{width}}  {comparison.shapes[name]:<{shape_width}}  {difference:<10.3g}{remark}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _verdict(comparison: Comparison) -> str:
    worst = max(comparison.differences, key=lambda name: comparison.differences[name])
    verdict = "equal" if comparison.equal else "different"
    return (
        f"{verdict}: largest relative difference {comparison.differences[worst]:.3g} in output '{one_line(worst)}', "
        f"tolerance {comparison.tolerance:.3g}\n"
    )


if __name__ == "__main__":
    run(main)
