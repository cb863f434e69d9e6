"""The axes of a comparison or sweep, as callers give them: models, platforms, named settings."""

from __future__ import annotations

import dataclasses
import numbers
import os
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktc.errors import ConfigError
from ktc.evaluator.settings import EvaluationSettings
from ktc.hardware.platform import normalise_platform
from ktc.hardware.user_config import ENVIRONMENT_VARIABLE, configured_platform

__all__ = [
    "DEFAULT_NAME",
    "PLATFORMS",
    "Setting",
    "check_ip_configs",
    "file_name",
    "model_name",
    "parse_platforms",
    "parse_settings",
]

#: All platforms, in the order of the documentation.
PLATFORMS = ("520", "720", "530", "630", "730")

_ARGUMENTS = {field.name: field.default for field in dataclasses.fields(EvaluationSettings)}
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of an evaluation, and what to call them.

    Attributes
    ----------
    name : str
        What to call them.
    settings : EvaluationSettings
        The settings.
    ip_config : str, dict or None
        Figures of the user's own, as ``ModelConfig.evaluate`` takes them; those that the environment names are here.
    """

    name: str
    settings: EvaluationSettings
    ip_config: str | dict[str, Any] | None = None


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
        Arguments of ``ModelConfig.evaluate`` (without ``output_dir`` and ``advice``), and ``input_fmt``. In a list,
        ``"name"`` names an entry; else it is named after what differs from the defaults. In a dict, the keys are the
        names. None is the defaults.

    Raises
    ------
    ConfigError
        An argument is unknown or neither a text nor a number, a name is given twice, or there are none. What a platform
        makes of the values is not checked here.
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
    given = values.pop("ip_config", None)
    if unknown := [key for key in values if key not in _ARGUMENTS]:
        raise ConfigError(
            f"settings: {unknown[0]!r} is not known; allowed are name, {', '.join(_ARGUMENTS)}, ip_config."
        )
    values = {key: _plain(key, value) for key, value in values.items()}
    if name is None:
        changed = {key: value for key, value in values.items() if value != _ARGUMENTS[key]}
        changed |= {} if given is None else {"ip_config": given}
        try:
            name = ", ".join(f"{key}={value}" for key, value in changed.items()) or DEFAULT_NAME
        except ValueError:  # a whole number of thousands of digits has no text
            raise ConfigError("settings: a figure of ip_config is too large; give a smaller one.") from None
    if not isinstance(name, str) or not name:
        raise ConfigError(f"settings: the name {name!r} is not a text.")
    return Setting(name, EvaluationSettings(**values), _ip_config(given))


def _plain(argument: str, value: Any) -> Any:
    """A value that has a short text and can be compared: None, text, or a number that a float can hold."""
    if not isinstance(value, (str, int, float, numbers.Real, type(None))):
        raise ConfigError(f"settings: {argument} is a {type(value).__name__}; give a text, a number or None.")
    if value is None or isinstance(value, (str, float)):
        return value
    try:
        number = float(value)
    except OverflowError:
        raise ConfigError(f"settings: {argument} is a number that is too large; give a smaller one.") from None
    return value if isinstance(value, int) else number


def _ip_config(given: object) -> str | dict[str, Any] | None:
    """Figures of the user's own as they can travel to another process; None where there are none."""
    chosen = given if given is not None else os.environ.get(ENVIRONMENT_VARIABLE) or None
    if chosen is None:
        return None
    if isinstance(chosen, Mapping):
        return dict(chosen)
    path = os.fspath(chosen) if isinstance(chosen, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ConfigError(f"ip_config={reprlib.repr(chosen)} is neither a path nor a mapping of figures.")
    return path


def check_ip_configs(platforms: Iterable[str], settings: Iterable[Setting]) -> None:
    """Refuse figures of the user's own that are valid for no platform; for some platforms they may be missing.

    Raises
    ------
    ConfigError
        What is wrong with them on the first platform.
    """
    for setting in settings:
        errors: list[ConfigError | None] = []
        for platform in platforms:
            try:
                configured_platform(platform, setting.ip_config)
                errors.append(None)
            except ConfigError as error:
                errors.append(error)
        if errors[0] is not None and None not in errors:
            raise errors[0]


def model_name(model: object) -> str:
    """What ``ModelConfig`` would call a model: the file's or the graph's name."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model).stem
    name = getattr(getattr(model, "graph", None), "name", "")
    return name if isinstance(name, str) and name else "model"


def file_name(model: object) -> str | None:
    """The file of a model, as messages name it; None for a model in memory."""
    return os.fsdecode(model) if isinstance(model, (str, os.PathLike)) else None
