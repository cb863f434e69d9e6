"""A platform: the typed, read-only view of ``data/ip_config_<platform>.json``."""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, cast, get_args, get_type_hints

from ktc.errors import ConfigError
from ktc.hardware._data import data_file_names, read_json

__all__ = [
    "SHARES",
    "Confidence",
    "Figure",
    "Platform",
    "TapRule",
    "WaitingMaps",
    "load_platform",
    "normalise_platform",
    "parse_platform",
    "platform_names",
]

Confidence = Literal["stated", "derived", "inferred", "fitted", "user"]
TapRule = Literal["square_blocks_3x3", "rows_of_3", "groups_of_9"]
WaitingMaps = Literal["share", "leave"]

_SHARE = "share"  # in place of a type
#: Figures between 0 and 1, both included.
SHARES = frozenset({"exposed_share"})
_CONFIG_NAME = re.compile(r"ip_config_(\w+)\.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One fact about a platform.

    Attributes
    ----------
    value : object
        Number, text, list of texts or mapping of texts.
    unit : str
        Unit of the value; ``"1"`` for pure numbers, ``"-"`` for texts.
    source : str
        Where the value comes from.
    confidence : {"stated", "derived", "inferred", "fitted", "user"}
        Stated by a source, computed from one, a reading that may be wrong, fitted to published times, or given by
        the user.
    """

    value: Any
    unit: str
    source: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything the frontend and the evaluator know about one NPU.

    Attributes
    ----------
    name, title : str
        ``"720"`` and ``"KL720"``.
    frequency_mhz : float
        Clock of the MAC array.
    macs_per_cycle : float
        Peak of the MAC array, 8 bit.
    theoretical_spatial_macs_per_cycle, theoretical_pointwise_macs_per_cycle : float
        Full rate of convolutions with a spatial kernel and of 1x1 convolutions (also fully connected).
    theoretical_depthwise_macs_per_cycle : float
        Full rate of depthwise convolutions.
    conv_macs_per_cycle, pointwise_macs_per_cycle : float
        Sustained rate of convolutions with a spatial kernel and of 1x1 convolutions, in padded MACs.
    depthwise_macs_per_cycle, depthwise_wide_macs_per_cycle : float
        Sustained rate of depthwise convolutions with kernels up to 3 rows or columns, and above.
    lanes, input_channel_block, output_channel_block : int
        Output columns, input channels and output channels are padded to multiples of these.
    tap_rule : {"square_blocks_3x3", "rows_of_3", "groups_of_9"}
        How the taps of a kernel fill the array.
    strided_waste : float
        Factor on the MAC cycles of convolutions with a stride above 1, at most the positions that are skipped: of a
        stride of 2x2, 4 where both directions are computed in full, 2 where one is.
    outputs_per_cycle : float
        Results that leave the array in a cycle at most.
    activation_16bit_factor, weight_16bit_factor, weight_4bit_factor : float
        Factors on MAC cycles for 16-bit activations, 16-bit weights and 4-bit weights.
    node_overhead_us : float
        Time of one command node, in us.
    layout_passes : float
        Passes of the auxiliary unit that moving data to another layout takes, over the bytes written.
    layout_operators : tuple of str
        ONNX operators that only move data and cost ``layout_passes``.
    weight_bandwidth, read_bandwidth, write_bandwidth : float
        DMA rates for weights and for feature maps, in GB/s (10^9 bytes per second).
    auxiliary_bandwidth : float
        Rate of elementwise, resize and unfused pooling units, in GB/s of 8-bit elements.
    feature_memory_bytes : float
        On-chip memory for feature maps, in bytes.
    resident_maps : bool
        Feature maps stay on chip from node to node where they fit; if not, each passes through DRAM.
    waiting_maps : {"share", "leave"}
        Feature maps that wait for a later node share the memory with those at work in proportion, or leave it where
        not everything fits.
    exposed_share : float
        Share of the weight loading that computing cannot hide, 0 to 1: the first weights of a node have to be there
        before it starts.
    fused_activations : tuple of str
        Activations that cost nothing behind a convolution.
    datapath_modes, weight_modes, io_modes, compiler_tilings : tuple of str
        Allowed values of the documented arguments.
    selectable_input_format : bool
        ``input_fmt`` is available.
    ioinfo_csv : bool
        The list of inputs and outputs is written as ``ioinfo.csv`` rather than ``ioinfo.json``.
    mix_light_channels : int
        "mix light" computes Conv with at most this many input or output channels in 16 bit.
    mix_balance_channels : int
        "mix balance" computes Conv and Gemm with more than this many input and output channels in 8 bit.
    image_format, plane_format, inner_format : Mapping of str to str
        Data layout for ``"8"`` and ``"16"`` bits: images of 3 or 4 channels, single planes and outputs,
        tensors between NPU nodes.
    cpu_core : str
        Type of the host core that CPU nodes run on.
    cpu_frequency_mhz : float
        Its clock.
    cpu_macs_per_cycle, cpu_elements_per_cycle, cpu_functions_per_cycle : float
        Rates of one core: multiply-accumulates, values of elementwise operators, elementary functions.
    cpu_bandwidth : float
        DRAM rate of one core, in GB/s.
    expected_error_percent, expected_error_worst_percent : float
        Median and worst error of the estimated time over networks left out of the fit, in percent.
    figures : Mapping of str to Figure
        The same facts with unit, source and confidence.
    """

    name: str
    title: str
    frequency_mhz: float
    macs_per_cycle: float
    theoretical_spatial_macs_per_cycle: float
    theoretical_pointwise_macs_per_cycle: float
    theoretical_depthwise_macs_per_cycle: float
    conv_macs_per_cycle: float
    pointwise_macs_per_cycle: float
    depthwise_macs_per_cycle: float
    depthwise_wide_macs_per_cycle: float
    lanes: int
    input_channel_block: int
    output_channel_block: int
    tap_rule: TapRule
    strided_waste: float
    outputs_per_cycle: float
    activation_16bit_factor: float
    weight_16bit_factor: float
    weight_4bit_factor: float
    node_overhead_us: float
    layout_passes: float
    layout_operators: tuple[str, ...]
    weight_bandwidth: float
    read_bandwidth: float
    write_bandwidth: float
    auxiliary_bandwidth: float
    feature_memory_bytes: float
    resident_maps: bool
    waiting_maps: WaitingMaps
    exposed_share: float
    fused_activations: tuple[str, ...]
    datapath_modes: tuple[str, ...]
    weight_modes: tuple[str, ...]
    io_modes: tuple[str, ...]
    compiler_tilings: tuple[str, ...]
    selectable_input_format: bool
    ioinfo_csv: bool
    mix_light_channels: int
    mix_balance_channels: int
    image_format: Mapping[str, str]
    plane_format: Mapping[str, str]
    inner_format: Mapping[str, str]
    cpu_core: str
    cpu_frequency_mhz: float
    cpu_macs_per_cycle: float
    cpu_elements_per_cycle: float
    cpu_functions_per_cycle: float
    cpu_bandwidth: float
    expected_error_percent: float
    expected_error_worst_percent: float
    figures: Mapping[str, Figure]


def platform_names() -> tuple[str, ...]:
    """Names of all platforms that have a data file, e.g. ``("520", "530", ...)``."""
    matches = (_CONFIG_NAME.fullmatch(name) for name in data_file_names())
    return tuple(match[1] for match in matches if match)


def normalise_platform(name: str | int) -> str:
    """Turn ``720``, ``"720"``, ``"KL720"`` or ``"kdp720"`` into ``"720"``.

    Raises
    ------
    ConfigError
        Not the name of a platform.
    """
    known = platform_names()
    if isinstance(name, (str, int)) and not isinstance(name, bool):
        text = str(name).strip().lower()
        for prefix in ("kl", "kdp"):
            text = text.removeprefix(prefix)
        if text in known:
            return text
    raise ConfigError(f"platform={name!r} is not a Kneron platform; allowed are {', '.join(known)}.")


@cache
def _load(name: str) -> Platform:
    return parse_platform(read_json(f"ip_config_{name}.json"), f"ip_config_{name}.json")


def load_platform(name: str | int) -> Platform:
    """Load the figures of one platform.

    Parameters
    ----------
    name : str or int
        Any spelling that `normalise_platform` accepts.

    Raises
    ------
    ConfigError
        No such platform, or its data file is invalid.
    """
    return _load(normalise_platform(name))


def parse_platform(document: object, origin: str) -> Platform:
    """Validate the content of an ``ip_config`` file.

    Parameters
    ----------
    document : object
        Parsed JSON: ``{"platform", "title", "figures": {name: {"value", "unit", "source", "confidence"}}}``.
    origin : str
        Name of the file, for messages.

    Raises
    ------
    ConfigError
        A key is missing or unknown, or a value has the wrong type or range.
    """
    if not isinstance(document, dict) or not isinstance(document.get("figures"), dict):
        raise ConfigError(f"{origin}: a platform needs the keys platform, title and figures.")
    figures = {key: _figure(entry, f"{origin}: {key}") for key, entry in document["figures"].items()}
    hints = get_type_hints(Platform)
    wanted = [f.name for f in dataclasses.fields(Platform) if f.name not in ("name", "title", "figures")]
    if missing := [key for key in wanted if key not in figures]:
        raise ConfigError(f"{origin}: missing figures {', '.join(missing)}.")
    if unknown := [key for key in figures if key not in wanted]:
        raise ConfigError(f"{origin}: unknown figures {', '.join(unknown)}.")
    values = {
        key: _typed(figures[key].value, _SHARE if key in SHARES else hints[key], f"{origin}: {key}") for key in wanted
    }
    return Platform(
        name=cast("str", _typed(document.get("platform"), str, f"{origin}: platform")),
        title=cast("str", _typed(document.get("title"), str, f"{origin}: title")),
        figures=MappingProxyType(figures),
        **values,
    )


def _figure(entry: object, where: str) -> Figure:
    names = {field.name for field in dataclasses.fields(Figure)}
    if not isinstance(entry, dict) or set(entry) != names:
        raise ConfigError(f"{where}: a figure has exactly the keys {', '.join(sorted(names))}.")
    for key in ("unit", "source", "confidence"):
        _typed(entry[key], str, f"{where}.{key}")
    if entry["confidence"] not in get_args(Confidence):
        raise ConfigError(f"{where}: confidence is one of {', '.join(get_args(Confidence))}.")
    return Figure(**entry)


def _typed(value: object, kind: Any, where: str) -> Any:
    """``value`` as the annotated type ``kind``, or ConfigError."""
    if kind == _SHARE and isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and _is_positive(value) and (kind is float or isinstance(value, int)):
        return value
    if kind is str and isinstance(value, str) and value:
        return value
    if get_args(kind) and isinstance(value, str) and value in get_args(kind):
        return value
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind == Mapping[str, str] and isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return MappingProxyType(value)
    raise ConfigError(f"{where} is {reprlib.repr(value)}, but has to be {_words(kind)}.")


def _words(kind: Any) -> str:
    if kind == _SHARE:
        return "a number from 0 to 1"
    names = {float: "a positive number", int: "a positive whole number", str: "a text", bool: "true or false"}
    if kind in names:
        return names[kind]
    if kind == tuple[str, ...]:
        return "a list of texts"
    return "an object of texts" if kind == Mapping[str, str] else f"one of {', '.join(map(repr, get_args(kind)))}"


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
