"""Notes: the facts that a journal keeps, one value for each.

What binds money is durable before the act: a `Plan` before anything of it is sent, an `AttemptNote`
before its request. What frees money is written after the fact. So every prefix of the notes is
safe: a process that is killed at any moment leaves a journal in which each request that was sent is
an attempt that may have made a task, until a later note says what became of it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._state.fate import Grade
from callsheet.errors import CallsheetError


@attrs.frozen(eq=False)
class Plan:
    """The rows of one batch. `Journal.new_plan` makes it, because it gives the rows.

    Attributes:
        rows: The number of each row.
        batch: The number of the batch, growing with time.
        specs: The specs in order; ``None`` for a task that was attached by id.
        name: The batch's name.
    """

    rows: range
    batch: int
    specs: Sequence[TaskSpec | None]
    name: str | None = None


@attrs.frozen
class RetractionNote:
    """The row was planned, and nobody was told: it does not count. An attempt outweighs this."""

    row: int


@attrs.frozen
class AttemptNote:
    """A create is about to be sent. This must be on disk before its first byte leaves.

    Attributes:
        row: The row of the spec.
        n: The number of the attempt, from 1, over all processes. An attempt has one token.
        token: The mark that its task carries; ``None`` if it carries none.
        at: The time, in Unix seconds.
        tries: Which request of the attempt this is, from 1. A refused attempt may be sent again
            unchanged, and then only a refusal of the last try means that it made no task.
    """

    row: int
    n: int
    token: str | None
    at: float
    tries: int = 1


@attrs.frozen
class RefusalNote:
    """A try of an attempt certainly made no task: it was refused, or did not leave."""

    row: int
    n: int
    tries: int = 1


@attrs.frozen
class AbsenceNote:
    """The answer to an attempt was lost, and it is proven that it made no task."""

    row: int
    n: int
    grade: Grade


@attrs.frozen
class DoubtNote:
    """Nobody can tell whether an attempt made a task. It may also take back an `AbsenceNote`."""

    row: int
    n: int


@attrs.frozen
class TaskNote:
    """An attempt has made a task; *listed*: it was found in a list."""

    row: int
    n: int
    task_id: str
    listed: bool = False


@attrs.frozen
class WrongIdNote:
    """An id that an attempt was answered with is not that of its task."""

    row: int
    n: int
    task_id: str


@attrs.frozen
class ByHandNote:
    """A person has said what became of an attempt: *task_id* is its task, or it has made none.

    It counts like `TaskNote`, or like an `AbsenceNote` that is witnessed. It is a note of its own
    so that the file says where this comes from: by hand, and neither from an answer nor a list.
    """

    row: int
    n: int
    task_id: str | None
    at: float


@attrs.frozen
class AttachmentNote:
    """The row is about a task that existed already."""

    row: int
    task_id: str


@attrs.frozen
class CancelNote:
    """The caller wants no task for the row: no attempt is begun any more, by any process."""

    row: int


@attrs.frozen
class EndNote:
    """The row has ended with an error that no later attempt would change."""

    row: int
    error: CallsheetError
    at: float


@attrs.frozen
class AnswerNote:
    """The provider has said how the task ended."""

    row: int
    answer: Snapshot
    at: float


@attrs.frozen
class StatusNote:
    """The task has another status. Losing this in a crash loses nothing."""

    row: int
    status: Status


@attrs.frozen
class FileNote:
    """The video is on disk."""

    row: int
    file: str


RowNote = (
    RetractionNote
    | AttemptNote
    | RefusalNote
    | AbsenceNote
    | DoubtNote
    | TaskNote
    | WrongIdNote
    | ByHandNote
    | AttachmentNote
    | CancelNote
    | EndNote
    | AnswerNote
    | StatusNote
    | FileNote
)
Note = Plan | RowNote


class NoteKind(enum.StrEnum):
    """The kind of a note, as it is stored."""

    RETRACTED = "retracted"
    ATTEMPT = "attempt"
    REFUSED = "refused"
    ABSENT = "absent"
    DOUBTED = "doubted"
    MADE = "made"
    FOUND = "found"
    DISOWNED = "disowned"
    BY_HAND = "by_hand"
    ATTACHED = "attached"
    CANCELLED = "cancelled"
    ENDED = "ended"
    ANSWER = "answer"
    STATUS = "status"
    FILE = "file"
    PRUNED = "pruned"
    """The row was removed by `prune`; what is left of it keeps its key."""


StoredNote = tuple[int, str, int | None, str | None, float | None]
"""A note as it is stored: row, kind, number of the attempt, a value as JSON, Unix seconds."""
