"""Messages as one printable line."""

from __future__ import annotations

__all__ = ["first_line", "one_line"]


def one_line(text: str) -> str:
    """Replace line breaks and other unprintable characters (names in models are untrusted) by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def first_line(error: BaseException) -> str:
    """First line of an exception's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0]) if lines else type(error).__name__
