"""What the journal knows of one spec, told from its notes in the order in which they were made."""

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
    """What a note says."""

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
    """One spec or attached task of the journal, as it was known last.

    Attributes:
        row: Its number in the journal.
        batch: Number of its batch, growing with time.
        index: Its position in the batch, from 0.
        name: The batch's name.
        spec: The spec, its paths absolute; ``None`` for a task that was attached by id.
        token: The mark of the last attempt that may have left, if it carried one.
        sent_at: Unix seconds at which that attempt was about to leave; ``None`` if none may have.
        doubts: How many other attempts stay in doubt for ever.
        task_id: The provider's id.
        status: The last status noted. The most recent ones may be missing after a crash.
        answer: The provider's last word, once the task has ended.
        error: The error that it ended with, where it was not the provider's word.
        file: Where its video was downloaded to.
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
    """An attempt is about to leave, and replaces all that is known of those that made nothing."""
    return row, NoteKind.SENDING, json.dumps([token, at, doubts])


def created(row: int, task_id: str) -> Note:
    """The provider gave an id."""
    return row, NoteKind.CREATED, json.dumps(task_id)


def moved(row: int, status: Status) -> Note:
    """The provider said where the task stands."""
    return row, NoteKind.STATUS, json.dumps(status)


def settled(row: int, end: Snapshot | CallsheetError) -> Note:
    """The task ended, or no task came to be."""
    if isinstance(end, Snapshot):
        return row, NoteKind.ANSWERED, json.dumps([end.task_id, end.raw], separators=(",", ":"))
    return row, NoteKind.FAILED, json.dumps(encode_error(end), separators=(",", ":"))


def unsent(row: int) -> Note:
    """The last attempt provably made nothing."""
    return row, NoteKind.UNSENT, None


def doubted(row: int, doubts: int) -> Note:
    """So many attempts stay in doubt for ever, beside the one that is known."""
    return row, NoteKind.DOUBTED, json.dumps(doubts)


def downloaded(row: int, file: str) -> Note:
    """The video is on disk."""
    return row, NoteKind.DOWNLOADED, json.dumps(file)


def unwanted(row: int) -> Note:
    """It was cancelled while an attempt may have made a task; no later attempt changes that."""
    return row, NoteKind.UNWANTED, None


def withdrawn(row: int) -> Note:
    """Its plan is taken back."""
    return row, NoteKind.WITHDRAWN, None


def change_by(kind: str, value: str | None) -> dict[str, Any] | None:
    """What a note changes in its entry; ``None`` if it takes it away.

    Raises:
        ValueError: Kind or value is not what a note holds.
        CallsheetError: An answer that cannot be read.
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
