"""What is known about each NPU: figures with source and confidence, operator support, data layouts."""

from __future__ import annotations

from ktc.hardware.input_formats import InputFormat, input_format, input_formats
from ktc.hardware.operators import Support, operator_support
from ktc.hardware.platform import Figure, Platform, load_platform, normalise_platform, platform_names
from ktc.hardware.user_config import UserFigure, configured_platform, user_figures

__all__ = [
    "Figure",
    "InputFormat",
    "Platform",
    "Support",
    "UserFigure",
    "configured_platform",
    "input_format",
    "input_formats",
    "load_platform",
    "normalise_platform",
    "operator_support",
    "platform_names",
    "user_figures",
]
