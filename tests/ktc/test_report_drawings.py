"""What the drawings of the HTML report show: schedule, roofline, on-chip memory, and the terms of the sliders."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from evaluations import HOSTILE, for_any_evaluation, make_evaluation, make_node
from ktc.evaluator import Evaluation, EvaluationSettings, evaluate, other_widths
from ktc.frontend import lower
from ktc.hardware import load_platform
from ktc.hardware.user_config import configured_platform
from ktc.report import render_html
from ktc.report._html import _segments
from ktc.report._memory import _byte_ticks, _node_ticks, memory
from ktc.report._roofline import roofline
from ktc.report._svg import area, bars
from ktc.report._timeline import activities, timeline
from ktc.report._what_if import what_if

PLATFORMS = ("520", "720", "530", "630", "730")
NETWORKS = ("mobilenet_v2_224", "bert_mini_128", "fsrcnn_x2_360x640", "shufflenet_v2_x1_224")
CASES = [(network, platform) for network in NETWORKS for platform in PLATFORMS]


@functools.cache
def program(network: str, platform: str):
    return lower(zoo.skeleton(network), load_platform(platform))


@functools.cache
def evaluated(network: str, platform: str) -> Evaluation:
    return evaluate(program(network, platform), load_platform(platform), EvaluationSettings())


def check_timeline(evaluation: Evaluation) -> None:
    drawn = timeline(evaluation)
    total = evaluation.time_ms
    slack = 1e-9 * total
    edges = [0.0, *(step.end_ms for step in drawn.steps)]
    assert [step.start_ms for step in drawn.steps] == edges[:-1]
    assert edges[-1] == pytest.approx(total)
    for lane in drawn.lanes:
        for before, after in itertools.pairwise(lane.bars):
            assert before.end_ms <= after.start_ms + slack
        assert all(0 <= bar.start_ms <= bar.end_ms and 0 < bar.fill <= 1 for bar in lane.bars)
        assert lane.bars[-1].end_ms <= total + slack
        area = sum((bar.end_ms - bar.start_ms) * bar.fill for bar in lane.bars)
        assert area == pytest.approx(lane.busy_ms, abs=2 * slack)


@for_any_evaluation
def test_bars_of_a_lane_do_not_overlap_and_steps_end_at_the_total(evaluation):
    check_timeline(evaluation)


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_lanes_are_busy_for_as_long_as_the_parts_of_the_nodes(network, platform):
    evaluation = evaluated(network, platform)
    check_timeline(evaluation)
    busy = {lane.name: lane.busy_ms for lane in timeline(evaluation).lanes}
    fields = {"compute": "mac_ms", "weights": "weight_ms", "read": "read_ms", "write": "write_ms"}
    for lane in ("compute", "weights", "read", "write", "auxiliary", "layout"):
        whole = sum(getattr(node, fields.get(lane, f"{lane}_ms")) for node in evaluation.nodes)
        assert busy.get(lane, 0) == pytest.approx(whole, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_a_node_is_busy_from_its_start_to_its_fixed_cost(network, platform):
    """No time of a node but the command's is left without an activity: the lanes explain its whole time."""
    evaluation = evaluated(network, platform)
    for node in evaluation.nodes:
        spans = sorted((first, last) for _, first, last in activities(node, evaluation))
        reached = 0.0
        for first, last in spans:
            assert first <= reached + 1e-9
            reached = max(reached, last)
        assert reached == pytest.approx(node.sync_ms - node.overhead_ms, abs=1e-9)


@given(
    exposed=st.floats(0, 1),
    parts=st.lists(st.floats(0, 5).map(lambda x: x if x > 1e-9 else 0.0), min_size=4, max_size=4),
)
@settings(deadline=None)
def test_exposed_share_of_the_weights_lies_beside_no_computing(exposed, parts):
    compute, weights, read, write = parts
    transfer = weights + read + write
    alone = exposed * min(compute, weights)
    node = make_node(
        mac_ms=compute,
        weight_ms=weights,
        read_ms=read,
        write_ms=write,
        sync_ms=max(compute, transfer) + alone,
        auxiliary_ms=0.0,
        layout_ms=0.0,
        overhead_ms=0.0,
    )
    spans = {lane: (a, b) for lane, a, b in activities(node, make_evaluation(exposed_share=exposed))}
    for lane, length in zip(("compute", "weights", "read", "write"), parts, strict=True):
        first, last = spans.get(lane, (0.0, 0.0))
        assert last - first == pytest.approx(length, abs=1e-9)
    first, last = spans.get("compute", (0.0, 0.0))
    moved = [spans[lane] for lane in ("weights", "read", "write") if lane in spans]
    together = sum(max(0.0, min(last, b) - max(first, a)) for a, b in moved)
    assert together == pytest.approx(min(compute, transfer) - alone, abs=1e-6)


@pytest.mark.parametrize("count", [1, 30, 3000])
def test_a_schedule_has_few_steps_however_many_nodes(count):
    drawn = timeline(make_evaluation(count))
    assert sum(len(step.nodes) for step in drawn.steps) == count
    assert len(drawn.steps) <= 601
    paths = [bars(lane.bars, drawn.total_ms) for lane in drawn.lanes]
    assert sum(map(len, paths)) < 120_000
    for path in paths:
        assert all(0 <= float(x) <= 1000.01 for x in re.findall(r"M([\d.]+) 10", path))


@for_any_evaluation
def test_bar_of_what_bounds_the_time_sums_to_the_total(evaluation):
    segments = _segments(evaluation)
    assert sum(segment.width for segment in segments) == pytest.approx(1000 if evaluation.time_ms else 0)
    for before, after in itertools.pairwise(segments):
        assert after.left == pytest.approx(before.left + before.width)


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_memory_holds_no_more_than_its_capacity_and_never_less_than_nothing(network, platform):
    evaluation = evaluated(network, platform)
    held = memory(evaluation)
    assert held is not None
    for kept, spilled, node in zip(held.kept, held.spilled, evaluation.nodes, strict=True):
        assert 0 <= spilled <= node.live_bytes
        assert 0 <= kept <= evaluation.feature_memory_bytes
        # a node that works in place has one of the two maps at a time
        assert node.type == "CPU" or node.live_bytes >= max(node.read_bytes, node.write_bytes) * (1 - 1e-6) - 8
    assert sum(span for _, span, _ in held.labels) == len(evaluation.nodes)


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_memory_has_axes(network, platform):
    evaluation = evaluated(network, platform)
    held = memory(evaluation)
    assert held is not None
    units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    assert held.y_ticks[0] == (0, "0")
    for at, label in held.y_ticks[1:]:
        value, unit = label.split()
        assert float(value) * units[unit] == pytest.approx(at * held.highest)
    for at, label in held.x_ticks:
        assert int(label) - 1 < at * len(evaluation.nodes) < int(label)
    page = render_html(evaluation)
    assert all(f'data-label="{label}"' in page for _, label in (*held.x_ticks, *held.y_ticks))


@given(st.integers(1, 10**5), st.integers(1, 10**15))
@settings(deadline=None)
def test_axes_of_memory_have_few_ticks_that_stay_in_the_drawing(count, highest):
    nodes, sizes = _node_ticks(count), _byte_ticks(1.05 * highest)
    for ticks in (nodes, sizes):
        assert 1 <= len(ticks) <= 7
        assert all(0 <= at <= 1 for at, _ in ticks)
        assert [at for at, _ in ticks] == sorted({at for at, _ in ticks})
        assert len({label for _, label in ticks}) == len(ticks)
    assert len(sizes) >= 2
    assert nodes[0][1] == "1"


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
@settings(deadline=None)
def test_area_of_a_step_line_has_the_heights_of_the_values(values):
    highest = max(1, *values)
    numbers = re.findall(r"([MLHV])(\d+)(?: ([\d.]+))?(?:\.(\d+))?", area([0] * len(values), values, highest))
    assert all(0 <= float(first) <= max(100, len(values)) for _, first, _, _ in numbers)
    assert re.fullmatch(r"M0 100H\d+L\d+ [\d.]+(V[\d.]+|H\d+)*z", area([0] * len(values), values, highest))
    heights = {float(x) for x in re.findall(r"(?:V|L\d+ )([\d.]+)", area([0] * len(values), values, highest))}
    assert heights == {round(100 - 100 * value / highest, 2) for value in values}


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_no_node_is_above_the_roof(network, platform):
    drawn = roofline(evaluated(network, platform))
    assert drawn is not None
    x1, y1, x2, y2 = drawn.slope
    for point in drawn.points:
        assert 0 <= point.x <= 1
        assert 0 <= point.y <= 1
        assert point.y <= y1 + (point.x - x1) * (y2 - y1) / (x2 - x1) + 1e-9 or point.x > drawn.width
        assert point.y <= drawn.flat[1] + 1e-9
    with_macs = sum(bool(node.macs and node.sync_ms) for node in evaluated(network, platform).nodes)
    assert sum(len(point.nodes) for point in drawn.points) == with_macs


@for_any_evaluation
def test_any_roofline_stays_inside(evaluation):
    drawn = roofline(evaluation)
    for point in drawn.points if drawn else ():
        assert 0 <= point.x <= 1
        assert 0 <= point.y <= 1
    for ticks in (drawn.x_ticks, drawn.y_ticks) if drawn else ():
        assert 1 <= len(ticks) < 20
        assert all(0 <= at <= 1 for at, _ in ticks)


def inference_ms(terms, **changes: float | str) -> float:
    """The formula of ``inferenceMs`` in report.js."""
    choice = terms["now"] | changes
    path, load = terms["datapath"][choice["datapath"]], terms["weights"][choice["weights"]]
    total = path["fixed"]
    for i, cycles in enumerate(terms["cycles"]):
        compute = cycles * path["factor"][i] * load["factor"][i] / choice["clock"] / 1e3
        weights = load["bytes"][i] * path["loads"][i] / choice["weight"] / 1e6
        maps = path["read"][i] / choice["read"] / 1e6 + path["write"][i] / choice["write"] / 1e6
        total += max(compute, weights + maps) + terms["exposed"] * min(compute, weights)
    return total


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_terms_give_the_time_of_every_pair_of_widths_and_of_other_rates(network, platform):
    chip = load_platform(platform)
    now = EvaluationSettings()
    lowered = program(network, platform)
    terms = what_if(evaluated(network, platform), other_widths(lowered, chip, now))
    assert terms is not None
    assert set(terms["datapath"]) == set(chip.datapath_modes)
    assert set(terms["weights"]) == set(chip.weight_modes)
    for datapath in chip.datapath_modes:
        for weights in chip.weight_modes:
            changed = dataclasses.replace(
                now,
                datapath_bitwidth_mode=datapath,
                weight_bitwidth_mode=weights,
                weight_bandwidth=1.7,
                dma_bandwidth=5.3,
            )
            expected = evaluate(lowered, chip, changed).time_ms
            rates = {"weight": 1.7, "read": 5.3, "write": 5.3}
            assert inference_ms(terms, datapath=datapath, weights=weights, **rates) == pytest.approx(expected, rel=1e-5)
    faster = configured_platform(platform, {"frequency_mhz": 3 * chip.frequency_mhz})
    expected = evaluate(lowered, faster, now).time_ms
    assert inference_ms(terms, clock=3 * chip.frequency_mhz) == pytest.approx(expected, rel=1e-5)


def test_deep_search_offers_no_other_widths_and_says_so():
    settings = EvaluationSettings(compiler_tiling="deep_search")
    chip = load_platform("720")
    lowered = program("fsrcnn_x2_360x640", "720")
    assert other_widths(lowered, chip, settings) == ()
    evaluation = evaluate(lowered, chip, settings)
    terms = what_if(evaluation)
    assert terms is not None
    assert inference_ms(terms) == pytest.approx(evaluation.time_ms, rel=1e-5)
    slower = dataclasses.replace(settings, dma_bandwidth=0.7)
    bound = inference_ms(terms, read=0.7, write=0.7)
    assert evaluate(lowered, chip, slower).time_ms <= bound * (1 + 1e-5)
    assert "a search with these settings may find faster ones" in render_html(evaluation)


@for_any_evaluation
def test_terms_in_the_page_are_json_without_markup(evaluation):
    found = re.findall(r'<script type="application/json" id="terms">(.*?)</script>', render_html(evaluation))
    assert len(found) == (evaluation.time_ms > 0)
    for text in found:
        assert not re.search("[<>&]", text)
        now = json.loads(text)["now"]
        assert math.isclose(now["weight"], evaluation.weight_bandwidth)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mode_cannot_end_the_embedded_json(name):
    settings = EvaluationSettings(datapath_bitwidth_mode=name)
    source = render_html(make_evaluation(settings=settings))
    (text,) = re.findall(r'<script type="application/json" id="terms">(.*?)</script>', source)
    assert json.loads(text)["now"]["datapath"] == name
    assert source.count("</script>") == 2


def test_300_nodes_with_all_widths_stay_below_500_kilobytes():
    modes = ("int16", "mix light", "mix balance")
    others = [
        make_evaluation(300, settings=EvaluationSettings(**{argument: mode}))
        for argument in ("datapath_bitwidth_mode", "weight_bitwidth_mode")
        for mode in modes
    ]
    assert len(render_html(make_evaluation(300), alternatives=others).encode()) < 500_000


def test_a_network_of_more_than_a_thousand_nodes_stays_below_two_megabytes():
    evaluation = evaluated("lite_hrnet30_256x192", "720")
    assert len(evaluation.nodes) > 1000
    others = other_widths(program("lite_hrnet30_256x192", "720"), load_platform("720"), EvaluationSettings())
    assert len(render_html(evaluation, alternatives=others).encode()) < 2_000_000
