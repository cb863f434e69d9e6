"""Command line: ``python -m kneronnxopt.large_model_fast_proc in.onnx -o out.onnx``, for models above 2 GiB.

The weights stay in their files and are copied through; nothing is run in onnxruntime.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kneronnxopt._api import optimize
from kneronnxopt._cli import report_error, run, start_logging
from kneronnxopt.errors import OptimizationError
from kneronnxopt.model_io import refuse_same_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 bad input or usage."""
    parser = argparse.ArgumentParser(
        prog="python -m kneronnxopt.large_model_fast_proc",
        description="Optimise a large ONNX model without loading its weights and without the final check.",
    )
    parser.add_argument("path", help="the .onnx file")
    parser.add_argument("-o", "--output", help="where to write the result (default: <path>_optimized.onnx)")
    levels = ("debug", "info", "warning", "error", "critical")
    parser.add_argument("--log", type=str.lower, choices=levels, default="warning", help="what to log on stderr")
    parser.add_argument(
        "--overwrite-input-shapes",
        action="append",
        metavar="NAME:D0,D1",
        help="shape to give an input, e.g. data:1,3,224,224; may be repeated",
    )
    parser.add_argument("--skip-fuse-qkv", action="store_true", help="leave separate q, k, v projections apart")
    parser.add_argument("--onnxtool", action="store_true", help="accepted for scripts; shapes are inferred without it")
    options = parser.parse_args(arguments)
    start_logging(options.log)
    if options.onnxtool:
        logger.warning("--onnxtool has no effect: shapes are inferred without that tool")
    path = Path(options.path)
    output = Path(options.output) if options.output else path.with_name(f"{path.stem}_optimized.onnx")
    try:
        refuse_same_file(path, output)
        optimize(
            path,
            skip_check=True,
            overwrite_input_shapes=options.overwrite_input_shapes,
            skip_fuse_qkv=options.skip_fuse_qkv,
            output_path=output,
        )
    except OptimizationError as error:
        return report_error(parser.prog, path, error)
    sys.stdout.write(f"written: {output}\n")
    return 0


if __name__ == "__main__":
    run(main)
