"""A Cast that loses nothing is skipped by the Cast after it."""

from __future__ import annotations

import onnx_ir as ir

from kneronnxopt.passes._base import NodePass
from kneronnxopt.passes._graph import int_attribute, is_op, opset_of, remove_if_unused

__all__ = ["FuseConsecutiveCasts"]

_T = ir.DataType
_SIGNED = (_T.INT8, _T.INT16, _T.INT32, _T.INT64)
_UNSIGNED = (_T.UINT8, _T.UINT16, _T.UINT32, _T.UINT64)
_INTEGERS = (*_SIGNED, *_UNSIGNED)
_FLOATS = (_T.FLOAT16, _T.BFLOAT16, _T.FLOAT, _T.DOUBLE)
#: Floating-point types, and the number of bits of the integers that each holds exactly.
_EXACT_BITS = {_T.FLOAT16: 11, _T.FLOAT: 24, _T.DOUBLE: 53}
_WIDER_FLOATS = {
    _T.FLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.BFLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.FLOAT: (_T.DOUBLE,),
}


class FuseConsecutiveCasts(NodePass):
    """x: A -> Cast(to=B) -> Cast(to=C) -> y   becomes   x -> Cast(to=C) -> y.

    1. A, B are integers and B holds every value of A: any C but a type of 8 bits or fewer with a point.
    2. A is an integer, B a floating-point type that holds every value of A: C is bool, a floating-point type, or an
       integer that holds every value of A.
    3. A is bool, B any number: any C as in 1.
    4. A, B are floating-point and B is wider: C is floating-point or bool; from float16 also int32 and int64.
    5. Stays: float to a wider float to an integer (what happens out of range is left open), anything
       that narrows first (a truncation, a rounding), strings, and all float8 and 4-bit types, whose
       ``saturate`` would have another meaning.

    The first Cast may have other users: it stays for them.
    """

    name = "fuse_consecutive_casts"
    op_types = ("Cast",)

    def rewrite(self, node: ir.Node) -> bool:
        """Let ``node`` read what the Cast before it reads."""
        middle = node.inputs[0]
        first = middle.producer() if middle is not None else None
        if first is None or not is_op(first, "Cast") or first.graph is not node.graph or opset_of(node) < 6:
            return False
        source = first.inputs[0]
        if source is None or source.dtype is None:
            return False
        between, target = ir.DataType(int_attribute(first, "to", 0)), ir.DataType(int_attribute(node, "to", 0))
        if not _same_result(source.dtype, between, target):
            return False
        node.replace_input_with(0, source)
        remove_if_unused(first)
        return True


def _same_result(source: ir.DataType, between: ir.DataType, target: ir.DataType) -> bool:
    if target not in (*_INTEGERS, *_FLOATS, _T.BOOL):  # case 5
        return False
    if source == _T.BOOL:  # case 3
        return between in (*_INTEGERS, *_FLOATS)
    if source in _INTEGERS and between in _INTEGERS:  # case 1
        return _holds(between, source)
    if source in _INTEGERS and between in _EXACT_BITS:  # case 2
        exact = _value_bits(source) <= _EXACT_BITS[between]
        return exact and (target in _FLOATS or target == _T.BOOL or _holds(target, source))
    if between in _WIDER_FLOATS.get(source, ()):  # case 4
        fits = source == _T.FLOAT16 and between == _T.FLOAT and target in (_T.INT32, _T.INT64)
        return fits or target in (*_FLOATS, _T.BOOL)
    return False


def _value_bits(integer: ir.DataType) -> int:
    return int(integer.itemsize * 8) - (integer in _SIGNED)


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether the integer type ``wide`` has every value of ``narrow``."""
    if wide not in _INTEGERS or (narrow in _SIGNED and wide in _UNSIGNED):
        return False
    return _value_bits(wide) >= _value_bits(narrow)
