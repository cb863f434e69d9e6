"""Command line: ``python -m ktc.compare model.onnx [other.onnx]``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kneronnxopt._cli import make_callable, report_error, run, start_logging
from ktc._files import write_files
from ktc._options import add_axes, check_destination, chosen_platforms, chosen_settings, models_among_options
from ktc._table import text_table
from ktc.comparison import compare, find_regressions, read_baseline
from ktc.comparison._regressions import check_factor
from ktc.errors import ConfigError, KtcError
from ktc.report._format import single_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktc.comparison import Comparison, Regression

__all__ = ["compare", "main"]

_FAIL_BELOW = 0.95
_ROWS_SHOWN = 20
_WORSE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 worse than the baseline, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    models = [*options.models, *models_among_options(options)]
    if not 1 <= len(models) <= 2:
        parser.error("give one .onnx file, or two versions of a model")
    if options.fail_below is not None and options.baseline is None:
        parser.error("--fail-below needs --baseline")
    start_logging()
    try:
        return _run(models, options)
    except KtcError as error:
        return report_error(parser.prog, "", error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ktc.compare",
        usage="%(prog)s [options] model.onnx [other.onnx]",  # an option may have taken them, so argparse takes none
        description="Evaluate a model on several platforms, with several settings, or in two versions, side by side.",
        epilog="Exit code: 0 done; 1 with --baseline: something is worse; 2 bad input or usage.",
    )
    parser.add_argument("models", nargs="*", metavar="model.onnx", help="the model, and another version of it")
    add_axes(parser)
    parser.add_argument(
        "--output", metavar="DIR", help="write comparison.html, comparison.json and comparison.txt here"
    )
    parser.add_argument("--json", metavar="FILE", help="write the comparison to this file")
    parser.add_argument("--all", action="store_true", help=f"print all rows, not only {_ROWS_SHOWN}")
    parser.add_argument(
        "--baseline", metavar="FILE", help="fail if something is worse than in this earlier --json FILE"
    )
    parser.add_argument(
        "--fail-below",
        type=float,
        metavar="FACTOR",
        help=f"with --baseline: fail below this factor of its fps (default: {_FAIL_BELOW})",
    )
    return parser


def _run(models: list[str], options: argparse.Namespace) -> int:
    # The factor, the baseline and the destination are checked before any work is done.
    factor = _FAIL_BELOW if options.fail_below is None else options.fail_below
    check_factor(factor)
    baseline = None if options.baseline is None else read_baseline(options.baseline)
    target = None if options.json is None else check_destination(options.json, "--json")
    if target is not None and baseline is not None and target.exists() and target.samefile(options.baseline):
        raise ConfigError(f"{target}: is the baseline itself; give --json another file.")
    comparison = compare(
        *models, platforms=chosen_platforms(options), settings=chosen_settings(options), output_dir=options.output
    )
    if all(column.evaluation is None for column in comparison.columns):
        raise ConfigError(f"{models[0]}: nothing could be evaluated: {comparison.columns[0].error}")
    sys.stdout.write(comparison.to_text(None if options.all else _ROWS_SHOWN))
    if target is not None:
        _write_json(comparison, target)
    for path in (*comparison.files.values(), *([target] if target is not None else [])):
        sys.stdout.write(f"written: {path}\n")
    if baseline is None:
        return 0
    regressions = find_regressions(comparison, baseline, factor)
    sys.stdout.write(_verdict(regressions, options.baseline, factor))
    return _WORSE if regressions else 0


def _write_json(comparison: Comparison, target: Path) -> None:
    from ktc.comparison._write import json_text

    write_files(target.parent, {target.name: json_text(comparison)})


def _verdict(regressions: tuple[Regression, ...], baseline: str, factor: float) -> str:
    if not regressions:
        return f"\nnothing is worse than in {baseline} (limit: {factor} times its fps)\n"
    rows = [tuple(map(single_line, (r.column, r.what, r.before, r.now))) for r in regressions]
    table = text_table(("column", "what", "baseline", "now"), rows, names=4)
    return f"\n[Regressions] against {baseline} (limit: {factor} times its fps)\n{table}\n"


if __name__ == "__main__":
    run(main)
else:
    make_callable(__name__, compare)
