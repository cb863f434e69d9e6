"""The examples do what a user would do, in a copy of the folder, and print what their READMEs say."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = EXAMPLES / "optimize.ipynb"
NUMBER = re.compile(r"\d+(?:\.\d+)?")
REPORT_FILES = ("model_fx_report.html", "model_fx_report.json", "model_fx_report.csv")


def load_module(path: Path) -> ModuleType:
    """Import a script of an example under a name that cannot meet another module."""
    spec = importlib.util.spec_from_file_location(f"example_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Return a copy of the examples as they are in the repository: without generated files."""
    generated = shutil.ignore_patterns("output", "mobilenetv2.onnx", "images", "__pycache__", ".ipynb_checkpoints")
    return shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=generated)


def run_script(path: Path, *arguments: str) -> str:
    """Run the script from another folder, expect success, return what it printed."""
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=path.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_readme_shows(readme: Path, printed: str) -> None:
    """Compare the block of output in the README with what the script printed, numbers within 2 %.

    Paths and rounding errors differ from one machine to the next, so those two lines are left out.
    """
    (shown,) = re.findall(r"```\n((?:built|nodes:).*?)```", readme.read_text(), re.DOTALL)
    shown_lines, printed_lines = (
        [line for line in text.splitlines() if not line.startswith(("report:", "largest "))]
        for text in (shown, printed)
    )
    hint = f"{readme} is out of date; the script prints\n{printed}"
    assert [NUMBER.sub("#", line) for line in shown_lines] == [NUMBER.sub("#", line) for line in printed_lines], hint
    for shown_line, printed_line in zip(shown_lines, printed_lines, strict=True):
        for a, b in zip(NUMBER.findall(shown_line), NUMBER.findall(printed_line), strict=True):
            assert float(a) == pytest.approx(float(b), rel=0.02), hint


def number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match, f"{pattern!r} is not in:\n{text}"
    return float(match[1])


# digits: the data and the network


@pytest.fixture(scope="module")
def digits_data() -> ModuleType:
    return load_module(EXAMPLES / "digits" / "digits_data.py")


def test_the_samples_are_what_the_split_holds_out(digits_data: ModuleType) -> None:
    _, (images, labels) = digits_data.split()
    sample_images, sample_labels = digits_data.load_samples()
    assert len(labels) == 510
    np.testing.assert_array_equal(sample_images, images)
    np.testing.assert_array_equal(sample_labels, labels)


def test_no_sample_is_in_the_training_part(digits_data: ModuleType) -> None:
    (training_images, _), _ = digits_data.split()
    sample_images, _ = digits_data.load_samples()
    training = {image.tobytes() for image in training_images}
    assert len(training) > 1200
    assert not [index for index, image in enumerate(sample_images) if image.tobytes() in training]


def test_the_split_is_where_a_form_begins(digits_data: ModuleType) -> None:
    """Every writer's form begins with 0 to 9, three times, and ends with the same digits."""
    (_, training_labels), (_, labels) = digits_data.split()
    assert labels[:30].tolist() == list(range(10)) * 3
    assert training_labels[:30].tolist() == list(range(10)) * 3
    assert training_labels[-8:].tolist() == labels[-8:].tolist()


def test_preprocess_repeats_pixels_and_maps_them_to_minus_one_to_one(digits_data: ModuleType) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 17
    result = digits_data.preprocess(image)
    assert result.shape == (1, 1, 32, 32)
    assert result.dtype == np.float32
    assert (result.min(), result.max()) == (-1, 1)
    np.testing.assert_array_equal(result[0, 0, ::4, ::4], image[0] / 8 - 1)
    np.testing.assert_array_equal(result[0, 0, 3::4, 3::4], result[0, 0, ::4, ::4])


def test_the_digits_network_is_small_and_has_the_layers_that_matter() -> None:
    path = EXAMPLES / "digits" / "digits.onnx"
    assert path.stat().st_size < 300_000
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert 13 <= model.opset_import[0].version <= 18
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["logits"]
    groups = [onnx.helper.get_node_attr_value(node, "group") for node in model.graph.node if node.op_type == "Conv"]
    assert max(groups) > 1, "no depthwise convolution"
    assert {"Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "Gemm"} <= {n.op_type for n in model.graph.node}


def test_the_digits_network_reads_digits_that_it_never_saw(digits_data: ModuleType) -> None:
    images, labels = digits_data.load_samples()
    session = onnxruntime.InferenceSession(EXAMPLES / "digits" / "digits.onnx")
    inputs = digits_data.preprocess(images)
    logits = np.concatenate([session.run(None, {"images": image[np.newaxis]})[0] for image in inputs])
    assert np.mean(logits.argmax(1) == labels) > 0.97


def test_run_digits_prints_what_its_readme_says(examples: Path) -> None:
    printed = run_script(examples / "digits" / "run.py")
    assert_readme_shows(examples / "digits" / "README.md", printed)


@pytest.mark.parametrize("platform", ["520", "730"])
def test_run_digits(examples: Path, tmp_path: Path, platform: str) -> None:
    output_dir = tmp_path / "report"
    printed = run_script(examples / "digits" / "run.py", "--platform", platform, "--output-dir", str(output_dir))

    before, after = (int(n) for n in re.search(r"nodes: (\d+) before, (\d+) optimised", printed).groups())
    assert after < before / 2, "the exporter's bookkeeping is still there"
    assert number(rf"KL{platform}: (\S+) FPS", printed) > 0
    assert number(r"nodes on the CPU: (\d+)", printed) == 0
    original = number(r"original +(\S+)%", printed)
    assert original > 97
    assert number(r"optimised +(\S+)%", printed) == original
    assert number(r"difference of a logit: (\S+)", printed) < 1e-3
    for name in REPORT_FILES:
        assert (output_dir / name).stat().st_size > 0
    onnx.checker.check_model(onnx.load(output_dir / "digits.opt.onnx"))


# mobilenetv2: the example of the manual


@pytest.fixture(scope="module")
def mobilenetv2() -> onnx.ModelProto:
    return load_module(EXAMPLES / "mobilenetv2" / "build.py").MobileNetV2Builder().model()


def test_mobilenetv2_has_the_parameters_of_the_paper(mobilenetv2: onnx.ModelProto) -> None:
    learned = [t for t in mobilenetv2.graph.initializer if t.dims and ".running_" not in t.name]
    assert sum(int(np.prod(tensor.dims)) for tensor in learned) == 3_504_872
    operators = [node.op_type for node in mobilenetv2.graph.node]
    counts = {name: operators.count(name) for name in ("Conv", "BatchNormalization", "Clip", "Add", "Gemm")}
    assert counts == {"Conv": 52, "BatchNormalization": 52, "Clip": 35, "Add": 10, "Gemm": 1}


def test_mobilenetv2_keeps_activations_sane(mobilenetv2: onnx.ModelProto) -> None:
    """BatchNormalization leaves about unit variance everywhere, although its statistics were not measured."""
    model = onnx.ModelProto()
    model.CopyFrom(mobilenetv2)
    norms = [node.output[0] for node in model.graph.node if node.op_type == "BatchNormalization"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in norms)
    model = onnx.shape_inference.infer_shapes(model)
    painted = load_module(EXAMPLES / "mobilenetv2" / "image.py").paint().resize((224, 224))
    image = np.asarray(painted, np.float32).transpose(2, 0, 1)[np.newaxis] / 255

    values = onnxruntime.InferenceSession(model.SerializeToString()).run(norms, {"images": image})

    for name, value in zip(norms, values, strict=True):
        assert 0.3 < value.std() < 3, name


def test_the_picture_is_the_same_every_time() -> None:
    module = load_module(EXAMPLES / "mobilenetv2" / "image.py")
    picture = module.paint()
    assert picture.size == (500, 375)
    assert picture.tobytes() == module.paint().tobytes()


def test_run_mobilenetv2(examples: Path) -> None:
    folder = examples / "mobilenetv2"
    printed = run_script(folder / "run.py")

    assert_readme_shows(folder / "README.md", printed)
    assert (folder / "mobilenetv2.onnx").stat().st_size == pytest.approx(14.2e6, rel=0.01)
    assert (folder / "images" / "000007.jpg").exists()
    for name in (*REPORT_FILES, "optimized.onnx"):
        assert (folder / "output" / name).stat().st_size > 0
    fps = number(r"KL720: (\S+) FPS", printed)
    assert fps == pytest.approx(1000 / number(r"FPS, (\S+) ms", printed), rel=0.02)
    assert number(r"nodes on the CPU: (\d+)", printed) == 0
    assert number(r"relative difference of an output: (\S+)", printed) < 1e-4
    assert "top five classes: the same" in printed


# the notebook


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("start", ["examples", "."])
def test_the_notebook_runs(examples: Path, tmp_path: Path, start: str) -> None:
    """In a process of its own: a kernel brings its own event loops and its own warnings."""
    executed = tmp_path / "executed.ipynb"
    code = (
        "import sys, nbformat, nbclient\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(notebook, timeout=240, kernel_name='python3',\n"
        "                        resources={'metadata': {'path': sys.argv[2]}}).execute()\n"
        "nbformat.write(notebook, sys.argv[3])\n"
    )
    home = {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(examples / NOTEBOOK.name), str(tmp_path / start), str(executed)],
        env=os.environ | home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    printed = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    assert number(r"accuracy before: (\S+)%", printed) > 97
    assert number(r"accuracy before: (\S+)%", printed) == number(r"accuracy after: +(\S+)%", printed)
    assert number(r"KL520: (\S+) FPS", printed) < number(r"KL720: (\S+) FPS", printed)
    assert "model_fx_report.html" in printed
    (shown,) = (output for output in outputs if output["output_type"] == "execute_result")
    assert "text/html" in shown["data"]
