"""A weightless view of an ONNX graph: operators in order, values with shape and known content."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from ktc.errors import ModelError
from ktc.frontend.kinds import Kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_ELEMENTS",
    "MAX_SHORT",
    "Graph",
    "Operator",
    "Value",
    "element_count",
    "node_name",
    "read_graph",
    "tensor_content",
]

_MAX_KNOWN_ELEMENTS = 4096
#: Elements of a constant that says something of shapes.
MAX_SHORT = 64
_MAX_RANK = 32
MAX_ELEMENTS = 2**62
_LOCATION_EXTERNAL = onnx.TensorProto.EXTERNAL
#: Element types whose bytes in the file are those of an array.
_ARRAY_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
}


@dataclass(slots=True)
class Value:
    """One tensor of the graph.

    Attributes
    ----------
    name : str
        Name in the ONNX graph.
    shape : tuple of int or None
        Static shape, None if unknown.
    elem_type : int
        ``onnx.TensorProto.DataType``.
    constant : bool
        Known before inference.
    known : numpy.ndarray or None
        Content of a small constant, if it was computed.
    tensor : onnx.TensorProto or None
        A constant of the file, whose content is read when it is asked for.
    """

    name: str
    shape: tuple[int, ...] | None = None
    elem_type: int = 0
    constant: bool = False
    known: np.ndarray[Any, Any] | None = None
    tensor: onnx.TensorProto | None = None

    @property
    def content(self) -> np.ndarray[Any, Any] | None:
        """Content of small constants; None if it is not available."""
        if self.tensor is not None:
            self.known, self.tensor = tensor_content(self.tensor), None
        return self.known

    def content_key(self) -> object:
        """What is equal for constants of one shape and type with equal content; None if it is not `MAX_SHORT` or known.

        That of the tensors that are most common is read without making arrays of them.
        """
        if self.shape is None or element_count(self.shape) > MAX_SHORT:
            return None
        if self.tensor is not None and self.elem_type in _ARRAY_TYPES:
            raw = self.tensor.raw_data
            if raw and self.tensor.data_location != _LOCATION_EXTERNAL and not self.tensor.HasField("segment"):
                return raw
        content = self.content
        if content is None:
            return None
        # the bytes of an array of objects do not say what it holds
        return content.dtype, (id(content) if content.dtype == object else content.tobytes())


@dataclass(slots=True)
class Operator:
    """One ONNX node.

    Attributes
    ----------
    index : int
        Position in execution order.
    name : str
        As `node_name` says.
    type, domain : str
        Operator type and domain (``""`` for ONNX's own).
    inputs, outputs : list of str
        Tensor names; ``""`` for an omitted one.
    captured : tuple of str
        Outer tensors that subgraphs of the node read.
    attributes : dict of str to object
        Values by name: ``str`` for texts, tuples for lists; None for what is neither a number, a text nor a tensor.
    kind : int
        The same for operators of the graph with the same type, domain, attributes and omitted outputs.
    proto : onnx.NodeProto
        The node itself; not to be changed.
    """

    index: int
    name: str
    type: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    captured: tuple[str, ...]
    attributes: dict[str, Any]
    kind: int
    proto: onnx.NodeProto
    signature: int | None = field(default=None, repr=False)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or ``default``."""
        return self.attributes.get(name, default)

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Value of an attribute that has to be a list of integers.

        Raises
        ------
        ModelError
            It is something else.
        """
        value: Any = self.attributes.get(name)
        if value is None:
            return default
        if isinstance(value, tuple) and (not value or isinstance(value[0], int)):  # all items have one type
            return value
        raise ModelError(f"node {self.name!r}: attribute {name} of {self.type} is not a list of integers.")

    def integer(self, name: str, default: int) -> int:
        """Value of an attribute that has to be an integer.

        Raises
        ------
        ModelError
            It is something else.
        """
        value = self.attributes.get(name, default)
        if isinstance(value, int):
            return value
        raise ModelError(f"node {self.name!r}: attribute {name} of {self.type} is not an integer.")


@dataclass(slots=True)
class Graph:
    """Operators in execution order and the values between them."""

    name: str
    inputs: list[str]
    outputs: list[str]
    operators: list[Operator]
    values: dict[str, Value]
    opsets: dict[str, int]
    ir_version: int
    warnings: list[str]
    proto: onnx.GraphProto
    _declared: dict[str, onnx.ValueInfoProto] | None = field(default=None, repr=False)
    _signatures: dict[tuple[object, ...], int] = field(default_factory=dict, repr=False)

    def take_declared(self, name: str) -> None:
        """Give a value what the file declares of it, where nothing better is known."""
        value = self.values[name]
        if value.shape is not None and value.elem_type:
            return
        if self._declared is None:  # few files need it
            self._declared = {info.name: info for info in (*self.proto.output, *self.proto.value_info)}
        if name in self._declared:
            given = _declared(self._declared[name])
            value.shape = given.shape if value.shape is None else value.shape
            value.elem_type = value.elem_type or given.elem_type

    def signature(self, operator: Operator) -> int:
        """A number for an operator's type, attributes and operands: their shapes, and which of them are constant.

        Networks repeat their blocks, and what follows from these alone has to be worked out once per signature.  It is
        not to be asked for before all shapes are inferred.
        """
        if operator.signature is None:
            values = self.values
            key = (
                operator.kind,
                len(operator.inputs),
                *[(values[n].shape, values[n].constant) if n else None for n in operator.inputs],
                *[values[n].shape if n else None for n in operator.outputs],
            )
            operator.signature = self.signature_number(key)
        return operator.signature

    def signature_number(self, key: tuple[object, ...]) -> int:
        """The signature of operators for which ``key`` says the kind and, in any form, the operands."""
        return self._signatures.setdefault(key, len(self._signatures))

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a value; None if unknown or omitted."""
        value = self.values.get(name)
        return value.shape if value else None

    def content(self, name: str) -> np.ndarray[Any, Any] | None:
        """Content of a small constant; None if unknown."""
        value = self.values.get(name)
        return value.content if value else None

    def is_constant(self, name: str) -> bool:
        """Whether the value is known before inference (omitted inputs are)."""
        value = self.values.get(name)
        return not name or (value is not None and value.constant)

    def are_constant(self, names: Iterable[str]) -> bool:
        """Whether all of some values are known before inference."""
        for name in names:  # a loop, for this is asked of every operator: all() of a generator takes twice as long
            value = self.values.get(name)
            if name and (value is None or not value.constant):
                return False
        return True


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of a shape, as an unbounded integer."""
    return math.prod(shape)


def tensor_content(tensor: onnx.TensorProto) -> np.ndarray[Any, Any] | None:
    """Content of a small tensor that is in the file; None if it is large, external, stripped or malformed."""
    shape = tuple(tensor.dims)
    count = element_count(shape)
    if not 0 <= count <= _MAX_KNOWN_ELEMENTS or tensor.data_location == _LOCATION_EXTERNAL:
        return None
    dtype, raw = _ARRAY_TYPES.get(tensor.data_type), tensor.raw_data
    try:
        if raw and dtype is not None and not tensor.HasField("segment"):
            return np.frombuffer(raw, dtype).reshape(shape)  # to_array says the same in ten times the time
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None  # stripped or malformed data: the dims still count
    return array if array.size == count else None


def _constants(tensors: Iterable[onnx.TensorProto]) -> dict[str, Value]:
    """The initializers by name; their content stays in the file."""
    values = {}
    possible: set[tuple[int, ...]] = set()
    for tensor in tensors:
        name, shape = tensor.name, tuple(tensor.dims[:])
        if shape not in possible:
            if (shape and min(shape) < 0) or len(shape) > _MAX_RANK or element_count(shape) > MAX_ELEMENTS:
                raise ModelError(f"tensor {name!r} has the impossible shape {list(shape)}.")
            possible.add(shape)
        values[name] = Value(name, shape, tensor.data_type, True, None, tensor)
    return values


def _declared(info: onnx.ValueInfoProto) -> Value:
    """Type and shape as the file declares them; any dynamic dimension makes the shape unknown."""
    tensor = info.type.tensor_type
    shape = None
    if info.type.WhichOneof("value") == "tensor_type" and tensor.HasField("shape"):
        dims = [d.dim_value if d.WhichOneof("value") == "dim_value" else -1 for d in tensor.shape.dim]
        if (
            all(extent >= 0 for extent in dims)
            and len(dims) <= _MAX_RANK
            and element_count(tuple(dims)) <= MAX_ELEMENTS
        ):
            shape = tuple(dims)
    return Value(info.name, shape, tensor.elem_type)


def _example_shape(info: onnx.ValueInfoProto) -> str:
    """A shape that the user could give: known dimensions as they are, a batch of 1, 224 for the others."""
    dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim] or [1, 3, 224, 224]
    return ",".join(str(dim if dim > 0 else (1 if axis == 0 else 224)) for axis, dim in enumerate(dims))


def _input(info: onnx.ValueInfoProto, warnings: list[str]) -> Value:
    remedy = (
        f"give the shape with kneronnxopt.optimize(..., overwrite_input_shapes=['{info.name}:{_example_shape(info)}']) "
        "or python -m kneronnxopt.optimize --overwrite-input-shapes"
    )
    if info.type.WhichOneof("value") != "tensor_type":
        kind = (info.type.WhichOneof("value") or "unknown").removesuffix("_type")
        warnings.append(f"input {info.name!r} is no tensor ({kind}); what reads it runs on the CPU.")
        return Value(info.name)
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelError(f"input {info.name!r} has no shape; {remedy}.")
    if len(tensor.shape.dim) > _MAX_RANK:
        raise ModelError(f"input {info.name!r} has {len(tensor.shape.dim)} dimensions; at most {_MAX_RANK} make sense.")
    shape: list[int] = []
    for axis, dim in enumerate(tensor.shape.dim):
        extent = dim.dim_value if dim.WhichOneof("value") == "dim_value" else 0
        if extent <= 0 and axis == 0:
            shown = dim.dim_param or (extent if dim.WhichOneof("value") else "?")
            warnings.append(f"input {info.name!r} has a dynamic batch ({shown}); it is taken as 1.")
            extent = 1
        if extent <= 0:
            shown = dim.dim_param or (extent if dim.WhichOneof("value") else "?")
            raise ModelError(f"dimension {axis} of input {info.name!r} is not static ({shown}); {remedy}.")
        shape.append(extent)
    if element_count(tuple(shape)) > MAX_ELEMENTS:
        raise ModelError(f"input {info.name!r} of {shape} has more elements than any memory holds; {remedy}.")
    return Value(info.name, tuple(shape), tensor.elem_type)


def _read_operators(nodes: Iterable[onnx.NodeProto]) -> list[Operator]:
    """Nodes in the order of the file; each field is read once, for the file's own objects are slow."""
    kinds = Kinds()
    operators = []
    for position, node in enumerate(nodes):
        outputs = node.output[:]
        kind = kinds.of(node, outputs)
        name = node.name or f"{kind.type}_{position}"  # `node_name`, without another look at the file
        operators.append(
            Operator(
                position,
                name,
                kind.type,
                kind.domain,
                node.input[:],
                outputs,
                kind.captured,
                kind.attributes,
                kind.number,
                node,
            )
        )
    return operators


def _is_sorted(operators: list[Operator], available: Iterable[str]) -> bool:
    """Whether every operator reads only what those before it wrote, and none writes what is there already."""
    known = {"", *available}
    for operator in operators:
        if not known.issuperset(operator.inputs):
            return False
        if operator.captured and not known.issuperset(operator.captured):
            return False
        for name in operator.outputs:
            if name and name in known:
                return False
            known.add(name)
    return True


def _sort(operators: list[Operator], available: set[str]) -> list[Operator]:
    """Operators in execution order, as close to the file's order as possible."""
    if _is_sorted(operators, available):
        return operators
    producer: dict[str, int] = {}
    for position, operator in enumerate(operators):
        for name in operator.outputs:
            if name and (name in producer or name in available):
                raise ModelError(f"tensor {name!r} is written twice.")
            if name:
                producer[name] = position
    waiting: list[int] = []
    readers: dict[int, list[int]] = {}
    for position, operator in enumerate(operators):
        sources = {name for name in (*operator.inputs, *operator.captured) if name and name not in available}
        if unknown := sorted(name for name in sources if name not in producer):
            label = operator.proto.name or position
            raise ModelError(f"node {label!r} ({operator.type}) reads {unknown[0]!r}, which nothing writes.")
        before = {producer[name] for name in sources}
        waiting.append(len(before))
        for source in before:
            readers.setdefault(source, []).append(position)
    ready = [position for position, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order: list[Operator] = []
    while ready:
        position = heapq.heappop(ready)
        operators[position].index = len(order)
        order.append(operators[position])
        for reader in readers.get(position, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(operators):
        stuck = next(operator for operator, count in zip(operators, waiting, strict=True) if count)
        raise ModelError(f"the graph is cyclic: node {stuck.proto.name!r} ({stuck.type}) depends on itself.")
    return order


def node_name(node: onnx.NodeProto, position: int) -> str:
    """What programs and reports call a node: its name, or ``<OpType>_<position in the file>``."""
    return node.name or f"{node.op_type}_{position}"


def read_graph(model: onnx.ModelProto) -> Graph:
    """Read names, shapes and small constants of a model; weights are not touched.

    Raises
    ------
    ModelError
        The graph is empty, cyclic, incomplete, or an input has no usable shape.
    """
    proto = model.graph
    warnings: list[str] = []
    values = _constants(proto.initializer)
    for sparse in proto.sparse_initializer:
        name = sparse.values.name
        values[name] = Value(name, tuple(sparse.dims), sparse.values.data_type, constant=True)
    inputs = [info.name for info in proto.input if info.name not in values]
    if len(set(inputs)) < len(inputs):
        raise ModelError("two inputs of the graph have the same name.")
    for info in proto.input:
        if info.name not in values:
            values[info.name] = _input(info, warnings)
    operators = _sort(_read_operators(proto.node), set(values))
    for operator in operators:
        for name in operator.outputs:
            values[name] = Value(name)
    outputs = [info.name for info in proto.output]
    if missing := [name for name in outputs if name not in values]:
        raise ModelError(f"output {missing[0]!r} of the graph is written by no node.")
    if not outputs:
        raise ModelError("the graph has no output.")
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    return Graph(proto.name, inputs, outputs, operators, values, opsets, model.ir_version, warnings, proto)
