"""Keeps every submission: its row in the journal and its money in the ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import attrs

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
    from callsheet._journal.journal import Journal  # noqa: TC004 - for_client imports it
    from callsheet._models.provider import Provider


_UNPRICED = Estimate(tokens=None, tokens_at_least=0, notes=("nobody has worked out its cost",))
"""The estimate of a record without one: its cost is unknown."""


@attrs.define(eq=False, kw_only=True)
class Bookkeeping:
    """Records each step of a submission in the ledger and the journal.

    `reserve` and `sending` are called before a create is sent. So no task can exist that is neither
    in the ledger nor in the journal.

    Attributes:
        ledger: Adds up the money.
        journal: The journal, if the client has one.
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
    """How many earlier attempts of a record stay uncertain for good. Each has its own money."""

    @classmethod
    def for_client(
        cls,
        provider: Provider,
        limit: SpendLimit | None,
        *,
        path: str | os.PathLike[str] | None,
        key: str | None,
    ) -> Self:
        """Bookkeeping for a client; with a *path*, its journal belongs to this provider and key."""
        journal = None
        if path is not None:
            from callsheet._journal.journal import Journal  # noqa: PLC0415 - it imports sqlite3

            mark = _fingerprint(key)
            journal = Journal(
                path, provider=provider.name, base_url=provider.base_url, fingerprint=mark
            )
        return cls(ledger=Ledger(limit or SpendLimit()), journal=journal)

    async def plan(self, records: Sequence[Record], name: str | None) -> None:
        """Write records into the journal before they are queued.

        Raises:
            SpecError: A spec holds values that cannot be written.
            JournalError: The journal cannot be written; nothing may be sent.
        """
        if self.journal is not None:
            specs = [record.spec or TaskSpec() for record in records]
            rows = await self.journal.plan(specs, name=name)
            for record, row in zip(records, rows, strict=True):
                record.row = row

    async def adopt(self, records: Sequence[Record], ids: Sequence[str], name: str | None) -> None:
        """Write tasks that were attached by id into the journal.

        Raises:
            JournalError: The journal cannot be written.
        """
        if self.journal is not None:
            rows = await self.journal.adopt(ids, name=name)
            for record, row in zip(records, rows, strict=True):
                record.row = row
                if record.settled:  # it ended while the row was being written
                    self._note_end(record, row)
                if record in self.files:
                    self.journal.downloaded(row, self.files[record])

    def reserve(self, record: Record) -> None:
        """Set aside what a record's task may cost, before its create is sent.

        A further attempt takes over the reservation of one that made no task. An earlier attempt
        that may have made one stays uncertain for good, and this one is counted beside it.

        Raises:
            SpendLimitError: It would pass the limit; nothing may be sent.
            SpecError: The cost is unknown, because the spec was not checked and is wrong.
        """
        # First the doubt: it must not be taken for the reservation of this attempt, because two
        # tasks may be billed.
        self._keep_in_doubt(record)
        if not self.ledger.renew(record):
            self.ledger.reserve(record, _estimate(record))

    async def sending(self, record: Record, token: str | None) -> None:
        """Write into the journal that a create is about to be sent; return when it is on disk.

        If the process dies after this, the next one knows the token and looks for the task.

        Raises:
            JournalError: The journal cannot be written; nothing may be sent.
        """
        if self.journal is not None and record.row is not None:
            doubts = self._earlier_doubts.get(record, 0)
            await self.journal.sending(record.row, token, at=time.time(), doubts=doubts)

    def unsent(self, record: Record) -> None:
        """Note that a create made no task and is going to be sent again."""
        # With an earlier attempt in doubt, the row must stay one that may have a task: a later
        # process would send it again as if nothing could be billed.
        doubted = record in self._earlier_doubts
        if self.journal is not None and record.row is not None and not doubted:
            self.journal.unsent(record.row)

    def doubted(self, record: Record) -> None:
        """Note that nobody knows whether a create made a task: its money is uncertain now."""
        self.ledger.doubt(record)

    def absent(self, record: Record) -> None:
        """Note that a lost create made no task. Its money is kept for the next attempt.

        Whoever does not send it again releases the money.
        """
        self.ledger.find(record)

    def released(self, record: Record) -> None:
        """Free the money of a record's last attempt, unless that one is uncertain."""
        self._keep_in_doubt(record)
        self.ledger.release(record)

    def earlier_attempt_found(self, record: Record) -> None:
        """Note that an earlier attempt has the task, which was taken for absent.

        The last attempt stays uncertain for good. So there may be one task more than the limit
        allowed, and both are counted, even past the cap: both may be billed.
        """
        self._keep_in_doubt(record)
        self.ledger.carry(record, _carried_estimate(record))
        if self.journal is not None and record.row is not None:
            self.journal.doubted(record.row, self._earlier_doubts.get(record, 0))

    def created(self, record: Record) -> None:
        """Note that a record has an id: its task is under way."""
        self.ledger.find(record)
        if self.journal is not None and record.row is not None and record.task_id is not None:
            self.journal.created(record.row, record.task_id)

    def moved(self, record: Record) -> None:
        """Note the new status of a record."""
        if self.journal is not None and record.row is not None and record.status is not None:
            self.journal.status(record.row, record.status)

    def ended(self, record: Record) -> None:
        """Note the outcome of a record, and settle its money."""
        self.account(record)
        if record.row is not None:
            self._note_end(record, record.row)

    def unwanted(self, record: Record) -> None:
        """Note that a record was cancelled while a task may exist for it."""
        if self.journal is not None and record.row is not None:
            self.journal.unwanted(record.row)

    def withdrawn(self, record: Record) -> None:
        """Note that a record was cancelled and no task exists for it: its money is free."""
        self.ledger.release(record)
        end = record.error
        if (
            self.journal is not None
            and record.row is not None
            and isinstance(end, NotSubmittedError)
        ):
            self.journal.settled(record.row, end)

    def saved(self, record: Record, path: str) -> None:
        """Note where a record's video was saved."""
        self.files[record] = path
        if self.journal is not None and record.row is not None:
            self.journal.downloaded(record.row, path)

    def recall(self, record: Record, entry: Entry) -> None:
        """Take over a row of an earlier process, with its money.

        Its creates were sent then, so they count whatever the limit says now.
        """
        record.row = entry.row
        if entry.file is not None:
            self.files[record] = entry.file
        sent = entry.sent_at is not None or entry.task_id is not None
        if entry.spec is not None and sent:
            estimate = _carried_estimate(record)
            # Each attempt in doubt may be billed, beside the last one.
            for _ in range(entry.doubts):
                self.ledger.carry(record, estimate)
                self.ledger.doubt(record)
                self._keep_in_doubt(record)
            self.ledger.carry(record, estimate)

    def account(self, record: Record) -> None:
        """Settle the money of a record that has its outcome.

        Only a task that failed at the provider, or that was not made, frees its money.
        """
        if record not in self.ledger:
            return
        snapshot = record.snapshot
        match record.error:
            case _ if snapshot is not None and snapshot.status is Status.SUCCEEDED:
                usage = snapshot.usage  # billed, even if its video has no URL or is lost
                self.ledger.settle(record, None if usage is None else usage.total_tokens)
            case TaskError():
                self.ledger.release(record)
            case SubmissionUncertainError():
                self.ledger.doubt(record)
            # The client stopped watching, but the task goes on at the provider and may be billed.
            case _ if record.task_id is not None:
                self.ledger.doubt(record)
            case _:
                self.ledger.release(record)

    def _keep_in_doubt(self, record: Record) -> None:
        """Count an uncertain attempt for good, and free the record's key for the next one."""
        if self.ledger.abandon(record):
            self._earlier_doubts[record] = self._earlier_doubts.get(record, 0) + 1

    def _note_end(self, record: Record, row: int) -> None:
        """Note an end that is final. Any other leaves the row open for a later process."""
        if self.journal is None:
            return
        snapshot, error = record.snapshot, record.error
        if snapshot is not None and snapshot.status.terminal:
            self.journal.settled(row, snapshot)
        elif isinstance(error, CallsheetError) and is_final(error):
            self.journal.settled(row, error)
        # An uncertain submission notes nothing: its token stays, and a later process looks for it.
        elif record.task_id is None and not isinstance(error, SubmissionUncertainError):
            self.journal.unsent(row)


def _estimate(record: Record) -> Estimate:
    """What a record's task may cost, as computed when the record was made."""
    estimate = record.estimate
    if isinstance(estimate, SpecError):
        raise estimate
    return _UNPRICED if estimate is None else estimate


def _carried_estimate(record: Record) -> Estimate:
    """The estimate of a task that was sent; its cost is unknown if this version cannot price it."""
    try:
        return _estimate(record)
    except SpecError as error:
        return Estimate(tokens=None, tokens_at_least=0, notes=(str(error),))


def _fingerprint(key: str | None) -> str:
    """A one-way hash of a key: equal for equal keys, and the key cannot be computed from it."""
    return hashlib.sha256(b"callsheet journal " + (key or "").encode()).hexdigest()[:32]


def is_final(error: CallsheetError) -> bool:
    """Whether a second attempt would end the same way; otherwise the row stays open.

    An error about the key, the balance, the model or the quota is not final: the caller can
    change that, and then the same spec may succeed.
    """
    verdicts = (TaskError, SpecError, InvalidRequestError, ContentRejectedError, NotFoundError)
    ours = isinstance(error, ModelNotFoundError) or stops_batch(error)
    return isinstance(error, verdicts) and not ours
