"""Continues the specs and tasks that an earlier process left in the journal."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio.lowlevel
import attrs

from callsheet._journal.journal import Journal
from callsheet._models.snapshot import Status
from callsheet._models.spend import Ledger
from callsheet._state.fate import Fate
from callsheet._state.group import Group
from callsheet._state.moment import Moment
from callsheet._state.registry import MOST_MADE, result_of
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.states import Attempt, Cancelled, State, Submission
from callsheet.errors import CallsheetError, ConfigurationError, SubmissionUncertainError


if TYPE_CHECKING:
    from callsheet._journal.entries import AttemptEntry, Entry
    from callsheet._runtime.engine import Engine
    from callsheet._state.clock import Clock
    from callsheet._state.record import Record
    from callsheet._state.registry import MadeTask
    from callsheet._submission.reconciler import Reconciler


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

    async def run(
        self, engine: Engine, *, unfinished: bool
    ) -> tuple[Group, list[Record], str | None]:
        """Give each row a record that continues from the state of its entry.

        A spec that has ended gets its outcome at once. A task with an id is watched. The task of a
        create that was sent without a known answer is looked for. A spec that was never sent is
        queued. A spec that was cancelled while its task might exist is never queued, and its task
        is cancelled when its id is known.

        If this fails or is cancelled while the journal is read, nothing is resumed and it may be
        called again. After that it cannot be cancelled.

        Args:
            engine: The engine of the client.
            unfinished: Whether rows whose outcome is final get no record. Their money counts.

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
        found = _Found(engine, unfinished=unfinished)
        try:
            async for entries in self.journal.pages(before=self.before):
                for start in range(0, len(entries), ENTRIES_PER_TURN):
                    for entry in entries[start : start + ENTRIES_PER_TURN]:
                        found.add(entry)
                    await anyio.lowlevel.checkpoint()
        except BaseException:
            self._started = False
            raise
        await found.take_up()
        return found.group, found.records, found.name


class _Found:
    """What was found in a journal, page by page. Until `take_up`, the client does not know of it.

    A row whose outcome is final becomes a record with that outcome at once, and its entry is
    dropped: a journal may hold a hundred thousand of them.

    Attributes:
        group: The group of all records.
        records: The records, in order.
    """

    def __init__(self, engine: Engine, *, unfinished: bool) -> None:
        self.group = Group()
        self.records: list[Record] = []
        self._engine = engine
        self._unfinished = unfinished
        self._names: set[str | None] = set()
        self._open: deque[tuple[Record, Entry]] = deque()
        self._dropped: list[Record] = []
        self._made: deque[_Made] = deque(maxlen=MOST_MADE)
        # The money of finished rows is added up apart, so that a resume that fails counts nothing.
        self._finished = Bookkeeping(
            ledger=Ledger(), provider=engine.bookkeeping.provider, files=engine.bookkeeping.files
        )

    @property
    def name(self) -> str | None:
        """The name of the batches of all records, if they have the same one."""
        return next(iter(self._names)) if len(self._names) == 1 else None

    def add(self, entry: Entry) -> None:
        """Make the record of one entry."""
        dropped = self._unfinished and entry.final
        group = None if dropped else self.group
        record = self._engine.intake.record(entry.spec, index=len(self.records), group=group)
        if entry.open_attempts and self._made.maxlen is not None:
            # Whatever was made after a lost create must be in a list that is to be believed.
            self._made = deque(self._made)
        if not dropped:
            self.group.total += 1
            self.records.append(record)
            self._names.add(entry.name)
        self._remember(record, entry)
        if not entry.final:
            self._open.append((record, entry))
            return
        bookkeeping = self._finished
        bookkeeping.recall(record, entry)
        if entry.spec is not None and entry.answer is not None:
            bookkeeping.recall_bill(record, entry.answer)
        _settle(record, entry)
        if _beside(entry):
            self._open.append((record, entry))
        if dropped:
            self._dropped.append(record)

    def _remember(self, record: Record, entry: Entry) -> None:
        """Remember the tasks of an entry, which lists must show."""
        if entry.spec is None:
            return
        for attempt in entry.attempts:
            ids = () if attempt.task_id is None else (attempt.task_id, *attempt.more_ids)
            for task_id in ids:
                own = task_id == entry.task_id
                confirmed = own and (entry.answer is not None or entry.status is not None)
                made = _Made(record, attempt, task_id, confirmed, cancelled=entry.cancelled)
                self._made.append(made)

    def _owners(self) -> dict[str | None, Record]:
        """Whose the ids are that are looked for here, by id.

        The answer to a create may have brought the id of another spec's task. The spec has it whose
        token a list has shown with it, or else the one whose task has ended, or the first one.
        """
        if all(entry.task_id is None for _, entry in self._open):
            return {}
        owners: dict[str | None, Record] = {
            each.task_id: each for each in self.records if each.settled and each.spec is not None
        }
        listed: set[str | None] = set()
        for record, entry in self._open:
            shown = any(each.listed and each.task_id == entry.task_id for each in entry.attempts)
            if entry.spec is None or entry.task_id in listed:
                continue  # whoever attaches an id does not say that it is that of a spec
            if shown:
                listed.add(entry.task_id)
                owners[entry.task_id] = record
            else:
                owners.setdefault(entry.task_id, record)
        return owners

    async def take_up(self) -> None:
        """Continue what is not finished. This cannot be cancelled."""
        engine = self._engine
        without_id: list[tuple[Record, Entry]] = []
        claimed: list[tuple[Record, Entry]] = []
        owners = self._owners()
        bookkeeping = engine.bookkeeping
        bookkeeping.ledger.absorb(self._finished.ledger)
        lost = False
        for number in range(1, len(self._open) + 1):
            record, entry = self._open.popleft()  # freeing all at the end would block the loop
            lost = lost or bool(entry.open_attempts)
            bookkeeping.recall(record, entry)
            if entry.task_id is None and not entry.final:
                without_id.append((record, entry))
            elif not entry.final and _is_claim(record, entry, owners):
                claimed.append((record, entry))
            else:
                _resume_task(engine, record, entry)
            if number % ENTRIES_PER_TURN == 0:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        await self._remember_all(owners, keep_all=lost)
        # Some of these are sent again at once under the policy "always". Nothing is awaited from
        # here on, so the caller has the records before that and can withdraw them.
        for record, entry in claimed:
            _resume_claim(engine, record, entry)
        for record, entry in without_id:
            _resume_submission(engine, record, entry, State.QUEUED)
            if entry.cancelled and not record.settled:
                engine.spawn(partial(engine.canceller.stop, record))

    async def _remember_all(self, owners: dict[str | None, Record], *, keep_all: bool) -> None:
        """Remember which tasks were made by specs of the journal; with *keep_all*, all of them.

        A search for lost creates must know which tasks in the list are those of other specs.
        """
        registry, reconciler = self._engine.registry, self._engine.submitter.reconciler
        # The oldest are known by their ids alone: they are of no use as witnesses.
        old = (*self._dropped, *self.records) if keep_all else ()
        for number, record in enumerate(old, start=1):
            if record.spec is not None and record.task_id is not None:
                task = reconciler.made_task(record, record.task_id, 0, None)
                registry.remember(record.tier, task, keep_all=True)
            if number % ENTRIES_PER_TURN == 0:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        for number, made in enumerate(self._made, start=1):
            if owners.get(made.task_id, made.record) is made.record:
                task = made.task(reconciler, self._engine.clock)
                registry.remember(made.record.tier, task, keep_all=keep_all)
            if number % ENTRIES_PER_TURN == 0:
                await anyio.lowlevel.cancel_shielded_checkpoint()


class _Made(NamedTuple):
    """A task of an entry, which lists must show. Most of many are dropped as they are."""

    record: Record
    attempt: AttemptEntry
    task_id: str
    confirmed: bool
    cancelled: bool

    def task(self, reconciler: Reconciler, clock: Clock) -> MadeTask:
        attempt = self.attempt
        task = reconciler.made_task(self.record, self.task_id, attempt.n, attempt.token)
        task.sent = None if attempt.at is None else Moment(None, clock.wall(attempt.at))
        task.listed = attempt.listed
        task.confirmed = self.confirmed
        # A task that the caller has cancelled may not be listed any more.
        task.denied = self.cancelled
        return task


def _settle(record: Record, entry: Entry) -> None:
    """Give a record the outcome of its entry, which is final."""
    answer = entry.answer
    if answer is not None:
        succeeded = answer.status is Status.SUCCEEDED and answer.video_url is not None
        error = None if succeeded else result_of(answer.snapshot)
        record.restore(answer, error if isinstance(error, CallsheetError) else None)
    elif entry.error is not None:
        record.task_id = entry.task_id
        record.settle(entry.error)


def _resume_task(engine: Engine, record: Record, entry: Entry) -> None:
    """Watch the task of an entry, unless it has ended, and look for what else it may have made."""
    if not entry.final and entry.task_id is not None:
        if entry.spec is not None:
            engine.bookkeeping.carry(record)  # first: the answer takes the place of the estimate
        record.snapshot = answer = None if entry.answer is None else entry.answer.snapshot
        if answer is not None and answer.status is Status.SUCCEEDED:
            engine.bookkeeping.succeeded(record, answer)  # billed, whatever is said of it now
        engine.attacher.adopt([record], [entry.task_id])
        if entry.cancelled and not record.settled:
            engine.spawn(partial(engine.canceller.stop, record))
    if _beside(entry):
        state = State.ACCEPTED if entry.task_id is not None else State.ENDED
        _resume_submission(engine, record, entry, state)


def _resume_submission(engine: Engine, record: Record, entry: Entry, state: State) -> None:
    """Hand what is known of the attempts of an entry to the state machine.

    It decides about money: whatever may have made a task is looked for, and not sent.
    """
    own = next((each.n for each in entry.attempts if each.task_id == entry.task_id), None)
    submission = Submission(
        state=state,
        attempts=tuple(_attempt_of(each, engine.clock) for each in entry.attempts),
        cancelled=Cancelled.FOR_GOOD if entry.cancelled else Cancelled.NO,
        registered=own if entry.task_id is not None else None,
    )
    engine.submitter.resume(record, submission)


def _is_claim(record: Record, entry: Entry, owners: dict[str | None, Record]) -> bool:
    """Whether the id of an entry is that of another spec's task."""
    return entry.spec is not None and owners.get(entry.task_id, record) is not record


def _resume_claim(engine: Engine, record: Record, entry: Entry) -> None:
    """Look for the task of an entry whose id is that of another spec's task."""
    why = SubmissionUncertainError(f"the id {entry.task_id} is that of another spec's task")
    attempts = [
        attrs.evolve(each, task_id=None, fate=Fate.OUT, disowned=why, wrong_id=entry.task_id)
        if each.task_id == entry.task_id
        else each
        for each in (_attempt_of(each, engine.clock) for each in entry.attempts)
    ]
    cancelled = Cancelled.FOR_GOOD if entry.cancelled else Cancelled.NO
    engine.submitter.resume(record, Submission(attempts=tuple(attempts), cancelled=cancelled))


def _attempt_of(entry: AttemptEntry, clock: Clock) -> Attempt:
    # Without a time it counts as very old: then no list proves that it made nothing.
    sent = Moment(None, clock.wall(entry.at or 0.0))
    return Attempt(
        n=entry.n,
        token=entry.token,
        fate=entry.fate,
        sent=sent,
        task_id=entry.task_id,
        more_ids=entry.more_ids,
        grade=entry.grade,
        tries=entry.tries,
    )


def _beside(entry: Entry) -> bool:
    """Whether an attempt has made, or may have made, a task beside the one it goes by.

    An attempt that is believed to have made nothing counts, too: a callback may tell of its task.
    """
    own = (None, entry.task_id)
    return not all(
        each.fate in _KNOWN and each.task_id in own and not each.more_ids for each in entry.attempts
    )


_KNOWN = (Fate.MADE, Fate.REFUSED)
"""The fates of an attempt of which nothing more is heard. A tuple, because it is quicker than a set
of enum members, whose hashes are computed in Python."""
