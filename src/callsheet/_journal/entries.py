"""Entries: what the journal knows about each spec, folded from its notes in their order."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._journal.codec import decode_error, encode_error
from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._wire.messages import Response
from callsheet._wire.snapshots import parse_snapshot
from callsheet.errors import CallsheetError


if TYPE_CHECKING:
    from collections.abc import Callable


class NoteKind(enum.StrEnum):
    """The kind of a note."""

    SENDING = "sending"
    CREATED = "created"
    STATUS = "status"
    ANSWERED = "answered"
    FAILED = "failed"
    UNSENT = "unsent"
    DOUBTED = "doubted"
    DOWNLOADED = "downloaded"
    UNWANTED = "unwanted"
    WITHDRAWN = "withdrawn"


Note = tuple[int, NoteKind, str | None]
"""Row, kind, and a value as JSON."""


@attrs.frozen(kw_only=True)
class Entry:
    """The latest known state of one spec or attached task in the journal.

    Attributes:
        row: Its number in the journal.
        batch: Number of its batch, growing with time.
        index: Its position in the batch, from 0.
        name: The batch's name.
        spec: The spec, its paths absolute; ``None`` for a task that was attached by id.
        token: The mark of the last attempt that may have been sent, if it carried one.
        sent_at: Unix seconds just before that attempt was sent; ``None`` if none may have been.
        doubts: How many other attempts may have made a task that nobody will find.
        task_id: The provider's id.
        status: The last status noted. The most recent ones may be missing after a crash.
        answer: The provider's last status answer, once the task has ended.
        error: The error that it ended with, if that was not a status answer.
        file: The path of its downloaded video.
        unwanted: Whether it was cancelled while an attempt may have made a task.
    """

    row: int
    batch: int
    index: int
    name: str | None
    spec: TaskSpec | None
    token: str | None = None
    sent_at: float | None = None
    doubts: int = 0
    task_id: str | None = None
    status: Status | None = None
    answer: Snapshot | None = None
    error: CallsheetError | None = None
    file: str | None = None
    unwanted: bool = False


def sending(row: int, token: str | None, at: float, doubts: int = 0) -> Note:
    """An attempt is about to be sent; what was known of earlier attempts is replaced."""
    return row, NoteKind.SENDING, json.dumps([token, at, doubts])


def created(row: int, task_id: str) -> Note:
    """The provider has returned an id."""
    return row, NoteKind.CREATED, json.dumps(task_id)


def moved(row: int, status: Status) -> Note:
    """The provider has returned a status."""
    return row, NoteKind.STATUS, json.dumps(status)


def settled(row: int, end: Snapshot | CallsheetError) -> Note:
    """The task has ended, or no task was made."""
    if isinstance(end, Snapshot):
        return row, NoteKind.ANSWERED, json.dumps([end.task_id, end.raw], separators=(",", ":"))
    return row, NoteKind.FAILED, json.dumps(encode_error(end), separators=(",", ":"))


def unsent(row: int) -> Note:
    """The last attempt certainly made no task."""
    return row, NoteKind.UNSENT, None


def doubted(row: int, doubts: int) -> Note:
    """This many attempts may have made a task that nobody will find, beside the last one."""
    return row, NoteKind.DOUBTED, json.dumps(doubts)


def downloaded(row: int, file: str) -> Note:
    """The video is on disk."""
    return row, NoteKind.DOWNLOADED, json.dumps(file)


def unwanted(row: int) -> Note:
    """It was cancelled while an attempt may have made a task. No later attempt changes that."""
    return row, NoteKind.UNWANTED, None


def withdrawn(row: int) -> Note:
    """Its plan is cancelled: the row does not count."""
    return row, NoteKind.WITHDRAWN, None


def change_by(kind: str, value: str | None) -> dict[str, Any] | None:
    """The fields of its entry that a note changes; ``None`` if it removes the entry.

    Raises:
        ValueError: The kind or the value is not that of a note.
        CallsheetError: The note holds an answer that cannot be read.
    """
    change = _CHANGES[NoteKind(kind)]
    return change(None if value is None else json.loads(value))


def _answer(held: Any) -> dict[str, Any]:
    task_id, raw = held
    body = json.dumps(raw).encode()
    answer = parse_snapshot(Response(status_code=200, body=body), task_id=task_id)
    return {"answer": answer, "status": answer.status, "error": None}


def _attempt(token: str | None, at: float, doubts: int = 0) -> dict[str, Any]:
    return {**_NO_TASK, "token": token, "sent_at": at, "doubts": doubts}


_NO_ATTEMPT: Final = dict.fromkeys(("token", "sent_at"))
_NO_TASK: Final = dict.fromkeys(("task_id", "status", "answer", "error", "file"))
_CHANGES: Final[dict[NoteKind, Callable[[Any], dict[str, Any] | None]]] = {
    NoteKind.SENDING: lambda held: _attempt(*held),
    NoteKind.CREATED: lambda held: {"task_id": held, "error": None},
    NoteKind.STATUS: lambda held: {"status": Status(held)},
    NoteKind.ANSWERED: _answer,
    NoteKind.FAILED: lambda held: {"answer": None, "error": decode_error(held)},
    NoteKind.DOUBTED: lambda held: {"doubts": held},
    NoteKind.UNSENT: lambda _: {**_NO_ATTEMPT},
    NoteKind.DOWNLOADED: lambda held: {"file": held},
    NoteKind.UNWANTED: lambda _: {"unwanted": True},
    NoteKind.WITHDRAWN: lambda _: None,
}
