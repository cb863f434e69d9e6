"""The code blocks of section 3 of Kneron's manual, verbatim but for the paths."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MOBILENET = Path(__file__).parent.parent / "examples" / "mobilenetv2"

# 3.1.2 and 3.2: the manual starts from "a onnx object" input_m.
OPTIMISE_AND_EVALUATE = """
import onnx
import ktc
input_m = onnx.load("/workspace/examples/mobilenetv2/mobilenetv2_zeroq.origin.onnx")

import kneronnxopt
optimized_m = kneronnxopt.optimize(input_m, skip_fuse_qkv=True)
# Save the onnx object optimized_m to path /data1/optimized.onnx.
onnx.save(optimized_m, '/data1/optimized.onnx')

km = ktc.ModelConfig(32769, "8b28", "720", onnx_model=optimized_m)
eval_result = km.evaluate()

assert isinstance(eval_result, str)
print(eval_result)
"""

# 3.3, with the import of ktc that the manual leaves out.
INFER = """
import ktc
from PIL import Image
import numpy as np
def preprocess(input_file):
    image = Image.open(input_file)
    image = image.convert("RGB")
    img_data = np.array(image.resize((224, 224), Image.BILINEAR)) / 255
    img_data = np.transpose(img_data, (2, 0, 1))
    img_data = np.expand_dims(img_data, 0)
    return img_data
input_data = [preprocess("/workspace/examples/mobilenetv2/images/000007.jpg")]
inf_results = ktc.kneron_inference(input_data, onnx_file="/workspace/examples/mobilenetv2/mobilenetv2_zeroq.origin.onnx", input_names=["images"])

assert input_data[0].dtype == np.float64
assert [result.shape for result in inf_results] == [(1, 1000)]
optimized = ktc.kneron_inference(input_data, onnx_file='/data1/optimized.onnx', input_names=["images"])
np.testing.assert_allclose(optimized[0], inf_results[0], rtol=1e-3, atol=1e-3)
"""  # noqa: E501 - as the manual has it

# 3.4.3; the manual writes ASSERT.
CHANNEL_LAST = """
import ktc
from PIL import Image
import numpy as np
image = Image.open("/workspace/examples/mobilenetv2/images/000007.jpg")
image = image.convert("RGB")
# Here the image is in channel last format, which is (224, 224, 3)
img_data = np.array(image.resize((224, 224), Image.BILINEAR)) / 255
assert img_data.shape == (224, 224, 3)
# Now we use the API to convert the image into channel first format, which is (1, 3, 224, 224)
new_img_data = ktc.convert_channel_last_to_first(img_data)
assert new_img_data.shape == (1, 3, 224, 224)
"""

# 3.2
W3M = "w3m model_fx_report.html"
# 3.4.4
COMMAND = "python -m ktc.opt_and_eval 730 /workspace/examples/mobilenetv2/mobilenetv2_zeroq.origin.onnx"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folders of the manual's Docker image, with its model and a photograph-like image."""
    root = tmp_path_factory.mktemp("docker")
    (root / "data1").mkdir()
    target = root / "workspace" / "examples" / "mobilenetv2"
    (target / "images").mkdir(parents=True)
    code = f"""
from pathlib import Path
from build import save_model
from image import save_image
save_model(Path({str(target / "mobilenetv2_zeroq.origin.onnx")!r}))
save_image(Path({str(target / "images" / "000007.jpg")!r}))
"""
    subprocess.run([sys.executable, "-c", code], cwd=MOBILENET, check=True)
    return root


def run(code: str, root: Path) -> str:
    """Run a block in its own process, with the manual's paths below ``root``."""
    moved = re.sub(r"(?<![\w.])/(workspace|data1)/", lambda found: f"{root}/{found[1]}/", code)
    moved = moved.replace("km.evaluate()", f"km.evaluate({str(root / 'data1' / 'kneron_flow')!r})")
    command = [sys.executable, "-W", "error", "-c", moved]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_blocks_of_section_3(root):
    report = run(OPTIMISE_AND_EVALUATE, root)
    assert "kdp720/ip_eval/fps" in report
    assert (root / "data1" / "kneron_flow" / "model_fx_report.html").is_file()
    run(INFER, root)
    run(CHANNEL_LAST, root)


def test_command_of_section_3(root):
    words = COMMAND.replace("/workspace/", f"{root}/workspace/").split()
    words += ["-E", str(root / "data" / "kneron_flow")]  # the default is at the root of the file system
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(words[4].replace(".onnx", ".opt.onnx")).is_file()
    assert (root / "data" / "kneron_flow" / "model_fx_report.html").is_file()


def test_report_is_readable_in_a_text_browser(root):
    import shutil

    if shutil.which("w3m") is None:
        pytest.skip("w3m is not installed")
    run(OPTIMISE_AND_EVALUATE, root)
    page = root / "data1" / "kneron_flow" / "model_fx_report.html"
    words = W3M.replace("model_fx_report.html", str(page)).split()
    text = subprocess.run([*words, "-dump", "-cols", "160"], capture_output=True, text=True, check=True).stdout
    assert "SYNC_runtime(ms)" in text
    assert "fps" in text.lower()
