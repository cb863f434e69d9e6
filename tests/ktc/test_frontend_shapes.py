"""The direct shape rules against ONNX's own inference."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, shape_inference

from ktc.frontend.graph import read_graph
from ktc.frontend.shapes import output_shape, output_shape_by_content

FLOAT = onnx.TensorProto.FLOAT
EXTENT = st.integers(1, 9)


def both(op, shapes, attributes, contents=(), opset=17):
    """The shape by our rule, and by ONNX; None where there is none.

    Contents are those of further, constant inputs; None for an omitted one.
    """
    names = [f"i{position}" for position in range(len(shapes))]
    constants = [
        helper.make_tensor(
            f"c{i}", FLOAT if any(isinstance(item, float) for item in x) else onnx.TensorProto.INT64, [len(x)], x
        )
        for i, x in enumerate(contents)
        if x is not None
    ]
    given = ["" if x is None else f"c{i}" for i, x in enumerate(contents)]
    node = helper.make_node(op, [*names, *given], ["y"], **attributes)
    inputs = [helper.make_tensor_value_info(*pair) for pair in zip(names, [FLOAT] * len(names), shapes, strict=True)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", FLOAT, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    (operator,) = read_graph(model).operators
    direct = output_shape_by_content(operator, shapes[0], contents) if contents else output_shape(operator, shapes)
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError:
        return direct, None
    result = inferred.graph.output[0].type.tensor_type
    dims = tuple(dim.dim_value for dim in result.shape.dim) if result.HasField("shape") else None
    return direct, dims


@st.composite
def windows(draw, rank):
    lists = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    pads = st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank)
    options = {"strides": lists, "dilations": lists, "pads": pads}
    chosen = {name: draw(strategy) for name, strategy in options.items() if draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        chosen = {"auto_pad": draw(st.sampled_from(["SAME_UPPER", "VALID", "NOTSET"]))}
    return chosen


@st.composite
def operators(draw):
    op = draw(
        st.sampled_from(
            ["Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Transpose", "Gemm", "Add", "MatMul"]
        )
        | st.just("Flatten")
    )
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(EXTENT, min_size=rank, max_size=rank)))
    spatial = tuple(draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)))
    kernel = [draw(st.integers(1, 5)) for _ in spatial]
    if op == "Conv":
        groups, inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
        data = (draw(EXTENT), groups * inner + draw(st.sampled_from([0, 0, 0, 1])), *spatial)
        attributes = draw(windows(len(spatial)))
        return op, [data, (groups * outer, inner, *kernel)], attributes | {"group": groups}
    if op.endswith("Pool"):
        attributes = {} if op.startswith("Global") else draw(windows(len(spatial))) | {"kernel_shape": kernel}
        if op == "AveragePool":
            attributes.pop("dilations", None)
        if "kernel_shape" in attributes and draw(st.booleans()):
            attributes["ceil_mode"] = 1
        return op, [(draw(EXTENT), draw(EXTENT), *spatial)], attributes
    if op == "Concat":
        axis = draw(st.integers(-rank, rank - 1))
        others = [
            (*shape[: axis % rank], draw(EXTENT), *shape[axis % rank + 1 :]) for _ in range(draw(st.integers(0, 3)))
        ]
        return (
            op,
            [shape, *others, *([(*shape, 1)] if draw(st.integers(0, 5)) == 0 else [])],
            {"axis": axis},
        )
    if op == "Transpose":
        permutation = draw(st.none() | st.permutations(range(rank)))
        return op, [shape], {} if permutation is None else {"perm": permutation}
    if op == "Gemm":
        a, b = (draw(st.sampled_from([(2, 3), (3, 2), (3, 3), (4, 3), (3, 4)])) for _ in "ab")
        return op, [a, b], {"transA": draw(st.integers(0, 1)), "transB": draw(st.integers(0, 1))}
    if op == "Flatten":
        return op, [shape], {"axis": draw(st.integers(-rank, rank))}
    if op == "MatMul":
        batches = st.lists(st.integers(1, 2), max_size=3)
        a, b = ((*draw(batches), draw(EXTENT), draw(st.integers(1, 2))) for _ in "ab")
        return op, [a, (*b[:-2], b[-1], b[-2])], {}
    other = tuple(extent if draw(st.booleans()) else 1 for extent in shape[draw(st.integers(0, rank)) :])
    return op, [shape, other] if draw(st.booleans()) else [other, shape], {}


@settings(deadline=None, max_examples=400)
@given(operators())
def test_a_direct_shape_is_that_of_onnx(case):
    ours, onnx_shape = both(*case)
    assert ours is None or ours == onnx_shape


@st.composite
def operators_with_contents(draw):
    shape = tuple(draw(st.lists(EXTENT, min_size=1, max_size=4)))
    bound = st.integers(-12, 12)
    if draw(st.booleans()):
        target = [*draw(st.permutations(shape)), *draw(st.lists(st.just(1), max_size=2))]
        for position in range(len(target)):
            if draw(st.integers(0, 3)) == 0:
                target[position] = draw(st.sampled_from([-1, -1, 0, 2]))
        return "Reshape", [shape], {"allowzero": 1} if draw(st.integers(0, 9)) == 0 else {}, [target]
    axes = draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=3))
    lists = [draw(st.lists(bound, min_size=len(axes), max_size=len(axes))) for _ in "ab"]
    steps = draw(st.lists(st.sampled_from([1, 1, 2, 3, -1]), min_size=len(axes), max_size=len(axes)))
    return "Slice", [shape], {}, [*lists, axes, *([steps] if draw(st.booleans()) else [])]


@st.composite
def resizes(draw):
    shape = tuple(draw(st.lists(EXTENT, min_size=1, max_size=4)))
    length = len(shape) + draw(st.sampled_from([0, 0, 0, 1, -1]))
    opset = draw(st.sampled_from([11, 13, 18, 19]))
    modes = ["half_pixel", "asymmetric", "align_corners", "tf_crop_and_resize"]
    attributes = {"coordinate_transformation_mode": draw(st.sampled_from(modes))}
    if opset >= 18 and draw(st.integers(0, 3)) == 0:
        attributes["keep_aspect_ratio_policy"] = draw(st.sampled_from(["stretch", "not_larger", "not_smaller"]))
    if opset >= 18 and draw(st.integers(0, 3)) == 0:
        attributes["axes"] = list(range(max(1, length)))
    roi = draw(st.sampled_from([None, [0.0] * len(shape) + [0.5] * len(shape)]))
    factors = st.sampled_from([1.0, 2.0, 3.0, 2.0, 0.5, 1.7, 4095.0, 4097.0])
    scales = draw(st.lists(factors, min_size=length, max_size=length))
    if draw(st.booleans()):
        return "Resize", [shape], attributes, [roi, scales], opset
    sizes = draw(st.lists(st.integers(0, 20), min_size=length, max_size=length))
    return "Resize", [shape], attributes, [roi, draw(st.sampled_from([None, None, None, scales])), sizes], opset


@settings(deadline=None, max_examples=400)
@given(resizes())
def test_a_direct_shape_of_a_resize_is_that_of_onnx(case):
    ours, onnx_shape = both(*case)
    assert ours is None or ours == onnx_shape


@settings(deadline=None, max_examples=400)
@given(operators_with_contents())
def test_a_direct_shape_from_contents_is_that_of_onnx(case):
    ours, onnx_shape = both(*case)
    assert ours is None or ours == onnx_shape


def test_the_ordinary_forms_with_contents_are_direct():
    assert both("Reshape", [(2, 3, 4)], {}, [[0, -1]]) == ((2, 12),) * 2
    assert both("Resize", [(1, 3, 4, 5)], {}, [None, [1.0, 1.0, 2.0, 3.0]]) == ((1, 3, 8, 15),) * 2
    assert both("Resize", [(1, 3, 4, 5)], {}, [None, None, [1, 3, 9, 5]]) == ((1, 3, 9, 5),) * 2
    assert both("Slice", [(1, 9, 8)], {}, [[-3, 1], [2**63 - 1, -1], [1, 2], [1, 2]]) == ((1, 3, 3),) * 2


def test_the_ordinary_forms_are_direct():
    assert both("Conv", [(1, 3, 9, 9), (4, 3, 3, 3)], {"pads": [1] * 4, "strides": [2, 2]}) == ((1, 4, 5, 5),) * 2
    assert both("Concat", [(1, 3), (1, 4)], {"axis": 1}) == ((1, 7),) * 2
    assert both("Gemm", [(2, 3), (4, 3)], {"transB": 1}) == ((2, 4),) * 2
    assert both("Add", [(2, 1, 3), (4, 1)], {}) == ((2, 4, 3),) * 2
    assert both("MatMul", [(3, 1, 2, 5), (4, 5, 6)], {}) == ((3, 4, 2, 6),) * 2
    assert both("Flatten", [(2, 3, 4)], {}) == ((2, 12),) * 2


@given(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=5), st.sampled_from([9, 11]), st.data())
def test_squeeze_takes_its_axes_in_any_order(shape, opset, data):
    """Against NumPy, since onnx is wrong below opset 11."""
    ones = [axis for axis, extent in enumerate(shape) if extent == 1]
    axes = data.draw(st.lists(st.sampled_from(ones), min_size=1, unique=True)) if ones else [0]
    given_axes = [axis - len(shape) if opset > 9 and data.draw(st.booleans()) else axis for axis in axes]
    direct, _ = both("Squeeze", [shape], {"axes": given_axes}, opset=opset)
    assert direct == (np.squeeze(np.empty(shape), tuple(axes)).shape if ones else None)
