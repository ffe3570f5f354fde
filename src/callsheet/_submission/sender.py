"""The one door through which paid requests leave: each at most once, and written down before."""

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
"""Seconds that a create in flight is given to bring its id when the client closes."""


@attrs.define(eq=False, kw_only=True)
class Sender:
    """Lets creates out when the admission says so, and notes how each came back.

    Attributes:
        paid_call: Writes and sends the create.
        admission: When a create may leave.
        registry: Where ids are kept.
        bookkeeping: Where money and intents are kept.
        clock: The client's clock.
        policy: How often a create that made nothing is sent.
        created: Called with a record as soon as its id is in the registry.
        emit: Tells the observer.
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
    _was_reached: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _turn: WakeEvent = attrs.field(init=False)
    _waiting_places: list[int] = attrs.field(factory=list[int], init=False)
    _places: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        """Make what sleeps on the client's clock."""
        self._turn = WakeEvent(self.clock)

    def is_in_flight(self, record: Record) -> bool:
        """Whether an attempt of *record* has left and may have made a task."""
        return record in self._in_flight

    def room_made(self) -> None:
        """A task of ours left the provider's queue, or ended."""
        self.admission.room_made()
        self._turn.set()

    def close(self) -> None:
        """Let nothing more out, and give what is in flight only a few seconds more."""
        self._closed = True
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
        """Bring one record to the provider and its id into the registry.

        Args:
            record: The record.
            token: The mark that its task carries.
            turn_came: Called when an attempt has stopped waiting for its turn.
            wanted: Asked whether an attempt may leave, and whether another one may follow it.

        Raises:
            SubmissionUncertainError: The task may exist; it was not sent again.
            CallsheetError: No task came to be.
        """
        place = next(self._places)
        request = await self.paid_call.prepare(record.spec or TaskSpec(), token=token)

        async def attempt() -> None:
            await self._take_turn(place)
            turn_came()
            await self._attempt(record, request, token, wanted)

        try:
            await repeat(
                attempt,
                again=lambda error, attempts, paused: (
                    wanted() and self._may_repeat(error, attempts, paused)
                ),
                pause=lambda error, attempts: self._pause(record, error, attempts),
                sleep=self.clock.sleep,
            )
        except CallsheetError:
            self._in_flight.discard(record)
            raise
        self._in_flight.discard(record)

    async def _attempt(
        self, record: Record, request: Request, token: str | None, wanted: Callable[[], bool]
    ) -> None:
        with anyio.CancelScope(shield=True) as post:
            self._posts.add(post)
            try:
                self._check_still_wanted(record, wanted)
                self.bookkeeping.reserve(record)
                await self.bookkeeping.sending(record, token)
                self._check_still_wanted(record, wanted)  # writing takes its time
                self._in_flight.add(record)
                task_id = await self.paid_call.send(request, token=token)
                watched = len(self.registry) > 0
                self.registry.add(record, task_id, now=self.clock.now())
            except CallsheetError as error:
                self._tell_admission(error)
                raise
            finally:
                self._posts.discard(post)
                self._turn.set()
            self._was_reached = True
            unfinished = len(self.registry)
            now = self.clock.now()
            if self.admission.accepted(now=now, unfinished=unfinished, polled=watched):
                self.emit(GateOpened())
            if isinstance(record.group, Group):
                record.group.mark_accepted(record.model)
            self.created(record)
        if post.cancelled_caught:
            self.admission.ended()
            reason = "the client was closed before the answer came"
            raise SubmissionUncertainError(reason, token)

    def _check_still_wanted(self, record: Record, wanted: Callable[[], bool]) -> None:
        """Raise `NotSubmittedError` if nothing is to leave for *record* any more."""
        if record.task_id is not None:
            raise NotSubmittedError("a callback has told of the task of an earlier attempt")
        fatal = fatal_error_of(record)
        if fatal is not None or record.settled or self._closed:
            raise not_submitted(fatal) if fatal else NotSubmittedError(CLOSED)
        if not wanted():
            raise NotSubmittedError("it was cancelled before it left")

    async def _take_turn(self, place: int) -> None:
        """Wait until a create may leave and nobody waits who came before, be it for a refusal."""
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
        """Tell the admission how an attempt ended; pauses follow in `_pause`."""
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
        """Whether a create may be sent again: only if it provably made nothing."""
        match error:
            case QueueFullError():
                return len(self.registry) > 0 or paused < self.policy.patience
            case RateLimitError():
                return paused < self.policy.patience
            case ConnectFailedError() if self._was_reached:  # it was there, so it may come back
                return paused < self.policy.patience
            case ConnectFailedError() | ServerError():  # a 4xx ServerError: a check that failed
                return attempts < self.policy.attempts
            case _:
                return False

    def _pause(self, record: Record, error: CallsheetError, attempts: int) -> float:
        """Seconds until a record is in line again; the admission holds the others, too."""
        self._in_flight.discard(record)  # this attempt made nothing
        self.bookkeeping.unsent(record)
        asked = getattr(error, "retry_after", None)
        refused = isinstance(error, (RateLimitError, QueueFullError))
        in_a_row = self.admission.refusals if refused else attempts
        seconds = pause_before(in_a_row + 1, self.policy, rng=self.rng, retry_after=asked)
        for_room = isinstance(error, QueueFullError) and len(self.registry) > 0
        if refused and not (for_room and self.admission.probing):
            self.admission.hold(until=self.clock.now() + seconds)
        if for_room:
            seconds = 0.0  # the admission lets it go when a task of ours has ended
        self.emit(CreatePaused(error=error, seconds=seconds))
        return seconds


def fatal_error_of(record: Record) -> CallsheetError | None:
    """The error for which nothing more of the record's group and model is sent."""
    return record.group.fatal_error_of(record.model) if isinstance(record.group, Group) else None


def not_submitted(fatal: CallsheetError) -> NotSubmittedError:
    """What the rest of a stopped batch ends with."""
    error = NotSubmittedError(f"the batch was stopped by {type(fatal).__name__}: {fatal}")
    error.__cause__ = fatal
    return error
