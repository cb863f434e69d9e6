"""Outlines for SVG, in few characters: one path draws a whole lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktc.report._timeline import Bar

__all__ = ["area", "bars", "number"]


def number(value: float) -> str:
    """Print a coordinate with two decimals at most.

    >>> number(12.0), number(0.125), number(-0.001)
    ('12', '0.12', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def bars(items: Iterable[Bar], total_ms: float) -> str:
    """Return the path of a lane, 1000 wide and 10 high; bars that are busy for a part of their time are lower."""
    return "".join(
        f"M{number(1000 * bar.start_ms / total_ms)} 10h{number(1000 * (bar.end_ms - bar.start_ms) / total_ms)}"
        f"v{number(-10 * bar.fill)}H{number(1000 * bar.start_ms / total_ms)}z"
        for bar in items
    )


def area(lower: Sequence[float], upper: Sequence[float], highest: float) -> str:
    """Return the path of the area between two step lines, one unit a value wide and 100 high."""
    return _steps(lower, highest, "M") + _steps(upper, highest, "L", backwards=True) + "z"


def _steps(values: Sequence[float], highest: float, begin: str, *, backwards: bool = False) -> str:
    """Return a step line through the values, which goes on only where they change."""
    count = len(values)
    order = range(count - 1, -1, -1) if backwards else range(count)
    path, last = "", ""
    for index in order:
        height = number(100 - 100 * values[index] / highest)
        if height != last:
            edge = index + 1 if backwards else index
            path += f"H{edge}V{height}" if path else f"{begin}{edge} {height}"
            last = height
    return f"{path}H{0 if backwards else count}"
