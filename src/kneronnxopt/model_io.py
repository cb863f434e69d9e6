"""Reading, checking and writing ONNX files. Files are untrusted: nothing is built before it is checked."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError

from kneronnxopt._text import first_line, one_line
from kneronnxopt.errors import OptimizationError
from kneronnxopt.external_data import check_external, external_tensors, weight_bytes, write_weights
from kneronnxopt.skeleton import make_skeleton, sort_nodes
from kneronnxopt.walk import all_attributes, graphs_of, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "check_model",
    "given_model",
    "has_sparse_tensors",
    "load_model",
    "read_model",
    "refuse_same_file",
    "save_model",
]

logger = logging.getLogger(__name__)

#: Protocol buffers cannot serialise more than this many bytes.
_PROTOBUF_LIMIT = 2**31 - 1
_MAX_EXPANDED_NODES = 1_000_000
_LONGEST_MESSAGE = 400


def load_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file together with its external data, and check it.

    Parameters
    ----------
    path : str or os.PathLike
        The ``.onnx`` file.

    Returns
    -------
    onnx.ModelProto
        All weights are in the message; nodes are in topological order.

    Raises
    ------
    OptimizationError
        The file is missing, a folder, empty, damaged, not ONNX, refused by onnx's checker, or its
        external data is missing, too short or outside the model's folder.
    """
    path = Path(path)
    model = read_model(path)
    if not any(external_tensors(model)):
        return model
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise OptimizationError(
            f"{path}: external data cannot be read: {first_line(error)}; keep the data file beside the model"
        ) from error
    return check_model(model, str(path))


def given_model(model: object, argument: str) -> onnx.ModelProto:
    """Return a checked model that a caller gave as such or as a path.

    Raises
    ------
    OptimizationError
        It is neither, cannot be read, or is not valid ONNX.
    """
    if isinstance(model, onnx.ModelProto):
        return check_model(model, argument)
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    raise OptimizationError(
        f"{argument} is a {type(model).__name__}; give an onnx.ModelProto or the path of an .onnx file"
    )


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file and check it, external data included, which stay where they are.

    Raises
    ------
    OptimizationError
        As ``load_model``.
    """
    path = Path(path)
    model = _parse(path, _read_bytes(path))
    for tensor in external_tensors(model):
        check_external(tensor, path)
    return check_model(model, str(path), loaded=False)


def check_model(model: onnx.ModelProto, origin: str, *, loaded: bool = True) -> onnx.ModelProto:
    """Check a model in memory.

    Parameters
    ----------
    model : onnx.ModelProto
        Is not changed.
    origin : str
        What to call the model in messages: a path or an argument.
    loaded : bool
        External data have to be in the message by now.

    Returns
    -------
    onnx.ModelProto
        ``model`` itself, or a copy with sorted nodes where they were out of order.

    Raises
    ------
    OptimizationError
        onnx's checker refuses the model; the message says what and where.
    """
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise OptimizationError(
            f"{origin}: the model has no graph; export it again, or check that this is an ONNX model"
        )
    if not model.graph.output:
        raise OptimizationError(f"{origin}: the graph has no outputs; name what it has to compute, and export it again")
    try:
        ordered = sort_nodes(model.graph.node)
    except OptimizationError as error:
        raise OptimizationError(f"{origin}: {error}") from error
    if any(a is not b for a, b in zip(ordered, model.graph.node, strict=True)):
        logger.info("%s: nodes were not in topological order; sorted", origin)
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        del copied.graph.node[:]
        copied.graph.node.extend(ordered)
        model = copied
    for tensor in external_tensors(model) if loaded else ():
        raise OptimizationError(
            f"{origin}: tensor '{tensor.name}' has external data that are not loaded; give the path of the model, "
            "or load it with onnx.load"
        )
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            _check_tensor_size(tensor, origin)
    for node in model.graph.node:
        if node.op_type == "Split":
            _check_split(node, origin)
    _check_function_calls(model, origin)
    try:
        onnx.checker.check_model(make_skeleton(model))
    except onnx.checker.ValidationError as error:
        raise OptimizationError(
            f"{origin}: onnx's checker refuses the model: {_whole_message(error)}; "
            "export the model again or mend the part named"
        ) from error
    return model


def save_model(model: onnx.ModelProto, path: str | os.PathLike[str], *, source_folder: Path | None = None) -> Path:
    """Write a model; above 2 GiB, or where its weights were in a file of their own, they go to ``<name>.data``.

    The files appear whole or not at all: they are written under temporary names and renamed.

    Parameters
    ----------
    model : onnx.ModelProto
        Where the weights go to a file, ``model`` refers to them there afterwards.
    path : path
        The ``.onnx`` file.
    source_folder : Path, optional
        Folder of the external data that ``model`` refers to, if it does.

    Raises
    ------
    OptimizationError
        The folder does not exist or cannot be written.
    """
    path, target = Path(path), _check_destination(Path(path))
    apart = weight_bytes(model) > _PROTOBUF_LIMIT - 2**24 or any(external_tensors(model))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            temporary, data = Path(folder) / target.name, Path(folder) / f"{target.name}.data"
            if apart:
                with data.open("wb") as file:
                    write_weights(model, file, data.name, source_folder)
            temporary.write_bytes(model.SerializeToString())
            if apart:
                data.replace(target.parent / data.name)
            temporary.replace(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OptimizationError(f"{path}: cannot be written: {reason}; choose another file") from error
    return path


def _check_destination(path: Path) -> Path:
    """Refuse what no file can be written to; return what ``path`` leads to (a link stays a link)."""
    try:
        is_folder, has_folder, target = path.is_dir(), path.parent.is_dir(), path.resolve()
    except (OSError, ValueError) as error:
        raise OptimizationError(f"{path!s}: is not a usable path ({first_line(error)}); choose another name") from error
    if is_folder:
        raise OptimizationError(f"{path}: is a folder; give the name of an .onnx file in it")
    if not has_folder:
        raise OptimizationError(f"{path}: there is no folder {path.parent}; create it first")
    if path.exists() and not path.is_file():
        raise OptimizationError(f"{path}: is a device or the like; give the name of an .onnx file")
    return target


def refuse_same_file(source: Path, destination: Path) -> None:
    """Refuse to write a result over the model it is made from.

    Raises
    ------
    OptimizationError
        Both paths name one file.
    """
    if destination.exists() and source.exists() and destination.samefile(source):
        raise OptimizationError(f"{destination}: is the input itself; give the result another name")


def has_sparse_tensors(model: onnx.ModelProto) -> bool:
    """Whether the model holds a sparse initializer or constant anywhere."""
    return bool(model.graph.sparse_initializer) or any(
        attribute.HasField("sparse_tensor")
        or attribute.sparse_tensors
        or any(graph.sparse_initializer for graph in graphs_of(attribute))
        for attribute in all_attributes(model)
    )


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.exists():
            raise OptimizationError(f"{path}: no such file; check the path")
        if path.is_dir():
            raise OptimizationError(f"{path}: is a folder; give the .onnx file in it")
        if not path.is_file():
            raise OptimizationError(f"{path}: is not a regular file; give an .onnx file")
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise OptimizationError(f"{path}: cannot be read: {reason}; check its name and permissions") from error
    if not content:
        raise OptimizationError(f"{path}: the file is empty; export or copy the model again")
    return content


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        parsed = model.HasField("graph") and model.ir_version > 0
    except DecodeError:
        parsed = False
    if parsed:
        return model
    if _is_text(content):
        raise OptimizationError(f"{path}: is a text file, not an ONNX model; give the binary .onnx file")
    raise OptimizationError(
        f"{path}: is not an ONNX model, or the file is truncated or damaged; export or copy it again"
    )


def _is_text(content: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        head = content[:1024].decode("ascii")
        return all(character.isprintable() or character in "\r\n\t" for character in head)
    return False


def _check_tensor_size(tensor: onnx.TensorProto, origin: str) -> None:
    """Large initializers do not reach onnx's checker, so their sizes are checked here."""
    where = f"{origin}: initializer '{tensor.name}'"
    if any(dim < 0 for dim in tensor.dims):
        raise OptimizationError(f"{where} has a negative dimension {list(tensor.dims)}; export the model again")
    try:
        item_bits = _item_bits(tensor.data_type)
    except KeyError:
        raise OptimizationError(
            f"{where} has the unknown data type {tensor.data_type}; update the onnx package"
        ) from None
    if not tensor.HasField("raw_data"):
        _check_typed_data(tensor, where)
        return
    expected = (math.prod(tensor.dims) * item_bits + 7) // 8
    found = len(tensor.raw_data)  # one copy of the data: protocol buffers tell the length in no cheaper way
    if found != expected:
        raise OptimizationError(
            f"{where} has {found} bytes of data, but its shape {list(tensor.dims)} needs "
            f"{expected}; the file is damaged, export it again"
        )


def _check_typed_data(tensor: onnx.TensorProto, where: str) -> None:
    try:
        onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise OptimizationError(
            f"{where} has data that do not fit its shape {list(tensor.dims)} ({first_line(error)}); "
            "the file is damaged, export it again"
        ) from error


def _check_function_calls(model: onnx.ModelProto, origin: str) -> None:
    """Refuse functions that call functions that call ... so often that nothing can visit all the nodes."""
    counts: dict[tuple[str, str], int] = {}
    for _ in model.functions:  # after as many rounds as there are functions, every chain of calls is counted
        before = dict(counts)
        for function in model.functions:
            count = _expanded_nodes(function.node, counts)
            counts[function.domain, function.name] = min(count, _MAX_EXPANDED_NODES + 1)
        if counts == before:
            break
    if counts and _expanded_nodes(model.graph.node, counts) > _MAX_EXPANDED_NODES:
        raise OptimizationError(
            f"{origin}: the local functions expand to more than {_MAX_EXPANDED_NODES} nodes; export without functions"
        )


def _expanded_nodes(nodes: Iterable[onnx.NodeProto], counts: Mapping[tuple[str, str], int]) -> int:
    total = 0
    for node in nodes:
        total += counts.get((node.domain, node.op_type), 1)
        total += sum(_expanded_nodes(graph.node, counts) for graph in subgraphs(node))
    return total


def _whole_message(error: BaseException) -> str:
    """Join the lines of a checker's message: the node or value that it means stands in the later ones."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return one_line(text).rstrip(".")[:_LONGEST_MESSAGE]


def _check_split(node: onnx.NodeProto, origin: str) -> None:
    """Onnx's shape inference ends the process where ``num_outputs`` is not the number of outputs (seen with 1.23)."""
    for attribute in node.attribute:
        if attribute.name == "num_outputs" and attribute.i != len(node.output):
            raise OptimizationError(
                f"{origin}: node '{node.name}' (Split) has num_outputs {attribute.i}, but {len(node.output)} outputs; "
                "make them agree"
            )


@functools.cache
def _item_bits(data_type: int) -> int:
    name = onnx.TensorProto.DataType.Name(data_type) if data_type in onnx.TensorProto.DataType.values() else ""
    packed = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    if name in packed:
        return packed[name]
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8
