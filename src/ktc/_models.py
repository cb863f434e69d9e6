"""Models as ktc takes them: read and checked by kneronnxopt, refused with ktc's own errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ktc.errors import ConfigError, ModelError, UnsupportedError

if TYPE_CHECKING:
    from typing import NoReturn

    import onnx

__all__ = ["checked_model", "given_model", "read_model", "refuse_container"]


def given_model(model: object, argument: str) -> onnx.ModelProto:
    """Read and check a model that was given as a path, or check one in memory, which is not changed.

    Raises
    ------
    ConfigError
        It is neither.
    ModelError
        It is not a valid ONNX model; the message says what is wrong, and names the file.
    """
    import onnx

    from kneronnxopt import model_io
    from kneronnxopt.errors import OptimizationError

    if not isinstance(model, str | os.PathLike | onnx.ModelProto):
        raise ConfigError(
            f"{argument} is a {type(model).__name__}; give an onnx.ModelProto or the path of an .onnx file."
        )
    try:
        return model_io.given_model(model, argument)
    except OptimizationError as error:
        raise ModelError(str(error)) from error


def read_model(path: str | os.PathLike[str], argument: str) -> onnx.ModelProto:
    """Read and check an ONNX file, where nothing but a path will do; raises as `given_model`."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"{argument}={path!r} is not a path; give the name of an .onnx file.")
    return given_model(path, argument)


def checked_model(model: object, argument: str) -> onnx.ModelProto:
    """Check a model where nothing but one in memory will do; raises as `given_model`."""
    import onnx

    if not isinstance(model, onnx.ModelProto):
        raise ConfigError(f"{argument} is a {type(model).__name__}; give an onnx.ModelProto, as onnx.load returns it.")
    return given_model(model, argument)


def refuse_container(path: str | os.PathLike[str], kind: str) -> NoReturn:
    """Refuse a BIE or NEF file, after the checks that any file gets.

    Raises
    ------
    ModelError
        The file does not exist.
    UnsupportedError
        It exists, but this version does not read such files.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such {kind} file; check the path.")
    raise UnsupportedError(
        f"{path}: {kind} files are not available yet in this version of ktc; use the ONNX model it was made from."
    )
