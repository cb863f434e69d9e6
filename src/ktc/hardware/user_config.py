"""Figures of the user's own in place of packaged ones: ``ip_config_<platform>.json`` files and mappings."""

from __future__ import annotations

import difflib
import json
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktc.errors import ConfigError
from ktc.hardware.platform import SHARES, Figure, Platform, load_platform, parse_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "LARGEST_FIGURE",
    "SMALLEST_FIGURE",
    "UserFigure",
    "configuration_in_force",
    "configured_platform",
    "user_figures",
]

ENVIRONMENT_VARIABLE = "KTC_IP_CONFIG"

_NAME = re.compile(r"ip_config_(\w+)\.json")
_MAX_BYTES = 1 << 20  # a complete file has about 10 KiB
_DOCUMENT_KEYS = frozenset({"schema_version", "comment", "platform", "title", "figures"})
_FIGURE_KEYS = frozenset({"value", "unit", "source", "confidence"})
_JSON_TYPES = (bool, int, float, str, list, dict, type(None))
SMALLEST_FIGURE, LARGEST_FIGURE = 1e-9, 1e15  # far outside of what any chip has, and no result overflows
#: What the documentation says a platform can do is not for the user to change.
_DOCUMENTED = frozenset(
    {"datapath_modes", "weight_modes", "io_modes", "compiler_tilings", "selectable_input_format", "ioinfo_csv"}
    | {"image_format", "plane_format", "inner_format"}
)
#: A rate of the MAC array -> those that it bounds.
_BOUNDED_RATES = {
    "macs_per_cycle": (
        "theoretical_spatial_macs_per_cycle",
        "theoretical_pointwise_macs_per_cycle",
        "theoretical_depthwise_macs_per_cycle",
    ),
    "theoretical_spatial_macs_per_cycle": ("conv_macs_per_cycle",),
    "theoretical_pointwise_macs_per_cycle": ("pointwise_macs_per_cycle",),
    "theoretical_depthwise_macs_per_cycle": ("depthwise_macs_per_cycle", "depthwise_wide_macs_per_cycle"),
}


@dataclass(frozen=True, slots=True)
class UserFigure:
    """A figure that is not the packaged one.

    Attributes
    ----------
    name : str
        Name of the figure, e.g. ``"read_bandwidth"``.
    value, packaged : float, str or list of str
        The value in force, and that of the package.
    unit : str
        Unit of both.
    source : str
        Where the value in force comes from.
    """

    name: str
    value: float | str | list[str]
    packaged: float | str | list[str]
    unit: str
    source: str


def configured_platform(
    name: str | int, ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None
) -> Platform:
    """Load a platform, with the user's own figures where there are any.

    Parameters
    ----------
    name : str or int
        Any spelling that `normalise_platform` accepts.
    ip_config : path or mapping, optional
        A file, a folder with files ``ip_config_<platform>.json``, or the content of a file: figure names to values,
        or a document as in ``ktc/hardware/data``, complete or not.  A value stands alone or as
        ``{"value": ..., "unit": ..., "source": ...}``.  None takes what the environment variable ``KTC_IP_CONFIG``
        names, if it is set.  Figures that are not given stay as packaged, and so does a platform that a folder has
        no file for.

    Returns
    -------
    Platform
        Nothing of it is kept for the next call.

    Raises
    ------
    ConfigError
        No such platform, no such file, or a figure that is unknown, not for the user to change, or has a wrong type,
        unit or range.
    """
    packaged = load_platform(name)
    chosen = configuration_in_force(ip_config)
    if chosen is None:
        return packaged
    if isinstance(chosen, Mapping):
        return _merged(packaged, chosen, "ip_config")
    if not isinstance(chosen, (str, os.PathLike)):
        raise ConfigError(f"ip_config={reprlib.repr(chosen)} is neither a path nor a mapping of figures.")
    path = Path(chosen)
    files = _files(path)
    if files is not None:
        if not files:
            raise ConfigError(f"{path}: the folder has no file ip_config_<platform>.json, such as ip_config_720.json.")
        path = path / f"ip_config_{packaged.name}.json"
        if path not in files:
            return packaged
    elif (match := _NAME.fullmatch(path.name)) and match[1] != packaged.name:
        raise ConfigError(f"{path}: is for KL{match[1]} by its name, but {packaged.title} is evaluated.")
    return _merged(packaged, _read(path), str(path))


def configuration_in_force(
    ip_config: str | os.PathLike[str] | Mapping[str, Any] | None,
) -> str | os.PathLike[str] | Mapping[str, Any] | None:
    """``ip_config``, or what the environment variable ``KTC_IP_CONFIG`` names if it is None."""
    return ip_config if ip_config is not None else os.environ.get(ENVIRONMENT_VARIABLE) or None


def user_figures(platform: Platform) -> tuple[UserFigure, ...]:
    """The figures of a platform that differ from the packaged ones."""
    if platform is load_platform(platform.name):
        return ()
    packaged = load_platform(platform.name).figures
    return tuple(
        UserFigure(name, figure.value, packaged[name].value, figure.unit, figure.source)
        for name, figure in platform.figures.items()
        if figure.value != packaged[name].value
    )


def _files(folder: Path) -> list[Path] | None:
    """Configuration files in a folder; None if it is not a folder."""
    try:
        if not folder.is_dir():
            return None
        return [entry for entry in sorted(folder.iterdir()) if _NAME.fullmatch(entry.name)]
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{folder}: cannot be read ({reason}).") from error


def _read(path: Path) -> object:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: no such configuration file or folder.")
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path}: is larger than {_MAX_BYTES} bytes, so it is no ip_config file.")
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=lambda pairs: _unique(pairs, path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply to be an ip_config file.") from error
    except ConfigError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise ConfigError(f"{path}: is not valid JSON ({error}).") from error


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}: the key {reprlib.repr(twice)} stands there twice.")
    return result


def _merged(packaged: Platform, document: object, origin: str) -> Platform:
    """The packaged platform with the figures of a document."""
    if not isinstance(document, Mapping):
        raise ConfigError(f"{origin}: has to be an object of figures, such as {{'read_bandwidth': 4.0}}.")
    figures = {name: asdict(figure) for name, figure in packaged.figures.items()}
    for name, given in _given(packaged, document, origin):
        value, source = _plain(name, given, packaged, origin)
        before = packaged.figures[name].value
        if value == before and isinstance(value, bool) == isinstance(before, bool):
            continue
        if name in _DOCUMENTED:
            raise ConfigError(
                f"{origin}: {name} is what the documentation says of {packaged.title}, not a figure to change; "
                "leave it out."
            )
        figures[name] |= {"value": value, "source": source, "confidence": "user"}
    merged = {"platform": packaged.name, "title": packaged.title, "figures": figures}
    platform = parse_platform(merged, origin)
    _check_rates(platform, origin)
    return platform


def _check_rates(platform: Platform, origin: str) -> None:
    """Refuse a rate above the one that bounds it: more than the whole array would be in use."""
    for bound, rates in _BOUNDED_RATES.items():
        for rate in rates:
            if getattr(platform, rate) > getattr(platform, bound):
                raise ConfigError(
                    f"{origin}: {rate} is {getattr(platform, rate):g}, but has to be at most {bound}, "
                    f"which is {getattr(platform, bound):g}; change either of them."
                )


def _given(packaged: Platform, document: Mapping[Any, Any], origin: str) -> Iterator[tuple[str, Any]]:
    """Names and entries of the figures in a document, all of them known names."""
    figures: object = document
    if "figures" in document:
        figures = document["figures"]
        if unknown := [key for key in document if key not in _DOCUMENT_KEYS]:
            raise ConfigError(f"{origin}: unknown key {reprlib.repr(unknown[0])} beside figures.")
        if not isinstance(figures, Mapping):
            raise ConfigError(f"{origin}: figures has to be an object of figures.")
        for key, wanted in (("platform", packaged.name), ("title", packaged.title), ("schema_version", 1)):
            if document.get(key, wanted) != wanted:
                raise ConfigError(
                    f"{origin}: {key} is {reprlib.repr(document[key])}, but {packaged.title} is evaluated, "
                    f"which needs {wanted!r}."
                )
    assert isinstance(figures, Mapping)
    for name, given in figures.items():
        if name not in packaged.figures:
            near = difflib.get_close_matches(str(name), packaged.figures, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(packaged.figures)}."
            raise ConfigError(f"{origin}: unknown figure {reprlib.repr(name)}; {hint}")
        yield name, given


def _plain(name: str, given: object, packaged: Platform, origin: str) -> tuple[Any, str]:
    """Value and source of an entry, which is a bare value or an object."""
    figure: Figure = packaged.figures[name]
    source = f"user configuration {origin}"
    if isinstance(given, Mapping) and ("value" in given or not isinstance(figure.value, dict)):
        if unknown := [key for key in given if key not in _FIGURE_KEYS]:
            raise ConfigError(
                f"{origin}: {name} has the unknown key {reprlib.repr(unknown[0])}; there are value, unit and source."
            )
        if "value" not in given:
            raise ConfigError(f"{origin}: {name} has no value.")
        if given.get("unit", figure.unit) != figure.unit:
            raise ConfigError(
                f"{origin}: {name} has the unit {reprlib.repr(given['unit'])}, but has to be in {figure.unit}."
            )
        source = given.get("source", source)
        given = given["value"]
    if not isinstance(given, _JSON_TYPES):
        raise ConfigError(f"{origin}: {name} is a {type(given).__name__}, but has to be a plain number or text.")
    for text in (given, source):
        if not _is_text(text):
            raise ConfigError(f"{origin}: {name} has {reprlib.repr(text)}, which is not valid text (a lone surrogate).")
    number = given if isinstance(given, (int, float)) and not isinstance(given, bool) else None
    if number is not None and name not in SHARES and not SMALLEST_FIGURE <= number <= LARGEST_FIGURE:
        raise ConfigError(
            f"{origin}: {name} is {reprlib.repr(given)}, but has to be a positive number "
            f"between {SMALLEST_FIGURE:g} and {LARGEST_FIGURE:g}."
        )
    return given, source


def _is_text(value: object) -> bool:
    """Whether the texts in a plain value can be written as UTF-8."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return all(_is_text(part) for pair in value.items() for part in pair)
    return all(map(_is_text, value)) if isinstance(value, (list, tuple)) else True
