"""Fit the figures and the structure of the platforms to what was published, and measure left-out errors.

Run ``python benchmarks/calibrate.py [--platform 720] [--write]`` (some minutes for all; part of the structure is
chosen for KL720, KL530, KL630 and KL730 together, so one of them needs the others).

Free are the figures of ``data/priors.json`` that no source states; no figure belongs to a network.  The loss has the
logarithm of estimated over published time, in units of the source's own noise; the same of the items of older reports
(running and idle time of the MAC array, traffic); and the distance of every figure from its prior in units of the
prior's spread; all robust (soft L1).  The structure is the one with the least loss, to which choices that waste more
add a little: tap rule, blocks of lanes and channels, waste of strides, and what maps do that wait, one choice for
platforms with the same array; for each platform the on-chip memory, where documents do not give one.

A left-out error is the error of a published time when nothing had seen its network: figures and structure are fitted
again without all its rows, on all platforms that share the structure.  It is better than a forecast would be: the form
of the model, the priors and what is no part of the grid (which activations are fused, how depthwise kernels above 3x3
run) were chosen among some dozens of variants with all rows known and left-out errors in view.  ``--widen 2``
doubles the spread of every prior, to show how much rests on them.

Needs scipy (it comes with scikit-learn, one of the development dependencies).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import onnx
from scipy.optimize import least_squares
from vectorised import RATES, Times

import ktc.hardware
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names
from ktc.hardware.platform import WaitingMaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ktc.frontend import Program
    from ktc.hardware import Platform

ROOT = Path(__file__).resolve().parent
DEFAULT_NETWORKS = ROOT.parent / "tests" / "data" / "zoo"
TABLE = ROOT / "data" / "published_performance.csv"
CURRENT_VERSION = "0.27"
OUTLIERS = {("530", "unet_384")}  # an outlier of the source: four times slower than its own rate elsewhere
FAMILIES = (("520",), ("720", "530", "630", "730"))  # platforms with the same array; KL520's has cells of 3x3
NOISE = 0.05  # differences between versions of the source are 2 to 8 %
ITEM_NOISE = 0.1  # of the items of older reports, which are more sensitive than their sum
UNUSUAL = 0.5  # loss to gain by a choice that wastes more: every position of a stride, room for maps that wait
ENTRIES = ((1, 1), (4, 4))  # columns and channels that enter the array together: any, or those of format 4W4C8B
MEMORIES = tuple(float(1 << bits) for bits in range(18, 23))  # 256 KiB to 4 MiB
MODES = ({}, {"auxiliary_bandwidth": -1.0, "layout_passes": 2.0})  # starts of a fit, in spreads from the prior
READ, WRITE = "read_bandwidth", "write_bandwidth"  # nothing published tells reading from writing
CONV, POINTWISE, NARROW, WIDE = RATES
RATIOS = {"pointwise_ratio": (POINTWISE, CONV), "depthwise_wide_ratio": (WIDE, NARROW)}


@dataclass(frozen=True, slots=True)
class Structure:
    """What is chosen, not fitted; names as in `Platform`.  All but the memory is one choice for a family."""

    tap_rule: str
    lanes: int
    input_channel_block: int
    output_channel_block: int
    strided_waste: float
    waiting_maps: str
    resident_maps: bool
    feature_memory_bytes: float

    def of(self, platform: Platform) -> Platform:
        """The platform with this structure."""
        return dataclasses.replace(platform, **dataclasses.asdict(self))

    @property
    def shared(self) -> tuple[object, ...]:
        """What the platforms of a family have in common."""
        return dataclasses.astuple(self)[:-2]


def structures(platform: Platform) -> Iterator[Structure]:
    """The grid of structures of a platform; a memory that documents give is not chosen."""
    taps = ("square_blocks_3x3",) if platform.name == "520" else ("rows_of_3", "groups_of_9")
    documented = platform.figures["feature_memory_bytes"].confidence != "fitted"
    memories = (platform.feature_memory_bytes,) if documented else MEMORIES
    keeping = [(True, memory) for memory in memories] + [(False, platform.feature_memory_bytes)]
    arrays = itertools.product(taps, ENTRIES, (8, 16), (2.0, 4.0), get_args(WaitingMaps))
    for (tap_rule, entry, outputs, waste, waiting), kept in itertools.product(arrays, keeping):
        yield Structure(tap_rule, *entry, outputs, waste, waiting, *kept)


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the published table.

    Attributes
    ----------
    network, version : str
        Name of the network, and of the toolchain's version.
    time_ms : float
        Time of one inference.
    items : Mapping of str to float
        What an older report says besides: ``theoretical``, ``running`` and ``idle`` time of the MAC array in ms,
        bytes of feature maps (``maps``) and ``weights`` that are moved, and of both (``dram``).
    bandwidth : float or None
        GB/s of all transfers, where the report's differ from those of today.
    """

    network: str
    version: str
    time_ms: float
    items: Mapping[str, float] = field(default_factory=dict, hash=False)
    bandwidth: float | None = None

    @property
    def weight(self) -> float:
        """How much its time counts in a fit: half for an older tool, and not beside the parts that it consists of."""
        return 0.0 if {"running", "idle"} <= self.items.keys() else 1.0 if self.version == CURRENT_VERSION else 0.5


def judged(platform: str, rows: Sequence[Published]) -> list[int]:
    """Rows that count for medians and worst: one a network, of the newest version that there is.

    Without SRCNN (the only thin network) and outliers of the source.
    """
    newest: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row.network not in newest or row.version == CURRENT_VERSION:
            newest[row.network] = index
    return [i for name, i in newest.items() if name != "srcnn_384" and (platform, name) not in OUTLIERS]


def older_bandwidths(platform: str) -> dict[str, float]:
    """Version -> GB/s of all transfers in its reports, where these differ from those of today."""
    document = json.loads((ROOT / "data" / "older_tools.json").read_text(encoding="utf-8"))
    entry = document["bandwidths"].get(platform, {"versions": (), "gbps": 0})
    return dict.fromkeys(entry["versions"], float(entry["gbps"]))


def published_rows(platform: str) -> Iterator[Published]:
    """All rows of a platform, outliers included."""
    bandwidths = older_bandwidths(platform)
    with TABLE.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["platform"] == platform:
                time, version = float(row["time_ms"]), row["toolchain_version"]
                extra = {key: value for key, _, value in (item.partition("=") for item in row["extra"].split(";"))}
                units = {
                    "theoretical_conv_ms": ("theoretical", 1.0),
                    "mac_running_ms": ("running", 1.0),
                    "mac_idle_ms": ("idle", 1.0),
                    "avg_dram_GBps": ("dram", time * 1e6),
                    "data_move_GB": ("maps", 1e9),
                    "weights_bytes": ("weights", 1.0),
                    "weight_KB": ("weights", 1e3),
                }
                items = {name: float(extra[key]) * unit for key, (name, unit) in units.items() if key in extra}
                yield Published(row["network"], version, time, items, bandwidths.get(version))


@dataclass(frozen=True, slots=True)
class Fit:
    """One fit: figures as in `Platform`, the loss, and the log errors of all rows (fitted or not)."""

    figures: Mapping[str, float]
    loss: float
    errors: Any


class Rows:
    """The published rows of one platform and the fits to them."""

    def __init__(self, platform: Platform, networks: Path, widen: float = 1.0) -> None:
        self.platform = platform
        self._widen = widen
        self.published = tuple(
            row for row in published_rows(platform.name) if (platform.name, row.network) not in OUTLIERS
        )
        lowered = {}
        for name in dict.fromkeys(row.network for row in self.published):
            model = onnx.load(str(networks / f"{name}.onnx"), load_external_data=False)
            lowered[name] = lower(model, platform)
        self.programs: tuple[Program, ...] = tuple(lowered[row.network] for row in self.published)
        self._logarithms = np.log([row.time_ms for row in self.published])
        self._weights = np.array([row.weight for row in self.published]) / NOISE
        self._times: dict[Structure, Times] = {}

    @property
    def networks(self) -> tuple[str, ...]:
        """Their networks, each once."""
        return tuple(dict.fromkeys(row.network for row in self.published))

    @cached_property
    def _priors(self) -> dict[str, tuple[float, float]]:
        """Logarithmic centre and spread of every free figure."""
        document = json.loads((ROOT / "data" / "priors.json").read_text(encoding="utf-8"))["figures"]
        result = {}
        for name, prior in document.items():
            figure = self.platform.figures.get(RATIOS.get(name, (name,))[0])
            center, spread = (
                prior[key].get(self.platform.name) if isinstance(prior[key], dict) else prior[key]
                for key in ("center", "spread")
            )
            if center is None or (figure is not None and figure.confidence == "stated"):
                continue
            for unit in prior["of"]:
                cycle = unit == "cycle_us"
                center *= 1 / self.platform.frequency_mhz if cycle else getattr(self.platform, unit)
            result[name] = (float(np.log(center)), spread * self._widen)
        return result

    def _figures(self, logarithms: Any) -> dict[str, Any]:
        """Figures of `Platform` from the free ones; one row of ``logarithms`` per candidate."""
        free = {name: np.exp(logarithms[:, i]) for i, name in enumerate(self._priors)}
        for ratio, (name, base) in RATIOS.items():
            if ratio in free:
                free[name] = free.pop(ratio) * free[base]
        free["exposed_share"] = np.minimum(1.0, free["exposed_share"])
        if READ in free:
            free[WRITE] = free[READ]
        return free

    def times(self, structure: Structure) -> Times:
        """The evaluator with one structure, for many figures at once."""
        if structure not in self._times:
            bandwidths = [row.bandwidth for row in self.published]
            self._times[structure] = Times(structure.of(self.platform), self.programs, bandwidths)
        return self._times[structure]

    def _item_errors(self, times: Times, time: Any, idle: Any, seen: Any) -> Any:
        """Logarithms of estimated over published items, one row per candidate."""
        columns = []
        for index, row in enumerate(self.published):
            if not seen[index]:
                continue
            maps = np.full(len(time), times.map_bytes[index])
            estimates = {
                "running": time[:, index] - idle[:, index],
                "idle": np.maximum(idle[:, index], 1e-9),
                "maps": maps,
                "dram": maps + times.weight_bytes[index],
            }
            columns += [np.log(value / row.items[item]) for item, value in estimates.items() if item in row.items]
        return np.stack(columns, axis=1) if columns else np.empty((len(time), 0))

    def fit(self, structure: Structure, without: str | None = None) -> Fit:
        """The figures with the least loss, for one structure, without one network."""
        times = self.times(structure)
        names = list(self._priors)
        center, spread = np.array(list(self._priors.values())).T
        seen = np.array([row.network != without for row in self.published])

        def errors(logarithms: Any) -> tuple[Any, Any]:
            time, idle = times(self._figures(np.atleast_2d(logarithms)))
            whole = np.log(time) - self._logarithms
            items = self._item_errors(times, time, idle, seen) / ITEM_NOISE
            return whole, np.concatenate([(whole * self._weights)[:, seen], items], axis=1)

        def residuals(logarithms: Any) -> Any:
            return np.concatenate([errors(logarithms)[1][0], (logarithms - center) / spread])

        def jacobian(logarithms: Any) -> Any:
            step = 1e-4
            stepped = errors(np.concatenate([logarithms[None], logarithms + step * np.eye(len(center))]))[1]
            return np.concatenate([((stepped[1:] - stepped[0]) / step).T, np.diag(1 / spread)])

        best = None
        for mode in MODES:
            start = center + spread * [mode.get(name, 0.0) for name in names]
            solution = least_squares(residuals, start, jac=jacobian, loss="soft_l1", xtol=1e-4, ftol=1e-4, max_nfev=40)
            if best is None or solution.cost < best.cost:
                best = solution
        figures = {name: float(value[0]) for name, value in self._figures(np.atleast_2d(best.x)).items()}
        unusual = (structure.strided_waste > 2) + (structure.waiting_maps == "share")
        return Fit(figures, float(best.cost) + UNUSUAL * unusual, errors(best.x)[0][0])


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came out for one platform.

    Attributes
    ----------
    rows : Rows
        The published rows.
    structure : Structure
        The structure with the least loss over its family.
    fit : Fit
        The figures fitted to all rows.
    left_out : list of float
        Relative error of every row when nothing had seen its network.
    chosen : list of Structure
        The structure chosen without that network.
    """

    rows: Rows
    structure: Structure
    fit: Fit
    left_out: list[float]
    chosen: list[Structure]

    @property
    def judged(self) -> list[int]:
        """Rows that count for medians and worst."""
        return judged(self.rows.platform.name, self.rows.published)

    @property
    def fitted(self) -> list[float]:
        """Relative error of every row with all rows fitted."""
        return [float(np.expm1(error)) for error in self.fit.errors]


def _choice(fits: Mapping[str, Mapping[Structure, Fit]]) -> dict[str, Structure]:
    """The structure of each platform of a family with the least loss in all, with one array for all of them."""
    best: dict[tuple[object, ...], dict[str, Structure]] = {}
    for name, shapes in fits.items():
        for shape in sorted(shapes, key=lambda each: shapes[each].loss):
            best.setdefault(shape.shared, {}).setdefault(name, shape)
    return min(best.values(), key=lambda choice: sum(fits[name][shape].loss for name, shape in choice.items()))


def calibrate(names: Sequence[str], networks: Path = DEFAULT_NETWORKS, widen: float = 1.0) -> dict[str, Calibration]:
    """Fit the named platforms, each together with its family, and leave out each network once, on all of them."""
    result = {}
    for family in FAMILIES:
        wanted = [name for name in family if name in names]
        if not wanted:
            continue
        rows = {name: Rows(load_platform(name), networks, widen) for name in family}
        fits = {name: {shape: rows[name].fit(shape) for shape in structures(rows[name].platform)} for name in family}
        chosen = _choice(fits)
        picks: dict[str, dict[str, tuple[Structure, Fit]]] = {name: {} for name in family}
        for network in dict.fromkeys(each for name in family for each in rows[name].networks):
            trials = {
                name: {shape: rows[name].fit(shape, without=network) for shape in fits[name]}
                if network in rows[name].networks
                else fits[name]
                for name in family
            }
            for name, shape in _choice(trials).items():
                picks[name][network] = shape, trials[name][shape]
        for name in wanted:
            found = [picks[name][row.network] for row in rows[name].published]
            left_out = [float(np.expm1(fit.errors[index])) for index, (_, fit) in enumerate(found)]
            shapes = [shape for shape, _ in found]
            result[name] = Calibration(rows[name], chosen[name], fits[name][chosen[name]], left_out, shapes)
    return result


def write(calibration: Calibration) -> None:
    """Put figures and structure into the data file of a platform, one figure a line as before."""
    name = calibration.rows.platform.name
    path = Path(ktc.hardware.__file__).parent / "data" / f"ip_config_{name}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    figures = document["figures"]
    for figure, value in calibration.fit.figures.items():
        figures[figure]["value"] = float(f"{value:.4g}")
    for figure, choice in dataclasses.asdict(calibration.structure).items():
        figures[figure]["value"] = choice
    errors = [100 * abs(calibration.left_out[index]) for index in calibration.judged]
    figures["expected_error_percent"]["value"] = round(statistics.median(errors), 1)
    figures["expected_error_worst_percent"]["value"] = round(max(errors), 1)
    head = [f"  {json.dumps(key)}: {json.dumps(document[key])}," for key in document if key != "figures"]
    rows = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in figures.items()]
    text = "\n".join(["{", *head, '  "figures": {', ",\n".join(rows), "  }", "}"])
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Fit, leave out, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="?", type=Path, default=DEFAULT_NETWORKS)
    parser.add_argument("--platform", action="append", choices=platform_names(), help="only this platform")
    parser.add_argument("--write", action="store_true", help="store the fitted values in ip_config_<platform>.json")
    parser.add_argument("--widen", type=float, default=1.0, help="factor on the spread of every prior")
    arguments = parser.parse_args()
    for calibration in calibrate(arguments.platform or platform_names(), arguments.networks, arguments.widen).values():
        platform, fit = calibration.rows.platform, calibration.fit
        print(f"\n{platform.title}: error in percent, fitted and left out   (loss {fit.loss:.2f})")
        for row, within, without, shape in zip(
            calibration.rows.published, calibration.fitted, calibration.left_out, calibration.chosen, strict=True
        ):
            changed = "" if shape == calibration.structure else f"   {shape}"
            print(f"{row.network:>36s} {row.version:>5s} {100 * within:+7.1f} {100 * without:+7.1f}{changed}")
        for label, errors in (("fitted", calibration.fitted), ("left out", calibration.left_out)):
            percents = [100 * abs(errors[index]) for index in calibration.judged]
            print(f"{label:>36s} median {statistics.median(percents):.1f}, worst {max(percents):.1f}")
        print(f"{'structure':>36s} {calibration.structure}")
        for figure, value in fit.figures.items():
            print(f"{figure:>36s} {value:.4g}   (in force: {getattr(platform, figure):.4g})")
        if arguments.write:
            write(calibration)


if __name__ == "__main__":
    main()
