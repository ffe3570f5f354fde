"""Facts that an observer is told: ``Client(observer=…)`` is called with each, as it happens.

An observer is a plain function; it must return quickly, because everything waits for it. What it
raises is logged and otherwise ignored.
"""

from __future__ import annotations

import attrs

from callsheet._models.outcome import Outcome
from callsheet._models.snapshot import Status
from callsheet.errors import CallsheetError


@attrs.frozen(kw_only=True)
class TaskSubmitted:
    """The provider gave a task its id.

    Attributes:
        task_id: The id.
        index: Position of its spec in its batch or stream.
    """

    task_id: str
    index: int


@attrs.frozen(kw_only=True)
class StatusChanged:
    """A task moved on without ending.

    Attributes:
        task_id: The provider's id.
        before: The status until now.
        after: The status from now on.
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
    """The answer to a create was lost; its task is looked for in the provider's list.

    Attributes:
        index: Position of its spec in its batch or stream.
        error: What became of the answer.
    """

    index: int
    error: CallsheetError


@attrs.frozen(kw_only=True)
class CreatePaused:
    """A create never arrived or was refused, and is sent again after a pause.

    Attributes:
        error: Why.
        seconds: Length of the pause.
    """

    error: CallsheetError
    seconds: float


@attrs.frozen(kw_only=True)
class PollFailed:
    """A status request brought no status. No task is settled by it.

    Attributes:
        task_ids: The tasks that were asked about.
        error: Why.
    """

    task_ids: tuple[str, ...]
    error: CallsheetError


@attrs.frozen(kw_only=True)
class GateShut:
    """The service does not serve: from now on one request at a time tries whether it is back.

    Attributes:
        error: What it said last.
    """

    error: CallsheetError


@attrs.frozen(kw_only=True)
class GateOpened:
    """The service serves again."""


Event = (
    TaskSubmitted
    | SubmissionLost
    | StatusChanged
    | TaskSettled
    | CreatePaused
    | PollFailed
    | GateShut
    | GateOpened
)
