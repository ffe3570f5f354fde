"""Turns records into tasks: whose turn it is, and what becomes of a create that was lost."""

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
"""Most records that are prepared while they wait for their turn: the others can be overtaken."""


@attrs.define(eq=False, kw_only=True)
class Submitter:
    """Takes records and brings each to a task or to an error.

    Attributes:
        sender: Sends creates.
        reconciler: Looks for those whose answer was lost.
        bookkeeping: Where money and intents are kept.
        policy: What happens to a create whose answer was lost.
        width: Most records under way, >= 1.
        found: Called with a record that has an id after all.
        ended: Called with a record that ends without a task.
        emit: Tells the observer.
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
    _unwanted: set[Record] = attrs.field(factory=set[Record], init=False)
    _attempts: Attempts = attrs.field(factory=Attempts, init=False)
    _active: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    _doubts: dict[Record, SubmissionUncertainError] = attrs.field(
        factory=dict[Record, SubmissionUncertainError], init=False
    )
    """Records that are sent again although an earlier attempt may have made a task."""
    _awaiting_turn: set[Record] = attrs.field(factory=set[Record], init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _wake_up: WakeEvent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make what sleeps on the client's clock, and take what the finder has to say."""
        self._wake_up = WakeEvent(self.sender.clock)
        self.reconciler.found = self._found
        self.reconciler.absent = self._absent
        self.reconciler.unknown = self._unknown

    def put(self, records: Sequence[Record], *, priority: int = 0) -> None:
        """Queue records: those of one group are sent in order, groups of one priority in turn."""
        self._queue.put(records, priority=priority)
        self._wake_up.set()

    def queued(self) -> list[Record]:
        """The records that wait for their turn, group by group in order."""
        return [record for record in (*self._to_resend, *self._queue) if not record.settled]

    def active(self) -> list[Record]:
        """The records that are under way, or looked for, and have no id yet."""
        lost = [each.record for each in self.reconciler.lost_creates]
        return [record for record in (*self._active, *lost) if record.task_id is None]

    def can_withdraw(self, record: Record) -> bool:
        """Whether *record*, which has no id, can still be kept from being sent."""
        return self._has_made_nothing(record) and record not in self._doubts

    def never_resend(self, record: Record, *, for_good: bool = True) -> None:
        """Should a create that may have made a task have made nothing, do not send it again.

        *For good*, no later process does, either.
        """
        if record.task_id is None:
            self._unwanted.add(record)
            if for_good:
                self.bookkeeping.unwanted(record)
            if record in self._to_resend and record in self._doubts:
                self._end(record, self._doubts[record])

    def remember_doubt(self, record: Record, error: SubmissionUncertainError) -> None:
        """Earlier attempts at a record are in doubt for ever: it never ends as one that is free."""
        self._doubts[record] = error

    def room_made(self) -> None:
        """A task of ours left the provider's queue, or ended."""
        self.sender.room_made()
        self._wake_up.set()

    def close(self) -> list[Record]:
        """Stop; creates in flight have a few seconds left. Return what was never sent."""
        self._closed = True
        self.sender.close()
        for lost in self.reconciler.close():
            self._end(lost.record, lost.error)
        for record, doubt in tuple(self._doubts.items()):
            if record in self._to_resend:
                self._end(record, doubt)
        left = self.queued()
        self._to_resend.clear()
        self._queue.clear()
        return left

    async def run(self) -> None:
        """Submit until cancelled."""
        async with anyio.create_task_group() as workers:
            workers.start_soon(self.reconciler.run)
            while True:
                while self._start_next(workers):
                    await anyio.lowlevel.checkpoint()  # trio starts tasks in any order, we do not
                await self._wake_up.wait(None)

    def answer_lost(self, record: Record, error: SubmissionUncertainError, *, sent: Moment) -> None:
        """Look for a create that left at *sent* and whose answer was lost, or end its record."""
        self.bookkeeping.doubted(record)
        token, own = error.token, has_own(record.spec)
        task_id = self._attempts.id_of(token)
        if task_id is not None:
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
        """A callback brings the id of a submission; tell whether one of ours lacks it.

        It may be that of an earlier attempt while a later one is looked for. Then the later one
        stays in doubt for ever.
        """
        lost = self.reconciler.lost_creates.by_token(token)
        if lost is not None:
            self.reconciler.lost_creates.drop(lost.record)
            self._found(lost.record, task_id)
            return True
        if self._attempts.set_id(token, task_id):
            return True
        record, in_doubt = self._attempts.find_lost(token) or (None, False)
        if record is None or record.settled or record.task_id or self.sender.is_in_flight(record):
            return False
        if self.reconciler.lost_creates.drop(record) is not None and not in_doubt:
            self.bookkeeping.earlier_attempt_found(record)
        if record in self._to_resend:
            self._to_resend.remove(record)
        self._found(record, task_id)
        return True

    def _has_made_nothing(self, record: Record) -> bool:
        """Whether it has no id, and no attempt of it is out that may have made a task."""
        out = self.sender.is_in_flight(record) or record in self.reconciler.lost_creates
        return record.task_id is None and not out

    def _start_next(self, workers: TaskGroup) -> bool:
        """Start on the next record, unless as many are under way as may be."""
        most = min(self.width, self.sender.admission.most_under_way(len(self.sender.registry)))
        if len(self._awaiting_turn) >= MOST_AWAITING_TURN or len(self._active) >= most:
            return False
        record = self._to_resend.pop(0) if self._to_resend else self._queue.take(self._may_start)
        if record is None:
            return False
        fatal = fatal_error_of(record)
        if fatal is not None and not record.settled:
            self._end(record, not_submitted(fatal))
        if not record.settled:
            self._active[record] = None
            self._awaiting_turn.add(record)
            workers.start_soon(self._submit, record)
        return True

    def _may_start(self, record: Record) -> bool:
        """Whether a record need not wait for the first create of its group and model."""
        group = record.group
        return (
            not isinstance(group, Group)
            or record.settled
            or group.is_accepted(record.model)
            or group.fatal_error_of(record.model) is not None
            or not any(r.group is group and r.model == record.model for r in self._active)
        )

    async def _submit(self, record: Record) -> None:
        token = new_token(record, self.sender.paid_call.provider)
        self._attempts.begin(token)
        begun = self.sender.clock.moment()

        def turn_came() -> None:
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
        """See to a create that has brought no id and is not repeated."""
        if record.task_id is not None:  # told by a callback, so it did not leave
            return
        if record in self._unwanted and error.transient:
            self._withdraw(record)
            return
        stops_all = isinstance(error, (ConnectFailedError, JournalError))
        if isinstance(record.group, Group) and (stops_all or stops_batch(_cause_of(error))):
            record.group.stop(record.model, error)
        if isinstance(error, SubmissionUncertainError) and self._worth_looking(error):
            self.answer_lost(record, error, sent=sent)
        else:
            self._end(record, error)

    def _interrupted(self, record: Record, token: str | None) -> CallsheetError:
        """How a create ends that was cancelled, or broken off from outside."""
        if self.sender.is_in_flight(record):  # as by a second Ctrl-C
            reason = "the program was interrupted before the answer came"
            return SubmissionUncertainError(reason, token)
        return NotSubmittedError(CLOSED)  # between attempts: none of them made a task

    def _worth_looking(self, error: SubmissionUncertainError) -> bool:
        """Whether it may be looked for: not when the client closes, nor at a wrong address."""
        if self._attempts.id_of(error.token) is not None:
            return True  # there is nothing to look for
        return not (self._closed or stops_batch(_cause_of(error)))

    def _found(self, record: Record, task_id: str) -> None:
        try:
            self.sender.registry.add(record, task_id, now=self.sender.clock.now())
        except SubmissionUncertainError as error:
            self._end(record, error)
            return
        self._forget(record)
        if isinstance(record.group, Group):
            record.group.mark_accepted(record.model)
        self.found(record)
        self._wake_up.set()

    def _absent(self, record: Record, error: SubmissionUncertainError) -> None:
        """It provably made nothing."""
        self.bookkeeping.absent(record)
        if record in self._unwanted:
            self._withdraw(record)
        elif self.policy.resubmit == "never":
            self._end(record, error)
        else:
            self.bookkeeping.unsent(record)
            nothing = NotSubmittedError("each of its creates was lost, and made nothing")
            nothing.__cause__ = error
            self._resend(record, nothing, token=error.token, in_doubt=False)

    def _unknown(self, record: Record, error: SubmissionUncertainError) -> None:
        """Nobody can say whether it made a task."""
        if self.policy.resubmit == "always" and record not in self._unwanted:
            self.remember_doubt(record, error)
            self._resend(record, error, token=error.token, in_doubt=True)
        else:
            self._end(record, error)

    def _resend(
        self, record: Record, error: CallsheetError, *, token: str | None, in_doubt: bool
    ) -> None:
        if self._attempts.add_lost(record, token, in_doubt=in_doubt) >= self.policy.attempts:
            self._end(record, error)
            return
        self._to_resend.append(record)
        self._wake_up.set()

    def _withdraw(self, record: Record) -> None:
        """End what is not wanted any more, also for a later process."""
        self._end(record, NotSubmittedError("withdrawn; its create made nothing"))
        self.bookkeeping.withdrawn(record)

    def _forget(self, record: Record) -> None:
        self._attempts.forget(record)
        self._doubts.pop(record, None)
        self._unwanted.discard(record)

    def _end(self, record: Record, error: CallsheetError) -> None:
        doubt = self._doubts.get(record)
        if doubt is not None and not isinstance(error, SubmissionUncertainError):
            self.bookkeeping.released(
                record
            )  # the last attempt made nothing, but one before it may have
            if not is_final(error) or isinstance(error, SpecError):
                reason = f"{doubt.reason}; sent again: {error}"
                error = SubmissionUncertainError(reason, doubt.token)
        self._forget(record)
        if record.settle(error):
            self.ended(record)


def _cause_of(error: CallsheetError) -> Exception:
    """What an uncertain submission came from: a page at a wrong address stops its batch, too."""
    cause = error.__cause__
    lost = isinstance(error, SubmissionUncertainError) and isinstance(cause, CallsheetError)
    return cause if lost and isinstance(cause, CallsheetError) else error
