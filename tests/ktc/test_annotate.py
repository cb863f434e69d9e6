"""ktc.annotate: figures on the nodes, and the same results."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import ktc
import zoo
from graphs import model, weight
from ktc import opt_and_eval
from ktc.errors import ConfigError, ModelError

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
EXPORTS = ROOT / "tests" / "data" / "exports"
COSTS = {"time_ms", "mac_cycles", "read_bytes", "write_bytes", "weight_bytes"}


def evaluate(network, platform="720", **settings):
    comparison = ktc.compare(network, platforms=platform, settings=[settings])
    return comparison.columns[0].evaluation


def entries(holder, platform="720"):
    prefix = f"ktc.{platform}."
    found = [(e.key.removeprefix(prefix), e.value) for e in holder.metadata_props if e.key.startswith(prefix)]
    assert len(dict(found)) == len(found)
    return dict(found)


def by_name(network):
    return {node.name: node for node in network.graph.node}


@pytest.mark.parametrize("name", ["yolo-trace-17", "mobilenet-dynamo-20", "swin-trace-17", "bert-trace-13"])
@pytest.mark.parametrize("platform", ["520", "730"])
def test_figures_are_those_of_the_evaluation(name, platform):
    network = onnx.load(EXPORTS / f"{name}.onnx")
    evaluation = evaluate(network, platform)
    before = network.SerializeToString(deterministic=True)
    annotated = ktc.annotate(network, evaluation)
    assert network.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(annotated, full_check=True)
    marks = [entries(node, platform) for node in annotated.graph.node]
    costs = [mark for mark in marks if "time_ms" in mark]
    assert sum(float(mark["time_ms"]) for mark in costs) == pytest.approx(evaluation.time_ms, rel=1e-4)
    for key in ("read_bytes", "write_bytes", "weight_bytes"):
        assert sum(int(mark[key]) for mark in costs) == getattr(evaluation, key)
    reasons = [mark["cpu_reason"] for mark in marks if "cpu_reason" in mark]
    assert sorted(reasons) == sorted(node.reason for node in evaluation.cpu_nodes)
    parts = [mark["part_of"] for mark in marks if "part_of" in mark]
    assert len(parts) == sum(len(node.origins) - 1 for node in evaluation.nodes)
    totals = entries(annotated, platform)
    assert float(totals["fps"]) == pytest.approx(evaluation.fps, rel=1e-4)
    for node in annotated.graph.node:
        del node.metadata_props[:]
    del annotated.metadata_props[:]
    for node in network.graph.node:
        del node.metadata_props[:]
    del network.metadata_props[:]
    assert annotated == network


def test_fused_nodes_refer_to_the_first():
    network = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { [conv] c = Conv(x, w) [relu] y = Relu(c) }", w=weight(4, 3, 3, 3)
    )
    nodes = by_name(ktc.annotate(network, evaluate(network)))
    assert set(entries(nodes["conv"])) == {"node", "backend", "bound", *COSTS}
    assert entries(nodes["relu"]) == {"part_of": "conv"}


def test_cpu_nodes_say_why_and_cost_nothing():
    network = model("g (float[1,4] x) => (float[1,4] y) { [s] y = Sin(x) }")
    evaluation = evaluate(network)
    annotated = ktc.annotate(network, evaluation)
    mark = entries(by_name(annotated)["s"])
    assert set(mark) == {"node", "backend", "bound", "cpu_reason"}
    assert mark["cpu_reason"] == evaluation.cpu_nodes[0].reason
    assert "fps" not in entries(annotated)


def test_nodes_without_names_are_found_even_out_of_order():
    network = model("g (float[1,4] x) => (float[1,4] y) { t = Exp(x) y = Tanh(t) }")
    first, second = network.graph.node[0], network.graph.node[1]
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(network)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend([second, first])
    annotated = ktc.annotate(shuffled, evaluate(shuffled))
    assert all(entries(node)["node"].startswith(node.op_type) for node in annotated.graph.node)


def test_platforms_stand_beside_each_other_and_are_replaced():
    network = onnx.load(DIGITS)
    network.graph.node[0].metadata_props.add(key="mine", value="kept")
    slow, fast = evaluate(network, "520"), evaluate(network, "720")
    slower = evaluate(network, "520", dma_bandwidth=0.01)
    both = ktc.annotate(ktc.annotate(network, slow), fast)
    again = ktc.annotate(both, slower)
    assert entries(both, "520") != entries(again, "520")
    assert entries(both, "720") == entries(again, "720")
    assert entries(again, "520") == entries(ktc.annotate(network, slower), "520")
    assert [e.value for e in again.graph.node[0].metadata_props if e.key == "mine"] == ["kept"]
    onnx.checker.check_model(again)


@pytest.mark.parametrize("ir_version", [4, 7, 8, 10])
def test_the_annotated_model_computes_the_same(ir_version):
    network = zoo.materialize("squeezenet1_1_224")
    network.ir_version = ir_version
    annotated = ktc.annotate(network, evaluate(network))
    assert annotated.ir_version == ir_version
    onnx.checker.check_model(annotated, full_check=True)
    inputs = zoo.random_inputs(network)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)
        for m in (network, annotated)
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_equal_names_are_left_out_with_a_warning(caplog):
    network = model("g (float[1,4] x) => (float[1,4] y) { [n] t = Exp(x) [n] u = Exp(t) [m] y = Tanh(u) }")
    annotated = ktc.annotate(network, evaluate(network))
    assert [bool(entries(node)) for node in annotated.graph.node] == [False, False, True]
    assert "not annotated" in caplog.text


def test_nodes_inside_of_functions_have_no_place(caplog):
    network = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'
        "g (float[1,4] x) => (float[1,4] y) { t = mine.twice(x) u = Tanh(t) [named] y = Relu(u) }"
        '<domain: "mine", opset_import: ["" : 17]> twice (a) => (c) { b = Exp(a) c = Tanh(b) }'
    )
    annotated = ktc.annotate(network, evaluate(network))
    # Expanded, the nodes without a name are Exp_0, Tanh_1, Tanh_2: in the model, Tanh_1 is another one.
    assert [bool(entries(node)) for node in annotated.graph.node] == [False, False, True]
    assert "3 nodes are not annotated" in caplog.text


def test_models_of_which_no_node_can_be_annotated_are_valid(caplog):
    same = model("g (float[1,4] x) => (float[1,4] y) { [same] t = Exp(x) [same] y = Tanh(t) }")
    call = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'
        "g (float[1,4] x) => (float[1,4] y) { y = mine.twice(x) }"
        '<domain: "mine", opset_import: ["" : 17]> twice (a) => (c) { b = Exp(a) c = Tanh(b) }'
    )
    for network in (same, call):
        caplog.clear()
        annotated = ktc.annotate(network, evaluate(network))
        assert not any(entries(node) for node in annotated.graph.node)
        assert "fps" in entries(annotated)
        assert re.search("[12] nodes are not annotated", caplog.text)


@pytest.mark.parametrize(
    "other",
    [
        "g (float[1,64,800,800] x) => (float[1,64,800,800] y) { t = Relu(x) y = Cos(t) }",
        "g (float[1,64,800,800] x) => (float[1,64,800,800] y) { y = Relu(x) }",
        "g (float[1,3,8,8] x) => (float[1,3,8,8] z) { z = Relu(x) }",
        "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Cos(x) }",
    ],
)
def test_an_evaluation_of_another_model_with_positional_names_is_refused(other):
    network = model("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }")
    with pytest.raises(ModelError, match="not of this model"):
        ktc.annotate(network, evaluate(model(other)))


def test_a_report_and_a_path_will_do(tmp_path):
    report = ktc.ModelConfig(1, "1", "720", onnx_path=DIGITS).evaluate(output_dir=tmp_path)
    assert ktc.annotate(DIGITS, report) == ktc.annotate(onnx.load(DIGITS), report.evaluation)


def test_wrong_arguments_are_refused():
    network = onnx.load(DIGITS)
    with pytest.raises(ConfigError, match="evaluation is a str"):
        ktc.annotate(network, "report")
    with pytest.raises(ConfigError, match="model is a int"):
        ktc.annotate(3, evaluate(network))
    other = model("g (float[1,4] x) => (float[1,4] y) { [s] y = Sin(x) }")
    with pytest.raises(ModelError, match="not of this model"):
        ktc.annotate(network, evaluate(other))


# command line


def test_command_annotates_the_optimised_model(tmp_path, capsys):
    command = ["720", str(DIGITS), "-E", str(tmp_path / "r"), "-O", str(tmp_path / "o.onnx"), "--annotate"]
    assert opt_and_eval.main(command) == 0
    annotated = onnx.load(tmp_path / "o.onnx")
    onnx.checker.check_model(annotated)
    assert any("time_ms" in entries(node) for node in annotated.graph.node)
    printed = re.search(r"([\d.]+) ms per inference", capsys.readouterr().out)
    assert printed is not None
    assert float(entries(annotated)["time_ms"]) == pytest.approx(float(printed[1]), rel=1e-3)


def test_command_does_not_annotate_unasked(tmp_path):
    assert opt_and_eval.main(["720", str(DIGITS), "-E", str(tmp_path / "r"), "-O", str(tmp_path / "o.onnx")]) == 0
    assert not entries(onnx.load(tmp_path / "o.onnx"))


@pytest.mark.parametrize("flag", ["-e", "-o"])
def test_command_needs_both_steps_to_annotate(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        opt_and_eval.main(["720", str(DIGITS), flag, "--annotate"])
    assert caught.value.code == 2
