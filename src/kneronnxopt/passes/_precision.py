"""When two constants may be merged into one without a change beyond rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["are_moderate", "is_moderate", "is_representable", "keeps_precision"]

#: Exponent within which products of a few numbers can neither overflow nor underflow in float32.
_LIMIT = 2.0**40


def is_moderate(array: np.ndarray[Any, Any]) -> bool:
    """Whether the largest number is finite and neither huge nor tiny, or all are zero."""
    peak = float(np.abs(array).max(initial=0.0))
    return peak == 0.0 or 1 / _LIMIT <= peak <= _LIMIT


def are_moderate(array: np.ndarray[Any, Any]) -> bool:
    """Whether each number is, none is 0, and there are some."""
    size = np.abs(array)
    return array.size > 0 and is_moderate(size.min()) and is_moderate(size.max()) and bool((size > 0).all())


def is_representable(product: np.ndarray[Any, Any], factor: np.ndarray[Any, Any]) -> bool:
    """Whether a product in double precision neither overflows nor underflows in the precision of its factor."""
    limits = np.finfo(factor.dtype)
    small = np.abs(product) < limits.tiny
    lost = small & (product != 0) & (np.abs(factor) >= limits.tiny if factor.shape == product.shape else True)
    return bool((np.abs(product) <= limits.max).all() and not lost.any())


def keeps_precision(product: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether a result in double precision fits ``dtype``: moderate, and nothing in it turns denormal."""
    size = np.abs(product)
    return is_moderate(product) and not ((size < float(np.finfo(dtype).tiny)) & (size > 0)).any()
