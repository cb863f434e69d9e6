"""Arguments that commands share: platforms, settings, destinations."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ktc._folders import output_folder
from ktc._variants import PLATFORMS
from ktc.errors import ConfigError
from ktc.hardware.platform import normalise_platform
from ktc.hardware.user_config import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    import argparse

__all__ = [
    "add_axes",
    "add_platform",
    "check_destination",
    "chosen_platforms",
    "chosen_settings",
    "models_among_options",
]

#: Option -> argument of ``ModelConfig.evaluate``.
_SETTINGS = {
    "datapath": "datapath_bitwidth_mode",
    "weight": "weight_bitwidth_mode",
    "tiling": "compiler_tiling",
    "weight-bandwidth": "weight_bandwidth",
    "dma-bandwidth": "dma_bandwidth",
}
_VALUE = re.compile(r"(kl|kdp)?[0-9.]*|int[0-9]+|mix [a-z]+|default|deep_search", re.IGNORECASE)
_EXAMPLES = {
    "datapath": "int8,int16",
    "weight": "int8,int4",
    "tiling": "default,deep_search",
    "weight-bandwidth": "1,2 (GB/s)",
    "dma-bandwidth": "1,2 (GB/s)",
}


def add_platform(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the argument ``platform``, in any spelling that `normalise_platform` takes."""
    parser.add_argument("platform", type=_platform, choices=PLATFORMS, help=text)


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add ``--platform`` and the settings; each takes several values, with commas or spaces between them."""
    parser.add_argument(
        "--platform",
        nargs="+",
        action="extend",
        metavar="PLATFORM",
        help=f"platforms, e.g. 720,730 (default: {','.join(PLATFORMS)})",
    )
    for option, argument in _SETTINGS.items():
        example = _EXAMPLES[option]
        parser.add_argument(
            f"--{option}",
            dest=option,
            nargs="+",
            action="extend",
            metavar="VALUE",
            help=f"values of {argument}, e.g. {example}",
        )
    parser.add_argument(
        "--ip-config",
        metavar="PATH",
        help="file, or folder of files ip_config_<platform>.json, with figures in place of the packaged ones "
        f"(default: what the environment variable {ENVIRONMENT_VARIABLE} names)",
    )


def models_among_options(options: argparse.Namespace) -> list[str]:
    """Take files and folders out of the options' values: an option takes all words that follow it."""
    taken = []
    for option in ("platform", *_SETTINGS):
        words = getattr(options, option) or []
        models = [word for word in words if _names_a_model(word)]
        setattr(options, option, [word for word in words if word not in models])
        taken += models
    return taken


def chosen_platforms(options: argparse.Namespace) -> list[str]:
    """Return the platforms that were asked for, by default all."""
    return _values(options.platform) or list(PLATFORMS)


def chosen_settings(options: argparse.Namespace) -> list[dict[str, str | float]]:
    """Return every combination of the settings that were asked for, named after the options.

    Raises
    ------
    ConfigError
        A bandwidth is not a number.
    """
    given = {option: values for option in _SETTINGS if (values := _values(getattr(options, option)))}
    result: list[dict[str, str | float]] = []
    for combination in itertools.product(*given.values()):
        pairs = dict(zip(given, combination, strict=True))
        setting = {_SETTINGS[option]: _typed(option, value) for option, value in pairs.items()}
        if pairs:
            setting["name"] = " ".join(f"{option}={value}" for option, value in pairs.items())
        if options.ip_config is not None:
            setting = {"name": "default"} | setting | {"ip_config": options.ip_config}
        result.append(setting)
    return result


def check_destination(path: str, option: str) -> Path:
    """Refuse a file that could not be written, before any work is done.

    Raises
    ------
    ConfigError
        It is a folder, or its own folder cannot be created or written to.
    """
    target = Path(path)
    if not target.name or os.path.isdir(target):  # noqa: PTH112  (Path.is_dir raises where a name is too long)
        raise ConfigError(f"{path}: is a folder; give {option} the name of a file.")
    output_folder(target.parent, "")
    return target


def _platform(word: str) -> str:
    try:
        return normalise_platform(word)
    except ConfigError:
        return word  # which is none of the choices, as argparse says


def _names_a_model(word: str) -> bool:
    """Whether a word is a path; a folder called ``720`` in the current one does not make 720 a path."""
    if word.lower().endswith(".onnx") or "/" in word:
        return True
    return not all(_VALUE.fullmatch(part.strip()) for part in word.split(",")) and os.path.exists(word)  # noqa: PTH110


def _typed(option: str, value: str) -> str | float:
    if not option.endswith("bandwidth"):
        return value
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"--{option} {value!r} is not a number of GB/s; give for example 2.5.") from None


def _values(words: list[str] | None) -> list[str]:
    parts = (part.strip() for word in words or () for part in word.split(","))
    return list(dict.fromkeys(part for part in parts if part))
