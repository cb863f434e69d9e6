"""Command line: ``python -m ktc.opt_and_eval {520,720,530,630,730} model.onnx``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kneronnxopt._text import one_line
from kneronnxopt.model_io import save_model
from ktc._folders import output_folder
from ktc._models import read_model, refuse_container
from ktc.errors import ConfigError, KtcError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

__all__ = ["main"]

_PLATFORMS = ("520", "720", "530", "630", "730")
_DEFAULT_REPORT_FOLDER = "/data/kneron_flow"
#: Id and version of the model in the report; they matter to NEF files only.
_MODEL_ID, _MODEL_VERSION = 32769, "0001"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.evaluator_only and options.optimizer_only:
        parser.error("-e and -o exclude each other; use one of them, or none to do both")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        _run(options)
    except KtcError as error:
        sys.stderr.write(f"{parser.prog}: error: {one_line(str(error))}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ktc.opt_and_eval", description="Optimize ONNX model and run IP Evaluator"
    )
    parser.add_argument("platform", choices=_PLATFORMS, help="Target hardware platform.")
    parser.add_argument("path", help="Path to the ONNX/BIE model file.")
    parser.add_argument("-P", "--print", action="store_true", help="Print the evaluation result in the terminal.")
    parser.add_argument("-e", "--evaluator-only", action="store_true", help="Evaluator only, skip optimization step.")
    parser.add_argument(
        "-E",
        "--evaluator-report-path",
        default=_DEFAULT_REPORT_FOLDER,
        help="Path to the directory to save the evaluator report.",
    )
    parser.add_argument("-o", "--optimizer-only", action="store_true", help="Optimizer only, skip evaluator step.")
    parser.add_argument("-O", "--optimized-path", help="Path to save the optimized ONNX model.")
    parser.add_argument(
        "--deep-search",
        action="store_true",
        help="Use deep search for optimization, which may take longer but can yield better performance.",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    path = Path(options.path)
    if path.suffix.lower() == ".bie":
        if options.optimizer_only:
            raise ConfigError(f"{path}: a BIE file cannot be optimised; give the ONNX model, or leave out -o.")
        refuse_container(path, "BIE")
    model = read_model(path, "path")
    destination = Path(options.optimized_path) if options.optimized_path else path.with_name(f"{path.stem}.opt.onnx")
    # Destinations are checked before any work and files written after it: a run leaves all of them or none.
    if not options.evaluator_only:
        _check_destination(destination)
        model = _optimize(model)
    if not options.optimizer_only:
        _evaluate(model, output_folder(options.evaluator_report_path, _DEFAULT_REPORT_FOLDER), options)
    if not options.evaluator_only:
        save_model(model, destination)
        sys.stdout.write(f"optimised model: {destination}\n")


def _check_destination(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give -O the name of an .onnx file.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist; create it first, or give -O another path.")
    output_folder(path.parent, "")


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    import kneronnxopt

    try:
        return kneronnxopt.optimize(model)
    except kneronnxopt.OptimizationError as error:
        raise ModelError(str(error)) from error


def _evaluate(model: onnx.ModelProto, folder: Path, options: argparse.Namespace) -> None:
    from ktc.model_config import ModelConfig
    from ktc.report._format import digits

    config = ModelConfig(_MODEL_ID, _MODEL_VERSION, options.platform, onnx_model=model)
    config.name = Path(options.path).stem
    report = config.evaluate(output_dir=folder, compiler_tiling="deep_search" if options.deep_search else "default")
    if options.print:
        sys.stdout.write(f"{report}\n")
    fps, time_ms = digits(report.fps, 4), digits(report.time_ms, 4)
    error = report.evaluation.expected_error_percent
    sys.stdout.write(
        f"estimate: {fps} fps, {time_ms} ms per inference on the KL{options.platform} "
        f"(typical error {error:.0f} %), {len(report.cpu_nodes)} CPU nodes\n"
    )
    sys.stdout.write(f"report: {report.files['model_fx_report.html']}\n")


if __name__ == "__main__":
    sys.exit(main())
