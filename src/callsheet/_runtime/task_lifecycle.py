"""Keeps journal, money and queue up to date as tasks go on, and calls the observer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from callsheet._models.snapshot import Status
from callsheet._runtime.learning import LEARNED_GAP, Learning
from callsheet._state.clock import Clock
from callsheet._submission.admission import Admission
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.reconciler import Reconciler
from callsheet._submission.turns import Turns
from callsheet.events import Event, TaskSettled


if TYPE_CHECKING:
    from callsheet._models.snapshot import Snapshot
    from callsheet._state.record import Record
    from callsheet.errors import CallsheetError


log = logging.getLogger("callsheet")


@attrs.define(eq=False, kw_only=True)
class TaskLifecycle:
    """The one `callsheet._state.lifecycle.Lifecycle` of a client.

    Attributes:
        bookkeeping: Keeps the ledger and the journal.
        learning: Keeps what was learned of render times.
        reconciler: Looks for tasks by their tokens.
        admission: Decides when the next create may go.
        turns: The creates that wait for that.
        clock: The client's clock.
        observer: The caller's own function, which is called with every event.
    """

    bookkeeping: Bookkeeping
    learning: Learning
    reconciler: Reconciler
    admission: Admission
    turns: Turns
    clock: Clock
    observer: Callable[[Event], None] | None
    _learned_at: float = attrs.field(init=False)
    """When what was learned was last written."""

    def __attrs_post_init__(self) -> None:
        """Begin the first gap between two writes of what was learned."""
        self._learned_at = self.clock.now()

    def moved(self, record: Record, answer: Snapshot) -> None:
        """Write down the new status of a task, or that it is billed already."""
        if answer.status is Status.SUCCEEDED:
            self.bookkeeping.succeeded(record, answer)
        else:
            self.bookkeeping.moved(record)

    def task_ended(self, record: Record) -> None:
        """Settle the money of a task that has ended, write its end down, and tell of it."""
        self.bookkeeping.ended(record)
        now = self.clock.now()
        if now - self._learned_at >= LEARNED_GAP:
            self._learned_at = now
            self.learning.keep()
        self.ended(record)

    def ended(self, record: Record) -> None:
        """Tell of an outcome, unless the record is watched for its money alone."""
        if self.observer is not None and not record.surplus:
            self.emit(TaskSettled(outcome=record.outcome))

    def disowned(self, record: Record, error: CallsheetError) -> bool:
        """Look for the task of a record by its token, if lists show tokens."""
        return self.reconciler.disown(record, error)

    def room_made(self) -> None:
        """Let the next create go, if it waited for room."""
        self.admission.room_made()
        self.turns.changed.set()

    def emit(self, event: Event) -> None:
        """Call the observer with an event. An exception that it raises is logged."""
        if self.observer is not None:
            try:
                self.observer(event)
            except Exception:
                log.exception("the observer failed on %r", event)
