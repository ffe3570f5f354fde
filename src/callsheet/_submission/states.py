"""What is known of a spec without a task id: its state, its attempts, its events and its effects.

A create is paid, and the provider has no idempotency key. So all that is known of one spec stands
in one value, a `Submission`, and one pure function changes it (`callsheet._submission.transition`).

An *attempt* is one token with one set of bytes. A *try* is one POST of an attempt. One attempt may
have several tries, because a definite refusal made no task.
"""

from __future__ import annotations

import enum

import attrs

from callsheet._models.policy import RetryPolicy
from callsheet._state.fate import OPEN, Fate, Grade
from callsheet._state.moment import Moment
from callsheet.errors import CallsheetError, SubmissionUncertainError


class State(enum.Enum):
    """Where a spec stands on its way to a task id."""

    QUEUED = "queued"
    """It waits in the fair queue, or before it, to be sent once more. It has no current attempt."""
    WAITING = "waiting"
    """Its body is being prepared, or it waits for its turn, for the quota, room or a pause."""
    NOTING = "noting"
    """Its money is set aside, and its note is being written. No byte has left."""
    IN_FLIGHT = "in_flight"
    """Its create may have left, and no answer has come."""
    LOST = "lost"
    """The answer is lost. Its task is looked for, or a callback is waited for."""
    ACCEPTED = "accepted"
    """It has its task id, and the poller watches the task."""
    ENDED = "ended"
    """It has its outcome, and no task of its own."""


class Cancelled(enum.IntEnum):
    """Whether the caller has cancelled a spec. It only climbs."""

    NO = 0
    HERE = 1
    """No further attempt in this process. A later process may decide again."""
    FOR_GOOD = 2
    """No further attempt in any process."""


class Owner(enum.Enum):
    """Who has the id that an answer brings."""

    NOBODY = "nobody"
    """No other spec of ours. The record itself or an attached handle may have it."""
    ANOTHER = "another"
    """The task of another spec of ours."""


COUNTED = OPEN | {Fate.NOTED, Fate.MADE}
"""The fates of an attempt for which money is set aside."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One token, and what is known of its create.

    Attributes:
        n: Its number among the attempts of its spec, from 1, counted over all processes.
        token: The mark that its task carries; ``None`` if nothing would show it.
        fate: What is known of it.
        sent: When it was noted, just before it could leave. An older task is not its task.
        heard: The id that a callback brought while its answer was awaited.
        task_id: Its task, once that is known.
        more_ids: Further tasks with its token: a gateway may repeat a request.
        grade: How well its absence is proven, if it is `Fate.ABSENT`.
        tries: How many times it was sent, >= 0.
        answer_due: Whether the answer to its last try is still awaited. It may be awaited although
            the task is known: a callback or a list may be faster, and the answer may bring the id
            of one more task.
        error: Why nobody knows what became of it, once its answer is lost.
    """

    n: int
    token: str | None
    fate: Fate = Fate.READY
    sent: Moment | None = None
    heard: str | None = None
    task_id: str | None = None
    more_ids: tuple[str, ...] = ()
    grade: Grade | None = None
    tries: int = 0
    answer_due: bool = False
    error: SubmissionUncertainError | None = None


@attrs.frozen(kw_only=True)
class Submission:
    """All that is known of one spec until its task is watched.

    Attributes:
        state: Where it stands.
        attempts: Its attempts, the oldest first; after a resume the open ones come last. Several
            may have made a task.
        cancelled: Whether the caller has cancelled it.
        held: The number of an attempt that made no task, and whose money is kept for the next try.
            So no other spec takes its place under the cap.
        registered: The number of the attempt whose task is watched for the caller.
    """

    state: State = State.QUEUED
    attempts: tuple[Attempt, ...] = ()
    cancelled: Cancelled = Cancelled.NO
    held: int | None = None
    registered: int | None = None


WITH_ATTEMPT = frozenset({State.WAITING, State.NOTING, State.IN_FLIGHT, State.LOST})
"""The states in which the last attempt is under way."""


@attrs.frozen(kw_only=True)
class Context:
    """What a transition needs to know beside the submission and the event.

    Attributes:
        policy: What the caller allows after a lost answer.
        closed: Whether the client is closing. Then nothing more is sent.
        fatal: Why nothing more of its batch is sent, if that is so.
    """

    policy: RetryPolicy
    closed: bool = False
    fatal: CallsheetError | None = None


# --- events: what has happened ---------------------------------------------------------------


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
    """The list that proved the absence of attempt *n* is contradicted.

    Nothing sends this event so far: no rule says yet when a list is contradicted.
    """

    n: int


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
    | Cancel
    | Close
)


# --- effects: what is to be done -------------------------------------------------------------


@attrs.frozen
class StartAttempt:
    """Write the request of attempt *n*, and wait for its turn."""

    n: int


@attrs.frozen
class Reserve:
    """Set aside what attempt *n* may cost, in place of the money held for attempt *instead_of*."""

    n: int
    instead_of: int | None = None


@attrs.frozen
class Hold:
    """Keep the money of attempt *n*, which made no task, for the next try."""

    n: int


@attrs.frozen
class Release:
    """Free the money of attempt *n*: it certainly made no task."""

    n: int


@attrs.frozen
class MarkUncertain:
    """Count the money of attempt *n* as uncertain: its task may exist."""

    n: int


@attrs.frozen
class Confirm:
    """Count the money of attempt *n* as reserved: its task exists."""

    n: int


@attrs.frozen
class Carry:
    """Count money for attempt *n*, even beyond the cap: its task may be billed all the same."""

    n: int
    uncertain: bool = False


@attrs.frozen
class NoteFirst:
    """Write the note of attempt *n*, and send nothing before it is on disk.

    Attributes:
        n: The attempt.
        token: The mark that its task carries.
        tries: Which try of the attempt is about to be sent, from 1.
    """

    n: int
    token: str | None
    tries: int


@attrs.frozen
class Send:
    """Send the create of attempt *n*. This is the paid request."""

    n: int


@attrs.frozen
class Pause:
    """Wait, and then send the same attempt once more: its last try made no task."""

    error: CallsheetError
    seconds: float


@attrs.frozen
class NoteFate:
    """Write down what became of attempt *n*."""

    n: int


@attrs.frozen
class NoteCancelled:
    """Write down that the spec is cancelled for good."""


@attrs.frozen
class NoteEnded:
    """Write down the end of the spec: no later process sends it again."""

    error: CallsheetError


@attrs.frozen
class Requeue:
    """Put the spec before the queue: it is sent once more."""


@attrs.frozen
class LeaveLine:
    """It does not wait for its turn any longer: wake the waiters, so that it sees that."""


@attrs.frozen
class StartLook:
    """Look for the task of attempt *n*."""

    n: int


@attrs.frozen
class StopLook:
    """Do not look for the task of attempt *n* any longer."""

    n: int


@attrs.frozen
class Register:
    """Watch the task of attempt *n* for the caller.

    Attributes:
        n: The attempt.
        task_id: Its task.
        answered: Whether the create's own answer brought the id, so that the task is new.
    """

    n: int
    task_id: str
    answered: bool


@attrs.frozen
class WatchSurplus:
    """Watch a task of attempt *n* for its money alone: no caller waits for it.

    Attributes:
        n: The attempt.
        task_id: The task.
        duplicate: Whether the spec has another task, so that this one is one too many.
        own_money: Whether the money of the attempt is that of this task. If not, the attempt has
            another task, and this one is counted beside it, even beyond the cap.
    """

    n: int
    task_id: str
    duplicate: bool
    own_money: bool = False


@attrs.frozen
class MarkAccepted:
    """The key, the balance and the model are good: the rest of the batch may be sent."""


@attrs.frozen
class StopBatch:
    """Send nothing more of the batch: every create would fail in the same way."""

    error: CallsheetError


@attrs.frozen
class Settle:
    """Give the spec its outcome: it ends without a task of its own."""

    error: CallsheetError


MoneyEffect = Reserve | Hold | Release | MarkUncertain | Confirm | Carry
NoteEffect = NoteFate | NoteCancelled | NoteEnded
AwaitedEffect = NoteFirst | Send | Pause
"""Effects that take time. Each is answered by an event."""
Effect = (
    MoneyEffect
    | NoteEffect
    | AwaitedEffect
    | StartAttempt
    | Requeue
    | LeaveLine
    | StartLook
    | StopLook
    | Register
    | WatchSurplus
    | MarkAccepted
    | StopBatch
    | Settle
)
