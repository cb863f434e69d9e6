"""Models as ktc takes them: read and checked by kneronnxopt, refused with ktc's own errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ktc.errors import ConfigError, ModelError, UnsupportedError

if TYPE_CHECKING:
    from typing import NoReturn

    import onnx

__all__ = ["checked_model", "read_model", "refuse_container"]


def read_model(path: str | os.PathLike[str], argument: str) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises
    ------
    ConfigError
        ``path`` is not a path.
    ModelError
        The file is not a valid ONNX model; the message names the file and the remedy.
    """
    from kneronnxopt.errors import OptimizationError
    from kneronnxopt.model_io import load_model

    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"{argument}={path!r} is not a path; give the name of an .onnx file.")
    try:
        return load_model(path)
    except OptimizationError as error:
        raise ModelError(str(error)) from error


def checked_model(model: object, argument: str) -> onnx.ModelProto:
    """Check a model in memory; the result has its nodes in order, ``model`` itself is not changed.

    Raises
    ------
    ConfigError
        ``model`` is not an ``onnx.ModelProto``.
    ModelError
        onnx's checker refuses it.
    """
    import onnx

    from kneronnxopt.errors import OptimizationError
    from kneronnxopt.model_io import check_model

    if not isinstance(model, onnx.ModelProto):
        raise ConfigError(f"{argument} is a {type(model).__name__}; give an onnx.ModelProto, as onnx.load returns it.")
    try:
        return check_model(model, argument)
    except OptimizationError as error:
        raise ModelError(str(error)) from error


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
