"""Weights in files beside the model: found, checked, and copied without being loaded."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import onnx

from kneronnxopt.errors import OptimizationError
from kneronnxopt.walk import all_attributes, graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXTERNAL_THRESHOLD", "check_external", "external_tensors", "weight_bytes", "write_weights"]

#: Tensors of more bytes than this go to the data file, where there is one.
EXTERNAL_THRESHOLD = 1024
#: Data are copied in pieces of this size, and begin at multiples of a page so that they can be mapped.
_PIECE = 2**24
_PAGE = 4096


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Return every tensor whose data lie in another file, in subgraphs and functions too."""
    tensors = list(model.graph.initializer)
    for attribute in all_attributes(model):
        if attribute.HasField("t"):
            tensors.append(attribute.t)
        tensors += attribute.tensors
        for graph in graphs_of(attribute):
            tensors += graph.initializer
    return (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)


def check_external(tensor: onnx.TensorProto, model_path: Path) -> None:
    """Check that the data of a tensor exist, in full, within the model's folder.

    Raises
    ------
    OptimizationError
        They do not; the message names model, tensor and file.
    """
    where = f"{model_path}: tensor '{tensor.name}'"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location:
        raise OptimizationError(f"{where} is external but names no file; export the model again")
    folder = model_path.parent.resolve()
    target = (folder / location).resolve()
    if Path(location).is_absolute() or not target.is_relative_to(folder):
        raise OptimizationError(
            f"{where} has external data outside the model's folder ('{location}'); "
            "move the data file beside the model and use its bare name"
        )
    if not target.is_file():
        raise OptimizationError(
            f"{where} needs the external data file '{location}', which is missing; copy it beside the model"
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > target.stat().st_size:
        raise OptimizationError(
            f"{where} lies beyond the end of its external data file '{location}'; the file is truncated, copy it again"
        )


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers of the main graph, names included, wherever they are."""
    return sum(_length(tensor) for tensor in model.graph.initializer)


def write_weights(model: onnx.ModelProto, data: BinaryIO, location: str, source_folder: Path | None) -> None:
    """Write the large initializers to ``data``, and let ``model`` refer to them there.

    Parameters
    ----------
    model : onnx.ModelProto
        Its initializers are changed: inline data move out, references move to the new file.
    data : binary file
        Where the weights go, one after another.
    location : str
        Name of that file, beside the model.
    source_folder : Path or None
        Folder of the files that ``model`` refers to now.
    """
    for tensor in model.graph.initializer:
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not external and (not tensor.HasField("raw_data") or tensor.ByteSize() <= EXTERNAL_THRESHOLD):
            continue
        data.write(bytes(-data.tell() % _PAGE))
        offset = data.tell()
        if external:
            assert source_folder is not None
            _copy_range(tensor, source_folder, data, _length(tensor))
        else:
            data.write(tensor.raw_data)
        length = data.tell() - offset
        tensor.ClearField("raw_data")
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)


def _length(tensor: onnx.TensorProto) -> int:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return int(tensor.ByteSize())
    entries = {entry.key: entry.value for entry in tensor.external_data}
    bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return int(entries.get("length", 0)) or int(math.prod(tensor.dims) * bits // 8)


def _copy_range(tensor: onnx.TensorProto, folder: Path, data: BinaryIO, length: int) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    with (folder / entries["location"]).open("rb") as source:
        source.seek(int(entries.get("offset", 0)))
        remaining = length - _copied_by_the_system(source, data, length)
        while remaining:
            piece = source.read(min(_PIECE, remaining))
            if not piece:
                raise OSError(f"the data of tensor '{tensor.name}' end early")
            data.write(piece)
            remaining -= len(piece)


def _copied_by_the_system(source: BinaryIO, data: BinaryIO, length: int) -> int:
    """Let the operating system copy between two files, where it can; return how many bytes it did."""
    if not hasattr(os, "copy_file_range"):  # Linux only
        return 0
    data.flush()
    done = 0
    start, target = source.tell(), data.tell()
    with contextlib.suppress(OSError):  # two file systems, or one that cannot: the caller reads and writes
        while done < length:
            count = os.copy_file_range(source.fileno(), data.fileno(), length - done, start + done, target + done)
            if not count:
                break
            done += count
    source.seek(start + done)
    data.seek(target + done)
    return done
