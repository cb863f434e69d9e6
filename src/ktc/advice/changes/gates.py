"""Channel gates (squeeze and excitation) taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._wiring import Wiring
from ktc.advice.changes._edit import remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["find_channel_gates", "remove_channel_gates"]

_GATES = ("Sigmoid", "HardSigmoid")
_POOLS = ("GlobalAveragePool", "ReduceMean")
_LONGEST = 12


def remove_channel_gates(model: onnx.ModelProto) -> None:
    """Remove every squeeze-and-excitation block: ``x * gate(f(pool(x)))`` becomes ``x``.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    """
    released: list[str] = []
    for product, source in list(find_channel_gates(Wiring(model.graph))):
        released.extend(product.input)
        del product.input[:], product.attribute[:]
        product.input.append(source)
        product.op_type = "Identity"
    remove_dead(model, released)


def find_channel_gates(wiring: Wiring) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Find each gate as its product and the name of ``x``."""
    for product in wiring.nodes("Mul"):
        for gate, source in (tuple(product.input), tuple(product.input)[::-1]):
            inner = wiring.producers.get(gate)
            if inner is not None and inner.op_type in _GATES and _is_pooled(inner.input[0], source, wiring):
                yield product, source
                break


def _is_pooled(name: str, source: str, wiring: Wiring) -> bool:
    """Whether a tensor is computed, by nodes of one feature map each, from the pooled ``source``."""
    for _ in range(_LONGEST):
        node = wiring.producers.get(name)
        if node is None:
            return False
        if node.op_type in _POOLS:
            return bool(node.input[0] == source)
        inputs = [item for item in node.input if item and item not in wiring.initializers]
        inner = [item for item in inputs if (p := wiring.producers.get(item)) is not None and p.op_type in _GATES]
        if node.op_type == "Mul" and len(inputs) == 2 and inner:  # SiLU: x * Sigmoid(x)
            inputs = [item for item in inputs if item not in inner]
        if len(inputs) != 1:
            return False
        name = inputs[0]
    return False
