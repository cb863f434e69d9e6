"""Figures of the user's own: KTC_IP_CONFIG, ip_config= and --ip-config."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ktc
from bad_files import good_model
from graphs import model, weight
from ktc import opt_and_eval
from ktc.errors import ConfigError
from ktc.hardware import configured_platform, load_platform, platform_names, user_figures
from ktc.report import schema


def packaged_text(platform: str = "720") -> str:
    return (resources.files("ktc.hardware") / "data" / f"ip_config_{platform}.json").read_text("utf-8")


def evaluate(folder, platform="720", **arguments):
    return ktc.ModelConfig(1, "0001", platform, onnx_model=good_model()).evaluate(folder, **arguments)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.fixture
def slow(tmp_path):
    return write(tmp_path / "slow.json", {"figures": {"read_bandwidth": 0.01, "write_bandwidth": 0.01}})


def numbers(platform: str) -> list[str]:
    fields = dataclasses.fields(load_platform(platform))
    names = [f.name for f in fields if f.type == "float" and f.name not in ("expected_error_percent", "exposed_share")]
    return [name for name in names if not name.endswith("macs_per_cycle") or name.startswith("cpu_")]  # of any size


@settings(deadline=None)
@given(st.sampled_from(platform_names()), st.data())
def test_given_figures_are_in_force_and_the_others_stay(name, data):
    packaged = load_platform(name)
    chosen = data.draw(st.dictionaries(st.sampled_from(numbers(name)), st.floats(1e-6, 1e12), max_size=4))
    platform = configured_platform(name, chosen)
    for field in numbers(name):
        assert getattr(platform, field) == chosen.get(field, getattr(packaged, field))
    changed = {figure: value for figure, value in chosen.items() if value != getattr(packaged, figure)}
    assert {figure.name: figure.value for figure in user_figures(platform)} == changed
    assert all(platform.figures[figure].confidence == "user" for figure in changed)
    assert load_platform(name) == packaged


@pytest.mark.parametrize("name", platform_names())
def test_a_complete_copy_of_the_packaged_file_changes_nothing(name, tmp_path):
    copy = write(tmp_path / f"ip_config_{name}.json", packaged_text(name))
    assert configured_platform(name, copy) == configured_platform(name, tmp_path) == load_platform(name)


@pytest.mark.parametrize(
    "content",
    [
        {"read_bandwidth": 5},
        {"figures": {"read_bandwidth": 5}},
        {"platform": "720", "figures": {"read_bandwidth": {"value": 5}}},
        {"schema_version": 1, "figures": {"read_bandwidth": {"value": 5.0, "unit": "GB/s", "source": "my board"}}},
    ],
)
def test_every_way_to_write_a_figure(content, tmp_path, monkeypatch):
    for platform in (
        configured_platform("720", content),
        configured_platform("720", write(tmp_path / "mine.json", content)),
        configured_platform("720", write(tmp_path / "ip_config_720.json", content).parent),
    ):
        assert platform.read_bandwidth == 5
        assert [figure.name for figure in user_figures(platform)] == ["read_bandwidth"]
    monkeypatch.setenv("KTC_IP_CONFIG", str(tmp_path))
    assert configured_platform("720").read_bandwidth == 5
    assert configured_platform("730") is load_platform("730")
    assert configured_platform("720", {}).read_bandwidth == load_platform("720").read_bandwidth


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ("JSON",)),
        ("[1]", ("object of figures",)),
        ("null", ("object of figures",)),
        ("[" * 100_000, ("nested too deeply",)),
        ('{"a":' * 100_000, ("nested too deeply",)),
        ("1" * 10_000, ("JSON",)),
        (" " * (1 << 20) + "{}", ("larger than",)),
        ('{"read_bandwidth": 1, "read_bandwidth": 2}', ("'read_bandwidth'", "twice")),
        ({"read_bandwith": 1}, ("'read_bandwith'", "did you mean read_bandwidth")),
        ({"zzz": 1}, ("'zzz'", "there are frequency_mhz")),
        ({"x" * 10_000: 1}, ("unknown figure",)),
        ({"figures": {}, "extra": 1}, ("'extra'",)),
        ({"figures": 3}, ("figures",)),
        ({"platform": "730", "figures": {}}, ("'730'", "KL720")),
        ({"schema_version": 2, "figures": {}}, ("schema_version",)),
        ({"read_bandwidth": 0}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": -1}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": True}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": None}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": "4"}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": [4] * 100_000}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": 1e300}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": 1e-300}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": 10**400}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": float("nan")}, ("read_bandwidth", "positive")),
        ({"read_bandwidth": float("inf")}, ("read_bandwidth", "positive")),
        ({"weight_4bit_factor": True}, ("weight_4bit_factor", "positive")),
        ({"lanes": 1.5}, ("lanes", "whole")),
        ({"tap_rule": "never"}, ("tap_rule", "one of 'square_blocks_3x3'")),
        ({"resident_maps": 1}, ("resident_maps", "true or false")),
        ({"layout_operators": "Split"}, ("layout_operators", "list of texts")),
        ({"read_bandwidth": {"unit": "GB/s"}}, ("read_bandwidth", "no value")),
        ({"read_bandwidth": {"value": 4, "unit": "MB/s"}}, ("read_bandwidth", "'MB/s'", "GB/s")),
        ({"read_bandwidth": {"value": 4, "note": ""}}, ("read_bandwidth", "'note'")),
        ({"read_bandwidth": {"value": 4, "source": 7}}, ("read_bandwidth", "source")),
        ({"io_modes": ["int8", "int7"]}, ("io_modes", "documentation")),
        ({"image_format": {"8": "none"}}, ("image_format", "documentation")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_file_gets_one_sentence_with_its_name(content, words, tmp_path, capsys):
    path = write(tmp_path / "mine.json", content)
    with pytest.raises(ConfigError) as caught:
        configured_platform("720", path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert len(sentence) < 2000
    assert all(word in sentence for word in words), sentence
    onnx.save(good_model(), tmp_path / "net.onnx")
    before = sorted(tmp_path.rglob("*"))
    command = ["720", str(tmp_path / "net.onnx"), "-E", str(tmp_path / "r"), "--ip-config", str(path)]
    assert opt_and_eval.main(command) == 2
    assert capsys.readouterr().err == f"python -m ktc.opt_and_eval: error: {sentence}\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_places_are_explained(tmp_path):
    with pytest.raises(ConfigError, match="no such"):
        configured_platform("720", tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="no file ip_config_"):
        configured_platform("720", tmp_path)
    with pytest.raises(ConfigError, match="is for KL730 by its name"):
        configured_platform("720", write(tmp_path / "ip_config_730.json", {}))
    with pytest.raises(ConfigError, match="neither a path nor"):
        configured_platform("720", 7)
    with pytest.raises(ConfigError, match="plain number"):
        configured_platform("720", {"read_bandwidth": np.array([1, 2])})
    (tmp_path / "latin.json").write_bytes(b'{"read_bandwidth": "\xe9"}')
    with pytest.raises(ConfigError, match="JSON"):
        configured_platform("720", tmp_path / "latin.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*load_platform("720").figures, "figures", "value"]), JSON_VALUES, max_size=3))
def test_whatever_the_file_holds_it_is_a_platform_or_a_config_error(content):
    try:
        figures = user_figures(configured_platform("720", content))
    except ConfigError as error:
        figures = str(error)
    assert isinstance(figures, tuple) or figures.startswith("ip_config: ")


def test_evaluation_takes_the_figures_and_forgets_them(slow, tmp_path, monkeypatch):
    before = evaluate(tmp_path / "a").time_ms
    assert evaluate(tmp_path / "b", ip_config=slow).time_ms > before
    assert evaluate(tmp_path / "c").time_ms == before
    monkeypatch.setenv("KTC_IP_CONFIG", str(slow))
    assert evaluate(tmp_path / "d").time_ms > before
    assert evaluate(tmp_path / "e", ip_config={}).time_ms == before
    monkeypatch.setenv("KTC_IP_CONFIG", "")
    assert evaluate(tmp_path / "f").time_ms == before


def test_the_report_says_which_figures_are_not_the_packaged(slow, tmp_path):
    import jsonschema

    report = evaluate(tmp_path, ip_config=slow)
    page = (tmp_path / "model_fx_report.html").read_text("utf-8")
    for text in (report, page):
        assert "expected error does not hold" in text
        assert "read_bandwidth = 0.01 GB/s (packaged" in text
    assert "Figures of your own" in page
    assert "figures of your own" in report._repr_html_()
    document = report.to_dict()
    jsonschema.validate(document, schema())
    names = [figure["name"] for figure in document["hardware"]["user_figures"]]
    assert names == ["read_bandwidth", "write_bandwidth"]
    plain = evaluate(tmp_path)
    assert plain.to_dict()["hardware"]["user_figures"] == []
    assert "your own" not in plain + (tmp_path / "model_fx_report.html").read_text("utf-8")


def test_the_command_says_that_the_error_is_unknown(slow, tmp_path, capsys, caplog):
    onnx.save(good_model(), tmp_path / "net.onnx")
    command = ["720", "-e", str(tmp_path / "net.onnx"), "-E", str(tmp_path / "r"), "--ip-config", str(slow)]
    assert opt_and_eval.main(command) == 0
    assert "(with 2 figures of your own, error unknown), 0 CPU nodes" in capsys.readouterr().out
    assert opt_and_eval.main(["720", "-o", str(tmp_path / "net.onnx"), "--ip-config", str(slow)]) == 0
    assert "--ip-config has no effect together with -o" in caplog.text


def spilling_model() -> onnx.ModelProto:
    """Maps larger than the on-chip memory, so that time depends on their width, their tiling and the bandwidth."""
    graph = "g (float[1,3,256,256] x) => (float[1,32,256,256] y) {"
    for source, target, filters in (("x", "a", "v"), ("a", "b", "w"), ("b", "y", "w")):
        graph += f" {target} = Conv <pads = [1, 1, 1, 1]> ({source}, {filters})"
    return model(graph + " }", v=weight(32, 3, 3, 3), w=weight(32, 32, 3, 3))


def settings_advice(given):
    """The advice to compute in int8, of a model that computes in int16."""
    found = [item for item in given if item.kind == "settings" and "datapath_bitwidth_mode='int8'" in item.snippet]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("kind", ["path", "mapping", "environment", "folder"])
def test_advice_has_the_same_figures_and_its_code_too(kind, slow, tmp_path, monkeypatch):
    onnx.save(spilling_model(), tmp_path / "net.onnx")
    given = {
        "path": slow,
        "mapping": {"read_bandwidth": 0.01, "write_bandwidth": 0.02},
        "environment": None,
        "folder": slow.parent,
    }[kind]
    packaged = ktc.advise(tmp_path / "net.onnx", 720, optimizer=False, datapath_bitwidth_mode="int16")
    if kind == "environment":
        monkeypatch.setenv("KTC_IP_CONFIG", str(slow))
    if kind == "folder":
        given = tmp_path / "folder"
        given.mkdir()
        (given / "ip_config_720.json").write_text(slow.read_text())
    found = ktc.advise(tmp_path / "net.onnx", 720, optimizer=False, datapath_bitwidth_mode="int16", ip_config=given)
    item = settings_advice(found)
    assert item.time_before_ms > 2 * settings_advice(packaged).time_before_ms
    monkeypatch.delenv("KTC_IP_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(item.snippet, "snippet", "exec"), names)
    assert names["report"].time_ms == pytest.approx(item.time_after_ms, rel=1e-12)
    config = ktc.ModelConfig(1, "0001", 720, onnx_path=tmp_path / "net.onnx")
    report = config.evaluate(tmp_path / "r", datapath_bitwidth_mode="int16", ip_config=given or slow)
    assert settings_advice(report.advice).snippet == item.snippet
    remark = next(line for line in report.splitlines() if line.startswith("The optimizer and its options were not"))
    assert ("--ip-config" in remark) == (kind != "mapping")
    assert ("ip_config=..." in remark) == (kind == "mapping")


def test_the_advise_command_has_the_option_and_the_environment(slow, tmp_path, capsys, monkeypatch):
    from ktc.advise import main

    onnx.save(spilling_model(), tmp_path / "net.onnx")
    command = ["720", str(tmp_path / "net.onnx"), "--no-optimizer", "--json", "--threshold", "0"]
    assert main(command) == 0
    packaged = json.loads(capsys.readouterr().out)["items"][0]["time_before_ms"]
    assert main([*command, "--ip-config", str(slow)]) == 0
    own = json.loads(capsys.readouterr().out)["items"][0]["time_before_ms"]
    assert own > 2 * packaged
    monkeypatch.setenv("KTC_IP_CONFIG", str(slow))
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["time_before_ms"] == own
    assert main([*command, "--ip-config", str(tmp_path / "absent.json")]) == 2


def test_a_name_that_the_system_refuses_is_a_config_error(tmp_path):
    for path in ("x" * 300, tmp_path / ("y" * 300), "a\0b"):
        with pytest.raises(ConfigError, match=r"cannot be read|no such"):
            configured_platform(720, path)


def test_a_folder_that_cannot_be_listed_is_a_config_error(tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # mode bits do not stop root
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)"):
        configured_platform(720, tmp_path)


def test_the_exposed_share_is_from_0_to_1():
    for value in (0, 0.0, 0.5, 1):
        assert configured_platform(720, {"exposed_share": value}).exposed_share == value
    for value in (-0.1, 1.01, float("nan"), True, "0.5"):
        with pytest.raises(ConfigError, match=r"exposed_share .* has to be a number from 0 to 1"):
            configured_platform(720, {"exposed_share": value})


@pytest.mark.parametrize("platform", platform_names())
@pytest.mark.parametrize(
    ("rate", "bound"),
    [
        ("conv_macs_per_cycle", "theoretical_spatial_macs_per_cycle"),
        ("pointwise_macs_per_cycle", "theoretical_pointwise_macs_per_cycle"),
        ("depthwise_macs_per_cycle", "theoretical_depthwise_macs_per_cycle"),
        ("depthwise_wide_macs_per_cycle", "theoretical_depthwise_macs_per_cycle"),
        ("theoretical_spatial_macs_per_cycle", "macs_per_cycle"),
    ],
)
def test_no_rate_is_above_the_one_that_bounds_it(platform, rate, bound):
    packaged = load_platform(platform)
    assert configured_platform(platform, {rate: getattr(packaged, bound)})
    for figures in ({rate: 1.01 * getattr(packaged, bound)}, {bound: 0.99 * getattr(packaged, rate)}):
        with pytest.raises(ConfigError, match=r"has to be at most theoretical_|has to be at most macs_per_cycle"):
            configured_platform(platform, figures)


@pytest.mark.parametrize(
    "figures",
    [
        {"cpu_core": "\ud800"},
        {"read_bandwidth": {"value": 4.0, "source": "a\udcff"}},
        {"fused_activations": ["\ud800"]},
    ],
)
def test_text_that_is_none_is_a_config_error(figures):
    with pytest.raises(ConfigError, match="not valid text"):
        configured_platform(720, figures)


@pytest.mark.parametrize("argument", ["weight_bandwidth", "dma_bandwidth"])
def test_bandwidth_arguments_have_the_range_of_the_figures(argument, tmp_path):
    for value in (5e-324, 1e-310, 10**400, 1e300, -1, 0, float("nan"), True, "2", np.float32(0)):
        with pytest.raises(ConfigError, match=f"{argument}=.*between 1e-09 and 1e\\+15"):
            evaluate(tmp_path, **{argument: value})
    plain = evaluate(tmp_path, **{argument: 2})
    for value in (np.float32(2), np.float64(2), np.int64(2)):
        report = evaluate(tmp_path, **{argument: value})
        assert report == plain
        assert json.loads((tmp_path / "model_fx_report.json").read_text()) == plain.to_dict()
    for value in (1e-9, 1e15):
        assert evaluate(tmp_path, **{argument: value}).time_ms > 0
