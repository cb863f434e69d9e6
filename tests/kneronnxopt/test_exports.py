"""Models from both of PyTorch's exporters, at four opsets: see ``tests/data/exports/make_exports.py``."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

import kneronnxopt
import zoo
from graphs import interface, refines, shapes
from kneronnxopt.checking import default_tolerance
from kneronnxopt.verify import cast_inputs, difference_of, run_model

FOLDER = Path(__file__).parents[1] / "data" / "exports"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
OPTIONS = {
    "default": {},
    "rewriting": {
        "duplicate_shared_weights": 2,
        "clear_descriptions": True,
        "opt_matmul": True,
        "clear_shapes": True,
        "replace_avgpool_with_conv": True,
        "replace_dilated_conv": True,
        "defuse_gaps": True,
        "fuse_bn": True,
    },
}
SINGLE_TOLERANCE = 1e-4
#: Operators that no Kneron chip has, which become many.
UNROLLED = {"GRU", "LSTM", "RNN", "Einsum"}
FAILURE_WORDS = ("report", "returned as it was")


@functools.cache
def reference(name: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    original = onnx.load(FOLDER / f"{name}.onnx")
    feeds = zoo.random_inputs(original)
    return original, feeds, run_model(original, feeds)


def tolerance(model: onnx.ModelProto) -> float:
    half = default_tolerance(model)
    return half if is_half(model) else SINGLE_TOLERANCE


def is_half(model: onnx.ModelProto) -> bool:
    return any(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 for value in model.graph.input)


def as_single(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs and outputs declared as they are once half precision is gone."""
    declared = onnx.ModelProto()
    declared.CopyFrom(model)
    for value in (*declared.graph.input, *declared.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return declared


def most_nodes(model: onnx.ModelProto) -> float:
    """How many nodes a result may have: no more than before, but for the decompositions that are documented.

    A mean without keepdims may become GlobalAveragePool and Reshape.
    """
    count = len(model.graph.node)
    for node in model.graph.node:
        if node.op_type in UNROLLED:
            return math.inf
        if node.op_type == "ReduceMean":
            count += any(attribute.name == "keepdims" and attribute.i == 0 for attribute in node.attribute)
    return count


def optimized(name: str, caplog: pytest.LogCaptureFixture, **options: object) -> onnx.ModelProto:
    """Optimise; the result is valid, equal, has the same interface, and no failure was logged."""
    original, feeds, expected = reference(name)
    with caplog.at_level(logging.WARNING, "kneronnxopt"):
        result = kneronnxopt.optimize(original, skip_check=True, **options)
    failures = [line for line in caplog.messages if any(word in line for word in FAILURE_WORDS)]
    assert not failures
    onnx.checker.check_model(result, full_check=True)
    assert refines(result, as_single(original) if options.get("convert_f16", True) else original)
    differences = difference_of(expected, run_model(result, cast_inputs(result, feeds)))
    assert max(differences.values()) < tolerance(original), differences
    return result


def ranked(model: onnx.ModelProto) -> set[str]:
    """Names of the values whose rank is declared; ``shapes`` does not tell an unknown rank from a scalar."""
    values = (*model.graph.value_info, *model.graph.output)
    return {value.name for value in values if value.type.tensor_type.HasField("shape")}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_export_is_optimised_and_unchanged(name, options, caplog):
    original, _, expected = reference(name)
    assert all(array.std() > 0 for array in expected.values())  # or an equal result would mean nothing
    result = optimized(name, caplog, **OPTIONS[options])
    known = shapes(result)
    outputs = [output for node in result.graph.node for output in node.output if output]
    assert ranked(result) >= set(outputs)
    if not name.startswith("dynamic_batch"):
        for output in outputs:
            assert all(isinstance(dim, int) for dim in known[output]), f"{output} has shape {known[output]}"
    if options == "default":
        assert len(result.graph.node) <= most_nodes(original)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("dynamic_batch")])
def test_a_dynamic_batch_stays_dynamic(name, options, caplog):
    original, _, _ = reference(name)
    result = optimized(name, caplog, **OPTIONS[options])
    assert {value.name: shapes(result)[value.name][0] for value in (*result.graph.input, *result.graph.output)} == {
        "image": "batch",
        "y": "batch",
        "maps": "batch",
    }
    feeds = {"image": np.random.default_rng(1).standard_normal((3, 3, 16, 20)).astype(np.float32)}
    differences = difference_of(run_model(original, feeds), run_model(result, feeds))
    assert max(differences.values()) < SINGLE_TOLERANCE, differences


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("half")])
def test_half_precision_stays_on_request(name, caplog):
    original, _, _ = reference(name)
    assert is_half(original)
    result = optimized(name, caplog, convert_f16=False)
    assert interface(result) == interface(original)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("half")])
def test_half_precision_is_gone_by_default(name, caplog):
    result = optimized(name, caplog)
    values = (*result.graph.input, *result.graph.value_info, *result.graph.output)
    types = {value.type.tensor_type.elem_type for value in values} | {t.data_type for t in result.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types


def test_every_network_has_files_of_both_exporters():
    parts = [name.split("-") for name in NAMES]
    assert len({network for network, _, _ in parts}) == 16
    for network in {network for network, _, _ in parts}:
        opsets = {(exporter, int(opset)) for name, exporter, opset in parts if name == network}
        assert opsets >= {("trace", 17), ("trace", 18), ("trace", 20), ("dynamo", 18), ("dynamo", 20)}
