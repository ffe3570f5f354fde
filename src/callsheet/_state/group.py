"""The specs that were submitted together: their counts and their outcomes."""

from __future__ import annotations

import attrs

from callsheet._models.outcome import Progress
from callsheet._models.snapshot import Status
from callsheet._state.record import Observable, Record
from callsheet.errors import CallsheetError, ModelNotFoundError, QuotaExhaustedError


@attrs.define(eq=False)
class Group(Observable):
    """The counts of one batch or stream, and the errors that stop it.

    It wakes its waiters for every id and every outcome.

    Attributes:
        total: Number of specs.
        finished: Records with an outcome, in the order of their outcomes.
        accepted: Models of which a create was accepted. Until then one create is sent at a time.
        stopped: Whether an error stops the group, for a model or for all of them.
    """

    total: int = 0
    finished: list[Record] = attrs.field(factory=list[Record])
    accepted: set[str | None] = attrs.field(factory=set[str | None])
    stopped: bool = False
    _submitted: int = 0
    _queued: int = 0
    _running: int = 0
    _succeeded: int = 0
    _failed: int = 0
    _unsent: int = 0
    _fatal_by_model: dict[str | None, CallsheetError] = attrs.field(
        factory=dict[str | None, CallsheetError]
    )
    _fatal: CallsheetError | None = None

    @property
    def progress(self) -> Progress:
        """The current counts."""
        return Progress(
            total=self.total,
            submitted=self._submitted,
            queued=self._queued,
            running=self._running,
            succeeded=self._succeeded,
            failed=self._failed,
        )

    @property
    def unsubmitted(self) -> int:
        """Number of specs that have neither an id nor an outcome."""
        return self.total - self._submitted - self._unsent

    @property
    def fatal_error(self) -> CallsheetError | None:
        """The error that stops the group for every model, if there was one."""
        return self._fatal

    @property
    def unfinished(self) -> int:
        """Number of specs without an outcome."""
        return self.total - self._succeeded - self._failed

    def moved(self, record: Record, before: Status | None) -> None:
        """Count a record under its new status, and no longer under the one *before*."""
        self._count(before, -1)
        self._count(record.status, 1)
        if before is None:
            self._submitted += 1
            self.wake()
        elif record.status is None:  # its id was not that of its task
            self._submitted -= 1

    def settled(self, record: Record, before: Status | None) -> None:
        """Count a record's outcome and wake the waiters."""
        self._count(before, -1)
        if record.succeeded:
            self._succeeded += 1
        else:
            self._failed += 1
        self._unsent += record.task_id is None
        self.finished.append(record)
        self.wake()

    def mark_accepted(self, model: str | None) -> None:
        """A create of this model was accepted: from now on several may be sent at a time."""
        self.accepted.add(model)

    def stop(self, model: str | None, error: CallsheetError) -> None:
        """Send nothing more of the group, because every further create would fail as this one did.

        An error about the model or its quota stops this model alone. Any other stops all of them.
        """
        self.stopped = True
        if isinstance(error, (ModelNotFoundError, QuotaExhaustedError)):
            self._fatal_by_model.setdefault(model, error)
        elif self._fatal is None:
            self._fatal = error

    def fatal_error_of(self, model: str | None) -> CallsheetError | None:
        """The error that stops this model, if there is one: nothing more of it is sent."""
        return self._fatal or self._fatal_by_model.get(model)

    def _count(self, status: Status | None, by: int) -> None:
        match status:
            case Status.QUEUED:
                self._queued += by
            case Status.RUNNING | Status.UNKNOWN:
                self._running += by
            case _:
                pass
