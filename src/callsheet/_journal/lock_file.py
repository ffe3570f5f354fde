"""The lock of a journal: a file beside it, which its one holder has locked.

SQLite's own lock is not enough. POSIX drops it when the process closes any descriptor of the
database, even one of ``open("shoot.db").read()``. The lock here belongs to one open file, so no
other open or close of either file ends it. The operating system releases it when the holder ends,
however it ends.

The file also names its holder. Every opener writes its own name there before it looks at the
database. So a holder that finds another name knows that its lock did not hold, as may happen on a
network share.

Everything here blocks on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import stat
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from pathlib import Path


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


MODE: Final = 0o600
"""The permissions of each file that is made: the owner alone reads and writes it."""

_LOCKED_BYTE: Final = 1 << 30
"""Where the lock is on Windows. Others cannot read a locked byte, so it is far behind the note."""


class InUseError(Exception):
    """Another process or client has the journal open. The text is for the user."""


class LockFile:
    """The lock of one journal.

    Attributes:
        path: The path of its file.
        note: What this client has written into it; no other client writes the same.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(f"{journal.name}-lock")
        self._journal = journal
        self._descriptor: int | None = None
        self.note = b""

    def acquire(self) -> None:
        """Lock the file, and write into it who holds it.

        Raises:
            InUseError: Another client has locked it.
            ConfigurationError: It cannot be made, written or locked.
        """
        try:
            while not self._lock():
                self.let_go()
            self._write_note()
        except InUseError:
            self.let_go()
            raise
        except OSError as exc:
            self.release()
            words = exc.strerror or str(exc)
            if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                words += ": it, or its folder, is read-only"
            raise ConfigurationError(
                f"journal {self._journal} cannot be opened: {self.path.name}, the file that locks "
                f"it, cannot be used ({words})"
            ) from exc

    def loss(self) -> str:
        """In words, why the lock may be another's by now, if its file is not what it was.

        Raises:
            OSError: The file cannot be read.
        """
        found = self._read()
        if found is None:
            return f"{self.path.name}, the file that locks it, was deleted or moved"
        return f"{_named(found)} has opened it, too: the lock of this client did not hold"

    def taken(self) -> bool:
        """Whether the file at the path is another's.

        Raises:
            OSError: The file cannot be read.
        """
        return self._read() not in {None, self.note}

    def release(self) -> None:
        """Remove the file if it is still this client's, and release the lock."""
        if self._descriptor is None:
            return
        # Removed while it is locked, or it may be the file of the next holder by now.
        with contextlib.suppress(OSError):
            ours = self.note != b"" and self._read() == self.note
            if sys.platform == "win32":  # cannot remove an open file, nor one that another has open
                self.let_go()
            if ours:
                self.path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the descriptor. The lock stays with a process that this one was forked from."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _read(self) -> bytes | None:
        try:
            if not stat.S_ISREG(self.path.lstat().st_mode):  # reading a pipe would never end
                return b""
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def _in_use(self) -> InUseError:
        """The error that says who holds the journal."""
        try:
            who = _named(self._read() or b"")
        except OSError:
            who = _named(b"")
        return InUseError(
            f"journal {self._journal} is in use by {who}; close that one first, or wait until "
            "it ends: Client(journal_timeout=SECONDS) does"
        )

    def _lock(self) -> bool:
        """Lock the file; return ``False`` if it was removed meanwhile."""
        self._descriptor = descriptor = _open(self.path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if not _lock(descriptor):
            raise self._in_use()
        try:
            # The last holder removes it. Then the lock is on a file that nobody else finds.
            return os.path.samestat(self.path.lstat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _write_note(self) -> None:
        row = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.time(),
            "id": secrets.token_hex(8),  # two hosts may have the same name
        }
        self.note = json.dumps(row).encode()
        assert self._descriptor is not None  # noqa: S101 - for the type checkers
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        if os.write(self._descriptor, self.note) < len(
            self.note
        ):  # the disk became full on the way
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _named(note: bytes) -> str:
    """The holder that a note names, in words."""
    try:
        row = json.loads(note)
        pid, host = int(row["pid"]), str(row["host"])
        since = datetime.fromtimestamp(row["since"], UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
    here = pid == os.getpid() and host == socket.gethostname()
    who = "another client of this process" if here else "process"
    return f"{who} {pid} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC"


_FLAGS: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def _open(path: Path) -> int:
    """Open the file, or make it."""
    while True:
        try:
            return os.open(path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:
            pass
        with contextlib.suppress(FileExistsError):
            return make_private(path)


def make_private(path: Path) -> int:
    """Make a file that only its owner can read and write; return a descriptor.

    Raises:
        FileExistsError: There is something at the path already, even a link that leads nowhere.
        OSError: It cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, MODE)
    if sys.platform != "win32" and stat.S_IMODE(os.fstat(descriptor).st_mode) != MODE:
        with contextlib.suppress(OSError):  # a file system without permissions
            os.fchmod(descriptor, MODE)  # the umask has taken the owner's own rights
    return descriptor


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        """Lock an open file; return ``False`` if it is locked already."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _lock(descriptor: int) -> bool:
        """Lock an open file; return ``False`` if it is locked already."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
                return False
            raise
        return True
