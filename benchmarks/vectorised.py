"""The evaluator's time as a NumPy function of many figures at once, for ``calibrate.py``.

`evaluate` walks node by node and takes one platform; a fit needs thousands of candidates.  Everything of a
program that does not depend on the figures that are fitted becomes one array here, with one entry per node or
per feature map.  ``python benchmarks/vectorised.py`` checks that both give the same time (to 1e-9) for every
published row.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ktc.evaluator import EvaluationSettings, evaluate
from ktc.evaluator.macs import mac_cycles
from ktc.evaluator.tiling import tile
from ktc.hardware import load_platform, platform_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ktc.frontend import Program
    from ktc.hardware import Platform

RATES = (
    "conv_macs_per_cycle",
    "pointwise_macs_per_cycle",
    "depthwise_macs_per_cycle",
    "depthwise_wide_macs_per_cycle",
)


class Times:
    """Times of some programs on one platform with one structure, for many sets of figures.

    Parameters
    ----------
    platform : Platform
        Its structure counts (tap rule, blocks, overlap), and the figures that ``figures`` does not name.
    programs : sequence of Program
        What to estimate.
    """

    def __init__(self, platform: Platform, programs: Sequence[Program]) -> None:
        self._platform = platform
        self._frequency = platform.frequency_mhz
        parts = [_arrays(platform, program) for program in programs]
        counts = [len(part["weights"]) for part in parts]
        self._starts = np.cumsum([0, *counts[:-1]])
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "owner"}
        owner = np.concatenate([part["owner"] + start for part, start in zip(parts, self._starts, strict=True)])
        self._owned = np.searchsorted(owner, np.arange(sum(counts)))
        if np.any(np.diff(np.append(self._owned, len(owner))) == 0):
            raise ValueError("a node without feature maps cannot be estimated together with others")
        self._joined = joined

    def __call__(self, figures: Mapping[str, Any], *, whole_bytes: bool = False) -> Any:
        """Times in ms, one row per candidate and one column per program.

        ``figures`` maps names of `Platform` to arrays with one value per candidate; ``whole_bytes`` rounds the
        traffic of every feature map as `tile` does, which a fit does without to stay smooth.
        """
        arrays = self._joined

        def figure(name: str) -> Any:
            return np.atleast_1d(figures.get(name, getattr(self._platform, name)))[:, None]

        compute = sum(arrays[name] / figure(name) for name in RATES) / self._frequency / 1e3
        compute = np.where(arrays["strided"], compute * figure("strided_waste"), compute)
        weights = arrays["weights"] / figure("weight_bandwidth") / 1e6
        spilled = arrays["size"] * (1 - np.minimum(1, figure("feature_memory_bytes") / arrays["live"]))
        if whole_bytes:
            spilled = np.rint(spilled)
        maps = np.add.reduceat(spilled, self._owned, axis=1) / figure("read_bandwidth") / 1e6
        if self._platform.overlap == "max(C,W), D":
            busy, transfer = np.maximum(compute, weights), maps
        else:
            busy, transfer = compute, weights + maps
        time = np.maximum(busy, transfer) + figure("exposed_share") * np.minimum(busy, transfer)
        passed = arrays["auxiliary"] + figure("layout_passes") * arrays["layout"]
        time = time + passed / figure("auxiliary_bandwidth") / 1e6 + figure("node_overhead_us") / 1e3
        return np.add.reduceat(time, self._starts, axis=1)


def _arrays(platform: Platform, program: Program) -> dict[str, Any]:
    """What does not depend on fitted figures, node by node; feature maps carry the index of their node."""
    unit = dataclasses.replace(platform, strided_waste=1.0, **dict.fromkeys(RATES, 1.0))
    tiled = tile(program, dataclasses.replace(unit, feature_memory_bytes=1.0), EvaluationSettings())
    live = _highest_live(program, tiled.sizes)
    nodes = [(node, traffic) for node, traffic in zip(program.nodes, tiled.nodes, strict=True) if node.type != "CPU"]
    rows: dict[str, list[Any]] = {
        name: [] for name in (*RATES, "strided", "weights", "auxiliary", "layout", "owner", "size", "live")
    }
    for index, (node, traffic) in enumerate(nodes):
        cycles = dict.fromkeys(RATES, 0.0)
        strided = False
        if node.mac is not None:
            work = node.mac
            if work.kind == "depthwise":
                name = RATES[2] if max(work.kernel) <= 3 else RATES[3]
            else:
                name = RATES[1] if work.kernel == (1, 1) else RATES[0]
            cycles[name] = mac_cycles(work, unit, 8, 8)
            strided = work.kind in ("conv", "depthwise") and max(work.stride) > 1
        for name in RATES:
            rows[name].append(cycles[name])
        rows["strided"].append(strided)
        rows["weights"].append(traffic.weight_bytes)
        rows["auxiliary"].append(float(sum(step.elements for step in node.auxiliary)))
        rows["layout"].append(traffic.layout_bytes)
        for tensor in (*node.inputs, *node.outputs):
            rows["owner"].append(index)
            rows["size"].append(tiled.sizes[tensor])
            rows["live"].append(live[tensor] if tiled.spilled[tensor] < 1.0 else np.inf)
    return {name: np.array(values) for name, values in rows.items()}


def _highest_live(program: Program, sizes: Mapping[str, int]) -> dict[str, float]:
    """Most bytes that share the chip during the life of each feature map."""
    life: dict[str, list[int]] = {}
    for index, node in enumerate(program.nodes):
        for name in (*node.inputs, *node.outputs):
            life.setdefault(name, [index, index])[1] = index
    change = np.zeros(len(program.nodes) + 1)
    for name, (first, last) in life.items():
        change[first] += sizes[name]
        change[last + 1] -= sizes[name]
    live = np.cumsum(change)
    return {name: float(live[first : last + 1].max()) for name, (first, last) in life.items()}


def largest_difference(platform: Platform, programs: Sequence[Program]) -> float:
    """Largest relative difference between `Times` and `evaluate` with the platform's own figures."""
    fast = Times(platform, programs)({}, whole_bytes=True)[0]
    slow = np.array([evaluate(program, platform, EvaluationSettings()).time_ms for program in programs])
    return float(np.max(np.abs(fast / slow - 1)))


def main() -> None:
    """Print the largest difference over the published rows, platform by platform."""
    from calibrate import DEFAULT_NETWORKS, Rows

    for name in platform_names():
        rows = Rows(load_platform(name), DEFAULT_NETWORKS)
        difference = largest_difference(rows.platform, rows.programs)
        print(f"{rows.platform.title}: largest relative difference {difference:.1e}")
        if difference > 1e-9:
            raise SystemExit("the vectorised model is not the evaluator's.")


if __name__ == "__main__":
    main()
