"""Command line: ``python -m kneronnxopt`` lists the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kneronnxopt._cli import list_commands, run

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = {
    "kneronnxopt.optimize model.onnx": "optimise a model: model_optimized.onnx",
    "kneronnxopt.large_model_fast_proc model.onnx": "the same for models above 2 GiB",
    "kneronnxopt.onnx_vs_onnx a.onnx b.onnx": "do two models compute the same?",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """List the commands; return the exit code 0. Arguments are refused with exit code 2."""
    description = "Rewrite ONNX models for Kneron NPUs without changing what they compute."
    return list_commands("kneronnxopt", description, _COMMANDS, arguments)


if __name__ == "__main__":
    run(main)
