"""Command line: ``python -m ktc`` lists the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kneronnxopt._cli import list_commands, run

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = {
    "ktc.opt_and_eval 720 model.onnx": "optimise a model, and estimate its performance",
    "ktc.advise 720 model.onnx": "what would make it faster, or keep it off the CPU",
    "ktc.compare model.onnx": "chips, settings or two versions of a model side by side",
    "ktc.sweep FOLDER": "many models, chips and settings as a table",
    "kneronnxopt": "list the commands that only optimise and compare ONNX models",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """List the commands; return the exit code 0. Arguments are refused with exit code 2."""
    return list_commands("ktc", "Will this ONNX model run on a Kneron NPU, and how fast?", _COMMANDS, arguments)


if __name__ == "__main__":
    run(main)
