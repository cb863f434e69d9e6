"""The HTML report in a browser: sorting, filtering, sliders, drawings. One Chromium serves all tests."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import shutil
from typing import TYPE_CHECKING

import pytest

import zoo
from evaluations import HOSTILE, make_cpu_node, make_evaluation, make_node
from ktc.evaluator import EvaluationSettings, evaluate, other_widths
from ktc.frontend import lower
from ktc.hardware import load_platform
from ktc.hardware.user_config import configured_platform
from ktc.report import render_html
from ktc.report._columns import ALL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
CASES = (("mobilenet_v2_224", "720"), ("yolov5s_640", "520"), ("vit_tiny_224", "730"))


@functools.cache
def lowered(network: str, platform: str):
    return lower(zoo.skeleton(network), load_platform(platform))


@functools.cache
def report(network: str, platform: str) -> str:
    program, chip, settings = lowered(network, platform), load_platform(platform), EvaluationSettings()
    return render_html(evaluate(program, chip, settings), alternatives=other_widths(program, chip, settings))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install ktc[dev]")
    with playwright.sync_playwright() as engine:
        # Chromium refuses its sandbox to root, which is what containers run as.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        instance = engine.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield instance
        instance.close()


@pytest.fixture
def show(browser, tmp_path):
    """A function that opens a page; the page must not complain about anything until the end of the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_page(source: str) -> Page:
        path = tmp_path / "report.html"
        path.write_text(source, encoding="utf-8")
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: request.url.startswith("file:") or complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert complaints == []


def column(page: Page, name: str, *, shown: bool = False) -> list[str]:
    """Texts of one column of the node table, in the order of the page."""
    index = [c.name for c in ALL_COLUMNS if c.name != "reason"].index(name)
    rows = "#node-table tbody tr" + (":not([hidden])" if shown else "")
    return page.eval_on_selector_all(rows, f"rows => rows.map((row) => row.cells[{index}].textContent)")


def sort(page: Page, name: str) -> str | None:
    header = page.locator(f'#node-table thead th:has(button:text-is("{name}"))')
    header.locator("button").click()
    return header.get_attribute("aria-sort")


def numbers(texts: list[str]) -> list[float]:
    return [math.nan if text == "N/A" else float(text.replace(",", "")) for text in texts]


SORT_ALL = """() => {
  const table = document.getElementById("node-table");
  const texts = (index) => Array.from(table.tBodies[0].rows, (row) => row.cells[index].textContent);
  const collate = (a, b) => a.localeCompare(b, undefined, { numeric: true });
  return Array.from(table.tHead.rows[0].cells, (header, index) => {
    const steps = [0, 1, 2].map(() => {
      header.firstChild.click();
      return [header.getAttribute("aria-sort"), texts(index)];
    });
    return { name: header.textContent, steps, collated: texts(index).sort(collate), nodes: texts(0) };
  });
}"""


def test_every_column_sorts_in_both_directions_and_back(show):
    page = show(report("yolov5s_640", "520"))
    original = column(page, "node")
    columns = [each for each in ALL_COLUMNS if each.name != "reason"]
    found = page.evaluate(SORT_ALL)
    assert [each["name"] for each in found] == [each.name for each in columns]
    for each, result in zip(columns, found, strict=True):
        (first, one), (second, other), (third, unsorted) = result["steps"]
        assert (first, second) == (("descending", "ascending") if each.numeric else ("ascending", "descending"))
        assert third is None
        assert result["nodes"] == original
        assert sorted(one) == sorted(other) == sorted(unsorted)
        if not each.numeric:
            assert one == result["collated"], each.name
            assert other == sorted(other, key=result["collated"][::-1].index), each.name
        for texts, reverse in ((one, True), (other, False)) if each.numeric else ():
            known = [value for value in numbers(texts) if not math.isnan(value)]
            assert known == sorted(known, reverse=reverse), each.name
            assert all(text == "N/A" for text in texts[len(known) :]), each.name


def test_filter_by_text_type_and_bound(show):
    page = show(report("yolov5s_640", "520"))
    names, types, bounds = column(page, "node"), column(page, "type"), column(page, "bound")
    assert {"CPU", "NPU"} <= set(types)
    text, kind, bound = (
        page.get_by_label(label, exact=True) for label in ("Filter nodes", "Filter by type", "Filter by bound")
    )
    kind.select_option(label="CPU")
    assert column(page, "node", shown=True) == [n for n, t in zip(names, types, strict=True) if t == "CPU"]
    assert page.locator(".filter output").text_content() == f"{types.count('CPU')} of {len(names)} nodes"
    kind.select_option(label="any type")
    bound.select_option(label="read")
    assert column(page, "bound", shown=True) == ["read"] * bounds.count("read")
    text.fill("S1/S1.1")
    shown = column(page, "node", shown=True)
    assert 0 < len(shown) < bounds.count("read")
    sort(page, "SYNC_runtime(ms)")
    assert sorted(column(page, "node", shown=True)) == sorted(shown)
    text.fill("")
    bound.select_option(label="any bound")
    assert len(column(page, "node", shown=True)) == len(names)


def shown_fps(page: Page) -> tuple[float, float]:
    return float(page.locator("#what-if-fps").inner_text()), float(page.locator("#what-if-ms").inner_text())


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_sliders_give_what_evaluate_gives(show, network, platform):
    page = show(report(network, platform))
    chip, program, settings = load_platform(platform), lowered(network, platform), EvaluationSettings()
    present = evaluate(program, chip, settings).fps

    def expect(settings: EvaluationSettings, clock: float = 1.0) -> None:
        changed = configured_platform(platform, {"frequency_mhz": clock * chip.frequency_mhz})
        evaluation = evaluate(program, changed, settings)
        assert shown_fps(page) == pytest.approx((evaluation.fps, evaluation.time_ms), rel=0.001)

    expect(settings)
    assert "as reported" in page.locator(".result").inner_text()
    for argument, label, top in (
        ("weight_bandwidth", "Weight bandwidth (GB/s)", chip.weight_bandwidth),
        ("dma_bandwidth", "DMA bandwidth (GB/s)", chip.read_bandwidth),
    ):
        for key in ("End", "Home"):
            page.get_by_label(f"{label}, slider").press(key)
            field = float(page.get_by_label(label, exact=True).input_value())
            assert field == pytest.approx(top * (4 if key == "End" else 0.25), rel=0.001)
            expect(dataclasses.replace(settings, **{argument: field}))
        page.get_by_label(label, exact=True).fill("3.21")
        expect(dataclasses.replace(settings, **{argument: 3.21}))
        page.get_by_label(label, exact=True).fill("-1")
        expect(dataclasses.replace(settings, **{argument: 3.21}))  # what makes no sense changes nothing
        page.get_by_role("button", name="Reset").click()
        expect(settings)
    page.get_by_label("MAC clock (MHz)", exact=True).fill(str(2 * chip.frequency_mhz))
    expect(settings, clock=2.0)
    page.get_by_role("button", name="Reset").click()
    for label, modes, argument in (
        ("Datapath width", chip.datapath_modes, "datapath_bitwidth_mode"),
        ("Weight width", chip.weight_modes, "weight_bitwidth_mode"),
    ):
        select = page.get_by_label(label, exact=True)
        if len(modes) == 1:
            assert select.count() == 0
            continue
        assert set(select.locator("option").all_inner_texts()) == set(modes)
        for mode in modes:
            select.select_option(mode)
            settings = dataclasses.replace(settings, **{argument: mode})
            expect(settings)
    page.get_by_role("button", name="Reset").click()
    assert shown_fps(page)[0] == pytest.approx(present, rel=0.001)


def test_different_bandwidths_of_reading_and_writing_stay_until_the_slider_moves(show):
    evaluation = make_evaluation(5, read_bandwidth=3.0, write_bandwidth=1.5)
    nodes = [n._replace(write_ms=2 * n.write_ms, sync_ms=10 * n.sync_ms) for n in evaluation.nodes]
    page = show(render_html(dataclasses.replace(evaluation, nodes=tuple(nodes))))
    before = shown_fps(page)[0]
    assert page.get_by_text("writes at 1.5 until moved").is_visible()
    page.get_by_label("DMA bandwidth (GB/s)", exact=True).fill("3")
    assert shown_fps(page)[0] >= before


def test_a_click_on_a_drawing_leads_to_the_node(show):
    page = show(report("mobilenet_v2_224", "720"))
    for drawing in ("[aria-labelledby=schedule]", "[aria-labelledby=roofline]", "[aria-labelledby=memory]"):
        drawn = page.locator(f"{drawing} [data-n]").last
        drawn.dispatch_event("click")
        assert page.evaluate("location.hash") == f"#n{drawn.get_attribute('data-n')}"


@pytest.mark.parametrize(("network", "platform"), CASES)
def test_page_is_no_wider_than_the_window(show, network, platform):
    page = show(report(network, platform))
    for width in (1280, 500, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_labels_of_the_memory_axes_are_around_the_drawing_and_apart(show):
    page = show(report("yolov5s_640", "520"))
    for width in (1280, 500, 320):
        page.set_viewport_size({"width": width, "height": 900})
        drawing = page.locator(".plot.low svg").bounding_box()
        across = [mark.bounding_box() for mark in page.locator(".plot.low .x:not(.title)").all()]
        up = [mark.bounding_box() for mark in page.locator(".plot.low .y").all()]
        title = page.locator(".plot.low .title").bounding_box()
        assert len(across) >= 3
        assert len(up) >= 3
        for left, right in itertools.pairwise(across):
            assert left["x"] + left["width"] < right["x"]
        for below, above in itertools.pairwise(up):
            assert above["y"] + above["height"] < below["y"]
        assert all(box["x"] > 0 and box["x"] + box["width"] < drawing["x"] for box in up)
        assert all(drawing["y"] + drawing["height"] < box["y"] for box in across)
        assert all(box["y"] + box["height"] <= title["y"] for box in across)
        assert title["y"] + title["height"] <= page.locator("figure:has(.plot.low) figcaption").bounding_box()["y"]


def test_lanes_have_rows_of_their_own_and_the_hover_areas_cover_them(show):
    page = show(report("yolov5s_640", "520"))
    for width in (1280, 500):
        page.set_viewport_size({"width": width, "height": 900})
        boxes = [lane.bounding_box() for lane in page.locator(".lane svg").all()]
        over = page.locator(".lanes > .over").bounding_box()
        for above, below in itertools.pairwise(boxes):
            assert above["x"] == below["x"]
            assert above["y"] + above["height"] <= below["y"]
        assert over["x"] == boxes[0]["x"]
        assert over["y"] <= boxes[0]["y"]
        assert over["y"] + over["height"] >= boxes[-1]["y"] + boxes[-1]["height"]


def test_print_hides_controls(show):
    page = show(report("mobilenet_v2_224", "720"))
    assert page.get_by_role("heading", name="What if").is_visible()
    page.emulate_media(media="print")
    for hidden in ("#what-if-section", ".filter", "nav"):
        assert not page.locator(hidden).is_visible()
    assert page.get_by_role("heading", name="Schedule").is_visible()


def test_without_javascript_there_are_no_controls(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report("mobilenet_v2_224", "720"), encoding="utf-8")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("input, select, button").count() == 0
        assert not page.locator("#what-if-section").is_visible()
        assert page.get_by_role("heading", name="Schedule").is_visible()


def test_hostile_names_do_nothing_in_a_browser(show):
    nodes = [make_node(name=name, origins=(name,), backend=name) for name in HOSTILE]
    nodes += [make_cpu_node(name, reason=name) for name in HOSTILE]
    page = show(render_html(make_evaluation(nodes=tuple(nodes), model_name=HOSTILE[1])))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    assert page.locator("img").count() == 0
    page.get_by_label("Filter nodes", exact=True).fill("<script>")
    assert len(column(page, "node", shown=True)) == 2
    assert shown_fps(page)[0] > 0
