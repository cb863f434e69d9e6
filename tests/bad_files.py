"""Files that are not models, each with words that the message about it has to contain."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import onnx

from graphs import model, weight

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (
    "missing",
    "folder",
    "empty",
    "truncated",
    "text",
    "random",
    "no_graph",
    "refused_by_checker",
    "cycle",
    "wrong_weight_size",
    "missing_external_data",
    "short_external_data",
    "external_data_outside",
    "external_data_absolute",
)


def good_model() -> onnx.ModelProto:
    return model("g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w) y = Relu(c) }", w=weight(4, 3, 3, 3))


def bad_file(kind: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write a bad file into ``folder``; return its path, and words of the message it deserves."""
    path = folder / f"{kind}.onnx"
    original = good_model()
    if kind == "missing":
        return path, ("no such file",)
    if kind == "folder":
        path.mkdir()
        return path, ("folder",)
    if kind.endswith(("external_data", "external_data_outside", "external_data_absolute")):
        return path, _with_external_data(kind, path, original)
    if kind == "refused_by_checker":
        original.graph.node[0].op_type = "NoSuchOperator"
    elif kind == "cycle":
        original.graph.node[0].input[0] = "y"
    elif kind == "wrong_weight_size":
        original.graph.initializer[0].raw_data = b"abcd"
    content = original.SerializeToString()
    contents = {
        "empty": (b"", ("empty",)),
        "truncated": (content[: len(content) // 2], ("truncated",)),
        "text": (b"Hello, this is a letter, not a network.\n" * 20, ("text",)),
        "random": (random.Random(0).randbytes(4096), ("not an ONNX model",)),
        "no_graph": (onnx.ModelProto(ir_version=8, producer_name="nobody").SerializeToString(), ("not an ONNX model",)),
        "refused_by_checker": (content, ("checker", "NoSuchOperator")),
        "cycle": (content, ("cycle",)),
        "wrong_weight_size": (content, ("'w'", "4 bytes")),
    }
    data, words = contents[kind]
    path.write_bytes(data)
    return path, words


def _with_external_data(kind: str, path: Path, original: onnx.ModelProto) -> tuple[str, ...]:
    onnx.save(original, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    data = path.parent / "weights.bin"
    if kind == "missing_external_data":
        data.unlink()
        return ("weights.bin", "missing", "'w'")
    if kind == "short_external_data":
        data.write_bytes(data.read_bytes()[:10])
        return ("weights.bin", "'w'", "truncated")
    stored = onnx.load(path, load_external_data=False)
    location = "../secret.bin" if kind == "external_data_outside" else "/etc/hostname"
    for entry in stored.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(stored.SerializeToString())
    data.unlink()
    return ("outside the model's folder", "'w'", location)
