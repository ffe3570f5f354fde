"""Checks of a journal's path before it is opened. Everything here blocks."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from pathlib import Path


_SMALLEST_DATABASE: Final = 512
"""Bytes. No SQLite database is smaller."""

LONGEST_PATH: Final = 504
"""Bytes of the longest path that SQLite opens. Its own limit is 512, and includes the ending of a
file beside the database."""

_LONGEST_ENDING: Final = "-journal"
"""SQLite makes files with this ending, too, while it makes the database."""


def has_content(path: Path) -> bool:
    """Whether the file exists and is not empty, so that it must be checked before it is written.

    Raises:
        ConfigurationError: The path cannot be that of a journal.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"journal {path}: there is no folder {path.parent}")
    _check_length(path)
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


def _check_length(path: Path) -> None:
    """Check that SQLite can open the path. It would only say that it cannot, and leave a file.

    Raises:
        ConfigurationError: The path or the name is too long.
    """
    too_long = f"journal {path} cannot be opened: its {{}} is too long, choose a shorter one"
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ConfigurationError(too_long.format("path"))
    try:
        path.with_name(f"{path.name}{_LONGEST_ENDING}").lstat()
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            raise ConfigurationError(too_long.format("name")) from exc


def writable(path: Path) -> bool:
    """Whether the file can be written, and new files in its folder."""
    places = [path.parent, *([path] if path.exists() else [])]
    return all(os.access(place, os.W_OK) for place in places)
