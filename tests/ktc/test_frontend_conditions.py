"""The conditions of the operator table, note by note: one operator that passes and one that does not."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ktc.frontend import lower
from ktc.frontend.conditions import CONDITIONS
from ktc.hardware import load_platform
from ktc.hardware.operators import decompositions, note_conditions

TABLE = Path(__file__).parent.parent / "data" / "hardware" / "operators.csv"
FLOAT = TensorProto.FLOAT


def reason(op, shape, platform, *extra, opset=13, output=None, **attributes):
    """Why `op` on a feature map of `shape` is a CPU node, or None.

    `extra` are further inputs: a tuple is the shape of a constant without data, an array a constant with
    data, a list the shape of a second feature map, None an omitted input.
    """
    inputs, names, constants = [helper.make_tensor_value_info("x", FLOAT, shape)], ["x"], []
    for position, value in enumerate(extra):
        name = "" if value is None else f"i{position}"
        names.append(name)
        if isinstance(value, tuple):
            constants.append(TensorProto(name=name, dims=value, data_type=FLOAT))
        elif isinstance(value, (np.ndarray, np.generic)):
            constants.append(numpy_helper.from_array(np.asarray(value), name))
        elif isinstance(value, list):
            inputs.append(helper.make_tensor_value_info(name, FLOAT, value))
    node = helper.make_node(op, names, ["y"], "n", **attributes)
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", FLOAT, output)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    nodes = lower(model, load_platform(platform)).nodes
    return next((node.reason for node in nodes if node.type == "CPU"), None)


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


MAP = (1, 8, 16, 16)
FIVE = (1, 8, 4, 16, 16)
BN = [(8,)] * 4
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
LINEAR = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
TWICE, ROWS = f32(1, 1, 2, 2), f32(1, 1, 2, 1)


def pool(kernel, stride, **attributes):
    return {"kernel_shape": kernel, "strides": stride, **attributes}


GOOD = [
    (1, "Add", MAP, "520", [list(MAP)], {}),
    (2, "AveragePool", MAP, "520", [], pool([4, 4], [4, 4])),
    (2, "AveragePool", MAP, "520", [], pool([1, 1], [2, 2])),
    (2, "AveragePool", MAP, "520", [], pool([5, 5], [5, 5])),
    (2, "AveragePool", MAP, "520", [], pool([3, 3], [1, 1], pads=[1, 1, 1, 1], count_include_pad=1)),
    (3, "AveragePool", MAP, "720", [], pool([3, 1], [2, 1])),
    (3, "AveragePool", MAP, "720", [], pool([1, 2], [1, 2])),
    (3, "AveragePool", MAP, "630", [], pool([2, 2], [3, 3])),
    (4, "AveragePool", (1, 8, 16), "730", [], pool([2], [2])),
    (5, "Clip", MAP, "520", [f32(0)[0], f32(6)[0]], {}),
    (5, "Clip", MAP, "730", [f32(0)[0]], {}),
    (6, "Conv", MAP, "520", [(4, 8, 12, 12)], {"strides": [4, 16], "pads": [6, 6, 6, 6]}),
    (7, "Conv", MAP, "720", [(4, 8, 14, 14)], {"strides": [4, 16]}),
    (8, "Conv", MAP, "530", [(4, 8, 16, 16)], {"strides": [16, 16]}),
    (9, "ConvTranspose", MAP, "720", [(8, 4, 2, 2)], {"strides": [2, 2]}),
    (10, "ConvTranspose", MAP, "530", [(8, 4, 3, 3)], {"strides": [3, 3]}),
    (11, "DepthToSpace", (1, 4, 8, 8), "520", [], {"blocksize": 2, "mode": "CRD"}),
    (12, "DepthToSpace", (1, 16, 8, 8), "630", [], {"blocksize": 4}),
    (14, "Exp", MAP, "720", [], {}),
    (15, "Expand", (1, 8, 1, 16), "720", [i64(1, 8, 16, 16)], {}),
    (16, "Expand", (1, 1, 1, 16), "530", [i64(1, 8, 16, 16)], {}),
    (17, "Flatten", MAP, "720", [], {"axis": 1}),
    (18, "Gather", MAP, "520", [i64(3)], {"axis": 1}),
    (19, "GlobalAveragePool", MAP, "520", [], {}),
    (20, "GlobalAveragePool", (1, 8, 128, 128), "720", [], {}),
    (21, "GlobalMaxPool", MAP, "520", [], {}),
    (22, "MatMul", (1, 4, 8), "720", [(8, 3)], {}),
    (22, "MatMul", (1, 1, 4, 8), "720", [(1, 1, 8, 3)], {}),
    (22, "MatMul", (1, 2, 4, 8), "720", [[1, 2, 8, 3]], {}),
    (23, "MatMul", (2, 4, 8), "730", [[2, 8, 3]], {}),
    (24, "MaxPool", MAP, "520", [], pool([5, 5], [1, 1], pads=[2, 2, 2, 2])),
    (24, "MaxPool", MAP, "720", [], pool([3, 3], [2, 2])),
    (25, "MaxPool", MAP, "530", [], pool([1, 3], [1, 3])),
    (26, "Pad", MAP, "520", [i64(0, 0, 1, 1, 0, 0, 1, 31)], {}),
    (27, "Pad", MAP, "730", [i64(0, 3, 1, 1, 0, 0, 1, 1)], {}),
    (29, "Pow", MAP, "720", [f32(2)[0]], {}),
    (30, "ReduceMax", MAP, "520", [], {"axes": [1], "keepdims": 1}),
    (31, "ReduceMean", MAP, "720", [], {"axes": [1, 2], "keepdims": 1}),
    (32, "ReduceSum", MAP, "520", [i64(1)], {"keepdims": 1}),
    (34, "Resize", MAP, "520", [None, TWICE], NEAREST),
    (35, "Resize", MAP, "720", [None, ROWS], LINEAR),
    (35, "Resize", MAP, "720", [None, TWICE], NEAREST),
    (45, "Upsample", MAP, "720", [TWICE], {"opset": 9}),
    (42, "Transpose", (1, 2, 8, 4, 4), "720", [], {"perm": [0, 2, 1, 3, 4]}),
    (36, "Resize", MAP, "630", [None, TWICE], {"mode": "linear"}),
    (37, "Slice", MAP, "720", [i64(0), i64(4), i64(1), i64(1)], {}),
    (38, "Slice", FIVE, "730", [i64(0), i64(4), i64(1)], {}),
    (40, "Softmax", MAP, "530", [], {}),
    (41, "SpaceToDepth", MAP, "530", [], {"blocksize": 4}),
    (42, "Transpose", MAP, "720", [], {"perm": [0, 1, 3, 2]}),
    (42, "Transpose", MAP, "720", [], {"perm": [0, 2, 1, 3]}),
    (43, "Transpose", FIVE, "530", [], {"perm": [0, 2, 1, 3, 4]}),
    (44, "Upsample", MAP, "520", [TWICE], {"opset": 9}),
    (45, "Upsample", MAP, "720", [ROWS], {"opset": 9}),
    (46, "Upsample", MAP, "630", [TWICE], {"opset": 9, "mode": "linear"}),
]

BAD = [
    (1, "BatchNormalization", FIVE, "730", BN, {}, "5-dimensional data exceeds the 4 dimensions"),
    (2, "AveragePool", MAP, "520", [], pool([5, 5], [1, 1]), "kernel 5x5 with stride 1x1 is none of the forms"),
    (2, "AveragePool", MAP, "520", [], pool([3, 1], [1, 1]), "kernel 3x1"),
    (2, "AveragePool", MAP, "520", [], pool([4, 4], [4, 4], ceil_mode=1), "none of the forms"),
    (2, "AveragePool", MAP, "520", [], pool([8, 8], [8, 8], pads=[2, 2, 2, 2], count_include_pad=1), "none"),
    (3, "AveragePool", MAP, "720", [], pool([6, 6], [2, 2]), "kernel 6x6 with stride 2x2"),
    (4, "AveragePool", (1, 8, 16), "730", [], pool([5], [2]), "kernel 5 with stride 2"),
    (5, "Clip", MAP, "520", [f32(-1)[0], f32(1)[0]], {}, r"Clip to \[-1, 1\] does not start at 0"),
    (5, "Clip", MAP, "730", [None, f32(6)[0]], {}, "unbounded or unknown"),
    (6, "Conv", MAP, "520", [(4, 8, 13, 13)], {}, "Conv kernel 13x13 exceeds 12 on KL520"),
    (6, "Conv", MAP, "520", [(4, 8, 3, 3)], {"strides": [5, 1]}, "Conv stride 5x1 exceeds 4 rows or 16 columns"),
    (7, "Conv", MAP, "720", [(4, 8, 3, 3)], {"strides": [1, 17]}, "stride 1x17 exceeds"),
    (8, "Conv", FIVE, "530", [(4, 8, 1, 1, 1)], {}, "5-dimensional"),
    (9, "ConvTranspose", MAP, "720", [(8, 4, 2, 2)], {}, "stride 1x1 is not 2x2"),
    (10, "ConvTranspose", MAP, "530", [(8, 4, 3, 3)], {"strides": [3, 2]}, "stride 3x2 is not s x s"),
    (11, "DepthToSpace", (1, 4, 8, 8), "520", [], {"blocksize": 2}, "mode DCR is not CRD"),
    (11, "DepthToSpace", (1, 8, 8, 8), "720", [], {"blocksize": 2, "mode": "CRD"}, "from 1x8x8x8"),
    (12, "DepthToSpace", (1, 9, 8, 8), "630", [], {"blocksize": 3}, "blocksize 3 is not one of 2, 4"),
    (15, "Expand", (1, 1, 4, 4), "720", [i64(1, 8, 4, 4)], {}, "expands an axis"),
    (16, "Expand", (1, 8, 4, 4), "530", [i64(2, 8, 4, 4)], {}, "expands an axis"),
    (18, "Gather", MAP, "730", [i64(3, 4)], {"axis": 1}, "of 2 indices is not of a single"),
    (19, "GlobalAveragePool", (1, 8, 17, 16), "520", [], {}, r"over 272 pixels \(17x16\) exceeds 256"),
    (20, "GlobalAveragePool", (1, 8, 129, 128), "730", [], {}, "exceeds 16384 on KL730"),
    (21, "GlobalMaxPool", (1, 8, 3, 9), "520", [], {}, "over 3 rows"),
    (22, "MatMul", (2, 4, 8), "720", [(2, 8, 3)], {}, "of 2x4x8 by constant 2x8x3"),
    (23, "MatMul", (4, 8), "730", [[8, 3]], {}, "nor of rank 3 to 5"),
    (24, "MaxPool", MAP, "520", [], pool([2, 2], [3, 3]), "kernel 2x2 with stride 3x3"),
    (24, "MaxPool", MAP, "720", [], pool([1, 3], [1, 1]), "kernel 1x3"),
    (25, "MaxPool", MAP, "530", [], pool([1, 4], [1, 1]), "kernel 1x4"),
    (25, "MaxPool", MAP, "530", [], pool([1, 3], [1, 2]), "kernel 1x3 with stride 1x2"),
    (26, "Pad", MAP, "520", [i64(0, 1, 0, 0, 0, 0, 0, 0)], {}, "before axis 2"),
    (26, "Pad", MAP, "720", [i64(0, 0, 32, 0, 0, 0, 0, 0)], {}, "is not below 32"),
    (26, "Pad", MAP, "720", [i64(0, 0, 1, 0, 0, 0, 0, 0), f32(1)[0]], {}, r"value \[1.0\] is not constant padding"),
    (27, "Pad", MAP, "730", [i64(1, 0, 0, 0, 0, 0, 0, 0)], {}, "before axis 1"),
    (27, "Pad", MAP, "730", [i64(0, 0, 1, 0, 0, 0, 0, 0)], {"mode": "reflect"}, "mode reflect"),
    (29, "Pow", MAP, "730", [f32(3)[0]], {}, "exponent 3 is not with the constant 2"),
    (30, "ReduceMax", MAP, "730", [], {"axes": [1], "keepdims": 0}, "keepdims 0"),
    (31, "ReduceMean", MAP, "530", [], {"axes": [0, 1]}, r"over axes \[0, 1\] includes the batch"),
    (31, "ReduceMean", MAP, "530", [], {}, "includes the batch"),
    (32, "ReduceSum", MAP, "520", [i64(2)], {}, r"over axes \[2\] is not over the channels alone"),
    (34, "Resize", MAP, "520", [None, TWICE], {**NEAREST, "nearest_mode": "ceil"}, "nearest_mode ceil"),
    (34, "Resize", MAP, "520", [None, TWICE], {"mode": "linear"}, "starts at phase -0.25 in axis 2"),
    (35, "Resize", MAP, "720", [None, f32(1, 1, 0.5, 1)], LINEAR, "with step 2"),
    (36, "Resize", MAP, "630", [None, TWICE], {"mode": "cubic"}, "is cubic"),
    (36, "Resize", MAP, "730", [None, TWICE], {"mode": "linear", "extrapolation_value": 1.0}, "extrapolation_value"),
    (37, "Slice", FIVE, "720", [i64(0), i64(4), i64(1)], {}, "5-dimensional"),
    (38, "Slice", MAP, "730", [i64(0), i64(8), i64(2), i64(2)], {}, r"steps \[2\] is not with steps of 1"),
    (39, "Softmax", MAP, "720", [], {}, "would need Div"),
    (41, "SpaceToDepth", (1, 8, 9, 9), "530", [], {"blocksize": 3}, "blocksize 3"),
    (42, "Transpose", MAP, "720", [], {"perm": [0, 2, 3, 1]}, r"by \[0, 2, 3, 1\] is neither"),
    (42, "Transpose", (2, 8, 4, 4), "720", [], {"perm": [1, 0, 2, 3]}, r"by \[1, 0, 2, 3\] is neither"),
    (42, "Transpose", (1, 2, 8, 4, 4), "720", [], {"perm": [0, 3, 2, 1, 4]}, r"by \[0, 3, 2, 1, 4\] is neither"),
    (43, "Transpose", (2, 8, 4, 4), "530", [], {"perm": [1, 0, 2, 3]}, "moves the batch"),
    (44, "Upsample", MAP, "520", [f32(1, 2, 1, 1)], {"opset": 9}, "changes batch or channels"),
    (46, "Upsample", (1, 8, 16), "630", [f32(1, 1, 2)], {"opset": 9}, "3-dimensional data is not 4-dimensional"),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_what_a_note_allows_runs_on_the_npu(case):
    _, op, shape, platform, extra, attributes = case
    assert reason(op, shape, platform, *extra, **attributes) is None


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_what_a_note_forbids_runs_on_the_cpu_and_says_why(case):
    _, op, shape, platform, extra, attributes, words = case
    sentence = reason(op, shape, platform, *extra, **attributes)
    assert sentence is not None
    assert re.search(words, sentence), sentence
    assert f"KL{platform}" in sentence
    assert sentence.endswith(".")
    assert "{" not in sentence


def _pools(note, kernel, stride, *, dilated, ceil_mode, counted):
    """Whether the words of a note on pooling allow a window (tests/data/hardware/operators_notes.md)."""
    (k, k2), (s, s2) = kernel, stride
    plain, power = not ceil_mode, k == k2 == s == s2 and k in (4, 8, 16)
    one = plain and not dilated and k == k2 == 1 and max(stride) > 1
    lines = (k2 == s2 == 1 and k <= 3 and s <= 3) or (k == s == 1 and k2 == s2 <= 3)
    small = k == k2 <= 3 and s == s2 <= 3
    if note in (2, 3, 4):
        whole = plain and not counted and (power or s == s2 > 3)
        one = one and not (note == 4 and counted)
        return whole or one or (not dilated and ((small and s <= k) if note == 2 else (small or lines)))
    whole = plain and ((power and not dilated) or min(kernel) > 3)
    return whole or one or (not dilated and ((small and k >= 2 and s <= k) if note == 24 else (small or lines)))


WINDOWS = st.tuples(st.sampled_from([1, 2, 3, 4, 5, 8]), st.sampled_from([1, 2, 3, 4, 5, 8]))
WINDOWS |= st.sampled_from([1, 2, 3, 4, 5, 8]).map(lambda k: (k, k))


@pytest.mark.parametrize(
    ("note", "op", "platform"),
    [
        (2, "AveragePool", "520"),
        (3, "AveragePool", "630"),
        (4, "AveragePool", "730"),
        (24, "MaxPool", "720"),
        (25, "MaxPool", "530"),
    ],
)
@settings(max_examples=80, deadline=None)
@given(WINDOWS, WINDOWS, st.booleans(), st.booleans(), st.booleans(), st.booleans())
@example((1, 2), (1, 2), False, False, False, False)
@example((1, 3), (1, 1), False, False, False, False)
def test_pooling_follows_the_words_of_its_note(note, op, platform, kernel, stride, dilated, ceil_mode, padded, counted):
    assume(kernel != (1, 1) or stride != (1, 1))  # that is no work at all
    attributes = pool(list(kernel), list(stride), ceil_mode=int(ceil_mode))
    if padded and min(kernel) > 1:
        attributes["pads"] = [1, 1, 1, 1]
    dilated, counted = dilated and op == "MaxPool", counted and op == "AveragePool"
    if dilated:
        attributes["dilations"] = [2, 2]
    if counted:
        attributes["count_include_pad"] = 1
    window = {"dilated": dilated, "ceil_mode": ceil_mode, "counted": counted and "pads" in attributes}
    assert (reason(op, MAP, platform, **attributes) is None) == _pools(note, kernel, stride, **window)


def _sentences_on_the_page(note):
    """What docs/operators.md says under a condition, as patterns: values of the node stand in italics there."""
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")
    section = page.partition(f'### <a id="{note}"></a>')[2].partition("\n### ")[0]
    written = re.findall(r"^- (.*?)(?: The forms, each with what rules it out:)?$", section, re.MULTILINE)
    return [re.sub(r"\\\*\w+\\\*", ".*", re.escape(line)) for line in written]


@pytest.mark.parametrize("case", [c for c in BAD if c[0] != 39], ids=lambda c: f"{c[0]}-{c[1]}-{c[3]}")
def test_the_page_of_operators_has_the_very_sentence(case):
    note, op, shape, platform, extra, attributes, _ = case
    sentence = reason(op, shape, platform, *extra, **attributes)
    assert any(re.fullmatch(pattern, sentence) for pattern in _sentences_on_the_page(note)), sentence


def test_every_note_is_tried():
    tried = {case[0] for case in (*GOOD, *BAD)}
    assert tried == set(note_conditions())


def test_the_notes_tried_belong_to_the_operator_and_platform():
    with TABLE.open(newline="") as lines:
        table = {row["operator"]: row for row in csv.DictReader(lines)}
    for note, op, _, platform, *_ in (*GOOD, *BAD):
        assert table[op][platform].endswith(f":{note}")


def test_every_predicate_is_used_and_every_used_one_exists():
    used = set()
    for note in note_conditions().values():
        for form in (note.get("all", []), *note.get("any", [])):
            used.update(name for name, _ in form)
    assert used == set(CONDITIONS)


UNARY = ["Abs", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Neg", "Reciprocal", "Relu"]
UNARY += ["Sigmoid", "Sign", "Sqrt", "Tanh", "Acos", "Ceil", "Celu", "Cos", "Floor", "Mish", "Round", "Selu"]
UNARY += ["Sin", "Softplus", "Softsign", "Tan", "ThresholdedRelu", "Det", "IsNaN", "LRN", "LpNormalization"]


@pytest.mark.parametrize("platform", ["520", "720", "530", "630", "730"])
@pytest.mark.parametrize("op", UNARY)
def test_unary_operators_follow_the_table_row_by_row(op, platform):
    with TABLE.open(newline="") as lines:
        table = {row["operator"]: row for row in csv.DictReader(lines)}
    recipe = decompositions().get(op, {"steps": ()})["steps"]
    composed = bool(recipe) and all(table[step][platform].startswith("Y") for step in recipe)
    extra = {"size": 3} if op == "LRN" else {}
    sentence = reason(op, MAP, platform, opset=18, output=MAP if op != "Det" else None, **extra)
    assert (sentence is None) == (table[op][platform].startswith("Y") or composed)
