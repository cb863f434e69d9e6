"""The JSON report and its schema."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import jsonschema
import pytest

from evaluations import for_any_evaluation, make_cpu_node, make_evaluation, make_node
from ktc.evaluator.evaluation import NodeEvaluation
from ktc.evaluator.settings import EvaluationSettings
from ktc.report import render_ioinfo, render_json, schema
from ktc.report._columns import ALL_COLUMNS, DOCUMENTED_COLUMNS
from ktc.report._json import SCHEMA_VERSION
from ktc.report._summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterator

VALIDATOR = jsonschema.Draft202012Validator(schema())


def strict_json(document: object) -> Any:
    """Write and read as a strict JSON reader does."""
    return json.loads(json.dumps(document, allow_nan=False))


def subschemas(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "type" in node and not isinstance(node["type"], dict):
            yield node
        for child in node.values():
            yield from subschemas(child)


@for_any_evaluation
def test_every_report_is_strict_json_and_meets_the_schema(evaluation):
    VALIDATOR.validate(strict_json(render_json(evaluation)))


@for_any_evaluation
def test_names_and_numbers_arrive_as_they_are(evaluation):
    document = strict_json(render_json(evaluation))
    assert document["model_name"] == evaluation.model_name
    assert document["io"] == render_ioinfo(evaluation)
    for row, node in zip(document["nodes"], evaluation.nodes, strict=True):
        assert row["node"] == node.name
        assert tuple(row["node origin"]) == node.origins
        assert row["reason"] == node.reason
        assert (row["SYNC_runtime(ms)"] or 0) == node.sync_ms
        assert (row["Weight_amount(Byte)"] or 0) == node.weight_bytes


def test_schema_is_itself_valid_and_knows_its_version():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_schema_closes_every_object_and_requires_every_field():
    objects = [part for part in subschemas(schema()) if part["type"] == "object"]
    assert len(objects) > 5
    for part in objects:
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])


def test_schema_describes_every_field():
    for part in subschemas(schema()):
        for name, field in part.get("properties", {}).items():
            assert field["description"].endswith("."), name


def test_schema_has_the_columns_fields_and_settings_of_the_code():
    document = schema()
    assert list(document["$defs"]["node"]["properties"]) == [column.name for column in ALL_COLUMNS]
    names = [field.name for field in summary(make_evaluation())]
    assert list(document["properties"]["summary"]["properties"]) == names
    settings = [field.name for field in fields(EvaluationSettings)]
    assert list(document["properties"]["settings"]["properties"]) == settings


@pytest.mark.parametrize("field", ["type", "bound"])
def test_schema_lists_the_choices_of_the_code(field):
    choices = get_args(get_type_hints(NodeEvaluation)[field])
    assert tuple(schema()["$defs"]["node"]["properties"][field]["enum"]) == choices


@pytest.mark.parametrize("damage", ["extra", "missing", "negative"])
def test_schema_refuses_a_damaged_report(damage):
    document = strict_json(render_json(make_evaluation()))
    if damage == "extra":
        document["nodes"][0]["surprise"] = 1
    elif damage == "missing":
        del document["result"]["time_ms"]
    else:
        document["result"]["time_ms"] = -1
    assert not VALIDATOR.is_valid(document)


def test_without_npu_time_there_is_no_frame_rate():
    document = strict_json(render_json(make_evaluation(nodes=(make_cpu_node(),))))
    VALIDATOR.validate(document)
    assert document["result"]["fps"] is None
    assert document["summary"]["ip_eval/fps"] is None
    assert any("no frame rate" in warning for warning in document["warnings"])


def test_every_figure_of_a_node_is_in_some_column():
    """No field of a node may be lost on the way to the report."""
    plain = make_node()
    plain_row = [column.of(plain) for column in ALL_COLUMNS]
    for field, old in plain._asdict().items():
        new: object = old + 1 if isinstance(old, (int, float)) else (old + old if old else "changed")
        changed = make_node(**{field: new})
        assert [column.of(changed) for column in ALL_COLUMNS] != plain_row, field


def test_signal_to_noise_ratio_is_not_available():
    snr = next(column for column in DOCUMENTED_COLUMNS if column.name == "SNR")
    assert snr.of(make_node()) is None
