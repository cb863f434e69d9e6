"""Other activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["ACTIVATIONS", "find_activations", "replace_activations"]

#: Activations that are one operator, and the operators of those that exporters write out.
ACTIVATIONS = (
    *("Swish", "HardSwish", "Gelu", "Mish", "Elu", "Selu", "Celu", "Softplus", "LeakyRelu", "PRelu", "HardSigmoid"),
)
_GATES = {"Swish": "Sigmoid", "HardSwish": "HardSigmoid"}


def replace_activations(model: onnx.ModelProto, kind: str, by: str = "Relu") -> None:
    """Replace every activation of one kind by another operator without attributes.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    kind : str
        One of `ACTIVATIONS`. ``"Swish"`` (SiLU), ``"HardSwish"`` and ``"Gelu"`` are also found where they are
        written out, as ``x * Sigmoid(x)``, ``x * HardSigmoid(x)`` and ``x * (1 + Erf(x / sqrt(2))) / 2``.
    by : str
        ``"Relu"``, ``"Sigmoid"`` or another operator of one input.
    """
    released: list[str] = []
    for parts in list(find_activations(Wiring(model.graph), kind)):
        source, last = parts[0].input[0], parts[-1]
        released.extend(last.input)
        del last.input[:], last.attribute[:]
        last.input.append(source)
        last.op_type, last.domain = by, ""
    remove_dead(model, released)


def find_activations(wiring: Wiring, kind: str) -> Iterator[list[onnx.NodeProto]]:
    """Find each activation of one kind as its nodes: the first reads its input, the last writes its result."""
    gates = {id(parts[0]) for outer in _GATES for parts in _find_gates(wiring, outer)}
    for node in wiring.nodes(kind):
        if id(node) not in gates:
            yield [node]
    if kind in _GATES:
        yield from _find_gates(wiring, kind)
    if kind == "Gelu":
        for node in wiring.nodes("Erf"):
            parts = _written_out_gelu(node, wiring)
            if parts is not None:
                yield parts


def _find_gates(wiring: Wiring, kind: str) -> Iterator[list[onnx.NodeProto]]:
    """``x * gate(x)``."""
    for inner in wiring.nodes(_GATES[kind]):
        outer = wiring.only_reader(inner.output[0])
        if (
            outer is not None
            and outer.op_type == "Mul"
            and sorted(outer.input) == sorted([inner.input[0], *inner.output])
        ):
            yield [inner, outer]


def _written_out_gelu(erf: onnx.NodeProto, wiring: Wiring) -> list[onnx.NodeProto] | None:
    """The nodes of ``x * (1 + Erf(c * x)) * 0.5``, in either order of the products."""
    scaled = wiring.producers.get(erf.input[0])
    plus = wiring.only_reader(erf.output[0])
    if scaled is None or scaled.op_type not in ("Mul", "Div") or plus is None or plus.op_type != "Add":
        return None
    x = scaled.input[0]
    product = wiring.only_reader(plus.output[0])
    if product is None or product.op_type != "Mul":
        return None
    other = next((name for name in product.input if name != plus.output[0]), "")
    if other == x:
        half = wiring.only_reader(product.output[0])
        if half is not None and half.op_type in ("Mul", "Div") and _has_constant(half, wiring):
            return [scaled, erf, plus, product, half]
        return None
    halved = wiring.producers.get(other)
    if halved is not None and halved.op_type in ("Mul", "Div") and x in halved.input and _has_constant(halved, wiring):
        return [scaled, halved, erf, plus, product]
    return None


def _has_constant(node: onnx.NodeProto, wiring: Wiring) -> bool:
    producers = (wiring.producers.get(name) for name in node.input)
    return any(name in wiring.initializers for name in node.input) or any(
        producer is not None and producer.op_type == "Constant" for producer in producers
    )
