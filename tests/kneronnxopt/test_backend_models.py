"""Every 15th of the onnx package's own backend test models, with default and with all rewriting options."""

from __future__ import annotations

import functools
import warnings

import onnx
import pytest

import kneronnxopt
from graphs import refines
from kneronnxopt.checking import may_do_harm
from kneronnxopt.verify import difference_of, random_inputs, run_model

OPTIONS = [
    {},
    {
        "opt_matmul": True,
        "replace_avgpool_with_conv": True,
        "replace_dilated_conv": True,
        "defuse_gaps": True,
        "fuse_bn": True,
        "duplicate_shared_weights": 2,
        "clear_descriptions": True,
    },
]
SLICES = 8


@functools.cache
def corpus() -> list[tuple[str, onnx.ModelProto]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own expected values, and overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        cases = [(case.name, case.model) for case in collect_testcases(None) if case.model is not None]
    return cases[::15]


@pytest.mark.parametrize("part", range(SLICES))
def test_backend_models_keep_their_results(part):
    compared = 0
    for name, original in corpus()[part::SLICES]:
        if may_do_harm(original):
            continue  # onnxruntime 1.20 ends the process on an integer division by zero
        try:
            feeds = random_inputs(original)
            expected = run_model(original, feeds)
            repeated = run_model(original, feeds)
        except kneronnxopt.OptimizationError:
            continue  # onnxruntime cannot run the original
        if any(difference_of(expected, repeated).values()):
            continue  # random by design
        for options in OPTIONS:
            result = kneronnxopt.optimize(original, skip_check=True, convert_f16=False, **options)
            onnx.checker.check_model(result)
            assert refines(result, original), name
            differences = difference_of(expected, run_model(result, feeds))
            assert max(differences.values(), default=0) < 2e-3, (name, options, differences)
            compared += 1
    assert compared > 5
