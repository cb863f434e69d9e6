"""ONNX model -> Program: what one platform would run, node by node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx

from ktc.errors import ModelError
from ktc.frontend.cpu_work import cpu_work
from ktc.frontend.fusion import GATES, fuse, gate
from ktc.frontend.graph import Graph, Operator, read_graph
from ktc.frontend.inference import infer_values
from ktc.frontend.legality import Judge
from ktc.frontend.program import AuxiliaryStep, CpuWork, MacWork, Node, Program, Tensor
from ktc.frontend.views import trace_flow
from ktc.frontend.work import MAC_OPERATORS, auxiliary_steps, constant_elements, is_channel_constant, mac_work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktc.frontend.views import Flow
    from ktc.hardware.platform import Platform

__all__ = ["Analysis", "analyse", "lower", "lower_analysed"]

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


def _written(operator: Operator) -> tuple[str, ...]:
    """Outputs that are not omitted."""
    return tuple(filter(None, operator.outputs))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all operators of one signature become, where they do not join a neighbour."""

    backend: str
    mac: MacWork | None = None
    steps: tuple[AuxiliaryStep, ...] = ()
    layout_moves: int = 0
    constant_elements: int = 0
    reason: str | None = None
    cpu_work: CpuWork | None = None


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
    plans: dict[int | None, _Plan] = field(default_factory=dict)
    #: One object for equal passes, as `plans` has for operators: who evaluates the program tells them by identity.
    passes: dict[tuple[AuxiliaryStep, ...], tuple[AuxiliaryStep, ...]] = field(default_factory=dict)

    def visit(self, operator: Operator) -> None:
        """Emit the nodes of one operator."""
        if operator.index in self.done:
            return
        if not self.flow.reshaped_by.keys().isdisjoint(operator.inputs):
            self._materialise_views(operator)
        plan = self.plans.get(operator.signature) or self._plan(operator)
        if plan.mac is not None:
            self._visit_mac(operator, plan.mac)
        elif plan.reason is not None:
            self._emit_cpu(operator, plan, self._feature_maps(operator), _written(operator))
        elif operator.type not in GATES or plan.layout_moves or not self._visit_gate(operator):
            self._emit(operator, plan)

    def _plan(self, operator: Operator) -> _Plan:
        signature = self.graph.signature(operator)
        plan = self.plans.get(signature)
        if plan is None:
            plan, general = self._new_plan(operator)
            if general:
                self.plans[signature] = plan
        return plan

    def _new_plan(self, operator: Operator) -> tuple[_Plan, bool]:
        """The plan, and whether it holds for all operators of the same signature."""
        graph, kind = self.graph, operator.type
        verdict = self.judge(operator)
        reason, general = verdict.reason, verdict.general
        if kind in MAC_OPERATORS and reason is None:
            work = mac_work(operator, graph)
            if not isinstance(work, str):
                return _Plan(kind, work), general
            reason = work
        elif is_channel_constant(operator, graph):
            scaled = self.judge(operator, "BatchNormalization")
            general = general and scaled.general
            if scaled.reason is None:
                steps, constants = auxiliary_steps(operator, graph, ()), constant_elements(operator, graph)
                return _Plan("BatchNormalization", steps=steps, constant_elements=constants), general
        if reason is not None:
            backend = _BACKENDS["Resize"] if kind == "Resize" else kind
            return _Plan(backend, reason=reason, cpu_work=cpu_work(operator, graph)), general
        backend, constants = _BACKENDS.get(kind, kind), constant_elements(operator, graph)
        if kind in self.platform.layout_operators:
            return _Plan(backend, layout_moves=1, constant_elements=constants), general
        return _Plan(backend, None, auxiliary_steps(operator, graph, verdict.steps), 0, constants), general

    def finish(self) -> Program:
        """The program."""
        graph = self.graph
        for output in graph.outputs:
            self._materialise(output, fully_connected=False)
        names = dict.fromkeys(graph.inputs)
        names.update(dict.fromkeys([name for node in self.nodes for name in node.inputs + node.outputs]))
        names.update(dict.fromkeys(self._source(output) for output in graph.outputs))
        tensors = tuple([self._tensor(name) for name in (*names, *[o for o in graph.outputs if o not in names])])
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

    def _source(self, name: str) -> str:
        return name if name in self.materialised else self.flow.root.get(name, name)

    def _tensor(self, name: str) -> Tensor:
        value = self.graph.values[name]
        return Tensor(name, value.shape, _TYPE_NAMES.get(value.elem_type, "UNDEFINED"))

    def _feature_maps(self, operator: Operator) -> tuple[str, ...]:
        names, root = self.flow.reads[operator.index], self.flow.root
        if self.materialised:
            names = [self._source(name) for name in names]
        elif root:
            names = [root.get(name, name) for name in names]
        return tuple(dict.fromkeys(names)) if len(names) > 1 else tuple(names)

    def _unique(self, name: str, operator: Operator) -> str:
        if name in self.names:
            name = f"{name}_{operator.index}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def _emit(self, operator: Operator, plan: _Plan) -> None:
        self.nodes.append(
            Node(
                name=self._unique(operator.name, operator),
                origins=(operator.name,),
                type="NPU",
                backend=plan.backend,
                inputs=self._feature_maps(operator),
                outputs=_written(operator),
                auxiliary=plan.steps,
                layout_moves=plan.layout_moves,
                constant_elements=plan.constant_elements,
            )
        )

    def _emit_cpu(self, operator: Operator, plan: _Plan, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.nodes.append(
            Node(
                name=self._unique(operator.name, operator),
                origins=(operator.name,),
                type="CPU",
                backend=plan.backend,
                inputs=inputs,
                outputs=outputs,
                reason=plan.reason,
                cpu_work=plan.cpu_work,
            )
        )

    def _visit_mac(self, operator: Operator, work: MacWork) -> None:
        fusion = fuse(operator, self.graph, self.flow, self.platform, self.judge)
        fused = len(fusion.members) > 1
        name = "npu_fusion_node_" + "_".join([part.name for part in fusion.shown]) if fused else operator.name
        passes = tuple(fusion.auxiliary)
        node = Node(
            name=self._unique(name, operator),
            origins=tuple([part.name for part in fusion.members]),
            type="FUSED" if fused else "NPU",
            backend=operator.type,
            inputs=self._feature_maps(operator),
            outputs=(fusion.output,),
            mac=work,
            auxiliary=self.passes.setdefault(passes, passes) if passes else (),
            constant_elements=fusion.constant_elements,
        )
        self._schedule(node, fusion.members)

    def _schedule(self, node: Node, members: Iterable[Operator]) -> None:
        """Emit a node at the place of its first operator; the others do not appear again."""
        self.done.update([member.index for member in members])
        self.nodes.append(node)

    def _visit_gate(self, operator: Operator) -> bool:
        """Emit ``x * gate(x)`` that does not follow a convolution as one pass; False if it is none."""
        gated = gate(operator.inputs[0], self.graph, self.flow)
        if gated is None or gated[0] is not operator or self.judge(gated[1]).reason is not None:
            return False
        elements = self._tensor(operator.outputs[0]).elements
        kind = GATES[operator.type]
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
        self._schedule(node, gated)
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
        plan = self._plan(reshape)
        if plan.reason is None or (reshape.type != "Reshape" and self.judge(reshape, "Reshape").reason is None):
            return
        source = self.flow.source(name)
        self.materialised.add(name)
        self._emit_cpu(reshape, plan, (source,), (name,))
