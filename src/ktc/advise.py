"""Command line: ``python -m ktc.advise {520,720,530,630,730} model.onnx``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kneronnxopt._cli import make_callable, report_error, run, start_logging
from ktc._options import add_platform
from ktc.advice._api import advise, advise_with_remarks
from ktc.errors import KtcError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    start_logging()
    try:
        advised = advise_with_remarks(
            options.path,
            options.platform,
            threshold=options.threshold / 100,
            candidates=options.candidates,
            optimizer=not options.no_optimizer,
            compiler_tiling="deep_search" if options.deep_search else "default",
            ip_config=options.ip_config,
        )
    except KtcError as error:
        return report_error(parser.prog, options.path, error)
    if options.json:
        import json

        from ktc.report._advice import render_advice_json

        sys.stdout.write(json.dumps(render_advice_json(advised), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        from ktc.report._advice import render_advice

        sys.stdout.write(render_advice(advised))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ktc.advise",
        description="Find changes that make a model faster or take nodes off the CPU. Each is made and evaluated.",
    )
    add_platform(parser, "the platform")
    parser.add_argument("path", help="the .onnx file")
    parser.add_argument("--threshold", type=float, default=1.0, metavar="PERCENT", help="least gain to report (1)")
    parser.add_argument("--candidates", type=int, metavar="N", help="try at most N changes")
    parser.add_argument("--no-optimizer", action="store_true", help="do not try kneronnxopt and its options")
    parser.add_argument("--deep-search", action="store_true", help="evaluate with compiler_tiling deep_search")
    parser.add_argument(
        "--ip-config",
        metavar="PATH",
        help="file, or folder of files ip_config_<platform>.json, with figures in place of the packaged ones "
        "(default: what the environment variable KTC_IP_CONFIG names)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    run(main)
else:
    make_callable(__name__, advise)
