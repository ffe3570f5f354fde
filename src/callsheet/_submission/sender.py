"""Decides when a paid request is sent, and whether it may be sent again.

Every create of the client passes here. Each try is one request, and the token of its attempt is in
the journal before it is sent.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import anyio
import attrs

from callsheet._http.retry import repeat
from callsheet._models.policy import RetryPolicy
from callsheet._models.spec import TaskSpec
from callsheet._state.backoff import pause_before
from callsheet._state.clock import Clock, WakeEvent
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.admission import Admission
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.paid_call import PaidCall
from callsheet.errors import (
    CallsheetError,
    ConnectFailedError,
    NotSubmittedError,
    QueueFullError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
)
from callsheet.events import CreatePaused, Event, GateOpened, GateShut


if TYPE_CHECKING:
    from callsheet._wire import Request


CLOSED = "the client was closed before its turn"

CLOSING_GRACE = 5.0
"""Seconds that the client waits, while it closes, for the answers to creates in flight."""


@attrs.define(eq=False, kw_only=True)
class Sender:
    """Sends creates when the admission allows it, and reports how each of them ended.

    Where money is decided:

    1. `_send_once` sends the create. It is the only caller of `PaidCall.send`.
    2. `_check_still_wanted` decides, twice, that the create may still be sent.
    3. `_may_repeat` decides that it may be sent again: only if no task was made.
    4. A lost answer is raised as `SubmissionUncertainError`. `Submitter._failed` takes it there.

    Attributes:
        paid_call: Writes and sends the create.
        admission: Decides when a create may be sent.
        registry: Keeps the ids of tasks.
        bookkeeping: Keeps the ledger and the journal.
        clock: The client's clock.
        policy: How often a create is sent again after it made no task.
        created: Called with a record as soon as its id is in the registry.
        emit: Passes an event to the observer.
        rng: Source of jitter.
    """

    paid_call: PaidCall
    admission: Admission
    registry: Registry
    bookkeeping: Bookkeeping
    clock: Clock
    policy: RetryPolicy
    created: Callable[[Record], None]
    emit: Callable[[Event], None]
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _posts: set[anyio.CancelScope] = attrs.field(factory=set[anyio.CancelScope], init=False)
    _in_flight: set[Record] = attrs.field(factory=set[Record], init=False)
    """Records whose create was sent, and may have made a task."""
    _has_accepted: bool = attrs.field(default=False, init=False)
    """Whether the provider has accepted a create of this client."""
    _closed: bool = attrs.field(default=False, init=False)
    _turn: WakeEvent = attrs.field(init=False)
    _waiting_places: list[int] = attrs.field(factory=list[int], init=False)
    """The places of the creates that wait for their turn, lowest first."""
    _places: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the wake-up event, which needs the client's clock."""
        self._turn = WakeEvent(self.clock)

    def is_in_flight(self, record: Record) -> bool:
        """Whether an attempt of *record* was sent and may have made a task."""
        return record in self._in_flight

    def room_made(self) -> None:
        """Note that one of our tasks left the provider's queue, or ended."""
        self.admission.room_made()
        self._turn.set()

    def close(self) -> None:
        """Send nothing more, and limit the wait for creates in flight to `CLOSING_GRACE`."""
        self._closed = True
        # A create in flight may have made a task already. Its answer is worth a short wait: without
        # it the task is billed and nobody knows its id.
        deadline = anyio.current_time() + CLOSING_GRACE
        for scope in self._posts:
            scope.deadline = min(scope.deadline, deadline)

    async def create(
        self,
        record: Record,
        token: str | None,
        *,
        turn_came: Callable[[], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Create the task of one record, and put its id into the registry.

        Args:
            record: The record.
            token: The mark that its task carries.
            turn_came: Called each time a try has stopped waiting for its turn.
            wanted: Returns whether the create is still wanted. It is asked before each try.

        Raises:
            SubmissionUncertainError: The task may exist. The create was not sent again.
            CallsheetError: No task was made.
        """
        # The place is drawn once. So a create that was refused comes before all that were prepared
        # after it, however often it is refused.
        place = next(self._places)
        # The request is written before the turn. Each try of this attempt sends the same bytes and
        # the same token, so a look at the list finds the task of whichever try made it.
        request = await self.paid_call.prepare(record.spec or TaskSpec(), token=token)

        async def one_try() -> None:
            await self._take_turn(place)
            turn_came()
            await self._send_once(record, request, token, wanted)

        try:
            await repeat(
                one_try,
                # Money: another POST follows only if the last one made no task, and if the caller
                # has not cancelled meanwhile.
                again=lambda error, attempts, paused: (
                    wanted() and self._may_repeat(error, attempts, paused)
                ),
                pause=lambda error, attempts: self._pause(record, error, attempts),
                sleep=self.clock.sleep,
            )
        except CallsheetError:
            # The error says what happened: refused, or uncertain. The submitter acts on it.
            self._in_flight.discard(record)
            raise
        self._in_flight.discard(record)
        # Any other exception means that the program was interrupted. Then the record stays in
        # flight if its create was sent, so that the submitter ends it as uncertain.

    async def _send_once(
        self, record: Record, request: Request, token: str | None, wanted: Callable[[], bool]
    ) -> None:
        """Reserve the money, write the journal, send the create, and register the id.

        The order of these steps is what keeps the money right. Do not change it.
        """
        # Shielded: a cancellation from outside must not lose the id of a task that is billed. Only
        # `close` sets a deadline on this scope.
        with anyio.CancelScope(shield=True) as post:
            self._posts.add(post)
            try:
                # The caller may have cancelled while the create waited for its turn.
                self._check_still_wanted(record, wanted)
                # The money is set aside first: no task may be made that the cap does not cover.
                self.bookkeeping.reserve(record)
                # The token is on disk before a byte is sent. If the process dies now, the next one
                # knows that a task may exist and can look for it.
                await self.bookkeeping.sending(record, token)
                # The write took time, so the question is asked again. Nothing was sent so far.
                try:
                    self._check_still_wanted(record, wanted)
                except NotSubmittedError:
                    # The note says that it may have left. Without this one a later process would
                    # look for a task that nobody can have made.
                    self.bookkeeping.refused(record)
                    raise
                # No await between the check above and this line, so nothing can change in between.
                # From here on the record counts as one that may have a task.
                self._in_flight.add(record)
                # The paid request.
                task_id = await self.paid_call.send(request, token=token)
                # Read before `add`: with no task pending nobody polls, and this create is the only
                # sign that the service works.
                watched = len(self.registry) > 0
                # It raises SubmissionUncertainError if another record has this id: then nobody
                # knows which task this create has made.
                self.registry.add(record, task_id, now=self.clock.now())
            except CallsheetError as error:
                # SubmissionUncertainError means that a task may exist. Any other error means that
                # none was made, or that nothing was sent. `paid_call.send` makes the difference.
                self._tell_admission(error)
                raise
            finally:
                self._posts.discard(post)
                self._turn.set()  # the number of creates in flight has changed
            self._has_accepted = True
            unfinished = len(self.registry)
            now = self.clock.now()
            if self.admission.accepted(now=now, unfinished=unfinished, polled=watched):
                self.emit(GateOpened())
            if isinstance(record.group, Group):
                # The key, the balance and the model are good: the rest of the batch may be sent.
                record.group.mark_accepted(record.model)
            self.created(record)
        if post.cancelled_caught:
            # The client closed and the answer did not come in time. The request is on its way and
            # cannot be taken back, so the task may exist and its money stays in the ledger.
            self.admission.ended()
            reason = "the client was closed before the answer came"
            raise SubmissionUncertainError(reason, token)

    def _check_still_wanted(self, record: Record, wanted: Callable[[], bool]) -> None:
        """Decide whether a create of *record* may be sent now.

        Raises:
            NotSubmittedError: It may not: the record has its task, has ended, or was cancelled, or
                its batch or the client was stopped. Nothing was sent.
        """
        if record.task_id is not None:  # one more create would be a second task, and paid twice
            raise NotSubmittedError("a callback has told of the task of an earlier attempt")
        fatal = fatal_error_of(record)
        if fatal is not None or record.settled or self._closed:
            raise not_submitted(fatal) if fatal else NotSubmittedError(CLOSED)
        if not wanted():
            raise NotSubmittedError("it was cancelled before it left")

    async def _take_turn(self, place: int) -> None:
        """Wait until a create may be sent and no create with an earlier place is waiting."""
        bisect.insort(self._waiting_places, place)
        try:
            while True:
                now, ready = self.clock.now(), None
                if self._waiting_places[0] == place:
                    ready = self.admission.ready_at(now=now, unfinished=len(self.registry))
                    if ready is not None and ready <= now:
                        self.admission.take(now=now)
                        return
                await self._turn.wait(ready)
        finally:
            self._waiting_places.remove(place)
            self._turn.set()

    def _tell_admission(self, error: CallsheetError) -> None:
        """Tell the admission how a try ended. `_pause` decides about pauses."""
        now = self.clock.now()
        match error:
            case ConnectFailedError():
                if self.admission.failed(now=now):
                    self.emit(GateShut(error=error))
            case RateLimitError() | QueueFullError():
                for_room = isinstance(error, QueueFullError)
                unfinished = len(self.registry)
                self.admission.refused(for_room=for_room, now=now, unfinished=unfinished)
            case _:
                self.admission.ended()

    def _may_repeat(self, error: CallsheetError, attempts: int, paused: float) -> bool:
        """Whether a create may be sent again: only if it is certain that it made no task.

        The provider has no idempotency key, so a create that is repeated by mistake is a second
        task, and paid. An error after which the task may exist ends in the last case.
        """
        match error:
            case QueueFullError():
                # Refused, so no task. While tasks of ours are pending, room comes when they end,
                # and the create waits for that without a limit of time.
                return len(self.registry) > 0 or paused < self.policy.patience
            case RateLimitError():
                return paused < self.policy.patience
            case ConnectFailedError() if self._has_accepted:
                # Nothing was sent. The provider has worked before, so it may come back.
                return paused < self.policy.patience
            case ConnectFailedError() | ServerError():
                # Never connected, so nothing was sent. A ServerError that comes here has a 4xx
                # status other than 408: the request was refused before a task was made. A 5xx or
                # 408 became SubmissionUncertainError in `paid_call`.
                return attempts < self.policy.attempts
            case _:
                # SubmissionUncertainError is among these: the task may exist, so nothing is sent.
                return False

    def _pause(self, record: Record, error: CallsheetError, attempts: int) -> float:
        """Seconds until a record waits for its turn again; the admission delays the others, too."""
        # This try made no task. Both places say so before the pause, because a cancellation or the
        # end of the process may come during the pause. The reservation stays: it keeps the place
        # under the cap for the next try.
        self._in_flight.discard(record)
        self.bookkeeping.refused(record)
        asked = getattr(error, "retry_after", None)
        refused = isinstance(error, (RateLimitError, QueueFullError))
        in_a_row = self.admission.refusals if refused else attempts
        seconds = pause_before(in_a_row + 1, self.policy, rng=self.rng, retry_after=asked)
        for_room = isinstance(error, QueueFullError) and len(self.registry) > 0
        if refused and not (for_room and self.admission.probing):
            self.admission.hold(until=self.clock.now() + seconds)
        if for_room:
            seconds = 0.0  # the admission waits until a task of ours has ended
        self.emit(CreatePaused(error=error, seconds=seconds))
        return seconds


def fatal_error_of(record: Record) -> CallsheetError | None:
    """The error that stops the record's group for its model, if there is one."""
    return record.group.fatal_error_of(record.model) if isinstance(record.group, Group) else None


def not_submitted(fatal: CallsheetError) -> NotSubmittedError:
    """The error of each spec of a stopped batch that was not sent."""
    error = NotSubmittedError(f"the batch was stopped by {type(fatal).__name__}: {fatal}")
    error.__cause__ = fatal
    return error
