"""Platforms, operator table and input formats."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
from importlib import resources
from pathlib import Path

import pytest

from ktc.errors import ConfigError
from ktc.hardware import (
    input_format,
    input_formats,
    load_platform,
    normalise_platform,
    operator_support,
    platform_names,
)
from ktc.hardware.operators import decompositions, note_conditions
from ktc.hardware.platform import parse_platform

TABLE = Path(__file__).parent.parent / "data" / "hardware" / "operators.csv"


@pytest.mark.parametrize("spelling", ["720", 720, "KL720", "kdp720", "Kdp720", " kl720 "])
def test_platform_names_are_accepted_in_all_spellings(spelling):
    assert normalise_platform(spelling) == "720"
    assert load_platform(spelling) is load_platform("720")


@pytest.mark.parametrize("name", ["540", "", "KL", 72, True, None, 7.2, "kl kl720", "../520"])
def test_an_unknown_platform_is_refused_with_the_list(name):
    with pytest.raises(ConfigError, match=r"520, 530, 630, 720, 730"):
        load_platform(name)


def test_the_five_platforms_are_there():
    assert set(platform_names()) == {"520", "720", "530", "630", "730"}


@pytest.mark.parametrize("name", platform_names())
def test_every_figure_has_a_source_and_is_exposed(name):
    platform = load_platform(name)
    fields = {field.name for field in dataclasses.fields(platform)} - {"name", "title", "figures"}
    assert set(platform.figures) == fields
    assert all(figure.source and figure.unit for figure in platform.figures.values())


@pytest.mark.parametrize("name", platform_names())
def test_sustained_rates_do_not_exceed_the_peak(name):
    platform = load_platform(name)
    assert platform.conv_macs_per_cycle <= platform.macs_per_cycle
    assert platform.pointwise_macs_per_cycle <= platform.theoretical_pointwise_macs_per_cycle


def _document():
    return json.loads((resources.files("ktc.hardware") / "data" / "ip_config_720.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("value", [0, -1, True, "8", None, float("nan"), float("inf"), [1]])
def test_a_rate_that_is_no_positive_number_is_refused(value):
    document = _document()
    document["figures"]["read_bandwidth"]["value"] = value
    with pytest.raises(ConfigError, match="read_bandwidth"):
        parse_platform(document, "test")


@pytest.mark.parametrize(
    ("key", "value"), [("lanes", 1.5), ("overlap", "none"), ("tap_rule", ""), ("weight_modes", "int8")]
)
def test_a_figure_of_the_wrong_type_is_refused(key, value):
    document = _document()
    document["figures"][key]["value"] = value
    with pytest.raises(ConfigError, match=key):
        parse_platform(document, "test")


def test_missing_and_unknown_figures_are_refused():
    document = _document()
    missing, unknown = copy.deepcopy(document), copy.deepcopy(document)
    del missing["figures"]["lanes"]
    unknown["figures"]["lane"] = document["figures"]["lanes"]
    with pytest.raises(ConfigError, match="missing figures lanes"):
        parse_platform(missing, "test")
    with pytest.raises(ConfigError, match="unknown figures lane"):
        parse_platform(unknown, "test")
    with pytest.raises(ConfigError, match="figures"):
        parse_platform([], "test")


def test_a_figure_without_source_is_refused():
    document = _document()
    del document["figures"]["lanes"]["source"]
    with pytest.raises(ConfigError, match="lanes"):
        parse_platform(document, "test")


def _cells():
    with TABLE.open(newline="") as lines:
        for row in csv.DictReader(lines):
            operator = row.pop("operator")
            yield from ((operator, platform, cell) for platform, cell in row.items())


def test_the_operator_table_agrees_cell_by_cell():
    for operator, platform, cell in _cells():
        support = operator_support(operator, platform)
        verdict, _, note = cell.partition(":")
        assert support is not None
        assert (support.supported, support.note) == (verdict == "Y", int(note) if note else None)


def test_an_unlisted_operator_has_no_support():
    assert operator_support("FancyOp", "730") is None


def test_every_note_of_the_table_has_a_condition():
    used = {int(cell.partition(":")[2]) for _, _, cell in _cells() if ":" in cell}
    assert used == set(note_conditions())


def test_decompositions_consist_of_listed_operators():
    listed = {operator for operator, _, _ in _cells()}
    for recipe in decompositions().values():
        assert set(recipe["steps"]) <= listed
        assert recipe["source"]


def test_input_formats_by_name_and_id():
    assert len(input_formats()) == 18
    assert input_format("4W4C8B") is input_format(2)
    assert (input_format(103).name, input_format(103).bits) == ("RAW_FLOAT", 32)
    assert input_format("PS_1W16C24B").bits == 24


@pytest.mark.parametrize("key", ["4w4c8b", 101, -1, True, None, ""])
def test_an_unknown_input_format_is_refused(key):
    with pytest.raises(ConfigError, match="RAW_FLOAT"):
        input_format(key)
