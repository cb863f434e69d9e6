"""Run passes by themselves, and prove the result."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

import kneronnxopt
from kneronnxopt.passes._base import FixedPoint, Pass
from kneronnxopt.passes.lift_constants import LiftConstants
from kneronnxopt.passes.shapes import InferShapes
from kneronnxopt.verify import difference_of, random_inputs, run_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from kneronnxopt.passes._base import NodePass


class _Nothing(Pass):
    """In place of shape inference, so that the passes under test have to give the shapes themselves."""

    name = "nothing"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Do nothing."""
        return ir.passes.PassResult(model, modified=False)


def rewritten(
    original: onnx.ModelProto,
    *passes: NodePass,
    feeds: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 1e-5,
    pipeline: bool = True,
) -> tuple[dict[str, int], dict[str, int], onnx.ModelProto]:
    """Run the passes alone and in the pipeline; check both results; return the operators, the counts, the model.

    The model is valid, keeps its outputs' names and shapes, computes the same, is at a fixed point, and every
    value has a type.
    """
    feeds = random_inputs(original) if feeds is None else feeds
    expected = run_model(original, feeds)
    result, counts = run_alone(original, *passes)
    assert run_alone(result, *passes)[1] == {}, "the result is not a fixed point"
    results = [result]
    if pipeline:
        results.append(kneronnxopt.optimize(original, skip_check=True, convert_f16=False, extra_passes=passes))
    for candidate in results:
        onnx.checker.check_model(candidate, full_check=True)
        differences = difference_of(expected, run_model(candidate, feeds))
        assert max(differences.values()) <= tolerance, differences
        assert [value.name for value in candidate.graph.input] == [value.name for value in original.graph.input]
    return dict(collections.Counter(node.op_type for node in result.graph.node)), counts, result


def run_alone(original: onnx.ModelProto, *passes: NodePass) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Only these passes, between the stages that every pass may rely on."""
    model = ir.from_proto(original)
    model.graph.meta["kneronnxopt.ir_version"] = model.ir_version
    fixed_point = FixedPoint(list(passes), _Nothing())
    for stage in (LiftConstants(), InferShapes(check_declared=True)):
        stage(model)
    unknown = _without_shape(model)
    for stage in (fixed_point, common.RemoveUnusedNodesPass()):
        stage(model)
    assert _without_shape(model) <= unknown
    return ir.to_proto(model), fixed_point.counts


def _without_shape(model: ir.Model) -> set[str]:
    outputs = (output for node in model.graph for output in node.outputs)
    return {output.name for output in outputs if output.name and (output.shape is None or output.type is None)}
