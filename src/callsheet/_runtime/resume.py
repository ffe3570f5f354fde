"""Takes up what an earlier process has left in the journal."""

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
"""Entries taken up before others get a turn."""


@attrs.define(eq=False, kw_only=True)
class Resumption:
    """The rows of a journal that an earlier process has left, taken up once and as a whole.

    Attributes:
        journal: The journal.
        before: Number of the first row that is not among them.
    """

    journal: Journal
    before: int
    _begun: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(cls, journal: Journal) -> Self:
        """All rows that an open journal holds now."""
        return cls(journal=journal, before=journal.rows)

    async def take_up(self, engine: Engine) -> tuple[Group, list[Record], str | None]:
        """Give each row a record that goes on where its entry ends.

        What has ended has its outcome at once; a task that has an id is watched; a create that left
        and of which nothing more is known is looked for; what never left is queued. What was
        cancelled in vain is never queued, and cancelled once it has an id. Returns the group of
        all, the records in order, and the name if all were handed in under one.

        Failed, or cancelled while the journal is read, it has taken up nothing and may be tried
        again; then it is not interrupted any more.

        Raises:
            ConfigurationError: It was done before, or is under way.
            JournalError: The journal cannot be read.
        """
        if self._begun:
            raise ConfigurationError("this client has resumed its journal already")
        self._begun = True
        try:
            entries = deque(await self.journal.entries())
        except BaseException:
            self._begun = False
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
            entry = entries.popleft()  # all of them let go at once would take their time, too
            names.add(entry.name)
            record = engine.record(entry.spec, index=index, group=group)
            records.append(record)
            engine.bookkeeping.recall(record, entry)
            if _is_lost(entry):
                lost.append((record, entry))
            elif not _take_up(engine, record, entry):
                unsent.append(record)
            if index % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        # what is looked for is told from all of them
        known = records if lost else records[-MOST_KNOWN:]
        for index, record in enumerate(known):
            engine.submitter.reconciler.remember(record)
            if index % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        for record, entry in lost:  # some are sent again: not before the caller has them
            _take_up(engine, record, entry)
        engine.submitter.put(unsent)
        return group, records, names.pop() if len(names) == 1 else None


def _take_up(engine: Engine, record: Record, entry: Entry) -> bool:
    """Bring a record to where its entry ends; tell whether nothing is to be sent for it."""
    if entry.task_id is not None and not _is_over(entry):
        record.snapshot = entry.answer  # a success is billed, whatever comes now
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
        if entry.unwanted:
            engine.submitter.give_up(record)
        reason = "an earlier process had no answer that it could read"
        error = SubmissionUncertainError(reason, entry.token)
        if entry.doubts:
            engine.submitter.remember_doubt(record, error)
        left = Moment(None, engine.clock.wall(entry.sent_at))
        engine.submitter.lose(record, error, sent=left)
    elif entry.unwanted:
        engine.canceller.withdraw(record, "cancelled before it was sent again")
    else:
        return False
    if entry.unwanted and not record.settled:
        engine.spawn(partial(engine.canceller.stop, record))
    return True


def _is_lost(entry: Entry) -> bool:
    """Whether a create left, and nothing more is known of it."""
    nothing = entry.task_id is None and entry.answer is None and entry.error is None
    return entry.sent_at is not None and nothing


def _is_over(entry: Entry) -> bool:
    """Whether the task of an entry has ended by its provider's word, and is not asked for again.

    What was only given up may go on there. A success without a video is billed, and its video may
    be there by now.
    """
    answer = entry.answer
    if answer is None:
        return isinstance(entry.error, TaskError)
    return answer.status is not Status.SUCCEEDED or answer.video_url is not None
