"""GELU is recognised from its expanded forms."""

from __future__ import annotations

import math

import onnx_ir as ir

from kneronnxopt.passes._algebra import Polynomial, downstream, matches, polynomial, remove_dead, same_rank, upstream
from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import opset_of, replace_node

__all__ = ["RecogniseGelu"]

_SLOPE = math.sqrt(2 / math.pi)
#: Argument of Erf or Tanh in x.
_ARGUMENTS: dict[str, Polynomial] = {
    "Erf": {(1,): 1 / math.sqrt(2)},
    "Tanh": {(1,): _SLOPE, (3,): _SLOPE * 0.044715},
}
#: The whole formula in (x, Erf or Tanh).
_FORMULA: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}
_APPROXIMATE = {"Erf": "none", "Tanh": "tanh"}


class RecogniseGelu(NodePass):
    """x * 0.5 * (1 + Erf(x / sqrt(2))) -> y   becomes   x -> Gelu -> y.

    1. The factors may stand in any order and be written with Mul, Div, Add, Sub, Neg or Pow by constants of
       one element.
    2. x * 0.5 * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) becomes Gelu with ``approximate="tanh"``.
    3. The constants equal those of the formula to float32 rounding: 1.702 * x and the like stay.
    4. Nothing else reads Erf's or Tanh's result, or what is computed from it up to y.
    5. Opset 20 and later (there was no Gelu before), float32 only.
    """

    name = "recognise_gelu"
    op_types = ("Erf", "Tanh")
    rounds_otherwise = True

    def rewrite(self, node: ir.Node) -> bool:
        """Replace the formula around one Erf or Tanh."""
        argument, result = node.inputs[0], node.outputs[0]
        if argument is None or argument.dtype != ir.DataType.FLOAT or opset_of(node) < 20:
            return False
        for x in upstream(argument):
            if not matches(polynomial(argument, [x]), _ARGUMENTS[node.op_type]):
                continue
            for root in downstream(result):
                value = root.outputs[0]
                if same_rank(value, x) and matches(polynomial(value, [x, result]), _FORMULA):
                    operands = list(root.inputs)
                    replace_node(root, "Gelu", [x], {"approximate": _APPROXIMATE[node.op_type]})
                    remove_dead(operands)
                    return True
        return False
