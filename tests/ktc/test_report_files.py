"""Writing the report: all files or none, and an error that says what to do."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from bad_files import good_model
from evaluations import make_cpu_node, make_evaluation, make_node
from ktc._files import write_files
from ktc.errors import ConfigError
from ktc.report import EvaluationReport, render_csv, render_html, render_json, render_text, write_report

NAMES = {"model_fx_report.html", "model_fx_report.json", "model_fx_report.csv", "ioinfo.json"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_report_is_written_into_a_folder_that_is_created(tmp_path):
    folder = tmp_path / "new" / "Ordner mit Leerzeichen"
    evaluation = make_evaluation()
    report = write_report(evaluation, folder)
    assert names_in(folder) == NAMES == set(report.files)
    assert (folder / "model_fx_report.html").read_text(encoding="utf-8") == render_html(evaluation)
    assert (folder / "model_fx_report.csv").read_bytes().decode() == render_csv(evaluation)
    assert json.loads((folder / "model_fx_report.json").read_text(encoding="utf-8")) == report.to_dict()
    assert all(path.parent == folder for path in report.files.values())


def test_csv_of_inputs_and_outputs_is_written_on_request(tmp_path):
    report = write_report(make_evaluation(), str(tmp_path), io_csv=True)
    assert names_in(tmp_path) == {*NAMES, "ioinfo.csv"}
    assert report.files["ioinfo.csv"].read_text().startswith("i,0,image,3,224,224\n")


def test_second_report_replaces_the_first(tmp_path):
    write_report(make_evaluation(1, model_name="first"), tmp_path)
    write_report(make_evaluation(2, model_name="second"), tmp_path)
    assert names_in(tmp_path) == NAMES
    assert json.loads((tmp_path / "model_fx_report.json").read_text())["model_name"] == "second"


def test_names_with_any_character_survive(tmp_path):
    name = "卷積\n\"<&>'🙂"
    write_report(make_evaluation(nodes=(make_node(name=name),)), tmp_path)
    document = json.loads((tmp_path / "model_fx_report.json").read_text(encoding="utf-8"))
    assert document["nodes"][0]["node"] == name


@pytest.mark.parametrize("below", ["", "sub", "sub/deeper"])
def test_a_file_in_the_way_is_named_with_a_remedy(tmp_path, below):
    blocker = tmp_path / "blocker"
    blocker.write_text("precious")
    folder = blocker / below
    with pytest.raises(ConfigError) as caught:
        write_report(make_evaluation(), folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "is a file, not a folder" in message
    assert "output_dir" in message
    assert "\n" not in message
    assert blocker.read_text() == "precious"
    assert names_in(tmp_path) == {"blocker"}


@pytest.mark.parametrize("folder", ["nul\0character", "x" * 5000])
def test_an_impossible_folder_name_is_a_config_error(tmp_path, folder):
    with pytest.raises(ConfigError, match="output_dir"):
        write_files(tmp_path / folder, {"a": "1"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_config_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigError, match="output_dir"):
        write_report(make_evaluation(), tmp_path)


def test_a_refusal_of_the_system_becomes_a_config_error(tmp_path, monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied.*output_dir"):
        write_report(make_evaluation(), tmp_path / "new")


def test_nothing_stays_behind_when_writing_fails(tmp_path, monkeypatch):
    """The disk is full at the second file: the first one is not there either."""
    opened = Path.open
    calls = []

    def open_twice(self: Path, *args: object, **kwargs: object):
        calls.append(self)
        stream = opened(self, *args, **kwargs)
        if len(calls) == 2:
            stream.close()
            raise OSError(28, "No space left on device")
        return stream

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(Path, "open", open_twice)
    with pytest.raises(ConfigError, match="No space left on device"):
        write_files(tmp_path, {"a": "new", "b": "new"})
    monkeypatch.undo()
    assert len(calls) == 2
    assert names_in(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


def test_no_temporary_file_stays_behind_when_renaming_fails(tmp_path, monkeypatch):
    def refuse(_source: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ConfigError, match="Operation not permitted"):
        write_files(tmp_path, {"a": "1", "b": b"2"})
    assert names_in(tmp_path) == set()


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_source: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, {"a": "1"})
    assert names_in(tmp_path) == set()


def test_a_folder_with_the_name_of_a_file_stops_everything(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match="b in it is a folder"):
        write_files(tmp_path, {"a": "1", "b": "2"})
    assert names_in(tmp_path) == {"b"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_only_plain_file_names_are_written(tmp_path, name):
    with pytest.raises(ValueError, match="plain file name"):
        write_files(tmp_path, {name: "1"})
    assert names_in(tmp_path) == set()


def test_written_files_follow_the_umask_and_keep_newlines(tmp_path):
    before = os.umask(0o027)
    try:
        (path,) = write_files(tmp_path, {"a": "1\n2\r\n"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_bytes() == b"1\n2\r\n"


def test_report_is_the_text_and_carries_the_numbers(tmp_path):
    evaluation = make_evaluation(nodes=(make_node(), make_cpu_node("up")))
    report = write_report(evaluation, tmp_path)
    assert isinstance(report, str)
    assert report == render_text(evaluation)
    assert report.evaluation is evaluation
    assert report.fps == evaluation.fps
    assert report.time_ms == evaluation.time_ms
    assert report.nodes == evaluation.nodes
    assert [node.name for node in report.cpu_nodes] == ["up"]
    assert report.to_dict() == render_json(evaluation)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, *(lambda x, p=p: pickle.loads(pickle.dumps(x, p)) for p in range(2, 6))],
)
def test_report_survives_copying_and_pickling(tmp_path, duplicate):
    report = write_report(make_evaluation(), tmp_path)
    twin = duplicate(report)
    assert type(twin) is EvaluationReport
    assert twin == report
    assert hash(twin) == hash(report)
    assert twin.evaluation == report.evaluation
    assert dict(twin.files) == dict(report.files)


def test_a_model_file_whose_name_is_not_utf8(tmp_path):
    import os
    import subprocess
    import sys

    path = os.fsencode(tmp_path) + b"/\xff.onnx"
    with open(path, "wb") as stream:  # noqa: PTH123  (a name of bytes)
        stream.write(good_model().SerializeToString())
    command = [sys.executable, "-m", "ktc.opt_and_eval", "-e", "720", path, "-E", str(tmp_path / "r"), "--print"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"model = \\udcff" in result.stdout
    assert json.loads((tmp_path / "r" / "model_fx_report.json").read_text("utf-8"))["model_name"] == "\udcff"
    for report in (tmp_path / "r").iterdir():
        report.read_text("utf-8")
    advised = subprocess.run(
        [sys.executable, "-m", "ktc.advise", "720", path, "--no-optimizer"], capture_output=True, check=False
    )
    assert (advised.returncode, advised.stderr) == (0, b"")
