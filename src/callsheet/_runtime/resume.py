"""Continues the specs and tasks that an earlier process left in the journal."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Self

import anyio.lowlevel
import attrs

from callsheet._journal.journal import Journal
from callsheet._models.snapshot import Status
from callsheet._state.clock import Moment
from callsheet._state.group import Group
from callsheet._state.registry import result_of
from callsheet._submission.reconciler import MOST_KNOWN
from callsheet.errors import ConfigurationError, SubmissionUncertainError, TaskError


if TYPE_CHECKING:
    from callsheet._journal.entries import Entry
    from callsheet._runtime.engine import Engine
    from callsheet._state.record import Record


ENTRIES_PER_TURN = 50
"""Entries that are resumed before other tasks of the event loop get a turn."""


@attrs.define(eq=False, kw_only=True)
class Resumption:
    """The rows that an earlier process left in a journal. They are resumed once, all together.

    Attributes:
        journal: The journal.
        before: The number of the first row that is not one of them.
    """

    journal: Journal
    before: int
    _started: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(cls, journal: Journal) -> Self:
        """The resumption of all rows that an open journal holds now."""
        return cls(journal=journal, before=journal.rows)

    async def run(self, engine: Engine) -> tuple[Group, list[Record], str | None]:
        """Give each row a record that continues from the state of its entry.

        A spec that has ended gets its outcome at once. A task with an id is watched. The task of a
        create that was sent without a known answer is looked for. A spec that was never sent is
        queued. A spec that was cancelled while its task might exist is never queued, and its task
        is cancelled when its id is known.

        If this fails or is cancelled while the journal is read, nothing is resumed and it may be
        called again. After that it cannot be cancelled.

        Returns:
            The group of all records, the records in order, and the name of their batches if all
            have the same one.

        Raises:
            ConfigurationError: It was called before.
            JournalError: The journal cannot be read.
        """
        if self._started:
            raise ConfigurationError("this client has resumed its journal already")
        self._started = True
        try:
            entries = deque(await self.journal.entries())
        except BaseException:
            self._started = False
            raise
        while entries and entries[-1].row >= self.before:
            entries.pop()
        return await self._records(engine, entries)

    async def _records(
        self, engine: Engine, entries: deque[Entry]
    ) -> tuple[Group, list[Record], str | None]:
        group = Group(total=len(entries))
        records: list[Record] = []
        unsent: list[Record] = []
        lost: list[tuple[Record, Entry]] = []
        names: set[str | None] = set()
        for index in range(group.total):
            entry = entries.popleft()  # freeing all entries at the end would block the loop
            names.add(entry.name)
            record = engine.record(entry.spec, index=index, group=group)
            records.append(record)
            engine.bookkeeping.recall(record, entry)
            if _is_lost(entry):
                lost.append((record, entry))
            elif not _resume_record(engine, record, entry):
                unsent.append(record)
            if index % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        # A search for lost creates must know which tasks in the list are those of other specs.
        known = records if lost else records[-MOST_KNOWN:]
        for index, record in enumerate(known):
            engine.submitter.reconciler.remember(record)
            if index % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        # Some of these are sent again at once under the policy "always". Nothing is awaited from
        # here on, so the caller has the records before that and can withdraw them.
        for record, entry in lost:
            _resume_record(engine, record, entry)
        engine.submitter.put(unsent)
        return group, records, names.pop() if len(names) == 1 else None


def _resume_record(engine: Engine, record: Record, entry: Entry) -> bool:
    """Bring a record to the state of its entry; return ``False`` if it is to be queued.

    The order of the cases decides about money: whatever may have a task is never queued.
    """
    if entry.task_id is not None and not _is_over(entry):
        record.snapshot = entry.answer  # a success is billed, even if its task is lost now
        engine.attacher.adopt([record], [entry.task_id])
    elif entry.answer is not None:
        record.task_id, record.snapshot = entry.answer.task_id, entry.answer
        record.move(Status.QUEUED)
        record.settle(result_of(entry.answer), entry.answer.status)
        engine.bookkeeping.account(record)
    elif entry.error is not None:
        record.task_id = entry.task_id
        record.settle(entry.error)
        engine.bookkeeping.account(record)
    elif entry.sent_at is not None:
        # The journal has the token and no id: the earlier process ended after it wrote the note, so
        # the create may have been sent. It counts as sent, and its task is looked for.
        if entry.unwanted:
            engine.submitter.never_resend(record)
        reason = "an earlier process had no answer that it could read"
        error = SubmissionUncertainError(reason, entry.token)
        if entry.doubts:
            engine.submitter.remember_doubt(record, error)
        left = Moment(None, engine.clock.wall(entry.sent_at))
        engine.submitter.answer_lost(record, error, sent=left)
    elif entry.unwanted:
        engine.canceller.end_unsent(record, "cancelled before it was sent again")
    else:
        return False
    if entry.unwanted and not record.settled:
        engine.spawn(partial(engine.canceller.stop, record))
    return True


def _is_lost(entry: Entry) -> bool:
    """Whether a create may have been sent, and neither an id nor an end is known."""
    nothing = entry.task_id is None and entry.answer is None and entry.error is None
    return entry.sent_at is not None and nothing


def _is_over(entry: Entry) -> bool:
    """Whether the provider has said that the task of an entry ended: it is not polled again.

    A task that this client stopped watching may continue there. A success without a video is
    billed, and its video may be available now.
    """
    answer = entry.answer
    if answer is None:
        return isinstance(entry.error, TaskError)
    return answer.status is not Status.SUCCEEDED or answer.video_url is not None
