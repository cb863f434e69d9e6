"""Figures and names as readable, single-line text."""

from __future__ import annotations

import math
import unicodedata

__all__ = ["NOT_AVAILABLE", "count", "digits", "megabytes", "plain", "roughly", "single_line"]

NOT_AVAILABLE = "N/A"

# Control, format (among them: bidirectional overrides), surrogate, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def single_line(text: str) -> str:
    r"""Escape every character that would break a line, reorder it, or not show at all.

    Names come from models that we did not write: a newline in one could otherwise forge a line of the
    report.

    >>> single_line("a\nkdp720/ip_eval/fps: 9999")
    'a\\nkdp720/ip_eval/fps: 9999'
    """
    if text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def digits(value: float, significant: int = 6) -> str:
    """Print a number with so many significant digits, never with an exponent.

    >>> digits(15.4), digits(0.000123456789), digits(1234567.8), digits(0.0)
    ('15.4000', '0.000123457', '1234568', '0')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    return f"{value:.{max(0, significant - 1 - math.floor(math.log10(abs(value))))}f}"


def count(value: float) -> str:
    """Print a whole number with thousands separators.

    >>> count(1605632)
    '1,605,632'
    """
    return f"{value:,.0f}"


def megabytes(value: float) -> str:
    """Print bytes as MB (10^6 bytes), as bandwidths count them."""
    return f"{digits(value / 1e6, 4)} MB"


def plain(value: object) -> str:
    """Print the value of a figure: a number with six digits, a text, or texts in a row.

    >>> plain(3.8), plain(576), plain(["Relu", "Clip"])
    ('3.8', '576', 'Relu, Clip')
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def roughly(value: float) -> str:
    """Print the order of magnitude of a number: one digit that counts.

    >>> roughly(1234.5), roughly(0.00062), roughly(0.0)
    ('1000', '0.0006', '0')
    """
    return digits(float(f"{value:.1g}"), 1)
