"""Command line: ``python -m ktc.sweep MODELS... --platform 720 --csv out.csv``."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from kneronnxopt._cli import make_callable, report_error, run, start_logging
from kneronnxopt._text import one_line
from ktc._options import add_axes, check_destination, chosen_platforms, chosen_settings, models_among_options
from ktc._table import text_table
from ktc.errors import KtcError
from ktc.report._format import digits, single_line
from ktc.sweeping import COLUMNS, Sweep, sweep, sweep_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktc.sweeping import Row

__all__ = ["COLUMNS", "Sweep", "main", "sweep", "sweep_rows"]

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage, or nothing could be evaluated."""
    parser = _parser()
    options = parser.parse_args(arguments)
    start_logging()
    models = options.models + models_among_options(options)
    if not models:
        parser.error("give at least one .onnx file, or a folder of them")
    try:
        target = check_destination(options.csv, "--csv") if options.csv else None
        rows = sweep(models, chosen_platforms(options), chosen_settings(options), workers=options.workers)
        if target is not None:
            rows.to_csv(target)
    except KtcError as error:
        return report_error(parser.prog, "", error)
    failed = rows.failed
    if len(failed) == len(rows):
        reasons = dict.fromkeys(row["error"] for row in failed)
        others = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
        return report_error(parser.prog, "", KtcError(f"nothing could be evaluated: {next(iter(reasons))}{others}"))
    for reason in dict.fromkeys(row["error"] for row in failed):
        logger.warning(
            "%d of %d failed: %s", sum(row["error"] == reason for row in failed), len(rows), one_line(reason)
        )
    if target is None:
        sys.stdout.write(f"{_text(rows)}\n")
    else:
        sys.stdout.write(f"{len(rows)} evaluations, {len(failed)} of them failed: {target}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ktc.sweep",
        usage="%(prog)s [options] models [models ...]",  # an option may have taken them, so argparse takes none
        description="Evaluate many models on many platforms with many settings.",
    )
    parser.add_argument("models", nargs="*", help=".onnx files, and folders of them")
    add_axes(parser)
    parser.add_argument("--csv", metavar="FILE", help="write the table to this file, instead of to the terminal")
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (default: one per CPU)")
    return parser


def _text(rows: Sequence[Row]) -> str:
    header = ("model", "platform", "setting", "fps", "ms", "MB DRAM", "CPU nodes")
    return text_table(header, [_cells(row) for row in rows], names=3)


def _cells(row: Row) -> tuple[str, ...]:
    names = single_line(row["model"]), f"KL{row['platform']}", single_line(row["setting"])
    if row["error"] is not None:
        return *names, "failed", "", "", ""
    fps = "none" if row["fps"] is None else digits(row["fps"], 4)
    return *names, fps, digits(row["time_ms"], 4), digits(row["dram_bytes"] / 1e6, 3), str(row["cpu_nodes"])


if __name__ == "__main__":
    run(main)
else:
    make_callable(__name__, sweep)
