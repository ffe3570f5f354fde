"""Watches the files of an open journal: nobody but its holder may change them.

A file that was deleted or replaced is still open here, and SQLite would write into it without an
error. But the next process would not find it. Everything here blocks on the disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs


if TYPE_CHECKING:
    from pathlib import Path


_EPOCH_AT: Final = 60
"""Where SQLite keeps ``user_version`` in a database file."""

_EPOCH_BYTES: Final = 4


def log_of(journal: Path) -> Path:
    """The path of the file in which SQLite keeps what is not in the database yet."""
    return journal.with_name(f"{journal.name}-wal")


@attrs.frozen
class Change:
    """What somebody else has done to a file.

    Attributes:
        words: It in words.
        log_is_missing: Whether only the name of the log is gone. Its content is still open here,
            and the database is as it was.
    """

    words: str
    log_is_missing: bool = False


class FileWatch:
    """Knows the files of one open journal, and what they looked like after the last write here.

    Args:
        journal: The path of the database.
        descriptor: A descriptor of it. It must be closed after SQLite has closed the database:
            closing it earlier would end SQLite's own lock.
    """

    def __init__(self, journal: Path, descriptor: int) -> None:
        self._journal, self._log = journal, log_of(journal)
        self._descriptor = descriptor
        self._seen: dict[Path, os.stat_result] = {}
        self._epoch = b""

    def begin(self) -> None:
        """Note what the files look like now. They hold everything, and the journal is locked.

        Raises:
            OSError: A file is not there.
        """
        self._seen = {path: path.stat() for path in (self._journal, self._log)}
        self._epoch = self._read_epoch()

    def change(self, *, written: bool = False) -> Change | None:
        """What somebody else has done to a file; ``None`` if nobody has done anything.

        Args:
            written: Whether this process has written since the last call, so that files may have
                grown. They never become smaller while the journal is open.
        """
        for path, before in self._seen.items():
            try:
                now = path.stat()
            except FileNotFoundError:
                words = f"{path.name} was deleted, moved or replaced while it was in use"
                return Change(words, log_is_missing=path == self._log)
            if not os.path.samestat(now, before):
                return Change(f"{path.name} was deleted, moved or replaced while it was in use")
            if not _may_be(now, before, written=written):
                return Change(
                    f"another program has changed {path.name}: it had {before.st_size} bytes, and "
                    f"has {now.st_size} now"
                )
            self._seen[path] = now
        if self._read_epoch() != self._epoch:
            return Change(f"another client has opened {self._journal.name} meanwhile")
        return None

    def harmless_to_close(self, *, written: bool) -> bool:
        """Whether closing the database harms nobody, wherever the files are by now.

        SQLite then moves the log into the database, and deletes the log by its path. So nobody else
        may have changed the database, and the log at that path may not be another's.

        Raises:
            OSError: The files cannot be looked at.
        """
        if self._read_epoch() != self._epoch or not _may_be(
            os.fstat(self._descriptor), self._seen[self._journal], written=written
        ):
            return False
        try:
            log = self._log.stat()
        except FileNotFoundError:
            return True
        before = self._seen[self._log]
        return os.path.samestat(log, before) and _may_be(log, before, written=written)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _read_epoch(self) -> bytes:
        os.lseek(self._descriptor, _EPOCH_AT, os.SEEK_SET)
        return os.read(self._descriptor, _EPOCH_BYTES)


def _may_be(now: os.stat_result, before: os.stat_result, *, written: bool) -> bool:
    """Whether a file has the size that it can have if only its holder has written."""
    return now.st_size == before.st_size or (written and now.st_size > before.st_size)
