"""``results.jsonl``: one row for every video that was asked for, with its outcome.

Rows are appended as specs end. If the file has two rows with one index, the later row counts. The
file is sorted when the run is over.
"""

from __future__ import annotations

import contextlib
import json
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import attrs

from callsheet._cli.refusal import Refusal


if TYPE_CHECKING:
    import io
    from collections.abc import Mapping
    from pathlib import Path


NAME = "results.jsonl"

_TEXTS = ("task_id", "last_status", "url", "file", "last_frame_file")


class Ending(StrEnum):
    """The values of ``status`` in a row."""

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
"""Statuses of a task that was bought. The row has its id."""


class ResultsError(Refusal):
    """The output folder cannot be used for this run. Nothing was submitted."""


@attrs.frozen(kw_only=True)
class Row:
    """One line of the file. The attributes are its keys.

    Attributes:
        index: Position among the videos that were asked for, from 0.
        spec: The spec, as `TaskSpec.to_dict` gives it.
        provider: The provider it was sent to.
        task_id: The provider's id; ``None`` if no task is known.
        status: How it ended; a value of `Ending`.
        last_status: The last known status of a task that had not ended when the run stopped.
        url: URL of the video. It expires.
        file: Name of the video in this folder.
        last_frame_file: Name of its last frame, if that was asked for.
        seed: The seed that was used.
        usage: Tokens: ``completion_tokens`` and ``total_tokens``.
        seconds: Seconds from creation to end, by the provider's clock.
        error: ``type``, ``message`` and ``code`` of the error.
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
        """The row as JSON values, without ``last_status`` and ``last_frame_file`` if not set."""
        row = attrs.asdict(self, recurse=False)
        for name in ("last_status", "last_frame_file"):
            if row[name] is None:
                del row[name]
        return row


class Results:
    """The rows of one output folder, used as ``with Results(folder) as results``.

    Attributes:
        rows: The rows that count, by index.
        unsorted: Whether the file has them in another order, or some of them twice.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.rows: dict[int, Row] = {}
        self._unwritten = bytearray()
        self._file: io.FileIO | None = None
        self._end = 0
        self._last_index = -1
        self.unsorted = False

    def __enter__(self) -> Self:
        """Read the file.

        Raises:
            ResultsError: The file cannot be read or written.
        """
        self.read()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> None:
        """Read the file again. Call it before the first `put`.

        Raises:
            ResultsError: The file cannot be read or written.
        """
        self.rows.clear()
        self._last_index, self.unsorted = -1, False
        try:
            with self.path.open("r+b") as file:
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as exc:
            raise ResultsError(f"{self.path}: {exc.strerror}") from exc
        # a killed run may have left half a line; the next row overwrites it
        self._end = data.rfind(b"\n") + 1
        for number, line in enumerate(data[: self._end].splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = _read(line)
            except (ValueError, TypeError, KeyError) as exc:
                text = f"{self.path}:{number}: not a row of a run ({exc})"
                raise ResultsError(f"{text}; move it away, or use another --out") from None
            self._record(row)

    def arrange(self, rows: Mapping[int, Row]) -> None:
        """Replace all rows by *rows*, by index. Call it before the first `put`.

        Raises:
            ResultsError: The file cannot be written.
        """
        if rows != self.rows:
            self.rows = dict(rows)
            try:
                self._end = self._rewrite()
            except OSError as exc:
                raise ResultsError(f"{self.path}: {exc.strerror}") from exc
            self._last_index, self.unsorted = max(self.rows, default=-1), False

    def put(self, row: Row) -> bool:
        """Append *row*; False if it cannot be written now. It is then written with a later row."""
        self._record(row)
        self._unwritten += _line(row)
        return self._append()

    def _append(self) -> bool:
        try:
            if self._file is None:
                self._file = self.path.open("r+b" if self._end else "wb", buffering=0)
            self._file.seek(self._end)
            self._file.truncate()
            if self._file.write(self._unwritten) < len(self._unwritten):
                return False
        except OSError:
            return False
        self._end += len(self._unwritten)
        self._unwritten.clear()
        return True

    def finish(self) -> list[Row]:
        """Sort the file, with one row per index. Return the rows that could not be written."""
        lost: list[Row] = []
        if self._unwritten and not self._append():
            lost = [_read(line) for line in self._unwritten.splitlines()]
        if self.unsorted and not lost:
            with contextlib.suppress(OSError):  # the unsorted file is complete, too
                self._rewrite()
        return lost

    def _record(self, row: Row) -> None:
        self.unsorted |= row.index <= self._last_index
        self._last_index = row.index
        self.rows[row.index] = row

    def _rewrite(self) -> int:
        """Replace the file by the sorted rows and return its size in bytes."""
        temporary = self.path.with_name(f".{NAME}.part")
        try:
            with temporary.open("wb") as file:
                file.writelines(_line(self.rows[index]) for index in sorted(self.rows))
                os.fsync(file.fileno())
                size = file.tell()
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return size


def _line(row: Row) -> bytes:
    return json.dumps(row.to_dict(), ensure_ascii=False).encode() + b"\n"


def _read(line: bytes | bytearray) -> Row:
    """Read one row. The line may have been edited by hand, so everything is checked.

    Raises:
        ValueError: It is not JSON, or a value has the wrong type.
        TypeError: It has an unknown key, or lacks one.
    """
    found = json.loads(line)
    match found:
        case {"index": int(), "spec": dict(), "status": str(status)}:
            row: dict[str, Any] = {**found, "status": Ending(status)}
        case _:
            raise ValueError("no index, spec or status")
    error: object = row.get("error")
    if error is not None and not isinstance(error, dict):
        raise ValueError("error is no object")
    error_fields: dict[str, Any] = row.get("error") or {}
    texts = {name: row.get(name) for name in _TEXTS}
    texts["spec.prompt"] = row["spec"].get("prompt")
    texts |= {f"error.{name}": error_fields.get(name) for name in ("type", "message")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is no text")
    return Row(**row)
