"""Published against estimated time, platform by platform, and the reports that itemise it.

Run ``python benchmarks/fps_accuracy.py [FOLDER] [--left-out]``: FOLDER holds the networks of the published table
as ONNX files named after its ``network`` column; weights may be missing, since only shapes matter.
``--left-out`` also fits every platform again without each row (``calibrate.py``, some minutes).

The MACs-only baseline is the best that ``time = MACs / rate`` can do: its rate is the median over the rows of the
platform, for its left-out error over the other rows.  Kendall's tau compares the order of the networks.
Medians and worst are over the rows of the current toolchain; SRCNN (the only thin network) and UNet on KL530 (an
outlier of the source) are shown, but not in them.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from calibrate import CURRENT_VERSION, DEFAULT_NETWORKS, OUTLIERS, TABLE, calibrate
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

    platform: str
    network: str
    version: str
    published_ms: float
    extra: str
    evaluation: Evaluation

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return self.evaluation.time_ms / self.published_ms - 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network."""
        return sum(node.macs for node in self.evaluation.nodes)

    @property
    def judged(self) -> bool:
        """Whether the row counts."""
        outlier = (self.platform, self.network) in OUTLIERS or self.network == "srcnn_384"
        return self.version == CURRENT_VERSION and not outlier


def measure(platform_name: str, table: Path, networks: Path) -> list[Row]:
    """Estimate every published row of a platform for which the network is there."""
    platform = load_platform(platform_name)
    rows = []
    with table.open(newline="", encoding="utf-8") as lines:
        published = [row for row in csv.DictReader(lines) if row["platform"] == platform.name]
    for row in published:
        path = networks / f"{row['network']}.onnx"
        if not path.exists():
            continue
        model = onnx.load(str(path), load_external_data=False)
        evaluation = evaluate(lower(model, platform), platform, EvaluationSettings())
        version, time = row["toolchain_version"], float(row["time_ms"])
        rows.append(Row(platform.name, row["network"], version, time, row["extra"], evaluation))
    return rows


def macs_only(rows: Sequence[Row], *, left_out: bool = False) -> list[float]:
    """Relative errors of ``time = MACs / rate``."""
    errors = []
    for row in rows:
        others = [other for other in rows if not left_out or other is not row]
        rate = statistics.median(other.macs / other.published_ms for other in others)
        errors.append(row.macs / rate / row.published_ms - 1)
    return errors


def summary(errors: Sequence[float], rows: Sequence[Row]) -> str:
    """Median and worst error in percent, and Kendall's tau between published and estimated times."""
    percents = [100 * abs(error) for error in errors]
    estimated = [row.published_ms * (1 + error) for row, error in zip(rows, errors, strict=True)]
    tau = kendalltau([row.published_ms for row in rows], estimated).statistic
    return f"median {statistics.median(percents):5.1f} %, worst {max(percents):6.1f} %, tau {tau:.2f}"


def itemised(row: Row) -> Iterator[tuple[str, float, float]]:
    """Items of an older report: name, published, estimated; times in ms, amounts in MB."""
    items = {key: value for key, _, value in (item.partition("=") for item in row.extra.split(";"))}
    result = row.evaluation
    estimates = {
        "theoretical_conv_ms": (1.0, result.theoretical_conv_ms),
        "mac_running_ms": (1.0, result.mac_running_ms),
        "mac_idle_ms": (1.0, result.mac_idle_ms),
        "avg_dram_GBps": (row.published_ms, result.dram_bytes / 1e6),
        "weights_bytes": (1e-6, result.weight_bytes / 1e6),
        "weight_KB": (1e-3, result.weight_bytes / 1e6),
        "data_move_GB": (1e3, (result.read_bytes + result.write_bytes) / 1e6),
    }
    names = {"avg_dram_GBps": "DRAM MB", "weights_bytes": "weights MB", "weight_KB": "weights MB"}
    names["data_move_GB"] = "feature maps MB"
    for key, (factor, estimate) in estimates.items():
        if key in items:
            yield names.get(key, key), float(items[key]) * factor, estimate


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="?", type=Path, default=DEFAULT_NETWORKS)
    parser.add_argument("--table", type=Path, default=TABLE, help="CSV of published times")
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    parser.add_argument("--left-out", action="store_true", help="also fit again without each row")
    arguments = parser.parse_args()
    names = arguments.platform or platform_names()
    calibrations = calibrate(names, arguments.networks) if arguments.left_out else {}
    for name in names:
        rows = measure(name, arguments.table, arguments.networks)
        if not rows:
            parser.error(f"no network of the published table in {arguments.networks}")
        left_out = {}
        if name in calibrations:
            calibration = calibrations[name]
            versions = zip(calibration.rows.networks, calibration.rows.versions, strict=True)
            left_out = dict(zip(versions, calibration.left_out, strict=True))
        print(
            f"\nKL{name}{'network':>34s} {'tool':>5s} {'published ms':>13s} {'estimated':>10s} {'error %':>8s} left out"
        )
        for row in rows:
            out = left_out.get((row.network, row.version))
            print(
                f"{row.network:>39s} {row.version:>5s} {row.published_ms:13.3f} {row.evaluation.time_ms:10.3f} "
                f"{100 * row.error:+8.1f} {'' if out is None else f'{100 * out:+8.1f}'}{'' if row.judged else ' *'}"
            )
        judged = [row for row in rows if row.judged]
        print(f"{'fitted':>20s}: {summary([row.error for row in judged], judged)}")
        if left_out:
            print(f"{'left out':>20s}: {summary([left_out[row.network, row.version] for row in judged], judged)}")
        print(f"{'MACs only':>20s}: {summary(macs_only(judged), judged)}")
        print(f"{'MACs only, left out':>20s}: {summary(macs_only(judged, left_out=True), judged)}")
        for row in rows:
            for item, published, estimate in itemised(row):
                print(
                    f"{row.network:>39s} {row.version:>5s} {item:>20s} {published:10.3f} {estimate:10.3f} "
                    f"{100 * (estimate / published - 1):+8.1f}"
                )


if __name__ == "__main__":
    main()
