"""Advice: what it promises is what comes out when it is followed to the letter."""

from __future__ import annotations

import ast
import csv
import json
import shlex
import subprocess
import sys

import jsonschema
import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ktc
import zoo
from advised import follow, follow_command, largest_difference, run
from evaluations import HOSTILE
from graphs import model, operators, weight
from ktc.advice import Advice, Advised, advise, changes
from ktc.advice._search import QUICK, Budget, find_advice
from ktc.errors import ConfigError, ModelError
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware.platform import load_platform
from ktc.report import render_html, render_json, render_text, schema
from ktc.report._advice import render_advice

PLATFORMS = ("520", "720", "530", "630", "730")


@pytest.fixture
def saved(tmp_path):
    """Save a model, and return its path; the name needs quoting, in Python and in a shell."""

    def save(proto: onnx.ModelProto) -> object:
        path = tmp_path / "it's a model.onnx"
        onnx.save(proto, path)
        return path

    return save


def depthwise(kernel: int = 5, channels: int = 64) -> onnx.ModelProto:
    return model(
        f"""g (float[1,3,112,112] x) => (float[1,{channels},56,56] y) {{
            a = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w)
            b = Relu (a)
            c = Conv <group={channels}, pads=[{kernel // 2},{kernel // 2},{kernel // 2},{kernel // 2}]> (b, d, e)
            y = Relu (c)
        }}""",
        w=weight(channels, 3, 3, 3, scale=0.2),
        d=weight(channels, 1, kernel, kernel, scale=0.2),
        e=weight(channels),
    )


def silu_network() -> onnx.ModelProto:
    return model(
        """g (float[1,8,64,64] x) => (float[1,8,64,64] y) {
            a = Conv <pads=[1,1,1,1]> (x, w)
            s = Sigmoid (a)
            b = Mul (s, a)
            y = Conv <pads=[1,1,1,1]> (b, v)
        }""",
        w=weight(8, 8, 3, 3),
        v=weight(8, 8, 3, 3, seed=1),
    )


def upsampling() -> onnx.ModelProto:
    return model(
        """g (float[1,8,12,16] x) => (float[1,8,24,32] y) {
            a = Conv <pads=[1,1,1,1]> (x, w)
            b = Resize <mode="linear", coordinate_transformation_mode="half_pixel"> (a, "", scales)
            y = Conv <pads=[1,1,1,1]> (b, v)
        }""",
        w=weight(8, 8, 3, 3),
        v=weight(8, 8, 3, 3, seed=1),
        scales=np.array([1, 1, 2, 2], np.float32),
    )


def with_awkward_ends() -> onnx.ModelProto:
    """A Gather of computed indices before, and a sort behind the convolutions, with a second output in between."""
    return model(
        """g (float[1,64,32,3] x, float[1,8,32,64] r) => (float[1,8,32,64] b, float[1,32,64,8] y, int64[1,32,64,1] i) {
            t = Transpose <perm=[0,3,2,1]> (x)
            f = Floor (t)
            a = Conv <pads=[1,1,1,1]> (f, w)
            b = Add (a, r)
            c = Conv <pads=[1,1,1,1]> (b, v)
            p = Transpose <perm=[0,2,3,1]> (c)
            y = Floor (p)
            i = ArgMax <axis=3> (y)
        }""",
        w=weight(8, 3, 3, 3),
        v=weight(8, 8, 3, 3, seed=1),
    )


def pyramid() -> onnx.ModelProto:
    return model(
        """g (float[1,16,20,20] x) => (float[1,64,20,20] y) {
            c = MaxPool <kernel_shape=[13,13], pads=[6,6,6,6]> (x)
            a = MaxPool <kernel_shape=[5,5], pads=[2,2,2,2]> (x)
            b = MaxPool <kernel_shape=[9,9], pads=[4,4,4,4]> (x)
            y = Concat <axis=1> (x, a, b, c)
        }"""
    )


def gated() -> onnx.ModelProto:
    return model(
        """g (float[1,8,16,16] x) => (float[1,8,16,16] y) {
            a = Conv <pads=[1,1,1,1]> (x, w)
            p = GlobalAveragePool (a)
            q = Conv (p, u)
            z = Relu (q)
            r = Conv (z, v)
            s = HardSigmoid (r)
            m = Mul (a, s)
            y = Conv <pads=[1,1,1,1]> (m, w2)
        }""",
        w=weight(8, 8, 3, 3),
        u=weight(4, 8, 1, 1),
        v=weight(8, 4, 1, 1),
        w2=weight(8, 8, 3, 3),
    )


def odd_channels() -> onnx.ModelProto:
    return model(
        """g (float[1,3,64,64] x) => (float[1,16,64,64] y) {
            a = Conv <pads=[1,1,1,1]> (x, w, wb)
            n = BatchNormalization (a, g, h, m, k)
            s = Sigmoid (n)
            b = Mul (n, s)
            c = Conv <group=17, pads=[1,1,1,1]> (b, d, db)
            r = PRelu (c, slope)
            y = Conv (r, v)
        }""",
        w=weight(17, 3, 3, 3),
        wb=weight(17),
        g=weight(17),
        h=weight(17),
        m=weight(17),
        k=np.abs(weight(17)) + 1,
        d=weight(17, 1, 3, 3),
        db=weight(17),
        slope=weight(17, 1, 1),
        v=weight(16, 17, 1, 1),
    )


def decoder() -> onnx.ModelProto:
    return model(
        """g (float[1,8,16,16] x) => (float[1,6,32,32] y) {
            a = ConvTranspose <kernel_shape=[2,2], strides=[2,2]> (x, w, b)
            y = Conv <pads=[1,1,1,1]> (a, v)
        }""",
        w=weight(8, 6, 2, 2),
        b=weight(6),
        v=weight(6, 6, 3, 3),
    )


def shuffling() -> onnx.ModelProto:
    """A ShuffleNet unit: channels split, one half convolved, both shuffled."""
    return model(
        """g (float[1,12,8,10] x) => (float[1,12,8,10] y) {
            a = Conv (x, w)
            b = Slice (a, zero, half, one)
            c, d = Split <axis=1> (a, parts)
            e = Conv <pads=[1,1,1,1]> (b, v)
            f = Concat <axis=1> (e, d)
            q = Reshape (f, apart)
            r = Transpose <perm=[0,2,1,3,4]> (q)
            s = Reshape (r, together)
            y = Add (s, x)
        }""",
        w=weight(12, 12, 1, 1),
        v=weight(6, 6, 3, 3),
        zero=[0],
        half=[6],
        one=[1],
        parts=[6, 6],
        apart=[1, 2, 6, 8, 10],
        together=[1, 12, 8, 10],
    )


CASES = {
    "kernel": (depthwise, "720"),
    "activation": (silu_network, "520"),
    "resize": (upsampling, "520"),
    "cut": (with_awkward_ends, "720"),
    "gate": (gated, "520"),
    "channels": (odd_channels, "520"),
    "pool": (pyramid, "530"),
    "layout": (shuffling, "720"),
    "resize of ConvTranspose": (decoder, "520"),
}


def kept(advice: Advice, path: object, platform: str, **settings: object) -> None:
    """Assert that an advice keeps its promises."""
    time_ms, cpu_nodes = follow(advice, path, platform, **settings)
    assert time_ms == pytest.approx(advice.time_after_ms, rel=1e-9)
    assert cpu_nodes == advice.cpu_nodes_after
    if advice.exact and advice.kind != "settings":
        assert largest_difference(advice, path, zoo.random_inputs(onnx.load(path))) < 1e-4


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_proposed_where_it_helps_and_keeps_its_promise(kind, saved):
    make, platform = CASES[kind]
    path = saved(make())
    found = [advice for advice in advise(path, platform, optimizer=False) if advice.kind == kind.split()[0]]
    assert found
    for advice in found:
        assert advice.nodes
        kept(advice, path, platform)


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        ("mobilenet_v3_large_224", "720"),
        ("efficientnet_b0_relu_no_se_224", "720"),
        ("bert_mini_128", "720"),
        ("lstm_speech_200", "630"),
        ("yolov8n_640", "520"),
        ("shufflenet_v2_x1_224", "530"),
        ("srcnn_384", "730"),
    ],
)
def test_advice_on_real_networks_keeps_its_promises(name, platform, saved):
    path = saved(zoo.materialize(name))
    for advice in advise(path, platform, optimizer=False):
        kept(advice, path, platform)


def test_wide_depthwise_kernels_are_what_helps_on_the_720():
    first = advise(zoo.materialize("efficientnet_b0_relu_no_se_224"), "720", optimizer=False)[0]
    assert (first.kind, first.exact) == ("kernel", False)
    assert len(first.nodes) == 9
    assert first.gain > 0.3


def test_optimizer_is_advised_with_the_option_that_helps(saved):
    path = saved(
        model(
            """g (float[1,8,32,32] x) => (float[1,8,32,32] y) {
                a = Conv <pads=[1,1,1,1]> (x, w)
                b = AveragePool <kernel_shape=[5,5], pads=[2,2,2,2], count_include_pad=1> (a)
                y = Conv <pads=[1,1,1,1]> (b, v)
            }""",
            w=weight(8, 8, 3, 3),
            v=weight(8, 8, 3, 3, seed=1),
        )
    )
    found = [advice for advice in advise(path, "720") if advice.kind == "optimizer"]
    assert found
    assert "replace_avgpool_with_conv=True" in found[0].snippet
    assert found[0].cpu_nodes_after < found[0].cpu_nodes_before
    kept(found[0], path, "720")
    assert follow_command(found[0], path, "720") == (
        pytest.approx(found[0].time_after_ms),
        found[0].cpu_nodes_after,
    )


def test_useless_nodes_are_a_reason_to_optimise(saved):
    chain = "".join(f"a{i + 1} = Transpose <perm=[0,1,3,2]> (a{i}) " for i in range(6))
    text = f"g (float[1,8,32,32] a0) => (float[1,8,32,32] y) {{ {chain} y = Conv <pads=[1,1,1,1]> (a6, w) }}"
    path = saved(model(text, w=weight(8, 8, 3, 3)))
    (found,) = [advice for advice in advise(path, "720") if advice.kind == "optimizer"]
    assert found.exact
    assert found.gain > 0.3
    kept(found, path, "720")


def test_settings_are_advised_and_reached_by_snippet_and_command(saved):
    path = saved(zoo.materialize("srcnn_384"))
    (found,) = [advice for advice in advise(path, "720", optimizer=False) if advice.kind == "settings"]
    assert found.exact
    assert shlex.split(found.command)[-1] == "--deep-search"
    kept(found, path, "720")
    assert follow_command(found, path, "720") == (pytest.approx(found.time_after_ms, rel=1e-3), 0)


def test_narrower_settings_are_advised_to_who_runs_wide_ones(saved):
    path = saved(zoo.materialize("srcnn_384"))
    wide = {"datapath_bitwidth_mode": "int16", "weight_bitwidth_mode": "int16"}
    found = [advice for advice in advise(path, "730", optimizer=False, **wide) if advice.kind == "settings"]
    assert any("datapath_bitwidth_mode='int8'" in advice.snippet for advice in found)
    for advice in found:
        kept(advice, path, "730", **wide)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.data())
def test_convolved_channel_moves_compute_the_same(groups, width, step, data):
    channels = groups * width
    begin = data.draw(st.integers(-channels, channels - 1))
    end = data.draw(st.sampled_from([channels, 2**31, -1, begin + 1 if begin != -1 else channels]))
    assume(range(channels)[begin:end:step])
    picked = len(range(channels)[begin:end:step])
    before = model(
        f"""g (float[2,{channels},3,2] x) => (float[2,{channels},3,2] y, float[2,{picked},3,2] z) {{
            q = Reshape (x, apart)
            r = Transpose <perm=[0,2,1,3,4]> (q)
            y = Reshape (r, together)
            z = Slice (x, begin, end, axis, step)
        }}""",
        apart=[0, groups, width, 3, 2],
        together=[2, -1, 3, 2],
        begin=[begin],
        end=[end],
        axis=[-3],
        step=[step],
    )
    after = onnx.ModelProto()
    after.CopyFrom(before)
    changes.convolve_channel_moves(after, ["z", "r"])
    onnx.checker.check_model(after)
    assert operators(after) == {"Conv": 2}
    inputs = zoo.random_inputs(before)
    for name, array in run(before, inputs).items():
        np.testing.assert_array_equal(run(after, inputs)[name], array)


def test_replaced_transposed_convolution_is_equal_where_its_kernel_is_constant():
    before = decoder()
    kernel = np.repeat(np.repeat(weight(8, 6, 1, 1), 2, axis=2), 2, axis=3)
    before.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(kernel, "w"))
    after = onnx.ModelProto()
    after.CopyFrom(before)
    changes.replace_transposed_convolutions(after, ["a"])
    onnx.checker.check_model(after, full_check=True)
    inputs = zoo.random_inputs(before)
    np.testing.assert_allclose(run(after, inputs)["y"], run(before, inputs)["y"], rtol=1e-4, atol=1e-4)


def test_other_slices_and_transposes_are_not_channel_moves():
    network = model(
        """g (float[1,4,8,8] x) => (float[1,4,4,8] y, float[1,4,8,8] z) {
            y = Slice (x, a, b, c)
            z = Transpose <perm=[0,1,3,2]> (x)
        }""",
        a=[0],
        b=[4],
        c=[2],
    )
    for name in ("y", "z"):
        with pytest.raises(ModelError, match=f"'{name}'"):
            changes.convolve_channel_moves(network, [name])


@given(st.lists(st.sampled_from([3, 5, 7, 9, 11, 13]), min_size=2, max_size=4, unique=True), st.integers(1, 30))
def test_chained_pools_compute_the_same(sizes, extent):
    pads = {k: ",".join([str(k // 2)] * 4) for k in sizes}
    pools = "".join(f"p{k} = MaxPool <kernel_shape=[{k},{k}], pads=[{pads[k]}]> (x) " for k in sizes)
    names = [f"p{k}" for k in sizes]
    text = f"g (float[1,2,{extent},{extent}] x) => (float[1,{2 * len(sizes)},{extent},{extent}] y) "
    before = model(f"{text} {{ {pools} y = Concat <axis=1> ({', '.join(names)}) }}")
    after = onnx.ModelProto()
    after.CopyFrom(before)
    changes.chain_max_pools(after, names)
    onnx.checker.check_model(after)
    inputs = zoo.random_inputs(before)
    np.testing.assert_array_equal(run(after, inputs)["y"], run(before, inputs)["y"])


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.integers(0, 6)] * 4),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_smaller_kernels_keep_the_shape(kernel, pads, stride, dilation):
    text = f"""g (float[1,2,40,40] x) => (float[1,4,h,w] y) {{
        y = Conv <kernel_shape=[{kernel[0]},{kernel[1]}], strides=[{stride},{stride}],
                  dilations=[{dilation},{dilation}], pads=[{",".join(map(str, pads))}]> (x, k)
    }}"""
    before = model(text, k=weight(4, 2, *kernel))
    after = onnx.ModelProto()
    after.CopyFrom(before)
    excess = [dilation * max(0, extent - 3) for extent in kernel]
    enough = all(
        pads[axis] >= excess[axis] // 2 and pads[axis + 2] >= excess[axis] - excess[axis] // 2 for axis in (0, 1)
    )
    if max(kernel) <= 3 or not enough:
        with pytest.raises(ModelError):
            changes.shrink_kernels(after, ["y"])
        return
    changes.shrink_kernels(after, ["y"])
    assert max(after.graph.initializer[0].dims[2:]) <= 3
    inputs = zoo.random_inputs(before)
    assert run(after, inputs)["y"].shape == run(before, inputs)["y"].shape


def test_narrowed_chain_is_a_valid_network():
    changed = odd_channels()
    changes.narrow_channels(changed, {"a": 16})
    onnx.checker.check_model(changed, full_check=True)
    assert run(changed, zoo.random_inputs(changed))["y"].shape == (1, 16, 64, 64)
    extents = {tensor.name: list(tensor.dims) for tensor in changed.graph.initializer}
    assert all(17 not in dims for dims in extents.values())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Swish", "s = Sigmoid (x) y = Mul (x, s)"),
        ("HardSwish", "s = HardSigmoid (x) y = Mul (s, x)"),
        ("Gelu", "d = Div (x, root) e = Erf (d) f = Add (e, one) h = Mul (x, f) y = Mul (h, half)"),
        ("Gelu", "d = Div (x, root) e = Erf (d) f = Add (e, one) h = Mul (x, half) y = Mul (h, f)"),
        ("LeakyRelu", "y = LeakyRelu (x)"),
    ],
)
def test_written_out_activations_are_found_and_replaced(kind, text):
    scalars = {"root": 2**0.5, "one": 1.0, "half": 0.5}
    used = {name: np.array(value, np.float32) for name, value in scalars.items() if name in text}
    changed = model(f"g (float[1,4] x) => (float[1,4] y) {{ {text} }}", **used)
    changes.replace_activations(changed, kind)
    assert operators(changed) == {"Relu": 1}
    assert not changed.graph.initializer
    onnx.checker.check_model(changed)


def test_other_readers_keep_a_gate_from_being_taken_for_an_activation():
    text = "g (float[1,4] x) => (float[1,4] y, float[1,4] s) { s = Sigmoid (x) y = Mul (x, s) }"
    changed = model(text)
    changes.replace_activations(changed, "Swish")
    assert operators(changed) == {"Sigmoid": 1, "Mul": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: changes.shrink_kernels(m, ["nowhere"]),
        lambda m: changes.replace_resizes(m, ["a"], mode="nearest"),
        lambda m: changes.chain_max_pools(m, ["a", "b"]),
        lambda m: changes.narrow_channels(m, {"y": 4}),
        lambda m: changes.narrow_channels(m, {"a": 8}),
    ],
)
def test_changes_for_another_model_are_refused(change):
    with pytest.raises(ModelError, match=r"nowhere|'a'|'y'"):
        change(silu_network())


def test_advice_is_sorted_and_consistent():
    found = advise(zoo.materialize("mobilenet_v3_large_224"), "720", optimizer=False)
    assert [advice.gain for advice in found] == sorted((advice.gain for advice in found), reverse=True)
    for advice in found:
        assert advice.fps_before == pytest.approx(1000 / advice.time_before_ms)
        assert advice.gain > 0.01 or advice.cpu_nodes_after < advice.cpu_nodes_before
        assert advice.cpu_nodes_after <= advice.cpu_nodes_before
        assert f"{advice.expected_error_percent:.0f} %" in advice.statement


def test_nothing_is_cut_off_where_no_network_would_be_left():
    network = model(
        """g (float[1,8,16,16] x) => (float[1,8,16,16] y) {
            a = Transpose <perm=[0,2,3,1]> (x)
            b = Floor (a)
            y = Transpose <perm=[0,3,1,2]> (b)
        }"""
    )
    assert not [advice for advice in advise(network, "720", optimizer=False) if advice.kind == "cut"]


def test_threshold_and_number_of_candidates_are_respected():
    network = zoo.materialize("efficientnet_b0_224")
    assert all(advice.gain >= 0.3 for advice in advise(network, "720", threshold=0.3, optimizer=False))
    chip = load_platform("720")
    few = find_advice(network, chip, EvaluationSettings(), budget=Budget(1, 10**9, optimizer=False))
    assert few.tried == 1
    assert any("more changes were not tried" in sentence for sentence in few.left_out)


def test_large_models_get_fewer_candidates():
    network = zoo.skeleton("lite_hrnet30_256x192")
    found = find_advice(network, load_platform("720"), EvaluationSettings(), budget=QUICK)
    assert 2 <= found.tried <= 4


def test_the_model_is_not_changed():
    network = with_awkward_ends()
    before = network.SerializeToString(deterministic=True)
    assert advise(network, "720")
    assert network.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threshold": 1}, "threshold"),
        ({"threshold": "a"}, "threshold"),
        ({"candidates": 0}, "candidates"),
        ({"tiling": "default"}, "'tiling' is not a setting"),
        ({"compiler_tiling": "wide"}, "compiler_tiling"),
    ],
)
def test_bad_arguments_are_explained(arguments, words):
    with pytest.raises(ConfigError, match=words):
        advise(silu_network(), "720", **arguments)


def hostile(name: str) -> onnx.ModelProto:
    """A depthwise network whose nodes and tensors have a hostile name."""
    network = depthwise()
    for node in network.graph.node:
        node.name = f"{node.name}{name}{node.output[0]}"
        for names in (node.input, node.output):
            for index, old in enumerate(names):
                if old in "abc":
                    names[index] = f"{old}{name}"
    return network


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_harmless_and_the_snippet_runs(name, saved):
    path = saved(hostile(name))
    found = [advice for advice in advise(path, "720", optimizer=False) if advice.kind == "kernel"]
    assert found
    kept(found[0], path, "720")
    chip = load_platform("720")
    evaluation = evaluate(lower(onnx.load(path), chip), chip, EvaluationSettings())
    advised = Advised(tuple(found), 1)
    page = render_html(evaluation, advised)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    text = render_text(evaluation, advised)
    assert sum(line.startswith("estimate FPS float") for line in text.splitlines()) == 1
    jsonschema.validate(json.loads(json.dumps(render_json(evaluation, advised))), schema())
    for advice in found:
        ast.parse(advice.snippet)
        assert advice.snippet.isascii() or advice.snippet.replace("\n", "").isprintable()
    assert render_advice(advised).count("\n") == len(render_advice(advised).splitlines())


def test_report_has_the_advice_in_every_form(tmp_path):
    config = ktc.ModelConfig(32769, "0001", "720", onnx_model=depthwise())
    report = config.evaluate(tmp_path)
    assert report.advice
    assert report.advice[0].kind == "kernel"
    head, _, rest = report.partition("[What would help]\n")
    assert head.startswith("[Evaluation Result]")
    assert rest.startswith(f"1. {report.advice[0].text}")
    lines = report.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(", node,"))
    assert len(list(csv.DictReader(lines[start:], skipinitialspace=True))) == len(report.nodes)
    document = json.loads(report.files["model_fx_report.json"].read_text("utf-8"))
    assert document == json.loads(json.dumps(report.to_dict()))
    jsonschema.validate(document, schema())
    assert document["advice"]["items"][0]["snippet"] == report.advice[0].snippet
    page = report.files["model_fx_report.html"].read_text("utf-8")
    assert "What would help" in page
    assert "changes.shrink_kernels(model, [" in page
    assert "python -m ktc.advise 720 model.onnx" in page


def test_advice_can_be_switched_off(tmp_path):
    report = ktc.ModelConfig(32769, "0001", "720", onnx_model=depthwise()).evaluate(tmp_path, advice=False)
    assert report.advice == ()
    assert "What would help" not in report
    assert "What would help" not in report.files["model_fx_report.html"].read_text("utf-8")
    assert report.to_dict()["advice"] is None


def test_command_prints_advice_that_can_be_followed(saved):
    path = saved(depthwise())
    command = [sys.executable, "-m", "ktc.advise", "720", str(path), "--no-optimizer"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("1. Use kernels of 3x3 in place of 5x5")
    document = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    promised = document["items"][0]
    code = [line[7:] for line in done.stdout.splitlines() if line.startswith("       ")]
    wanted = [line for line in promised["snippet"].splitlines() if line]
    assert code[: len(wanted)] == wanted
    assert subprocess.run([*command[:-1], "--threshold", "200"], capture_output=True, check=False).returncode == 2


def test_module_and_function_share_their_name():
    import ktc.advise

    assert callable(ktc.advise)
    assert ktc.advise(depthwise(), "720", optimizer=False)
