"""The columns of the node table: one definition for text, CSV, JSON and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktc.report._format import NOT_AVAILABLE, count, digits, single_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktc.evaluator.evaluation import NodeEvaluation

__all__ = ["ALL_COLUMNS", "DOCUMENTED_COLUMNS", "EXTRA_COLUMNS", "Column", "Value"]

Value = str | int | float | list[str] | list[int] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the node table.

    Attributes
    ----------
    name : str
        Header, the same in every form of the report.
    meaning : str
        The sentence that explains it.
    value : callable
        Reads the plain value from a node; None is "not available".
    numeric : bool
        A number: to the right, with tabular digits.
    npu_only : bool
        A CPU node has no such figure, so its zero is "not available".
    decimals : int
        Of a real number, in plain text.
    """

    name: str
    meaning: str
    value: Callable[[NodeEvaluation], Value]
    numeric: bool = False
    npu_only: bool = False
    decimals: int = 6

    def of(self, node: NodeEvaluation) -> Value:
        """Return the value for a node, None if it has none."""
        value = self.value(node)
        return None if self.npu_only and node.type == "CPU" and not value else value

    def plain(self, node: NodeEvaluation) -> str:
        """Return the value as one line of text, with digits that a program can read back."""
        value = self.of(node)
        return f"{value:.{self.decimals}f}" if isinstance(value, float) else _words(value)

    def pretty(self, node: NodeEvaluation) -> str:
        """Return the value as one line of text for the eye."""
        value = self.of(node)
        if isinstance(value, float) and self.decimals:
            return digits(value, 4)
        return count(value) if isinstance(value, (int, float)) else _words(value)


def _words(value: Value) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, list):
        separator = "x" if value and isinstance(value[0], int) else " + "
        return single_line(separator.join(map(str, value)))
    return single_line(str(value))


def _text(name: str, meaning: str, value: Callable[[NodeEvaluation], Value]) -> Column:
    return Column(name, meaning, value)


def _number(name: str, meaning: str, value: Callable[[NodeEvaluation], Value]) -> Column:
    return Column(name, meaning, value, numeric=True)


def _npu(name: str, meaning: str, value: Callable[[NodeEvaluation], Value]) -> Column:
    return Column(name, meaning, value, numeric=True, npu_only=True)


DOCUMENTED_COLUMNS: tuple[Column, ...] = (
    _text("node", "Backend node, after fusion and decomposition.", lambda n: n.name),
    _text("node origin", "Nodes of the ONNX graph that it computes.", lambda n: list(n.origins)),
    _text("type", "NPU, FUSED (an NPU node made of several ONNX nodes) or CPU.", lambda n: n.type),
    _text("node backend", "Operator that the backend runs.", lambda n: n.backend),
    _number("CMD_node_idx", "Position in the command stream.", lambda n: n.command_index),
    _number("bw in", "Width of an input element, in bits.", lambda n: n.input_bits),
    _number("bw out", "Width of an output element, in bits.", lambda n: n.output_bits),
    _number("bw weight", "Width of a weight, in bits.", lambda n: n.weight_bits),
    Column(
        "MAC_cycle",
        "Cycles of the MAC array, padding included.",
        lambda n: float(n.mac_cycles),
        numeric=True,
        npu_only=True,
        decimals=0,
    ),
    _npu("MAC_runtime(ms)", "Time of the MAC array alone.", lambda n: n.mac_ms),
    _npu("RDMA_runtime(ms)", "Time to read feature maps from DRAM.", lambda n: n.read_ms),
    _npu("RDMA_amount(Byte)", "Feature maps read from DRAM.", lambda n: n.read_bytes),
    _npu("WDMA_runtime(ms)", "Time to write feature maps to DRAM.", lambda n: n.write_ms),
    _npu("WDMA_amount(Byte)", "Feature maps written to DRAM.", lambda n: n.write_bytes),
    _npu("Weight_amount(Byte)", "Weights read from DRAM.", lambda n: n.weight_bytes),
    _npu("CFUNC_runtime(ms)", "Convolution and other compute.", lambda n: n.cfunc_ms),
    _npu("PFUNC_runtime(ms)", "Pooling and changes of data layout.", lambda n: n.pfunc_ms),
    _npu("runtime(ms)", "CFUNC + PFUNC + RDMA + WDMA, one after another, without the weights.", lambda n: n.runtime_ms),
    _npu("SYNC_runtime(ms)", "Time with overlap: the node's part of the total.", lambda n: n.sync_ms),
    _text("in_fmt", "NPU data layout of the input.", lambda n: n.input_format),
    _text("out_fmt", "NPU data layout of the output.", lambda n: n.output_format),
    # The evaluator has no data to compare, so this stays empty until a quantised model fills it.
    _number("SNR", "Signal to noise ratio, in dB; not available in evaluator mode.", lambda _: None),
)

EXTRA_COLUMNS: tuple[Column, ...] = (
    _text("bound", "What determines SYNC_runtime.", lambda n: n.bound),
    _npu("MAC_amount", "Multiply-accumulates that the mathematics needs.", lambda n: n.macs),
    Column(
        "Width_factor",
        "Factor of its bit widths on the cycles of 8-bit computing.",
        lambda n: float(n.width_factor),
        numeric=True,
        npu_only=True,
        decimals=3,
    ),
    _npu(
        "Weight_loads",
        "How often its weights are loaded: once a strip of the rows that fit on chip.",
        lambda n: n.weight_loads,
    ),
    _npu("Weight_runtime(ms)", "Time to read the weights from DRAM.", lambda n: n.weight_ms),
    _npu("Auxiliary_runtime(ms)", "Elementwise, resize and pooling passes.", lambda n: n.auxiliary_ms),
    _npu("Layout_runtime(ms)", "Moves of data: split, slice, transpose, concat.", lambda n: n.layout_ms),
    _npu("Overhead_runtime(ms)", "Fixed cost of the command.", lambda n: n.overhead_ms),
    _number("Live_amount(Byte)", "Feature maps that exist while it runs, on chip or not.", lambda n: n.live_bytes),
    _number("Spilled_amount(Byte)", "What of them is in DRAM.", lambda n: n.spilled_bytes),
    _text("out_shape", "ONNX shape of the first output.", lambda n: list(n.output_shape)),
    _number("CPU_runtime(ms)", "CPU nodes: rough time on the host core, no part of any other.", lambda n: n.cpu_ms),
    _text(
        "outside calibration",
        "What of it occurs in no published network, so that no time was ever compared; empty if all of it does.",
        lambda n: list(n.outside_calibration),
    ),
    _text("reason", "CPU nodes: why the NPU cannot run it.", lambda n: n.reason),
)

ALL_COLUMNS = DOCUMENTED_COLUMNS + EXTRA_COLUMNS
