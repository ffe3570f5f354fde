"""The events of a client: ``Client(observer=…)`` is called with each of them when it happens.

An observer is a plain function. It must return quickly, because the event loop waits for it. An
exception that it raises is logged and then ignored.
"""

from __future__ import annotations

import attrs

from callsheet._models.outcome import Outcome
from callsheet._models.snapshot import Status
from callsheet.errors import CallsheetError


@attrs.frozen(kw_only=True)
class TaskSubmitted:
    """The provider has given an id to a task.

    Attributes:
        task_id: The id.
        index: Position of its spec in its batch or stream, from 0.
    """

    task_id: str
    index: int


@attrs.frozen(kw_only=True)
class StatusChanged:
    """The status of a task has changed, and the task has not ended.

    Attributes:
        task_id: The provider's id of the task.
        before: The old status; ``None`` if none was known.
        after: The new status.
    """

    task_id: str
    before: Status | None
    after: Status


@attrs.frozen(kw_only=True)
class TaskSettled:
    """A spec has its outcome.

    Attributes:
        outcome: The outcome.
    """

    outcome: Outcome


@attrs.frozen(kw_only=True)
class SubmissionLost:
    """The answer to a create was lost. The client looks for its task in the provider's list.

    Attributes:
        index: Position of its spec in its batch or stream, from 0.
        error: Why there is no answer.
    """

    index: int
    error: CallsheetError


@attrs.frozen(kw_only=True)
class ListDoubted:
    """The provider's list contradicts what the client knows, so it proves no absence.

    What the list shows is still used. But a create whose answer was lost and whose task is not
    shown is not sent again, since it may have made one. It ends as `SubmissionUncertainError` if no
    later look is right. The event comes once for each service tier and kind.

    Attributes:
        kind: ``"missing"``: a task that exists is not shown. ``"total"``: the total is too small.
            ``"mark"``: a task shows another mark than was sent. ``"no mark"``: a task shows none.
            ``"refuted"``: the task of a create exists that the list had shown to have made none.
        reason: The same as a sentence, with the id of a task.
        service_tier: The tier whose list it is; ``None`` for the default one.
    """

    kind: str
    reason: str
    service_tier: str | None


@attrs.frozen(kw_only=True)
class DuplicateTask:
    """A spec has one task more than was wanted, and the task may be billed.

    It happens when the answer to a create was lost, a second create was allowed, and the first one
    turns out to have made a task; or when a gateway repeats a create. The client counts the task in
    `Client.spend`. It does not cancel it: only the caller decides that.

    Attributes:
        task_id: The task that was not wanted. The outcome of the spec is that of another task.
        index: Position of its spec in its batch or stream, from 0.
    """

    task_id: str
    index: int


@attrs.frozen(kw_only=True)
class CreatePaused:
    """A create never arrived or was refused. It is sent again after a pause.

    Attributes:
        error: Why it did not succeed.
        seconds: Length of the pause, >= 0.
    """

    error: CallsheetError
    seconds: float


@attrs.frozen(kw_only=True)
class PollFailed:
    """A status request failed. It ends no task; the client asks again.

    Attributes:
        task_ids: The tasks that the request asked about.
        error: Why it failed.
    """

    task_ids: tuple[str, ...]
    error: CallsheetError


@attrs.frozen(kw_only=True)
class GateShut:
    """The service is down. Until it answers again, only one request at a time is sent to it.

    Attributes:
        error: The last error.
    """

    error: CallsheetError


@attrs.frozen(kw_only=True)
class GateOpened:
    """The service answers again."""


Event = (
    TaskSubmitted
    | SubmissionLost
    | DuplicateTask
    | ListDoubted
    | StatusChanged
    | TaskSettled
    | CreatePaused
    | PollFailed
    | GateShut
    | GateOpened
)
