"""What every command line of this project does around its ``main``."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from kneronnxopt._text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["report_error", "run", "start_logging"]

_INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


def run(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end the process with its exit code; quietly on Ctrl-C and when nobody reads the output."""
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = _INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def start_logging(level: str = "warning") -> None:
    """Write log records to stderr, one line each."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s: %(message)s", stream=sys.stderr)


def report_error(program: str, path: object, error: Exception) -> int:
    """Write one line about bad input, with the file it is in; return exit code 2."""
    message = one_line(str(error))
    where = "" if str(path) in message else f"{path}: "
    sys.stderr.write(f"{program}: error: {one_line(where)}{message}\n")
    return 2
