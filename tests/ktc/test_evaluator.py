"""Settings, tiling, cost and totals of the evaluator."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from graphs import model, weight
from ktc.errors import ConfigError
from ktc.evaluator import EvaluationSettings, check_settings, evaluate
from ktc.evaluator.cost import overlapped
from ktc.evaluator.evaluate import _Cost
from ktc.evaluator.evaluation import NodeEvaluation
from ktc.evaluator.macs import TAP_RULES
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from zoo import ZOO_NAMES, skeleton

WITH_16_BITS = ("720", "530", "630", "730")


def conv_chain(layers=3, channels=16, size=32, kernel=3, stride=1, batch=1, copies=1):
    """`copies` independent chains of Conv and Relu."""
    nodes, inputs, outputs, constants = [], [], [], []
    for copy in range(copies):
        name = f"x{copy}"
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels, size, size]))
        for layer in range(layers):
            weight, conv, relu = (f"{kind}{copy}_{layer}" for kind in ("w", "c", "r"))
            constants.append(TensorProto(name=weight, dims=[channels, channels, kernel, kernel], data_type=1))
            nodes.append(
                helper.make_node(
                    "Conv",
                    [name, weight],
                    [conv],
                    conv,
                    pads=[kernel // 2] * 4,
                    strides=[stride] * 2 if layer == 0 else [1, 1],
                )
            )
            nodes.append(helper.make_node("Relu", [conv], [relu], relu))
            name = relu
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "chain", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def run(model, platform="720", **arguments):
    view = load_platform(platform)
    return evaluate(lower(model, view), view, EvaluationSettings(**arguments))


CHAINS = st.builds(
    conv_chain,
    layers=st.integers(1, 6),
    channels=st.sampled_from([1, 3, 8, 24, 64, 300]),
    size=st.sampled_from([4, 16, 64, 256]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
)


@pytest.mark.parametrize(
    ("platform", "arguments", "words"),
    [
        ("720", {"datapath_bitwidth_mode": "int4"}, "datapath_bitwidth_mode='int4'.*'int16'"),
        ("720", {"datapath_bitwidth_mode": 8}, "datapath_bitwidth_mode=8"),
        ("720", {"weight_bitwidth_mode": "int4"}, "weight_bitwidth_mode='int4' is not available on KL720"),
        ("520", {"weight_bitwidth_mode": "int4"}, "on KL520; allowed: 'int8'"),
        ("520", {"datapath_bitwidth_mode": "int16"}, "datapath_bitwidth_mode='int16'"),
        ("520", {"datapath_bitwidth_mode": "mix light"}, "mix light"),
        ("520", {"weight_bitwidth_mode": "mix balance"}, "mix balance"),
        ("520", {"model_in_bitwidth_mode": "int16"}, "model_in_bitwidth_mode"),
        ("520", {"model_out_bitwidth_mode": "int16"}, "model_out_bitwidth_mode"),
        ("520", {"cpu_node_bitwidth_mode": "int16"}, "cpu_node_bitwidth_mode"),
        ("730", {"model_in_bitwidth_mode": "mix light"}, "model_in_bitwidth_mode='mix light'"),
        ("730", {"compiler_tiling": "partial_graph_search"}, "compiler_tiling.*'deep_search'"),
        ("720", {"input_fmt": "4W4C8B"}, "input_fmt='4W4C8B' is not available on KL720"),
        ("730", {"input_fmt": "NHWC"}, "input_fmt='NHWC' is not a documented format"),
        *[("730", {"weight_bandwidth": v}, "weight_bandwidth=") for v in (0, -1, True, "8", math.nan, math.inf, [1])],
        *[("730", {"dma_bandwidth": v}, "dma_bandwidth=") for v in (0.0, False, -math.inf, "fast")],
    ],
)
def test_settings_that_are_not_allowed_are_refused_in_one_sentence(platform, arguments, words):
    view = load_platform(platform)
    with pytest.raises(ConfigError, match=words) as caught:
        check_settings(EvaluationSettings(**arguments), view)
    assert str(caught.value).endswith(".")
    with pytest.raises(ConfigError, match=words):
        evaluate(lower(conv_chain(1), view), view, EvaluationSettings(**arguments))


@pytest.mark.parametrize("platform", platform_names())
def test_documented_settings_are_allowed(platform):
    view = load_platform(platform)
    check_settings(EvaluationSettings(compiler_tiling="deep_search", weight_bandwidth=1, dma_bandwidth=2.5), view)
    for datapath in view.datapath_modes:
        for weights in view.weight_modes:
            check_settings(EvaluationSettings(datapath_bitwidth_mode=datapath, weight_bitwidth_mode=weights), view)


def test_a_program_of_another_platform_is_refused():
    program = lower(conv_chain(1), load_platform("720"))
    with pytest.raises(ConfigError, match=r"KL720.*KL730"):
        evaluate(program, load_platform("730"), EvaluationSettings())


@pytest.mark.parametrize("platform", platform_names())
@settings(max_examples=12, deadline=None)
@given(model=CHAINS)
def test_totals_equal_sums_and_parts_are_consistent(platform, model):
    view = load_platform(platform)
    result = run(model, platform)
    assert result.time_ms == pytest.approx(sum(n.sync_ms for n in result.nodes))
    assert result.dram_bytes == sum(n.read_bytes + n.write_bytes + n.weight_bytes for n in result.nodes)
    assert 0 < result.mac_efficiency <= 1
    assert result.mac_idle_ms >= 0
    assert [n.command_index for n in result.nodes] == list(range(len(result.nodes)))
    for node in result.nodes:
        assert node.runtime_ms == pytest.approx(node.cfunc_ms + node.pfunc_ms + node.read_ms + node.write_ms)
        assert node.mac_ms == pytest.approx(node.mac_cycles / view.frequency_mhz / 1e3)
        assert node.sync_ms >= max(node.mac_ms, node.read_ms, node.write_ms, node.weight_ms)
        assert node.read_ms == pytest.approx(node.read_bytes / result.read_bandwidth / 1e6)
        assert node.bound != "cpu"


def layout_net(channels, size):
    """A channel shuffle without its reshapes: Conv, Split, Concat the other way round."""
    conv = conv_chain(layers=1, channels=channels, size=size)
    conv.graph.node.append(helper.make_node("Split", ["r0_0"], ["a", "b"], "split", axis=1))
    conv.graph.node.append(helper.make_node("Concat", ["b", "a"], ["y"], "concat", axis=1))
    conv.graph.output[0].name = "y"
    return conv


@settings(max_examples=25, deadline=None)
@given(
    platform=st.sampled_from(platform_names()),
    channels=st.sampled_from([8, 32, 64]),
    size=st.sampled_from([4, 32, 128]),
)
def test_layout_moves_pass_the_auxiliary_unit_with_what_they_write(platform, channels, size):
    view = load_platform(platform)
    concat = run(layout_net(channels, size), platform).nodes[-1]
    assert (concat.backend, concat.type) == ("Concat", "NPU")
    written = channels * size * -(-size // 16) * 16  # planes of 16 columns leave the chip
    passes = view.layout_passes * written / view.auxiliary_bandwidth / 1e6
    assert concat.pfunc_ms == pytest.approx(passes + view.node_overhead_us / 1e3)


PARTS = st.floats(0, 1e3)


@given(compute=PARTS, weights=PARTS, maps=PARTS, more=st.floats(0, 1e3), platform=st.sampled_from(platform_names()))
def test_overlap_lies_between_the_longest_part_and_the_sum(compute, weights, maps, more, platform):
    view = load_platform(platform)
    time = overlapped(view, compute, weights, maps)
    assert max(compute, weights + maps) <= time <= (compute + weights + maps) * (1 + 1e-12)
    for longer in ((compute + more, weights, maps), (compute, weights + more, maps), (compute, weights, maps + more)):
        assert overlapped(view, *longer) >= time * (1 - 1e-12)


@settings(max_examples=12, deadline=None)
@given(model=CHAINS, platform=st.sampled_from(platform_names()))
def test_no_node_beats_the_peak_of_the_array(model, platform):
    view = load_platform(platform)
    for node in run(model, platform).nodes:
        assert node.sync_ms >= node.macs / view.macs_per_cycle / view.frequency_mhz / 1e3
        if node.macs:
            assert node.mac_cycles >= math.prod(node.output_shape) / view.outputs_per_cycle * (1 - 1e-9)


@settings(max_examples=25, deadline=None)
@given(model=CHAINS, platform=st.sampled_from(platform_names()), factor=st.floats(1, 64))
def test_more_memory_is_never_slower_and_moves_no_more(model, platform, factor):
    small = dataclasses.replace(load_platform(platform), resident_maps=True, feature_memory_bytes=65536)
    large = dataclasses.replace(small, feature_memory_bytes=65536 * factor)
    before, after = (evaluate(lower(model, view), view, EvaluationSettings()) for view in (small, large))
    assert after.time_ms <= before.time_ms * (1 + 1e-9)
    assert after.dram_bytes <= before.dram_bytes
    for view, result in ((small, before), (large, after)):
        assert all(0 <= n.live_bytes - n.spilled_bytes <= view.feature_memory_bytes for n in result.nodes)


def chain_of(nodes, **weights):
    """Operators on maps of 32 channels, 128 x 128: half a megabyte each."""
    return model(f"g (float[1,32,128,128] x) => (float[A,B,C,D] y) {{ {nodes} }}", **weights)


def test_weights_are_loaded_once_for_each_strip_that_the_memory_holds():
    size = 32 * 128 * 128
    network = chain_of(
        "a = Conv (x, w) b = Conv (a, w) c = Conv (b, w) y = MaxPool <kernel_shape = [2,2]> (c)", w=weight(32, 32, 1, 1)
    )
    for memory, loads in ((2 * size, 1), (2 * size - 1, 2), (size, 2), (size // 2, 4)):
        view = dataclasses.replace(load_platform("720"), feature_memory_bytes=memory)
        middle = evaluate(lower(network, view), view, EvaluationSettings()).nodes[1]
        assert middle.weight_bytes == loads * 32 * 32
        assert middle.weight_loads == loads


@pytest.mark.parametrize(("operator", "maps"), [("Conv <group = 32> (a, d)", 1), ("Neg (a)", 1), ("Conv (a, w)", 2)])
def test_depthwise_and_elementwise_nodes_work_in_place(operator, maps):
    network = chain_of(f"a = Conv (x, w) b = {operator} y = Conv (b, w)", w=weight(32, 32, 1, 1), d=weight(32, 1, 1, 1))
    assert run(network).nodes[1].live_bytes == maps * 32 * 128 * 128


@pytest.mark.parametrize(("waiting", "loads", "spilled"), [("share", 2, 1 / 3), ("leave", 1, 1)])
def test_maps_that_wait_share_the_memory_or_leave_it(waiting, loads, spilled):
    """While c is made of b, the map a waits for the sum; the memory holds two maps, not three."""
    size = 32 * 128 * 128
    network = chain_of(
        "a = Conv (x, w) b = Conv (a, w) c = Conv (b, w) d = Add (a, c) y = Conv (d, w)", w=weight(32, 32, 1, 1)
    )
    view = dataclasses.replace(load_platform("720"), feature_memory_bytes=2 * size, waiting_maps=waiting)
    a, b, c, *_ = evaluate(lower(network, view), view, EvaluationSettings()).nodes
    assert c.weight_loads == loads
    assert a.write_bytes == b.read_bytes == round(spilled * size)
    assert (b.write_bytes > 0) == (waiting == "share")


@pytest.mark.parametrize("waiting", ["share", "leave"])
@pytest.mark.parametrize("name", ["resnet50_v1_5_224", "densenet121_224", "unet_384", "inception_v3_224"])
def test_more_memory_is_never_slower_where_maps_wait(name, waiting):
    results = []
    for bits in range(14, 26):
        view = dataclasses.replace(load_platform("630"), waiting_maps=waiting, feature_memory_bytes=1 << bits)
        results.append(evaluate(lower(skeleton(name), view), view, EvaluationSettings()))
    for small, large in itertools.pairwise(results):
        assert large.time_ms <= small.time_ms * (1 + 1e-9)
        assert large.dram_bytes <= small.dram_bytes
        assert all(n.live_bytes - n.spilled_bytes >= 0 for n in large.nodes)
    assert results[-1].time_ms < results[0].time_ms


def test_a_product_of_one_position_loads_its_weights_once():
    """However little of the memory is left, it has but one row."""
    network = model(
        "g (float[1,32,128,128] x) => (float[1,10] z, float[A,B,C,D] y) { a = Conv (x, w) p = GlobalAveragePool (a)"
        " f = Flatten (p) z = Gemm (f, v) y = Neg (a) }",
        w=weight(32, 32, 1, 1),
        v=weight(32, 10),
    )
    view = dataclasses.replace(load_platform("720"), feature_memory_bytes=4096, waiting_maps="share")
    nodes = evaluate(lower(network, view), view, EvaluationSettings()).nodes
    assert next(node for node in nodes if node.backend == "Gemm").weight_loads == 1


def test_a_product_of_many_rows_runs_in_strips_of_them():
    network = model(
        "g (float[1,4096,256] x) => (float[1,4096,256] y) { a = MatMul (x, w) b = MatMul (a, w) y = MatMul (b, w) }",
        w=weight(256, 256),
    )
    view = dataclasses.replace(load_platform("720"), feature_memory_bytes=4096 * 256)
    middle = evaluate(lower(network, view), view, EvaluationSettings()).nodes[1]
    assert (middle.weight_loads, middle.weight_bytes) == (2, 2 * 256 * 256)


def test_the_fields_of_a_node_and_of_its_cost_are_in_the_same_order():
    names = _Cost._fields
    first = NodeEvaluation._fields.index(names[0])
    assert NodeEvaluation._fields[first : first + len(names)] == names


def test_maps_pass_through_dram_where_the_platform_keeps_none():
    network = conv_chain(layers=3, size=16)
    kept = dataclasses.replace(load_platform("530"), resident_maps=True)
    moving = dataclasses.replace(kept, resident_maps=False)
    before, after = (evaluate(lower(network, view), view, EvaluationSettings()) for view in (kept, moving))
    size = 16 * 16 * 16
    assert after.dram_bytes - before.dram_bytes == 2 * 2 * size
    assert all(node.live_bytes == node.spilled_bytes for node in after.nodes)
    assert after.weight_bytes == before.weight_bytes
    assert not load_platform("530").resident_maps


@settings(max_examples=25, deadline=None)
@given(
    model=CHAINS,
    platform=st.sampled_from(platform_names()),
    low=st.floats(0.01, 20),
    factor=st.floats(1, 50),
    tiling=st.sampled_from(["default", "deep_search"]),
)
def test_more_bandwidth_is_never_slower(model, platform, low, factor, tiling):
    for argument in ("weight_bandwidth", "dma_bandwidth"):
        slow = run(model, platform, compiler_tiling=tiling, **{argument: low})
        fast = run(model, platform, compiler_tiling=tiling, **{argument: low * factor})
        assert fast.time_ms <= slow.time_ms * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(model=CHAINS, platform=st.sampled_from(WITH_16_BITS), tiling=st.sampled_from(["default", "deep_search"]))
def test_wider_is_never_faster(model, platform, tiling):
    narrow = run(model, platform, compiler_tiling=tiling)
    for argument in ("datapath", "weight", "model_in", "model_out", "cpu_node"):
        wide = run(model, platform, compiler_tiling=tiling, **{f"{argument}_bitwidth_mode": "int16"})
        assert wide.time_ms >= narrow.time_ms * (1 - 1e-9)
        assert wide.dram_bytes >= narrow.dram_bytes or tiling == "deep_search"


@settings(max_examples=25, deadline=None)
@given(model=CHAINS, platform=st.sampled_from(platform_names()), dma=st.floats(0.05, 10))
def test_deep_search_is_never_worse(model, platform, dma):
    default = run(model, platform, dma_bandwidth=dma)
    searched = run(model, platform, dma_bandwidth=dma, compiler_tiling="deep_search")
    assert searched.time_ms <= default.time_ms * (1 + 1e-9)


def test_deep_search_saves_traffic_where_large_maps_spill():
    model = conv_chain(layers=3, channels=16, size=1024)
    default, searched = (run(model, dma_bandwidth=2, compiler_tiling=each) for each in ("default", "deep_search"))
    assert searched.time_ms < default.time_ms
    assert searched.dram_bytes < default.dram_bytes
    assert searched.theoretical_conv_ms == default.theoretical_conv_ms


@settings(max_examples=25, deadline=None)
@given(
    model=CHAINS,
    platform=st.sampled_from(["530", "630", "730"]),
    dma=st.floats(0.05, 10),
    tiling=st.sampled_from(["default", "deep_search"]),
)
def test_int4_weights_never_cost_more_bytes_or_time(model, platform, dma, tiling):
    eight, four = (
        run(model, platform, dma_bandwidth=dma, compiler_tiling=tiling, weight_bitwidth_mode=mode)
        for mode in ("int8", "int4")
    )
    assert four.weight_bytes <= eight.weight_bytes
    assert four.time_ms <= eight.time_ms * (1 + 1e-9)
    default = run(model, platform, dma_bandwidth=dma, weight_bitwidth_mode="int4")
    assert four.time_ms <= default.time_ms * (1 + 1e-9)


def test_deep_search_has_no_effect_on_520_and_says_so():
    model = conv_chain(size=512)
    default, searched = run(model, "520"), run(model, "520", compiler_tiling="deep_search")
    assert searched.nodes == default.nodes
    assert searched.warnings == ('compiler_tiling="deep_search" has no effect on KL520.',)


@pytest.mark.parametrize("platform", platform_names())
def test_two_copies_cost_about_twice(platform):
    one, two = run(conv_chain(layers=4), platform), run(conv_chain(layers=4, copies=2), platform)
    assert two.time_ms == pytest.approx(2 * one.time_ms, rel=0.05)


@pytest.mark.parametrize("platform", ["530", "630", "730"])
def test_int4_weights_halve_bytes_and_cycles(platform):
    eight, four = run(conv_chain(), platform), run(conv_chain(), platform, weight_bitwidth_mode="int4")
    assert four.weight_bytes * 2 == eight.weight_bytes
    assert four.nodes[0].mac_cycles == pytest.approx(eight.nodes[0].mac_cycles / 2)
    assert four.nodes[0].weight_bits == 4


def test_int16_doubles_maps_and_weights_and_slows_the_array():
    eight = run(conv_chain())
    wide = run(conv_chain(), datapath_bitwidth_mode="int16")
    assert (wide.nodes[-1].input_bits, wide.nodes[-1].output_bits) == (16, 8)
    assert wide.nodes[0].mac_cycles == pytest.approx(2 * eight.nodes[0].mac_cycles)
    heavy = run(conv_chain(), weight_bitwidth_mode="int16")
    assert heavy.weight_bytes == 2 * eight.weight_bytes
    both = run(conv_chain(), weight_bitwidth_mode="int16", datapath_bitwidth_mode="int16")
    assert both.nodes[0].mac_cycles == pytest.approx(4 * eight.nodes[0].mac_cycles)


def test_mix_modes_lie_between_int8_and_int16():
    model = conv_chain(layers=3, channels=64)
    times = [run(model, datapath_bitwidth_mode=mode).time_ms for mode in ("int8", "mix light", "mix balance", "int16")]
    assert times == sorted(times)
    small = run(conv_chain(channels=8), datapath_bitwidth_mode="mix light")
    assert small.nodes[0].output_bits == 16
    wide = run(conv_chain(channels=300), datapath_bitwidth_mode="mix balance")
    assert wide.nodes[0].output_bits == 8


def test_io_widths_change_the_border():
    model = conv_chain(channels=3, size=64)
    result = run(model, model_in_bitwidth_mode="int16", model_out_bitwidth_mode="int16")
    assert [(t.kind, t.bits, t.data_format) for t in result.io] == [
        ("input", 16, "4W4C8BHL"),
        ("output", 16, "8W1C16B"),
    ]
    assert result.nodes[0].read_bytes == 2 * run(model).nodes[0].read_bytes


def with_cpu_node():
    model = conv_chain(layers=1, channels=8)
    model.graph.node.append(helper.make_node("Sin", ["r0_0"], ["s"], "sin"))
    model.graph.node.append(helper.make_node("Neg", ["s"], ["y"], "neg"))
    model.graph.output[0].name = "y"
    return model


def test_cpu_nodes_cost_nothing_but_their_tensors_travel():
    eight, wide = (run(with_cpu_node(), cpu_node_bitwidth_mode=mode) for mode in ("int8", "int16"))
    conv, cpu, neg = eight.nodes
    assert (cpu.type, cpu.sync_ms, cpu.read_bytes, cpu.command_index, cpu.bound) == ("CPU", 0, 0, None, "cpu")
    assert cpu.reason == "Sin is not supported by KL720."
    assert conv.write_bytes >= 8 * 32 * 32
    assert neg.read_bytes >= 8 * 32 * 32
    assert neg.command_index == 1
    assert wide.nodes[0].write_bytes == 2 * conv.write_bytes
    assert [(t.kind, t.name) for t in eight.io] == [("input", "x0"), ("cpu", "s"), ("output", "y")]


def test_layouts_of_inputs_inner_maps_and_outputs():
    result = run(conv_chain(channels=3, layers=2))
    assert (result.nodes[0].input_format, result.nodes[0].output_format) == ("4W4C8B", "1W16C8B")
    assert result.nodes[1].output_format == "16W1C8B"
    assert run(conv_chain(channels=1)).io[0].data_format == "16W1C8B"
    assert run(conv_chain(channels=8)).io[0].data_format == "1W16C8B"


def test_input_fmt_sets_layout_and_bytes_on_730():
    model = conv_chain(channels=3, size=64)
    raw = run(model, "730", input_fmt="RAW_FLOAT")
    assert raw.io[0].data_format == "RAW_FLOAT"
    assert raw.nodes[0].read_bytes == 3 * 64 * 64 * 4
    assert run(model, "730", input_fmt="4W4C8B").nodes[0].read_bytes == 4 * 64 * 64
    assert run(model, "730", input_fmt="1W16C8B").nodes[0].read_bytes == 16 * 64 * 64


def test_mixed_layouts_list_their_tensors():
    model = conv_chain(layers=2, channels=3)
    model.graph.node.append(helper.make_node("Add", ["r0_1", "x0"], ["y"], "add"))
    model.graph.output[0].name = "y"
    assert run(model).nodes[-1].input_format == "1W16C8B:r0_1 \\ 4W4C8B:x0"


def test_a_platforms_own_bandwidths_are_the_default():
    view = load_platform("730")
    result = run(conv_chain(1), "730")
    assert (result.read_bandwidth, result.write_bandwidth, result.weight_bandwidth) == (8, 8, 4.5)
    changed = run(conv_chain(1), "730", dma_bandwidth=3, weight_bandwidth=2)
    assert (changed.read_bandwidth, changed.write_bandwidth, changed.weight_bandwidth) == (3, 3, 2)
    assert result.expected_error_percent == view.expected_error_percent > 0
    assert "benchmarks/calibrate.py" in result.expected_error_source


def test_reduce_l2_in_int8_gets_the_documented_advice():
    node = helper.make_node("ReduceL2", ["x"], ["y"], "norm", axes=[1])
    shape = helper.make_tensor_value_info("x", 1, [1, 8, 4, 4])
    graph = helper.make_graph([node], "g", [shape], [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    for platform in platform_names():
        (warning,) = run(model, platform).warnings
        assert '"mix light" or "int16"' in warning
    assert run(model, datapath_bitwidth_mode="mix light").warnings == ()


def test_a_dynamic_batch_reaches_the_evaluation():
    model = conv_chain(1)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert run(model).warnings == ("input 'x0' has a dynamic batch (N); it is taken as 1.",)


def test_tap_rules_as_documented():
    square, rows, groups = (TAP_RULES[name] for name in ("square_blocks_3x3", "rows_of_3", "groups_of_9"))
    assert [square(3, 3), square(7, 7), square(1, 7), square(5, 5)] == [9, 81, 81, 36]
    assert [rows(3, 3), rows(1, 7), rows(7, 1), rows(5, 5)] == [9, 9, 21, 30]
    assert [groups(3, 3), groups(1, 7), groups(7, 7), groups(5, 5)] == [9, 9, 54, 27]


@pytest.mark.parametrize(
    ("name", "stated_ms", "tolerance"),
    [("yolov3_416", 213.788, 0.005), ("tiny_yolov3_416", 16.7271, 0.015), ("mobilenet_v2_224", 3.81611, 0.01)],
)
def test_theoretical_convolution_time_of_published_520_reports(name, stated_ms, tolerance):
    assert run(skeleton(name), "520").theoretical_conv_ms == pytest.approx(stated_ms, rel=tolerance)


@pytest.mark.parametrize(
    ("platform", "name", "published_ms", "tolerance"),
    [
        ("520", "yolov3_416", 692.7, 0.12),
        ("520", "inception_v3_224", 161.9, 0.06),
        ("520", "mobilenet_v2_224", 18.46, 0.05),
        ("720", "yolov5s_640", 39.41, 0.05),
        ("720", "mobilenet_v2_224", 1.463, 0.05),
        ("530", "resnet50_v1_5_224", 27.18, 0.03),
        ("630", "tiny_yolov3_416", 9.964, 0.08),
        ("730", "yolov3_416", 59.58, 0.11),
        ("730", "unet_384", 256.1, 0.05),
    ],
)
def test_published_times_are_met(platform, name, published_ms, tolerance):
    assert run(skeleton(name), platform).time_ms == pytest.approx(published_ms, rel=tolerance)


@pytest.mark.parametrize("name", ZOO_NAMES)
def test_real_networks_evaluate_everywhere(name):
    model = skeleton(name)
    for platform in platform_names():
        view = load_platform(platform)
        program = lower(model, view)
        default = evaluate(program, view, EvaluationSettings())
        searched = evaluate(program, view, EvaluationSettings(compiler_tiling="deep_search"))
        assert searched.time_ms <= default.time_ms * (1 + 1e-9)
        if "int4" in view.weight_modes:
            for before, tiling in ((default, "default"), (searched, "deep_search")):
                chosen = EvaluationSettings(compiler_tiling=tiling, weight_bitwidth_mode="int4")
                four = evaluate(program, view, chosen)
                assert four.weight_bytes <= before.weight_bytes
                assert four.time_ms <= before.time_ms * (1 + 1e-9)
        assert 0 < default.mac_efficiency <= 1 or not default.theoretical_conv_ms
        assert all(math.isfinite(n.sync_ms) and n.sync_ms >= 0 for n in default.nodes)
        assert all((n.type == "CPU") == (n.reason is not None) for n in default.nodes)
        assert {t.kind for t in default.io} >= {"input", "output"}
        assert default.model_name == program.model_name
        assert dataclasses.asdict(default)["platform"] == platform


@pytest.mark.parametrize("platform", ["530", "630", "730"])
@pytest.mark.parametrize("mode", ["int4", "int8", "int16"])
def test_no_node_uses_more_than_the_peak_of_its_widths(platform, mode):
    from ktc.report._breakdown import mac_use
    from ktc.report._roofline import roofline

    graph = "g (float[1,256,56,56] x) => (float[1,256,56,56] y) { a = Conv <pads = [1,1,1,1]> (x, w) y = Conv (a, v) }"
    chip = load_platform(platform)
    proto = model(graph, w=weight(256, 256, 3, 3), v=weight(256, 256, 1, 1))
    evaluation = evaluate(lower(proto, chip), chip, EvaluationSettings(weight_bitwidth_mode=mode))
    uses = [mac_use(node, evaluation) for node in evaluation.nodes]
    assert all(0 < use <= 1 for use in uses)
    drawn = roofline(evaluation)
    rates = [node.macs / node.sync_ms / 1e6 for node in evaluation.nodes]
    assert max(rates) <= drawn.peak
    peak = chip.macs_per_cycle * chip.frequency_mhz / 1e3
    faster = mode == "int4" and chip.weight_4bit_factor < 1
    assert drawn.peak == pytest.approx(peak / chip.weight_4bit_factor if faster else peak)
    assert drawn.peak_widths == ("with 4-bit weights" if faster else "in 8 bit")
    assert all(point.y <= drawn.flat[1] for point in drawn.points)


def test_strips_compute_no_row_twice_where_kernels_have_one_row():
    """Rows that do not divide evenly leave a shorter last strip; 1x1 kernels need no row twice."""
    graph = "g (float[1,64,301,301] x) => (float[1,64,301,301] y) { a = Conv (x, w) b = Conv (a, w) y = Conv (b, w) }"
    chip = load_platform("720")
    program = lower(model(graph, w=weight(64, 64, 1, 1)), chip)
    default, searched = (
        evaluate(program, chip, EvaluationSettings(compiler_tiling=tiling)) for tiling in ("default", "deep_search")
    )
    assert searched.dram_bytes < default.dram_bytes
    for before, after in zip(default.nodes, searched.nodes, strict=True):
        assert after.mac_cycles == pytest.approx(before.mac_cycles, rel=1e-12)
