"""The rough time of CPU nodes: what it grows with, and that it stays apart from the NPU's."""

from __future__ import annotations

import dataclasses

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ktc
import zoo
from evaluations import make_cpu_node, make_evaluation, make_node
from graphs import model, weight
from ktc import opt_and_eval
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.report import render_text
from ktc.report._format import roughly


def estimate(network, platform, **figures):
    hardware = dataclasses.replace(load_platform(platform), **figures)
    return evaluate(lower(network, hardware), hardware, EvaluationSettings())


def work(network, platform="520"):
    (node,) = [node for node in lower(network, load_platform(platform)).nodes if node.type == "CPU"]
    return node.cpu_work


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from([13, 15]))
def test_a_convolution_on_the_cpu_has_the_macs_that_it_has_on_the_npu(size, channels, kernel):
    network = model(
        f"g (float[1,{channels},{size + 20},{size + 20}] x) => (float[1,4,Y,X] y) {{ y = Conv(x, w) }}",
        w=weight(4, channels, kernel, kernel),
    )
    (on_npu,) = estimate(network, "720").nodes
    assert work(network).macs == on_npu.macs


@pytest.mark.parametrize(
    ("body", "shape", "macs"),
    [
        ('y = Einsum <equation = "bij,bjk->bik"> (x, x)', "2,5,5", 2 * 5 * 5 * 5),
        ('y = Einsum <equation = "...ij,...jk->...ik"> (x, x)', "2,5,5", 2 * 5 * 5 * 5),
        ("y = MatMul(x, x)", "3,7,7", 3 * 7 * 7 * 7),
    ],
)
def test_macs_of_products(body, shape, macs):
    assert work(model(f"g (float[{shape}] x) => (float[A,B,C] y) {{ {body} }}")).macs == macs


def test_macs_of_a_recurrent_layer():
    steps, batch, inputs, hidden = 20, 2, 6, 5
    network = model(
        f"g (float[{steps},{batch},{inputs}] x) => (float[{steps},1,{batch},{hidden}] y)"
        f"{{ y = LSTM <hidden_size = {hidden}> (x, w, r) }}",
        w=weight(1, 4 * hidden, inputs),
        r=weight(1, 4 * hidden, hidden),
    )
    assert work(network).macs == steps * batch * 4 * hidden * (inputs + hidden)


@pytest.mark.parametrize("platform", platform_names())
@given(factor=st.integers(2, 8))
@settings(deadline=None, max_examples=10)
def test_time_grows_with_the_data_and_shrinks_with_every_rate(platform, factor):
    small, large = (model(f"g (float[1,8,{n}] x) => (float[1,8,{n}] y) {{ y = Sin(x) }}") for n in (64, 64 * factor))
    before = estimate(small, platform)
    assert estimate(large, platform).cpu_time_ms == pytest.approx(factor * before.cpu_time_ms)
    for figure in ("cpu_frequency_mhz", "cpu_elements_per_cycle", "cpu_functions_per_cycle", "cpu_bandwidth"):
        faster = estimate(small, platform, **{figure: factor * getattr(load_platform(platform), figure)})
        assert faster.cpu_time_ms < before.cpu_time_ms
        assert faster.time_ms == before.time_ms == 0


@pytest.mark.parametrize("name", ["yolov5s_640", "vit_tiny_224", "swin_tiny_224"])
@pytest.mark.parametrize("platform", ["520", "730"])
def test_cpu_time_is_apart_from_the_npu_time(name, platform):
    slow = {"cpu_frequency_mhz": 1.0, "cpu_bandwidth": 0.001}
    network = zoo.skeleton(name)
    before, after = estimate(network, platform), estimate(network, platform, **slow)
    assert after.time_ms == before.time_ms
    assert all((node.cpu_ms is None) or node.type == "CPU" for node in before.nodes)
    if before.cpu_nodes:
        assert after.cpu_time_ms > before.cpu_time_ms > 0
    assert before.cpu_nodes_without_time == 0


def test_what_the_shapes_do_not_say_has_no_time():
    unknown = model("g (float[4] x) => (int64[A,B] y) { y = NonZero(x) }")
    evaluation = estimate(unknown, "720")
    assert [node.cpu_ms for node in evaluation.nodes] == [None]
    assert evaluation.cpu_nodes_without_time == 1
    assert "CPU nodes = not known" in render_text(evaluation)


def test_the_text_says_how_rough_it_is():
    nodes = (make_node(), make_cpu_node("a", cpu_ms=1234.5), make_cpu_node("b", cpu_ms=None))
    text = render_text(make_evaluation(nodes=nodes))
    assert "CPU nodes = about 1000 ms on one Cortex-M4 at 400 MHz, without 1 of them whose time is not known; " in text
    assert "CPU nodes =" not in render_text(make_evaluation())


@given(st.floats(1e-9, 1e9))
def test_roughly_has_one_digit_that_counts(value):
    shown = roughly(value)
    assert len(shown.replace(".", "").strip("0")) == 1
    assert float(shown) == pytest.approx(value, rel=0.5)


def test_the_command_adds_the_time_of_cpu_nodes(tmp_path, capsys):
    network = model(
        "g (float[1,3,64,64] x) => (float[1,8,62,62] y) { a = Conv(x, w) y = Sin(a) }", w=weight(8, 3, 3, 3)
    )
    onnx.save(network, tmp_path / "sin.onnx")
    assert opt_and_eval.main(["720", "-e", str(tmp_path / "sin.onnx"), "-E", str(tmp_path / "r")]) == 0
    report = ktc.ModelConfig(1, "0001", "720", onnx_model=network).evaluate(tmp_path / "r")
    words = f", 1 CPU node, about {roughly(report.evaluation.cpu_time_ms)} ms on the CPU, not included\n"
    assert words in capsys.readouterr().out
