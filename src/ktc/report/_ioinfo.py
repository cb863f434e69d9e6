"""The tensors that cross the border of the NPU program: ``ioinfo.json`` and ``ioinfo.csv``."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

from ktc.report._csv import inert
from ktc.report._format import single_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.evaluator.evaluation import Evaluation, IoTensor

__all__ = ["render_ioinfo", "render_ioinfo_csv"]

_KINDS = ("input", "cpu", "output")


def render_ioinfo(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """Return the inputs, outputs of CPU nodes, and outputs, as plain values for JSON."""
    return {
        kind: [
            {
                "index": index,
                "name": tensor.name,
                "shape": list(tensor.shape),
                "bits": tensor.bits,
                "data_format": tensor.data_format,
            }
            for index, tensor in _numbered(evaluation, kind)
        ]
        for kind in _KINDS
    }


def render_ioinfo_csv(evaluation: Evaluation) -> str:
    """Return one line a tensor: ``i``, ``c`` or ``o``; index; name; channel; height; width."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for kind in _KINDS:
        for index, tensor in _numbered(evaluation, kind):
            writer.writerow((kind[0], index, inert(single_line(tensor.name)), *_channel_height_width(tensor.shape)))
    return stream.getvalue()


def _numbered(evaluation: Evaluation, kind: str) -> Iterator[tuple[int, IoTensor]]:
    return enumerate(tensor for tensor in evaluation.io if tensor.kind == kind)


def _channel_height_width(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Read a shape as batch, channel, height..., width; what is missing is 1."""
    match shape:
        case (_, channel, *height, width):
            return channel, math.prod(height), width
        case (_, channel):
            return channel, 1, 1
        case _:
            return math.prod(shape), 1, 1
