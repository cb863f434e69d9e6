"""The example of section 3 of the manual: optimise MobileNetV2, estimate its speed, check its results.

python run.py
python run.py --platform 730 --output-dir /tmp/mobilenetv2
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
from build import MODEL, save_model
from image import IMAGE, save_image
from PIL import Image

import kneronnxopt
import ktc

HERE = Path(__file__).resolve().parent


def preprocess(input_file: Path) -> np.ndarray:
    """Resize and scale a picture to 1x3x224x224, as the manual does."""
    image = Image.open(input_file)
    image = image.convert("RGB")
    img_data = np.array(image.resize((224, 224), Image.BILINEAR)) / 255
    img_data = np.transpose(img_data, (2, 0, 1))
    return np.expand_dims(img_data, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", choices=["520", "720", "530", "630", "730"], default="720")
    parser.add_argument("--output-dir", type=Path, default=HERE / "output")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)

    if not MODEL.exists():
        save_model()
    if not IMAGE.exists():
        save_image()

    # 3.1.2  ONNX optimization
    input_m = onnx.load(MODEL)
    optimized_m = kneronnxopt.optimize(input_m, skip_fuse_qkv=True)
    optimized_path = arguments.output_dir / "optimized.onnx"
    onnx.save(optimized_m, optimized_path)
    print(f"nodes: {len(input_m.graph.node)} before, {len(optimized_m.graph.node)} optimised")

    # 3.2  IP evaluation
    km = ktc.ModelConfig(32769, "8b28", arguments.platform, onnx_model=optimized_m)
    eval_result = km.evaluate(output_dir=str(arguments.output_dir))
    print(f"KL{arguments.platform}: {eval_result.fps:.1f} FPS, {eval_result.time_ms:.2f} ms a frame")
    print(f"nodes on the CPU: {len(eval_result.cpu_nodes)}")
    print(f"report: {os.path.relpath(arguments.output_dir)}/model_fx_report.html")

    # 3.3  E2E simulator check (floating point)
    input_data = [preprocess(IMAGE)]
    (original,) = ktc.kneron_inference(input_data, onnx_file=str(MODEL), input_names=["images"])
    (optimized,) = ktc.kneron_inference(input_data, onnx_file=str(optimized_path), input_names=["images"])
    difference = np.abs(original - optimized).max() / np.abs(original).max()
    print(f"largest relative difference of an output: {difference:.1e}")
    same = np.array_equal(top_five(original), top_five(optimized))
    print(f"top five classes: {'the same' if same else 'not the same'}")


def top_five(logits: np.ndarray) -> np.ndarray:
    return np.argsort(-logits[0])[:5]


if __name__ == "__main__":
    main()
