"""Access to the data files of this package."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from ktc.errors import ConfigError

__all__ = ["data_file_names", "read_json", "read_text"]


@cache  # every look-up of a platform asks
def data_file_names() -> tuple[str, ...]:
    """Names of all files in ``ktc/hardware/data``, sorted."""
    return tuple(sorted(entry.name for entry in (resources.files("ktc.hardware") / "data").iterdir()))


def read_text(name: str) -> str:
    """Content of one data file."""
    return (resources.files("ktc.hardware") / "data" / name).read_text(encoding="utf-8")


def read_json(name: str) -> Any:
    """Parsed content of one JSON data file.

    Raises
    ------
    ConfigError
        The file is not JSON.
    """
    try:
        return json.loads(read_text(name))
    except json.JSONDecodeError as error:
        raise ConfigError(f"ktc/hardware/data/{name} is not valid JSON: {error}") from error
