"""ktc.compare: aligned node by node, in every form, and against a baseline."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import onnx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import kneronnxopt
import ktc
from bad_files import KINDS, bad_file
from evaluations import HOSTILE, evaluations
from graphs import model, weight
from ktc.compare import main
from ktc.comparison import Comparison, find_regressions, read_baseline, schema
from ktc.comparison._align import match_operators
from ktc.comparison._compare import _rows
from ktc.comparison._comparison import ComparisonColumn
from ktc.errors import ConfigError, FormatError, ModelError
from ktc.evaluator.settings import EvaluationSettings
from ktc.frontend.graph import read_graph

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
EXPORTS = ROOT / "tests" / "data" / "exports"
VALIDATOR = jsonschema.Draft202012Validator(schema())
PLATFORMS = ("520", "720", "530", "630", "730")


def operators(graph):
    return read_graph(graph).operators


def network(channels=8, **names):
    """Conv, Sigmoid, Mul: one node where SiLU is fused, several elsewhere."""
    return model(
        "net (float[1,3,16,16] x) => (float[1,8,16,16] y) {"
        "[conv] c = Conv<pads=[1,1,1,1]>(x, w) [gate] s = Sigmoid(c) [product] m = Mul(c, s)"
        "[last] y = Conv<pads=[1,1,1,1]>(m, v) }",
        w=weight(channels, 3, 3, 3),
        v=weight(8, channels, 3, 3),
    )


def strict_json(document):
    return json.loads(json.dumps(document, allow_nan=False))


def check_consistent(comparison):
    """Every node of every column is in one row, and times add up."""
    for index, column in enumerate(comparison.columns):
        cells = [row.cells[index] for row in comparison.rows]
        assert len(cells) == len(comparison.rows)
        if column.evaluation is None:
            assert not any(cells)
            continue
        names = [name for cell in cells if cell for name in cell.nodes]
        assert sorted(names) == sorted(node.name for node in column.evaluation.nodes)
        assert sum(cell.time_ms for cell in cells if cell) == pytest.approx(column.time_ms)
        assert sum(cell.cpu_nodes for cell in cells if cell) == len(column.evaluation.cpu_nodes)
    for position, (first, second) in enumerate(comparison.pairs):
        changes = [row.changes_ms[position] for row in comparison.rows]
        difference = comparison.columns[second].time_ms - comparison.columns[first].time_ms
        assert sum(changes) == pytest.approx(difference)
    VALIDATOR.validate(strict_json(comparison.to_dict()))


@pytest.mark.parametrize("name", ["yolo-trace-17", "mobilenet-dynamo-18", "swin-trace-17", "lstm-trace-13"])
def test_platforms_and_settings_are_aligned(name):
    comparison = ktc.compare(
        EXPORTS / f"{name}.onnx", settings={"plain": {}, "deep": {"compiler_tiling": "deep_search"}}
    )
    assert [(c.platform, c.setting) for c in comparison.columns] == [
        (platform, setting) for platform in PLATFORMS for setting in ("plain", "deep")
    ]
    check_consistent(comparison)
    origins = [set(row.origins) for row in comparison.rows]
    assert sum(map(len, origins)) == len(set().union(*origins))
    assert all(row.status is None and row.changes_ms == () for row in comparison.rows)


def test_columns_hold_what_modelconfig_reports(tmp_path):
    comparison = ktc.compare(DIGITS, platforms=["720"], settings=[{"dma_bandwidth": 2.0}])
    report = ktc.ModelConfig(1, "1", "720", onnx_path=DIGITS).evaluate(output_dir=tmp_path, dma_bandwidth=2.0)
    assert comparison.columns[0].evaluation == report.evaluation
    assert (comparison.columns[0].fps, comparison.columns[0].time_ms) == (report.fps, report.time_ms)


def test_rows_join_what_any_platform_fuses():
    comparison = ktc.compare(network())
    by_origin = {origin: row for row in comparison.rows for origin in row.origins}
    assert by_origin["conv"] is by_origin["gate"] is by_origin["product"]
    assert by_origin["conv"] is not by_origin["last"]
    widths = {len(cell.nodes) for cell in by_origin["conv"].cells}
    assert min(widths) == 1
    check_consistent(comparison)


def test_a_setting_that_a_platform_refuses_is_a_column_that_says_why():
    comparison = ktc.compare(
        network(),
        platforms=["520", "720"],
        settings=[{"datapath_bitwidth_mode": "int16"}, {"dma_bandwidth": float("nan")}],
    )
    errors = [column.error for column in comparison.columns]
    assert "not available on KL520" in errors[0]
    assert errors[2] is None
    assert "nan" in errors[1]
    assert "nan" in errors[3]
    for text in (str(comparison), comparison.to_html(), comparison._repr_html_()):
        assert "not available on KL520" in text
    check_consistent(comparison)


def test_an_optimised_model_against_its_original(tmp_path):
    optimised = kneronnxopt.optimize(DIGITS)
    comparison = ktc.compare(DIGITS, optimised, platforms=["520", "720"])
    check_consistent(comparison)
    assert len(comparison.pairs) == 2
    assert {row.status for row in comparison.rows} == {"both", "removed"}
    for row in comparison.rows:
        if row.status == "removed":
            assert not row.other_origins
            assert "Conv" not in row.operators
    totals = [comparison.columns[first].time_ms for first, _ in comparison.pairs]
    sizes = [max(abs(c) / t for c, t in zip(row.changes_ms, totals, strict=True)) for row in comparison.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_added_and_removed_nodes_are_marked():
    before = model("g (float[1,4] x) => (float[1,4] y) { [a] t = Exp(x) [b] y = Tanh(t) }")
    after = model("g (float[1,4] x) => (float[1,4] y) { [c] t = Sqrt(x) [new] u = Tanh(t) [b2] y = Tanh(u) }")
    comparison = ktc.compare(before, after, platforms="720")
    assert {(row.origins, row.other_origins): row.status for row in comparison.rows} == {
        (("a",), ("c",)): "both",  # the same tensor
        (("b",), ("b2",)): "both",
        ((), ("new",)): "added",
    }
    reverse = ktc.compare(after, before, platforms="720")
    assert {row.origins: row.status for row in reverse.rows}[("new",)] == "removed"


def test_a_model_against_itself_has_no_change():
    comparison = ktc.compare(network(), network())
    assert all(row.status == "both" and set(row.changes_ms) == {0} for row in comparison.rows)
    assert [column.label for column in comparison.columns][:2] == ["KL520 model", "KL520 other"]


@pytest.mark.parametrize("operator", ["Sin", "Exp"])
def test_versions_that_leave_different_work_to_the_cpu_do_not_compare(operator):
    before = model("g (float[1,4] x) => (float[1,4] y) { [a] t = " + operator + "(x) [b] y = Tanh(t) }")
    after = model("g (float[1,4] x) => (float[1,4] y) { [a] t = Exp(x) [b] y = Tanh(t) }")
    comparison = ktc.compare(before, after, platforms="730")
    differs = len({len(column.evaluation.cpu_nodes) for column in comparison.columns}) > 1
    assert differs == (operator == "Sin")
    for text in (str(comparison), comparison.to_html(), comparison._repr_html_()):
        assert ("do not compare" in text) == differs


def test_columns_that_leave_different_work_to_the_cpu_do_not_compare():
    network = model("g (float[1,3,16,16] x) => (float[1,3,16,16] y) { [a] t = Relu(x) [b] y = Sigmoid(t) }")
    for platforms in ("720", PLATFORMS):
        comparison = ktc.compare(network, platforms=platforms)
        differs = len({len(column.evaluation.cpu_nodes) for column in comparison.columns}) > 1
        assert differs == (platforms != "720")
        for text in (str(comparison), comparison.to_html(), comparison._repr_html_()):
            assert ("differ in their number of CPU nodes" in text) == differs


def test_the_text_shows_the_expected_error_of_each_column():
    comparison = ktc.compare(DIGITS, platforms=["520", "720"])
    for column in comparison.columns:
        line = next(line for line in str(comparison).splitlines() if line.split()[:1] == [column.label])
        (shown,) = re.findall(r"\+-([0-9.]+) %", line)
        assert float(shown) == pytest.approx(column.evaluation.expected_error_percent, rel=0.05)


def test_a_setting_of_all_columns_is_named_and_its_error_is_not_taken_for_known():
    """A saved text or page must not look like that of the defaults."""
    default, wide = (
        ktc.compare(network(), platforms="720", settings=[arguments])
        for arguments in ({}, {"datapath_bitwidth_mode": "int16"})
    )
    assert [column.label for column in default.columns] == ["KL720"]
    assert [column.label for column in wide.columns] == ["KL720 datapath_bitwidth_mode=int16"]
    for text in (str(wide), wide.to_html()):
        assert "the expected error says little: 100.0 % of the time" in text
    assert "says little" not in str(default) + default.to_html()


def test_operators_match_by_tensor_first_then_by_name():
    first = operators(model("g (float[1] x) => (float[1] y) { [a] t = Exp(x) [b] u = Exp(t) [c] y = Exp(u) }"))
    second = operators(model("g (float[1] x) => (float[1] y) { [b] t = Exp(x) [a] v = Exp(t) [z] y = Exp(v) }"))
    assert match_operators(first, second) == {"b": "a", "z": "c"}
    renamed = operators(model("g (float[1] x) => (float[1] y) { [b] p = Exp(x) [c] y = Exp(p) }"))
    assert match_operators(first, renamed) == {"b": "b", "c": "c"}


def test_made_up_names_do_not_match():
    first = operators(model("g (float[1] x) => (float[1] y) { t = Exp(x) y = Tanh(t) }"))
    second = operators(model("g (float[1] x) => (float[1] z) { s = Exp(x) z = Tanh(s) }"))
    assert match_operators(first, second) == {}


# every form, whatever the evaluation


def column(evaluation, version="model", setting="s", **changes):
    fields = {
        "version": version,
        "model": evaluation.model_name,
        "platform": evaluation.platform,
        "setting": setting,
        "settings": EvaluationSettings(),
        "label": setting,
        "evaluation": evaluation,
    }
    return ComparisonColumn(**(fields | changes))


class Stub:
    """An estimator that knows no operators, as if all names came from elsewhere."""

    operators = ()


@st.composite
def comparisons(draw):
    parts = draw(st.lists(evaluations(), min_size=1, max_size=3))
    names = draw(st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=2))
    columns = [column(part, setting=str(index), label=names[0]) for index, part in enumerate(parts)]
    columns.append(replace(columns[0], setting="refused", evaluation=None, error=names[1]))
    stubs = [Stub()]
    if draw(st.booleans()):
        columns += [replace(c, version="other", evaluation=draw(st.sampled_from(parts)), error=None) for c in columns]
        stubs.append(Stub())
    columns = tuple(columns)
    return Comparison(tuple(names[: len(stubs)]), columns, _rows(stubs, columns))


class Page(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


@hypothesis_settings(max_examples=40, deadline=None)
@given(comparisons())
def test_every_form_takes_any_names(comparison):
    VALIDATOR.validate(strict_json(comparison.to_dict()))
    lines = str(comparison).splitlines()
    assert not any(line.startswith(("kdp720/", "[Evaluation Result]")) for line in lines)
    for page in (Page(comparison.to_html()), Page(comparison._repr_html_())):
        assert not {"script", "img", "link", "iframe"} & set(page.tags)
        assert not [name for name in page.attributes if name.startswith("on")]
        assert "{{ 7 * 7 }}" not in page.text or any("{{ 7 * 7 }}" in n for n in HOSTILE)
    assert len(comparison.to_text(1).splitlines()) <= len(lines) + 1


def test_the_page_loads_nothing_and_prints():
    page = ktc.compare(DIGITS, platforms="720").to_html()
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_table_of_the_page_shows_all_figures():
    comparison = ktc.compare(DIGITS, platforms=["720", "730"])
    text = Page(comparison.to_html()).text
    for row in comparison.rows:
        assert row.name in text
    assert "KL720" in text


def test_text_with_a_limit_shows_the_costliest_rows_in_order():
    comparison = ktc.compare(DIGITS, platforms="720")
    shown = comparison.to_text(3)
    times = sorted((row.cells[0].time_ms for row in comparison.rows), reverse=True)
    expected = [row for row in comparison.rows if row.cells[0].time_ms >= times[2]]
    places = [shown.find(row.origins[0]) for row in expected[:3]]
    assert -1 not in places
    assert places == sorted(places)
    assert f"{len(comparison.rows) - 3} rows more" in shown


def test_files(tmp_path):
    comparison = ktc.compare(DIGITS, platforms="720", output_dir=tmp_path / "new")
    assert sorted(comparison.files) == ["comparison.html", "comparison.json", "comparison.txt"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(comparison.files)
    assert json.loads(comparison.files["comparison.json"].read_text()) == strict_json(comparison.to_dict())
    assert comparison.files["comparison.txt"].read_text() == str(comparison)
    assert comparison.files["comparison.html"].read_text() == comparison.to_html()


def test_the_schema_describes_everything():
    jsonschema.Draft202012Validator.check_schema(schema())

    def visit(node):
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert set(node["required"]) == set(node["properties"])
                for part in node["properties"].values():
                    assert part["description"].endswith((".", "0.1.0."))
            for child in node.values():
                visit(child)
        elif isinstance(node, list):
            for child in node:
                visit(child)

    visit(schema())


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_are_refused(tmp_path, kind):
    path, words = bad_file(kind, tmp_path)
    for arguments in ((path,), (DIGITS, path)):
        with pytest.raises(ModelError) as caught:
            ktc.compare(*arguments, platforms="720")
        assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 3}, "model is a int; give an onnx.ModelProto or the path"),
        ({"other": 3}, "other is a int"),
        ({"platforms": "999"}, "999"),
        ({"settings": [{"x": 1}]}, "'x' is not known"),
        ({"output_dir": ""}, "output_dir"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        ktc.compare(**({"model": network()} | arguments))


# baselines


@pytest.fixture(scope="module")
def current():
    return ktc.compare(DIGITS, platforms=["520", "720"])


@pytest.fixture
def document(current):
    return copy.deepcopy(current.to_dict())


def save(folder, document):
    path = folder / "base.json"
    path.write_text(json.dumps(document))
    return path


def regressions(current, folder, document, factor=0.95):
    found = find_regressions(current, read_baseline(save(folder, document)), factor)
    return [(regression.column, regression.what) for regression in found]


def test_nothing_is_worse_than_itself(current, tmp_path, document):
    assert regressions(current, tmp_path, document) == []
    assert regressions(current, tmp_path, document, factor=1.0) == []


@pytest.mark.parametrize(("faster", "worse"), [(1.04, False), (1.06, True)])
def test_fewer_fps_are_a_regression(current, tmp_path, document, faster, worse):
    document["columns"][1]["result"]["fps"] *= faster
    assert regressions(current, tmp_path, document) == [("KL720", "fps")] * worse
    assert regressions(current, tmp_path, document, factor=0.9) == []


def test_a_node_that_newly_falls_to_the_cpu_is_a_regression(current, tmp_path, document):
    nodes = document["columns"][0]["result"]["cpu_nodes"]
    left_out = nodes.pop()
    found = find_regressions(current, read_baseline(save(tmp_path, document)))
    assert [(r.column, r.what) for r in found] == [("KL520", "CPU node")]
    assert left_out["node"] in found[0].now


def test_a_column_that_fails_now_is_a_regression(current, tmp_path, document):
    failing = replace(
        current, columns=(replace(current.columns[0], evaluation=None, error="no more"), current.columns[1])
    )
    assert regressions(failing, tmp_path, document) == [("KL520", "evaluation")]
    document["columns"][0] |= {"result": None, "error": "never"}
    assert regressions(failing, tmp_path, document) == []


def test_a_model_that_leaves_the_npu_is_a_regression(tmp_path, document):
    gone = ktc.compare(model("g (float[1,4] x) => (float[1,4] y) { [n] y = Sin(x) }"), platforms="720")
    assert regressions(gone, tmp_path, document) == [("KL720", "fps"), ("KL720", "CPU node")]


def test_a_baseline_of_something_else_is_refused(tmp_path, document):
    with pytest.raises(ConfigError, match="same platforms and settings"):
        regressions(ktc.compare(network(), platforms="630"), tmp_path, document)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), True, "x"])
def test_a_wrong_factor_is_refused(current, tmp_path, document, factor):
    with pytest.raises(ConfigError, match="fail_below"):
        regressions(current, tmp_path, document, factor)


def spoil(document, *path, value):
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema_version"], "2.0", "schema_version '2.0'"),
        (["schema_version"], 1, "no comparison"),
        (["columns"], {}, "columns is not a list"),
        (["columns"], [], "columns is not a list"),
        (["columns", 0], 3, r"columns\[0\] is not an object"),
        (["columns", 1, "platform"], None, r"columns\[1\]\.platform is not a text"),
        (["columns", 0, "result"], [], r"columns\[0\]\.result"),
        (["columns", 0, "result", "fps"], "fast", "fps"),
        (["columns", 0, "result", "fps"], True, "fps"),
        (["columns", 0, "result", "fps"], -1, "fps"),
        (["columns", 0, "result", "fps"], 10**400, "fps"),
        (["columns", 0, "result", "fps"], float("inf"), "not JSON"),
        (["columns", 0, "result", "cpu_nodes"], None, "cpu_nodes"),
        (["columns", 0, "result", "cpu_nodes"], [{"origins": [1]}], r"cpu_nodes\[0\]\.origins"),
        (["columns", 0, "result", "cpu_nodes"], [{"origins": ["a"]}], r"cpu_nodes\[0\]\.operator"),
        (["columns", 1, "platform"], "520", "repeats"),
    ],
)
def test_a_spoilt_baseline_is_refused(tmp_path, document, path, value, words):
    with pytest.raises(FormatError, match=words) as caught:
        read_baseline(save(tmp_path, spoil(document, *path, value=value)))
    assert "base.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe\x00", b"[" * 100_000, b"null", b"[]", b"1" * 10_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "base.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"base\.json"):
        read_baseline(tmp_path / "base.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["columns", "schema_version", "result", "fps", "cpu_nodes", "origins", "version", "platform"]
            ),
            children,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(columns=st.lists(json_values, max_size=3), rest=json_values)
def test_any_json_is_read_or_refused(tmp_path_factory, columns, rest):
    folder = tmp_path_factory.mktemp("any")
    for document in (rest, {"schema_version": "1.0", "columns": columns}):
        try:
            baseline = read_baseline(save(folder, document))
        except FormatError as error:
            assert "base.json" in str(error)  # noqa: PT017  (most documents are refused, not all)
        else:
            assert baseline.columns


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_baseline_that_cannot_be_read_is_refused(tmp_path, kind):
    with pytest.raises(ConfigError, match="--json wrote"):
        read_baseline(tmp_path if kind == "folder" else tmp_path / "none.json")


def chain(operators, name=""):
    """Operators one after the other, all of the same name."""
    nodes = [onnx.helper.make_node(op, [f"t{i}"], [f"t{i + 1}"], name=name) for i, op in enumerate(operators)]
    ends = [
        onnx.helper.make_tensor_value_info(f"t{index}", onnx.TensorProto.FLOAT, [1, 8, 16, 16])
        for index in (0, len(operators))
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def fallen(folder, before, now):
    baseline = read_baseline(save(folder, ktc.compare(before, platforms="720").to_dict()))
    found = find_regressions(ktc.compare(now, platforms="720"), baseline, 1e-9)
    return [regression.what for regression in found].count("CPU node")


@pytest.mark.parametrize("name", ["n", ""])
@pytest.mark.parametrize(
    ("before", "now", "count"),
    [
        ("Relu Cos Relu Relu", "Relu Cos Cos Cos", 2),
        ("Relu Cos Relu", "Relu Relu Cos Relu", 0),
        ("Relu Cos Cos", "Relu Cos Relu", 0),
        ("Relu Cos", "Relu Cos Sin", 1),
    ],
)
def test_cpu_nodes_are_counted_where_names_do_not_tell_them_apart(tmp_path, name, before, now, count):
    assert fallen(tmp_path, chain(before.split(), name), chain(now.split(), name)) == count


@hypothesis_settings(max_examples=25, deadline=None)
@given(*[st.lists(st.sampled_from(["Relu", "Cos", "Sin"]), max_size=5)] * 2, st.sampled_from(["n", ""]))
def test_more_cpu_nodes_are_always_a_regression(tmp_path_factory, before, now, name):
    before, now = ["Relu", *before], ["Relu", *now]
    more = sum(op != "Relu" for op in now) - sum(op != "Relu" for op in before)
    folder = tmp_path_factory.mktemp("chain")
    assert fallen(folder, chain(before, name), chain(now, name)) >= max(0, more)
    assert fallen(folder, chain(now, name), chain(now, name)) == 0


def test_named_nodes_that_change_places_are_a_regression(tmp_path):
    text = "g (float[1,4] x) => (float[1,4] y) {{ [a] t = {}(x) [b] y = {}(t) }}"
    before, now = (model(text.format(*pair)) for pair in (("Cos", "Relu"), ("Relu", "Cos")))
    assert fallen(tmp_path, before, now) == 1


def test_a_baseline_without_fps_is_refused(current, tmp_path, document):
    for column in document["columns"]:
        column["result"]["fps"] = None
    with pytest.raises(ConfigError, match="has no fps"):
        regressions(current, tmp_path, document)


def test_a_baseline_of_another_model_gives_a_warning(current, tmp_path, document, caplog):
    assert regressions(current, tmp_path, document) == []
    assert not caplog.records
    for column in document["columns"]:
        column["model"] = "another"
    assert regressions(current, tmp_path, document) == []
    assert caplog.text.count("'another'") == 1


def test_a_key_that_is_repeated_is_refused(tmp_path):
    (tmp_path / "base.json").write_text('{"columns": [], "columns": []}')
    with pytest.raises(FormatError, match="'columns' stands there twice"):
        read_baseline(tmp_path / "base.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_baseline_without_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(ConfigError, match="no regular file"):
            read_baseline(path)


# command line


def test_command_writes_all_forms(tmp_path, capsys):
    command = [str(DIGITS), "--platform", "720", "KL730", "--datapath", "int8,int16"]
    assert main([*command, "--output", str(tmp_path / "d"), "--json", str(tmp_path / "c.json")]) == 0
    printed = capsys.readouterr().out
    assert all(f"KL{p} datapath={mode}" in printed for p in ("720", "730") for mode in ("int8", "int16"))
    document = json.loads((tmp_path / "c.json").read_text())
    VALIDATOR.validate(document)
    assert document == json.loads((tmp_path / "d" / "comparison.json").read_text())
    assert str(tmp_path / "d" / "comparison.html") in printed


def test_command_compares_versions_and_takes_models_after_options(tmp_path, capsys):
    onnx.save(kneronnxopt.optimize(DIGITS), tmp_path / "new.onnx")
    assert main(["--platform", "720", str(DIGITS), str(tmp_path / "new.onnx"), "--all"]) == 0
    assert "removed" in capsys.readouterr().out


def test_command_fails_on_a_regression(tmp_path, capsys):
    base = tmp_path / "base.json"
    command = [str(DIGITS), "--platform", "720"]
    assert main([*command, "--json", str(base)]) == 0
    assert main([*command, "--baseline", str(base)]) == 0
    assert "nothing is worse" in capsys.readouterr().out
    document = json.loads(base.read_text())
    document["columns"][0]["result"]["fps"] *= 2
    base.write_text(json.dumps(document))
    assert main([*command, "--baseline", str(base)]) == 1
    assert "[Regressions]" in capsys.readouterr().out
    assert main([*command, "--baseline", str(base), "--fail-below", "0.4"]) == 0
    assert main([*command, "--baseline", str(base), "--json", str(base)]) == 2
    assert json.loads(base.read_text()) == document


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.onnx"], "no such file"),
        (["{folder}"], "folder"),
        (["{text}"], "text file"),
        (["{net}", "--platform", "999"], "999"),
        (["{net}", "--platform", "520", "--datapath", "int16"], "not available on KL520"),
        (["{net}", "--json", "{folder}"], "folder"),
        (["{net}", "--output", "{net}/x"], "cannot be written"),
        (["{net}", "--baseline", "{text}"], "is not JSON"),
        (["{net}", "--baseline", "none.json"], "none.json"),
        (["{net}", "--baseline", "{net}", "--fail-below", "-3"], "fail_below=-3.0"),
        (["{dynamic}"], "dynamic.onnx: dimension 2 of input 'x'"),
        (["{net}", "--datapath", "int9"], "int9"),
        (["{net}", "--dma-bandwidth", "-1"], "dma_bandwidth=-1.0"),
    ],
)
def test_command_refuses_bad_input(tmp_path, capsys, arguments, words):
    net, text = tmp_path / "net.onnx", tmp_path / "text"
    onnx.save(network(), net)
    text.write_text("Hello, this is no model.\n" * 20)
    dynamic = tmp_path / "dynamic.onnx"
    onnx.save(model("g (float[1,3,H,8] x) => (float[1,3,H,8] y) { y = Relu(x) }"), dynamic)
    filled = [word.format(net=net, folder=tmp_path, text=text, dynamic=dynamic) for word in arguments]
    assert main(filled) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("error:") == len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["a.onnx", "b.onnx", "c.onnx"], ["a.onnx", "--fail-below", "0.9"]])
def test_command_refuses_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_module_is_the_function_and_the_command():
    code = "import ktc.compare, sys; print(len(ktc.compare(sys.argv[1], platforms='720').rows))"
    for command in (["-c", code, str(DIGITS)], ["-m", "ktc.compare", str(DIGITS), "--platform", "720"]):
        done = subprocess.run([sys.executable, "-W", "error", *command], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert done.stdout
