"""Advice that is checked: changes that were made to the model, evaluated, and found to help."""

from __future__ import annotations

from ktc.advice._advice import Advice, Advised
from ktc.advice._api import advise

__all__ = ["Advice", "Advised", "advise"]
