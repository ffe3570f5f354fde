"""What is known of a spec without a task id: its state and its attempts.

A create is paid, and the provider has no idempotency key. So all that is known of one spec stands
in one value, a `Submission`, and one pure function changes it (`callsheet._submission.transition`):
it takes an event (`callsheet._submission.submission_events`) and returns what is to be done
(`callsheet._submission.effects`).

An *attempt* is one token with one set of bytes. A *try* is one POST of an attempt. One attempt may
have several tries, because a definite refusal made no task.
"""

from __future__ import annotations

import enum

import attrs

from callsheet._models import state as models
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

    __hash__ = (
        object.__hash__
    )  # that of `enum.Enum` is written in Python, and takes ten times as long


class Cancelled(enum.IntEnum):
    """Whether the caller has cancelled a spec. It only climbs."""

    NO = 0
    HERE = 1
    """No further attempt in this process. A later process may decide again."""
    FOR_GOOD = 2
    """No further attempt in any process."""


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
        disowned: Why the id that its answer has brought is not that of its task.
        wrong_id: That id.
        listed: Whether its task was found in a list.
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
    disowned: CallsheetError | None = None
    wrong_id: str | None = None
    listed: bool = False


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


PUBLIC_STATES = {
    State.QUEUED: models.State.WAITING,
    State.WAITING: models.State.WAITING,
    State.NOTING: models.State.SENDING,
    State.IN_FLIGHT: models.State.SENDING,
    State.LOST: models.State.UNCERTAIN,
}
"""What callers see of a spec that has neither a task nor an outcome."""

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
