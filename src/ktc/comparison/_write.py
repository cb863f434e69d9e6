"""Write every form of a comparison."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ktc._files import write_files
from ktc.comparison._html import render_html
from ktc.comparison._json import render_json
from ktc.comparison._text import render_text

if TYPE_CHECKING:
    from pathlib import Path

    from ktc.comparison._comparison import Comparison

__all__ = ["json_text", "write_comparison"]


def json_text(comparison: Comparison) -> str:
    """Render ``comparison.json``."""
    return json.dumps(render_json(comparison), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write ``comparison.html``, ``.json`` and ``.txt`` into a folder, all of them or none.

    Raises
    ------
    ConfigError
        The folder cannot be written to.
    """
    return write_files(
        folder,
        {
            "comparison.html": render_html(comparison),
            "comparison.json": json_text(comparison),
            "comparison.txt": render_text(comparison, None),
        },
    )
