"""ktc.sweep: the same figures as separate evaluations, on any executor, and failures as rows."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

import ktc
import zoo
from bad_files import KINDS, bad_file, good_model
from graphs import model, weight
from ktc._variants import Setting
from ktc.errors import ConfigError
from ktc.evaluator.settings import EvaluationSettings
from ktc.sweep import COLUMNS, main
from ktc.sweeping import _cases, _sweep

EXPORTS = Path(__file__).resolve().parents[1] / "data" / "exports"
FILES = [EXPORTS / f"{name}-trace-17.onnx" for name in ("mobilenet", "shuffle", "vit", "yolo")]
SETTINGS = [
    {},
    {"name": "deep", "compiler_tiling": "deep_search", "dma_bandwidth": 1.5},
    {"datapath_bitwidth_mode": "int16", "model_in_bitwidth_mode": "int16"},
]
PLATFORMS = ("520", "720", "530", "630", "730")

# Python 3.12 and later warn about forking a process with threads, which the test runner has.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def separate(file, platform, setting, folder):
    arguments = {key: value for key, value in setting.items() if key != "name"}
    return ktc.ModelConfig(32769, "0001", platform, onnx_path=file).evaluate(output_dir=folder, **arguments)


@pytest.fixture(scope="module")
def table(threads):
    return ktc.sweep(FILES, PLATFORMS, SETTINGS, threads)


def test_figures_are_exactly_those_of_separate_evaluations(table, tmp_path):
    rows = iter(table)
    for file in FILES:
        for platform in PLATFORMS:
            for setting in SETTINGS:
                row = next(rows)
                assert tuple(row) == COLUMNS
                assert (row["model"], row["platform"]) == (file.stem, platform)
                if platform == "520" and setting.get("datapath_bitwidth_mode") == "int16":
                    with pytest.raises(ConfigError, match=re.escape(row["error"])):
                        separate(file, platform, setting, tmp_path)
                    assert row["fps"] is row["time_ms"] is None
                    continue
                report = separate(file, platform, setting, tmp_path)
                evaluation = report.evaluation
                assert row["error"] is None
                assert (row["fps"], row["time_ms"]) == (report.fps, report.time_ms)
                assert (row["nodes"], row["cpu_nodes"]) == (len(report.nodes), len(report.cpu_nodes))
                assert row["dram_bytes"] == evaluation.dram_bytes
                assert row["read_bytes"] + row["write_bytes"] + row["weight_bytes"] == row["dram_bytes"]
                shares = [value for key, value in row.items() if key.startswith("bound_")]
                assert sum(shares) == pytest.approx(1)
                assert row["compiler_tiling"] == setting.get("compiler_tiling", "default")
    assert next(rows, None) is None


def test_every_evaluation_agrees_node_by_node(tmp_path):
    from ktc._estimator import Estimator
    from ktc._models import read_model
    from ktc._variants import parse_settings

    for file in FILES[:2]:
        estimator = Estimator(read_model(file, "models"), file.stem)
        for platform in PLATFORMS:
            for given, parsed in zip(SETTINGS[:2], parse_settings(SETTINGS[:2]), strict=True):
                expected = separate(file, platform, given, tmp_path).evaluation
                assert estimator.evaluate(platform, parsed.settings) == expected


def test_settings_are_named_after_what_differs(table):
    names = list(dict.fromkeys(row["setting"] for row in table))
    assert names == ["default", "deep", "datapath_bitwidth_mode=int16, model_in_bitwidth_mode=int16"]


@pytest.mark.parametrize("start", ["spawn", "default"])
def test_processes_give_the_same_table(table, start):
    if start == "default":
        assert ktc.sweep(FILES, PLATFORMS, SETTINGS, workers=2) == table
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert ktc.sweep(FILES, PLATFORMS, SETTINGS, pool) == table
        assert pool.submit(os.getpid).result() != os.getpid()  # left open


def test_rows_stream(table, threads):
    seen = []
    assert ktc.sweep(FILES, PLATFORMS, SETTINGS, threads, on_result=seen.append) == table
    streamed = list(ktc.sweep_rows(FILES, PLATFORMS, SETTINGS, threads))

    def key(row):
        return row["model"], row["platform"], row["setting"]

    assert sorted(seen, key=key) == sorted(streamed, key=key) == sorted(table, key=key)


def test_closing_the_iterator_cancels_the_rest(monkeypatch):
    begun, closed = [], threading.Event()
    genuine = _sweep.fill_rows

    def run(task):
        begun.append(task)
        if len(begun) > 1:
            closed.wait(30)
        return genuine(task)

    monkeypatch.setattr(_sweep, "fill_rows", run)
    with ThreadPoolExecutor(1) as pool:
        rows = ktc.sweep_rows(FILES * 5, "720", executor=pool)
        next(rows)
        rows.close()
        closed.set()
    assert len(begun) <= 2


def test_an_error_of_the_callback_is_the_callers(threads):
    def fail(row):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ktc.sweep(FILES, "720", executor=threads, on_result=fail)


def test_models_in_memory_travel_without_their_weights(threads):
    network = zoo.materialize("squeezenet1_1_224")
    before = network.SerializeToString(deterministic=True)
    (source,) = _cases.find_sources(network)
    assert len(pickle.dumps(source)) < len(before) / 10
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = ktc.sweep({"net": network}, "720", executor=pool)
    assert network.SerializeToString(deterministic=True) == before
    report = ktc.ModelConfig(1, "1", "720", onnx_model=network)
    from ktc.evaluator import EvaluationSettings, evaluate
    from ktc.frontend import lower
    from ktc.hardware import load_platform

    expected = evaluate(lower(report.onnx_model, load_platform("720")), load_platform("720"), EvaluationSettings())
    assert [(row["model"], row["time_ms"], row["weight_bytes"]) for row in rows] == [
        ("net", expected.time_ms, expected.weight_bytes)
    ]


@pytest.mark.parametrize("path", ["", "a" * 300, "a\0b", "."])
def test_a_bad_path_is_a_row(tmp_path, monkeypatch, threads, path):
    monkeypatch.chdir(tmp_path)
    if path == ".":
        with pytest.raises(ConfigError, match=r"no \.onnx file"):
            ktc.sweep(path, "720", executor=threads)
        return
    (row,) = ktc.sweep(path, "720", executor=threads)
    assert "Error" not in row["error"]  # a sentence, not an exception that nobody expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_a_row_and_the_others_are_evaluated(tmp_path, kind, threads):
    good = tmp_path / "good.onnx"
    onnx.save(good_model(), good)
    path, words = bad_file(kind, tmp_path)
    if kind == "folder":
        with pytest.raises(ConfigError, match=r"no \.onnx file"):
            ktc.sweep([path, good], "720", executor=threads)
        return
    rows = ktc.sweep([path, good], ["720", "730"], executor=threads)
    assert [row["error"] is None for row in rows] == [False, False, True, True]
    assert rows.failed == rows[:2]
    assert all(word in row["error"] for word in words for row in rows.failed)


def test_a_bad_model_in_memory_is_a_row(threads):
    rows = ktc.sweep([onnx.ModelProto(), 42], "720", executor=threads)
    assert "no graph" in rows[0]["error"]
    assert "is a int" in rows[1]["error"]


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the patch reaches forked processes only")
def test_a_model_that_ends_its_process_costs_only_its_own_rows(tmp_path, monkeypatch):
    names = ["a", "killer", "b"]
    for name in names:
        onnx.save(good_model(), tmp_path / f"{name}.onnx")
    genuine = _cases.read_model

    def read_model(path, argument):
        if Path(path).stem == "killer":
            os._exit(9)
        return genuine(path, argument)

    monkeypatch.setattr(_cases, "read_model", read_model)
    rows = ktc.sweep(tmp_path, "720", workers=2)
    assert {row["model"]: row["error"] is None for row in rows} == {"a": True, "killer": False, "b": True}
    assert "process" in rows.failed[0]["error"]


def test_an_unexpected_error_is_a_row(monkeypatch, threads, caplog):
    def evaluate(self, platform, settings, ip_config):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(_cases.Estimator, "evaluate", evaluate)
    (row,) = ktc.sweep(good_model(), "720", executor=threads)
    assert row["error"] == "ZeroDivisionError: oops"
    assert "oops" in caplog.text


def test_equal_names_are_told_apart(tmp_path, threads):
    paths = [tmp_path / folder / "net.onnx" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        onnx.save(good_model(), path)
    assert [row["model"] for row in ktc.sweep(paths, "720", executor=threads)] == [str(path) for path in paths]
    twice = ktc.sweep([good_model(), good_model()], "720", executor=threads)
    assert [row["model"] for row in twice] == ["g#0", "g#1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"models": []}, "models is empty"),
        ({"platforms": "999"}, "not a Kneron platform"),
        ({"platforms": []}, "platforms is empty"),
        ({"platforms": None}, "not a list of platforms"),
        ({"settings": []}, "settings is empty"),
        ({"settings": "int8"}, "not a list of dicts"),
        ({"settings": [3]}, "not a dict"),
        ({"settings": [{"datapath": "int8"}]}, "'datapath' is not known"),
        ({"settings": [{}, {}]}, "two settings are called 'default'"),
        ({"settings": {"": {}}}, "not a text"),
        ({"workers": 0}, "workers=0"),
        ({"workers": True}, "workers=True"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    for function in (ktc.sweep, ktc.sweep_rows):
        with pytest.raises(ConfigError, match=words):
            function(**({"models": [good_model()]} | arguments))


@pytest.mark.parametrize(("models", "workers", "evaluations"), [(1, 8, 320), (1, 8, 5), (3, 2, 15), (2, 64, 100)])
def test_tasks_hold_every_case_once_and_one_model_each(models, workers, evaluations):
    sources = [_cases.Source(str(index), graph=b"x" * index) for index in range(models)]
    setting = Setting("s", EvaluationSettings())
    cases = [_cases.Case(i, sources[i % models], "720", setting) for i in range(models * evaluations)]
    tasks = _cases.group_cases(cases, workers)
    assert sorted(case.index for task in tasks for case in task) == list(range(len(cases)))
    assert all(len({case.source for case in task}) == 1 for task in tasks)
    assert len(tasks) <= max(models, models * -(-workers // models))
    assert len(tasks) == models or min(map(len, tasks)) >= _cases._WORTH_READING_AGAIN / 2


def test_csv_reads_back(table, tmp_path):
    text = table.to_csv(tmp_path / "new" / "out.csv")
    assert (tmp_path / "new" / "out.csv").read_text() == text
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.csv"]
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(table)
    for cells, row in zip(read, table, strict=True):
        assert tuple(cells) == COLUMNS
        assert cells["time_ms"] == ("" if row["time_ms"] is None else repr(row["time_ms"]))
        assert cells["error"] == (row["error"] or "")


def test_csv_of_hostile_names_is_inert():
    sweep = ktc.sweep({"=HYPERLINK(1)\n": model("g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }")}, "720")
    (cells,) = csv.DictReader(io.StringIO(sweep.to_csv()))
    assert cells["model"] == "'=HYPERLINK(1)\\n"


def test_nothing_on_the_npu_has_no_frame_rate(threads):
    network = model("g (float[1,4] x) => (float[1,4] y) { y = Sin(x) }")
    (row,) = ktc.sweep(network, "720", executor=threads)
    assert (row["fps"], row["time_ms"], row["cpu_nodes"], row["error"]) == (None, 0, 1, None)


# command line


@pytest.fixture
def network(tmp_path):
    onnx.save(
        model("g (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }", w=weight(4, 3, 3, 3)),
        tmp_path / "net.onnx",
    )
    return tmp_path / "net.onnx"


def test_command_writes_the_table(network, tmp_path, capsys):
    command = ["--platform", "520", "KL720", "--datapath", "int8,int16", str(network), "--csv", str(tmp_path / "o.csv")]
    assert main(command) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert [(row["platform"], row["setting"]) for row in rows] == [
        (platform, f"datapath={mode}") for platform in ("520", "720") for mode in ("int8", "int16")
    ]
    assert [row["error"] != "" for row in rows] == [False, True, False, False]
    assert "4 evaluations, 1 of them failed" in capsys.readouterr().out


def test_command_takes_folders_and_prints(network, capsys):
    assert main([str(network.parent), "--platform", "720,730", "--weight", "int8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["net", f"KL{p}", "weight=int8"] for p in ("720", "730")]


def test_command_combines_settings(network, tmp_path):
    command = [str(network), "--platform", "720", "--dma-bandwidth", "1,2", "--tiling", "default", "deep_search"]
    assert main([*command, "--csv", str(tmp_path / "o.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert [(float(row["dma_bandwidth"]), row["compiler_tiling"], row["setting"]) for row in rows] == [
        (float(rate), tiling, f"tiling={tiling} dma-bandwidth={rate}")
        for tiling in ("default", "deep_search")
        for rate in ("1", "2")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.onnx"], "no such file"),
        (["nodir"], "nodir"),
        (["{folder}/dynamic.onnx"], "dynamic.onnx: dimension 2 of input 'x'"),
        (["{net}", "--platform", "999"], "not a Kneron platform"),
        (["{net}", "--datapath", "int7"], "int7"),
        (["{net}", "--csv", "{folder}"], "folder"),
        (["{net}", "--csv", "{net}/x.csv"], "cannot be written"),
        (["{net}", "--workers", "0"], "workers=0"),
        (["{net}", "--dma-bandwidth", "fast"], "'fast' is not a number"),
        (["{net}", "--weight-bandwidth", "nan"], "not a positive number"),
    ],
)
def test_command_refuses_bad_input(network, capsys, arguments, words):
    dynamic = model("g (float[1,3,H,8] x) => (float[1,3,H,8] y) { y = Relu(x) }")
    onnx.save(dynamic, network.parent / "dynamic.onnx")
    filled = [word.format(net=network, folder=network.parent) for word in arguments]
    assert main(filled) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "error: " in captured.err
    assert captured.out == ""


def test_command_needs_a_model(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--platform", "720"])
    assert caught.value.code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_progress_is_shown_on_a_terminal(network):
    import pty
    import termios

    master, slave = pty.openpty()
    termios.tcsetwinsize(master, (40, 100))
    command = [sys.executable, "-m", "ktc.sweep", str(network), "--platform", "720"]
    done = subprocess.run(command, stderr=slave, stdout=subprocess.PIPE, text=True, check=True)
    os.set_blocking(master, False)
    shown = b""
    with contextlib.suppress(BlockingIOError):  # one read need not return all of it
        while True:
            shown += os.read(master, 10_000)
    os.close(slave)
    os.close(master)
    assert b"1/1" in shown
    assert "evaluation/s" not in done.stdout


def test_a_folder_that_is_called_like_a_platform_is_no_model(network, monkeypatch, capsys):
    monkeypatch.chdir(network.parent)
    (network.parent / "720").mkdir()
    (network.parent / "more").mkdir()
    network.rename(network.parent / "more" / "net.onnx")
    assert main(["--platform", "720", "more"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["net", "KL720"]


def test_module_is_the_function_and_the_command(network):
    code = "import ktc.sweep, inspect, sys; inspect.signature(ktc.sweep).bind(1, executor=2); "
    code += "print(ktc.sweep(sys.argv[1], '720')[0]['model'])"
    for command in (["-c", code, str(network)], ["-m", "ktc.sweep", str(network), "--platform", "720"]):
        done = subprocess.run([sys.executable, "-W", "error", *command], capture_output=True, text=True, check=True)
        assert done.stderr == ""  # no progress where there is no terminal
        assert done.stdout


# figures of the user's own


def test_figures_of_the_users_own_are_those_of_modelconfig(tmp_path, threads, monkeypatch):
    slow = {"read_bandwidth": 0.1}
    expected = ktc.ModelConfig(1, "1", "720", onnx_path=FILES[0]).evaluate(output_dir=tmp_path, ip_config=slow)
    settings = [{}, {"ip_config": slow}]
    packaged, own = ktc.sweep(FILES[0], "720", settings, threads)
    assert own["time_ms"] == expected.evaluation.time_ms > packaged["time_ms"]
    first, second = ktc.compare(FILES[0], platforms="720", settings=settings).columns
    assert (first.time_ms, second.time_ms) == (packaged["time_ms"], own["time_ms"])
    text = str(ktc.compare(FILES[0], platforms="720", settings=settings))
    assert text.count("figures of your own (read_bandwidth)") == 1
    (tmp_path / "ip_config_720.json").write_text('{"read_bandwidth": 0.1}')
    monkeypatch.setenv("KTC_IP_CONFIG", str(tmp_path))
    rows = ktc.sweep(FILES[0], ["720", "520"], executor=threads)
    assert rows[0]["time_ms"] == own["time_ms"]
    assert rows[1]["error"] is None
    assert ktc.compare(FILES[0], platforms="720").columns[0].time_ms == own["time_ms"]


@pytest.mark.parametrize("module", ["ktc.sweep", "ktc.compare"])
def test_commands_take_figures_of_the_users_own(module, network, tmp_path, capsys, monkeypatch):
    command = importlib.import_module(module).main
    (tmp_path / "own").mkdir()
    own = tmp_path / "own" / "ip_config_720.json"
    own.write_text('{"read_bandwidth": 0.001}')
    texts = []
    for arguments in ([], ["--ip-config", str(own)], ["--ip-config", str(own.parent)]):
        assert command([str(network), "--platform", "720", *arguments]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] != texts[1] == texts[2]
    assert command([str(network), "--platform", "720", "--ip-config", str(tmp_path / "none")]) == 2
    assert "no such configuration" in capsys.readouterr().err
    monkeypatch.setenv("KTC_IP_CONFIG", str(tmp_path / "none"))
    assert command([str(network), "--platform", "720"]) == 2
    assert "no such configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.ones(3), "weight_bandwidth is a ndarray"), (10**5000, "too large"), ([1], "is a list")],
    ids=["array", "large", "list"],
)
def test_values_that_are_neither_texts_nor_numbers_are_refused(value, words):
    for call in (ktc.sweep, lambda m, p, s: ktc.compare(m, platforms=p, settings=s)):
        with pytest.raises(ConfigError, match=words):
            call(good_model(), "720", [{"weight_bandwidth": value}])


@pytest.mark.parametrize(
    "figures", [{"read_bandwidth": 10**5000}, {"read_bandwidth": -1}, {"reed": 1}, 3], ids=["large", "-1", "name", "3"]
)
def test_figures_that_are_not_valid_are_refused(figures):
    for call in (ktc.sweep, lambda m, p, s: ktc.compare(m, platforms=p, settings=s)):
        with pytest.raises(ConfigError):
            call(good_model(), ["520", "720"], [{"ip_config": figures}])


def test_numbers_of_numpy_are_numbers(threads):
    rows = ktc.sweep(
        good_model(), "720", [{"dma_bandwidth": np.float32(2)}, {"dma_bandwidth": 2, "name": "n"}], threads
    )
    assert rows.failed == []
    assert rows[0]["time_ms"] == rows[1]["time_ms"]


# executors that drop work


class Dropping(ThreadPoolExecutor):
    """Cancels the first task, refuses the second, and runs the rest."""

    def submit(self, function, /, *arguments):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 2:
            raise RuntimeError("cannot schedule new futures")
        future = Future() if self.count == 1 else super().submit(function, *arguments)
        if self.count == 1:
            future.cancel()
            future.set_running_or_notify_cancel()
        return future


def test_work_that_an_executor_drops_is_a_row():
    with Dropping(1) as executor:
        rows = ktc.sweep({name: good_model() for name in "abc"}, "720", executor=executor, workers=1)
    errors = {row["model"]: row["error"] for row in rows}
    assert sorted(filter(None, errors.values())) == [
        "CancelledError: the executor dropped this evaluation.",
        "RuntimeError: cannot schedule new futures",
    ]
    assert list(errors.values()).count(None) == 1


def test_an_executor_that_is_shut_down_gives_rows():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    rows = ktc.sweep(good_model(), ["720", "520"], executor=executor)
    assert all("RuntimeError" in row["error"] for row in rows)
