"""ModelConfig and evaluate: every documented argument, what it refuses, and where results go."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import ktc
import zoo
from bad_files import KINDS, bad_file, good_model
from graphs import model, weight
from ktc.errors import ConfigError, ModelError, UnsupportedError

PLATFORMS = ("520", "720", "530", "630", "730")


def config(platform: str = "720", **arguments) -> ktc.ModelConfig:
    return ktc.ModelConfig(32769, "8b28", platform, onnx_model=arguments.pop("onnx_model", good_model()), **arguments)


def test_signatures_are_the_documented_ones():
    names = list(inspect.signature(ktc.ModelConfig).parameters)
    assert names[:7] == ["id", "version", "platform", "onnx_model", "onnx_path", "bie_path", "input_fmt"]
    assert names[7:] == ["radix_json_path", "compiler_config_path", "debug"]
    parameters = inspect.signature(ktc.ModelConfig.evaluate).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY}  # the others are ours
    del defaults["self"]
    assert defaults == {
        "output_dir": "/data1/kneron_flow",
        "datapath_bitwidth_mode": "int8",
        "weight_bitwidth_mode": "int8",
        "model_in_bitwidth_mode": "int8",
        "model_out_bitwidth_mode": "int8",
        "cpu_node_bitwidth_mode": "int8",
        "weight_bandwidth": None,
        "dma_bandwidth": None,
        "compiler_tiling": "default",
    }


def test_importing_ktc_loads_no_heavy_library():
    heavy = ("onnxruntime", "onnx_ir", "onnxsim", "jinja2", "PIL", "sympy", "tqdm")
    code = f"import sys, ktc, kneronnxopt; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_ktc_loads_no_evaluator():
    code = "import sys, ktc; print({'ktc.evaluator', 'ktc.hardware', 'ktc.report'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there_before_it_is_loaded():
    code = (
        "import ktc; assert {*ktc.__all__} <= {*dir(ktc)}; from ktc import *; "
        "assert all(globals()[name] is getattr(ktc, name) for name in ktc.__all__ if name != '__version__'); "
        "ktc.comparison.schema(), ktc.hardware.load_platform, ktc.evaluator, ktc.advice, ktc.sweeping"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["advise", "compare", "sweep"])
def test_a_function_and_the_command_of_its_name_are_both_callable(name):
    code = (
        f"import ktc, inspect; function = ktc.{name}; import ktc.{name} as command; from ktc import {name} as again; "
        f"assert callable(function) and callable(ktc.{name}) and callable(again) and command.main; "
        f"assert inspect.signature(function) == inspect.signature(ktc.{name})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(ktc, "compar")
    with pytest.raises(AttributeError, match="module 'ktc' has no attribute 'compar'"):
        ktc.compar  # noqa: B018
    with pytest.raises(AttributeError, match="'ModelConfig' object has no attribute 'evaluat'"):
        config().evaluat  # noqa: B018


@pytest.mark.parametrize("name", ["combine_nef", "compile", "encrypt_compile", "get_radix"])
def test_what_follows_with_bie_and_nef_says_so(name):
    assert not hasattr(ktc, name)
    assert name not in dir(ktc)
    with pytest.raises(AttributeError, match=f"^ktc.{name} is not available yet; it follows with BIE and NEF files$"):
        getattr(ktc, name)


def test_analysis_says_that_it_is_not_available():
    assert not hasattr(ktc.ModelConfig, "analysis")
    assert not hasattr(config(), "analysis")
    with pytest.raises(AttributeError, match=r"^ModelConfig.analysis is not available yet"):
        config().analysis({})


@pytest.mark.parametrize("platform", [*PLATFORMS, 720, "KL720", "kdp730"])
def test_platform_is_accepted_in_every_spelling(platform):
    assert config(platform).platform in PLATFORMS


@pytest.mark.parametrize("platform", ["540", "", None, 7200, "x", ["720"]])
def test_unknown_platform_lists_the_known(platform):
    with pytest.raises(ConfigError) as caught:
        config(platform)
    assert all(name in str(caught.value) for name in PLATFORMS)


@pytest.mark.parametrize(("given", "kept"), [("8b28", "8b28"), ("1", "0001"), ("0A2F", "0a2f"), ("ff", "00ff")])
def test_version_is_padded(given, kept):
    assert ktc.ModelConfig(1, given, "720", onnx_model=good_model()).version == kept


@pytest.mark.parametrize("version", ["", "12345", "xyz", "1.0", 1, None])
def test_bad_version_is_explained(version):
    with pytest.raises(ConfigError, match="four hexadecimal digits"):
        ktc.ModelConfig(1, version, "720", onnx_model=good_model())


@pytest.mark.parametrize("id_", [0, -1, "32769", 1.5, True, None])
def test_bad_id_is_explained(id_):
    with pytest.raises(ConfigError, match="positive integer"):
        ktc.ModelConfig(id_, "0001", "720", onnx_model=good_model())


def test_exactly_one_model_is_needed(tmp_path):
    onnx.save(good_model(), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="exactly one of onnx_model, onnx_path and bie_path"):
        ktc.ModelConfig(1, "0001", "720")
    with pytest.raises(ConfigError, match="onnx_model and onnx_path are given"):
        config(onnx_path=tmp_path / "m.onnx")


def test_model_may_come_from_a_path(tmp_path):
    onnx.save(good_model(), tmp_path / "m.onnx")
    report = ktc.ModelConfig(1, "0001", "720", onnx_path=str(tmp_path / "m.onnx")).evaluate(str(tmp_path / "out"))
    assert report.fps > 0


@pytest.mark.parametrize("kind", KINDS)
def test_bad_file_is_explained(kind, tmp_path):
    path, words = bad_file(kind, tmp_path)
    with pytest.raises(ModelError) as caught:
        ktc.ModelConfig(1, "0001", "720", onnx_path=path)
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_model_of_the_wrong_type_is_explained():
    with pytest.raises(ConfigError, match=r"onnx\.ModelProto"):
        config(onnx_model="model.onnx")
    with pytest.raises(ConfigError, match="onnx_path=7"):
        ktc.ModelConfig(1, "0001", "720", onnx_path=7)


def test_bie_is_checked_and_refused(tmp_path):
    with pytest.raises(ModelError, match="no such BIE file"):
        ktc.ModelConfig(1, "0001", "720", bie_path=tmp_path / "m.bie")
    (tmp_path / "m.bie").write_bytes(b"PK")
    with pytest.raises(UnsupportedError, match="not available yet"):
        ktc.ModelConfig(1, "0001", "720", bie_path=tmp_path / "m.bie")


@pytest.mark.parametrize("argument", ["radix_json_path", "compiler_config_path"])
def test_json_arguments_are_checked(argument, tmp_path):
    with pytest.raises(ConfigError, match=argument):
        config(**{argument: tmp_path / "missing.json"})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=argument):
        config(**{argument: tmp_path / "bad.json"})
    (tmp_path / "good.json").write_text("{}")
    config(**{argument: tmp_path / "good.json"})


def test_input_fmt_is_for_730_only():
    assert config("730", input_fmt="4W4C8B").input_fmt == "4W4C8B"
    assert config("730", input_fmt=2).input_fmt == "4W4C8B"
    with pytest.raises(ConfigError, match="730"):
        config("720", input_fmt="4W4C8B")
    with pytest.raises(ConfigError, match="HW1C16B_BE"):
        config("730", input_fmt="NCHW")
    later = config("730")
    later.input_fmt = "RAW8"
    assert later.input_fmt == "RAW8"
    with pytest.raises(ConfigError):
        config("520").input_fmt = "RAW8"


@pytest.mark.parametrize(
    ("platform", "arguments", "words"),
    [
        ("720", {"datapath_bitwidth_mode": "int7"}, ("datapath_bitwidth_mode", "int7")),
        ("720", {"weight_bitwidth_mode": "int4"}, ("weight_bitwidth_mode", "int4")),
        ("520", {"datapath_bitwidth_mode": "int16"}, ("datapath_bitwidth_mode", "int16")),
        ("520", {"weight_bitwidth_mode": "int16"}, ("weight_bitwidth_mode", "int16")),
        ("520", {"model_in_bitwidth_mode": "int16"}, ("model_in_bitwidth_mode", "int16")),
        ("520", {"model_out_bitwidth_mode": "int16"}, ("model_out_bitwidth_mode", "int16")),
        ("520", {"cpu_node_bitwidth_mode": "int16"}, ("cpu_node_bitwidth_mode", "int16")),
        ("730", {"datapath_bitwidth_mode": "int4"}, ("datapath_bitwidth_mode", "int4")),
        ("730", {"model_in_bitwidth_mode": "mix light"}, ("model_in_bitwidth_mode",)),
        ("730", {"weight_bandwidth": 0}, ("weight_bandwidth", "positive")),
        ("730", {"weight_bandwidth": float("nan")}, ("weight_bandwidth",)),
        ("730", {"dma_bandwidth": -1.0}, ("dma_bandwidth", "positive")),
        ("730", {"dma_bandwidth": "8"}, ("dma_bandwidth",)),
        ("730", {"compiler_tiling": "deep"}, ("compiler_tiling", "deep_search")),
    ],
)
def test_refused_settings_name_the_argument_and_leave_nothing(platform, arguments, words, tmp_path):
    with pytest.raises(ConfigError) as caught:
        config(platform).evaluate(tmp_path / "out", **arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_documented_settings_are_accepted(platform, tmp_path):
    modes = ["int8"] if platform == "520" else ["int8", "int16", "mix balance", "mix light"]
    times = {}
    for mode in modes:
        report = config(platform).evaluate(tmp_path, datapath_bitwidth_mode=mode, weight_bitwidth_mode=mode)
        times[mode] = report.time_ms
    assert all(times["int8"] <= time for time in times.values())
    config(platform).evaluate(tmp_path, weight_bandwidth=1, dma_bandwidth=2.5, compiler_tiling="deep_search")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_report_of_a_real_network(platform, tmp_path):
    report = config(platform, onnx_model=zoo.materialize("mobilenet_v2_224")).evaluate(output_dir=str(tmp_path))
    expected = {"model_fx_report.html", "model_fx_report.json", "model_fx_report.csv", "ioinfo.json"}
    if platform == "520":
        expected.add("ioinfo.csv")
    assert {path.name for path in tmp_path.iterdir()} == expected == set(report.files)
    assert isinstance(report, str)
    assert float(re.search(rf"kdp{platform}/ip_eval/fps: *([\d.]+)", report)[1]) == pytest.approx(report.fps, rel=1e-3)
    assert report.fps == pytest.approx(1000 / report.time_ms)
    assert not report.cpu_nodes


def test_cpu_nodes_are_warned_of_first(tmp_path):
    report = config("520", onnx_model=zoo.materialize("bert_mini_128")).evaluate(tmp_path)
    assert len(report.cpu_nodes) > 10
    assert report.startswith(f"***** Warning: this model has {len(report.cpu_nodes)} CPU ops")
    assert "CPU ops types: " in report
    assert all(node.reason for node in report.cpu_nodes)


def test_dynamic_input_is_explained(tmp_path):
    dynamic = model("g (float[1,3,H,W] x) => (float[1,4,P,Q] y) { y = Conv(x, w) }", w=weight(4, 3, 3, 3))
    with pytest.raises(ModelError, match="overwrite_input_shapes") as caught:
        config(onnx_model=dynamic).evaluate(tmp_path / "out")
    assert "'x'" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_unusable_output_folder_is_explained(place, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError) as caught:
        config().evaluate(tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_documented_default_folder_falls_back_to_the_working_directory(tmp_path, monkeypatch, caplog):
    from ktc import _folders

    (tmp_path / "root").write_text("the documented default cannot be created here")
    monkeypatch.chdir(tmp_path)
    default = str(tmp_path / "root" / "kneron_flow")
    with caplog.at_level(logging.WARNING, "ktc"):
        chosen = _folders.output_folder(default, default)
    assert chosen == tmp_path / "kneron_flow"
    assert len(caplog.records) == 1
    assert default in caplog.text


def test_working_directory_and_model_stay_as_they_are(tmp_path):
    original = zoo.materialize("squeezenet1_1_224")
    before, folder = original.SerializeToString(deterministic=True), Path.cwd()
    files = set(Path.cwd().iterdir())
    config(onnx_model=original).evaluate(tmp_path)
    assert Path.cwd() == folder
    assert set(Path.cwd().iterdir()) == files
    assert original.SerializeToString(deterministic=True) == before
