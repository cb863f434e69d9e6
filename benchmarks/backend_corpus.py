"""Optimise the backend test models of the onnx package, and count what goes wrong.

    python benchmarks/backend_corpus.py [--enlarged] [--folder DIR] [--peers] [--every N] [--jobs N] [--failures]

The corpus: the node cases of ``onnx.backend.test.case``, with their own inputs, and the simple, pytorch-converted,
pytorch-operator and light models that the package ships.  ``--enlarged`` adds, for each node case, its inputs turned
into constants (one at a time, and all at once), its outputs followed by Identity, Relu and Reshape, and its outputs
fed into another case.  ``--folder`` takes the .onnx files below a folder instead, with random inputs.  A model that
onnx's checker refuses, that onnxruntime cannot run, or that gives another result each time, does not count.

Each model runs in a worker process, so that a crash of native code ends the worker and is counted.  Columns: ours with
default options, with all the rewriting options, and with ``clear_shapes`` as well; with ``--peers`` also onnxsim and
onnxslim (``pip install ktc[benchmarks]``); ktc's evaluation of the model on each platform.  Failures:

- crash: an exception (also one after which ``optimize`` returns the model as it was), the end of the process, more
  than the time limit, a fixed point that was not reached, or a CPU node without a reason;
- invalid: onnx's checker refuses the result, or onnxruntime does not run it;
- mismatch: other results;
- interface: other names, types or shapes of inputs or outputs (a number where there was a symbol is allowed).

A model counts once for each column, under the first kind that applies.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import logging
import multiprocessing
import os
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection

Feeds = dict[str, Any]

TIME_LIMIT_SECONDS = 120
TOLERANCE = 1e-4
#: Types with 10 bits of mantissa or fewer.
COARSE_TYPES = ("FLOAT16", "BFLOAT16", "FLOAT8", "FLOAT4", "FLOAT6")
COARSE_TOLERANCE = 2e-2
FAILURES = ("crash", "invalid", "mismatch", "interface")
REWRITING = {
    "opt_matmul": True,
    "replace_avgpool_with_conv": True,
    "replace_dilated_conv": True,
    "defuse_gaps": True,
    "fuse_bn": True,
    "duplicate_shared_weights": 2,
    "clear_descriptions": True,
}
EVALUATION = "ktc evaluates"
ALL_OPTIONS = REWRITING | {"clear_shapes": True}


@dataclass(frozen=True)
class Case:
    """A model, or the file with it, and its inputs; None where they are to be drawn at random."""

    group: str
    name: str
    source: onnx.ModelProto | Path
    feeds: Feeds | None

    @property
    def model(self) -> onnx.ModelProto:
        """The model, read anew each time if it is a file."""
        return onnx.load(self.source) if isinstance(self.source, Path) else self.source


# --- The corpus


def node_cases() -> Iterator[Case]:
    """Yield the package's node cases with the inputs of their first data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own expected values, and overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        found = [case for case in collect_testcases(None) if case.model is not None]
    for case in found:
        names = [value.name for value in case.model.graph.input]
        arrays = list(case.data_sets[0][0]) if case.data_sets else []
        feeds = dict(zip(names, map(as_feed, arrays), strict=True)) if len(arrays) == len(names) else None
        yield Case("node", case.name, case.model, feeds)


def as_feed(value: Any) -> Any:
    """Return what onnxruntime takes for a value of a test case."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if value is None or isinstance(value, list):
        return value
    return np.asarray(value)


def shipped_models() -> Iterator[Case]:
    """Yield the models that are files of the package."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for group in ("simple", "pytorch-converted", "pytorch-operator"):
        for path in sorted((folder / group).glob("*/model.onnx")):
            yield Case(group, path.parent.name, onnx.load(path), None)
    for path in sorted((folder / "light").glob("*.onnx")):
        yield Case("light", path.stem, onnx.load(path), None)


def models_of(folder: Path) -> Iterator[Case]:
    """Yield the .onnx files below a folder; the group is the name of the folder that holds a file."""
    for path in sorted(folder.rglob("*.onnx")):
        yield Case(path.parent.name, path.stem, path, None)


def enlarged(cases: list[Case]) -> Iterator[Case]:
    """Yield variants of node cases: fed by constants, and in chains."""
    for case in cases:
        yield from fed_by_constants(case)
        yield from followed(case)
    yield from joined(cases)


def fed_by_constants(case: Case) -> Iterator[Case]:
    """Yield the case with each numeric input as a constant, then with all of them."""
    names = [name for name, value in (case.feeds or {}).items() if is_numeric(value)]
    groups = [[name] for name in names] + ([names] if len(names) > 1 else [])
    for chosen in groups:
        model = copied(case.model)
        for name in chosen:
            tensor = onnx.numpy_helper.from_array(case.feeds[name], name)
            if name:
                model.graph.initializer.append(tensor)
        kept = [value for value in model.graph.input if value.name not in chosen]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, 4)
        feeds = {name: value for name, value in case.feeds.items() if name not in chosen}
        yield Case("constant", f"{case.name}:{'+'.join(chosen)}", model, feeds)


def followed(case: Case) -> Iterator[Case]:
    """Yield the case with Identity, Relu (of floats) and Reshape behind each tensor that it returns."""
    if not any(entry.domain in ("", "ai.onnx") for entry in case.model.opset_import):
        return
    model = copied(case.model)
    changed = False
    for output in model.graph.output:
        tensor = output.type.tensor_type
        if not output.type.HasField("tensor_type") or not tensor.HasField("shape"):
            continue
        changed = True
        steps = ["Identity", *(["Relu"] if tensor.elem_type == onnx.TensorProto.FLOAT else []), "Reshape"]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), f"{output.name}/target"))
        source = output.name
        for step in steps:
            inputs = [source, f"{output.name}/target"] if step == "Reshape" else [source]
            source = f"{output.name}/{step}"
            model.graph.node.append(onnx.helper.make_node(step, inputs, [source]))
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        size = None if None in dims else int(np.prod(dims, dtype=np.int64))
        output.CopyFrom(onnx.helper.make_tensor_value_info(source, tensor.elem_type, [size]))
    if changed:
        model.ir_version = max(model.ir_version, 4)
        yield Case("followed", case.name, model, case.feeds)


def joined(cases: list[Case]) -> Iterator[Case]:
    """Yield pairs: the first output of a case is, through an Identity, the first input of the next that takes it."""
    takers: dict[Any, list[Case]] = collections.defaultdict(list)
    for case in cases:
        if case.feeds and case.model.graph.input:
            takers[signature(case.model, case.model.graph.input[0])].append(case)
    turns: collections.Counter[Any] = collections.Counter()
    for case in cases:
        key = signature(case.model, case.model.graph.output[0])
        if case.feeds is None or not takers.get(key):
            continue
        taker = takers[key][turns[key] % len(takers[key])]
        turns[key] += 1
        with contextlib.suppress(ValueError, onnx.checker.ValidationError):
            yield join(case, taker)


def signature(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> tuple[Any, ...]:
    """Return what has to agree for one value to be fed into another."""
    opsets = sorted((entry.domain, entry.version) for entry in model.opset_import)
    return (*opsets, value.type.SerializeToString(deterministic=True))


def join(first: Case, second: Case) -> Case:
    """Feed the first output of one case into the first input of another."""
    left = onnx.compose.add_prefix(first.model, "first/")
    right = onnx.compose.add_prefix(second.model, "second/")
    source, target = left.graph.output[0], right.graph.input[0].name
    bridge = onnx.helper.make_node("Identity", [source.name], ["bridge"])
    left.graph.node.append(bridge)
    source.name = "bridge"
    left.ir_version = right.ir_version = max(left.ir_version, right.ir_version)
    model = onnx.compose.merge_models(left, right, io_map=[("bridge", target)])
    feeds = {f"first/{name}": value for name, value in (first.feeds or {}).items()}
    feeds |= {f"second/{name}": value for name, value in (second.feeds or {}).items() if f"second/{name}" != target}
    return Case("joined", f"{first.name} > {second.name}", model, feeds)


def is_numeric(value: Any) -> bool:
    """Whether a value can be an initializer that optimisers look at."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


# --- What is compared


def optimizers(peers: bool) -> dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]]:
    """Return the columns of the table."""
    import kneronnxopt

    def ours(options: dict[str, Any]) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
        def optimized(model: onnx.ModelProto) -> onnx.ModelProto:
            REPORTED.clear()
            result = kneronnxopt.optimize(model, skip_check=True, convert_f16=False, **options)
            if REPORTED:
                raise RuntimeError(REPORTED[0])
            return result

        return optimized

    columns = {"ours": ours({}), "ours, rewriting": ours(REWRITING), "ours, all": ours(ALL_OPTIONS)}
    if peers:
        import onnxsim
        import onnxslim

        columns["onnxsim"] = lambda model: onnxsim.simplify(model)[0]
        columns["onnxslim"] = onnxslim.slim
    return columns


#: Warnings of kneronnxopt that tell of a fault of its own.
REPORTED: list[str] = []
_FAULTS = ("please report", "still changes after")


class Faults(logging.Handler):
    """Keeps the warnings that tell of a fault."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message if it tells of a fault."""
        message = record.getMessage()
        if any(fault in message for fault in _FAULTS):
            REPORTED.append(message)


def judge_evaluation(model: onnx.ModelProto) -> tuple[str, str]:
    """Return ``equal`` if ktc evaluates a model on every platform, or refuses what its inputs are; else ``crash``."""
    from ktc.errors import ModelError
    from ktc.evaluator import EvaluationSettings, evaluate
    from ktc.frontend import lower
    from ktc.hardware import load_platform, platform_names

    for name in platform_names():
        platform = load_platform(name)
        try:
            evaluation = evaluate(lower(model, platform), platform, EvaluationSettings())
        except ModelError as error:
            if str(error).startswith(("input ", "dimension ")):
                return "equal", ""
            return "crash", f"{name}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            return "crash", f"{name}: {type(error).__name__}: {error}"
        for node in evaluation.nodes:
            if node.type == "CPU" and not node.reason:
                return "crash", f"{name}: CPU node {node.name} without a reason"
            if not node.sync_ms >= 0:
                return "crash", f"{name}: node {node.name} takes {node.sync_ms} ms"
    return "equal", ""


def same_interface(new: onnx.ModelProto, old: onnx.ModelProto) -> bool:
    """Whether inputs and outputs are the same, but for numbers that outputs have where they had symbols."""
    if len(new.graph.input) != len(old.graph.input) or len(new.graph.output) != len(old.graph.output):
        return False
    inputs = zip(new.graph.input, old.graph.input, strict=True)
    outputs = zip(new.graph.output, old.graph.output, strict=True)
    return all(a.name == b.name and a.type == b.type for a, b in inputs) and all(
        a.name == b.name and refines(a.type, b.type) for a, b in outputs
    )


def refines(new: onnx.TypeProto, old: onnx.TypeProto) -> bool:
    """Whether a type says what the old one says, or more."""
    if not old.HasField("tensor_type") or not new.HasField("tensor_type"):
        return new == old
    a, b = new.tensor_type, old.tensor_type
    if a.elem_type != b.elem_type or not b.HasField("shape"):
        return a.elem_type == b.elem_type
    return len(a.shape.dim) == len(b.shape.dim) and all(
        x == y or not y.HasField("dim_value") for x, y in zip(a.shape.dim, b.shape.dim, strict=True)
    )


def tolerance_of(model: onnx.ModelProto) -> float:
    """Return the relative difference that counts as equal, by the coarsest type of a model."""
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    names = map(onnx.TensorProto.DataType.Name, types)
    return COARSE_TOLERANCE if any(name.startswith(COARSE_TYPES) for name in names) else TOLERANCE


def judge(
    model: onnx.ModelProto, feeds: Feeds, expected: Feeds, optimizer: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> tuple[str, str]:
    """Return ``equal`` or the kind of failure, and what was wrong."""
    from kneronnxopt import OptimizationError
    from kneronnxopt.verify import difference_of, run_model

    try:
        result = optimizer(copied(model))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        return "crash", f"{type(error).__name__}: {error}"
    try:
        onnx.checker.check_model(result)
    except (onnx.checker.ValidationError, ValueError) as error:
        return "invalid", str(error)
    try:
        differences = difference_of(expected, run_model(result, feeds))
    except OptimizationError as error:
        return "invalid", str(error)
    if max(differences.values(), default=0.0) > tolerance_of(model):
        return "mismatch", str(differences)
    if not same_interface(result, model):
        return "interface", ""
    return "equal", ""


def overriding(model: onnx.ModelProto) -> Feeds:
    """Return values for the inputs of floats that have a default, other than that: constants that are none."""
    names = {value.name for value in model.graph.input} if model.ir_version >= 4 else set()
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in names]
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
    return {name: array * array.dtype.type(0.75) for name, array in arrays.items() if array.dtype.kind == "f"}


# --- Worker processes


def work(cases: list[Case], peers: bool, connection: Connection) -> None:
    """Answer tasks (index of a case, columns) by messages (column, verdict, text); the first is of the original."""
    warnings.simplefilter("ignore")
    logging.lastResort = None
    logging.getLogger("kneronnxopt").addHandler(Faults())
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    from kneronnxopt import OptimizationError
    from kneronnxopt.verify import difference_of, random_inputs, run_model

    columns = optimizers(peers)
    while True:
        index, wanted = connection.recv()
        case = cases[index]
        try:
            model = case.model
            onnx.checker.check_model(model)
            feeds = random_inputs(model) | overriding(model) if case.feeds is None else case.feeds
            expected = run_model(model, feeds)
            repeated = run_model(model, feeds)
            runs = not any(difference_of(expected, repeated).values())
            connection.send(("original", "runs" if runs else "random", ""))
        except (OptimizationError, onnx.checker.ValidationError):
            runs = False
            connection.send(("original", "does not run", ""))
        for column in wanted if runs else ():
            verdict = (
                judge_evaluation(model) if column == EVALUATION else judge(model, feeds, expected, columns[column])
            )
            connection.send((column, *verdict))


class Worker:
    """A process that is replaced when it dies or hangs."""

    def __init__(self, cases: list[Case], peers: bool) -> None:
        self.arguments = (cases, peers)
        self.start()

    def start(self) -> None:
        """Start a process."""
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(*self.arguments, other), daemon=True)
        self.process.start()
        other.close()

    def judge(self, index: int, columns: list[str]) -> dict[str, tuple[str, str]]:
        """Return a verdict for ``original`` and, if that runs, one for each column."""
        verdicts: dict[str, tuple[str, str]] = {}
        while len(verdicts) <= len(columns):
            missing = [column for column in columns if column not in verdicts]
            self.connection.send((index, missing))
            for awaited in ("original", *missing):
                try:
                    if not self.connection.poll(TIME_LIMIT_SECONDS):
                        raise TimeoutError(f"more than {TIME_LIMIT_SECONDS} s")
                    column, verdict, text = self.connection.recv()
                except (EOFError, OSError) as error:
                    self.stop()
                    self.start()
                    verdicts[awaited] = ("crash", str(error) or "the process ended")
                    break
                verdicts[column] = (verdict, text)
                if verdicts["original"][0] != "runs":
                    break
            if verdicts["original"][0] != "runs":
                break
        return verdicts

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def share(cases: list[Case], indices: Iterable[int], columns: list[str], peers: bool, connection: Connection) -> None:
    """Judge the cases of one job."""
    worker = Worker(cases, peers)
    for index in indices:
        connection.send((index, worker.judge(index, columns)))
    worker.stop()
    connection.close()


def verdicts_of(cases: list[Case], columns: list[str], peers: bool, jobs: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index and the verdicts of each case, in the order in which they come."""
    from multiprocessing.connection import wait

    context = multiprocessing.get_context("fork")
    connections = []
    for job in range(jobs):
        receiver, sender = context.Pipe(duplex=False)
        context.Process(target=share, args=(cases, range(job, len(cases), jobs), columns, peers, sender)).start()
        sender.close()
        connections.append(receiver)
    while connections:
        for ready in wait(connections):
            try:
                yield ready.recv()
            except EOFError:
                connections.remove(ready)


def main() -> None:
    """Print the table, and the failures if wanted."""
    parser = argparse.ArgumentParser(description="Failures of optimisers on the onnx package's backend test models.")
    parser.add_argument("--enlarged", action="store_true", help="add node cases fed by constants, and in chains")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="the .onnx files below a folder instead")
    parser.add_argument("--peers", action="store_true", help="onnxsim and onnxslim as well")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth model")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    parser.add_argument("--failures", action="store_true", help="list each failure")
    options = parser.parse_args()
    start = time.perf_counter()
    if options.folder is None:
        nodes = list(node_cases())
        cases = [*nodes, *shipped_models(), *(enlarged(nodes) if options.enlarged else ())]
    else:
        cases = list(models_of(options.folder))
    cases = cases[:: options.every]
    columns = ["ours", "ours, rewriting", "ours, all", *(("onnxsim", "onnxslim") if options.peers else ()), EVALUATION]
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    failures = []
    for done, (index, verdicts) in enumerate(verdicts_of(cases, columns, options.peers, options.jobs)):
        for column, (verdict, text) in verdicts.items():
            counts[cases[index].group, column, verdict] += 1
            if verdict in FAILURES and column != "original":
                failures.append((column, verdict, cases[index].group, cases[index].name, " ".join(text.split())[:200]))
        if sys.stderr.isatty() or done % 1000 == 999:
            sys.stderr.write(f"\r{done + 1}/{len(cases)}")
    if options.failures:
        print("\n".join("  ".join(failure) for failure in sorted(failures)))
    print_table(counts, columns)
    print(f"{time.perf_counter() - start:.0f} s, onnx {onnx.__version__}")


def print_table(counts: collections.Counter[tuple[str, str, str]], columns: list[str]) -> None:
    """Print the counts of each group, and of all."""
    groups = list(dict.fromkeys(group for group, _, _ in counts))
    width = max(map(len, columns)) + 2
    print(f"{'group':<18}{'models':>8}{'that run':>10}   {'column':<{width}}" + "".join(f"{f:>11}" for f in FAILURES))
    for group, column in itertools.product([*groups, "all"], columns):
        members = groups if group == "all" else [group]

        def total(of: str, verdict: str | None = None, members: list[str] = members) -> int:
            return sum(n for (g, c, v), n in counts.items() if g in members and c == of and verdict in (None, v))

        head = f"{group:<18}{total('original'):>8}{total('original', 'runs'):>10}" if column == columns[0] else " " * 36
        print(f"{head}   {column:<{width}}" + "".join(f"{total(column, failure):>11}" for failure in FAILURES))


if __name__ == "__main__":
    main()
