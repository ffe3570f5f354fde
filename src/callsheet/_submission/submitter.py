"""Turns records into tasks: which record is next, and what happens when an answer is lost.

A create is sent in `Sender`. What follows is decided here: `_failed` handles a create without an
id, `answer_lost` starts the search for its task, and `_found`, `_absent` and `_unknown` take the
result. Only `_resend` sends a record again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio.lowlevel
import attrs

from callsheet._models.policy import RetryPolicy
from callsheet._state.clock import Moment, WakeEvent
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._submission.attempts import Attempts
from callsheet._submission.bookkeeping import Bookkeeping, is_final
from callsheet._submission.correlation_token import has_own, is_called, new_token, own_mark
from callsheet._submission.fair_queue import FairQueue
from callsheet._submission.reconciler import Reconciler
from callsheet._submission.sender import CLOSED, Sender, fatal_error_of, not_submitted
from callsheet._wire import stops_batch
from callsheet.errors import (
    CallsheetError,
    ConnectFailedError,
    JournalError,
    NotSubmittedError,
    SpecError,
    SubmissionUncertainError,
)
from callsheet.events import Event, SubmissionLost


if TYPE_CHECKING:
    from anyio.abc import TaskGroup


MOST_AWAITING_TURN = 3
"""Most records that are prepared and wait for their turn. The rest stay in the fair queue, where a
record of another batch or of a higher priority can still come first."""


@attrs.define(eq=False, kw_only=True)
class Submitter:
    """Takes records, and ends each with a task or an error.

    Attributes:
        sender: Sends creates.
        reconciler: Looks for tasks whose create was lost.
        bookkeeping: Keeps the ledger and the journal.
        policy: What happens to a create whose answer was lost.
        width: Most records under way, >= 1.
        found: Called with a record whose task was found after its answer was lost.
        ended: Called with a record that ends without a task.
        emit: Passes an event to the observer.
    """

    sender: Sender
    reconciler: Reconciler
    bookkeeping: Bookkeeping
    policy: RetryPolicy
    width: int
    found: Callable[[Record], None]
    ended: Callable[[Record], None]
    emit: Callable[[Event], None]
    _queue: FairQueue = attrs.field(factory=FairQueue, init=False)
    _to_resend: list[Record] = attrs.field(factory=list[Record], init=False)
    """Records that are sent again after a lost create. They come before the queue."""
    _unwanted: set[Record] = attrs.field(factory=set[Record], init=False)
    """Records that are never sent again. An attempt of them may have made a task."""
    _attempts: Attempts = attrs.field(factory=Attempts, init=False)
    _active: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    """Records that a worker handles now, in the order in which they were started."""
    _doubts: dict[Record, SubmissionUncertainError] = attrs.field(
        factory=dict[Record, SubmissionUncertainError], init=False
    )
    """Records that are sent again beside an attempt that may have made a task, with its error."""
    _awaiting_turn: set[Record] = attrs.field(factory=set[Record], init=False)
    """Active records that are being prepared or wait for their turn."""
    _closed: bool = attrs.field(default=False, init=False)
    _wake_up: WakeEvent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the wake-up event, and take the results of the reconciler."""
        self._wake_up = WakeEvent(self.sender.clock)
        self.reconciler.found = self._found
        self.reconciler.absent = self._absent
        self.reconciler.unknown = self._unknown

    def put(self, records: Sequence[Record], *, priority: int = 0) -> None:
        """Queue records. A group is sent in order; groups of one priority take turns."""
        self._queue.put(records, priority=priority)
        self._wake_up.set()

    def queued(self) -> list[Record]:
        """The records that no worker handles yet, group by group in order."""
        return [record for record in (*self._to_resend, *self._queue) if not record.settled]

    def active(self) -> list[Record]:
        """The records without an id that a worker handles or that are looked for."""
        lost = [each.record for each in self.reconciler.lost_creates]
        return [record for record in (*self._active, *lost) if record.task_id is None]

    def can_withdraw(self, record: Record) -> bool:
        """Whether *record* can end now with the certainty that no task exists for it.

        It cannot if it has an id, if its create is in flight or lost, or if an earlier attempt may
        have made a task.
        """
        return self._has_made_nothing(record) and record not in self._doubts

    def never_resend(self, record: Record, *, for_good: bool = True) -> None:
        """Do not send a record again, even if it becomes certain that its create made no task.

        With *for_good*, a later process does not send it, either: the journal notes it.
        """
        if record.task_id is None:
            self._unwanted.add(record)
            if for_good:
                self.bookkeeping.unwanted(record)
            if record in self._to_resend and record in self._doubts:
                # It was going to be sent beside an attempt that may have made a task. It will not
                # be sent now, and what that attempt did stays unknown.
                self._end(record, self._doubts[record])

    def remember_doubt(self, record: Record, error: SubmissionUncertainError) -> None:
        """Note that an earlier attempt at a record may have made a task, and nobody will know.

        Such a record never ends as one that costs nothing: see `_end`.
        """
        self._doubts[record] = error

    def room_made(self) -> None:
        """Note that one of our tasks left the provider's queue, or ended."""
        self.sender.room_made()
        self._wake_up.set()

    def close(self) -> list[Record]:
        """Stop, and return the records that were never sent.

        Creates in flight have a few seconds left.
        """
        self._closed = True
        self.sender.close()
        for lost in self.reconciler.close():
            # Nobody knows yet whether these made a task, so they end as uncertain. The journal
            # still holds their tokens, so a later process can look for them.
            self._end(lost.record, lost.error)
        for record, doubt in tuple(self._doubts.items()):
            # Not sent again, but an earlier attempt may have made a task: not "never sent".
            if record in self._to_resend:
                self._end(record, doubt)
        left = self.queued()
        self._to_resend.clear()
        self._queue.clear()
        return left

    async def run(self) -> None:
        """Submit records until cancelled."""
        async with anyio.create_task_group() as workers:
            workers.start_soon(self.reconciler.run)
            while True:
                while self._start_next(workers):
                    # trio starts tasks in any order; starting them one at a time keeps ours
                    await anyio.lowlevel.checkpoint()
                await self._wake_up.wait(None)

    def answer_lost(self, record: Record, error: SubmissionUncertainError, *, sent: Moment) -> None:
        """Handle a create that was sent at *sent* and whose answer was lost.

        The order matters: first the money counts as uncertain, then a callback that came already is
        used, then the search starts. Only if nobody can look for the task, `_unknown` decides.
        Nothing is sent here.
        """
        # The money stays in the ledger: the task may exist and be billed.
        self.bookkeeping.doubted(record)
        token, own = error.token, has_own(record.spec)
        task_id = self._attempts.id_of(token)
        if task_id is not None:  # a callback was faster than the answer
            self._found(record, task_id)
        elif self.reconciler.look_for(
            record,
            error,
            mark=own_mark(record) if own else token,
            ours=not own,
            sent=sent,
            called=token is not None and is_called(record),
        ):
            self.emit(SubmissionLost(index=record.index, error=error))
        else:
            self._unknown(record, error)

    def take_callback(self, token: str, task_id: str) -> bool:
        """Take the id that a callback brings for a token; return whether a record needed it.

        The token may be that of an earlier attempt while a later one is looked for. Then the search
        for the later one stops, and what it did stays unknown.
        """
        lost = self.reconciler.lost_creates.by_token(token)
        if lost is not None:  # its answer was lost, and this takes the place of the answer
            self.reconciler.lost_creates.drop(lost.record)
            self._found(lost.record, task_id)
            return True
        if self._attempts.set_id(token, task_id):
            # Its create is under way. This id is used only if the answer is lost.
            return True
        record, in_doubt = self._attempts.find_lost(token) or (None, False)
        if record is None or record.settled or record.task_id or self.sender.is_in_flight(record):
            # A later create in flight cannot be taken back, and its answer decides. The task of the
            # earlier one is not watched then, and may be billed without being counted.
            return False
        if self.reconciler.lost_creates.drop(record) is not None and not in_doubt:
            # Two attempts may be billed: this one, which was taken for absent and so has no money
            # in the ledger any more, and the later one, which was being looked for.
            self.bookkeeping.earlier_attempt_found(record)
        self.bookkeeping.told_of(record, token)
        if record in self._to_resend:  # it has its task, so it must not be sent again
            self._to_resend.remove(record)
        self._found(record, task_id)
        return True

    def _has_made_nothing(self, record: Record) -> bool:
        """Whether it has no id, and its current attempt has made no task so far."""
        out = self.sender.is_in_flight(record) or record in self.reconciler.lost_creates
        return record.task_id is None and not out

    def _start_next(self, workers: TaskGroup) -> bool:
        """Start the next record; return ``False`` if none may be started now."""
        most = min(self.width, self.sender.admission.most_under_way(len(self.sender.registry)))
        if len(self._awaiting_turn) >= MOST_AWAITING_TURN or len(self._active) >= most:
            return False
        record = self._to_resend.pop(0) if self._to_resend else self._queue.take(self._may_start)
        if record is None:
            return False
        fatal = fatal_error_of(record)
        if fatal is not None and not record.settled:
            # Every create of a stopped batch would fail in the same way, so it is not sent.
            self._end(record, not_submitted(fatal))
        if not record.settled:
            self._active[record] = None
            self._awaiting_turn.add(record)
            workers.start_soon(self._submit, record)
        return True

    def _may_start(self, record: Record) -> bool:
        """Whether a record may be started now.

        The first create of each group and model goes alone. So a wrong key or a closed model costs
        one request, and not one for each spec of the batch.
        """
        group = record.group
        return (
            not isinstance(group, Group)
            or record.settled
            or group.is_accepted(record.model)
            or group.fatal_error_of(record.model) is not None
            or not any(r.group is group and r.model == record.model for r in self._active)
        )

    async def _submit(self, record: Record) -> None:
        """Make one attempt at a record, and handle its end."""
        # Each attempt has a new token, so the tasks of two attempts can be told apart.
        token = new_token(record, self.sender.paid_call.provider)
        self._attempts.begin(token)
        begun = self.sender.clock.moment()

        def turn_came() -> None:
            # The latest moment before the request. Tasks that are older cannot be this one.
            nonlocal begun
            begun = self.sender.clock.moment()
            self._awaiting_turn.discard(record)
            self._wake_up.set()

        try:
            await self.sender.create(
                record,
                token,
                turn_came=turn_came,
                wanted=lambda: record not in self._unwanted,
            )
        except CallsheetError as error:
            self._failed(record, error, sent=begun)
        except BaseException:
            # Cancelled from outside. The record must end, or its waiters would wait for ever.
            if record.task_id is None:
                self._end(record, self._interrupted(record, token))
            raise
        finally:
            del self._active[record]
            if record.task_id is not None:
                self._forget(record)
            self._attempts.finish(token)
            self._awaiting_turn.discard(record)
            self._wake_up.set()

    def _failed(self, record: Record, error: CallsheetError, *, sent: Moment) -> None:
        """Handle a create that brought no id and is not tried again by the sender.

        This decides between three ends: cancelled by the caller, looked for, or ended with *error*.
        """
        if record.task_id is not None:  # a callback brought the id, so the create was not sent
            return
        if record in self._unwanted and error.transient:
            # A transient error here is a refusal or a failed connection, since
            # SubmissionUncertainError is not transient. So no task was made, and none is wanted.
            self._withdraw(record)
            return
        # Without a connection or a journal no other spec can be sent, either.
        stops_all = isinstance(error, (ConnectFailedError, JournalError))
        if isinstance(record.group, Group) and (stops_all or stops_batch(_cause_of(error))):
            record.group.stop(record.model, error)
        if isinstance(error, SubmissionUncertainError) and self._worth_looking(error):
            self.answer_lost(record, error, sent=sent)
        else:
            self._end(record, error)

    def _interrupted(self, record: Record, token: str | None) -> CallsheetError:
        """The error of a create that was cancelled from outside."""
        if self.sender.is_in_flight(record):  # sent, for example before a second Ctrl-C
            reason = "the program was interrupted before the answer came"
            return SubmissionUncertainError(reason, token)
        return NotSubmittedError(CLOSED)  # not sent, or refused: no try made a task

    def _worth_looking(self, error: SubmissionUncertainError) -> bool:
        """Whether to look for its task: not while the client closes, nor at a wrong address."""
        if self._attempts.id_of(error.token) is not None:
            return True  # its id is known already
        return not (self._closed or stops_batch(_cause_of(error)))

    def _found(self, record: Record, task_id: str) -> None:
        """Take the id of a task whose create was lost: it is watched like any other."""
        try:
            self.sender.registry.add(record, task_id, now=self.sender.clock.now())
        except SubmissionUncertainError as error:  # another record of ours has this id
            self._end(record, error)
            return
        self._forget(record)
        if isinstance(record.group, Group):
            record.group.mark_accepted(record.model)
        self.found(record)
        self._wake_up.set()

    def _absent(self, record: Record, error: SubmissionUncertainError) -> None:
        """Take the result that a lost create made no task, and decide whether to send it again.

        Only here a lost create is repeated although the caller has not accepted to pay twice. So
        the reconciler must have proven that it made no task.
        """
        # The reservation is kept, no longer as uncertain: the next attempt takes it over, or
        # `_end` releases it.
        self.bookkeeping.absent(record)
        if record in self._unwanted:
            self.bookkeeping.note_absent(record)
            self._withdraw(record)
        elif self.policy.resubmit == "never":
            # The caller wants to decide about a second create. So it ends as uncertain, and its
            # money stays in the ledger.
            self._end(record, error)
        else:
            # The journal says so first, so that a later process does not look for a task that does
            # not exist.
            self.bookkeeping.note_absent(record)
            nothing = NotSubmittedError("each of its creates was lost, and made nothing")
            nothing.__cause__ = error
            self._resend(record, nothing, token=error.token, in_doubt=False)

    def _unknown(self, record: Record, error: SubmissionUncertainError) -> None:
        """Take the result that nobody can know whether a lost create made a task.

        It is sent again only under the policy "always", which the caller chose knowing that a spec
        may then be paid twice.
        """
        if self.policy.resubmit == "always" and record not in self._unwanted:
            # The first task may still be billed. Its money stays uncertain beside the next attempt.
            self.remember_doubt(record, error)
            self._resend(record, error, token=error.token, in_doubt=True)
        else:
            self._end(record, error)

    def _resend(
        self, record: Record, error: CallsheetError, *, token: str | None, in_doubt: bool
    ) -> None:
        """Queue a record once more, or end it with *error* if it has had all its attempts.

        Its callers have decided that it may be sent again. The attempt before it is remembered: a
        callback may still bring the id of its task.
        """
        if self._attempts.add_lost(record, token, in_doubt=in_doubt) >= self.policy.attempts:
            self._end(record, error)
            return
        self._to_resend.append(record)
        self._wake_up.set()

    def _withdraw(self, record: Record) -> None:
        """End a record that was cancelled and has no task, also for a later process."""
        self._end(record, NotSubmittedError("withdrawn; its create made nothing"))
        self.bookkeeping.withdrawn(record)

    def _forget(self, record: Record) -> None:
        self._attempts.forget(record)
        self._doubts.pop(record, None)
        self._unwanted.discard(record)

    def _end(self, record: Record, error: CallsheetError) -> None:
        """End a record without a task of its own.

        After a doubt it never ends as "nothing was made": whoever reads that sends the spec again.
        """
        doubt = self._doubts.get(record)
        if doubt is not None and not isinstance(error, SubmissionUncertainError):
            # The last attempt made no task, so its money is free. The money of the attempt in doubt
            # stays uncertain.
            self.bookkeeping.released(record)
            # A final error is about the spec itself, so the attempt in doubt would have ended with
            # it, too. But a SpecError comes from this client: it says nothing about that attempt.
            if not is_final(error) or isinstance(error, SpecError):
                reason = f"{doubt.reason}; sent again: {error}"
                error = SubmissionUncertainError(reason, doubt.token)
        self._forget(record)
        if record.settle(error):
            self.ended(record)


def _cause_of(error: CallsheetError) -> Exception:
    """The error behind an uncertain submission; any other error itself.

    A page at a wrong address makes a submission uncertain, and must still stop its batch.
    """
    cause = error.__cause__
    lost = isinstance(error, SubmissionUncertainError) and isinstance(cause, CallsheetError)
    return cause if lost and isinstance(cause, CallsheetError) else error
