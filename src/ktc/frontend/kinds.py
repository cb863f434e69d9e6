"""What equal nodes have in common: type, domain and attributes, read once however often they repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import EncodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Kind", "Kinds"]

_INT, _INTS = onnx.AttributeProto.INT, onnx.AttributeProto.INTS
_FLOAT, _FLOATS = onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS
_STRING, _STRINGS = onnx.AttributeProto.STRING, onnx.AttributeProto.STRINGS
_TENSOR = onnx.AttributeProto.TENSOR
_PLAIN = frozenset({_INT, _INTS, _FLOAT, _FLOATS, _STRING, _STRINGS, _TENSOR})
#: Operators whose attributes may hold weights or whole graphs.
_HEAVY = frozenset({"Constant", "If", "Loop", "Scan", "SequenceMap"})
#: Larger ones of those are not compared.
_MAX_COMPARED_BYTES = 512
_BYTES = onnx.AttributeProto.SerializeToString


@dataclass(slots=True)
class Kind:
    """Type, domain and attributes of nodes, and which outputs they have.

    Attributes
    ----------
    number : int
        Position among the kinds of the graph.
    type, domain : str
        Operator type and domain (``""`` for ONNX's own).
    attributes : dict of str to object
        Values by name: ``str`` for texts, tuples for lists; None for what is neither a number, a text nor a tensor.
    captured : tuple of str
        Outer tensors that subgraphs in the attributes read.
    """

    number: int
    type: str
    domain: str
    attributes: dict[str, Any]
    captured: tuple[str, ...]


class Kinds(dict[tuple[str | bytes | int, ...], Kind]):
    """The kinds of the nodes of one graph.

    Attributes are told apart by their bytes in the file: to ask a node for these takes one call an attribute, where
    name, type and value take several.
    """

    def of(self, node: onnx.NodeProto, outputs: Sequence[str]) -> Kind:
        """Kind of a node: nodes with the same type, domain, attributes and omitted outputs have the same."""
        op_type = node.op_type
        written = len(outputs) if "" not in outputs else "".join(["-x"[bool(name)] for name in outputs])
        identity: tuple[str | bytes | int, ...]
        if op_type in _HEAVY and node.ByteSize() > _MAX_COMPARED_BYTES:
            identity = (len(self),)
        else:
            try:  # a slice is copied at once, and iteration asks for each item
                identity = (op_type, node.domain, written, *map(_BYTES, node.attribute[:]))
            except EncodeError:  # one attribute of more than 2 GiB
                identity = (len(self),)
        kind = self.get(identity)
        if kind is None:
            kind = self[identity] = _read(len(self), node)
        return kind


def _read(number: int, node: onnx.NodeProto) -> Kind:
    attributes: dict[str, Any] = {}
    captured: tuple[str, ...] = ()
    for attribute in node.attribute:
        kind = attribute.type
        attributes[attribute.name] = _value(attribute, kind)
        if kind not in _PLAIN and not captured:
            captured = _captured(node)
    return Kind(number, node.op_type, "" if node.domain == "ai.onnx" else node.domain, attributes, captured)


def _value(attribute: onnx.AttributeProto, kind: int) -> Any:
    if kind == _INTS:
        return tuple(attribute.ints[:])
    if kind == _INT:
        return attribute.i
    if kind == _FLOAT:
        return attribute.f
    if kind == _STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == _TENSOR:
        return attribute.t
    if kind == _FLOATS:
        return tuple(attribute.floats[:])
    if kind == _STRINGS:
        return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
    return None


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(node: onnx.NodeProto) -> tuple[str, ...]:
    """Names that the subgraphs of a node read from outside."""
    names: dict[str, None] = {}
    pending = [(graph, frozenset[str]()) for graph in _subgraphs(node)]
    while pending:
        graph, outer = pending.pop()
        local = outer | {v.name for v in graph.input} | {t.name for t in graph.initializer}
        local |= {name for inner in graph.node for name in inner.output}
        for inner in graph.node:
            names.update((name, None) for name in inner.input if name and name not in local)
            pending.extend((deeper, local) for deeper in _subgraphs(inner))
        names.update((v.name, None) for v in graph.output if v.name not in local)
    return tuple(names)
