"""The file of a copy of a journal: whole under its name, or not there. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING, Final

from callsheet._journal.lock_file import make_private
from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


_BESIDE: Final = ("-wal", "-journal", "-shm", "-lock")
"""What SQLite and the lock add to the name of a journal, for the files beside it."""

_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""How a file system says that it has no hard links."""


@contextlib.contextmanager
def new_copy(path: Path, journal: Path) -> Generator[Path]:
    """An empty file for a copy, which gets its name when the block has filled it.

    If the block raises, nothing stays.

    Args:
        path: The name of the copy. A file that is there already is never replaced.
        journal: The path of the journal.

    Raises:
        ConfigurationError: The copy cannot have that name, or cannot be written.
    """
    try:
        path = path.parent.resolve() / path.name
        _check_name(path, journal)
        # Its name tells what it is, in case the process is killed meanwhile.
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        os.close(make_private(part))
        try:
            yield part
            _flush(part)
            _rename(part, path)
            _flush(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as exc:
        words = exc.strerror if isinstance(exc, OSError) else None
        raise ConfigurationError(f"copy {path} cannot be written: {words or exc}") from exc


def _check_name(path: Path, journal: Path) -> None:
    beside = [path, *(path.with_name(path.name + end) for end in _BESIDE)]
    for each in beside:  # SQLite would take a log beside the copy for the log of the copy
        if os.path.lexists(each):
            raise FileExistsError(errno.EEXIST, f"{each} exists already")
    if path.parent == journal.parent and path.name in {journal.name + end for end in _BESIDE}:
        raise FileExistsError(errno.EEXIST, f"this name belongs to journal {journal}")


def _flush(path: Path) -> None:
    """Write the content of a file, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except PermissionError:  # Windows opens no folders
        if not path.is_dir():
            raise
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(part: Path, path: Path) -> None:
    """Give a file its name, if nothing has that name meanwhile."""
    try:
        path.hardlink_to(part)  # unlike a rename, this never replaces a file
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, f"{path} exists already") from None
        part.rename(path)
