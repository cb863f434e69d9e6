"""HardSigmoid and HardSwish are recognised from Clip and arithmetic."""

from __future__ import annotations

import onnx_ir as ir

from kneronnxopt.passes._algebra import (
    Polynomial,
    bounds,
    downstream,
    is_close,
    matches,
    polynomial,
    remove_dead,
    same_rank,
    upstream,
)
from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import float_attribute, opset_of, replace_node

__all__ = ["RecogniseHardSigmoid", "RecogniseHardSwish"]

_SIXTH = 1 / 6


class RecogniseHardSigmoid(NodePass):
    """x -> Clip(x / 6 + 0.5, 0, 1) -> y   becomes   x -> HardSigmoid(alpha 1/6, beta 0.5) -> y.

    1. Clip(x * 0.2 + 0.5, 0, 1) becomes HardSigmoid with alpha 0.2; other slopes stay.
    2. Clip(x + 3, 0, 6) / 6 becomes HardSigmoid with alpha 1/6, if nothing else reads the Clip's result.
    3. Bounds, slope and offset are constants of one element, and equal those above to float32 rounding.
    4. Opset 6 and later (7 for the arithmetic), float32 only.
    """

    name = "recognise_hard_sigmoid"
    op_types = ("Clip",)
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace one Clip, and the arithmetic around it."""
        argument, clipped = node.inputs[0], node.outputs[0]
        if argument is None or argument.dtype != ir.DataType.FLOAT or opset_of(node) < 7:
            return False
        lower, upper = bounds(node)
        if lower != 0.0 or upper not in (1.0, 6.0):
            return False
        for x in upstream(argument):
            found = polynomial(argument, [x])
            if upper == 1.0:
                alpha = next((a for a in (_SIXTH, 0.2) if matches(found, {(1,): a, (0,): 0.5})), None)
                if alpha is not None and same_rank(x, clipped):
                    return _replace(node, "HardSigmoid", x, {"alpha": alpha, "beta": 0.5})
            elif matches(found, {(1,): 1.0, (0,): 3.0}):
                for root in downstream(clipped, limit=1):
                    value = root.outputs[0]
                    if same_rank(x, value) and matches(polynomial(value, [clipped]), {(1,): _SIXTH}):
                        return _replace(root, "HardSigmoid", x, {"alpha": _SIXTH, "beta": 0.5})
        return False


class RecogniseHardSwish(NodePass):
    """x * HardSigmoid(x; alpha 1/6, beta 0.5) -> y   becomes   x -> HardSwish -> y.

    1. x * Clip(x + 3, 0, 6) / 6 and x * Clip(x / 6 + 0.5, 0, 1) too, the factors in any order.
    2. Bounds, slope and offset are constants of one element, and equal those above to float32 rounding.
    3. Nothing else reads the result of HardSigmoid or Clip, or what is computed from it up to y.
    4. Opset 14 and later (there was no HardSwish before), float32 only.
    """

    name = "recognise_hard_swish"
    op_types = ("Clip", "HardSigmoid")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace the product with one Clip or HardSigmoid."""
        argument, gate = node.inputs[0], node.outputs[0]
        if argument is None or argument.dtype != ir.DataType.FLOAT or opset_of(node) < 14:
            return False
        for x, formula in _gates(node, argument):
            for root in downstream(gate):
                value = root.outputs[0]
                if same_rank(x, value) and matches(polynomial(value, [x, gate]), formula):
                    return _replace(root, "HardSwish", x, {})
        return False


def _gates(node: ir.Node, argument: ir.Value) -> list[tuple[ir.Value, Polynomial]]:
    """Each x of which ``node`` computes a gate, with the formula in (x, gate) that then is HardSwish."""
    if node.op_type == "HardSigmoid":
        plain = is_close(float_attribute(node, "alpha", 0.2), _SIXTH) and float_attribute(node, "beta", 0.5) == 0.5
        return [(argument, {(1, 1): 1.0})] if plain else []
    lower, upper = bounds(node)
    if lower != 0.0 or upper not in (1.0, 6.0):
        return []
    expected: Polynomial = {(1,): upper * _SIXTH, (0,): upper * 0.5}
    return [(x, {(1, 1): 1.0 / upper}) for x in upstream(argument) if matches(polynomial(argument, [x]), expected)]


def _replace(root: ir.Node, op_type: str, x: ir.Value, attributes: dict[str, float]) -> bool:
    operands = list(root.inputs)
    replace_node(root, op_type, [x], attributes)
    remove_dead(operands)
    return True
