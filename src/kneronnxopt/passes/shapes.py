"""Every value gets its shape and type; declared shapes that contradict are reported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import onnx
import onnx_ir as ir

from kneronnxopt.errors import OptimizationError
from kneronnxopt.passes._base import Pass
from kneronnxopt.passes._graph import int_attribute, is_op, static_shape
from kneronnxopt.passes._slices import disputed_slices
from kneronnxopt.passes._weightless import weightless_proto
from kneronnxopt.skeleton import UNCHECKED_AXIS, hide_nodes, hide_unchecked_axes, make_skeleton, sort_squeezed_axes
from kneronnxopt.walk import all_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "ClearShapes",
    "DeclareOutputShapes",
    "ForgetNegativeDimensions",
    "InferShapes",
    "OverwriteInputShapes",
    "is_complete",
    "merge_type",
    "parse_input_shapes",
]

_DECLARED = "kneronnxopt.declared_shapes"
#: Operators whose shape onnx infers wrongly in places (1.23: Einsum that broadcasts): what is declared stands.
_MISJUDGED = ("Einsum",)
#: Operators of which not even an undeclared shape is worth asking for (1.23: STFT with a constant step or window).
_NEVER_TRUSTED = ("STFT",)
#: Elements of a shape that may be propagated.
_MAX_SHAPE_DATA = 2**14


class ClearShapes(Pass):
    """Forget the declared shapes of intermediate values and of outputs; inputs keep theirs."""

    name = "clear_shapes"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Drop the shapes."""
        return ir.passes.PassResult(model, modified=_forget_shapes(model, ranks_only=False))


class ForgetNegativeDimensions(Pass):
    """A dimension of -1, by which some exporters mean a dynamic one, becomes unknown."""

    name = "forget_negative_dimensions"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Forget them, in subgraphs too."""
        modified = False
        for graph in model.graphs():
            for value in (*graph.inputs, *_inferable_values(graph)):
                if value.shape is None or static_shape(value) is not None:
                    continue
                dims = list(value.shape)
                if any(isinstance(dim, int) and dim < 0 for dim in dims):
                    value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in dims])
                    modified = True
        return ir.passes.PassResult(model, modified=modified)


class OverwriteInputShapes(Pass):
    """Give graph inputs the shapes that the caller wants, and forget every shape that followed from the old.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Input name to dimensions.
    """

    name = "overwrite_input_shapes"

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = shapes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Set the shapes.

        Raises
        ------
        OptimizationError
            A name is not an input, or the rank differs.
        """
        inputs = {value.name: value for value in model.graph.inputs}
        modified = False
        for name, dims in self.shapes.items():
            value = inputs.get(name)
            if value is None:
                raise OptimizationError(
                    f"overwrite_input_shapes: the model has no input '{name}'; its inputs are "
                    + ", ".join(f"'{known}'" for known in inputs)
                )
            if value.shape is not None and len(value.shape) != len(dims):
                raise OptimizationError(
                    f"overwrite_input_shapes: input '{name}' has rank {len(value.shape)} ({value.shape}), "
                    f"the shape given has rank {len(dims)}; give {len(value.shape)} dimensions"
                )
            if value.shape is None or list(value.shape) != list(dims):
                value.shape = ir.Shape(dims)
                modified = True
        if modified:
            _forget_shapes(model, ranks_only=True)
        return ir.passes.PassResult(model, modified=modified)


class InferShapes(Pass):
    """Complete the shapes and types of all values with onnx's shape inference.

    1. Declared and inferred shapes are merged: the number wins over a symbol or an unknown.
    2. Two different numbers, or ranks, are an error: the model is inconsistent.
    3. A value that onnx cannot infer, or infers otherwise than onnxruntime, keeps what was declared.
    4. An axis of a normalisation that is out of range is an error, which onnx itself does not find.
    5. Where every value has a static shape and a type there is nothing to find, and onnx is not asked, unless
       the declared shapes are to be checked.

    Parameters
    ----------
    check_declared : bool
        Ask onnx in any case.
    source : onnx.ModelProto, optional
        The model before it was read into the form that passes edit, if nothing has changed since but the order
        of nodes and the place of constants. Saves writing it out again.
    """

    name = "infer_shapes"

    def __init__(self, *, check_declared: bool = False, source: onnx.ModelProto | None = None) -> None:
        self.check_declared = check_declared
        self.source = source

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Infer and merge.

        Raises
        ------
        OptimizationError
            A RuntimeError, as documented: ``Inferred shape and existing shape differ in rank: (a) vs (b)`` or
            ``... differ in dimension ...``, followed by tensor, node and remedy.
        """
        values = list(_inferable_values(model.graph))
        if not self.check_declared and all(is_complete(value) for value in values):
            return ir.passes.PassResult(model, modified=False)
        if self.source is not None:
            proto = make_skeleton(self.source, keep_shapes=False)
        else:
            proto = weightless_proto(model, keep_shapes=False)
        hide_unchecked_axes(proto)
        sort_squeezed_axes(all_nodes(proto))
        hide_nodes(proto, disputed_slices(model))
        try:
            inferred = onnx.shape_inference.infer_shapes(proto, data_prop=not _data_would_explode(proto))
        except (onnx.shape_inference.InferenceError, ValueError) as error:
            message = str(error).strip().splitlines()[-1]
            raise OptimizationError(f"shape inference fails: {message}; mend the node named") from error
        found = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output)}
        modified = False
        for value in values:
            info = found.get(value.name or "")
            if value.shape is not None and is_op(value.producer(), *_MISJUDGED):
                continue
            if info is not None and info.type.HasField("tensor_type"):
                if is_op(value.producer(), *_NEVER_TRUSTED):
                    info.type.tensor_type.ClearField("shape")
                modified |= merge_type(value, info.type.tensor_type)
        for node in model.graph:
            _check_axis(node)
        return ir.passes.PassResult(model, modified=modified)


class DeclareOutputShapes(Pass):
    """An output whose forgotten shape could not be inferred, or not in full, gets back what was declared.

    A graph output without any shape is not valid ONNX.
    """

    name = "declare_output_shapes"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Restore what is missing."""
        declared: dict[str | None, ir.Shape] = model.graph.meta.get(_DECLARED, {})
        modified = False
        for value in model.graph.outputs:
            shape = declared.get(value.name)
            if shape is None:
                continue
            found = list(value.shape) if value.shape is not None else [None] * len(shape)
            if len(found) != len(shape):
                continue
            merged = [old if _is_unknown(new) else new for new, old in zip(found, shape, strict=True)]
            if value.shape is None or ir.Shape(merged) != value.shape:
                value.shape = ir.Shape(merged)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _data_would_explode(proto: onnx.ModelProto) -> bool:
    """Whether onnx, which propagates the contents of shapes, would build very long ones (Concat of Concats)."""
    lengths = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        sizes = [lengths.get(name, 1) for name in node.input]
        length = sum(sizes) if node.op_type == "Concat" else max(sizes, default=1)
        if length > _MAX_SHAPE_DATA:
            return True
        lengths.update(dict.fromkeys(node.output, length))
    return False


def _check_axis(node: ir.Node) -> None:
    value = node.inputs[0] if node.inputs else None
    if not is_op(node, *UNCHECKED_AXIS) or value is None or value.shape is None:
        return
    axis, rank = int_attribute(node, "axis", -1), len(value.shape)
    if not -rank <= axis < rank:
        raise OptimizationError(
            f"node '{node.name}' ({node.op_type}) has axis {axis}, but its input '{value.name}' has rank {rank}; "
            "mend the node or the shape"
        )


def parse_input_shapes(spec: object, input_names: Sequence[str]) -> dict[str, list[int]]:
    """Read ``overwrite_input_shapes`` in any of its documented forms.

    Parameters
    ----------
    spec : None, str, mapping of str to sequence of int, or sequence of str
        ``"name:1,3,224,224"`` (a name may contain colons), or ``"1,3,224,224"`` for the only input.
    input_names : sequence of str
        The model's inputs.

    Raises
    ------
    OptimizationError
        The text cannot be read, or names no input where there are several.
    """
    if spec is None:
        return {}
    if isinstance(spec, dict):
        if any(not isinstance(dims, list | tuple) for dims in spec.values()):
            raise OptimizationError(f'overwrite_input_shapes={spec!r}: write {{"name": (1, 3, 224, 224)}}')
        return {str(name): [_dimension(dim, str(spec)) for dim in dims] for name, dims in spec.items()}
    entries = [spec] if isinstance(spec, str) else spec
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        raise OptimizationError(
            f'overwrite_input_shapes={spec!r} is neither a list of strings nor a dict; write ["name:1,3,224,224"]'
        )
    shapes: dict[str, list[int]] = {}
    for entry in entries:
        name, separator, numbers = entry.rpartition(":")
        if not separator:
            if len(input_names) != 1:
                raise OptimizationError(
                    f"overwrite_input_shapes: '{entry}' names no input, but the model has {len(input_names)}; "
                    f'write "name:{entry}" with one of ' + ", ".join(f"'{known}'" for known in input_names)
                )
            name = input_names[0]
        shapes[name] = [_dimension(number, entry) for number in numbers.split(",")]
    return shapes


def _dimension(number: object, entry: str) -> int:
    try:
        value = int(str(number).strip())
    except ValueError:
        value = 0
    if not 0 < value < 2**31:
        raise OptimizationError(
            f"overwrite_input_shapes: '{entry}' has the dimension {number!r}; dimensions are positive integers"
        )
    return value


def _inferable_values(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from (value for value in node.outputs if value.name)


def is_complete(value: ir.Value) -> bool:
    """Whether type and shape are known, in numbers."""
    if value.type is None or value.shape is None:
        return False
    for dim in value.shape:  # noqa: SIM110 - asked of every value in every sweep: no generator
        if not isinstance(dim, int):
            return False
    return True


def _forget_shapes(model: ir.Model, *, ranks_only: bool) -> bool:
    """Drop every shape but those of inputs; remember those of outputs. Return whether there was one.

    With ``ranks_only`` the remembered dimensions are unknown: they followed from inputs that have changed.
    """
    model.graph.meta[_DECLARED] = {
        value.name: ir.Shape([None] * len(value.shape)) if ranks_only else value.shape
        for value in model.graph.outputs
        if value.shape is not None
    }
    modified = False
    for graph in model.graphs():
        outputs = set(graph.outputs)
        for value in _inferable_values(graph):
            modified |= value.shape is not None
            if graph is not model.graph and value in outputs and value.shape is not None:
                value.shape = ir.Shape([None] * len(value.shape))  # it needs some shape to be valid
            else:
                value.shape = None
    return modified


def _is_unknown(dim: object) -> bool:
    return dim is None or (isinstance(dim, ir.SymbolicDim) and dim.value is None)


def merge_type(value: ir.Value, inferred: onnx.TypeProto.Tensor) -> bool:
    """Add what was inferred to what is known; return whether that is more. Raises where they contradict."""
    modified = False
    if inferred.elem_type and value.dtype is None:
        value.type = ir.TensorType(ir.DataType(inferred.elem_type))
        modified = True
    if not inferred.HasField("shape"):
        return modified
    dims = [dim.dim_value or _inferred_dimension(dim) for dim in inferred.shape.dim]
    if value.shape is None:
        value.shape = ir.Shape(dims)
        return True
    declared = list(value.shape)
    if declared == dims:  # as for most values
        return modified
    if len(declared) != len(dims):
        _refuse(value, "rank", f"({len(dims)}) vs ({len(declared)})")
    merged: list[int | str | ir.SymbolicDim | None] = []
    for axis, (old, new) in enumerate(zip(declared, dims, strict=True)):
        if isinstance(old, int) and isinstance(new, int) and old != new:
            _refuse(value, "dimension", f"{axis}: ({new}) vs ({old})")
        if isinstance(old, int):
            merged.append(old)
        elif isinstance(new, int) or (isinstance(old, ir.SymbolicDim) and old.value is None):
            merged.append(new)
        else:
            merged.append(old)
    if ir.Shape(merged) != value.shape:
        value.shape = ir.Shape(merged)
        modified = True
    return modified


def _inferred_dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """Number, symbol, or None where onnx found none; it makes up symbols ``unk__<number>`` for those."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return None if not dim.dim_param or dim.dim_param.startswith("unk__") else str(dim.dim_param)


def _refuse(value: ir.Value, what: str, detail: str) -> NoReturn:
    producer = value.producer()
    where = f"node '{producer.name}' ({producer.op_type})" if producer is not None else "no node"
    separator = ": " if what == "rank" else " "
    raise OptimizationError(
        f"Inferred shape and existing shape differ in {what}{separator}{detail}: tensor '{value.name}' of {where}; "
        "optimise with clear_shapes=True (python -m kneronnxopt.optimize --clear-shapes), or correct the declared shape"
    )
