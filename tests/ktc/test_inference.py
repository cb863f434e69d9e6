"""kneron_inference on ONNX, and the layout helper."""

from __future__ import annotations

import inspect

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ktc
import zoo
from bad_files import KINDS, bad_file, good_model
from graphs import model, weight
from kneronnxopt.verify import run_model
from ktc.errors import ConfigError, KtcError, ModelError, UnsupportedError


@pytest.fixture
def two_heads(tmp_path):
    """A model with two inputs and two outputs."""
    path = tmp_path / "two.onnx"
    onnx.save(
        model(
            """g (float[1,3,4,5] image, int64[2] index) => (float[1,2,2,3] a, int64[2] b) {
               c = Conv(image, w) a = Relu(c) b = Add(index, index) }""",
            w=weight(2, 3, 3, 3),
        ),
        path,
    )
    return path


IMAGE = np.linspace(0, 1, 60).reshape(1, 3, 4, 5)
INDEX = np.array([1, 2])


def run(path, arrays=(IMAGE, INDEX), names=("image", "index"), **arguments):
    return ktc.kneron_inference(list(arrays), onnx_file=str(path), input_names=list(names), **arguments)


def test_signature_is_the_documented_one():
    parameters = inspect.signature(ktc.kneron_inference).parameters
    assert list(parameters) == [
        *("pre_results", "input_names", "nef_file", "onnx_file", "bie_file", "model_id"),
        *("data_type", "reordering", "platform", "dump"),
    ]
    assert parameters["data_type"].default == "float"
    assert parameters["platform"].default == 520


def test_results_equal_onnxruntime(tmp_path):
    network = zoo.materialize("mobilenet_v3_large_224")
    onnx.save(network, tmp_path / "m.onnx")
    feeds = zoo.random_inputs(network)
    results = run(tmp_path / "m.onnx", feeds.values(), feeds)
    expected = run_model(network, feeds)
    assert len(results) == len(expected)
    for result, value in zip(results, expected.values(), strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=1e-4)


def test_float64_images_are_cast(two_heads):
    assert IMAGE.dtype == np.float64
    np.testing.assert_array_equal(run(two_heads)[0], run(two_heads, (IMAGE.astype(np.float32), INDEX))[0])


def test_inputs_are_matched_by_name(two_heads):
    np.testing.assert_array_equal(run(two_heads)[0], run(two_heads, (INDEX, IMAGE), ("index", "image"))[0])


def test_reordering_chooses_outputs(two_heads):
    a, b = run(two_heads)
    swapped = run(two_heads, reordering=["b", "a"])
    np.testing.assert_array_equal(swapped[0], b)
    np.testing.assert_array_equal(swapped[1], a)
    assert len(run(two_heads, reordering=["b"])) == 1
    with pytest.raises(ConfigError, match="'a', 'b'"):
        run(two_heads, reordering=["c"])


def test_dump_keeps_every_layer(two_heads):
    results = run(two_heads, dump=True)
    assert len(results) == 2
    assert set(results.layers) == {"c"}
    np.testing.assert_array_equal(np.maximum(results.layers["c"], 0), results[0])


def test_changed_file_is_read_again(two_heads):
    before = run(two_heads)[0]
    changed = onnx.load(two_heads)
    changed.graph.node[0].op_type, changed.graph.node[1].op_type = "Conv", "Neg"
    onnx.save(changed, two_heads)
    assert not np.array_equal(run(two_heads)[0], before)


@pytest.mark.parametrize(
    ("arrays", "names", "words"),
    [
        ((IMAGE,), ("image",), ("'index'", "missing", "(1, 3, 4, 5)")),
        ((IMAGE, INDEX), ("image", "idx"), ("'idx'", "'index'")),
        ((IMAGE,), ("image", "index"), ("1 arrays for 2",)),
        ((IMAGE, INDEX, INDEX), ("image", "index", "index"), ("given twice",)),
        ((IMAGE[0], INDEX), ("image", "index"), ("'image'", "(1, 3, 4, 5)", "(3, 4, 5)")),
        ((IMAGE, INDEX + 0.5), ("image", "index"), ("'index'", "int64", "float64")),
        ((IMAGE.astype(str), INDEX), ("image", "index"), ("'image'", "float32")),
        ((IMAGE.tolist(), INDEX), ("image", "index"), ("'image'", "list", "numpy array")),
    ],
)
def test_inputs_that_do_not_fit_are_explained(two_heads, arrays, names, words):
    with pytest.raises(ModelError) as caught:
        run(two_heads, arrays, names)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("image", [IMAGE.transpose(0, 2, 3, 1), IMAGE[0].transpose(1, 2, 0)])
def test_channel_last_is_recognised(two_heads, image):
    with pytest.raises(ModelError, match="convert_channel_last_to_first"):
        run(two_heads, (image, INDEX))
    np.testing.assert_array_equal(
        run(two_heads, (ktc.convert_channel_last_to_first(image), INDEX))[0], run(two_heads)[0]
    )


def test_array_instead_of_a_list_is_explained(two_heads):
    with pytest.raises(ModelError, match="give a list"):
        ktc.kneron_inference(IMAGE, onnx_file=two_heads, input_names=["image"])
    with pytest.raises(ModelError, match="not a list of names"):
        ktc.kneron_inference([IMAGE], onnx_file=two_heads, input_names="image")


def test_nef_comes_before_onnx_and_onnx_before_bie(two_heads, tmp_path):
    for kind in ("nef", "bie"):
        (tmp_path / f"m.{kind}").write_bytes(b"PK")
    with pytest.raises(UnsupportedError, match="NEF"):
        run(two_heads, nef_file=tmp_path / "m.nef")
    assert len(run(two_heads, bie_file=tmp_path / "m.bie")) == 2
    with pytest.raises(UnsupportedError, match="BIE"):
        ktc.kneron_inference([IMAGE], ["image"], bie_file=tmp_path / "m.bie")
    with pytest.raises(ModelError, match="no such NEF file"):
        run(two_heads, nef_file=tmp_path / "missing.nef")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data_type": "int"}, "data_type"),
        ({"data_type": "fixed"}, "BIE and NEF"),
        ({"platform": 999}, "999"),
        ({"model_id": "x"}, "model_id"),
    ],
)
def test_bad_arguments_are_explained(two_heads, arguments, words):
    with pytest.raises(ConfigError, match=words):
        run(two_heads, **arguments)


def test_no_model_is_explained():
    with pytest.raises(ConfigError, match="nef_file, onnx_file and bie_file"):
        ktc.kneron_inference([IMAGE], ["image"])


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_is_explained(kind, tmp_path):
    path, words = bad_file(kind, tmp_path)
    with pytest.raises(ModelError) as caught:
        run(path)
    assert all(word in str(caught.value) for word in words)


def test_model_that_onnxruntime_cannot_load_is_explained(tmp_path):
    custom = good_model()
    custom.graph.node[1].domain = "com.example"
    custom.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(custom, tmp_path / "custom.onnx")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        ktc.kneron_inference([np.zeros((1, 3, 8, 8))], ["x"], onnx_file=tmp_path / "custom.onnx")


shapes = st.one_of(hnp.array_shapes(min_dims=3, max_dims=3), hnp.array_shapes(min_dims=4, max_dims=4))


@given(hnp.arrays(st.sampled_from([np.uint8, np.float32, np.float64]), shapes))
def test_channels_move_to_the_front(image):
    result = ktc.convert_channel_last_to_first(image)
    assert result.dtype == image.dtype
    batch = image if image.ndim == 4 else image[None]
    np.testing.assert_array_equal(np.moveaxis(result, 1, -1), batch)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros(3), np.zeros((1, 1, 2, 3, 4)), [[1, 2], [3, 4]], None])
def test_anything_else_is_an_error(image):
    with pytest.raises(KtcError, match=r"\(H, W, C\) or \(N, H, W, C\)"):
        ktc.convert_channel_last_to_first(image)
