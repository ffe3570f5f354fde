"""Keeps every submission: its row in the journal and its money in the ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import attrs

from callsheet._journal import notes
from callsheet._models.policy import SpendLimit
from callsheet._models.snapshot import Status
from callsheet._models.spec import TaskSpec
from callsheet._models.spend import Estimate
from callsheet._state.fate import Grade
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

    from callsheet._journal.entries import AttemptEntry, Entry
    from callsheet._journal.journal import Journal  # noqa: TC004 - for_client imports it
    from callsheet._journal.notes import Note
    from callsheet._models.provider import Provider


_UNPRICED = Estimate(tokens=None, tokens_at_least=0, notes=("nobody has worked out its cost",))
"""The estimate of a record without one: its cost is unknown."""


@attrs.define(eq=False)
class _Attempts:
    """The attempts of a record without an id, as far as its notes need them.

    Attributes:
        last: The number of the last attempt, counted over all processes; 0 before the first.
        token: The token of the last attempt.
        tries: Requests of the current attempt that were noted.
        refused: Whether its last request was refused, so that it may be sent again unchanged.
        open: Whether the current attempt may have made a task.
        current: The number of the attempt that the next id belongs to.
        by_token: The numbers of all attempts that carried a token.
    """

    last: int = 0
    token: str | None = None
    tries: int = 0
    refused: bool = False
    open: bool = False
    current: int = 0
    by_token: dict[str, int] = attrs.field(factory=dict[str, int])


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
    files: MutableMapping[Record, str] = attrs.field(factory=WeakKeyDictionary[Record, str])
    _attempts: dict[Record, _Attempts] = attrs.field(factory=dict[Record, _Attempts], init=False)
    """The attempts of each record that has no id yet."""

    @classmethod
    def for_client(
        cls,
        provider: Provider,
        limit: SpendLimit | None,
        *,
        path: str | os.PathLike[str] | None,
        journal_timeout: float,
        key: str | None,
    ) -> Self:
        """Bookkeeping for a client; with a *path*, its journal belongs to this provider and key."""
        journal = None
        if path is not None:
            from callsheet._journal.journal import Journal  # noqa: PLC0415 - it imports sqlite3

            mark = _fingerprint(key)
            journal = Journal(
                path,
                provider=provider.name,
                base_url=provider.base_url,
                fingerprint=mark,
                timeout=journal_timeout,
            )
        return cls(ledger=Ledger(limit or SpendLimit()), journal=journal)

    async def plan(self, records: Sequence[Record], name: str | None) -> None:
        """Write records into the journal before they are queued.

        Raises:
            SpecError: A spec holds values that cannot be written.
            JournalError: The journal cannot be written; nothing may be sent.
        """
        if self.journal is not None and records:
            specs = [record.spec or TaskSpec() for record in records]
            plan = self.journal.new_plan(specs, name=name)
            await self.journal.write_first((plan,))
            for record, row in zip(records, plan.rows, strict=True):
                record.row = row

    async def adopt(self, records: Sequence[Record], ids: Sequence[str], name: str | None) -> None:
        """Write tasks that were attached by id into the journal.

        Raises:
            JournalError: The journal cannot be written.
        """
        if self.journal is not None and records:
            plan = self.journal.new_plan([None] * len(ids), name=name)
            attached = (notes.Attached(*pair) for pair in zip(plan.rows, ids, strict=True))
            await self.journal.write_first((plan, *attached))
            for record, row in zip(records, plan.rows, strict=True):
                record.row = row
                if record.settled:  # it ended while the row was being written
                    self._note_end(record)
                if record in self.files:
                    self._note(record, notes.Saved(row, self.files[record]))

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
        if self.journal is None or record.row is None:
            return
        attempts = self._attempts.setdefault(record, _Attempts())
        # A create that was refused is sent again unchanged: a further try of the same attempt. Any
        # other create is a new attempt. An earlier one is never overwritten, because its task may
        # exist beside that of the new one.
        again = attempts.refused and attempts.token == token
        n = attempts.last if again else attempts.last + 1
        tries = attempts.tries + 1 if again else 1
        attempt = notes.Attempt(record.row, n, token, at=time.time(), tries=tries)
        await self.journal.write_first((attempt,))
        # Only now: if it could not be written, nothing is sent, and the attempt never was.
        # Meanwhile a callback may have brought the id of an earlier attempt. Then `created` has
        # dropped these, and they come back, because this attempt needs its end, too.
        self._attempts[record] = attempts
        attempts.last = attempts.current = n
        attempts.token, attempts.tries = token, tries
        attempts.refused, attempts.open = False, True
        if token is not None:
            attempts.by_token[token] = n

    def refused(self, record: Record) -> None:
        """Note that a create made no task: it was refused, or did not leave after all.

        It may be sent again unchanged, as a further try of the same attempt.
        """
        attempts = self._attempts.get(record)
        if attempts is not None:
            self._note(record, *self._closed(record, attempts))
            attempts.refused = True
            if record.task_id is not None or record.settled:  # nothing follows
                del self._attempts[record]

    def doubted(self, record: Record) -> None:
        """Note that nobody knows whether a create made a task: its money is uncertain now."""
        self.ledger.doubt(record)

    def absent(self, record: Record) -> None:
        """Note that a lost create made no task. Its money is kept for the next attempt.

        Whoever does not send it again releases the money.
        """
        self.ledger.find(record)

    def note_absent(self, record: Record) -> None:
        """Write into the journal that a lost create made no task, because that is acted on now."""
        attempts = self._attempts.get(record)
        if attempts is not None and attempts.open and record.row is not None:
            # What is asked of a list so far is not enough for a witness.
            self._note(record, notes.Absent(record.row, attempts.current, Grade.PRESUMED))
            attempts.open = False

    def released(self, record: Record) -> None:
        """Free the money of a record's last attempt, unless that one is uncertain."""
        if not self._keep_in_doubt(record):
            attempts = self._attempts.get(record)
            if attempts is not None:
                self._note(record, *self._closed(record, attempts))
        self.ledger.release(record)

    def earlier_attempt_found(self, record: Record) -> None:
        """Note that an earlier attempt has the task, which was taken for absent.

        The last attempt stays uncertain for good. So there may be one task more than the limit
        allowed, and both are counted, even past the cap: both may be billed.
        """
        self._keep_in_doubt(record)
        self.ledger.carry(record, _carried_estimate(record))

    def told_of(self, record: Record, token: str) -> None:
        """Note that the id which comes next is that of the attempt with this token."""
        attempts = self._attempts.get(record)
        if attempts is not None:
            attempts.current = attempts.by_token.get(token, attempts.current)

    def created(self, record: Record) -> None:
        """Note that a record has an id: its task is under way."""
        self.ledger.find(record)
        attempts = self._attempts.pop(record, None)
        if attempts is not None and record.row is not None and record.task_id is not None:
            self._note(record, notes.Made(record.row, attempts.current, record.task_id))

    def moved(self, record: Record) -> None:
        """Note the new status of a record."""
        if record.row is not None and record.status is not None:
            self._note(record, notes.Moved(record.row, record.status))

    def ended(self, record: Record) -> None:
        """Note the outcome of a record, and settle its money."""
        self.account(record)
        self._note_end(record)

    def unwanted(self, record: Record) -> None:
        """Note that a record was cancelled while a task may exist for it."""
        if record.row is not None:
            self._note(record, notes.Cancelled(record.row))

    def withdrawn(self, record: Record) -> None:
        """Note that a record was cancelled and no task exists for it: its money is free."""
        self.ledger.release(record)
        end = record.error
        if record.row is not None and isinstance(end, NotSubmittedError):
            self._note(record, notes.Ended(record.row, end, time.time()))

    def saved(self, record: Record, path: str) -> None:
        """Note where a record's video was saved."""
        self.files[record] = path
        if record.row is not None:
            self._note(record, notes.Saved(record.row, path))

    def recall(self, record: Record, entry: Entry) -> None:
        """Take over a row of an earlier process, with its money.

        Its creates were sent then, so they count whatever the limit says now.
        """
        record.row = entry.row
        if entry.file is not None:
            self.files[record] = entry.file
        if entry.spec is None:
            return
        doubted, current = split(entry)
        if entry.attempts and not entry.final and entry.task_id is None:
            # The numbers go on, so that each attempt keeps its own notes.
            latest = entry.attempts[-1] if current is None else current
            self._attempts[record] = _Attempts(
                last=entry.attempts[-1].n,
                current=latest.n,
                tries=latest.tries,
                open=current is not None,
                by_token={each.token: each.n for each in entry.attempts if each.token is not None},
            )
        self._carry_doubts(record, doubted)
        if current is not None:
            self.ledger.carry(record, _carried_estimate(record))

    def recall_finished(self, record: Record, entry: Entry) -> None:
        """Take over a row whose outcome is final, with the money that it has cost.

        Call this while the record still has its estimate.
        """
        record.row = entry.row
        if entry.file is not None:
            self.files[record] = entry.file
        if entry.spec is None:
            return
        doubted, own = split(entry)
        if doubted:
            self._carry_doubts(record, doubted)
        answer = entry.answer
        if own is not None and answer is not None and answer.status is Status.SUCCEEDED:
            usage = answer.usage
            tokens = None if usage is None else usage.total_tokens
            self.ledger.count(_carried_estimate(record), tokens)

    def _carry_doubts(self, record: Record, doubted: Sequence[AttemptEntry]) -> None:
        """Count the attempts that may be billed beside the record's own one, each for good."""
        for _ in doubted:
            self.ledger.carry(record, _carried_estimate(record))
            self.ledger.doubt(record)
            self.ledger.abandon(record)

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

    def _keep_in_doubt(self, record: Record) -> bool:
        """Count an uncertain attempt for good, and free the record's key for the next one."""
        if not self.ledger.abandon(record):
            return False
        attempts = self._attempts.get(record)
        if attempts is not None and attempts.open and record.row is not None:
            # Nobody looks for it any more in this process. A later one may.
            self._note(record, notes.Doubted(record.row, attempts.current))
            attempts.open = False
        return True

    def _note_end(self, record: Record) -> None:
        """Note an end that is final. Any other leaves the row open for a later process."""
        if self.journal is None or record.row is None:
            return
        snapshot, error = record.snapshot, record.error
        found: list[Note] = []
        attempts = self._attempts.pop(record, None)
        # An uncertain submission notes nothing: its token stays, and a later process looks for it.
        if attempts is not None and not isinstance(error, SubmissionUncertainError):
            found += self._closed(record, attempts)
        if snapshot is not None and snapshot.status.terminal:
            found.append(notes.Answered(record.row, snapshot, time.time()))
        elif isinstance(error, CallsheetError) and is_final(error):
            found.append(notes.Ended(record.row, error, time.time()))
        self._note(record, *found)

    def _closed(self, record: Record, attempts: _Attempts) -> tuple[Note, ...]:
        """The note that the current attempt made no task, unless that is noted already."""
        if not attempts.open or record.row is None:
            return ()
        attempts.open = False
        return (notes.Refused(record.row, attempts.current, attempts.tries),)

    def _note(self, record: Record, *found: Note) -> None:
        """Write notes about a record, if there is a journal and the record has a row in it."""
        if self.journal is not None and record.row is not None and found:
            self.journal.write(found)


def split(entry: Entry) -> tuple[list[AttemptEntry], AttemptEntry | None]:
    """The attempts of an entry that may be billed: those beside its own task, and its own one.

    Its own is the one whose id it goes by. Without an id it is the last one that may have made a
    task, which is looked for, unless the row has ended: then nothing is looked for.
    """
    if len(entry.attempts) == 1 and entry.attempts[0].task_id == entry.task_id is not None:
        return [], entry.attempts[0]  # nearly all
    billed = [each for each in entry.attempts if each.open or each.task_id is not None]
    own = next((each for each in billed if each.task_id == entry.task_id is not None), None)
    if own is None and billed and entry.task_id is None and not entry.final:
        own = billed[-1]
    return [each for each in billed if each is not own], own


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
