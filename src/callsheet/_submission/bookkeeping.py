"""Executes what is decided about submissions: notes in the journal, money in the ledger."""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import attrs

from callsheet._catalog import estimates
from callsheet._journal.notes import (
    AbsenceNote,
    AnswerNote,
    AttachmentNote,
    AttemptNote,
    ByHandNote,
    CancelNote,
    DoubtNote,
    EndNote,
    FileNote,
    RefusalNote,
    StatusNote,
    TaskNote,
    WrongIdNote,
)
from callsheet._models.policy import SpendLimit
from callsheet._models.provider import Provider
from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._models.spend import Estimate, Ledger
from callsheet._state.fate import Fate, Grade
from callsheet._state.record import Record
from callsheet._submission.effects import (
    Carry,
    Confirm,
    Hold,
    MarkUncertain,
    NoteCancelled,
    NoteDisowned,
    NoteEnded,
    NoteFate,
    Release,
    Reserve,
)
from callsheet._submission.states import Attempt
from callsheet._submission.transition import attempt_of, is_final
from callsheet.errors import (
    CallsheetError,
    SpecError,
    SubmissionUncertainError,
    TaskError,
)


if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Sequence

    from callsheet._journal.entries import Entry
    from callsheet._journal.journal import Journal  # noqa: TC004 - for_client imports it
    from callsheet._journal.notes import Note
    from callsheet._submission.effects import MoneyEffect, NoteEffect, NoteFirst, WatchSurplus
    from callsheet._submission.states import Submission
    from callsheet._wire.kept_answer import KeptAnswer


_UNPRICED = Estimate(tokens=None, tokens_at_least=0, notes=("nobody has worked out its cost",))
"""The estimate of a record without one: its cost is unknown."""


@attrs.define(eq=False, kw_only=True)
class Bookkeeping:
    """Records each step of a submission in the ledger and the journal.

    The money of an attempt is set aside and its note is on disk before its create is sent. So no
    task can exist that is neither in the ledger nor in the journal.

    Attributes:
        ledger: Adds up the money.
        provider: The provider that the specs are for.
        journal: The journal, if the client has one.
        files: Where videos were saved.
    """

    ledger: Ledger
    provider: Provider
    journal: Journal | None = None
    files: MutableMapping[Record, str] = attrs.field(factory=WeakKeyDictionary[Record, str])
    _successes: dict[Record, Snapshot] = attrs.field(factory=dict[Record, Snapshot], init=False)
    """What said that a pending task has succeeded, though without a video."""

    @classmethod
    def for_client(
        cls,
        provider: Provider,
        limit: SpendLimit | None,
        *,
        path: str | os.PathLike[str] | None,
        journal_timeout: float,
        journal_takeover: bool,
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
                takeover=journal_takeover,
            )
        return cls(ledger=Ledger(limit or SpendLimit()), provider=provider, journal=journal)

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
            attached = (AttachmentNote(*pair) for pair in zip(plan.rows, ids, strict=True))
            await self.journal.write_first((plan, *attached))
            for record, row in zip(records, plan.rows, strict=True):
                record.row = row
                if record.settled:  # it ended while the row was being written
                    self._note_end(record)
                if record in self.files:
                    self._note(record, FileNote(row, self.files[record]))

    def refusal(self, record: Record, *, held: int | None) -> CallsheetError | None:
        """Why a create may not be paid for; ``None`` if its money can be set aside.

        Args:
            record: Its record.
            held: The attempt whose money is kept for this one, if there is one.
        """
        estimate = record.estimate
        if isinstance(estimate, SpecError):
            return estimate  # its cost is unknown, because it was not checked and is wrong
        instead_of = None if held is None else (record, held)
        return self.ledger.refusal(estimate or self._estimate(record), instead_of=instead_of)

    def count(self, record: Record, effect: MoneyEffect) -> None:
        """Bring the money of one attempt up to date.

        `watched` gives it the name of the record. After the task has ended, `account` settles or
        frees it; `TaskLifecycle.task_ended` calls that.

        Each attempt has its own money, because each may be billed. It stands under the record and
        the number of the attempt, and under the record alone once its task is watched.
        """
        key = (record, effect.n)
        match effect:
            case Reserve():
                if effect.instead_of is not None:
                    # Made no task, so its money becomes that of the next try.
                    self.ledger.release((record, effect.instead_of))
                self.ledger.reserve(key, self._estimate(record))
            case Hold() | Confirm():
                # A held amount counts as reserved, since `refusal` puts the next try in its place.
                self.ledger.confirm(key)
            case Release():
                self.ledger.release(key)
            case MarkUncertain():
                self.ledger.doubt(key)
            case Carry():
                self.ledger.carry(key, self._estimate(record))
                if effect.uncertain:
                    self.ledger.doubt(key)

    def watched(self, record: Record, n: int) -> None:
        """Note that the task of attempt *n* is the record's own: its money is the record's."""
        self.ledger.move((record, n), record)

    def unwatched(self, record: Record, n: int) -> None:
        """Note that the task of attempt *n* is looked for again: its money is the attempt's."""
        self.ledger.move(record, (record, n))

    def watched_for_money(self, surplus: Record, record: Record, effect: WatchSurplus) -> None:
        """Note that a task of an attempt is watched for its money, under a record of its own."""
        if effect.own_money:
            self.ledger.move((record, effect.n), surplus)
            return
        # The attempt has another task already, so this one has its own money, beyond the cap.
        self.ledger.carry(surplus, self._estimate(surplus))
        if record.row is not None:
            self._note(record, TaskNote(record.row, effect.n, effect.task_id))

    def note_first(self, record: Record, first: NoteFirst) -> Awaitable[None] | None:
        """Write into the journal that a create is about to be sent.

        If the process dies after this, the next one knows the token and looks for the task.

        Returns:
            What ends when the note is on disk. It raises `JournalError` if the journal cannot be
            written; then nothing may be sent. ``None`` if there is nothing to write.
        """
        if self.journal is None or record.row is None:
            return None
        note = AttemptNote(record.row, first.n, first.token, time.time(), first.tries)
        return self.journal.write_first((note,))

    def note(self, record: Record, submission: Submission, effects: Sequence[NoteEffect]) -> None:
        """Write facts about a record into the journal together, within milliseconds."""
        if record.row is not None:
            self._note(record, *(_note_of(record.row, submission, each) for each in effects))

    def moved(self, record: Record) -> None:
        """Note the new status of a record."""
        if record.row is not None and record.status is not None:
            self._note(record, StatusNote(record.row, record.status))

    def ended(self, record: Record) -> None:
        """Note the outcome of a record, and settle its money."""
        self.account(record)
        if record.row is not None:
            self._note_end(record)

    async def flush(self) -> None:
        """Wait until all that was noted so far is in the journal, if there is one.

        Raises:
            JournalError: It could not be written.
        """
        if self.journal is not None and not self.journal.closed:  # closing it has written all
            await self.journal.flush()

    def saved(self, record: Record, path: str) -> None:
        """Note where a record's video was saved."""
        self.files[record] = path
        if record.row is not None:
            self._note(record, FileNote(record.row, path))

    def recall(self, record: Record, entry: Entry) -> None:
        """Take over a row of an earlier process. Its money is counted apart from this."""
        record.row = entry.row
        if entry.file is not None:
            self.files[record] = entry.file

    def recall_bill(self, record: Record, answer: KeptAnswer) -> None:
        """Count what a task of an earlier process has cost, if it is billed.

        Call this while the record still has its estimate.
        """
        if answer.status is Status.SUCCEEDED:
            self.ledger.count(self._estimate(record), _tokens_said(answer))

    def carry(self, record: Record) -> None:
        """Count the task that a record has, whatever the limit says now: it was made earlier."""
        self.ledger.carry(record, self._estimate(record))

    def succeeded(self, record: Record, answer: Snapshot) -> None:
        """Keep an answer that says success and does not end the task, since it has no video yet.

        A task that has succeeded is billed, whatever a later answer says, in any process.
        """
        known = self._successes.get(record)
        if known is None or (_tokens_said(answer) or 0) > (_tokens_said(known) or 0):
            self._successes[record] = answer
        if known is None and record.row is not None:
            self._note(record, AnswerNote(record.row, answer, time.time()))

    def account(self, record: Record) -> None:
        """Settle the money of a record that has its outcome.

        Only a task that failed at the provider, or that was not made, frees its money.
        """
        earlier = self._successes.pop(record, None)
        if record not in self.ledger:
            return
        snapshot = record.snapshot
        ended_well = snapshot is not None and snapshot.status is Status.SUCCEEDED
        successes = (earlier, snapshot if ended_well else None)
        match record.error:
            # Billed, even if its video has no URL or is lost, or another answer denies it now.
            case _ if any(successes):
                said = [_tokens_said(each) for each in successes if each is not None]
                counts = [each for each in said if each is not None]
                self.ledger.settle(record, max(counts, default=None))
            case TaskError():
                self.ledger.release(record)
            case SubmissionUncertainError():
                self.ledger.doubt(record)
            # The client stopped watching, but the task goes on at the provider and may be billed.
            case _ if record.task_id is not None:
                self.ledger.doubt(record)
            case _:
                self.ledger.release(record)

    def _estimate(self, record: Record) -> Estimate:
        """What a task of the record may cost.

        It was computed when the record was made, and is kept until the first answer. A task that is
        found after that, or in a later process, costs as much. So it is computed again.
        """
        estimate = record.estimate
        if estimate is None and record.spec is not None:
            estimate = estimates.try_estimate(record.spec, self.provider)
        if isinstance(estimate, SpecError):  # an earlier version sent it, this one cannot price it
            return Estimate(tokens=None, tokens_at_least=0, notes=(str(estimate),))
        return _UNPRICED if estimate is None else estimate

    def _note_end(self, record: Record) -> None:
        """Note the end of a task if it is final. Any other leaves the row open."""
        snapshot, error = record.snapshot, record.error
        if record.row is None:
            return
        if snapshot is not None and snapshot.status.terminal:
            self._note(record, AnswerNote(record.row, snapshot, time.time()))
        elif isinstance(error, CallsheetError) and is_final(error):
            self._note(record, EndNote(record.row, error, time.time()))

    def _note(self, record: Record, *found: Note) -> None:
        """Write notes about a record, if there is a journal and the record has a row in it."""
        if self.journal is not None and record.row is not None:
            self.journal.write(found)


def _tokens_said(answer: Snapshot | KeptAnswer) -> int | None:
    """The number of tokens that an answer names: both are the bill, so the larger one counts."""
    usage = answer.usage
    if usage is None:
        return None
    said = (usage.completion_tokens, usage.total_tokens)
    return max((each for each in said if each is not None), default=None)


def _note_of(row: int, submission: Submission, effect: NoteEffect) -> Note:
    """The note of an effect: for an attempt, the fate that it has now."""
    match effect:
        case NoteCancelled():
            return CancelNote(row)
        case NoteDisowned():
            return WrongIdNote(row, effect.n, effect.task_id)
        case NoteEnded():
            return EndNote(row, effect.error, time.time())
        case NoteFate(by_hand=by_hand):
            return _note_of_fate(row, attempt_of(submission, effect.n), by_hand=by_hand)


def _note_of_fate(row: int, attempt: Attempt | None, *, by_hand: bool) -> Note:
    match attempt:
        case Attempt() if by_hand:
            return ByHandNote(row, attempt.n, attempt.task_id, time.time())
        case Attempt(fate=Fate.REFUSED):
            return RefusalNote(row, attempt.n, attempt.tries)
        case Attempt(fate=Fate.ABSENT):
            return AbsenceNote(row, attempt.n, attempt.grade or Grade.PRESUMED)
        case Attempt(fate=Fate.DOUBTED):
            return DoubtNote(row, attempt.n)
        case Attempt(fate=Fate.MADE, task_id=str(task_id)):
            return TaskNote(row, attempt.n, task_id, attempt.listed)
        case _:
            raise ValueError(f"the journal has no note for {attempt!r}")


def _fingerprint(key: str | None) -> str:
    """A one-way hash of a key: equal for equal keys, and the key cannot be computed from it."""
    return hashlib.sha256(b"callsheet journal " + (key or "").encode()).hexdigest()[:32]
