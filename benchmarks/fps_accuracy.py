"""Published against estimated time, platform by platform, and the reports that itemise it.

Run ``python benchmarks/fps_accuracy.py [FOLDER] [--left-out]``: FOLDER holds the networks of the published table
as ONNX files named after its ``network`` column; weights may be missing, since only shapes matter.
``--left-out`` also fits every platform again without each network (``calibrate.py``, some minutes).

The MACs-only baseline is the best that ``time = MACs / rate`` can do: its rate is the median over the rows of the
platform, for its left-out error over the other rows.  Kendall's tau compares the order of the networks.
Medians and worst are over one row a network, of the newest version; SRCNN (the only thin network) and UNet on KL530
(an outlier of the source) are shown, but not in them.  Rows of older versions are estimated with the bandwidth that
was documented then (``data/older_tools.json``).
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from calibrate import DEFAULT_NETWORKS, Published, calibrate, judged, published_rows
from scipy.stats import kendalltau

from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktc.evaluator import Evaluation


@dataclass(frozen=True, slots=True)
class Row:
    """One published row and its estimate."""

    published: Published
    evaluation: Evaluation

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return self.evaluation.time_ms / self.published.time_ms - 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network."""
        return sum(node.macs for node in self.evaluation.nodes)


def measure(platform_name: str, networks: Path) -> list[Row]:
    """Estimate every published row of a platform for which the network is there."""
    platform = load_platform(platform_name)
    rows = []
    for row in published_rows(platform.name):
        path = networks / f"{row.network}.onnx"
        if not path.exists():
            continue
        settings = EvaluationSettings(weight_bandwidth=row.bandwidth, dma_bandwidth=row.bandwidth)
        model = onnx.load(str(path), load_external_data=False)
        rows.append(Row(row, evaluate(lower(model, platform), platform, settings)))
    return rows


def macs_only(rows: Sequence[Row], *, left_out: bool = False) -> list[float]:
    """Relative errors of ``time = MACs / rate``."""
    errors = []
    for row in rows:
        others = [other for other in rows if not left_out or other is not row]
        rate = statistics.median(other.macs / other.published.time_ms for other in others)
        errors.append(row.macs / rate / row.published.time_ms - 1)
    return errors


def summary(errors: Sequence[float], rows: Sequence[Row]) -> str:
    """Median and worst error in percent, and Kendall's tau between published and estimated times."""
    percents = [100 * abs(error) for error in errors]
    estimated = [row.published.time_ms * (1 + error) for row, error in zip(rows, errors, strict=True)]
    tau = kendalltau([row.published.time_ms for row in rows], estimated).statistic
    return f"median {statistics.median(percents):5.1f} %, worst {max(percents):6.1f} %, tau {tau:.2f}"


def itemised(row: Row) -> Iterator[tuple[str, float, float]]:
    """Items of an older report: name, published, estimated; times in ms, amounts in MB."""
    result = row.evaluation
    maps = result.read_bytes + result.write_bytes
    estimates = {
        "theoretical": ("theoretical convolution ms", 1.0, result.theoretical_conv_ms),
        "running": ("MAC running ms", 1.0, result.mac_running_ms),
        "idle": ("MAC idle ms", 1.0, result.mac_idle_ms),
        "dram": ("DRAM MB", 1e-6, result.dram_bytes),
        "maps": ("feature maps MB", 1e-6, maps),
        "weights": ("weights MB", 1e-6, result.weight_bytes),
    }
    for key, (name, factor, estimate) in estimates.items():
        if key in row.published.items:
            yield name, row.published.items[key] * factor, estimate * factor


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="?", type=Path, default=DEFAULT_NETWORKS)
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    parser.add_argument("--left-out", action="store_true", help="also fit again without each network")
    arguments = parser.parse_args()
    names = arguments.platform or platform_names()
    calibrations = calibrate(names, arguments.networks) if arguments.left_out else {}
    for name in names:
        rows = measure(name, arguments.networks)
        if not rows:
            parser.error(f"no network of the published table in {arguments.networks}")
        left_out = {}
        if name in calibrations:
            calibration = calibrations[name]
            left_out = dict(zip(calibration.rows.published, calibration.left_out, strict=True))
        counted = [rows[index] for index in judged(name, [row.published for row in rows])]
        print(
            f"\nKL{name}{'network':>34s} {'tool':>5s} {'published ms':>13s} {'estimated':>10s} {'error %':>8s} left out"
        )
        for row in rows:
            out = left_out.get(row.published)
            print(
                f"{row.published.network:>39s} {row.published.version:>5s} {row.published.time_ms:13.3f} "
                f"{row.evaluation.time_ms:10.3f} {100 * row.error:+8.1f} "
                f"{'' if out is None else f'{100 * out:+8.1f}'}{'' if row in counted else ' *'}"
            )
        print(f"{'fitted':>20s}: {summary([row.error for row in counted], counted)}")
        if left_out:
            print(f"{'left out':>20s}: {summary([left_out[row.published] for row in counted], counted)}")
        print(f"{'MACs only':>20s}: {summary(macs_only(counted), counted)}")
        print(f"{'MACs only, left out':>20s}: {summary(macs_only(counted, left_out=True), counted)}")
        for row in rows:
            for item, published, estimate in itemised(row):
                print(
                    f"{row.published.network:>39s} {row.published.version:>5s} {item:>26s} {published:10.3f} "
                    f"{estimate:10.3f} {100 * (estimate / published - 1):+8.1f}"
                )


if __name__ == "__main__":
    main()
