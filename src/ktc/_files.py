"""Write a set of files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from ktc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write_files"]


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> tuple[Path, ...]:
    r"""Write files into a folder: all of them are prepared first, then all are renamed into place.

    A file of the same name is replaced in one step. If anything fails, no partial and no temporary
    file stays behind, and files that were there before keep their contents unless the operating
    system refuses one of the final renames.

    Parameters
    ----------
    folder : Path
        Created, with its parents, if it does not exist.
    contents : mapping of str to str or bytes
        File name, without folders, to contents. Text is written as UTF-8, newlines as they are, and
        lone surrogates (of file names that are not UTF-8) as ``\udcff``.

    Returns
    -------
    tuple of Path
        The files written, in the order of `contents`.

    Raises
    ------
    ConfigError
        The folder cannot be created or written to; the message names it, the reason and the remedy.
    ValueError
        A name in `contents` is not a plain file name.
    """
    for name in contents:
        if name in {"", ".", ".."} or "\0" in name or Path(name).name != name:
            raise ValueError(f"{name!r} is not a plain file name.")
    data = {
        name: text.encode(errors="backslashreplace") if isinstance(text, str) else text
        for name, text in contents.items()
    }
    try:
        return _write(Path(folder), data)
    except OSError as error:
        raise _refusal(folder, _reason(error)) from error
    except ValueError as error:  # a null character in the path: Python refuses it before the system can
        raise _refusal(folder, str(error)) from error


def _write(folder: Path, data: Mapping[str, bytes]) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    prepared: dict[Path, Path] = {}  # temporary file -> its final place
    try:
        for name, content in data.items():
            target = folder / name
            if target.is_dir():  # os.replace would refuse too, but only after other files were renamed
                raise IsADirectoryError(0, f"{name} in it is a folder", str(target))
            temporary = folder / f".{secrets.token_hex(8)}.tmp"
            prepared[temporary] = target
            with temporary.open("xb") as stream:  # mode bits follow the umask, unlike those of mkstemp
                stream.write(content)
        for temporary, target in prepared.items():
            os.replace(temporary, target)  # noqa: PTH105  (the tests make this very call fail)
    finally:
        for temporary in prepared:
            # After a rename there is nothing to remove; a folder that vanished has nothing left in it.
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    return tuple(prepared.values())


def _reason(error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename} is a file, not a folder"
    return error.strerror or str(error)


def _refusal(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"Cannot write into the folder {str(folder)!r} ({reason}): "
        "give an output_dir that can be created and written to."
    )
