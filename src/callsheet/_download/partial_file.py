"""The file beside a video's place, which holds what has arrived of it so far.

A part that could be resumed is kept when a download is left, together with a mark: the validator
(``ETag`` or ``Last-Modified``) that tells whether the host still has the same bytes. A part
without a mark, as a killed process leaves it, is not trusted and is begun again. All of this holds
after a power cut, too.
"""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.define
class PartialFile:
    """One unfinished file; every method blocks and belongs in a worker thread.

    Attributes:
        target: Where the finished file goes.
        validator: What the host said about the version that is being fetched.
        size: Bytes on disk.
    """

    target: Path
    validator: str | None = None
    size: int = 0
    _file: FileIO | None = None

    @property
    def path(self) -> Path:
        """The part's own place."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def _mark(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part.etag")

    def open(self) -> None:
        """Open the part, going on where an earlier fetch left it if that can be told."""
        if self.target.is_dir():
            raise IsADirectoryError(None, "is a directory", str(self.target))
        try:
            validator = self._mark.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            validator = ""
        self._mark.unlink(missing_ok=True)
        if validator:
            self._sync_folder()
        # unbuffered, or a full disk would be told once more by close()
        self._file = self.path.open("ab" if validator else "wb", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        self.validator = validator if self.size else None

    def restart(self) -> None:
        """Throw away what has arrived."""
        file = self._opened()
        file.seek(0)
        file.truncate()
        self.size, self.validator = 0, None

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append *chunks*."""
        file = self._opened()
        try:
            for chunk in chunks:
                left = memoryview(chunk)
                while left:
                    left = left[file.write(left) :]
        finally:  # on a full disk a piece of it may have been written
            self.size = os.fstat(file.fileno()).st_size

    def finish(self) -> None:
        """Put the file in its place, at once and whole."""
        file = self._opened()
        os.fsync(file.fileno())
        file.close()
        self.path.replace(self.target)
        self._sync_folder()

    def leave(self, *, keep: bool) -> None:
        """Close; *keep* what can be resumed, remove everything else."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a part without its mark is begun again
            with contextlib.closing(self._file):
                if keep and self.size and self.validator:
                    os.fsync(self._file.fileno())
                    self._mark.write_text(self.validator, "ascii")
                    return
            self.path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        with contextlib.suppress(OSError):  # not every system can, Windows for one
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _opened(self) -> FileIO:
        assert self._file is not None, "open() comes first"  # noqa: S101 - for the type checkers
        return self._file
