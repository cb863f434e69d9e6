"""Published against estimated time, platform by platform.

Run ``python benchmarks/fps_accuracy.py [FOLDER]``: FOLDER holds the networks of the published table as ONNX files
named after its ``network`` column; weights may be missing, since only shapes matter.  The MACs-only baseline is
the best that ``time = MACs / rate`` can do: its rate is the median over the rows of the platform.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from dataclasses import dataclass
from pathlib import Path

import onnx

from ktc.evaluator import EvaluationSettings, evaluate
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names

ROOT = Path(__file__).resolve().parent
DEFAULT_NETWORKS = ROOT.parent / "tests" / "data" / "zoo"
DEFAULT_TABLE = ROOT / "data" / "published_performance.csv"
CURRENT_VERSION = "0.27"


@dataclass(frozen=True, slots=True)
class Row:
    """One published time and its estimate."""

    network: str
    version: str
    published_ms: float
    estimated_ms: float
    macs: int

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return self.estimated_ms / self.published_ms - 1


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
        macs = sum(node.macs for node in evaluation.nodes)
        rows.append(Row(row["network"], row["toolchain_version"], float(row["time_ms"]), evaluation.time_ms, macs))
    return rows


def summary(rows: list[Row]) -> tuple[float, float, float, float]:
    """Median and worst error of the model, median and worst of the MACs-only baseline; in percent."""
    rate = statistics.median(row.macs / row.published_ms for row in rows)
    model = [abs(row.error) for row in rows]
    baseline = [abs(row.macs / rate / row.published_ms - 1) for row in rows]
    median, macs_median = statistics.median(model), statistics.median(baseline)
    return 100 * median, 100 * max(model), 100 * macs_median, 100 * max(baseline)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="?", type=Path, default=DEFAULT_NETWORKS)
    parser.add_argument("--table", type=Path, default=DEFAULT_TABLE, help="CSV of published times")
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    arguments = parser.parse_args()
    for name in arguments.platform or platform_names():
        rows = measure(name, arguments.table, arguments.networks)
        if not rows:
            parser.error(f"no network of the published table in {arguments.networks}")
        print(f"\nKL{name}{'network':>34s} {'tool':>6s} {'published ms':>13s} {'estimated ms':>13s} {'error %':>8s}")
        for row in rows:
            print(
                f"{row.network:>39s} {row.version:>6s} {row.published_ms:13.3f} {row.estimated_ms:13.3f} "
                f"{100 * row.error:+8.1f}"
            )
        current = [row for row in rows if row.version == CURRENT_VERSION]
        median, worst, macs_median, macs_worst = summary(current)
        print(
            f"      {len(current)} rows of toolchain {CURRENT_VERSION}: median {median:.1f} %, worst {worst:.1f} %"
            f"   (MACs only: median {macs_median:.1f} %, worst {macs_worst:.1f} %)"
        )


if __name__ == "__main__":
    main()
