"""The HTML report: complete, self-contained, escaped, small."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from evaluations import HOSTILE, for_any_evaluation, make_cpu_node, make_evaluation, make_node
from ktc.report import EvaluationReport, render_html, render_text
from ktc.report._columns import DOCUMENTED_COLUMNS
from ktc.report._format import single_line
from ktc.report._summary import summary

VOID = {"meta", "input", "br", "link", "img", "hr", "base"}


class Page(HTMLParser):
    """What a browser would find in a page: tags, attributes, and the text of all table rows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def shape_of(page: Page) -> tuple[list[str], list[str]]:
    return page.tags, [name for name, _ in page.attributes]


def evaluation_named(name: str):
    node = make_node(name=name, origins=(name,), backend=name, input_format=name)
    cpu = make_cpu_node(name, reason=name)
    return make_evaluation(nodes=(node, cpu), model_name=name, warnings=(name,), expected_error_source=name)


@for_any_evaluation
def test_page_is_well_formed_and_shows_every_name(evaluation):
    page = Page(render_html(evaluation))
    assert page.open == []
    cells = {cell for row in page.rows for cell in row}
    for node in evaluation.nodes:
        assert single_line(node.name) in cells
    for tensor in evaluation.io:
        assert single_line(tensor.name) in cells
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_never_becomes_markup(name):
    """The page has the same tags and attributes, whatever the names of the model are."""
    harmless = Page(render_html(evaluation_named("harmless")))
    assert shape_of(Page(render_html(evaluation_named(name)))) == shape_of(harmless)
    fragment = EvaluationReport("", evaluation_named(name))._repr_html_()
    plain = EvaluationReport("", evaluation_named("harmless"))._repr_html_()
    assert shape_of(Page(fragment)) == shape_of(Page(plain))


def test_script_in_a_name_is_escaped_in_tables_and_in_the_drawing():
    source = render_html(evaluation_named("<script>alert(1)</script>"))
    assert source.count("<script>") == 1  # the page's own
    assert "alert(1)" not in source.split("<script>")[1]
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;: " in source


def test_page_loads_nothing():
    source = render_html(make_evaluation())
    page = Page(source)
    links = [value for name, value in page.attributes if name in {"src", "href", "srcset", "action", "data"}]
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", source)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)


def test_security_policy_admits_only_the_script_of_the_page():
    source = render_html(make_evaluation())
    (script,) = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    wanted = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{wanted}';" in policy


def test_links_inside_the_page_lead_somewhere():
    page = Page(render_html(make_evaluation(30)))
    targets = [value[1:] for name, value in page.attributes if name == "href"]
    assert targets
    assert set(targets) <= set(page.ids)


def test_node_table_has_the_documented_columns_and_one_row_a_node():
    evaluation = make_evaluation(7)
    page = Page(render_html(evaluation))
    names = [column.name for column in DOCUMENTED_COLUMNS]
    start = next(i for i, row in enumerate(page.rows) if row[: len(names)] == names)
    rows = page.rows[start + 1 :]
    assert [row[0] for row in rows] == [node.name for node in evaluation.nodes]
    assert {len(row) for row in rows} == {len(page.rows[start])}
    assert rows[3][names.index("RDMA_amount(Byte)")] == f"{evaluation.nodes[3].read_bytes:,}"


def test_summary_has_every_documented_field():
    evaluation = make_evaluation(platform="630")
    rows = {row[0]: row[1] for row in Page(render_html(evaluation)).rows if len(row) > 1}
    for field in summary(evaluation):
        key = field.key("630") if field.evaluator else field.name
        assert rows[key] == field.text


def test_cpu_nodes_come_with_their_reasons_grouped_by_reason():
    cpu_nodes = [make_cpu_node(f"up{index}", "no linear resize") for index in range(5)]
    cpu_nodes += [make_cpu_node("other", "too large"), make_cpu_node("silent", None)]
    page = Page(render_html(make_evaluation(nodes=(make_node(), *cpu_nodes))))
    assert ["KneronResize", "5", "10", "no linear resize", "all 5up0up1up2up3up4"] in page.rows
    assert ["KneronResize", "1", "2", "too large", "other"] in page.rows
    assert ["KneronResize", "1", "2", "No reason recorded.", "silent"] in page.rows


@pytest.mark.parametrize(("count", "shown"), [(0, "N/A"), (2, "up0, up1"), (9, "9 nodes")])
def test_summary_lists_a_few_cpu_nodes_and_counts_many(count, shown):
    cpu_nodes = [make_cpu_node(f"up{index}") for index in range(count)]
    page = Page(render_html(make_evaluation(nodes=(make_node(), *cpu_nodes))))
    assert ["kdp720/cpu_node", shown, "Nodes that fall to the CPU."] in page.rows


def test_page_without_cpu_nodes_says_so():
    assert "None: the NPU runs every node." in Page(render_html(make_evaluation())).text


def test_ten_costliest_nodes_are_listed_slowest_first():
    evaluation = make_evaluation(40)
    page = Page(render_html(evaluation))
    start = next(i for i, row in enumerate(page.rows) if "Cumulative" in row)
    shown = [float(row[1]) for row in page.rows[start + 1 : start + 11]]
    times = sorted((node.sync_ms for node in evaluation.nodes), reverse=True)
    assert shown == pytest.approx(times[:10], rel=1e-3)


def test_model_without_npu_time_has_a_page_too():
    page = Page(render_html(make_evaluation(nodes=(make_cpu_node(),))))
    assert "nothing takes time on the NPU" in page.text
    assert "inf" not in re.findall(r"\w+", page.text)


def test_settings_that_differ_from_the_default_stand_out():
    evaluation = make_evaluation()
    changed = type(evaluation.settings)(datapath_bitwidth_mode="int16", dma_bandwidth=2.5)
    source = render_html(make_evaluation(settings=changed))
    assert "<b>int16</b>" in source
    assert "<b>2.5</b>" in source
    assert "<b>int8</b>" not in source


def test_300_nodes_stay_below_500_kilobytes():
    assert len(render_html(make_evaluation(300)).encode()) < 500_000


def test_notebook_summary_is_small_and_has_the_headline():
    evaluation = make_evaluation(300)
    fragment = EvaluationReport(render_text(evaluation), evaluation)._repr_html_()
    assert len(fragment) < 10_000
    assert f"{evaluation.fps:.4g}" in fragment
    assert Page(fragment).open == []


def test_importing_the_report_does_not_import_jinja2():
    command = "import sys, ktc.report; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.parametrize(("cpu_ms", "shown"), [(1e-6, False), (1e6, True)])
def test_cpu_time_stands_beside_the_frame_rate_where_it_dominates(cpu_ms, shown):
    evaluation = make_evaluation(nodes=(make_node(), make_cpu_node()._replace(cpu_ms=cpu_ms)))
    assert evaluation.cpu_dominates is shown
    text = Page(render_html(evaluation)).text
    assert ("Frames per second, NPU part only" in text) is shown
    assert ("CPU nodes, not included" in text) is shown
    assert ("about 1000000 ms, rough" in " ".join(text.split())) is shown


def test_what_bounds_the_time_is_said_of_the_npu_where_there_are_cpu_nodes():
    mixed = render_html(make_evaluation(nodes=(make_node(), make_cpu_node())))
    assert "% of the NPU&#39;s time is spent in" in mixed
    assert "% of the time is spent in" in render_html(make_evaluation())
