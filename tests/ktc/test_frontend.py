"""Lowering of graphs: views, constants, fusion, CPU nodes, dynamic shapes, hostile graphs."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ktc.errors import ModelError
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from zoo import skeleton


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weights(name, *shape):
    """A tensor with dims and without data: only dims may matter."""
    return TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)


def integers(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def model(nodes, inputs, outputs, initializers=(), opset=17, **extra):
    graph = helper.make_graph(nodes, "test", list(inputs), list(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **extra)


def lowered(proto, platform="730"):
    before = proto.SerializeToString(deterministic=True)
    program = lower(proto, load_platform(platform))
    assert proto.SerializeToString(deterministic=True) == before
    return program


CONV = helper.make_node("Conv", ["x", "w"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
CONV_WEIGHTS = weights("w", 8, 3, 3, 3)


def after_conv(*nodes, output="y", initializers=(), shape=(1, 3, 16, 16), opset=17):
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return model([CONV, *nodes], [tensor("x", *shape)], [out], [CONV_WEIGHTS, *initializers], opset)


def test_conv_bn_activation_and_pool_become_one_node():
    parts = [weights(name, 8) for name in "sbmv"]
    program = lowered(
        after_conv(
            helper.make_node("BatchNormalization", ["c", *"sbmv"], ["n"], "bn"),
            helper.make_node("LeakyRelu", ["n"], ["r"], "act"),
            helper.make_node("MaxPool", ["r"], ["y"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            initializers=parts,
        ),
        "520",
    )
    (node,) = program.nodes
    assert (node.type, node.name, node.backend) == ("FUSED", "npu_fusion_node_conv_act_pool", "Conv")
    assert node.origins == ("conv", "bn", "act", "pool")
    assert node.outputs == ("y",)
    assert (node.mac.macs, node.mac.out_rows) == (16 * 16 * 27 * 8, 16)


def test_a_single_conv_keeps_its_name():
    program = lowered(after_conv(output="c"))
    assert [(node.name, node.type) for node in program.nodes] == [("conv", "NPU")]


@pytest.mark.parametrize("platform", ["720", "530", "630", "730"])
def test_silu_behind_a_conv_is_fused_and_costs_a_pass_only_if_the_platform_says_so(platform):
    proto = after_conv(
        helper.make_node("Sigmoid", ["c"], ["s"], "sig"), helper.make_node("Mul", ["c", "s"], ["y"], "mul")
    )
    view = load_platform(platform)
    for platform_view, passes in ((view, 0), (dataclasses.replace(view, fused_activations=("Relu",)), 1)):
        (node,) = lower(proto, platform_view).nodes
        assert (node.type, node.origins, len(node.auxiliary)) == ("FUSED", ("conv", "sig", "mul"), passes)


def test_silu_falls_to_the_cpu_on_520():
    proto = after_conv(
        helper.make_node("Sigmoid", ["c"], ["s"], "sig"), helper.make_node("Mul", ["c", "s"], ["y"], "mul")
    )
    nodes = lowered(proto, "520").nodes
    assert [node.type for node in nodes] == ["NPU", "CPU", "CPU"]
    assert nodes[1].reason == "Sigmoid is not supported by KL520."


def test_fusion_stops_where_a_second_reader_or_an_output_needs_the_map():
    relu = helper.make_node("Relu", ["c"], ["y"], "act")
    add = helper.make_node("Add", ["c", "y"], ["z"], "add")
    assert [n.name for n in lowered(after_conv(relu, add, output="z")).nodes] == ["conv", "act", "add"]
    both = after_conv(relu)
    both.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    assert [n.type for n in lowered(both).nodes] == ["NPU", "NPU"]


def test_constant_scale_and_bias_fuse_but_full_maps_do_not():
    channel = weights("k", 1, 8, 1, 1)
    nodes = [helper.make_node("Mul", ["c", "k"], ["m"], "mul"), helper.make_node("Relu", ["m"], ["y"], "act")]
    assert len(lowered(after_conv(*nodes, initializers=[channel]), "520").nodes) == 1
    full = weights("k", 1, 8, 16, 16)
    program = lowered(after_conv(*nodes, initializers=[full]), "720")
    assert [node.backend for node in program.nodes] == ["Conv", "Mul", "Relu"]


def test_identities_dropout_casts_and_constants_disappear():
    program = lowered(
        model(
            [
                helper.make_node("Identity", ["w"], ["w2"]),
                helper.make_node("Dropout", ["x"], ["d"]),
                helper.make_node("Cast", ["d"], ["h"], to=TensorProto.FLOAT16),
                helper.make_node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("Conv", ["f", "w2"], ["c"], "conv"),
                helper.make_node("Identity", ["c"], ["i"]),
                helper.make_node("Relu", ["i"], ["y"], "act"),
            ],
            [tensor("x", 1, 3, 16, 16)],
            [tensor("y", 1, 8, 14, 14)],
            [CONV_WEIGHTS],
        ),
        "520",
    )
    (node,) = program.nodes
    assert (node.inputs, node.outputs, node.origins) == (("x",), ("y",), ("conv", "act"))


def test_shape_arithmetic_of_exporters_is_evaluated_away():
    proto = model(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["n"]),
            helper.make_node("Div", ["n", "two"], ["h"]),
            helper.make_node("Concat", ["b", "two", "h", "minus", "wd"], ["shape"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["r"], "r1"),
            helper.make_node("Transpose", ["r"], ["t"], "shuffle", perm=[0, 2, 1, 3, 4]),
            helper.make_node("Reshape", ["t", "s"], ["y"], "r2"),
        ],
        [tensor("x", 1, 8, 4, 6)],
        [tensor("y", 1, 8, 4, 6)],
        [integers("one", 1), integers("two", 2), integers("b", 1), integers("minus", -1), integers("wd", 6)],
    )
    assert [node.name for node in lowered(proto, "730").nodes] == ["shuffle"]
    nodes = lowered(proto, "520").nodes
    assert [node.name for node in nodes] == ["r1", "shuffle", "r2"]
    assert all(node.type == "CPU" and node.reason for node in nodes)


def test_reshapes_that_only_move_unit_axes_are_free_on_520():
    proto = model(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["g"], "gap"),
            helper.make_node("Flatten", ["g"], ["f"], "flat"),
            helper.make_node("Gemm", ["f", "w"], ["y"], "fc"),
        ],
        [tensor("x", 1, 8, 4, 4)],
        [tensor("y", 1, 10)],
        [weights("w", 8, 10)],
    )
    assert [node.name for node in lowered(proto, "520").nodes] == ["gap", "fc"]


def test_reshape_chains_that_come_back_are_free_on_520():
    proto = model(
        [
            helper.make_node("Reshape", ["x", "flat"], ["f"], "there"),
            helper.make_node("Reshape", ["f", "back"], ["b"], "back_again"),
            helper.make_node("Relu", ["b"], ["y"], "act"),
        ],
        [tensor("x", 1, 8, 4, 4)],
        [tensor("y", 1, 8, 4, 4)],
        [integers("flat", 1, -1), integers("back", 1, 8, 4, 4)],
    )
    assert [node.name for node in lowered(proto, "520").nodes] == ["act"]


def test_a_dynamic_batch_is_one_with_a_warning():
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", "N", 3, 8, 8)], [tensor("y", "N", 3, 8, 8)])
    program = lowered(proto)
    assert program.warnings == ("input 'x' has a dynamic batch (N); it is taken as 1.",)
    assert program.tensors[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("extent", ["H", -1, 0, None])
def test_another_dynamic_input_dimension_is_an_error_with_a_remedy(extent):
    proto = model(
        [helper.make_node("Relu", ["x"], ["y"])], [tensor("x", 1, 3, extent, 8)], [tensor("y", 1, 3, None, 8)]
    )
    with pytest.raises(ModelError, match=r"dimension 2 of input 'x'.*overwrite_input_shapes=\['x:"):
        lower(proto, load_platform("720"))


def test_an_input_without_shape_is_an_error():
    proto = model(
        [helper.make_node("Relu", ["x"], ["y"])], [helper.make_tensor_value_info("x", 1, None)], [tensor("y", 1)]
    )
    with pytest.raises(ModelError, match="input 'x' has no shape"):
        lower(proto, load_platform("720"))


def test_a_shape_that_depends_on_data_makes_a_cpu_node():
    proto = model(
        [helper.make_node("NonZero", ["x"], ["n"], "nz"), helper.make_node("Cast", ["n"], ["y"], "cast", to=1)],
        [tensor("x", 4, 4)],
        [tensor("y", 2, None)],
    )
    nodes = lowered(proto).nodes
    assert [node.type for node in nodes] == ["CPU", "CPU"]
    assert "is not known before it runs" in nodes[0].reason


def test_custom_domains_and_control_flow_are_cpu_nodes_with_reasons():
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "b", [], [tensor("b", 1, 4)])
    proto = model(
        [
            helper.make_node("Magic", ["x"], ["m"], "magic", domain="acme"),
            helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch),
            helper.make_node("Neg", ["m"], ["z"], "neg"),
        ],
        [tensor("x", 1, 4), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [tensor("y", 1, 4), tensor("z", 1, 4)],
    )
    nodes = {node.name: node for node in lowered(proto).nodes}
    assert "domain 'acme'" in nodes["magic"].reason
    assert "control flow" in nodes["if"].reason
    assert "x" in nodes["if"].inputs
    assert nodes["neg"].type == "CPU"


def test_local_functions_are_expanded():
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("acme", "MyRelu", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [helper.make_node("MyRelu", ["x"], ["y"], domain="acme")], "g", [tensor("x", 1, 4)], [tensor("y", 1, 4)]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    (node,) = lowered(helper.make_model(graph, opset_imports=opsets, functions=[function])).nodes
    assert (node.backend, node.type) == ("Relu", "NPU")


def test_nodes_that_no_output_needs_do_not_count():
    proto = after_conv(helper.make_node("Softmax", ["c"], ["unused"]), output="c")
    assert len(lowered(proto, "520").nodes) == 1


def test_unnamed_and_duplicate_names_become_unique():
    proto = model(
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Neg", ["a"], ["b"], "n"),
            helper.make_node("Neg", ["b"], ["y"], "n"),
        ],
        [tensor("x", 1, 4)],
        [tensor("y", 1, 4)],
    )
    names = [node.name for node in lowered(proto).nodes]
    assert names[0] == "Relu_0"
    assert len(set(names)) == 3


def test_unsorted_graphs_are_sorted_and_cycles_refused():
    nodes = [helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Relu", ["x"], ["a"])]
    assert [n.backend for n in lowered(model(nodes, [tensor("x", 1, 4)], [tensor("y", 1, 4)])).nodes] == ["Relu", "Neg"]
    nodes = [helper.make_node("Add", ["x", "y"], ["a"], "loop"), helper.make_node("Relu", ["a"], ["y"])]
    with pytest.raises(ModelError, match=r"cyclic: node 'loop'"):
        lowered(model(nodes, [tensor("x", 1, 4)], [tensor("y", 1, 4)]))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Relu", ["ghost"], ["y"], "r")], "reads 'ghost', which nothing writes"),
        ([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])], "'y' is written twice"),
        ([helper.make_node("Relu", ["x"], ["z"])], "output 'y' of the graph is written by no node"),
    ],
)
def test_broken_graphs_are_model_errors(nodes, message):
    with pytest.raises(ModelError, match=message):
        lowered(model(nodes, [tensor("x", 1, 4)], [tensor("y", 1, 4)]))


def test_negative_weight_dims_are_a_model_error():
    with pytest.raises(ModelError, match="impossible shape"):
        lowered(after_conv(output="c", initializers=[weights("k", -3)]))


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Conv", ["x"], ["y"], "n"),
        helper.make_node("Conv", ["x", "w"], ["y"], "n", group=3),
        helper.make_node("Conv", ["x", "w"], ["y"], "n", group=0),
        helper.make_node("Gemm", ["x", "w"], ["y"], "n"),
        helper.make_node("MaxPool", ["x"], ["y"], "n"),
        helper.make_node("Transpose", ["x"], ["y"], "n", perm=[9, 9]),
        helper.make_node("Reshape", ["x"], ["y"], "n"),
        helper.make_node("Concat", ["x", "x"], ["y"], "n", axis=77),
    ],
)
@pytest.mark.parametrize("platform", platform_names())
def test_malformed_nodes_are_cpu_nodes_with_a_reason(node, platform):
    proto = model([node], [tensor("x", 1, 3, 8, 8)], [tensor("y", None)], [weights("w", 4, 5, 3, 3)])
    (cpu,) = lowered(proto, platform).nodes
    assert cpu.type == "CPU"
    assert cpu.reason


def test_an_attribute_of_the_wrong_type_is_a_model_error():
    node = helper.make_node("Conv", ["x", "w"], ["y"], "n", strides="fast")
    proto = model([node], [tensor("x", 1, 3, 8, 8)], [tensor("y", 1, 8, 8, 8)], [CONV_WEIGHTS])
    with pytest.raises(ModelError, match="strides of Conv"):
        lowered(proto)


def test_impossibly_large_inputs_and_weights_are_model_errors():
    big = 2**40
    relu = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(ModelError, match="more elements than any memory"):
        lowered(model([relu], [tensor("x", 1, big, big, big)], [tensor("y", None)]))
    with pytest.raises(ModelError, match="impossible shape"):
        lowered(after_conv(output="c", initializers=[weights("k", big, big)]))


def test_impossibly_large_results_are_cpu_nodes():
    node = helper.make_node("Add", ["x", "z"], ["y"])
    big = 2**40
    proto = model([node], [tensor("x", 1, big), tensor("z", big, 1)], [tensor("y", None)])
    assert lowered(proto).nodes[0].type == "CPU"


def test_decomposition_follows_the_table():
    proto = after_conv(helper.make_node("Softmax", ["c"], ["y"], "sm", axis=1))
    assert [s.operator for s in lowered(proto, "530").nodes[1].auxiliary][-1] == "Div"
    cpu = lowered(proto, "720").nodes[1]
    assert (cpu.type, cpu.reason) == ("CPU", "Softmax would need Div, which KL720 does not run.")


def test_resize_becomes_kneron_resize():
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sc")
    node = helper.make_node(
        "Resize",
        ["c", "", "sc"],
        ["y"],
        "up",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    proto = after_conv(node, initializers=[scales])
    assert [(lowered(proto, p).nodes[1].backend, lowered(proto, p).nodes[1].type) for p in ("520", "720", "730")] == [
        ("KneronResize", "NPU"),
        ("KneronResize", "NPU"),
        ("KneronResize", "NPU"),
    ]
    # One direction at a time on KL720: rows of 32 x 16, then all of 32 x 32.
    passes = {p: [step.elements for step in lowered(proto, p).nodes[1].auxiliary] for p in ("720", "730")}
    assert passes == {"720": [8 * 32 * 16, 8 * 32 * 32], "730": [8 * 32 * 32]}


PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "data" / "published_performance.csv"


def published_without_cpu_nodes():
    with PUBLISHED.open(newline="", encoding="utf-8") as lines:
        rows = [
            row for row in csv.DictReader(lines) if row["has_cpu_node"] == "no" and row["toolchain_version"] == "0.27"
        ]
    return [(row["network"], row["platform"]) for row in rows]


@pytest.mark.parametrize(("network", "platform"), published_without_cpu_nodes())
def test_a_network_published_without_cpu_nodes_has_none(network, platform):
    program = lower(skeleton(network), load_platform(platform))
    assert [node.reason for node in program.nodes if node.type == "CPU"] == []


@pytest.mark.parametrize("platform", platform_names())
def test_a_program_is_made_of_plain_values(platform):
    program = lower(skeleton("yolov5s_640"), load_platform(platform))
    assert json.loads(json.dumps(dataclasses.asdict(program)))["platform"] == platform


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("yolov3_416", 32.93), ("mobilenet_v2_224", 0.301), ("resnet50_v1_5_224", 4.09), ("unet_384", 108.4)],
)
def test_macs_of_known_networks(name, gmac):
    program = lower(skeleton(name), load_platform("730"))
    assert sum(node.mac.macs for node in program.nodes if node.mac) / 1e9 == pytest.approx(gmac, rel=0.005)


def test_value_info_is_not_needed_and_not_trusted_over_inference():
    proto = after_conv(helper.make_node("Relu", ["c"], ["y"]))
    proto.graph.value_info.append(tensor("c", 7, 7, 7, 7))
    assert lowered(proto).nodes[0].mac.out_rows == 16


def test_a_model_without_opset_still_lowers():
    proto = after_conv(helper.make_node("Relu", ["c"], ["y"]))
    del proto.opset_import[:]
    assert all(node.reason for node in lowered(proto).nodes if node.type == "CPU")


def test_the_graph_may_return_an_input_or_a_constant():
    proto = model([], [tensor("x", 1, 4)], [tensor("x", 1, 4), tensor("k", 3)], [weights("k", 3)])
    program = lowered(proto)
    assert program.nodes == ()
    assert program.outputs == ("x", "k")


def test_onnx_protobuf_is_all_that_lowering_imports():
    import subprocess
    import sys

    code = "import sys, ktc.frontend, ktc.evaluator; print(sorted({'onnx_ir', 'onnxruntime'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("count", [1, 3, -7, 2**40])
def test_split_into_another_number_than_it_has_outputs_does_not_end_the_process(count):
    outputs = [tensor(name, None) for name in ("a", "b", "c", "d")]
    node = helper.make_node("Split", ["x"], [o.name for o in outputs], "split", num_outputs=count)
    (cpu,) = lowered(model([node], [tensor("x", 7)], outputs, opset=18)).nodes
    assert cpu.type == "CPU"


def test_a_huge_pooling_window_does_not_hang():
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2**40, 5], strides=[3, 3])
    proto = model([node], [tensor("x", 1, 3, 2**41, 32)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    (pool,) = lowered(proto).nodes
    assert pool.auxiliary[0].elements > 2**80


@pytest.mark.parametrize("axis", [4, -6, 2**31, -(2**62)])
def test_an_axis_beyond_the_rank_does_not_end_the_process(axis):
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "ymi"]
    node = helper.make_node("LayerNormalization", ["x", "s"], list("ymi"), "norm", axis=axis)
    (cpu,) = lowered(model([node], [tensor("x", 2, 3, 4, 5)], outputs, [weights("s", 5)])).nodes
    assert "shape" in cpu.reason
