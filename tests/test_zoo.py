from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import zoo

# Small or quick, and each with something of its own: an attention mask and integer ids, exact constants,
# recurrent states, BatchNormalization nodes, two outputs.
QUICK = (
    "bert_mini_128",
    "fsrcnn_x2_360x640",
    "gru_speech_100",
    "lstm_speech_200",
    "mobilenet_v1_224",
    "srcnn_384",
)


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)


def test_all_networks_are_there() -> None:
    assert len(zoo.ZOO_NAMES) == 25
    assert set(QUICK) < set(zoo.ZOO_NAMES)


@pytest.mark.parametrize("name", sorted(set(zoo.ZOO_NAMES) - {"vgg16_224", "yolov3_416"}))
def test_a_materialised_network_is_valid_and_complete(name: str) -> None:
    model = zoo.materialize(name)
    onnx.checker.check_model(model, full_check=True)
    assert not [entry.key for entry in model.metadata_props if entry.key == "zoo_fill"]
    for tensor in model.graph.initializer:
        assert onnx.numpy_helper.to_array(tensor).shape == tuple(tensor.dims)


@pytest.mark.parametrize("name", QUICK)
def test_outputs_are_finite_and_depend_on_the_input(name: str) -> None:
    model = zoo.materialize(name)
    first = run(model, zoo.random_inputs(model, seed=0))
    second = run(model, zoo.random_inputs(model, seed=1))
    for a, b in zip(first, second, strict=True):
        assert np.isfinite(a).all()
        assert np.abs(a - b).max() > 0.01


def test_materialising_twice_gives_the_same_bits() -> None:
    assert zoo.materialize("mobilenet_v2_224") == zoo.materialize("mobilenet_v2_224")


def test_a_skeleton_lacks_the_weights_that_materialize_adds() -> None:
    name = "squeezenet1_1_224"
    assert zoo.skeleton(name).ByteSize() < 20_000
    assert zoo.materialize(name).ByteSize() > 4_000_000


def test_scales_and_variances_are_positive() -> None:
    model = zoo.materialize("resnet50_v1_5_224")
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert nodes
    for node in nodes:
        for name in (node.input[1], node.input[4]):
            assert tensors[name].min() > 0


def test_exact_values_are_restored() -> None:
    """The masks of shifted windows are 0 where attention is allowed and -100 elsewhere."""
    model = zoo.materialize("swin_tiny_224")
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    masks = [array for array in arrays.values() if array.ndim == 5 and array.shape[-2:] == (49, 49)]
    assert masks
    for mask in masks:
        assert set(np.unique(mask)) == {-100, 0}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="mobilenet_v2_224"):
        zoo.skeleton("mobilenet_v9")


def test_random_inputs_respect_types_and_shapes() -> None:
    values = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 64]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["batch", 64]),
        helper.make_tensor_value_info("flags", TensorProto.BOOL, [64]),
        helper.make_tensor_value_info("image", TensorProto.FLOAT16, [1, 3, 4, 5]),
        helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2]),
    ]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [2], [1.0, 2.0])
    model = helper.make_model(helper.make_graph([], "inputs", values, [], [weight]))

    inputs = zoo.random_inputs(model)

    assert {name: (array.dtype.name, array.shape) for name, array in inputs.items()} == {
        "ids": ("int64", (1, 64)),
        "attention_mask": ("int32", (1, 64)),
        "flags": ("bool", (64,)),
        "image": ("float16", (1, 3, 4, 5)),
        "threshold": ("float32", ()),
    }
    assert inputs["ids"].min() >= 0
    assert inputs["ids"].max() < 100
    assert set(np.unique(inputs["attention_mask"])) == {0, 1}
    assert inputs["attention_mask"][0, 0] == 1


def test_random_inputs_depend_on_the_seed_alone() -> None:
    model = zoo.skeleton("srcnn_384")
    np.testing.assert_array_equal(zoo.random_inputs(model, 5)["input"], zoo.random_inputs(model, 5)["input"])
    assert (zoo.random_inputs(model, 5)["input"] != zoo.random_inputs(model, 6)["input"]).any()
