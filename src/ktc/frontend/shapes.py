"""Output shapes of the commonest operators, computed directly; ONNX's own inference takes a hundred times as long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ktc.frontend.graph import MAX_ELEMENTS, element_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktc.frontend.graph import Operator

__all__ = ["output_shape", "output_shape_by_content"]

#: Extents and factors up to this have exact products in float32, in which ONNX computes them.
_MAX_FACTOR = 2**12

Shape = tuple[int, ...]
Content = Sequence[int] | Sequence[float]

_SAME_SHAPE = frozenset(
    {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish", "Identity", "Erf", "Sqrt", "Softmax"}
    | {"BatchNormalization", "PRelu", "Exp", "Neg", "Abs", "Reciprocal"}
)


def output_shape(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    """Shape of the only output of an operator, which has the element type of its first input.

    Parameters
    ----------
    operator : Operator
        The operator.
    shapes : sequence of shapes
        Those of its inputs; None if unknown or omitted.

    Returns
    -------
    tuple of int or None
        None for anything out of the ordinary: ONNX's own inference decides, and says what is wrong.
    """
    if operator.domain or not shapes or shapes[0] is None or len(operator.outputs) != 1:
        return None
    if operator.type in _SAME_SHAPE:
        return shapes[0]
    rule = _RULES.get(operator.type)
    shape = None if rule is None else rule(operator, shapes)
    return shape if shape is not None and element_count(shape) <= MAX_ELEMENTS else None


def _broadcast(_: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    a, b = (*shapes, None)[:2]
    if a is None or b is None or len(shapes) != 2:
        return None
    if a == b:
        return a
    rank = max(len(a), len(b))
    result = []
    for x, y in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        if x != y and 1 not in (x, y):
            return None
        result.append(y if x == 1 else x)
    return tuple(result)


def _slide(operator: Operator, data: Shape, kernel: Shape, channels: int) -> Shape | None:
    """A window over all spatial axes, with explicit padding and without ceil_mode."""
    rank = len(data) - 2
    strides = operator.integers("strides") or (1,) * rank
    dilations = operator.integers("dilations") or (1,) * rank
    pads = operator.integers("pads") or (0,) * 2 * rank
    plain = operator.attribute("auto_pad", "NOTSET") == "NOTSET" and not operator.attribute("ceil_mode", 0)
    if not plain or rank < 1 or not len(kernel) == len(strides) == len(dilations) == len(pads) // 2 == rank:
        return None
    if min(kernel) < 1 or min(strides) < 1 or min(dilations) < 1 or min(pads) < 0 or min(data) < 1:
        return None
    spatial = []
    for axis in range(rank):
        room = data[2 + axis] + pads[axis] + pads[rank + axis] - dilations[axis] * (kernel[axis] - 1) - 1
        if room < 0:
            return None
        spatial.append(room // strides[axis] + 1)
    return (data[0], channels, *spatial)


def _convolution(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    data, weights = (*shapes, None)[:2]
    if data is None or weights is None or len(data) != len(weights) or len(data) < 3:
        return None
    groups, kernel = operator.integer("group", 1), weights[2:]
    fits = data[1] == weights[1] * groups and operator.integers("kernel_shape", kernel) == kernel
    return _slide(operator, data, kernel, weights[0]) if fits else None


def _pool(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    data = shapes[0]
    if data is None or len(data) < 3:
        return None
    return _slide(operator, data, operator.integers("kernel_shape"), data[1])


def _global_pool(_: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    data = shapes[0]
    return None if data is None or len(data) < 3 else (*data[:2], *(1,) * (len(data) - 2))


def _concat(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    first = shapes[0] or ()
    axis = operator.integer("axis", len(first))  # not given: out of the ordinary
    if not -len(first) <= axis < len(first):
        return None
    axis %= len(first)
    before, after, total = first[:axis], first[axis + 1 :], 0
    for shape in shapes:
        if shape is None or len(shape) != len(first) or shape[:axis] != before or shape[axis + 1 :] != after:
            return None
        total += shape[axis]
    return (*before, total, *after)


def _transpose(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    shape = shapes[0] or ()
    permutation = operator.integers("perm") or tuple(reversed(range(len(shape))))
    return tuple(shape[axis] for axis in permutation) if sorted(permutation) == list(range(len(shape))) else None


def _gemm(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    a, b = (*shapes, None)[:2]
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    rows, inner = a[::-1] if operator.integer("transA", 0) else a
    inner2, columns = b[::-1] if operator.integer("transB", 0) else b
    return (rows, columns) if inner == inner2 else None


def _matmul(_: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    a, b = (*shapes, None)[:2]
    if a is None or b is None or len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        return None
    batch = _broadcast(_, (a[:-2], b[:-2]))
    return None if batch is None else (*batch, a[-2], b[-1])


def _flatten(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    shape, axis = shapes[0] or (), operator.integer("axis", 1)
    return (element_count(shape[:axis]), element_count(shape[axis:])) if 0 <= axis <= len(shape) else None


def _squeeze(operator: Operator, shapes: Sequence[Shape | None]) -> Shape | None:
    """Without axes that are named in any order; below opset 11, onnx overlooks those after a larger one (1.23)."""
    shape, axes = shapes[0] or (), operator.integers("axes")
    named = {axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)}
    valid = len(shapes) == 1 and len(named) == len(axes) > 0 and all(shape[axis] == 1 for axis in named)
    return tuple(extent for axis, extent in enumerate(shape) if axis not in named) if valid else None


_RULES: dict[str, Callable[[Operator, Sequence[Shape | None]], Shape | None]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), _broadcast),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), _global_pool),
    "Conv": _convolution,
    "Concat": _concat,
    "Transpose": _transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
}


def output_shape_by_content(
    operator: Operator, shape: Shape | None, contents: Sequence[Content | None]
) -> Shape | None:
    """Shape of the only output of an operator whose further inputs say what it is to be.

    Parameters
    ----------
    operator : Operator
        The operator; its output has the element type of its first input.
    shape : tuple of int or None
        That of its first input.
    contents : sequence of sequences of int or float
        Contents of its other inputs; None if unknown or omitted.  Floats are for the scales of Resize alone.

    Returns
    -------
    tuple of int or None
        As `output_shape`.
    """
    rule = _CONTENT_RULES.get(operator.type)
    if rule is None or operator.domain or shape is None or len(operator.outputs) != 1 or 0 in shape:
        return None
    result = rule(operator, shape, contents)
    return result if result is not None and element_count(result) <= MAX_ELEMENTS else None


def _reshape(operator: Operator, shape: Shape, contents: Sequence[Any]) -> Shape | None:
    target = contents[0] if len(contents) == 1 else None
    if target is None or operator.attribute("allowzero", 0) or min(target, default=0) < -1:
        return None
    result = [shape[axis] if not extent and axis < len(shape) else extent for axis, extent in enumerate(target)]
    if result.count(-1) > 1 or 0 in result:
        return None
    elements = element_count(shape)
    if -1 in result:
        result[result.index(-1)] = elements // -element_count(tuple(result))
    return tuple(result) if element_count(tuple(result)) == elements else None


def _slice(_: Operator, shape: Shape, contents: Sequence[Any]) -> Shape | None:
    """Forwards, along axes that are all given."""
    starts, ends, axes, steps = (*contents, None, None, None, None)[:4]
    steps = [1] * len(starts or ()) if len(contents) < 4 else steps
    if starts is None or ends is None or axes is None or steps is None:
        return None
    if not len(starts) == len(ends) == len(axes) == len(steps) or min(steps, default=1) < 1:
        return None
    if any(not -len(shape) <= axis < len(shape) for axis in axes) or len({a % len(shape) for a in axes}) < len(axes):
        return None
    result = list(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        result[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return tuple(result)


def _resize(operator: Operator, shape: Shape, contents: Sequence[Any]) -> Shape | None:
    """To sizes of all axes, or by whole factors."""
    crops = operator.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crops or operator.attribute("axes") or operator.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    scales, sizes = (*contents[1:], None, None)[:2]
    if len(contents) == 3 and not operator.inputs[2] and sizes and isinstance(sizes[0], int):
        result = tuple(sizes)
    elif len(contents) == 2 and scales and len(scales) == len(shape) and all(map(_is_exact_factor, scales)):
        if max(shape) > _MAX_FACTOR:
            return None
        result = tuple([extent * int(factor) for extent, factor in zip(shape, scales, strict=True)])
    else:
        return None
    return result if len(result) == len(shape) and min(result) > 0 else None


def _is_exact_factor(factor: float) -> bool:
    """Whether float32 multiplies extents by it exactly."""
    return isinstance(factor, float) and 1 <= factor <= _MAX_FACTOR and factor.is_integer()


_CONTENT_RULES: dict[str, Callable[[Operator, Shape, Sequence[Any]], Shape | None]] = {
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
}
