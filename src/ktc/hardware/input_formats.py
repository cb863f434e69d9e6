"""The documented values of ``input_fmt``: NPU data layouts of model inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ktc.errors import ConfigError
from ktc.hardware._data import read_json

__all__ = ["InputFormat", "input_format", "input_formats"]


@dataclass(frozen=True, slots=True)
class InputFormat:
    """One row of the documented table.

    Attributes
    ----------
    id : int
        Number in the toolchain's manual.
    name : str
        Name, e.g. ``"4W4C8B"``.
    bits : int
        Width of one element, in bits.
    storage_bits : int
        Bits one element takes in memory (a 15-bit "HL" value takes 16, a 24-bit value 24).
    columns, channels : int
        Columns and channels of one entry: width and channels are padded to multiples of these.
    """

    id: int
    name: str
    bits: int
    storage_bits: int
    columns: int
    channels: int


@cache
def input_formats() -> tuple[InputFormat, ...]:
    """All documented formats, by id."""
    return tuple(InputFormat(**row) for row in read_json("input_formats.json")["formats"])


@cache
def _by_key() -> dict[str | int, InputFormat]:
    return {key: row for row in reversed(input_formats()) for key in (row.name, row.id)}


def input_format(key: str | int) -> InputFormat:
    """Look up a format by its name or id.

    Raises
    ------
    ConfigError
        No such format; the message lists all names.
    """
    if isinstance(key, (str, int)) and not isinstance(key, bool) and key in _by_key():
        return _by_key()[key]
    names = ", ".join(f"{row.name} ({row.id})" for row in input_formats())
    raise ConfigError(f"input_fmt={key!r} is not a documented format; allowed are {names}.")
