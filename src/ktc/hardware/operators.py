"""Operator support: which platform runs which ONNX operator, and under which numbered note."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ktc.errors import ConfigError
from ktc.hardware._data import read_json, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Support", "decompositions", "listed_operators", "note_conditions", "operator_support"]

_CELL = re.compile(r"(?P<verdict>[YN])(?::(?P<note>\d+))?")


@dataclass(frozen=True, slots=True)
class Support:
    """One cell of the operator table.

    Attributes
    ----------
    supported : bool
        The table says that the NPU runs the operator.
    note : int or None
        Number of the note whose condition also has to hold.
    """

    supported: bool
    note: int | None = None


@cache
def _table() -> Mapping[tuple[str, str], Support]:
    table: dict[tuple[str, str], Support] = {}
    for row in csv.DictReader(io.StringIO(read_text("operators.csv"))):
        operator = row.pop("operator")
        for platform, cell in row.items():
            match = _CELL.fullmatch(cell)
            if match is None:
                raise ConfigError(f"operators.csv: cell {cell!r} of {operator} on {platform} is not Y, N or Y:<note>")
            note = int(match["note"]) if match["note"] else None
            table[operator, platform] = Support(match["verdict"] == "Y", note)
    return MappingProxyType(table)


def operator_support(operator: str, platform: str) -> Support | None:
    """Look up one operator.

    Parameters
    ----------
    operator : str
        ONNX operator type, e.g. ``"Conv"``.
    platform : str
        Normalised platform name, e.g. ``"720"``.

    Returns
    -------
    Support or None
        None if the table does not list the operator.
    """
    return _table().get((operator, platform))


def listed_operators() -> tuple[str, ...]:
    """All operators of the table, in its order."""
    return tuple(dict.fromkeys(operator for operator, _ in _table()))


@cache
def note_conditions() -> Mapping[int, Mapping[str, Any]]:
    """The conditions behind the notes: note number -> ``{"text", "all", "any"}`` (see ``conditions.json``)."""
    notes = read_json("conditions.json")["notes"]
    return MappingProxyType({int(number): MappingProxyType(note) for number, note in notes.items()})


@cache
def decompositions() -> Mapping[str, Mapping[str, Any]]:
    """How compound operators are built from NPU operators: operator -> ``{"steps", "source"}``."""
    recipes = read_json("decompositions.json")["operators"]
    return MappingProxyType({name: MappingProxyType(recipe) for name, recipe in recipes.items()})
