"""The result of lowering: what one platform would run, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["AuxiliaryStep", "CpuWork", "MacWork", "Node", "Program", "Tensor"]

MacKind = Literal["conv", "depthwise", "deconv", "matmul"]


class Tensor(NamedTuple):  # one per feature map: made several times as fast as a frozen dataclass
    """A feature map.

    Attributes
    ----------
    name : str
        Name in the ONNX graph.
    shape : tuple of int or None
        Static shape; None if it could not be determined.
    dtype : str
        ONNX element type, e.g. ``"FLOAT"``.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements; 0 if the shape is unknown."""
        return 0 if self.shape is None else math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class MacWork:
    """What the MAC array computes in one node.

    Attributes
    ----------
    kind : {"conv", "depthwise", "deconv", "matmul"}
        ``matmul`` covers Gemm and MatMul, as 1x1 convolutions over ``out_rows * out_columns`` positions.
    batch : int
        Repetitions: batch size, or the batch dimensions of a MatMul.
    groups, in_channels, out_channels : int
        Groups, input channels of one group, output channels of all groups.
    kernel, stride, dilation : tuple of int
        (rows, columns).
    out_rows, out_columns : int
        Size of the map that the array computes, before a fused pooling; zero-inserted for ``deconv``.
    weight_elements, bias_elements : int
        Constants to load; 0 weights where both operands are feature maps.
    macs : int
        Multiply-accumulates that the mathematics needs.
    """

    kind: MacKind
    batch: int
    groups: int
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    out_rows: int
    out_columns: int
    weight_elements: int
    bias_elements: int
    macs: int

    @property
    def results(self) -> int:
        """Values that leave the array."""
        return self.batch * self.out_rows * self.out_columns * self.out_channels


@dataclass(frozen=True, slots=True)
class AuxiliaryStep:
    """One pass of an auxiliary unit: elementwise, pooling, resize, reduction.

    Attributes
    ----------
    operator : str
        Operator of the pass, e.g. ``"Add"``.
    elements : int
        Elements that pass through the unit, over all passes.
    pooling : bool
        The pass belongs to the pooling and layout unit (PFUNC), not to the compute units (CFUNC).
    reach : int
        Input rows that one output row needs.
    """

    operator: str
    elements: int
    pooling: bool
    reach: int = 1


@dataclass(frozen=True, slots=True)
class CpuWork:
    """What a CPU node computes, roughly.

    Attributes
    ----------
    macs : int
        Multiply-accumulates.
    elements : int
        Values that elementwise, pooling or moving work goes through, over all its passes.
    functions : int
        Values of divisions, roots, exponentials and the like.
    moved_elements : int
        Values read and written.
    """

    macs: int
    elements: int
    functions: int
    moved_elements: int


class Node(NamedTuple):  # as Tensor
    """One backend node.

    Attributes
    ----------
    name : str
        ``"npu_fusion_node_<conv>_<act>_<pool>"`` for fused nodes, else the name of the ONNX node.
    origins : tuple of str
        Names of the ONNX nodes that it computes.
    type : {"NPU", "FUSED", "CPU"}
        Where it runs.
    backend : str
        Backend operator.
    inputs, outputs : tuple of str
        Names of the feature maps read and written (no constants).
    mac : MacWork or None
        Work of the MAC array.
    auxiliary : tuple of AuxiliaryStep
        Passes of other units.
    layout_moves : int
        Number of data-layout moves (Split, Slice, Transpose, Concat).
    constant_elements : int
        Constants loaded besides those of `mac`.
    reason : str or None
        CPU nodes only: why the NPU cannot run it.
    cpu_work : CpuWork or None
        CPU nodes only: what the host core computes; None if the shapes do not say.
    """

    name: str
    origins: tuple[str, ...]
    type: Literal["NPU", "FUSED", "CPU"]
    backend: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    mac: MacWork | None = None
    auxiliary: tuple[AuxiliaryStep, ...] = ()
    layout_moves: int = 0
    constant_elements: int = 0
    reason: str | None = None
    cpu_work: CpuWork | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A model as one platform would run it.

    Attributes
    ----------
    platform : str
        Normalised platform name.
    model_name : str
        Name of the ONNX graph.
    inputs, outputs : tuple of str
        Names of the feature maps at the border.  ``outputs`` are those of the ONNX graph.
    tensors : tuple of Tensor
        Every feature map of the program, each name once.
    nodes : tuple of Node
        In execution order.
    sources : tuple of (str, str)
        Graph outputs that are views of another tensor: (output name, name of the feature map).
    warnings : tuple of str
        Sentences for the user.
    """

    platform: str
    model_name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    sources: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
