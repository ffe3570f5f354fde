"""What has happened to a submission: the events of its state machine."""

from __future__ import annotations

import enum

import attrs

from callsheet._state.fate import Grade
from callsheet._state.moment import Moment
from callsheet._submission.states import Cancelled
from callsheet.errors import CallsheetError, SubmissionUncertainError


class Owner(enum.Enum):
    """Who has the id that an answer brings."""

    NOBODY = "nobody"
    """No other spec of ours. The record itself or an attached handle may have it."""
    ANOTHER = "another"
    """The task of another spec of ours."""


@attrs.frozen
class Taken:
    """Its turn in the queue has come: an attempt begins with this token."""

    token: str | None


@attrs.frozen
class Unpreparable:
    """The request of attempt *n* cannot be written."""

    n: int
    error: CallsheetError


@attrs.frozen
class TurnCame:
    """Attempt *n* may be sent now, unless *refusal* says that its money does not fit."""

    n: int
    at: Moment
    refusal: CallsheetError | None = None


@attrs.frozen
class NoteWritten:
    """The note of attempt *n* is on disk."""

    n: int


@attrs.frozen
class NoteFailed:
    """The note of attempt *n* could not be written."""

    n: int
    error: CallsheetError


@attrs.frozen
class Answered:
    """The answer to attempt *n* brought an id.

    Attributes:
        n: The attempt.
        task_id: The id.
        owner: Who has it already.
        can_look: Whether a list or a callback can tell of the task, if the id is another's.
    """

    n: int
    task_id: str
    owner: Owner = Owner.NOBODY
    can_look: bool = False


@attrs.frozen
class Refused:
    """Attempt *n* was refused, or never connected: this try made no task.

    Attributes:
        n: The attempt.
        error: What was said.
        pause: Seconds until the next try of this attempt; ``None`` if there is to be none.
        stops_batch: Whether every other create of the batch would fail in the same way.
    """

    n: int
    error: CallsheetError
    pause: float | None = None
    stops_batch: bool = False


@attrs.frozen
class AnswerLost:
    """The answer to attempt *n* was lost: its task may exist.

    Attributes:
        n: The attempt.
        error: Why there is no answer.
        can_look: Whether a list or a callback can tell of its task.
        stops_batch: Whether every other create of the batch would be lost in the same way.
    """

    n: int
    error: SubmissionUncertainError
    can_look: bool
    stops_batch: bool = False


@attrs.frozen
class Interrupted:
    """The answer to attempt *n* is not awaited any longer, because the program ends."""

    n: int
    reason: str


@attrs.frozen
class Found:
    """A list shows the token of attempt *n* on these tasks, the oldest first."""

    n: int
    task_ids: tuple[str, ...]
    owner: Owner = Owner.NOBODY


@attrs.frozen
class Called:
    """A callback named the token of attempt *n*, and the id of its task."""

    n: int
    task_id: str
    owner: Owner = Owner.NOBODY


@attrs.frozen
class Absent:
    """It is proven that attempt *n* made no task."""

    n: int
    grade: Grade = Grade.PRESUMED


@attrs.frozen
class CannotTell:
    """The search for the task of attempt *n* has ended without a result."""

    n: int
    error: SubmissionUncertainError


@attrs.frozen
class Retracted:
    """The list that was believed about the absence of attempt *n* is contradicted."""

    n: int


@attrs.frozen
class Resolved:
    """A person has looked at the account's pages, and says what became of attempt *n*.

    Attributes:
        n: The attempt.
        task_id: The task that it has made; ``None`` if it has made none.
    """

    n: int
    task_id: str | None


@attrs.frozen
class Disowned:
    """The id that the answer to attempt *n* has brought is not that of its task.

    The provider denies it, or shows that it is that of another task. The answer to a create holds
    nothing of ours. So it is a claim, until an answer shows the task with its token.
    """

    n: int
    error: CallsheetError


@attrs.frozen
class Cancel:
    """The caller has cancelled the spec; *why* is said if it was never sent."""

    scope: Cancelled
    why: str


@attrs.frozen
class Close:
    """The client is closing."""


Event = (
    Taken
    | Unpreparable
    | TurnCame
    | NoteWritten
    | NoteFailed
    | Answered
    | Refused
    | AnswerLost
    | Interrupted
    | Found
    | Called
    | Absent
    | CannotTell
    | Retracted
    | Disowned
    | Resolved
    | Cancel
    | Close
)
