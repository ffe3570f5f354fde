"""``results.jsonl``: one row for every video that was asked for, with the truth about it.

Rows are appended as specs end. Where an index stands there twice, the later row holds; the file
is put in order when the run is over.
"""

from __future__ import annotations

import contextlib
import json
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import attrs


if TYPE_CHECKING:
    import io
    from collections.abc import Mapping
    from pathlib import Path


NAME = "results.jsonl"

_TEXTS = ("task_id", "last_status", "url", "file", "last_frame_file")


class Ending(StrEnum):
    """How a row ended, as its ``status`` says."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    NOT_SUBMITTED = "not_submitted"
    UNCERTAIN = "uncertain"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    DOWNLOAD_FAILED = "download_failed"


UNFETCHED = frozenset({Ending.DOWNLOAD_FAILED, Ending.INTERRUPTED, Ending.TIMEOUT})
PAID = UNFETCHED | {Ending.SUCCEEDED}
"""What is said of a task that was bought, and whose id stands in the row."""


class ResultsError(Exception):
    """The output folder cannot be used for this run; nothing was submitted."""


@attrs.frozen(kw_only=True)
class Row:
    """One line of the file; see the attributes for its keys.

    Attributes:
        index: Position among what was asked for, from 0.
        spec: The spec, as `TaskSpec.to_dict` gives it.
        provider: Where it was sent.
        task_id: The provider's id; ``None`` if no task came to be.
        status: One of the words of `Ending`.
        last_status: Where the task stood when the run left it, if it had not ended.
        url: Where the video is, while the URL lives.
        file: Name of the video in this folder.
        last_frame_file: Name of its last frame, if that was asked for.
        seed: The seed really used.
        usage: What it cost: ``completion_tokens``, ``total_tokens``.
        seconds: From creation to end, by the provider's clock.
        error: ``type``, ``message`` and ``code`` of what went wrong.
    """

    index: int
    spec: dict[str, Any]
    provider: str
    task_id: str | None = None
    status: Ending
    last_status: str | None = None
    url: str | None = None
    file: str | None = None
    last_frame_file: str | None = None
    seed: int | None = None
    usage: dict[str, Any] | None = None
    seconds: float | None = None
    error: dict[str, str | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the two rare keys stand there only if they say something."""
        row = attrs.asdict(self, recurse=False)
        for name in ("last_status", "last_frame_file"):
            if row[name] is None:
                del row[name]
        return row


class Results:
    """The rows of one output folder, used as ``with Results(folder) as results``.

    Attributes:
        rows: The row that holds, by index.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.rows: dict[int, Row] = {}
        self._waiting: list[bytes] = []
        self._file: io.FileIO | None = None
        self._end = 0
        self._last = -1
        self._loose = False

    def __enter__(self) -> Self:
        """Read what is there.

        Raises:
            ResultsError: The file cannot be read or written.
        """
        self.read()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> None:
        """Read what is there now; to be called before the first row is put.

        Raises:
            ResultsError: The file cannot be read or written.
        """
        self.rows.clear()
        self._last, self._loose = -1, False
        try:
            with self.path.open("r+b") as file:
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as exc:
            raise ResultsError(f"{self.path}: {exc.strerror}") from exc
        self._end = data.rfind(b"\n") + 1  # a run that was killed may have left half a line
        for number, line in enumerate(data[: self._end].splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = _read(line)
            except (ValueError, TypeError, KeyError) as exc:
                text = f"{self.path}:{number}: not a row of a run ({exc})"
                raise ResultsError(f"{text}; move it away, or use another --out") from None
            self._take(row)

    def arrange(self, rows: Mapping[int, Row]) -> None:
        """Let *rows*, each at its index, be what stands there; before the first row is put.

        Raises:
            ResultsError: The file cannot be written.
        """
        if rows != self.rows:
            self.rows = dict(rows)
            try:
                self._end = self._rewrite()
            except OSError as exc:
                raise ResultsError(f"{self.path}: {exc.strerror}") from exc
            self._last, self._loose = max(self.rows, default=-1), False

    def put(self, row: Row) -> bool:
        """Append *row*; False if the disk does not take it now, in which case it is kept."""
        self._take(row)
        self._waiting.append(_line(row))
        return self._append()

    def _append(self) -> bool:
        data = b"".join(self._waiting)
        try:
            if self._file is None:
                self._file = self.path.open("r+b" if self._end else "wb", buffering=0)
            self._file.seek(self._end)
            self._file.truncate()
            if self._file.write(data) < len(data):
                return False
        except OSError:
            return False
        self._end += len(data)
        self._waiting.clear()
        return True

    def finish(self) -> list[Row]:
        """Put the rows in order, once each; gives the rows that the disk did not take."""
        lost: list[Row] = []
        if self._waiting and not self._append():
            lost = [_read(line) for line in self._waiting]
        if self._loose and not lost:
            with contextlib.suppress(OSError):  # what was appended holds as it is
                self._rewrite()
        return lost

    def _take(self, row: Row) -> None:
        self._loose |= row.index <= self._last
        self._last = row.index
        self.rows[row.index] = row

    def _rewrite(self) -> int:
        """Replace the file by the rows in order; gives its size."""
        beside = self.path.with_name(f".{NAME}.part")
        try:
            with beside.open("wb") as file:
                file.writelines(_line(self.rows[index]) for index in sorted(self.rows))
                os.fsync(file.fileno())
                size = file.tell()
            beside.replace(self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        return size


def _line(row: Row) -> bytes:
    return json.dumps(row.to_dict(), ensure_ascii=False).encode() + b"\n"


def _read(line: bytes) -> Row:
    """The row on a line, which anybody may have edited.

    Raises:
        ValueError: It is no JSON, or a value is none that a row has.
        TypeError: It has a key too many or too few.
    """
    match json.loads(line):
        case {"index": int(), "spec": dict(), "status": str(status)}:
            row: dict[str, Any] = json.loads(line)
            row["status"] = Ending(status)
        case _:
            raise ValueError("no index, spec or status")
    error: object = row.get("error")
    if error is not None and not isinstance(error, dict):
        raise ValueError("error is no object")
    told: dict[str, Any] = row.get("error") or {}
    texts = {name: row.get(name) for name in _TEXTS}
    texts["spec.prompt"] = row["spec"].get("prompt")
    texts |= {f"error.{name}": told.get(name) for name in ("type", "message")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is no text")
    return Row(**row)
