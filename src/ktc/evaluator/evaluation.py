"""The result of an evaluation: plain values that a report can render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.hardware.user_config import UserFigure

__all__ = ["Bound", "Evaluation", "IoTensor", "NodeEvaluation", "NodeType"]

NodeType = Literal["NPU", "FUSED", "CPU"]
Bound = Literal["compute", "weights", "read", "write", "auxiliary", "layout", "overhead", "cpu"]


@dataclass(frozen=True, slots=True)
class IoTensor:
    """A tensor that crosses the border of the NPU program.

    Attributes
    ----------
    kind : {"input", "cpu", "output"}
        Model input, output of a CPU node, or model output.
    name : str
        Name of the tensor in the ONNX graph.
    shape : tuple of int
        ONNX shape.
    bits : int
        Width of one element on the NPU, in bits.
    data_format : str
        NPU data layout, e.g. ``"4W4C8B"``.
    """

    kind: Literal["input", "cpu", "output"]
    name: str
    shape: tuple[int, ...]
    bits: int
    data_format: str


class NodeEvaluation(NamedTuple):  # one per node: made many times as fast as a frozen dataclass
    """One backend node and what it costs.

    Attributes
    ----------
    name : str
        Name in the report, e.g. ``"npu_fusion_node_Conv_0_Relu_1"``.
    origins : tuple of str
        Names of the ONNX nodes that this backend node computes.
    type : {"NPU", "FUSED", "CPU"}
        Where it runs; FUSED is an NPU node made of several ONNX nodes.
    backend : str
        Backend operator, e.g. ``"Conv"`` or ``"KneronResize"``.
    command_index : int or None
        Position in the command stream; None for CPU nodes.
    input_bits, output_bits : int
        Width of feature-map elements, in bits.
    weight_bits : int or None
        Width of weight elements, in bits; None if the node has no weights.
    macs : int
        Multiply-accumulates that the mathematics needs.
    mac_cycles : float
        Cycles of the MAC array, padding included.
    mac_ms : float
        ``mac_cycles`` at the platform's clock, in ms.
    read_bytes, write_bytes, weight_bytes : int
        DRAM traffic: feature maps in, feature maps out, weights.
    weight_loads : int
        How often the weights are loaded: once for each strip of rows that the on-chip memory holds; 0 without weights.
    read_ms, write_ms, weight_ms : float
        Time of each of these transfers alone, in ms.
    cfunc_ms : float
        Convolution and other compute, in ms.
    pfunc_ms : float
        Pooling and data layout, in ms.
    runtime_ms : float
        ``cfunc_ms + pfunc_ms + read_ms + write_ms``, without overlap.
    sync_ms : float
        Time with overlap: the node's share of the total.
    bound : str
        What determines ``sync_ms``.
    input_format, output_format : str
        NPU data layouts.
    output_shape : tuple of int
        ONNX shape of the first output.
    reason : str or None
        CPU nodes only: the sentence that says why the NPU cannot run it.
    cpu_ms : float or None
        CPU nodes only: rough time on the host core, in ms, which is no part of any other time; None if not known.
    auxiliary_ms, layout_ms, overhead_ms : float
        Parts of ``sync_ms`` that nothing overlaps: elementwise, resize and pooling passes; moves of data; the fixed
        cost of a command, in ms.
    live_bytes : int
        Bytes of all feature maps that exist while the node runs (before ``"deep_search"`` cuts them into strips); of an
        input and the output that takes its place, the larger one.
    spilled_bytes : int
        What of ``live_bytes`` is in DRAM, since it does not fit on chip or has to pass there.
    outside_calibration : tuple of str
        What of the node occurs in no published network, e.g. ``"kernel 5x5"``; empty if all of it does.
    width_factor : float
        Factor on the cycles of 8-bit computing in the node's widths: the array's peak is ``macs_per_cycle`` over it; 0
        for CPU nodes.
    """

    name: str
    origins: tuple[str, ...]
    type: NodeType
    backend: str
    command_index: int | None
    input_bits: int
    output_bits: int
    weight_bits: int | None
    input_format: str
    output_format: str
    output_shape: tuple[int, ...]
    live_bytes: int
    spilled_bytes: int
    macs: int
    mac_cycles: float
    mac_ms: float
    read_bytes: int
    read_ms: float
    write_bytes: int
    write_ms: float
    weight_bytes: int
    weight_ms: float
    cfunc_ms: float
    pfunc_ms: float
    runtime_ms: float
    sync_ms: float
    bound: Bound
    auxiliary_ms: float
    layout_ms: float
    overhead_ms: float
    outside_calibration: tuple[str, ...] = ()
    width_factor: float = 1.0
    weight_loads: int = 0
    reason: str | None = None
    cpu_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one inference of one model costs on one platform. CPU nodes are no part of its time, as documented.

    Attributes
    ----------
    platform : str
        ``"520"``, ``"720"``, ``"530"``, ``"630"`` or ``"730"``.
    model_name : str
        Name of the graph or of its file.
    settings : EvaluationSettings
        The settings that were asked for.
    nodes : tuple of NodeEvaluation
        In execution order.
    io : tuple of IoTensor
        Inputs, outputs of CPU nodes, outputs.
    frequency_mhz, macs_per_cycle : float
        Clock and peak of the MAC array.
    read_bandwidth, write_bandwidth, weight_bandwidth : float
        GB/s in force for this evaluation.
    exposed_share : float
        Part of the weight loading that computing cannot hide, 0 to 1: in a node, computing C runs beside weight
        loading W and the transfer of feature maps D, which queue; together they take ``max(C, W + D) + exposed_share *
        min(C, W)``.
    feature_memory_bytes : float
        On-chip memory for feature maps.
    theoretical_conv_ms : float
        Time of all convolutions at the array's full rate, in ms.
    expected_error_percent : float
        Typical error of ``time_ms`` on networks the model was not fitted to.
    expected_error_source : str
        Where that figure comes from.
    warnings : tuple of str
        Sentences for the user.
    user_figures : tuple of UserFigure
        Figures of the platform that are the user's own; the expected error does not hold for them.
    cpu_core : str
        Type of the host core that `cpu_time_ms` is for.
    cpu_frequency_mhz : float
        Its clock.
    settings_outside_calibration : tuple of str
        Settings that no published time has, e.g. ``"dma_bandwidth=2"``; they concern all nodes.
    """

    platform: str
    model_name: str
    settings: EvaluationSettings
    nodes: tuple[NodeEvaluation, ...]
    io: tuple[IoTensor, ...]
    frequency_mhz: float
    macs_per_cycle: float
    read_bandwidth: float
    write_bandwidth: float
    weight_bandwidth: float
    theoretical_conv_ms: float
    expected_error_percent: float
    expected_error_source: str
    warnings: tuple[str, ...] = ()
    user_figures: tuple[UserFigure, ...] = ()
    exposed_share: float = 0.0
    feature_memory_bytes: float = 0.0
    cpu_core: str = ""
    cpu_frequency_mhz: float = 0.0
    settings_outside_calibration: tuple[str, ...] = ()

    @property
    def time_ms(self) -> float:
        """Estimated time of one inference on the NPU, in ms."""
        return sum(node.sync_ms for node in self.nodes)

    @property
    def fps(self) -> float:
        """Inferences per second: ``1000 / time_ms`` (infinite if nothing runs on the NPU)."""
        return 1000.0 / self.time_ms if self.time_ms else float("inf")

    @property
    def mac_running_ms(self) -> float:
        """Time in which the chip does not wait for DRAM, in ms: what the nodes need without transfers."""
        return sum(min(node.cfunc_ms + node.pfunc_ms, node.sync_ms) for node in self.nodes)

    @property
    def mac_idle_ms(self) -> float:
        """Time in which the MAC array waits for weights or data, in ms: the transfers that nothing hides."""
        return self.time_ms - self.mac_running_ms

    @property
    def mac_efficiency(self) -> float:
        """``theoretical_conv_ms / time_ms``, between 0 and 1."""
        return self.theoretical_conv_ms / self.time_ms if self.time_ms else 0.0

    @property
    def read_bytes(self) -> int:
        """Feature-map bytes read from DRAM per inference (RV)."""
        return sum(node.read_bytes for node in self.nodes)

    @property
    def write_bytes(self) -> int:
        """Feature-map bytes written to DRAM per inference (WV)."""
        return sum(node.write_bytes for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Weight bytes read from DRAM per inference."""
        return sum(node.weight_bytes for node in self.nodes)

    @property
    def dram_bytes(self) -> int:
        """All DRAM traffic per inference."""
        return self.read_bytes + self.write_bytes + self.weight_bytes

    @property
    def average_dram_bandwidth(self) -> float:
        """``dram_bytes`` over ``time_ms``, in GB/s."""
        return self.dram_bytes / self.time_ms / 1e6 if self.time_ms else 0.0

    @property
    def cpu_nodes(self) -> tuple[NodeEvaluation, ...]:
        """The nodes that fall to the CPU."""
        return tuple(node for node in self.nodes if node.type == "CPU")

    @property
    def cpu_time_ms(self) -> float:
        """Rough time of the CPU nodes on the host core, in ms: an order of magnitude, no part of `time_ms`."""
        return sum(node.cpu_ms or 0.0 for node in self.nodes)

    @property
    def cpu_dominates(self) -> bool:
        """Whether the rough time of the CPU nodes exceeds `time_ms`, which leaves them out."""
        return self.cpu_time_ms > self.time_ms

    @property
    def cpu_nodes_without_time(self) -> int:
        """Number of CPU nodes whose time is not known, and so is no part of `cpu_time_ms`."""
        return sum(node.cpu_ms is None for node in self.cpu_nodes)

    @property
    def error_known(self) -> bool:
        """Whether the expected error holds: all figures behind `time_ms` are the packaged ones."""
        return all(figure.name.startswith("cpu_") for figure in self.user_figures)

    @property
    def nodes_outside_calibration(self) -> tuple[NodeEvaluation, ...]:
        """The NPU nodes with something that occurs in no published network."""
        return tuple(node for node in self.nodes if node.outside_calibration)

    @property
    def share_outside_calibration(self) -> float:
        """Part of `time_ms` in nodes outside of the calibration, between 0 and 1."""
        outside = sum(node.sync_ms for node in self.nodes_outside_calibration)
        return outside / self.time_ms if self.time_ms else 0.0
