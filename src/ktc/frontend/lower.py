"""ONNX model -> Program: what one platform would run, node by node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import onnx

from ktc.errors import ModelError
from ktc.frontend.cpu_work import cpu_work
from ktc.frontend.fusion import fuse, gate
from ktc.frontend.graph import Graph, Operator, read_graph
from ktc.frontend.inference import infer_values
from ktc.frontend.legality import Judge
from ktc.frontend.program import AuxiliaryStep, Node, Program, Tensor
from ktc.frontend.views import trace_flow
from ktc.frontend.work import MAC_OPERATORS, auxiliary_steps, constant_elements, is_channel_constant, mac_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktc.frontend.views import Flow
    from ktc.hardware.platform import Platform

__all__ = ["Analysis", "analyse", "lower", "lower_analysed"]

_Result = TypeVar("_Result")
_BACKENDS = {
    "Resize": "KneronResize",
    "Upsample": "KneronResize",
    "Pow": "KneronSquare",
    "ReduceMean": "KneronScale",
    "Split": "Slice",
}
_TYPE_NAMES = {number: name for name, number in onnx.TensorProto.DataType.items()}
_FULLY_CONNECTED = frozenset({"Gemm", "MatMul"})


def lower(model: onnx.ModelProto, platform: Platform) -> Program:
    """Lower a model for one platform: decide legality, decompose, fuse, place CPU nodes.

    Parameters
    ----------
    model : onnx.ModelProto
        The model; it is not changed, and its weights are not read.
    platform : Platform
        The platform.

    Returns
    -------
    Program
        Backend nodes in execution order.

    Raises
    ------
    ModelError
        The graph is malformed, or an input has a dynamic dimension other than the batch.
    """
    return lower_analysed(analyse(model), platform)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What lowering knows about a model before it knows the platform.

    Attributes
    ----------
    graph : Graph
        Operators and values, shapes inferred.
    flow : Flow
        Which operators do work, and on which feature maps.
    """

    graph: Graph
    flow: Flow


def analyse(model: onnx.ModelProto) -> Analysis:
    """Do the part of `lower` that is the same for all platforms; it takes most of the time.

    Raises
    ------
    ModelError
        As `lower`.
    """
    graph = read_graph(_inlined(model))
    infer_values(graph)
    return Analysis(graph, trace_flow(graph))


def lower_analysed(analysis: Analysis, platform: Platform) -> Program:
    """Do the rest of `lower`; the analysis is not changed and serves any number of platforms."""
    graph = analysis.graph
    lowering = _Lowering(graph, analysis.flow, platform, Judge(graph, platform))
    for operator in analysis.flow.operators:
        lowering.visit(operator)
    return lowering.finish()


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its local functions expanded; a weightless copy if it has any."""
    if not model.functions:
        return model
    from onnx import inliner

    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    copy.graph.CopyFrom(
        onnx.GraphProto(
            name=graph.name, node=graph.node, input=graph.input, output=graph.output, value_info=graph.value_info
        )
    )
    small = 1 << 12
    for tensor in graph.initializer:
        if tensor.ByteSize() <= small:
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    try:
        return inliner.inline_local_functions(copy)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the functions of the model cannot be expanded: {error}") from error


@dataclass(slots=True)
class _Lowering:
    """State while one graph is lowered."""

    graph: Graph
    flow: Flow
    platform: Platform
    judge: Judge
    nodes: list[Node] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    materialised: set[str] = field(default_factory=set)
    known: dict[tuple[object, ...], Any] = field(default_factory=dict)

    def visit(self, operator: Operator) -> None:
        """Emit the nodes of one operator."""
        if operator.index in self.done:
            return
        self._materialise_views(operator)
        verdict = self.judge(operator)
        if operator.type in MAC_OPERATORS and verdict.reason is None:
            self._visit_mac(operator)
            return
        as_constant = self._once(is_channel_constant, operator)
        if as_constant and self.judge(operator, "BatchNormalization").reason is None:
            self._emit(operator, "BatchNormalization", self._once(auxiliary_steps, operator, ()))
            return
        if verdict.reason is not None:
            self._emit_cpu(operator, verdict.reason)
            return
        if operator.type in self.platform.layout_operators:
            self._emit(operator, operator.type, (), layout_moves=1)
            return
        if self._visit_gate(operator):
            return
        self._emit(operator, operator.type, self._once(auxiliary_steps, operator, verdict.steps))

    def finish(self) -> Program:
        """The program."""
        graph = self.graph
        for output in graph.outputs:
            self._materialise(output, fully_connected=False)
        names = dict.fromkeys((*graph.inputs, *(n for node in self.nodes for n in (*node.inputs, *node.outputs))))
        names.update(dict.fromkeys(self._source(output) for output in graph.outputs))
        tensors = tuple(self._tensor(name) for name in (*names, *(o for o in graph.outputs if o not in names)))
        sources = tuple((o, self._source(o)) for o in graph.outputs if self._source(o) != o)
        return Program(
            platform=self.platform.name,
            model_name=graph.name,
            inputs=tuple(graph.inputs),
            outputs=tuple(dict.fromkeys(graph.outputs)),
            tensors=tensors,
            nodes=tuple(self.nodes),
            sources=sources,
            warnings=tuple(graph.warnings),
        )

    def _once(self, function: Callable[..., _Result], operator: Operator, *arguments: object) -> _Result:
        """``function(operator, graph, ...)`` of shapes, attributes and constness, worked out once per signature."""
        key = function, self.graph.signature(operator), *arguments
        if key not in self.known:
            self.known[key] = function(operator, self.graph, *arguments)
        result: _Result = self.known[key]
        return result

    def _source(self, name: str) -> str:
        return name if name in self.materialised else self.flow.root.get(name, name)

    def _tensor(self, name: str) -> Tensor:
        value = self.graph.values[name]
        return Tensor(name, value.shape, _TYPE_NAMES.get(value.elem_type, "UNDEFINED"))

    def _feature_maps(self, operator: Operator) -> tuple[str, ...]:
        names = [n for n in (*operator.inputs, *operator.captured) if not self.graph.is_constant(n)]
        return tuple(dict.fromkeys([self._source(name) for name in names]))

    def _unique(self, name: str, operator: Operator) -> str:
        if name in self.names:
            name = f"{name}_{operator.index}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _emit(self, operator: Operator, kind: str, steps: tuple[AuxiliaryStep, ...], layout_moves: int = 0) -> None:
        self.nodes.append(
            Node(
                name=self._unique(operator.name, operator),
                origins=(operator.name,),
                type="NPU",
                backend=_BACKENDS.get(kind, kind),
                inputs=self._feature_maps(operator),
                outputs=tuple(name for name in operator.outputs if name),
                auxiliary=steps,
                layout_moves=layout_moves,
                constant_elements=self._once(constant_elements, operator),
            )
        )

    def _emit_cpu(self, operator: Operator, reason: str) -> None:
        self.nodes.append(
            Node(
                name=self._unique(operator.name, operator),
                origins=(operator.name,),
                type="CPU",
                backend=_BACKENDS.get(operator.type, operator.type) if operator.type == "Resize" else operator.type,
                inputs=self._feature_maps(operator),
                outputs=tuple(name for name in operator.outputs if name),
                reason=reason,
                cpu_work=self._once(cpu_work, operator),
            )
        )

    def _visit_mac(self, operator: Operator) -> None:
        work = self._once(mac_work, operator)
        if isinstance(work, str):
            self._emit_cpu(operator, work)
            return
        fusion = fuse(operator, self.graph, self.flow, self.platform, self.judge)
        fused = len(fusion.members) > 1
        name = "npu_fusion_node_" + "_".join(part.name for part in fusion.shown) if fused else operator.name
        node = Node(
            name=self._unique(name, operator),
            origins=tuple(part.name for part in fusion.members),
            type="FUSED" if fused else "NPU",
            backend=operator.type,
            inputs=self._feature_maps(operator),
            outputs=(fusion.output,),
            mac=work,
            auxiliary=tuple(fusion.auxiliary),
            constant_elements=fusion.constant_elements,
        )
        self._schedule(node, operator, fusion.members[1:])

    def _schedule(self, node: Node, operator: Operator, others: list[Operator]) -> None:
        """Emit a node at the place of its first operator; the others do not appear again."""
        self.done.update(other.index for other in others)
        self.done.add(operator.index)
        self.nodes.append(node)

    def _visit_gate(self, operator: Operator) -> bool:
        """Emit ``x * gate(x)`` that does not follow a convolution as one pass; False if it is none."""
        if operator.type not in ("Sigmoid", "HardSigmoid"):
            return False
        gated = gate(operator.inputs[0], self.graph, self.flow)
        if gated is None or gated[0] is not operator or self.judge(gated[1]).reason is not None:
            return False
        elements = self._tensor(operator.outputs[0]).elements
        kind = "Swish" if operator.type == "Sigmoid" else "HardSwish"
        passes = 1 if kind in self.platform.fused_activations else 2
        node = Node(
            name=self._unique("npu_fusion_node_" + "_".join(part.name for part in gated), operator),
            origins=tuple(part.name for part in gated),
            type="FUSED",
            backend=kind,
            inputs=self._feature_maps(operator),
            outputs=(gated[1].outputs[0],),
            auxiliary=(AuxiliaryStep(kind, elements, pooling=False),) * passes,
        )
        self._schedule(node, operator, [gated[1]])
        return True

    def _materialise_views(self, operator: Operator) -> None:
        for name in operator.inputs:
            if name in self.flow.reshaped_by:
                self._materialise(name, fully_connected=operator.type in _FULLY_CONNECTED)

    def _materialise(self, name: str, *, fully_connected: bool) -> None:
        """Emit the Reshape behind a view as a CPU node, where the platform cannot run it and it moves data.

        1. A view that only adds or removes axes of extent 1, over all reshapes since its root, is free.
        2. A view in front of Gemm or MatMul is free: their weights are stored in the order of the data.
        3. A view by an operator that the platform runs (Flatten with axis 1, or any as Reshape) is free.
        """
        reshape = self.flow.reshaped_by.get(name)
        if reshape is None or name in self.materialised or fully_connected:
            return
        before, after = self.graph.shape(self.flow.source(name)) or (), self.graph.shape(name) or ()
        if [extent for extent in before if extent != 1] == [extent for extent in after if extent != 1]:
            return
        verdicts = [self.judge(reshape)]
        if reshape.type != "Reshape":
            verdicts.append(self.judge(reshape, "Reshape"))
        if any(verdict.reason is None for verdict in verdicts):
            return
        source = self.flow.source(name)
        self.materialised.add(name)
        self.nodes.append(
            Node(
                name=self._unique(reshape.name, reshape),
                origins=(reshape.name,),
                type="CPU",
                backend=reshape.type,
                inputs=(source,),
                outputs=(name,),
                reason=verdicts[0].reason,
                cpu_work=self._once(cpu_work, reshape),
            )
        )
