"""The evaluator's time as a NumPy function of many figures at once, for ``calibrate.py``.

`evaluate` walks node by node and takes one platform; a fit needs thousands of candidates.  Everything of a
program that does not depend on the figures that are fitted becomes one array here, with one entry per node.
``python benchmarks/vectorised.py`` checks that both give the same time (to 1e-9) for every
published row.
"""

from __future__ import annotations

import dataclasses
import math
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
        Its structure counts (tap rule, blocks, memory), and the figures that ``figures`` does not name.
    programs : sequence of Program
        What to estimate.
    bandwidths : sequence of (float or None), optional
        GB/s of all transfers of each program, in place of the platform's.
    """

    def __init__(
        self, platform: Platform, programs: Sequence[Program], bandwidths: Sequence[float | None] | None = None
    ) -> None:
        self._platform = platform
        parts = [_arrays(platform, program) for program in programs]
        counts = [len(part["weights"]) for part in parts]
        self._starts = np.cumsum([0, *counts[:-1]])
        self._joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        own = [float(rate) if rate else np.nan for rate in bandwidths or [None] * len(parts)]
        self._bandwidths = np.repeat(own, counts)
        maps = self._joined["read"] + self._joined["write"]
        #: Feature-map and weight bytes of each program.
        self.map_bytes = np.add.reduceat(maps, self._starts)
        self.weight_bytes = np.add.reduceat(self._joined["weights"], self._starts)

    def __call__(self, figures: Mapping[str, Any]) -> tuple[Any, Any]:
        """Time and idle time of the MAC array in ms, one row per candidate and one column per program.

        ``figures`` maps names of `Platform` to arrays with one value per candidate.
        """
        arrays = self._joined

        def figure(name: str) -> Any:
            return np.atleast_1d(figures.get(name, getattr(self._platform, name)))[:, None]

        def bandwidth(name: str) -> Any:
            return np.where(np.isnan(self._bandwidths), figure(name), self._bandwidths)

        cycles = sum(arrays[name] / figure(name) for name in RATES)
        cycles = np.maximum(cycles, arrays["outputs"] / figure("outputs_per_cycle"))
        compute = cycles / self._platform.frequency_mhz / 1e3
        weights = arrays["weights"] / bandwidth("weight_bandwidth") / 1e6
        maps = arrays["read"] / bandwidth("read_bandwidth") / 1e6 + arrays["write"] / bandwidth("write_bandwidth") / 1e6
        moved = np.maximum(compute, weights + maps) + figure("exposed_share") * np.minimum(compute, weights)
        passed = arrays["auxiliary"] + figure("layout_passes") * arrays["layout"]
        time = moved + passed / figure("auxiliary_bandwidth") / 1e6 + figure("node_overhead_us") / 1e3
        return np.add.reduceat(time, self._starts, axis=1), np.add.reduceat(moved - compute, self._starts, axis=1)


def _arrays(platform: Platform, program: Program) -> dict[str, Any]:
    """What does not depend on fitted figures, node by node."""
    unit = dataclasses.replace(platform, outputs_per_cycle=math.inf, **dict.fromkeys(RATES, 1.0))
    tiled = tile(program, platform, EvaluationSettings())
    rows: dict[str, list[float]] = {
        name: [] for name in (*RATES, "outputs", "read", "write", "weights", "auxiliary", "layout")
    }
    for node, traffic in zip(program.nodes, tiled.nodes, strict=True):
        if node.type == "CPU":
            continue
        cycles = dict.fromkeys(RATES, 0.0)
        work = node.mac
        if work is not None:
            if work.kind == "depthwise":
                name = RATES[2] if max(work.kernel) <= 3 else RATES[3]
            else:
                name = RATES[1] if work.kernel == (1, 1) else RATES[0]
            cycles[name] = mac_cycles(work, unit, 8, 8)
        for name in RATES:
            rows[name].append(cycles[name])
        rows["outputs"].append(work.results if work else 0)
        rows["read"].append(traffic.read_bytes)
        rows["write"].append(traffic.write_bytes)
        rows["weights"].append(traffic.weight_bytes)
        rows["auxiliary"].append(sum(step.elements for step in node.auxiliary))
        rows["layout"].append(traffic.layout_bytes)
    return {name: np.array(values, dtype=float) for name, values in rows.items()}


def largest_difference(platform: Platform, programs: Sequence[Program]) -> float:
    """Largest relative difference between `Times` and `evaluate` with the platform's own figures."""
    times, idle = Times(platform, programs)({})
    results = [evaluate(program, platform, EvaluationSettings()) for program in programs]
    whole = np.array([result.time_ms for result in results])
    waited = np.array([result.mac_idle_ms for result in results])
    return float(max(np.max(np.abs(times[0] / whole - 1)), np.max(np.abs(idle[0] - waited) / whole)))


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
