"""Fit the figures and the structure of the platforms to their published times, and measure left-out errors.

Run ``python benchmarks/calibrate.py [--platform 720] [--write]`` (about two minutes for all; the structure is
chosen for KL720, KL530, KL630 and KL730 together, so one of them needs the others).

Free are the figures of ``data/priors.json`` that no source states; no figure belongs to a network.  The loss is
the logarithm of estimated over published time, in units of the source's own noise, plus the distance of every
figure from its prior in units of the prior's spread, both robust (soft L1).  The structure (tap rule, blocks of
lanes and channels, what overlaps) is the one with the least loss.

A left-out error is the error of a published time whose row nothing has seen: the figures of its platform and the
structure are fitted again without it.  It is better than a forecast would be: the form of the model and the priors
were chosen among about a dozen variants with all rows known and left-out errors in view.  ``--widen 2`` doubles the
spread of every prior, to show how much rests on them: the worst left-out errors then grow to 26 % on KL720, 43 % on
KL630 (YOLOv5s) and 29 % on KL730 (Lite-HRNet).

Needs scipy (it comes with scikit-learn, one of the development
dependencies).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from scipy.optimize import least_squares
from vectorised import RATES, Times

import ktc.hardware
from ktc.frontend import lower
from ktc.hardware import load_platform, platform_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ktc.frontend import Program
    from ktc.hardware import Platform

ROOT = Path(__file__).resolve().parent
DEFAULT_NETWORKS = ROOT.parent / "tests" / "data" / "zoo"
TABLE = ROOT / "data" / "published_performance.csv"
CURRENT_VERSION = "0.27"
OLDER_ROWS = ("efficientnet_b0_relu_no_se_224",)  # of an older tool, but the only 5x5 depthwise kernels
OUTLIERS = {("530", "unet_384")}  # an outlier of the source: four times slower than its own rate elsewhere
FAMILIES = (("520",), ("720", "530", "630", "730"))  # platforms with the same array; KL520's has cells of 3x3
NEAR = 15.0  # loss above the best structure's beyond which no single row can make a structure the best
NOISE = 0.05  # differences between versions of the source are 2 to 8 %
MODES = ({}, {"auxiliary_bandwidth": -1.0, "layout_passes": 2.0})  # starts of a fit, in spreads from the prior
READ, WRITE = "read_bandwidth", "write_bandwidth"  # nothing published tells reading from writing
CONV, POINTWISE, NARROW, WIDE = RATES
RATIOS = {"pointwise_ratio": (POINTWISE, CONV), "depthwise_wide_ratio": (WIDE, NARROW)}


@dataclass(frozen=True, slots=True)
class Structure:
    """What is chosen, not fitted; names as in `Platform`."""

    overlap: str
    tap_rule: str
    lanes: int
    input_channel_block: int
    output_channel_block: int

    def of(self, platform: Platform) -> Platform:
        """The platform with this structure."""
        return dataclasses.replace(platform, **dataclasses.asdict(self))


def structures(family: tuple[str, ...]) -> Iterator[Structure]:
    """The grid of structures of a family."""
    taps = ("square_blocks_3x3",) if family == ("520",) else ("rows_of_3", "groups_of_9")
    for choice in itertools.product(("max(C,W), D", "C, W+D"), taps, (1, 4), (1, 4), (8, 16)):
        yield Structure(*choice)


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
        self.networks: list[str] = []
        self.versions: list[str] = []
        published, self._programs = [], []
        with TABLE.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                current = row["toolchain_version"] == CURRENT_VERSION or row["network"] in OLDER_ROWS
                outlier = (platform.name, row["network"]) in OUTLIERS
                if row["platform"] != platform.name or not current or outlier:
                    continue
                model = onnx.load(str(networks / f"{row['network']}.onnx"), load_external_data=False)
                self._programs.append(lower(model, platform))
                self.networks.append(row["network"])
                self.versions.append(row["toolchain_version"])
                published.append(float(row["time_ms"]))
        self.published = np.array(published)
        self._weights = np.array([1.0 if version == CURRENT_VERSION else 0.5 for version in self.versions])
        self._times: dict[Structure, Times] = {}

    @cached_property
    def programs(self) -> Sequence[Program]:
        """The networks, lowered."""
        return tuple(self._programs)

    @cached_property
    def _priors(self) -> dict[str, tuple[float, float]]:
        """Logarithmic centre and spread of every free figure."""
        document = json.loads((ROOT / "data" / "priors.json").read_text(encoding="utf-8"))["figures"]
        result = {}
        for name, prior in document.items():
            figure = self.platform.figures.get(RATIOS.get(name, (name,))[0])
            if figure is not None and figure.confidence == "stated":
                continue
            center, spread = (
                prior[key][self.platform.name] if isinstance(prior[key], dict) else prior[key]
                for key in ("center", "spread")
            )
            for unit in prior["of"]:
                cycle = unit == "cycle_us"
                center *= 1 / self.platform.frequency_mhz if cycle else getattr(self.platform, unit)
            result[name] = (float(np.log(center)), spread * self._widen)
        return result

    def _figures(self, logarithms: Any) -> dict[str, Any]:
        """Figures of `Platform` from the free ones; one row of ``logarithms`` per candidate."""
        free = {name: np.exp(logarithms[:, i]) for i, name in enumerate(self._priors)}
        for ratio, (name, base) in RATIOS.items():
            free[name] = free.pop(ratio) * free[base]
        free["exposed_share"] = np.minimum(1.0, free["exposed_share"])
        if READ in free:
            free[WRITE] = free[READ]
        return free

    def fit(self, structure: Structure, without: int | None = None) -> Fit:
        """The figures with the least loss, for one structure, without one row."""
        if structure not in self._times:
            self._times[structure] = Times(structure.of(self.platform), self.programs)
        times = self._times[structure]
        names = list(self._priors)
        center, spread = np.array(list(self._priors.values())).T
        seen = np.arange(len(self.published)) != without

        def errors(logarithms: Any) -> Any:
            return np.log(times(self._figures(np.atleast_2d(logarithms))) / self.published)

        def residuals(logarithms: Any) -> Any:
            weighted = (errors(logarithms)[0] * self._weights)[seen] / NOISE
            return np.concatenate([weighted, (logarithms - center) / spread])

        def jacobian(logarithms: Any) -> Any:
            step = 1e-4
            stepped = errors(np.concatenate([logarithms[None], logarithms + step * np.eye(len(center))]))
            slopes = ((stepped[1:] - stepped[0]) / step).T * self._weights[:, None] / NOISE
            return np.concatenate([slopes[seen], np.diag(1 / spread)])

        best = None
        for mode in MODES:
            start = center + spread * [mode.get(name, 0.0) for name in names]
            solution = least_squares(residuals, start, jac=jacobian, loss="soft_l1", xtol=1e-4, ftol=1e-4, max_nfev=30)
            if best is None or solution.cost < best.cost:
                best = solution
        figures = {name: float(value[0]) for name, value in self._figures(np.atleast_2d(best.x)).items()}
        return Fit(figures, float(best.cost), errors(best.x)[0])


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
        Relative error of every row when nothing had seen it.
    chosen : list of Structure
        The structure chosen without that row.
    """

    rows: Rows
    structure: Structure
    fit: Fit
    left_out: list[float]
    chosen: list[Structure]

    @property
    def fitted(self) -> list[float]:
        """Relative error of every row with all rows fitted."""
        return [float(np.expm1(error)) for error in self.fit.errors]


def calibrate(names: Sequence[str], networks: Path = DEFAULT_NETWORKS, widen: float = 1.0) -> dict[str, Calibration]:
    """Fit the named platforms, each together with its family, and leave out each row once."""
    result = {}
    for family in FAMILIES:
        wanted = [name for name in family if name in names]
        if not wanted:
            continue
        rows = {name: Rows(load_platform(name), networks, widen) for name in family}
        fits = {name: {shape: rows[name].fit(shape) for shape in structures(family)} for name in family}
        total = {shape: sum(fits[name][shape].loss for name in family) for shape in structures(family)}
        best = min(total, key=lambda shape: total[shape])
        near = [shape for shape, loss in total.items() if loss < total[best] + NEAR]
        for name in wanted:
            others = [fits[other] for other in family if other != name]
            left_out, chosen = [], []
            for index in range(len(rows[name].networks)):
                trials = {shape: rows[name].fit(shape, without=index) for shape in near}
                pick = min(trials, key=lambda shape: trials[shape].loss + sum(fit[shape].loss for fit in others))
                left_out.append(float(np.expm1(trials[pick].errors[index])))
                chosen.append(pick)
            result[name] = Calibration(rows[name], best, fits[name][best], left_out, chosen)
    return result


def judged(calibration: Calibration) -> list[int]:
    """Rows that count for medians and worst: of the current tool, without SRCNN (the only thin network)."""
    rows = calibration.rows
    return [
        index
        for index, (network, version) in enumerate(zip(rows.networks, rows.versions, strict=True))
        if version == CURRENT_VERSION and network != "srcnn_384"
    ]


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
    errors = [100 * abs(calibration.left_out[index]) for index in judged(calibration)]
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
        for network, within, without, shape in zip(
            calibration.rows.networks, calibration.fitted, calibration.left_out, calibration.chosen, strict=True
        ):
            changed = "" if shape == calibration.structure else f"   {shape}"
            print(f"{network:>36s} {100 * within:+7.1f} {100 * without:+7.1f}{changed}")
        for label, errors in (("fitted", calibration.fitted), ("left out", calibration.left_out)):
            percents = [100 * abs(errors[index]) for index in judged(calibration)]
            print(f"{label:>36s} median {statistics.median(percents):.1f}, worst {max(percents):.1f}")
        print(f"{'structure':>36s} {calibration.structure}")
        for figure, value in fit.figures.items():
            print(f"{figure:>36s} {value:.4g}   (in force: {getattr(platform, figure):.4g})")
        if arguments.write:
            write(calibration)


if __name__ == "__main__":
    main()
