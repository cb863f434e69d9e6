"""Find what occurs in the published networks, platform by platform.

Run ``python benchmarks/calibrated_range.py [--write]``.  The evaluator calls a node outside of its calibration if it
has something that is not in ``ktc/hardware/data/calibrated_range.json``, which ``--write`` renews: do so after a change
of the frontend or of the published table.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

import ktc.hardware
from ktc.evaluator.calibration import is_between_maps, is_grouped, product_rows
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.hardware.calibrated_range import MacRange

if TYPE_CHECKING:
    from ktc.frontend import MacWork

ROOT = Path(__file__).resolve().parent
NETWORKS = ROOT.parent / "tests" / "data" / "zoo"
TARGET = Path(ktc.hardware.__file__).parent / "data" / "calibrated_range.json"
COMMENT = "what occurs in the networks with a published time; written by python benchmarks/calibrated_range.py --write"


def published_networks() -> dict[str, list[str]]:
    """Platform -> networks with a published time."""
    found: dict[str, set[str]] = defaultdict(set)
    with (ROOT / "data" / "published_performance.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            found[row["platform"]].add(row["network"])
    return {platform: sorted(networks) for platform, networks in found.items()}


def mac_range(works: list[MacWork]) -> dict[str, Any]:
    """What occurs in convolutions or products of one kind."""
    seen = MacRange(
        kernels=tuple(sorted({"x".join(map(str, work.kernel)) for work in works})),
        grouped=any(map(is_grouped, works)),
        between_maps=any(map(is_between_maps, works)),
        max_stride=max(max(work.stride) for work in works),
        max_dilation=max(max(work.dilation) for work in works),
        max_batch=max(work.batch for work in works),
        max_rows=max(map(product_rows, works)),
        max_in_channels=max(work.in_channels * work.groups for work in works),
        max_out_channels=max(work.out_channels for work in works),
    )
    return dataclasses.asdict(seen)


def platform_range(name: str, networks: list[str]) -> dict[str, Any]:
    """Everything that occurs in the networks of one platform."""
    platform = load_platform(name)
    works: dict[str, list[MacWork]] = defaultdict(list)
    operators: set[str] = set()
    for network in networks:
        model = onnx.load(str(NETWORKS / f"{network}.onnx"), load_external_data=False)
        for node in lower(model, platform).nodes:
            if node.type == "CPU":
                continue
            operators.update(step.operator for step in node.auxiliary)
            if node.mac is not None:
                works[node.mac.kind].append(node.mac)
            else:
                operators.add(node.backend)
    mac = {kind: mac_range(works[kind]) for kind in sorted(works)}
    return {"networks": networks, "mac": mac, "operators": sorted(operators)}


def document() -> dict[str, Any]:
    """Content of the data file."""
    networks = published_networks()
    platforms = {name: platform_range(name, networks[name]) for name in platform_names()}
    return {"schema_version": 1, "comment": COMMENT, "platforms": platforms}


def main() -> None:
    """Print or write the data file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    arguments = parser.parse_args()
    text = json.dumps(document(), indent=1) + "\n"
    if arguments.write:
        TARGET.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
