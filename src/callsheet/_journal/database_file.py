"""Checks of a journal's path before it is opened. Everything here blocks."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from pathlib import Path


_SMALLEST_DATABASE: Final = 512
"""Bytes. No SQLite database is smaller."""


def has_content(path: Path) -> bool:
    """Whether the file exists and is not empty, so that it must be checked before it is written.

    Raises:
        ConfigurationError: The path cannot be that of a journal.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"journal {path}: there is no folder {path.parent}")
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ConfigurationError(f"journal {path} cannot be opened: it is {what}")
    if found.st_nlink > 1:  # the log and the lock of another name would be other files
        raise ConfigurationError(
            f"journal {path} cannot be opened: the file has {found.st_nlink} names (hard links), "
            "and clients that open it by different names do not see each other; remove the other "
            "names, or copy it to a file of its own"
        )
    if 0 < found.st_size < _SMALLEST_DATABASE:  # SQLite would treat it as an empty database
        raise ConfigurationError(f"{path} is no journal; it was left as it is")
    return found.st_size > 0


def writable(path: Path) -> bool:
    """Whether the file can be written, and new files in its folder."""
    places = [path.parent, *([path] if path.exists() else [])]
    return all(os.access(place, os.W_OK) for place in places)
