"""When two constants may be merged into one without a change beyond rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["is_moderate", "keeps_precision"]

#: Exponent within which products of a few numbers can neither overflow nor underflow in float32.
_LIMIT = 2.0**40


def is_moderate(array: np.ndarray[Any, Any]) -> bool:
    """Whether the largest number is finite and neither huge nor tiny, or all are zero."""
    peak = float(np.abs(array).max(initial=0.0))
    return peak == 0.0 or 1 / _LIMIT <= peak <= _LIMIT


def keeps_precision(product: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether a result in double precision fits ``dtype``: moderate, and nothing in it turns denormal."""
    size = np.abs(product)
    return is_moderate(product) and not ((size < float(np.finfo(dtype).tiny)) & (size > 0)).any()
