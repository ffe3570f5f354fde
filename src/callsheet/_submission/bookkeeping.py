"""What is kept of every submission: its line in the journal, and its money in the ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import attrs

from callsheet._journal.journal import Journal
from callsheet._models.policy import SpendLimit
from callsheet._models.snapshot import Status
from callsheet._models.spec import TaskSpec
from callsheet._models.spend import Estimate
from callsheet._state.record import Record
from callsheet._submission.ledger import Ledger
from callsheet._wire import stops_batch
from callsheet.errors import (
    CallsheetError,
    ContentRejectedError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    NotSubmittedError,
    SpecError,
    SubmissionUncertainError,
    TaskError,
)


if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from callsheet._journal.entries import Entry
    from callsheet._models.provider import Provider


_UNPRICED = Estimate(tokens=None, tokens_at_least=0, notes=("nobody has worked out its cost",))
"""A record that nobody has priced counts as one of unknown cost."""


@attrs.define(eq=False, kw_only=True)
class Bookkeeping:
    """Told of each step of a record's life, before it is taken where that matters.

    Attributes:
        ledger: The money.
        journal: The file, if the client keeps one.
        files: Where videos were saved.
    """

    ledger: Ledger
    journal: Journal | None = None
    files: MutableMapping[Record, str] = attrs.field(
        factory=WeakKeyDictionary[Record, str], init=False
    )

    _earlier_doubts: WeakKeyDictionary[Record, int] = attrs.field(
        factory=WeakKeyDictionary[Record, int], init=False
    )

    @classmethod
    def for_client(
        cls,
        provider: Provider,
        limit: SpendLimit | None,
        *,
        path: str | os.PathLike[str] | None,
        key: str | None,
    ) -> Self:
        """Books of a client; with a *path* in a journal that belongs to this provider and key."""
        journal = None
        if path is not None:
            mark = _fingerprint(key)
            journal = Journal(
                path, provider=provider.name, base_url=provider.base_url, fingerprint=mark
            )
        return cls(ledger=Ledger(limit or SpendLimit()), journal=journal)

    async def plan(self, records: Sequence[Record], name: str | None) -> None:
        """Write down records that are going to be queued.

        Raises:
            SpecError: A spec holds what cannot be written down.
            JournalError: The journal cannot be written; nothing may be sent.
        """
        if self.journal is not None:
            specs = [record.spec or TaskSpec() for record in records]
            rows = await self.journal.plan(specs, name=name)
            for record, row in zip(records, rows, strict=True):
                record.row = row

    async def adopt(self, records: Sequence[Record], ids: Sequence[str], name: str | None) -> None:
        """Write down tasks that the caller brought.

        Raises:
            JournalError: The journal cannot be written.
        """
        if self.journal is not None:
            rows = await self.journal.adopt(ids, name=name)
            for record, row in zip(records, rows, strict=True):
                record.row = row
                if record.settled:  # while the row was being written
                    self._note_end(record, row)
                if record in self.files:
                    self.journal.downloaded(row, self.files[record])

    def reserve(self, record: Record) -> None:
        """Set aside what a record's task may cost; more attempts of it cost no more.

        An attempt is let through only if the limit is kept by then. One that is in doubt until then
        stays so for ever, since this one leaves beside it.

        Raises:
            SpendLimitError: It would pass the limit; nothing may be sent.
            SpecError: A spec that nobody has checked, of which nobody can say what it costs.
        """
        self._keep_in_doubt(record)
        if not self.ledger.renew(record):
            self.ledger.reserve(record, _estimate(record))

    async def sending(self, record: Record, token: str | None) -> None:
        """Write down that a create leaves now.

        Raises:
            JournalError: The journal cannot be written; nothing may be sent.
        """
        if self.journal is not None and record.row is not None:
            doubts = self._earlier_doubts.get(record, 0)
            await self.journal.sending(record.row, token, at=time.time(), doubts=doubts)

    def unsent(self, record: Record) -> None:
        """The create provably made nothing, and is going to be sent again."""
        doubted = record in self._earlier_doubts
        if self.journal is not None and record.row is not None and not doubted:
            self.journal.unsent(record.row)

    def doubted(self, record: Record) -> None:
        """Nobody knows whether the create made a task."""
        self.ledger.doubt(record)

    def absent(self, record: Record) -> None:
        """The create that was in doubt provably made nothing."""
        self.ledger.find(record)

    def released(self, record: Record) -> None:
        """The last attempt at a record made nothing; one that is in doubt stays so for ever."""
        self._keep_in_doubt(record)
        self.ledger.release(record)

    def earlier_attempt_found(self, record: Record) -> None:
        """An earlier attempt has made its task; the last one, which is in doubt, stays so for ever.

        That is one task more than was let through.
        """
        self._keep_in_doubt(record)
        self.ledger.carry(record, _carried_estimate(record))
        if self.journal is not None and record.row is not None:
            self.journal.doubted(record.row, self._earlier_doubts.get(record, 0))

    def created(self, record: Record) -> None:
        """The record has an id."""
        self.ledger.find(record)
        if self.journal is not None and record.row is not None and record.task_id is not None:
            self.journal.created(record.row, record.task_id)

    def moved(self, record: Record) -> None:
        """The record has another status."""
        if self.journal is not None and record.row is not None and record.status is not None:
            self.journal.status(record.row, record.status)

    def ended(self, record: Record) -> None:
        """The record has its outcome."""
        self.account(record)
        if record.row is not None:
            self._note_end(record, record.row)

    def unwanted(self, record: Record) -> None:
        """The record, of which a task may come, is not wanted."""
        if self.journal is not None and record.row is not None:
            self.journal.unwanted(record.row)

    def withdrawn(self, record: Record) -> None:
        """The record, of which no task can come any more, is not wanted."""
        self.ledger.release(record)
        end = record.error
        if (
            self.journal is not None
            and record.row is not None
            and isinstance(end, NotSubmittedError)
        ):
            self.journal.settled(record.row, end)

    def saved(self, record: Record, path: str) -> None:
        """The record's video is on disk."""
        self.files[record] = path
        if self.journal is not None and record.row is not None:
            self.journal.downloaded(record.row, path)

    def recall(self, record: Record, entry: Entry) -> None:
        """Take up what an earlier process has kept; a create was let through then."""
        record.row = entry.row
        if entry.file is not None:
            self.files[record] = entry.file
        sent = entry.sent_at is not None or entry.task_id is not None
        if entry.spec is not None and sent:
            estimate = _carried_estimate(record)
            for _ in range(entry.doubts):
                self.ledger.carry(record, estimate)
                self.ledger.doubt(record)
                self._keep_in_doubt(record)
            self.ledger.carry(record, estimate)

    def account(self, record: Record) -> None:
        """Settle the money of a record that has its outcome."""
        if record not in self.ledger:
            return
        snapshot = record.snapshot
        match record.error:
            case _ if snapshot is not None and snapshot.status is Status.SUCCEEDED:
                usage = snapshot.usage  # without its URL, or gone by now, it is billed all the same
                self.ledger.settle(record, None if usage is None else usage.total_tokens)
            case TaskError():
                self.ledger.release(record)
            case SubmissionUncertainError():
                self.ledger.doubt(record)
            case _ if record.task_id is not None:  # given up here, going on there
                self.ledger.doubt(record)
            case _:
                self.ledger.release(record)

    def _keep_in_doubt(self, record: Record) -> None:
        if self.ledger.abandon(record):
            self._earlier_doubts[record] = self._earlier_doubts.get(record, 0) + 1

    def _note_end(self, record: Record, row: int) -> None:
        if self.journal is None:
            return
        snapshot, error = record.snapshot, record.error
        if snapshot is not None and snapshot.status.terminal:
            self.journal.settled(row, snapshot)
        elif isinstance(error, CallsheetError) and is_final(error):
            self.journal.settled(row, error)
        elif record.task_id is None and not isinstance(error, SubmissionUncertainError):
            self.journal.unsent(row)


def _estimate(record: Record) -> Estimate:
    """What a record's task may cost, as it was worked out when the record was made."""
    estimate = record.estimate
    if isinstance(estimate, SpecError):
        raise estimate
    return _UNPRICED if estimate is None else estimate


def _carried_estimate(record: Record) -> Estimate:
    """What a task costs that is going on, whatever another version thought of its spec."""
    try:
        return _estimate(record)
    except SpecError as error:
        return Estimate(tokens=None, tokens_at_least=0, notes=(str(error),))


def _fingerprint(key: str | None) -> str:
    """A mark by which a key is known again, and from which it cannot be worked out."""
    return hashlib.sha256(b"callsheet journal " + (key or "").encode()).hexdigest()[:32]


def is_final(error: CallsheetError) -> bool:
    """Whether a second attempt would end the same; else the spec, or its task, is still open."""
    verdicts = (TaskError, SpecError, InvalidRequestError, ContentRejectedError, NotFoundError)
    ours = isinstance(error, ModelNotFoundError) or stops_batch(error)
    return isinstance(error, verdicts) and not ours
