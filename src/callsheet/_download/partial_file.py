"""The part file, next to the finished file's place: it holds the bytes that have arrived so far.

When a download stops, a part that can be resumed is kept, and so is its validator (``ETag`` or
``Last-Modified``), in a file of its own. The validator tells whether the host still has the same
bytes. A part without a validator file, such as a killed process leaves, is begun again. All of this
holds after a power cut, too.
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
    """One unfinished file. Every method blocks, so call it in a worker thread.

    Attributes:
        target: The finished file.
        validator: The host's ``ETag`` or ``Last-Modified`` of the bytes in the part.
        size: Bytes on disk.
    """

    target: Path
    validator: str | None = None
    size: int = 0
    _file: FileIO | None = None

    @property
    def path(self) -> Path:
        """The part file."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def _validator_path(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part.etag")

    def open(self) -> None:
        """Open the part, and keep the bytes of an earlier download if it has a validator."""
        if self.target.is_dir():
            raise IsADirectoryError(None, "is a directory", str(self.target))
        try:
            validator = self._validator_path.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            validator = ""
        self._validator_path.unlink(missing_ok=True)
        if validator:
            self._sync_folder()
        # unbuffered: else close() would raise for a full disk a second time
        self._file = self.path.open("ab" if validator else "wb", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        self.validator = validator if self.size else None

    def restart(self) -> None:
        """Delete the bytes that have arrived."""
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
        finally:  # on a full disk some of it may have been written
            self.size = os.fstat(file.fileno()).st_size

    def finish(self) -> None:
        """Move the complete file to its place in one step."""
        file = self._opened()
        os.fsync(file.fileno())
        file.close()
        self.path.replace(self.target)
        self._sync_folder()

    def close(self, *, keep: bool) -> None:
        """Close the part. With *keep*, keep it if it can be resumed; else remove it."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a part without a validator file is begun again
            with contextlib.closing(self._file):
                if keep and self.size and self.validator:
                    os.fsync(self._file.fileno())
                    self._validator_path.write_text(self.validator, "ascii")
                    return
            self.path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        with contextlib.suppress(OSError):  # not every system can do this; Windows cannot
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _opened(self) -> FileIO:
        assert self._file is not None, "open() comes first"  # noqa: S101 - for the type checkers
        return self._file
