"""Conditions of the operator table, one predicate each.

A predicate takes an `OperatorView` and the limits that stand in ``hardware/data/conditions.json``.  It returns
None if the condition holds; otherwise the values that complete its docstring, which is the sentence that the
user reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ktc.frontend.graph import Graph, Operator

__all__ = ["CONDITIONS", "Condition", "OperatorView", "explain", "sentence"]

Violation = Mapping[str, object] | None
Condition = Callable[..., Violation]

CONDITIONS: dict[str, Condition] = {}
_SENTENCES: dict[str, str] = {}


def _condition(predicate: Condition) -> Condition:
    name = predicate.__name__
    CONDITIONS[name] = predicate
    _SENTENCES[name] = (inspect.getdoc(predicate) or name.replace("_", " ")).splitlines()[0].rstrip(".")
    return predicate


def _times(extents: Sequence[int]) -> str:
    return "x".join(str(extent) for extent in extents)


@dataclass(slots=True)
class OperatorView:
    """An operator with the derived quantities that conditions talk about.

    Attributes
    ----------
    operator, graph : Operator, Graph
        The operator and where it stands.
    title : str
        What sentences call the platform.
    content_read : bool
        Someone asked for the content of an input: what follows is true of this operator alone, and not of all of its
        signature.
    """

    operator: Operator
    graph: Graph
    title: str
    content_read: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input; empty if there is none."""
        return (self.graph.shape(self.operator.inputs[0]) or ()) if self.operator.inputs else ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.graph.shape(self.operator.outputs[0]) or ()

    @property
    def rank(self) -> int:
        """Largest rank among the feature maps read and written."""
        values = self.graph.values
        maps = [values[name] for name in self.operator.inputs if name and not values[name].constant]
        maps += [values[name] for name in self.operator.outputs if name]
        return max([len(value.shape or ()) for value in maps], default=0)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel extents, from the attribute or else from the weights."""
        given = self.operator.integers("kernel_shape")
        weights = self.graph.shape(self.operator.inputs[1]) if len(self.operator.inputs) > 1 else None
        return given or (weights or ())[2:]

    @property
    def stride(self) -> tuple[int, ...]:
        """Strides, 1 by default."""
        return self.operator.integers("strides") or (1,) * max(len(self.kernel), len(self.input_shape) - 2)

    @property
    def window(self) -> str:
        """Kernel and stride in words."""
        return f"kernel {_times(self.kernel)} with stride {_times(self.stride)}"

    def constant(self, position: int, attribute: str | None = None) -> np.ndarray[Any, Any] | None:
        """Content of an input, or of the attribute that older opsets have instead."""
        if len(self.operator.inputs) > position and self.operator.inputs[position]:
            self.content_read = True
            return self.graph.content(self.operator.inputs[position])
        value = self.operator.attribute(attribute) if attribute else None
        return None if value is None else np.asarray(value)

    def axes(self) -> tuple[int, ...]:
        """Axes of a reduction, non-negative; all axes if none are given."""
        rank = len(self.input_shape)
        given = self.constant(1, "axes")
        if given is None:
            return tuple(range(rank))
        return tuple(sorted(int(axis) % rank if rank else 0 for axis in np.ravel(given)))

    def resized(self) -> tuple[int, ...]:
        """Axes whose extent changes between input and output."""
        pairs = zip(self.input_shape, self.output_shape, strict=False)
        return tuple(axis for axis, (before, after) in enumerate(pairs) if before != after)


def sentence(name: str) -> str:
    """The sentence of a predicate without the full stop, its values as ``{names}``."""
    return _SENTENCES[name]


def explain(name: str, view: OperatorView, values: Mapping[str, object]) -> str:
    """The sentence of a predicate, completed with the actual values."""
    return _SENTENCES[name].format(op=view.operator.type, title=view.title, **values)


@_condition
def rank_at_most(view: OperatorView, maximum: int) -> Violation:
    """{op} on {rank}-dimensional data exceeds the {maximum} dimensions that {title} takes."""
    return {"rank": view.rank, "maximum": maximum} if view.rank > maximum else None


@_condition
def rank_is(view: OperatorView, value: int) -> Violation:
    """{op} on {rank}-dimensional data is not {value}-dimensional, as {title} needs it."""
    rank = len(view.input_shape)
    return {"rank": rank, "value": value} if rank != value else None


@_condition
def kernel_at_most(view: OperatorView, maximum: int) -> Violation:
    """{op} kernel {kernel} exceeds {maximum} on {title}."""
    return {"kernel": _times(view.kernel), "maximum": maximum} if max(view.kernel, default=1) > maximum else None


@_condition
def stride_at_most(view: OperatorView, width: int, height: int) -> Violation:
    """{op} stride {stride} exceeds {height} rows or {width} columns on {title}."""
    rows, columns = (1, *view.stride)[-2:] if view.stride else (1, 1)
    if rows <= height and columns <= width:
        return None
    return {"stride": _times(view.stride), "width": width, "height": height}


@_condition
def ceil_mode_off(view: OperatorView) -> Violation:
    """{op} has ceil_mode 1, which {title} does not pool."""
    return {} if view.operator.integer("ceil_mode", 0) else None


@_condition
def padding_not_counted(view: OperatorView) -> Violation:
    """{op} has count_include_pad 1, which {title} does not pool.

    Without padding the attribute means nothing.
    """
    counted = view.operator.integer("count_include_pad", 0) and any(view.operator.integers("pads"))
    return {} if counted else None


@_condition
def dilation_one(view: OperatorView) -> Violation:
    """{op} has dilations {dilations}, where {title} needs 1."""
    dilations = view.operator.integers("dilations")
    return {"dilations": _times(dilations)} if any(d != 1 for d in dilations) else None


@_condition
def spatial_rank(view: OperatorView, minimum: int, maximum: int) -> Violation:
    """{op} slides over {rank} dimensions, where {title} needs {minimum} to {maximum}."""
    rank = len(view.kernel)
    return None if minimum <= rank <= maximum else {"rank": rank, "minimum": minimum, "maximum": maximum}


@_condition
def kernel_one(view: OperatorView) -> Violation:
    """{op} {window} does not have a kernel of 1."""
    return None if all(k == 1 for k in view.kernel) else {"window": view.window}


@_condition
def kernel_above(view: OperatorView, limit: int) -> Violation:
    """{op} {window} does not have a kernel above {limit}."""
    return None if view.kernel and min(view.kernel) > limit else {"window": view.window, "limit": limit}


@_condition
def stride_above(view: OperatorView, limit: int) -> Violation:
    """{op} {window} does not have a stride above {limit}."""
    return None if max(view.stride, default=1) > limit else {"window": view.window, "limit": limit}


@_condition
def kernel_is_stride_power_of_two(view: OperatorView, above: int) -> Violation:
    """{op} {window} is not a power of two above {above} with the same stride."""
    sizes = set(view.kernel) | set(view.stride)
    size = max(sizes, default=0)
    good = len(sizes) == 1 and size > above and size & (size - 1) == 0
    return None if good else {"window": view.window, "above": above}


@_condition
def square_kernel(view: OperatorView, minimum: int, maximum: int) -> Violation:
    """{op} kernel {kernel} is not k x k with {minimum} <= k <= {maximum} on {title}."""
    good = len(set(view.kernel)) == 1 and minimum <= view.kernel[0] <= maximum
    return None if good else {"kernel": _times(view.kernel), "minimum": minimum, "maximum": maximum}


@_condition
def square_stride(view: OperatorView, maximum: int | None) -> Violation:
    """{op} stride {stride} is not s x s{bound} on {title}."""
    good = len(set(view.stride)) <= 1 and (maximum is None or max(view.stride, default=1) <= maximum)
    bound = "" if maximum is None else f" with s <= {maximum}"
    return None if good else {"stride": _times(view.stride), "bound": bound}


@_condition
def square_stride_is(view: OperatorView, value: int) -> Violation:
    """{op} stride {stride} is not {value}x{value}, the only one that {title} takes."""
    return None if set(view.stride) == {value} else {"stride": _times(view.stride), "value": value}


@_condition
def square_stride_within_kernel(view: OperatorView) -> Violation:
    """{op} {window} does not have a stride s x s with s at most k."""
    good = len(set(view.stride)) == 1 and view.stride[0] <= max(view.kernel, default=0)
    return None if good else {"window": view.window}


@_condition
def square_stride_above(view: OperatorView, limit: int) -> Violation:
    """{op} {window} does not have a stride s x s with s above {limit}."""
    good = len(set(view.stride)) == 1 and view.stride[0] > limit
    return None if good else {"window": view.window, "limit": limit}


def _line_window(view: OperatorView, along: int, maximum: int) -> bool:
    """Kernel and stride are 1 across and at most ``maximum`` along one axis (0 rows, 1 columns)."""
    kernel = view.kernel if len(view.kernel) == 2 else (*view.kernel, 1)[:2] if along == 0 else (1, *view.kernel)[:2]
    stride = view.stride if len(view.kernel) == 2 else (*view.stride, 1)[:2] if along == 0 else (1, *view.stride)[:2]
    if len(kernel) != 2 or len(stride) != 2:
        return False
    return kernel[1 - along] == stride[1 - along] == 1 and max(kernel[along], stride[along]) <= maximum


@_condition
def column_window(view: OperatorView, maximum: int) -> Violation:
    """{op} {window} is not k x 1 with k and stride at most {maximum}."""
    return None if _line_window(view, 0, maximum) else {"window": view.window, "maximum": maximum}


@_condition
def row_window(view: OperatorView, maximum: int) -> Violation:
    """{op} {window} is not 1 x k with the same stride and k at most {maximum}."""
    good = _line_window(view, 1, maximum) and view.kernel[-1] == view.stride[-1]
    return None if good else {"window": view.window, "maximum": maximum}


def _shown(bound: np.ndarray[Any, Any] | None) -> str:
    return "unbounded or unknown" if bound is None or bound.size != 1 else f"{bound.item():g}"


@_condition
def clip_from_zero(view: OperatorView) -> Violation:
    """{op} to [{low}, {high}] does not start at 0, as {title} needs it."""
    low, high = view.constant(1, "min"), view.constant(2, "max")
    inputs = view.operator.inputs
    bounded = (len(inputs) > 2 and bool(inputs[2])) or high is not None
    good_low = low is not None and low.size == 1 and low.item() == 0
    good_high = not bounded or (high is not None and high.size == 1 and high.item() >= 0)
    if good_low and good_high:
        return None
    return {"low": _shown(low), "high": _shown(high)}


@_condition
def blocksize_in(view: OperatorView, allowed: Sequence[int]) -> Violation:
    """{op} blocksize {blocksize} is not one of {allowed} on {title}."""
    size = view.operator.integer("blocksize", 0)
    return None if size in allowed else {"blocksize": size, "allowed": ", ".join(map(str, allowed))}


@_condition
def mode_is(view: OperatorView, mode: str) -> Violation:
    """{op} mode {actual} is not {mode}, as {title} needs it."""
    actual = view.operator.attribute("mode", "DCR")
    return None if actual == mode else {"actual": actual, "mode": mode}


@_condition
def channels_are(view: OperatorView, batch: int, before: int, after: int) -> Violation:
    """{op} from {input} to {output} is not from {batch}x{before}xHxW to {batch}x{after}xHxW on {title}."""
    good = view.input_shape[:2] == (batch, before) and view.output_shape[:2] == (batch, after)
    shapes = {"input": _times(view.input_shape), "output": _times(view.output_shape)}
    return None if good else {**shapes, "batch": batch, "before": before, "after": after}


@_condition
def expands_only(view: OperatorView, axes_from_end: Sequence[int]) -> Violation:
    """{op} from {input} to {output} expands an axis that {title} does not expand."""
    before, after = view.input_shape, view.output_shape
    padded = (1,) * (len(after) - len(before)) + before
    changed = {len(after) - axis for axis, (x, y) in enumerate(zip(padded, after, strict=False)) if x != y}
    return None if changed <= set(axes_from_end) else {"input": _times(before), "output": _times(after)}


@_condition
def axis_is(view: OperatorView, value: int) -> Violation:
    """{op} axis {axis} is not {value}, as {title} needs it."""
    axis = view.operator.integer("axis", 1)
    rank = len(view.input_shape)
    return None if (axis + rank if axis < 0 else axis) == value else {"axis": axis, "value": value}


@_condition
def single_index(view: OperatorView) -> Violation:
    """{op} of {count} indices is not of a single constant index, as {title} needs it."""
    name = view.operator.inputs[1] if len(view.operator.inputs) > 1 else ""
    shape = view.graph.shape(name)
    count = int(np.prod(shape, dtype=object)) if shape is not None else 0
    if count == 1 and name and view.graph.is_constant(name):
        return None
    return {"count": count if name and view.graph.is_constant(name) else "computed"}


@_condition
def area_at_most(view: OperatorView, maximum: int) -> Violation:
    """{op} over {area} pixels ({extents}) exceeds {maximum} on {title}."""
    extents = view.input_shape[2:]
    area = int(np.prod(extents, dtype=object)) if extents else 1
    return {"area": area, "extents": _times(extents), "maximum": maximum} if area > maximum else None


@_condition
def rows_above(view: OperatorView, limit: int) -> Violation:
    """{op} over {rows} rows is not over more than {limit}, as {title} needs it."""
    rows = view.input_shape[2] if len(view.input_shape) > 2 else 1
    return None if rows > limit else {"rows": rows, "limit": limit}


@_condition
def matmul_operands(view: OperatorView, minimum: int, maximum: int) -> Violation:
    """{op} of {first} by {kind}{second} is neither by a constant WxV or 1x1xWxV nor of rank {ranks} on {title}."""
    names = view.operator.inputs
    if len(names) < 2:
        return {"first": "?", "kind": "", "second": "?", "ranks": f"{minimum} to {maximum}"}
    first, second = view.graph.shape(names[0]) or (), view.graph.shape(names[1]) or ()
    constant = view.graph.is_constant(names[1])
    if constant and (len(second) == 2 or (len(second) == 4 and second[:2] == (1, 1))):
        return None
    if minimum <= len(first) <= maximum and minimum <= len(second) <= maximum:
        return None
    ranks = str(minimum) if minimum == maximum else f"{minimum} to {maximum}"
    kind = "constant " if constant else ""
    return {"first": _times(first) or "scalar", "kind": kind, "second": _times(second) or "scalar", "ranks": ranks}


def _pads(view: OperatorView) -> list[int] | None:
    """Pads as [begins..., ends...] over all axes; None if they are not known."""
    rank = len(view.input_shape)
    given = view.constant(1, "pads")
    if given is None:
        return None
    pads = [int(v) for v in np.ravel(given)]
    axes = view.constant(3)
    if axes is None:
        return pads if len(pads) == 2 * rank else None
    indices = [int(axis) % rank if rank else 0 for axis in np.ravel(axes)]
    if len(pads) != 2 * len(indices):
        return None
    full = [0] * (2 * rank)
    for position, axis in enumerate(indices):
        full[axis], full[axis + rank] = pads[position], pads[position + len(indices)]
    return full


@_condition
def pad_axes(view: OperatorView, first: int) -> Violation:
    """{op} by {pads} also pads an axis before axis {first}, which {title} does not pad."""
    pads, rank = _pads(view), len(view.input_shape)
    if pads is None:
        return {"pads": "computed amounts", "first": first}
    outer = [pads[axis + side * rank] for axis in range(min(first, rank)) for side in (0, 1)]
    return {"pads": pads, "first": first} if any(outer) else None


@_condition
def pads_below(view: OperatorView, limit: int) -> Violation:
    """{op} by {pads} is not below {limit} on every side, as {title} needs it."""
    pads = _pads(view)
    return None if pads is not None and max(pads, default=0) < limit else {"pads": pads, "limit": limit}


@_condition
def pads_zero(view: OperatorView) -> Violation:
    """{op} in mode {mode} with value {value} is not constant padding with 0, as {title} needs it."""
    mode = view.operator.attribute("mode", "constant")
    value = view.constant(2, "value")
    named = len(view.operator.inputs) > 2 and bool(view.operator.inputs[2])
    known_zero = (value is None and not named) or (value is not None and not np.any(value))
    shown = "computed" if value is None else np.ravel(value).tolist()
    return None if mode == "constant" and known_zero else {"mode": mode, "value": shown}


@_condition
def exponent_is(view: OperatorView, value: int) -> Violation:
    """{op} with exponent {exponent} is not with the constant {value}, as {title} needs it."""
    exponent = view.constant(1)
    if exponent is not None and exponent.size == 1 and exponent.item() == value:
        return None
    shown = "computed at run time" if exponent is None or exponent.size != 1 else f"{exponent.item():g}"
    return {"exponent": shown, "value": value}


@_condition
def keepdims_on(view: OperatorView) -> Violation:
    """{op} has keepdims 0, where {title} needs 1."""
    return None if view.operator.integer("keepdims", 1) else {}


@_condition
def not_over_batch(view: OperatorView) -> Violation:
    """{op} over axes {axes} includes the batch, which {title} does not reduce."""
    return {"axes": list(view.axes())} if 0 in view.axes() else None


@_condition
def over_channels(view: OperatorView) -> Violation:
    """{op} over axes {axes} is not over the channels alone, as {title} needs it."""
    return None if view.axes() == (1,) else {"axes": list(view.axes())}


@_condition
def not_cubic(view: OperatorView) -> Violation:
    """{op} is cubic, which {title} does not resize."""
    return {} if view.operator.attribute("mode", "nearest") == "cubic" else None


@_condition
def extrapolation_zero(view: OperatorView) -> Violation:
    """{op} has extrapolation_value {value}, where {title} needs 0."""
    value = view.operator.attribute("extrapolation_value", 0.0)
    return {"value": value} if value else None


@_condition
def not_crop(view: OperatorView) -> Violation:
    """{op} with tf_crop_and_resize is not available on {title}."""
    return {} if _coordinate_mode(view) == "tf_crop_and_resize" else None


@_condition
def nearest_floor(view: OperatorView) -> Violation:
    """{op} has nearest_mode {mode}, where {title} needs floor."""
    if view.operator.attribute("mode", "nearest") != "nearest" or _integer_nearest(view):
        return None
    mode = view.operator.attribute("nearest_mode", "round_prefer_floor")
    return None if mode == "floor" else {"mode": mode}


def _coordinate_mode(view: OperatorView) -> str:
    return str(view.operator.attribute("coordinate_transformation_mode", "half_pixel"))


def _integer_nearest(view: OperatorView) -> bool:
    """Nearest upsampling by whole factors, where half_pixel with rounding equals asymmetric with floor."""
    if view.operator.attribute("mode", "nearest") != "nearest":
        return False
    pairs = [(view.input_shape[axis], view.output_shape[axis]) for axis in view.resized()]
    whole = all(before and after % before == 0 for before, after in pairs)
    rounding = str(view.operator.attribute("nearest_mode", "round_prefer_floor"))
    return whole and _coordinate_mode(view) in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")


def _phases(view: OperatorView) -> list[tuple[int, float, float]]:
    """(axis, initial phase, step) in input pixels for each resized axis."""
    result = []
    for axis in view.resized():
        before, after = view.input_shape[axis], view.output_shape[axis]
        mode = _coordinate_mode(view)
        if mode == "align_corners":
            result.append((axis, 0.0, (before - 1) / (after - 1) if after > 1 else 0.0))
            continue
        step = before / after if after else 0.0
        half = mode in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and not _integer_nearest(view)
        result.append((axis, (step - 1) / 2 if half else 0.0, step))
    return result


@_condition
def initial_phase_zero(view: OperatorView) -> Violation:
    """{op} with {mode} coordinates starts at phase {phase} in axis {axis}, where {title} needs 0."""
    for axis, phase, _ in _phases(view):
        if phase:
            return {"mode": _coordinate_mode(view), "phase": f"{phase:g}", "axis": axis}
    return None


@_condition
def phase_and_step(view: OperatorView) -> Violation:
    """{op} in axis {axis} starts at phase {phase} with step {step}, where {title} needs at least 0 and at most 1."""
    for axis, phase, step in _phases(view):
        if phase < 0 or step > 1:
            return {"axis": axis, "phase": f"{phase:g}", "step": f"{step:g}"}
    return None


@_condition
def one_direction(view: OperatorView) -> Violation:
    """{op} from {input} to {output} changes rows and columns at once, which {title} does not do."""
    both = len([axis for axis in view.resized() if axis >= 2]) > 1
    return {"input": _times(view.input_shape), "output": _times(view.output_shape)} if both else None


@_condition
def spatial_only(view: OperatorView) -> Violation:
    """{op} from {input} to {output} changes batch or channels, which {title} does not do."""
    outer = any(axis < 2 for axis in view.resized())
    return {"input": _times(view.input_shape), "output": _times(view.output_shape)} if outer else None


@_condition
def upsample_mode(view: OperatorView, allowed: Sequence[str]) -> Violation:
    """{op} mode {mode} is not one of {allowed} on {title}."""
    mode = view.operator.attribute("mode", "nearest")
    return None if mode in allowed else {"mode": mode, "allowed": ", ".join(allowed)}


@_condition
def steps_one(view: OperatorView) -> Violation:
    """{op} with steps {steps} is not with steps of 1, as {title} needs it."""
    inputs = view.operator.inputs
    if len(inputs) < 5 or not inputs[4]:
        return None
    steps = view.constant(4)
    if steps is not None and np.all(steps == 1):
        return None
    return {"steps": "computed at run time" if steps is None else np.ravel(steps).tolist()}


def _permutation(view: OperatorView) -> tuple[int, ...]:
    rank = len(view.input_shape)
    return view.operator.integers("perm") or tuple(reversed(range(rank)))


@_condition
def transpose_adjacent(view: OperatorView) -> Violation:
    """{op} by {permutation} is neither row with column nor channel with row, the only ones that {title} does."""
    permutation = _permutation(view)
    moved = [axis for axis, source in enumerate(permutation) if source != axis]
    # Beyond four dimensions, those at the end that stay are one: a shuffle of channel groups moves channel with row.
    rank = min(len(permutation), max(4, 2 + moved[-1])) if moved else len(permutation)
    from_end = [rank - axis for axis in moved]
    return None if from_end in ([], [2, 1], [3, 2]) else {"permutation": list(permutation)}


@_condition
def batch_stays(view: OperatorView) -> Violation:
    """{op} by {permutation} moves the batch, which {title} does not do."""
    permutation = _permutation(view)
    return None if permutation[:1] == (0,) else {"permutation": list(permutation)}
