"""Time of ``kneronnxopt.optimize`` against onnxsim, onnxslim and onnxruntime's offline BASIC level, in the same run.

    python benchmarks/optimizer_speed.py [--repeats N] [--threads N] [NAME ...]

On every network of ``tests/data/zoo`` (with weights) and the light models of the onnx package.  The optimisers take
turns in one process; the table has the median wall times in milliseconds, and the number of nodes after each, without
BatchNormalization and then BatchNormalization alone (ours keeps it by default, as documented).  The last lines list
the networks where ours has more nodes than a peer; those where only documented choices make it so stand apart.  The
times are those from a model in memory to a model in memory; for onnxruntime, of making a session that writes its
optimised model to a file in a temporary folder.  ``pip install ktc[benchmarks]`` brings onnxslim.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnxruntime
import onnxsim
import onnxslim

import kneronnxopt

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent / "tests"))
import zoo  # noqa: E402 - it lies with the tests

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, PEERS = "kneronnxopt", ("onnxsim", "onnxslim")
RUNTIME = "ort basic"
TOOLS = (OURS, *PEERS, RUNTIME)
LARGE_BYTES = 50_000_000
VERY_LARGE_BYTES = 200_000_000
#: Constants that a few bytes describe: ours stay nodes where folding them would make the file larger, as documented.
GROWING = ("ConstantOfShape", "Expand", "Tile")
#: Ours are unrolled, as documented: no Kneron chip has them.
RECURRENT = ("GRU", "LSTM", "RNN")
LIGHT_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass
class Row:
    """What was measured on one network."""

    name: str
    weight_bytes: int
    before: tuple[int, int]
    seconds: dict[str, list[float]] = field(default_factory=lambda: {tool: [] for tool in TOOLS})
    nodes: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: int = 0
    unrolled: int = 0

    def time(self, tool: str) -> float:
        """Median time; infinity where the tool fails."""
        return statistics.median(self.seconds[tool]) if self.seconds[tool] else float("inf")

    @property
    def faster_peer(self) -> float:
        """Time of the faster of onnxsim and onnxslim."""
        return min(map(self.time, PEERS))

    @property
    def slower_peer(self) -> float:
        """Time of the slower of onnxsim and onnxslim, of those that do not fail."""
        return max((self.time(peer) for peer in PEERS if self.seconds[peer]), default=float("inf"))

    @property
    def fewest_nodes(self) -> int:
        """Nodes after the better of onnxsim and onnxslim, without BatchNormalization."""
        return min(self.nodes[peer][0] for peer in PEERS if peer in self.nodes)


def count_nodes(model: onnx.ModelProto) -> tuple[int, int]:
    """Count the nodes that are not BatchNormalization, and those that are."""
    norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    return len(model.graph.node) - norms, norms


def optimize_in_session(content: bytes, path: Path, threads: int) -> None:
    """Let onnxruntime optimise a model at its BASIC level and write the result."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def kept_constants(model: onnx.ModelProto) -> int:
    """Count the nodes that only repeat a constant."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return sum(node.op_type in GROWING and constants.issuperset(node.input) for node in model.graph.node)


def recurrent_nodes(model: onnx.ModelProto) -> int:
    """Count the recurrent layers."""
    return sum(node.op_type in RECURRENT for node in model.graph.node)


def measure(row: Row, model: onnx.ModelProto, repeats: int, threads: int) -> None:
    """Run each tool in turn, ``repeats`` times."""
    content = model.SerializeToString()
    runs: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        OURS: lambda given: kneronnxopt.optimize(given, skip_check=True),
        "onnxsim": lambda given: onnxsim.simplify(given)[0],
        "onnxslim": onnxslim.slim,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        for _ in range(repeats):
            for tool in TOOLS:
                given = onnx.ModelProto()
                given.CopyFrom(model)
                gc.collect()
                start = time.perf_counter()
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        if tool == RUNTIME:
                            optimize_in_session(content, path, threads)
                        else:
                            result = runs[tool](given)
                except Exception as error:  # noqa: BLE001 - a peer that fails has no time
                    sys.stderr.write(f"{row.name}: {tool} fails: {type(error).__name__}: {str(error)[:100]}\n")
                    continue
                row.seconds[tool].append(time.perf_counter() - start)
                row.nodes[tool] = count_nodes(onnx.load(path) if tool == RUNTIME else result)
                if tool == OURS:
                    row.kept = kept_constants(result)
                    row.unrolled = recurrent_nodes(model) - recurrent_nodes(result)
                result = None


def networks(names: list[str]) -> dict[str, Callable[[], onnx.ModelProto]]:
    """Return what makes each network."""
    found: dict[str, Callable[[], onnx.ModelProto]] = {}
    for name in zoo.ZOO_NAMES:
        found[name] = lambda name=name: zoo.materialize(name)
    for path in sorted(LIGHT_FOLDER.glob("*.onnx")):
        found[path.stem] = lambda path=path: onnx.load(path)
    return {name: make for name, make in found.items() if not names or name in names}


def weight_bytes(model: onnx.ModelProto) -> int:
    """Size of a model's weights."""
    return sum(len(tensor.raw_data) + 4 * len(tensor.float_data) for tensor in model.graph.initializer)


def main() -> None:
    """Print the table and the figures that the project promises."""
    parser = argparse.ArgumentParser(description="Time of optimisers on the zoo and the onnx package's light models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each optimiser (one above 200 MB of weights)")
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime's sessions (default: all cores)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    measure(Row("", 0, (0, 0)), zoo.materialize("squeezenet1_1_224"), 1, options.threads)  # imports, file cache
    heads = "".join(f"{tool:>12}" for tool in TOOLS)
    print(f"{'network':<30}{'MB':>7}{'ms:':>5}{heads}{'ratio':>7}   nodes: before{heads}")
    rows = []
    for name, make in networks(options.names).items():
        model = make()
        row = Row(name, weight_bytes(model), count_nodes(model))
        measure(row, model, 1 if row.weight_bytes > VERY_LARGE_BYTES else options.repeats, options.threads)
        rows.append(row)
        times = "".join(f"{row.time(tool) * 1e3:>12.1f}" for tool in TOOLS)
        counts = "".join(f"{'+'.join(map(str, row.nodes[tool])) if tool in row.nodes else '-':>12}" for tool in TOOLS)
        ratio = row.time(OURS) / row.faster_peer
        before = "+".join(map(str, row.before))
        print(f"{name:<30}{row.weight_bytes / 1e6:>7.1f}{'':>5}{times}{ratio:>7.2f}   {before:>13}{counts}", flush=True)
    print_promises(rows)


def print_promises(rows: list[Row]) -> None:
    """Print what the project promises, and what was found."""
    ratios = [row.time(OURS) / row.faster_peer for row in rows]
    print(f"\nours / faster of {' and '.join(PEERS)}: median {statistics.median(ratios):.2f} (at most 1)")
    large = [row.time(OURS) / row.faster_peer for row in rows if row.weight_bytes > LARGE_BYTES]
    if large:
        print(f"the same above 50 MB of weights: median {statistics.median(large):.2f}, worst {max(large):.2f} (0.5)")
    worst = max(rows, key=lambda row: row.time(OURS) / row.slower_peer)
    print(f"ours / slower of them: worst {worst.time(OURS) / worst.slower_peer:.2f}, on {worst.name} (at most 1)")
    runtime = statistics.median(row.time(OURS) / row.time(RUNTIME) for row in rows)
    print(f"ours / {RUNTIME}: median {runtime:.2f}")
    print_node_counts([row for row in rows if row.nodes[OURS][0] > row.fewest_nodes])


def print_node_counts(rows: list[Row]) -> None:
    """Print where ours has more nodes than a peer, and which of that is documented."""
    found: dict[str, list[str]] = {"": [], "kept": [], "unrolled": []}
    for row in rows:
        ours, fewest = row.nodes[OURS][0], row.fewest_nodes
        if row.unrolled:
            found["unrolled"].append(f"{row.name} {ours} > {fewest} ({row.unrolled} layers)")
        elif ours - row.kept <= fewest:
            found["kept"].append(f"{row.name} {ours} > {fewest} ({row.kept} of ours)")
        else:
            found[""].append(f"{row.name} {ours} > {fewest}" + (f" ({row.kept} of ours kept)" if row.kept else ""))
    texts = {reason: ", ".join(names) or "none" for reason, names in found.items()}
    print(f"more nodes than the better peer, BatchNormalization aside (none): {texts['']}")
    print(f"the same, only by {', '.join(GROWING)} of constants, kept lest the file grow: {texts['kept']}")
    print(f"the same, with {', '.join(RECURRENT)} unrolled: {texts['unrolled']}")


if __name__ == "__main__":
    main()
