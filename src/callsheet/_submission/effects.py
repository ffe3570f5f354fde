"""What is to be done about a submission: the effects of its state machine."""

from __future__ import annotations

import attrs

from callsheet.errors import CallsheetError


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
    """Write down what became of attempt *n*; *by_hand* means that a person has said so."""

    n: int
    by_hand: bool = False


@attrs.frozen
class NoteDisowned:
    """Write down that an id is not that of the task of attempt *n*."""

    n: int
    task_id: str


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
        listed: Whether a list has shown it. Then it cannot be a witness for that list.
    """

    n: int
    task_id: str
    answered: bool
    listed: bool = False


@attrs.frozen
class Unregister:
    """Watch the task of attempt *n* no longer: its id is not that of the spec's own task.

    Attributes:
        n: The attempt.
        keep_id: Whether the record still shows the id: nobody else has it.
    """

    n: int
    keep_id: bool


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
class Contradict:
    """A list has shown that an attempt made nothing, and its task exists: the list was wrong."""

    task_id: str


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
NoteEffect = NoteFate | NoteDisowned | NoteCancelled | NoteEnded
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
    | Unregister
    | WatchSurplus
    | Contradict
    | MarkAccepted
    | StopBatch
    | Settle
)
