"""Checks of the documented arguments against what a platform can do."""

from __future__ import annotations

import numbers
import reprlib
from typing import TYPE_CHECKING

from ktc.errors import ConfigError
from ktc.hardware.input_formats import input_format
from ktc.hardware.user_config import LARGEST_FIGURE, SMALLEST_FIGURE

if TYPE_CHECKING:
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.hardware.platform import Platform

__all__ = ["check_settings"]

_TILINGS = ("default", "deep_search")


def check_settings(settings: EvaluationSettings, platform: Platform) -> None:
    """Refuse settings that the documentation does not allow on a platform.

    Raises
    ------
    ConfigError
        One sentence with the argument, the value and what is allowed.
    """
    allowed = {
        "datapath_bitwidth_mode": platform.datapath_modes,
        "weight_bitwidth_mode": platform.weight_modes,
        "model_in_bitwidth_mode": platform.io_modes,
        "model_out_bitwidth_mode": platform.io_modes,
        "cpu_node_bitwidth_mode": platform.io_modes,
    }
    for argument, modes in allowed.items():
        _choice(argument, getattr(settings, argument), modes, f" on {platform.title}")
    _choice("compiler_tiling", settings.compiler_tiling, _TILINGS, "")
    for argument in ("weight_bandwidth", "dma_bandwidth"):
        _bandwidth(argument, getattr(settings, argument))
    if settings.input_fmt is None:
        return
    if not platform.selectable_input_format:
        raise ConfigError(
            f"input_fmt={settings.input_fmt!r} is not available on {platform.title}; only None is allowed there."
        )
    input_format(settings.input_fmt)


def _choice(argument: str, value: object, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{argument}={value!r} is not available{where}; allowed: {', '.join(map(repr, allowed))}.")


def _bandwidth(argument: str, value: object) -> None:
    if value is None:
        return
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # numpy's scalars are real numbers too
    if not number or not SMALLEST_FIGURE <= value <= LARGEST_FIGURE:  # type: ignore[operator]
        raise ConfigError(
            f"{argument}={reprlib.repr(value)} is not a positive number of GB/s; allowed: None or a number "
            f"between {SMALLEST_FIGURE:g} and {LARGEST_FIGURE:g}."
        )
