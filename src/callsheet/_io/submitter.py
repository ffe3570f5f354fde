"""Sends the paid requests: in order, within the quota, and each at most once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import anyio.lowlevel
import attrs

from callsheet._core.admission import Admission
from callsheet._core.backoff import pause_before
from callsheet._core.fairness import FairQueue
from callsheet._core.groups import Group
from callsheet._core.registry import Record, Registry
from callsheet._io.calls import Calls
from callsheet._io.clock import Bell, Clock
from callsheet._io.retry import repeat
from callsheet._models.policy import RetryPolicy
from callsheet._models.spec import TaskSpec
from callsheet._wire import Request, dooms_batch
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
    from anyio.abc import TaskGroup


AHEAD = 3
"""Most records that are prepared while they wait for their turn: the others can be overtaken."""

GRACE = 5.0
"""Seconds that a create in flight is given to bring its id when the client closes."""


@attrs.define(eq=False, kw_only=True)
class Submitter:
    """Takes records and turns them into tasks.

    Attributes:
        calls: The wire.
        admission: When a create may leave.
        registry: Where ids are kept.
        clock: The client's clock.
        policy: How often a create that never arrived is sent.
        width: Most creates under way, >= 1.
        created: Called with a record as soon as its id is in the registry.
        ended: Called with a record that ends without a task.
        emit: Tells the observer.
        rng: Source of jitter.
    """

    calls: Calls
    admission: Admission
    registry: Registry
    clock: Clock
    policy: RetryPolicy
    width: int
    created: Callable[[Record], None]
    ended: Callable[[Record], None]
    emit: Callable[[Event], None]
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _queue: FairQueue = attrs.field(factory=FairQueue, init=False)
    _active: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    _posts: set[anyio.CancelScope] = attrs.field(factory=set[anyio.CancelScope], init=False)
    _ahead: set[Record] = attrs.field(factory=set[Record], init=False)
    _leaving: set[Record] = attrs.field(factory=set[Record], init=False)
    _served: bool = attrs.field(default=False, init=False)
    _bell: Bell = attrs.field(init=False)
    _turn: Bell = attrs.field(init=False)
    _turnstile: anyio.Lock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make what sleeps on the client's clock."""
        self._bell, self._turn = Bell(self.clock), Bell(self.clock)
        self._turnstile = anyio.Lock(fast_acquire=True)

    def put(self, records: Iterable[Record], *, priority: int = 0) -> None:
        """Queue records: those of one group are sent in order, groups of one priority in turn."""
        self._queue.put(records, priority=priority)
        self._bell.ring()

    def queued(self) -> list[Record]:
        """The records that wait for their turn, group by group in order."""
        return [record for record in self._queue if not record.settled]

    def active(self) -> list[Record]:
        """The records that are under way and have no id yet."""
        return [record for record in self._active if record.task_id is None]

    def withdrawn(self, record: Record) -> bool:
        """Whether *record*, which has no id, can still be kept from being sent."""
        return record.task_id is None and record not in self._leaving

    def room_made(self) -> None:
        """A task of ours left the provider's queue, or ended."""
        self.admission.room_made()
        self._turn.ring()
        self._bell.ring()

    def close(self) -> list[Record]:
        """Stop; creates in flight have a few seconds left. Return what was never sent."""
        deadline = anyio.current_time() + GRACE
        for scope in self._posts:
            scope.deadline = min(scope.deadline, deadline)
        left = self.queued()
        self._queue.clear()
        return left

    async def run(self) -> None:
        """Submit until cancelled."""
        async with anyio.create_task_group() as workers:
            while True:
                while self._start_next(workers):
                    await anyio.lowlevel.checkpoint()  # trio starts tasks in any order, we do not
                await self._bell.wait(None)

    def _start_next(self, workers: TaskGroup) -> bool:
        """Start on the next record, unless as many are under way as may be."""
        abreast = self.admission.abreast(len(self.registry))
        if len(self._ahead) >= AHEAD or len(self._active) >= abreast:
            return False
        record = self._queue.take(self._may_start)
        if record is None:
            return False
        doom = _doom_of(record)
        if doom is not None and not record.settled:
            self._end(record, _not_submitted(doom))
        if not record.settled:
            self._active[record] = None
            self._ahead.add(record)
            workers.start_soon(self._submit, record)
        return True

    def _may_start(self, record: Record) -> bool:
        """Whether a record need not wait for the first create of its group and model."""
        group = record.group
        return (
            not isinstance(group, Group)
            or record.settled
            or group.proven(record.model)
            or group.doom_of(record.model) is not None
            or not any(r.group is group and r.model == record.model for r in self._active)
        )

    async def _submit(self, record: Record) -> None:
        try:
            await self.create(record)
        except CallsheetError as error:
            unreachable = isinstance(error, ConnectFailedError)
            if isinstance(record.group, Group) and (unreachable or dooms_batch(_origin(error))):
                record.group.condemn(record.model, error)
            self._end(record, error)
        except BaseException:
            if record.task_id is None:  # cancelled between attempts: none of them made a task
                self._end(record, NotSubmittedError("the client was closed before its turn"))
            raise
        finally:
            del self._active[record]
            self._ahead.discard(record)
            self._leaving.discard(record)
            self._bell.ring()

    async def create(self, record: Record) -> None:
        """Bring one record to the provider and its id into the registry.

        Raises:
            SubmissionUncertainError: The task may exist; it was not sent again.
            CallsheetError: No task came to be.
        """
        spec = record.spec or TaskSpec()
        token = self._token(spec)
        request = await self.calls.prepare(spec, token=token)
        await repeat(
            lambda: self._attempt(record, request, token),
            again=self._again,
            pause=lambda error, attempts: self._pause(record, error, attempts),
            sleep=self.clock.sleep,
        )

    async def _attempt(self, record: Record, request: Request, token: str | None) -> None:
        await self._take_turn()
        self._ahead.discard(record)
        self._bell.ring()
        doom = _doom_of(record)
        if doom is not None or record.settled:
            self.admission.ended()
            raise _not_submitted(doom) if doom else NotSubmittedError("it was withdrawn")
        self._leaving.add(record)
        with anyio.CancelScope(shield=True) as post:
            self._posts.add(post)
            try:
                task_id = await self.calls.create(request, token=token)
                watched = len(self.registry) > 0
                self.registry.add(record, task_id, now=self.clock.now())
            except CallsheetError as error:
                self._note(error)
                raise
            finally:
                self._posts.discard(post)
                self._turn.ring()
            self._served = True
            unfinished = len(self.registry)
            now = self.clock.now()
            if self.admission.accepted(now=now, unfinished=unfinished, polled=watched):
                self.emit(GateOpened())
            if isinstance(record.group, Group):
                record.group.prove(record.model)
            self.created(record)
        if post.cancelled_caught:
            self.admission.ended()
            reason = "the client was closed before the answer came"
            raise SubmissionUncertainError(reason, token)

    async def _take_turn(self) -> None:
        async with self._turnstile:
            while True:
                now = self.clock.now()
                ready = self.admission.ready_at(now=now, unfinished=len(self.registry))
                if ready is not None and ready <= now:
                    self.admission.take(now=now)
                    return
                await self._turn.wait(ready)

    def _note(self, error: CallsheetError) -> None:
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

    def _again(self, error: CallsheetError, attempts: int, paused: float) -> bool:
        """Whether a create may be sent again: only if it provably made nothing."""
        match error:
            case QueueFullError():
                return len(self.registry) > 0 or paused < self.policy.patience
            case RateLimitError():
                return paused < self.policy.patience
            case ConnectFailedError() if self._served:  # it was there, so it may come back
                return paused < self.policy.patience
            case ConnectFailedError() | ServerError():  # a 4xx ServerError: a check that failed
                return attempts < self.policy.attempts
            case _:
                return False

    def _pause(self, record: Record, error: CallsheetError, attempts: int) -> float:
        """Seconds until a record is in line again; the admission holds the others, too."""
        self._leaving.discard(record)  # this attempt made nothing
        asked = getattr(error, "retry_after", None)
        refused = isinstance(error, (RateLimitError, QueueFullError))
        in_a_row = self.admission.refusals if refused else attempts
        seconds = pause_before(in_a_row + 1, self.policy, rng=self.rng, retry_after=asked)
        if isinstance(error, QueueFullError) and len(self.registry) > 0:
            seconds = 0.0  # the admission lets it go when a task of ours has ended
        elif refused:
            self.admission.hold(until=self.clock.now() + seconds)
        self.emit(CreatePaused(error=error, seconds=seconds))
        return seconds

    def _token(self, spec: TaskSpec) -> str | None:
        """A mark by which the task can be found if its answer is lost, where it is echoed."""
        own = spec.extra is not None and "safety_identifier" in spec.extra
        return None if own or not self.calls.provider.token else f"callsheet-{uuid.uuid4().hex}"

    def _end(self, record: Record, error: CallsheetError) -> None:
        if record.settle(error):
            self.ended(record)


def _doom_of(record: Record) -> CallsheetError | None:
    return record.group.doom_of(record.model) if isinstance(record.group, Group) else None


def _origin(error: CallsheetError) -> Exception:
    """What an uncertain submission came from: a page at a wrong address dooms its batch, too."""
    cause = error.__cause__
    lost = isinstance(error, SubmissionUncertainError) and isinstance(cause, CallsheetError)
    return cause if lost and isinstance(cause, CallsheetError) else error


def _not_submitted(doom: CallsheetError) -> NotSubmittedError:
    error = NotSubmittedError(f"the batch was stopped by {type(doom).__name__}: {doom}")
    error.__cause__ = doom
    return error
