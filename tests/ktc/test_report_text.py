"""The text report: documented keys, one line an entry, and numbers that agree with the evaluation."""

from __future__ import annotations

import csv
import re

import pytest

from evaluations import for_any_evaluation, make_cpu_node, make_evaluation, make_node
from ktc.report import render_text
from ktc.report._columns import DOCUMENTED_COLUMNS
from ktc.report._summary import messages

HEADER = (
    ", node, node origin, type, node backend, CMD_node_idx, bw in, bw out, bw weight, MAC_cycle, "
    "MAC_runtime(ms), RDMA_runtime(ms), RDMA_amount(Byte), WDMA_runtime(ms), WDMA_amount(Byte), "
    "Weight_amount(Byte), CFUNC_runtime(ms), PFUNC_runtime(ms), runtime(ms), SYNC_runtime(ms), "
    "in_fmt, out_fmt"
)


def value_of(text: str, key: str) -> str:
    """Read a `key: value` or `key = value` line as users do, and check that there is only one."""
    (found,) = re.findall(rf"^{re.escape(key)}(?:: | = )(.*)$", text, flags=re.MULTILINE)
    return found


def number_of(text: str, key: str) -> float:
    return float(value_of(text, key).split()[0])


def table_of(text: str) -> list[dict[str, str]]:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(", node,"))
    return list(csv.DictReader(lines[start:], skipinitialspace=True))


@for_any_evaluation
def test_keys_appear_once_and_hold_the_numbers_of_the_evaluation(evaluation):
    text = render_text(evaluation)
    prefix = f"kdp{evaluation.platform}/"
    close = pytest.approx
    assert number_of(text, "estimate FPS float") == close(evaluation.fps, rel=1e-5)
    assert number_of(text, f"{prefix}ip_eval/fps") == close(evaluation.fps, rel=1e-5)
    assert number_of(text, "total time") == close(evaluation.time_ms, rel=1e-5)
    assert number_of(text, f"{prefix}ip_eval/ITC(ms)") == close(evaluation.time_ms, rel=1e-5)
    assert number_of(text, "MAC running time") == close(evaluation.mac_running_ms, rel=1e-5)
    assert number_of(text, "MAC idle time") == close(evaluation.mac_idle_ms, rel=1e-5, abs=1e-6)
    assert number_of(text, "total theoretical convolution time") == close(evaluation.theoretical_conv_ms)
    assert number_of(text, "MAC efficiency to total time") == close(100 * evaluation.mac_efficiency, rel=1e-5)
    assert number_of(text, "average DRAM bandwidth") == close(evaluation.average_dram_bandwidth, rel=1e-5)
    assert number_of(text, f"{prefix}ip_eval/RV") == close(evaluation.read_bytes / 1e6, rel=1e-3)
    assert number_of(text, f"{prefix}ip_eval/WV") == close(evaluation.write_bytes / 1e6, rel=1e-3)
    for key in ("docker_version", "comments", f"{prefix}cpu_node", "gen fx model report"):
        assert value_of(text, key)
    assert value_of(text, f"{prefix}datapath bitwidth") == evaluation.settings.datapath_bitwidth_mode


@for_any_evaluation
def test_every_entry_is_one_line_whatever_the_names_are(evaluation):
    lines = render_text(evaluation).splitlines()
    warnings = [line for line in lines if line.startswith("***** Warning: ")]
    assert len(warnings) == len(messages(evaluation))
    assert lines.count("[Evaluation Result]") == 1
    start = next(i for i, line in enumerate(lines) if line.startswith(", node,"))
    assert len(lines) - start - 1 == len(evaluation.nodes)


@for_any_evaluation
def test_node_table_reads_back(evaluation):
    rows = table_of(render_text(evaluation))
    for index, (row, node) in enumerate(zip(rows, evaluation.nodes, strict=True)):
        assert row[""] == str(index)
        assert row["type"] == node.type
        for column in DOCUMENTED_COLUMNS:
            assert row[column.name] == column.plain(node)
        if node.type != "CPU":
            assert float(row["SYNC_runtime(ms)"]) == pytest.approx(node.sync_ms, abs=1e-6)


@pytest.mark.parametrize("platform", ["520", "720", "530", "630", "730"])
def test_all_documented_columns_are_there_on_every_platform(platform):
    assert HEADER in render_text(make_evaluation(platform=platform))


def test_bandwidths_have_six_decimals():
    text = render_text(make_evaluation(platform="520", read_bandwidth=0.8))
    assert "kdp520/ip_eval/RDMA bandwidth GB/s: 0.800000\n" in text
    assert "kdp520/ip_eval/GETW bandwidth GB/s: 5.800000\n" in text


def test_cpu_nodes_are_announced_first_in_the_documented_words():
    nodes = (make_node(), make_cpu_node("a"), make_cpu_node("b"))
    evaluation = make_evaluation(nodes=nodes, warnings=("something else",))
    counted = (
        "***** Warning: this model has 2 CPU ops which may cause that the report's fps is different from the actual fps"
    )
    assert render_text(evaluation).splitlines()[:3] == [
        counted,
        "***** Warning: CPU ops types: KneronResize",
        "***** Warning: something else",
    ]
    assert value_of(render_text(evaluation), "kdp720/cpu_node") == "a, b"


def test_without_cpu_nodes_nothing_warns_and_the_list_is_not_available():
    text = render_text(make_evaluation())
    assert "Warning" not in text
    assert "kdp720/cpu_node: N/A\n" in text


def test_expected_error_is_stated_as_an_estimate_that_is_not_from_kneron():
    text = render_text(make_evaluation(expected_error_percent=12.5))
    assert "+/- 12.5 %" in value_of(text, "expected error of this estimate")
    assert "do not come from Kneron's tool" in text


def test_cpu_node_has_no_npu_figures():
    (row,) = table_of(render_text(make_evaluation(nodes=(make_cpu_node(),))))
    assert row["SYNC_runtime(ms)"] == row["RDMA_amount(Byte)"] == row["CMD_node_idx"] == "N/A"


def test_npu_node_that_moves_nothing_has_a_zero():
    (row,) = table_of(render_text(make_evaluation(nodes=(make_node(read_bytes=0),))))
    assert row["RDMA_amount(Byte)"] == "0"


def test_a_name_cannot_forge_a_key():
    forged = "x\nkdp720/ip_eval/fps: 9999"
    evaluation = make_evaluation(nodes=(make_node(name=forged),), warnings=(forged,), model_name=forged)
    assert number_of(render_text(evaluation), "kdp720/ip_eval/fps") == pytest.approx(evaluation.fps, rel=1e-5)
