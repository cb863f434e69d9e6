"""``kneron_inference``: run a model on arrays, and the layout helper for images."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kneronnxopt._text import first_line
from ktc._models import read_model, refuse_container
from ktc.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["InferenceResult", "convert_channel_last_to_first", "kneron_inference"]

#: Sessions that are kept for further calls on the same, unchanged files.
_CACHED_SESSIONS = 2
#: onnxruntime's names of tensor types.
_NUMPY_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"} | {
    f"tensor({name})": name
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}


class InferenceResult(list["NDArray[Any]"]):
    """Outputs in the order asked for.

    Attributes
    ----------
    layers : dict of str to ndarray
        With ``dump=True``: the value of every intermediate tensor, by its name in the model.
    """

    layers: dict[str, NDArray[Any]]

    def __init__(self, outputs: Sequence[NDArray[Any]], layers: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(outputs)
        self.layers = dict(layers)


def kneron_inference(
    pre_results: Sequence[NDArray[Any]],
    input_names: Sequence[str],
    nef_file: str | os.PathLike[str] = "",
    onnx_file: str | os.PathLike[str] = "",
    bie_file: str | os.PathLike[str] = "",
    model_id: int | None = None,
    data_type: str = "float",
    reordering: Sequence[str] | None = None,
    platform: str | int = 520,
    *,
    dump: bool = False,
) -> InferenceResult:
    """Run a model on preprocessed inputs. If several files are given, NEF is taken before ONNX before BIE.

    Parameters
    ----------
    pre_results : sequence of ndarray
        Inputs in their ONNX shapes. Numbers of another type are cast to the model's type.
    input_names : sequence of str
        The name of the model input that each array is for.
    nef_file, onnx_file, bie_file : path
        The model. NEF and BIE are not available yet.
    model_id : int, optional
        Model of a NEF that holds several.
    data_type : {"float", "fixed"}
        Type of the results; ``"fixed"`` is for BIE and NEF.
    reordering : sequence of str, optional
        Names of outputs, in the order wanted.
    platform : str or int
        Used for BIE and NEF.
    dump : bool
        Also keep the value of every layer, in ``layers`` of the result.

    Returns
    -------
    InferenceResult
        A list of arrays, in model output order or as ``reordering`` says.

    Raises
    ------
    ConfigError
        An argument has a value that is not allowed.
    ModelError
        The model cannot be read or run, or the arrays do not fit it.
    UnsupportedError
        The model is a NEF or BIE file.
    """
    from ktc.hardware.platform import normalise_platform

    normalise_platform(platform)
    if data_type not in ("float", "fixed"):
        raise ConfigError(f'data_type={data_type!r} is not allowed; use "float" or "fixed".')
    if model_id is not None and (isinstance(model_id, bool) or not isinstance(model_id, int)):
        raise ConfigError(f"model_id={model_id!r} is not a model id; give an integer or None.")
    if nef_file:
        refuse_container(nef_file, "NEF")
    if not onnx_file:
        if bie_file:
            refuse_container(bie_file, "BIE")
        raise ConfigError("no model is given; use one of nef_file, onnx_file and bie_file.")
    if data_type == "fixed":
        raise ConfigError('data_type="fixed" is for BIE and NEF files; an ONNX model computes in "float".')
    session, outputs = _open(onnx_file, dump)
    order = _check_order(reordering, outputs)
    feeds = _feeds(session.get_inputs(), pre_results, input_names)
    try:
        results = dict(zip((out.name for out in session.get_outputs()), session.run(None, feeds), strict=True))
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise ModelError(f"{onnx_file}: onnxruntime cannot run the model: {first_line(error)}") from error
    layers = {name: value for name, value in results.items() if name not in outputs}
    return InferenceResult([results[name] for name in order], layers)


def convert_channel_last_to_first(image: NDArray[Any]) -> NDArray[Any]:
    """Reorder image data from channel last to channel first.

    Parameters
    ----------
    image : ndarray, shape (H, W, C) or (N, H, W, C)
        Any element type.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        The same values and element type; N is 1 for a single image.

    Raises
    ------
    ModelError
        ``image`` is not such an array.
    """
    if not isinstance(image, np.ndarray):
        raise ModelError(
            f"image has the type {type(image).__name__}; give a numpy array of shape (H, W, C) or (N, H, W, C)."
        )
    if image.ndim not in (3, 4):
        raise ModelError(
            f"image has shape {image.shape}; it has to be (H, W, C) or (N, H, W, C). "
            "A grey image needs a channel axis: image[..., np.newaxis]."
        )
    batch = image if image.ndim == 4 else image[np.newaxis]
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def _open(path: str | os.PathLike[str], dump: bool) -> tuple[onnxruntime.InferenceSession, tuple[str, ...]]:
    """Return a session for a file, and the model's outputs; the same one as long as the file does not change."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"onnx_file={path!r} is not a path; give the name of an .onnx file.")
    try:
        status = Path(path).stat()
    except OSError as error:
        read_model(path, "onnx_file")  # says what is wrong with the path
        raise ModelError(f"{path}: {error}; check the path.") from error
    return _session(os.fspath(path), os.path.realpath(path), status.st_mtime_ns, status.st_size, dump)


@functools.lru_cache(maxsize=_CACHED_SESSIONS)
def _session(
    path: str, _realpath: str, _mtime_ns: int, _size: int, dump: bool
) -> tuple[onnxruntime.InferenceSession, tuple[str, ...]]:
    import onnxruntime

    model = read_model(path, "onnx_file")
    outputs = tuple(output.name for output in model.graph.output)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source: str | bytes = path
    try:
        if dump:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            _expose_all_values(model)
            source = model.SerializeToString()
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise ModelError(f"{path}: onnxruntime cannot load the model: {first_line(error)}") from error
    return session, outputs


def _expose_all_values(model: onnx.ModelProto) -> None:
    """Make every value of the main graph an output."""
    import onnx

    known = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                model.graph.output.append(onnx.ValueInfoProto(name=name))


def _feeds(
    wanted: Sequence[onnxruntime.NodeArg], arrays: Sequence[NDArray[Any]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Match arrays with inputs by name, and bring each into the model's type."""
    described = ", ".join(f"'{arg.name}' {_shape_text(arg.shape)}" for arg in wanted)
    if not isinstance(arrays, list | tuple):
        raise ModelError(
            f"pre_results is a {type(arrays).__name__}; give a list with one array for each input: {described}."
        )
    if isinstance(names, str) or not isinstance(names, list | tuple):
        raise ModelError(f"input_names={names!r} is not a list of names; the model's inputs are {described}.")
    if len(arrays) != len(names):
        raise ModelError(
            f"there are {len(arrays)} arrays for {len(names)} input names; the model's inputs are {described}."
        )
    by_name = {arg.name: arg for arg in wanted}
    for name in names:
        if name not in by_name:
            raise ModelError(f"the model has no input '{name}'; its inputs are {described}.")
    missing = [name for name in by_name if name not in names]
    if missing or len(set(names)) != len(names):
        problem = "is given twice" if not missing else "is missing"
        name = missing[0] if missing else next(name for name in names if list(names).count(name) > 1)
        raise ModelError(f"input '{name}' {problem}; the model's inputs are {described}.")
    return {name: _as_input(array, by_name[name]) for name, array in zip(names, arrays, strict=True)}


def _as_input(array: object, arg: onnxruntime.NodeArg) -> NDArray[Any]:
    """Check one array against an input, and cast it."""
    if not isinstance(array, np.ndarray):
        raise ModelError(
            f"input '{arg.name}' got a {type(array).__name__}; give a numpy array of shape {_shape_text(arg.shape)}."
        )
    if not _shape_fits(array.shape, arg.shape):
        raise ModelError(
            f"input '{arg.name}' wants shape {_shape_text(arg.shape)}, the array has {array.shape}"
            f"{_layout_hint(array, arg)}."
        )
    if arg.type not in _NUMPY_TYPES:
        return array
    dtype = np.dtype(_NUMPY_TYPES[arg.type])
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and dtype.kind not in "f"):
        raise ModelError(f"input '{arg.name}' wants {dtype}, the array has {array.dtype}; convert it first.")
    with np.errstate(over="ignore"):
        cast_array = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(cast_array, array):
        raise ModelError(
            f"input '{arg.name}' wants {dtype}, but values of the array do not fit in it; check the range."
        )
    return cast("NDArray[Any]", cast_array)


def _shape_fits(shape: Sequence[int], wanted: Sequence[int | str | None]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(size, int) or size == given for given, size in zip(shape, wanted, strict=True)
    )


def _layout_hint(array: NDArray[Any], arg: onnxruntime.NodeArg) -> str:
    """Advice for an array that would fit channel first."""
    if array.ndim in (3, 4):
        turned = (1, *array.shape)[-4:]
        if _shape_fits((turned[0], turned[3], turned[1], turned[2]), arg.shape):
            return "; it is channel last, use ktc.convert_channel_last_to_first on it"
    return ""


def _check_order(reordering: Sequence[str] | None, outputs: Sequence[str]) -> Sequence[str]:
    if reordering is None:
        return outputs
    known = ", ".join(f"'{name}'" for name in outputs)
    if isinstance(reordering, str) or not isinstance(reordering, list | tuple):
        raise ConfigError(f"reordering={reordering!r} is not a list of output names; the model's outputs are {known}.")
    for name in reordering:
        if name not in outputs:
            raise ConfigError(f"reordering: the model has no output '{name}'; its outputs are {known}.")
    return reordering


def _shape_text(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
