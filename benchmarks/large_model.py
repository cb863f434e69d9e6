"""Optimise a generated model with 4 GB of external weights: peak memory, and time against copying the file.

python benchmarks/large_model.py [--layers 64] [--folder DIR]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

WIDTH = 4096


def generate(folder: Path, layers: int) -> Path:
    """Write a chain of MatMul, Add and Relu; each layer has 64 MB of weights in one data file."""
    nodes, initializers = [], []
    generator = np.random.default_rng(0)
    block = generator.standard_normal((WIDTH, WIDTH), dtype=np.float32) / WIDTH**0.5
    with (folder / "weights.bin").open("wb") as data:
        for layer in range(layers):
            before, after = f"v{layer}", f"v{layer + 1}"
            weight = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=block.shape)
            weight.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", data.tell()), ("length", block.nbytes)):
                weight.external_data.add(key=key, value=str(value))
            data.write(block.tobytes())
            bias = onnx.numpy_helper.from_array(np.full(WIDTH, layer, dtype=np.float32), f"b{layer}")
            initializers += [weight, bias]
            nodes += [
                helper.make_node("MatMul", [before, weight.name], [f"p{layer}"]),
                helper.make_node("Add", [f"p{layer}", bias.name], [f"s{layer}"]),
                helper.make_node("Relu", [f"s{layer}"], [f"r{layer}"]),
                helper.make_node("Identity", [f"r{layer}"], [after]),
            ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(f"v{layers}", TensorProto.FLOAT, [1, WIDTH])],
        initializers,
    )
    path = folder / "large.onnx"
    opset = helper.make_opsetid("", 17)
    path.write_bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
    return path


def copy_seconds(source: Path, target: Path) -> float:
    """Time to copy a file."""
    start = time.perf_counter()
    shutil.copyfile(source, target)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def main() -> None:
    """Print size, times and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=64, help="of 64 MB each")
    parser.add_argument("--folder", type=Path, help="where to work; needs three times the size of the model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        path = generate(folder, arguments.layers)
        size = (folder / "weights.bin").stat().st_size
        copies = [copy_seconds(folder / "weights.bin", folder / "copy.bin") for _ in range(2)]
        output = folder / "out.onnx"
        start = time.perf_counter()
        command = [sys.executable, "-m", "kneronnxopt.large_model_fast_proc", str(path), "-o", str(output)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        nodes = [len(onnx.load(p, load_external_data=False).graph.node) for p in (path, output)]
        print(f"{size / 1e9:.2f} GB of weights, {nodes[0]} nodes before and {nodes[1]} after")
        ratio = seconds / min(copies)
        print(f"optimised in {seconds:.1f} s, copying the weights takes {min(copies):.1f} s: ratio {ratio:.2f}")
        print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
