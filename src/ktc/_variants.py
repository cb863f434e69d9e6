"""The axes of a comparison or sweep, as callers give them: models, platforms, named settings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktc._models import checked_model, read_model
from ktc.errors import ConfigError
from ktc.evaluator.settings import EvaluationSettings
from ktc.hardware.platform import normalise_platform

if TYPE_CHECKING:
    import onnx

__all__ = ["PLATFORMS", "Setting", "load", "model_name", "parse_platforms", "parse_settings"]

#: All platforms, in the order of the documentation.
PLATFORMS = ("520", "720", "530", "630", "730")

_ARGUMENTS = {field.name: field.default for field in dataclasses.fields(EvaluationSettings)}
_DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of an evaluation, and what to call them."""

    name: str
    settings: EvaluationSettings


def parse_platforms(platforms: object) -> tuple[str, ...]:
    """Normalise platform names, each once, in the order given.

    Raises
    ------
    ConfigError
        There is none, or one is not the name of a platform.
    """
    if isinstance(platforms, (str, int)):
        platforms = (platforms,)
    if not isinstance(platforms, Iterable):
        raise ConfigError(f"platforms={platforms!r} is not a list of platforms; give some of {', '.join(PLATFORMS)}.")
    names = tuple(dict.fromkeys(normalise_platform(name) for name in platforms))
    if not names:
        raise ConfigError(f"platforms is empty; give some of {', '.join(PLATFORMS)}.")
    return names


def parse_settings(settings: object) -> tuple[Setting, ...]:
    """Read named settings.

    Parameters
    ----------
    settings : list of dict, dict of dict, or None
        Arguments of ``ModelConfig.evaluate`` (without ``output_dir``), and ``input_fmt``. In a list, ``"name"``
        names an entry; else it is named after what differs from the defaults. In a dict, the keys are the names.
        None is the defaults.

    Raises
    ------
    ConfigError
        An argument is unknown, a name is given twice, or there are no settings. What a platform makes of the
        values is not checked here.
    """
    if settings is None:
        settings = ({},)
    entries: list[tuple[object, object]]
    if isinstance(settings, Mapping):
        entries = list(settings.items())
    elif isinstance(settings, Iterable) and not isinstance(settings, (str, bytes)):
        entries = [(item.get("name") if isinstance(item, Mapping) else None, item) for item in settings]
    else:
        raise ConfigError(f"settings={settings!r} is not a list of dicts; give for example [{{}}].")
    result = tuple(_setting(name, arguments) for name, arguments in entries)
    if not result:
        raise ConfigError("settings is empty; give at least one dict, for example [{}], or None.")
    names = [setting.name for setting in result]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f'two settings are called {twice!r}; give each its own "name".')
    return result


def _setting(name: object, arguments: object) -> Setting:
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"settings: {arguments!r} is not a dict of arguments of evaluate.")
    values: dict[str, Any] = {key: value for key, value in arguments.items() if key != "name"}
    if unknown := [key for key in values if key not in _ARGUMENTS]:
        raise ConfigError(f"settings: {unknown[0]!r} is not known; allowed are name, {', '.join(_ARGUMENTS)}.")
    if name is None:
        changed = {key: value for key, value in values.items() if value != _ARGUMENTS[key]}
        name = ", ".join(f"{key}={value}" for key, value in changed.items()) or _DEFAULT_NAME
    if not isinstance(name, str) or not name:
        raise ConfigError(f"settings: the name {name!r} is not a text.")
    return Setting(name, EvaluationSettings(**values))


def model_name(model: object) -> str:
    """What ``ModelConfig`` would call a model: the file's or the graph's name."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model).stem
    name = getattr(getattr(model, "graph", None), "name", "")
    return name if isinstance(name, str) and name else "model"


def load(model: onnx.ModelProto | str | os.PathLike[str], argument: str) -> onnx.ModelProto:
    """Read and check a model from a path, or check one in memory.

    Raises
    ------
    ConfigError
        It is neither.
    ModelError
        It is not valid ONNX.
    """
    if isinstance(model, (str, os.PathLike)):
        return read_model(model, argument)
    return checked_model(model, argument)
