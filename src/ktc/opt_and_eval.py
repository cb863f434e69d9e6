"""Command line: ``python -m ktc.opt_and_eval {520,720,530,630,730} model.onnx``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kneronnxopt._cli import report_error, run, start_logging
from kneronnxopt._text import one_line
from kneronnxopt.errors import OptimizationError
from kneronnxopt.model_io import refuse_same_file, save_model
from ktc._annotate import annotate
from ktc._folders import output_folder
from ktc._models import read_model, refuse_container
from ktc._options import add_platform
from ktc.errors import ConfigError, KtcError, ModelError
from ktc.hardware.user_config import ENVIRONMENT_VARIABLE, configured_platform
from ktc.report._format import digits, roughly

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from ktc.report import EvaluationReport

__all__ = ["main"]

logger = logging.getLogger(__name__)

_DEFAULT_REPORT_FOLDER = "/data/kneron_flow"
#: Id and version of the model in the report; they matter to NEF files only.
_MODEL_ID, _MODEL_VERSION = 32769, "0001"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.evaluator_only and options.optimizer_only:
        parser.error("-e and -o exclude each other; use one of them, or none to do both")
    if options.annotate and (options.evaluator_only or options.optimizer_only):
        parser.error("--annotate writes figures of the evaluation into the optimised model; leave out -e and -o")
    start_logging()
    without_effect = (
        ("-e", "-O", options.optimized_path),
        ("-o", "-E", options.evaluator_report_path),
        ("-o", "--ip-config", options.ip_config),
    )
    for flag, option, wanted in without_effect:
        if wanted is not None and (options.evaluator_only if flag == "-e" else options.optimizer_only):
            logger.warning("%s has no effect together with %s", option, flag)
    try:
        if not options.optimizer_only:
            configured_platform(options.platform, options.ip_config)
    except KtcError as error:
        return report_error(parser.prog, options.ip_config or ENVIRONMENT_VARIABLE, error)
    try:
        _run(options)
    except KtcError as error:
        return report_error(parser.prog, options.path, error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ktc.opt_and_eval", description="Optimize ONNX model and run IP Evaluator"
    )
    add_platform(parser, "Target hardware platform.")
    parser.add_argument("path", help="Path to the ONNX model file (BIE: not available yet).")
    parser.add_argument("-P", "--print", action="store_true", help="Print the evaluation result in the terminal.")
    parser.add_argument("-e", "--evaluator-only", action="store_true", help="Evaluator only, skip optimization step.")
    parser.add_argument(
        "-E",
        "--evaluator-report-path",
        help="Path to the directory to save the evaluator report "
        f"(default: {_DEFAULT_REPORT_FOLDER}, or ./kneron_flow where that cannot be made).",
    )
    parser.add_argument("-o", "--optimizer-only", action="store_true", help="Optimizer only, skip evaluator step.")
    parser.add_argument(
        "-O", "--optimized-path", help="Path to save the optimized ONNX model (default: <name>.opt.onnx beside it)."
    )
    parser.add_argument(
        "--deep-search",
        action="store_true",
        help="Use deep search for optimization, which may take longer but can yield better performance.",
    )
    parser.add_argument(
        "--ip-config",
        metavar="PATH",
        help="File, or folder of files ip_config_<platform>.json, with figures in place of the packaged ones "
        f"(default: what the environment variable {ENVIRONMENT_VARIABLE} names).",
    )
    parser.add_argument(
        "--annotate",
        action="store_true",
        help="Write the figures of each node into the optimized model as metadata, where Netron shows them.",
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
        _check_destination(path, destination)
        model = _optimize(model)
    if not options.optimizer_only:
        chosen = options.evaluator_report_path
        folder = _DEFAULT_REPORT_FOLDER if chosen is None else chosen
        evaluated = path if options.evaluator_only else destination
        report = _evaluate(model, output_folder(folder, _DEFAULT_REPORT_FOLDER), options, evaluated)
        if options.annotate:
            model = annotate(model, report)
    if not options.evaluator_only:
        save_model(model, destination)
        sys.stdout.write(f"optimised model: {destination}\n")


def _check_destination(source: Path, path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give -O the name of an .onnx file.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; create it first, or give -O another path.")
    try:
        refuse_same_file(source, path)
    except OptimizationError as error:
        raise ConfigError(str(error)) from error
    output_folder(path.parent, "")


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    import kneronnxopt

    try:
        return kneronnxopt.optimize(model)
    except kneronnxopt.OptimizationError as error:
        raise ModelError(str(error)) from error


def _evaluate(model: onnx.ModelProto, folder: Path, options: argparse.Namespace, path: Path) -> EvaluationReport:
    from ktc.model_config import ModelConfig

    config = ModelConfig(_MODEL_ID, _MODEL_VERSION, options.platform, onnx_model=model)
    config.name, config.onnx_path = Path(options.path).stem, path
    report = config.evaluate(
        output_dir=folder,
        compiler_tiling="deep_search" if options.deep_search else "default",
        ip_config=options.ip_config,
    )
    if options.print:
        sys.stdout.write(f"{report}\n")
    for warning in report.evaluation.warnings:
        logger.warning(one_line(warning))
    sys.stdout.write(f"{_headline(report, options.platform)}\n")
    sys.stdout.write(f"report: {report.files['model_fx_report.html']}\n")
    return report


def _headline(report: EvaluationReport, platform: str) -> str:
    count = len(report.cpu_nodes)
    on_cpu = f"{count} CPU node{'' if count == 1 else 's'}"
    if not report.time_ms:
        return f"no estimate: nothing of this model runs on the NPU of the KL{platform}, {on_cpu}"
    cpu_ms = report.evaluation.cpu_time_ms
    if cpu_ms:
        on_cpu += f", about {roughly(cpu_ms)} ms on the CPU, not included"
    elif count:
        on_cpu += ", whose time is not included"
    error = f"typical error {report.evaluation.expected_error_percent:.0f} %"
    if not report.evaluation.error_known:
        own = len(report.evaluation.user_figures)
        error = f"with {own} figure{'' if own == 1 else 's'} of your own, error unknown"
    npu_part = " (NPU part only)" if report.evaluation.cpu_dominates else ""
    return (
        f"estimate: {digits(report.fps, 4)} fps{npu_part}, {digits(report.time_ms, 4)} ms per inference "
        f"on the KL{platform} ({error}), {on_cpu}"
    )


if __name__ == "__main__":
    run(main)
