"""Every network of the zoo and a slice of the onnx package's own models, on all platforms.

``python benchmarks/evaluate_corpus.py`` takes all of them.
"""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path

import onnx
import pytest

import zoo
from ktc.errors import ModelError
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.report import render_text

SLICES = 4
EXPORTS = sorted((Path(__file__).parents[1] / "data" / "exports").glob("*.onnx"))
SHIPPED = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("*/**/*.onnx"))


@functools.cache
def node_cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own expected values, and overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        return [(case.name, case.model) for case in collect_testcases(None) if case.model is not None][::12]


def has_empty_input(model):
    dims = [dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim[1:]]
    return any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in dims)


def check(name, model):
    for platform in map(load_platform, platform_names()):
        program = lower(model, platform)
        evaluation = evaluate(program, platform, EvaluationSettings())
        assert math.isfinite(evaluation.time_ms), (name, platform.name)
        written = set(program.inputs)
        for node in program.nodes:
            assert set(node.inputs) <= written, (name, platform.name, node.name)
            written.update(node.outputs)
        assert written <= {tensor.name for tensor in program.tensors}
        assert len({node.name for node in program.nodes}) == len(program.nodes)
        for node in evaluation.nodes:
            assert (node.type == "CPU") == (node.reason is not None), (name, platform.name, node.name)
            assert (node.type == "CPU") or node.cpu_ms is None
        for node in evaluation.cpu_nodes:
            assert len(node.reason.split()) >= 4, (name, platform.name, node.reason)
            assert node.reason.endswith("."), (name, platform.name, node.reason)
            assert not node.sync_ms
        assert f"kdp{platform.name}/ip_eval/fps" in render_text(evaluation)


@pytest.mark.parametrize("name", zoo.ZOO_NAMES)
def test_networks_of_the_zoo(name):
    check(name, zoo.skeleton(name))


def test_exports():
    for path in EXPORTS[::9]:
        check(path.name, onnx.load(path))


def test_models_that_the_onnx_package_ships():
    assert len(SHIPPED) > 100
    for path in SHIPPED[::6]:
        check(path, onnx.load(path, load_external_data=False))


@pytest.mark.parametrize("part", range(SLICES))
def test_node_cases_of_the_onnx_package(part):
    evaluated = 0
    for name, model in node_cases()[part::SLICES]:
        if has_empty_input(model):
            with pytest.raises(ModelError, match=r"is not static \(0\)"):
                check(name, model)
            continue
        check(name, model)
        evaluated += 1
    assert evaluated > 25


def test_an_input_that_is_no_tensor_is_left_to_the_cpu():
    sequence = onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, [1, 3])
    tensor = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [sequence], [tensor]))
    program = lower(model, load_platform("720"))
    assert [node.type for node in program.nodes] == ["CPU"]
    assert any("input 's' is no tensor (sequence)" in warning for warning in program.warnings)
