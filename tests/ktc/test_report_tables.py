"""CSV, IO description, and the sums behind the tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluations import for_any_evaluation, make_cpu_node, make_evaluation, make_node
from ktc.evaluator.evaluation import Bound, IoTensor
from ktc.report import render_csv, render_ioinfo, render_ioinfo_csv
from ktc.report._breakdown import BOUND_MEANINGS, costliest, mac_use, time_by_bound, time_range
from ktc.report._columns import ALL_COLUMNS
from ktc.report._format import digits, single_line


@for_any_evaluation
def test_csv_has_one_line_a_node_and_the_same_cells_as_the_columns(evaluation):
    text = render_csv(evaluation)
    assert len(text.splitlines()) == len(evaluation.nodes) + 1
    rows = list(csv.DictReader(io.StringIO(text)))
    for row, node in zip(rows, evaluation.nodes, strict=True):
        for column in ALL_COLUMNS:
            assert row[column.name].removeprefix("'") == column.plain(node).removeprefix("'")


@for_any_evaluation
def test_no_text_cell_of_the_csv_is_a_formula(evaluation):
    for row in csv.reader(io.StringIO(render_csv(evaluation))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)


def test_csv_lines_add_up_to_the_total_time():
    evaluation = make_evaluation(20)
    rows = csv.DictReader(io.StringIO(render_csv(evaluation)))
    total = sum(float(row["SYNC_runtime(ms)"]) for row in rows)
    assert total == pytest.approx(evaluation.time_ms, abs=20 * 1e-6)


@for_any_evaluation
def test_ioinfo_lists_every_tensor_once_in_order(evaluation):
    document = json.loads(json.dumps(render_ioinfo(evaluation)))
    for kind, tensors in document.items():
        assert [tensor["index"] for tensor in tensors] == list(range(len(tensors)))
        wanted = [tensor for tensor in evaluation.io if tensor.kind == kind]
        assert [tensor["name"] for tensor in tensors] == [tensor.name for tensor in wanted]
        assert [tuple(tensor["shape"]) for tensor in tensors] == [tensor.shape for tensor in wanted]
    assert sum(map(len, document.values())) == len(evaluation.io)


def test_ioinfo_knows_every_kind_of_tensor():
    assert tuple(render_ioinfo(make_evaluation())) == get_args(get_type_hints(IoTensor)["kind"])


def test_ioinfo_csv_is_letter_index_name_channel_height_width():
    io_tensors = (
        IoTensor("input", "image", (1, 3, 288, 416), 8, "4W4C8B"),
        IoTensor("output", "low", (1, 255, 13, 13), 8, "16W1C8B"),
        IoTensor("cpu", "up", (1, 256, 26, 26), 8, "16W1C8B"),
        IoTensor("output", "scores", (1, 1000), 8, "16W1C8B"),
    )
    assert render_ioinfo_csv(make_evaluation(io=io_tensors)).splitlines() == [
        "i,0,image,3,288,416",
        "c,0,up,256,26,26",
        "o,0,low,255,13,13",
        "o,1,scores,1000,1,1",
    ]


@given(st.lists(st.integers(1, 50), max_size=6).map(tuple))
def test_ioinfo_csv_keeps_the_number_of_elements_of_one_image(shape):
    row = next(csv.reader([render_ioinfo_csv(make_evaluation(io=(IoTensor("input", "x", shape, 8, "f"),)))]))
    channel, height, width = map(int, row[3:])
    elements = 1
    for size in shape[1:] if len(shape) > 1 else shape:
        elements *= size
    assert channel * height * width == elements


@for_any_evaluation
def test_time_by_bound_adds_up(evaluation):
    parts = time_by_bound(evaluation)
    assert sum(part.time_ms for part in parts) == pytest.approx(evaluation.time_ms)
    assert sum(part.nodes for part in parts) == len(evaluation.nodes)
    assert sum(part.share for part in parts) == pytest.approx(1 if evaluation.time_ms else 0)


@for_any_evaluation
def test_costliest_nodes_are_the_slowest_ones(evaluation):
    chosen = costliest(evaluation, 2)
    times = [evaluation.nodes[index].sync_ms for index in chosen]
    assert times == sorted((node.sync_ms for node in evaluation.nodes if node.sync_ms), reverse=True)[:2]


def test_every_bound_has_a_meaning():
    assert tuple(BOUND_MEANINGS) == get_args(Bound)


def test_mac_use_is_one_when_the_array_never_waits():
    evaluation = make_evaluation(frequency_mhz=500.0, macs_per_cycle=100.0)
    assert mac_use(make_node(macs=50_000_000, sync_ms=1.0), evaluation) == pytest.approx(1.0)
    assert mac_use(make_cpu_node(), evaluation) is None


@pytest.mark.parametrize(("error", "low", "high"), [(10.0, 0.9, 1.1), (250.0, 0.0, 3.5)])
def test_time_range_surrounds_the_estimate_and_is_never_negative(error, low, high):
    evaluation = make_evaluation(nodes=(make_node(sync_ms=1.0),), expected_error_percent=error)
    assert time_range(evaluation) == pytest.approx((low, high))


@given(st.floats(1e-9, 1e15))
def test_digits_never_uses_an_exponent_and_keeps_the_value(value):
    text = digits(value)
    assert set(text) <= set("0123456789.")
    assert float(text) == pytest.approx(value, rel=1e-5)


@given(st.text())
def test_single_line_text_is_one_line_and_stays_so(text):
    shown = single_line(text)
    assert len(shown.splitlines()) <= 1
    assert single_line(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x"])
def test_a_spreadsheet_runs_no_name_of_the_ioinfo_table(name):
    evaluation = make_evaluation()
    tensors = tuple(dataclasses.replace(tensor, name=name) for tensor in evaluation.io)
    rows = list(csv.reader(render_ioinfo_csv(dataclasses.replace(evaluation, io=tensors)).splitlines()))
    assert [row[2] for row in rows] == [f"'{name}"] * len(tensors)
