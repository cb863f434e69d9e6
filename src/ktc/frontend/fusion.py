"""Which operators join a convolution or product in one backend node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ktc.frontend.conditions import OperatorView
from ktc.frontend.graph import element_count
from ktc.frontend.program import AuxiliaryStep
from ktc.frontend.work import is_channel_constant

if TYPE_CHECKING:
    from ktc.frontend.graph import Graph, Operator
    from ktc.frontend.legality import Judge
    from ktc.frontend.views import Flow
    from ktc.hardware.platform import Platform

__all__ = ["GATES", "Fusion", "fuse", "gate"]

_AFFINE = frozenset({"BatchNormalization", "Add", "Sub", "Mul", "Div"})
_ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})
#: ``x * gate(x)`` by its gate.
GATES = {"Sigmoid": "Swish", "HardSigmoid": "HardSwish"}


@dataclass(slots=True)
class Fusion:
    """A convolution or product with what follows it.

    Attributes
    ----------
    members : list of Operator
        All operators of the node, in execution order.
    shown : list of Operator
        Those that name the node: convolution, activation, pooling.
    auxiliary : list of AuxiliaryStep
        Passes that the platform does not do for free.
    constant_elements : int
        Constants of the affine steps: one factor and one offset per channel.
    output : str
        The last output.
    """

    members: list[Operator]
    shown: list[Operator]
    output: str
    auxiliary: list[AuxiliaryStep] = field(default_factory=list)
    constant_elements: int = 0


def fuse(head: Operator, graph: Graph, flow: Flow, platform: Platform, judge: Judge) -> Fusion:
    """Follow a convolution or product as far as one backend node reaches.

    1. BatchNormalization, or Add, Sub, Mul, Div by a constant per channel, any number.
    2. One activation, or SiLU and HardSwish as ``x * gate(x)``.
    3. MaxPool or AveragePool 2x2 with stride 2 and no padding.

    Each step needs the previous output to have no other reader and not to be an output of the graph.
    """
    fusion = Fusion([head], [head], head.outputs[0])
    readers = _readers(fusion.output, flow)
    while len(readers) == 1 and readers[0].type in _AFFINE and _is_affine(readers[0], head, graph):
        fusion.members.append(readers[0])
        fusion.output = readers[0].outputs[0]
        fusion.constant_elements = 2 * _channels(head, graph)
        readers = _readers(fusion.output, flow)
    if _absorb_activation(fusion, readers, graph, flow, platform, judge):
        readers = _readers(fusion.output, flow)
    if len(readers) == 1 and _is_small_pool(readers[0], graph) and judge(readers[0]).reason is None:
        fusion.members.append(readers[0])
        fusion.shown.append(readers[0])
        fusion.output = readers[0].outputs[0]
    if len(fusion.shown) == 1:
        fusion.shown = list(fusion.members)
    return fusion


def gate(name: str, graph: Graph, flow: Flow) -> tuple[Operator, Operator] | None:
    """The two operators of ``x * gate(x)`` if they are the only readers of feature map ``name``."""
    readers = _readers(name, flow)
    if len(readers) != 2:
        return None
    inner, outer = readers
    if inner.type not in GATES or inner.domain or outer.type != "Mul" or outer.domain:
        return None
    expected = {flow.source(name), flow.source(inner.outputs[0])}
    sources = {flow.source(n) for n in outer.inputs}
    alone = _only_reader(inner.outputs[0], flow) is outer
    inside = alone and graph.shape(inner.outputs[0]) == graph.shape(outer.outputs[0])
    return (inner, outer) if inside and sources == expected else None


def _readers(name: str, flow: Flow) -> list[Operator]:
    """All that read a feature map; nobody, if it is an output of the graph, since more may read it outside."""
    source = flow.root.get(name, name)
    return [] if source in flow.outputs else flow.consumers.get(source, [])


def _only_reader(name: str, flow: Flow) -> Operator | None:
    readers = _readers(name, flow)
    return readers[0] if len(readers) == 1 else None


def _is_affine(operator: Operator, head: Operator, graph: Graph) -> bool:
    if operator.type == "BatchNormalization" and not operator.domain:
        shape = graph.shape(operator.outputs[0])
        return shape is not None and graph.are_constant(operator.inputs[1:])
    return is_channel_constant(operator, graph, channel_last=head.type in ("Gemm", "MatMul"))


def _channels(head: Operator, graph: Graph) -> int:
    shape = graph.shape(head.outputs[0]) or (1,)
    return shape[-1] if head.type in ("Gemm", "MatMul") else shape[min(1, len(shape) - 1)]


def _absorb_activation(
    fusion: Fusion, readers: list[Operator], graph: Graph, flow: Flow, platform: Platform, judge: Judge
) -> bool:
    """Add the activation that reads the last output, if there is one; return whether there is."""
    if len(readers) == 2:
        gated = gate(fusion.output, graph, flow)
        if gated is None or any(judge(part).reason is not None for part in gated):
            return False
        _append_activation(fusion, gated, GATES[gated[0].type], graph, platform)
        return True
    if len(readers) != 1 or readers[0].type not in _ACTIVATIONS:
        return False
    if not graph.are_constant(readers[0].inputs[1:]) or judge(readers[0]).reason is not None:
        return False
    _append_activation(fusion, (readers[0],), readers[0].type, graph, platform)
    return True


def _append_activation(
    fusion: Fusion, parts: tuple[Operator, ...], kind: str, graph: Graph, platform: Platform
) -> None:
    fusion.members.extend(parts)
    fusion.shown.extend(parts)
    fusion.output = parts[-1].outputs[0]
    if kind not in platform.fused_activations:
        elements = element_count(graph.shape(fusion.output) or ())
        fusion.auxiliary.append(AuxiliaryStep(kind, elements, pooling=False))


def _is_small_pool(operator: Operator, graph: Graph) -> bool:
    if (
        operator.type not in ("MaxPool", "AveragePool")
        or operator.domain
        or len([o for o in operator.outputs if o]) != 1
    ):
        return False
    view = OperatorView(operator, graph, "")
    return view.kernel == (2, 2) and view.stride == (2, 2) and not any(operator.integers("pads"))
