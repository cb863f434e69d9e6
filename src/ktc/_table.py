"""Tables as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["text_table"]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """Align cells in columns, with two spaces between them; every cell has to be one line.

    Parameters
    ----------
    header : sequence of str
        One title a column.
    rows : sequence of sequence of str
        One cell a column.
    names : int
        So many columns, from the left, are aligned to the left; the others to the right.
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        (
            cell.ljust(width) if index < names else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)
