"""Takes specs: makes their records, writes them down, and queues them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._models.provider import Provider
from callsheet._preflight import SPECS_PER_TURN, price
from callsheet._state.cooperative import gathered
from callsheet._state.lifecycle import Lifecycle
from callsheet._state.record import Record
from callsheet._state.waiting import Waiters
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.states import Cancelled
from callsheet._submission.submitter import Submitter
from callsheet.errors import CallsheetError, ClosedError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._models.spec import TaskSpec
    from callsheet._state.group import Group


@attrs.frozen(kw_only=True)
class Intake:
    """Takes the specs of one client.

    Attributes:
        provider: The provider that they are for.
        bookkeeping: Writes them into the journal before they are queued.
        submitter: Sends them.
        lifecycle: Is told of specs that are refused here.
        waiting: The waiters of the client.
    """

    provider: Provider
    bookkeeping: Bookkeeping
    submitter: Submitter
    lifecycle: Lifecycle
    waiting: Waiters

    def record(
        self, spec: TaskSpec | None, *, index: int = 0, group: Group | None = None
    ) -> Record:
        """A new record: of a spec that is going to be submitted, or of an attached task."""
        if spec is None:
            return Record(None, index=index, group=group)
        model = getattr(spec, "model", None) or self.provider.default_model
        record = Record(spec, index=index, model=model, group=group)
        record.estimate = price(spec, provider=self.provider)
        return record

    async def records(self, specs: Sequence[TaskSpec], group: Group) -> list[Record]:
        """The records of a group's specs, in order. Others get turns while they are priced."""
        each = (self.record(spec, index=index, group=group) for index, spec in enumerate(specs))
        return await gathered(each, per_turn=SPECS_PER_TURN)

    async def submit(
        self, records: Sequence[Record], *, name: str | None = None, priority: int = 0
    ) -> None:
        """Write records into the journal and queue them; a higher priority is sent first.

        Raises:
            SpecError: A spec cannot be written; nothing is queued.
            JournalError: The journal cannot be written; nothing is queued.
        """
        # The plan is on disk before a create can be sent, so each paid request has a row.
        await self.bookkeeping.plan(records, name)
        if self.waiting.closed:
            raise ClosedError("the client was closed; nothing was sent")
        self.submitter.put(records, priority=priority)

    async def create(self, spec: TaskSpec) -> str:
        """Create a task without watching it; return its id."""
        record = self.record(spec)
        self.submitter.put_unwatched(record)
        try:
            await self.wait_for_id(record)
        finally:
            self.submitter.watch(record)
        return record.task_id or ""

    async def wait_for_id(self, record: Record) -> None:
        """Wait until *record* has an id.

        Raises:
            CallsheetError: It ended without one.
            ClosedError: The client was closed first.
        """
        try:
            await self.waiting.wait_for_id(record)
        except BaseException:
            if self.submitter.may_end_now(record):
                self.submitter.cancel(record, Cancelled.HERE, "its submitter stopped waiting")
            raise
        if record.task_id is None and record.error is not None:
            raise record.error

    def refuse(self, record: Record, error: CallsheetError) -> None:
        """End a record that is never queued, unless it has ended already."""
        if record.settle(error):
            self.lifecycle.ended(record)
