"""Some graphs of each pattern of ``benchmarks/fusion_corpus.py``, with default and with all rewriting options."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import sys
from pathlib import Path

import onnx
import pytest

import kneronnxopt
from graphs import refines
from kneronnxopt.verify import difference_of, random_inputs, run_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REWRITING = {
    "opt_matmul": True,
    "replace_avgpool_with_conv": True,
    "replace_dilated_conv": True,
    "defuse_gaps": True,
    "fuse_bn": True,
    "duplicate_shared_weights": 2,
}


def corpus():
    spec = importlib.util.spec_from_file_location("fusion_corpus", BENCHMARKS / "fusion_corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CORPUS = corpus()


@pytest.mark.parametrize("pattern", CORPUS.PATTERNS, ids=lambda pattern: pattern.name)
def test_graphs_to_fuse_keep_their_results(pattern, caplog):
    caplog.set_level(logging.WARNING, "kneronnxopt")
    compared = 0
    for name, original in itertools.islice(CORPUS.models_of(pattern), 0, 16, 5):
        feeds = random_inputs(original)
        expected = run_model(original, feeds)
        if any(difference_of(expected, run_model(original, feeds)).values()):
            continue  # random by design
        for options in ({}, REWRITING):
            result = kneronnxopt.optimize(original, skip_check=True, convert_f16=False, **options)
            onnx.checker.check_model(result)
            assert refines(result, original), name
            differences = difference_of(expected, run_model(result, feeds))
            assert max(differences.values(), default=0) < 2e-2, (name, options, differences)
            compared += 1
    assert compared
    assert not [record for record in caplog.records if "please report" in record.message]
