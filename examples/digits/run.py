"""Optimise the digits network, estimate its speed on a Kneron NPU, and check that it still reads digits.

python run.py
python run.py --platform 520 --output-dir /tmp/digits
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
from digits_data import load_samples, preprocess

import kneronnxopt
import ktc

HERE = Path(__file__).resolve().parent


def infer(model: Path, inputs: np.ndarray) -> np.ndarray:
    """Return the logits of each input; the network takes one image at a time."""
    logits = []
    for image in inputs:
        results = ktc.kneron_inference([image[np.newaxis]], onnx_file=str(model), input_names=["images"])
        logits.append(results[0])
    return np.concatenate(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", choices=["520", "720", "530", "630", "730"], default="720")
    parser.add_argument("--output-dir", type=Path, default=HERE / "output")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)

    original_path = HERE / "digits.onnx"
    optimized_path = arguments.output_dir / "digits.opt.onnx"
    original_m = onnx.load(original_path)
    optimized_m = kneronnxopt.optimize(original_m)
    onnx.save(optimized_m, optimized_path)
    print(f"nodes: {len(original_m.graph.node)} before, {len(optimized_m.graph.node)} optimised")

    km = ktc.ModelConfig(1001, "0001", arguments.platform, onnx_model=optimized_m)
    report = km.evaluate(output_dir=str(arguments.output_dir))
    print(f"KL{arguments.platform}: {report.fps:.0f} FPS, {report.time_ms:.3f} ms a frame")
    print(f"nodes on the CPU: {len(report.cpu_nodes)}")
    print(f"report: {os.path.relpath(arguments.output_dir)}/model_fx_report.html")

    images, labels = load_samples()
    inputs = preprocess(images)
    original = infer(original_path, inputs)
    optimized = infer(optimized_path, inputs)
    print(f"accuracy on {len(labels)} held-out digits:")
    print(f"  original  {np.mean(original.argmax(1) == labels):.2%}")
    print(f"  optimised {np.mean(optimized.argmax(1) == labels):.2%}")
    print(f"largest difference of a logit: {np.abs(original - optimized).max():.1e}")


if __name__ == "__main__":
    main()
