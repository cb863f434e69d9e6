"""What every command line of this project does around its ``main``."""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import os
import sys
import types
from typing import TYPE_CHECKING, Any, NoReturn

from kneronnxopt._text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["list_commands", "make_callable", "report_error", "run", "start_logging"]

_INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


def run(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end the process with its exit code; quietly on Ctrl-C and when nobody reads the output."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may not be UTF-8, as on stderr
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


def list_commands(
    package: str, description: str, commands: Mapping[str, str], arguments: Sequence[str] | None = None
) -> int:
    """Write the commands of a package with what each is for; refuse any argument but ``--help``."""
    width = max(map(len, commands))
    lines = [f"  python -m {command:<{width}}  {purpose}" for command, purpose in commands.items()]
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}",
        usage=f"python -m {package}.COMMAND ...",
        description="\n".join((description, "", *lines, "", "Each command knows --help.")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.parse_args(arguments)
    parser.print_help()
    return 0


def start_logging(level: str = "warning") -> None:
    """Write log records to stderr, one line each."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s: %(message)s", stream=sys.stderr)


def report_error(program: str, path: object, error: Exception) -> int:
    """Write one line about bad input, with the file it is in; return exit code 2."""
    message = one_line(str(error))
    where = "" if str(path) in message else f"{path}: "
    sys.stderr.write(f"{program}: error: {one_line(where)}{message}\n")
    return 2


def make_callable(module_name: str, function: Callable[..., object]) -> None:
    """Make a module callable as the function it is named after.

    ``import kneronnxopt.optimize`` binds the module to the name ``kneronnxopt.optimize``, which has to stay
    callable; Python offers no hook but the module's class.
    """

    class CallableModule(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> object:
            return function(*args, **kwargs)

    module = sys.modules[module_name]
    module.__class__ = CallableModule
    module.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
