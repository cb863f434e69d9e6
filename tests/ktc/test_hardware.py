"""Platforms, operator table and input formats."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import re
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
    ("key", "value"), [("lanes", 1.5), ("resident_maps", "none"), ("tap_rule", ""), ("weight_modes", "int8")]
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


NOTES = TABLE.with_name("operators_notes.md")

#: Words of the operator list -> the predicate and its limits, which the groups of the pattern complete.
PHRASES = {
    r"rank at most (\d+)": ("rank_at_most", "maximum"),
    r"kernel at most (\d+)": ("kernel_at_most", "maximum"),
    r"stride width at most (\d+), stride height at most (\d+)": ("stride_at_most", "width", "height"),
    r"minimum 0, maximum at least 0": ("clip_from_zero",),
    r"stride s x s with s = (\d+)": ("square_stride_is", "value"),
    r"stride s x s": ("square_stride",),
    r"blocksize (\d+)(?: or (\d+))?": ("blocksize_in", "allowed", "allowed"),
    r"where input is (\d)x(\d)xHxW, output \dx(\d)xHxW": ("channels_are", "batch", "before", "after"),
    r"mode (CRD)": ("mode_is", "mode"),
    r"expands (?:channels, )?columns or rows": ("expands_only",),
    r"axis (\d)": ("axis_is", "value"),
    r"a single index": ("single_index",),
    r"rows x columns at most (\d+)": ("area_at_most", "maximum"),
    r"rows above (\d+)": ("rows_above", "limit"),
    r"second input constant: shape WxV or 1x1xWxV; otherwise rank (\d)(?: to (\d))?": (
        "matmul_operands",
        "minimum",
        "maximum",
    ),
    r"no padding in batch": ("pad_axes",),
    r"every (?:spatial )?pad below (\d+)": ("pads_below", "limit"),
    r"constant mode with value 0": ("pads_zero",),
    r"exponent (\d)": ("exponent_is", "value"),
    r"keepdims 1": ("keepdims_on",),
    r"no reduction over batch": ("not_over_batch",),
    r"reduction over channels": ("over_channels",),
    r"not cubic": ("not_cubic",),
    r"extrapolation_value 0": ("extrapolation_zero",),
    r"rank (\d)(?! to)": ("rank_is", "value"),
    r"initial phase 0 in both directions": ("initial_phase_zero",),
    r"nearest_mode floor for nearest": ("nearest_floor",),
    r"not tf_crop_and_resize": ("not_crop",),
    r"not both directions at once|rows or columns but not both": ("one_direction",),
    r"in the direction resized: initial phase >= 0 and step <= 1": ("phase_and_step",),
    r"all steps 1": ("steps_one",),
    r"permutations of row with column, or channel with row": ("transpose_adjacent",),
    r"no permutation of batch": ("batch_stays",),
    r"(?<!all )spatial(?! pad)": ("spatial_only",),
    r"(nearest), (linear), (bilinear) or (align_corner)": ("upsample_mode", *["allowed"] * 4),
}
POOLING = {2, 3, 4, 24, 25}  # forms to choose from; tests/ktc/test_frontend_conditions.py holds them against an oracle


def _notes():
    """Number -> words of the operator list; "as 44" is replaced by what it refers to."""
    notes = dict(re.findall(r"^(\d+)\. (?:Resize, \d+: |Upsample: )?(.*)$", NOTES.read_text("utf-8"), re.MULTILINE))
    return {int(n): re.sub(r"^as (\d+)", lambda match: notes[match[1]], text) for n, text in notes.items()}


def test_every_note_of_the_operator_list_has_a_condition():
    assert set(_notes()) == set(note_conditions())
    assert len(_notes()) == 46 - len([13, 28, 33])


@pytest.mark.parametrize("number", sorted(set(_notes()) - POOLING))
def test_every_phrase_of_a_note_is_a_predicate_with_its_limits(number):
    words, wanted = _notes()[number], []
    if "decomposed into" in words:  # says how, not under which condition
        words = ""
    for pattern, (predicate, *limits) in PHRASES.items():
        if match := re.search(pattern, words):
            words = words.replace(match[0], "", 1)
            wanted.append((predicate, [(name, v) for name, v in zip(limits, match.groups(), strict=False) if v]))
    assert not re.search(r"[a-z]{2,}|\d", words.replace("decomposed ", "")), words
    condition = dict(note_conditions()[number].get("all", []))
    assert sorted(condition) == sorted(name for name, _ in wanted)
    for predicate, limits in wanted:
        for name, value in limits:
            actual = condition[predicate][name]
            assert value in map(str, actual if isinstance(actual, list) else [actual])


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
