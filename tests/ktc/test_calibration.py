"""The model that the fit uses is the evaluator's, and the fit recovers what it is given."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import re
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from zoo import skeleton

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ("mobilenet_v2_224", "tiny_yolov3_416", "srcnn_384")


@pytest.fixture(scope="module")
def benchmark_modules():
    def load(name):
        sys.path.insert(0, str(BENCHMARKS))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(str(BENCHMARKS))

    return load


@pytest.fixture(scope="module")
def vectorised(benchmark_modules):
    return benchmark_modules("vectorised")


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", platform_names())
def test_the_vectorised_model_is_the_evaluators(vectorised, name, resident):
    platform = dataclasses.replace(load_platform(name), resident_maps=resident)
    programs = [lower(skeleton(network), platform) for network in SMALL]
    assert vectorised.largest_difference(platform, programs) < 1e-9


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.2, 5), figure=st.sampled_from(["conv_macs_per_cycle", "layout_passes", "read_bandwidth"]))
def test_candidates_are_platforms_with_other_figures(vectorised, factor, figure):
    platform = load_platform("630")
    programs = [lower(skeleton(network), platform) for network in SMALL]
    value = getattr(platform, figure) * factor
    other = dataclasses.replace(platform, **{figure: value})
    values = np.array([getattr(platform, figure), value])
    fast, _ = vectorised.Times(platform, programs)({figure: values})
    for row, view in zip(fast, (platform, other), strict=True):
        slow = [evaluate(program, view, EvaluationSettings()).time_ms for program in programs]
        assert row == pytest.approx(slow, rel=1e-9)


def test_bandwidths_of_a_program_are_those_of_an_argument(vectorised):
    platform = load_platform("520")
    programs = [lower(skeleton(network), platform) for network in SMALL]
    fast, _ = vectorised.Times(platform, programs, [None, 1.0, 2.0])({})
    chosen = [EvaluationSettings(dma_bandwidth=rate, weight_bandwidth=rate) for rate in (None, 1.0, 2.0)]
    slow = [evaluate(each, platform, some).time_ms for each, some in zip(programs, chosen, strict=True)]
    assert fast[0] == pytest.approx(slow, rel=1e-9)


@pytest.fixture(scope="module", params=platform_names())
def accuracy(request, benchmark_modules):
    script = benchmark_modules("fps_accuracy")
    rows = script.measure(request.param, script.DEFAULT_NETWORKS)
    return script, rows, [rows[i] for i in script.judged(request.param, [row.published for row in rows])]


def test_published_times_are_met_and_networks_are_in_the_published_order(accuracy):
    script, rows, counted = accuracy
    assert len(rows) >= 10
    assert len(counted) >= 8
    errors = [abs(row.error) for row in counted]
    assert statistics.median(errors) <= 0.05
    assert max(errors) <= 0.15
    order = scipy.stats.kendalltau(
        [row.published.time_ms for row in counted], [row.evaluation.time_ms for row in counted]
    )
    assert order.statistic >= 0.95
    assert statistics.median(map(abs, script.macs_only(counted))) > 3 * statistics.median(errors)


def test_the_page_shows_these_errors(accuracy):
    _, rows, counted = accuracy
    platform = load_platform(rows[0].evaluation.platform)
    page = (BENCHMARKS.parent / "docs" / "hardware_model.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {platform.title} |")]
    shown = [float(number) for number in re.findall(r"[\d.]+", line.partition(" | ")[2])]
    errors = [100 * abs(row.error) for row in counted]
    fitted = [statistics.median(errors), max(errors)]
    left_out = [platform.expected_error_percent, platform.expected_error_worst_percent]
    assert shown[:4] == pytest.approx([*fitted, *left_out], abs=0.051)


def test_items_of_published_reports_are_met(accuracy):
    """Theoretical, running and idle time of the MAC array, traffic and weights: of four reports, on KL520 and KL530."""
    script, rows, _ = accuracy
    items = [item for row in rows for item in script.itemised(row)]
    assert len(items) == {"520": 13, "530": 3}.get(rows[0].evaluation.platform, 0)
    for name, published, estimate in items:
        assert estimate == pytest.approx(published, rel=0.15), name


def test_the_expected_error_is_that_of_left_out_networks(benchmark_modules):
    """Of the platform with the fewest structures: the others take the calibration itself."""
    script = benchmark_modules("calibrate")
    calibration = script.calibrate(["520"])["520"]
    errors = [100 * abs(calibration.left_out[index]) for index in calibration.judged]
    platform = load_platform("520")
    assert statistics.median(errors) == pytest.approx(platform.expected_error_percent, abs=0.5)
    assert max(errors) == pytest.approx(platform.expected_error_worst_percent, abs=1.0)
    assert statistics.median(errors) <= 10
    assert max(errors) <= 30
    for figure, value in calibration.fit.figures.items():
        assert value == pytest.approx(getattr(platform, figure), rel=0.01), figure


def test_every_published_network_is_in_the_zoo():
    with (BENCHMARKS / "data" / "published_performance.csv").open(newline="", encoding="utf-8") as lines:
        networks = {row["network"] for row in csv.DictReader(lines)}
    assert all(skeleton(network).graph.node for network in networks)
