"""The specs that were submitted together: their counts and their outcomes."""

from __future__ import annotations

import attrs

from callsheet._models.outcome import Progress
from callsheet._models.snapshot import Status
from callsheet._state.observable import Observable
from callsheet._state.record import Record
from callsheet.errors import CallsheetError, ModelNotFoundError, QuotaExhaustedError


@attrs.define(eq=False)
class Group(Observable):
    """Counts the specs of one batch or stream, and keeps the errors that stop all of them.

    Waiters are woken at every id and every outcome.

    Attributes:
        total: Number of specs.
        finished: Records with an outcome, in the order of their outcomes.
    """

    total: int = 0
    finished: list[Record] = attrs.field(factory=list[Record])
    _submitted: int = 0
    _queued: int = 0
    _running: int = 0
    _succeeded: int = 0
    _failed: int = 0
    _unsent: int = 0
    _proven: set[str | None] = attrs.field(factory=set[str | None])
    _dooms: dict[str | None, CallsheetError] = attrs.field(factory=dict[str | None, CallsheetError])
    _doom: CallsheetError | None = None

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
    def doom(self) -> CallsheetError | None:
        """The error that ended the group for every model, if one did."""
        return self._doom

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

    def prove(self, model: str | None) -> None:
        """A create with this model passed: others may be sent beside each other."""
        self._proven.add(model)

    def proven(self, model: str | None) -> bool:
        """Whether a create with this model has passed; until then one is sent at a time."""
        return model in self._proven

    def condemn(self, model: str | None, error: CallsheetError) -> None:
        """Stop what has not been sent: of this model if only it is closed, else everything."""
        if isinstance(error, (ModelNotFoundError, QuotaExhaustedError)):
            self._dooms.setdefault(model, error)
        elif self._doom is None:
            self._doom = error

    def doom_of(self, model: str | None) -> CallsheetError | None:
        """The error for which nothing more is sent for this model."""
        return self._doom or self._dooms.get(model)

    def _count(self, status: Status | None, by: int) -> None:
        match status:
            case Status.QUEUED:
                self._queued += by
            case Status.RUNNING | Status.UNKNOWN:
                self._running += by
            case _:
                pass
