"""Where results go when the caller does not say."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from ktc.errors import ConfigError

__all__ = ["output_folder"]

logger = logging.getLogger(__name__)

_FALLBACK = "kneron_flow"


def output_folder(folder: str | os.PathLike[str], documented_default: str) -> Path:
    """Choose the folder for results: one that exists or can be created, and can be written to. Creates nothing.

    The documented default lies at the root of a Docker image. Where it cannot be used, ``./kneron_flow``
    takes its place and one log line says so; a folder that the caller chose is never replaced.

    Parameters
    ----------
    folder : path
        What the caller gave, or the documented default.
    documented_default : str
        The default of the calling function.

    Raises
    ------
    ConfigError
        The folder cannot be created or written to.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ConfigError(f"output_dir={folder!r} is not a path; give the name of a folder.")
    path = Path(folder)
    try:
        return _usable(path)
    except OSError as error:
        if os.fspath(folder) != documented_default:
            raise ConfigError(
                f"{path}: results cannot be written there ({error.strerror or error}); "
                "choose a folder that you may write to."
            ) from error
    fallback = Path.cwd() / _FALLBACK
    try:
        _usable(fallback)
    except OSError as error:
        raise ConfigError(
            f"neither {path} nor {fallback} can be written to ({error.strerror or error}); "
            "give output_dir a folder that you may write to."
        ) from error
    logger.warning("%s cannot be used here; results go to %s", path, fallback)
    return fallback


def _usable(path: Path) -> Path:
    """Return ``path`` if it, or the nearest of its parents that exists, is a folder that can be written to."""
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    with tempfile.TemporaryFile(dir=existing):
        return path
