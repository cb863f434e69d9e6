"""Fit the figures of a platform to its published times, and measure the error on networks that were left out.

Run ``python benchmarks/calibrate.py [--platform 720] [--write]``.  Free are the figures of
``ktc/hardware/data/ip_config_<platform>.json`` whose confidence is "fitted"; stated and inferred ones stay.  The
loss is the logarithm of estimated over published time, robust against outliers (soft L1), plus a pull towards
``data/starting_values.json`` (the design's values), since there are about as many figures as rows.  No figure
belongs to a network.  Needs scipy (it comes with scikit-learn, one of the development dependencies).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from scipy.optimize import least_squares

import ktc.hardware
from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names

if TYPE_CHECKING:
    from ktc.frontend import Program
    from ktc.hardware import Platform

ROOT = Path(__file__).resolve().parent
DEFAULT_NETWORKS = ROOT.parent / "tests" / "data" / "zoo"
FREE = (
    "conv_macs_per_cycle",
    "pointwise_macs_per_cycle",
    "depthwise_macs_per_cycle",
    "depthwise_wide_macs_per_cycle",
    "strided_waste",
    "node_overhead_us",
    "layout_node_us",
    "weight_bandwidth",
    "read_bandwidth",
    "auxiliary_bandwidth",
    "feature_memory_bytes",
)
TIED = {"read_bandwidth": "write_bandwidth"}  # nothing published tells reading from writing
WIDE, NARROW = "depthwise_wide_macs_per_cycle", "depthwise_macs_per_cycle"
CURRENT_VERSION = "0.27"
EXTRA_NETWORKS = ("efficientnet_b0_relu_no_se_224",)  # an older tool version, but the only 5x5 depthwise kernels
OUTLIERS = {("530", "unet_384")}  # an outlier of the source: four times slower than its own rate elsewhere


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One published row with the program of its network."""

    network: str
    published_ms: float
    weight: float
    program: Program


def load_samples(platform: Platform, networks: Path) -> list[Sample]:
    """Rows of the current table, and of older ones that nothing replaces (at half weight)."""
    samples = []
    with (ROOT / "data" / "published_performance.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            current = row["toolchain_version"] == CURRENT_VERSION
            wanted = current or row["network"] in EXTRA_NETWORKS
            if row["platform"] != platform.name or not wanted or (platform.name, row["network"]) in OUTLIERS:
                continue
            model = onnx.load(str(networks / f"{row['network']}.onnx"), load_external_data=False)
            program = lower(model, platform)
            samples.append(Sample(row["network"], float(row["time_ms"]), 1.0 if current else 0.5, program))
    return samples


def with_figures(platform: Platform, names: list[str], logarithms: Any) -> Platform:
    """The platform with other values of some figures."""
    values = {name: float(value) for name, value in zip(names, np.exp(logarithms), strict=True)}
    values.update({TIED[name]: value for name, value in values.items() if name in TIED})
    if WIDE not in values and platform.figures[WIDE].confidence != "stated":
        values[WIDE] = values[NARROW]
    return dataclasses.replace(platform, **values)


def errors(platform: Platform, samples: list[Sample]) -> list[float]:
    """Logarithm of estimated over published time."""
    settings = EvaluationSettings()
    return [
        float(np.log(evaluate(sample.program, platform, settings).time_ms / sample.published_ms)) for sample in samples
    ]


def fit(platform: Platform, samples: list[Sample], prior: dict[str, float], pull: float) -> Platform:
    """The platform with its fitted figures."""
    names = [name for name in FREE if platform.figures[name].confidence == "fitted"]
    start = np.log([prior[name] for name in names])

    def residuals(logarithms: Any) -> Any:
        candidate = with_figures(platform, names, logarithms)
        weighted = [e * s.weight for e, s in zip(errors(candidate, samples), samples, strict=True)]
        return np.concatenate([weighted, pull * (logarithms - start)])

    solution = least_squares(residuals, start, loss="soft_l1", f_scale=0.05, xtol=1e-4, ftol=1e-4, diff_step=1e-3)
    return with_figures(platform, names, solution.x)


def percent(logarithms: list[float]) -> list[float]:
    """Relative errors in percent."""
    return [100 * (float(np.exp(value)) - 1) for value in logarithms]


def write(platform: Platform, fitted: Platform, expected_error: float) -> None:
    """Put fitted values into the data file of a platform, one figure a line as before."""
    path = Path(ktc.hardware.__file__).parent / "data" / f"ip_config_{platform.name}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in (*FREE, *TIED.values()):
        document["figures"][name]["value"] = float(f"{getattr(fitted, name):.4g}")
    document["figures"]["expected_error_percent"]["value"] = round(expected_error, 1)
    head = [f"  {json.dumps(key)}: {json.dumps(document[key])}," for key in document if key != "figures"]
    rows = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in document["figures"].items()]
    text = "\n".join(["{", *head, '  "figures": {', ",\n".join(rows), "  }", "}"])
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Fit, leave out, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="?", type=Path, default=DEFAULT_NETWORKS)
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    parser.add_argument("--pull", type=float, default=0.15, help="strength of the pull towards the starting values")
    parser.add_argument("--write", action="store_true", help="store the fitted values in ip_config_<platform>.json")
    arguments = parser.parse_args()
    priors = json.loads((ROOT / "data" / "starting_values.json").read_text(encoding="utf-8"))["platforms"]
    for name in arguments.platform or platform_names():
        platform = load_platform(name)
        samples = load_samples(platform, arguments.networks)
        fitted = fit(platform, samples, priors[name], arguments.pull)
        inside = percent(errors(fitted, samples))
        outside = []
        for index, sample in enumerate(samples):
            others = samples[:index] + samples[index + 1 :]
            outside += percent(errors(fit(platform, others, priors[name], arguments.pull), [sample]))
        print(f"\n{platform.title}: error in percent, fitted and left out")
        for sample, within, without in zip(samples, inside, outside, strict=True):
            print(f"{sample.network:>36s} {within:+7.1f} {without:+7.1f}")
        medians = [statistics.median(abs(value) for value in values) for values in (inside, outside)]
        print(f"{'median':>36s} {medians[0]:7.1f} {medians[1]:7.1f}")
        for figure in FREE:
            print(f"{figure:>36s} {getattr(fitted, figure):.4g}   (in force: {getattr(platform, figure):.4g})")
        if arguments.write:
            write(platform, fitted, medians[1])


if __name__ == "__main__":
    main()
