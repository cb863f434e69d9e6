"""Nodes and settings outside of what the model was calibrated with."""

from __future__ import annotations

import csv
import importlib.util
import json
from importlib import resources
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from evaluations import make_evaluation, make_node
from graphs import model, weight
from ktc import opt_and_eval
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.hardware.calibrated_range import calibrated_range
from ktc.report import render_html, render_text
from ktc.report._breakdown import outside_by_reason

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def estimate(network, platform="720", **arguments):
    hardware = load_platform(platform)
    return evaluate(lower(network, hardware), hardware, EvaluationSettings(**arguments))


def convolution(kernel=3, stride=1, dilation=1, groups=1, channels=16, batch=1):
    return model(
        f"g (float[{batch},{channels},64,64] x) => (float[A,B,C,D] y) {{ y = Conv <strides = [{stride}, {stride}],"
        f" dilations = [{dilation}, {dilation}], group = {groups}> (x, w) }}",
        w=weight(channels, channels // groups, kernel, kernel),
    )


def reasons(network, platform="720", **arguments):
    return [reason for node in estimate(network, platform, **arguments).nodes for reason in node.outside_calibration]


def test_the_data_file_is_up_to_date():
    spec = importlib.util.spec_from_file_location("calibrated_range_script", BENCHMARKS / "calibrated_range.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    packaged = (resources.files("ktc.hardware") / "data" / "calibrated_range.json").read_text("utf-8")
    assert json.loads(packaged) == json.loads(json.dumps(script.document())), (
        "run python benchmarks/calibrated_range.py --write"
    )


def test_networks_with_a_published_time_are_inside():
    with (BENCHMARKS / "data" / "published_performance.csv").open(newline="") as lines:
        rows = {(row["platform"], row["network"]) for row in csv.DictReader(lines)}
    for platform, network in sorted(rows)[::4]:
        evaluation = estimate(zoo.skeleton(network), platform)
        assert evaluation.share_outside_calibration == 0, network
        assert not evaluation.settings_outside_calibration


@pytest.mark.parametrize("platform", platform_names())
def test_transformers_are_outside_for_the_most_part(platform):
    evaluation = estimate(zoo.skeleton("vit_tiny_224"), platform)
    assert evaluation.share_outside_calibration > 0.3
    found = {reason for node in evaluation.nodes for reason in node.outside_calibration}
    assert found & {"operator KneronScale", "operator Sub", "16 groups", "kernel 16x16"}


@settings(deadline=None)
@given(
    st.sampled_from(platform_names()),
    st.sampled_from([1, 3, 5, 7, 11]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1, 2, 16]),
    st.integers(1, 2),
)
def test_a_convolution_is_outside_for_what_is_not_in_the_range(platform, kernel, stride, dilation, groups, batch):
    seen = calibrated_range(platform).mac["depthwise" if groups == 16 else "conv"]
    expected = {
        f"kernel {kernel}x{kernel}": f"{kernel}x{kernel}" not in seen.kernels,
        f"stride {stride}": stride > seen.max_stride,
        f"dilation {dilation}": dilation > seen.max_dilation,
        f"{groups} groups": groups == 2 and not seen.grouped,
        f"batch {batch}": batch > seen.max_batch,
    }
    found = reasons(convolution(kernel, stride, dilation, groups, batch=batch), platform)
    assert sorted(found) == sorted(reason for reason, outside in expected.items() if outside)


def test_what_else_is_outside():
    deconvolution = model(
        "g (float[1,4,8,8] x) => (float[A,B,C,D] y) { y = ConvTranspose <strides = [2, 2]> (x, w) }",
        w=weight(4, 4, 2, 2),
    )
    assert reasons(deconvolution, "720") == ["operator ConvTranspose"]
    assert reasons(deconvolution, "730") == []
    product = model("g (float[1,4,8,8] x) => (float[A,B,C,D] y) { y = MatMul(x, x) }")
    assert reasons(product, "730") == ["product of two feature maps", "batch 4", "product of 8 rows"]
    assert reasons(model("g (float[1,4] x) => (float[1,4] y) { y = Softmax(x) }"), "730") == ["operator Softmax"]
    wide = model("g (float[1,30000] x) => (float[1,9] y) { y = MatMul(x, w) }", w=weight(30000, 9))
    assert reasons(wide) == ["30000 input channels"]
    assert reasons(convolution(), datapath_bitwidth_mode="int16") == ["16-bit feature maps"]
    assert reasons(convolution(), model_out_bitwidth_mode="int16") == ["16-bit feature maps"]
    assert reasons(convolution(), weight_bitwidth_mode="int16") == ["16-bit weights"]
    assert reasons(convolution(), "730", weight_bitwidth_mode="int4") == ["4-bit weights"]
    assert reasons(model("g (float[1,4] x) => (float[1,4] y) { y = Sin(x) }")) == []  # a CPU node


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dma_bandwidth": 2}, "dma_bandwidth=2"),
        ({"weight_bandwidth": 2.5}, "weight_bandwidth=2.5"),
        ({"compiler_tiling": "deep_search"}, "compiler_tiling=deep_search"),
    ],
)
def test_settings_that_no_published_time_has(arguments, words):
    evaluation = estimate(convolution(), **arguments)
    assert evaluation.settings_outside_calibration == (words,)
    assert f"no published time has {words}" in render_text(evaluation)
    own = load_platform("720").weight_bandwidth
    assert estimate(convolution(), weight_bandwidth=own).settings_outside_calibration == ()
    assert estimate(convolution(), "520", compiler_tiling="deep_search").settings_outside_calibration == ()


@given(st.lists(st.lists(st.sampled_from(["kernel 5x5", "batch 2"]), unique=True), min_size=1, max_size=8))
def test_shares_are_of_the_time_of_the_nodes_outside(flags):
    nodes = [make_node(index, outside_calibration=tuple(some)) for index, some in enumerate(flags)]
    evaluation = make_evaluation(nodes=tuple(nodes))
    outside = sum(node.sync_ms for node, some in zip(nodes, flags, strict=True) if some)
    assert evaluation.share_outside_calibration == pytest.approx(outside / evaluation.time_ms)
    for row in outside_by_reason(evaluation):
        assert row.nodes == sum(row.reason in some for some in flags)
        assert row.share <= evaluation.share_outside_calibration + 1e-9


def test_every_form_of_the_report_shows_it(tmp_path):
    inside = make_evaluation()
    nodes = (make_node(0), make_node(1)._replace(outside_calibration=("kernel 5x5",)))
    outside = make_evaluation(nodes=nodes)
    share = f"{100 * outside.share_outside_calibration:.1f} % of the time is in 1 node outside of what was calibrated"
    assert share in next(line for line in render_text(outside).splitlines() if line.startswith("expected error"))
    page = render_html(outside)
    assert share in page
    assert "Outside of the calibration" in page
    assert "(not calibrated)" in page
    assert "(not calibrated)" not in render_html(inside)
    assert "outside of what was calibrated" not in render_text(inside) + render_html(inside)


def test_the_command_line_stays_as_it_is(tmp_path, capsys):
    onnx.save(convolution(kernel=11), tmp_path / "wide.onnx")
    assert opt_and_eval.main(["720", "-e", str(tmp_path / "wide.onnx"), "-E", str(tmp_path / "r")]) == 0
    assert "0 CPU nodes\n" in capsys.readouterr().out
