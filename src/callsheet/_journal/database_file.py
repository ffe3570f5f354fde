"""The place on disk where a journal is, or is going to be; everything here blocks."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from pathlib import Path


_SMALLEST_DATABASE: Final = 512
"""Bytes; no database is smaller."""


def has_content(path: Path) -> bool:
    """Whether there is a file that must be looked at before it is touched.

    Raises:
        ConfigurationError: There is something that can be no journal.
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
    if 0 < found.st_size < _SMALLEST_DATABASE:  # SQLite would take it for an empty database
        raise ConfigurationError(f"{path} is no journal; it was left as it is")
    return found.st_size > 0


def inode_of(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def writable(path: Path) -> bool:
    """Whether the file and those beside it can be written."""
    places = [path.parent, *([path] if path.exists() else [])]
    return all(os.access(place, os.W_OK) for place in places)
