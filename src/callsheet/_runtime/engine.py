"""The engine of an open client: it creates registry, submitter and poller, and connects them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from callsheet._http.api import Api
from callsheet._http.tasks_api import Tasks
from callsheet._polling.planner import ListSupport, Planner
from callsheet._polling.poller import Poller
from callsheet._polling.schedule import Schedule
from callsheet._preflight import SPECS_PER_TURN, price
from callsheet._runtime.attach import Attacher
from callsheet._runtime.cancel import Canceller
from callsheet._runtime.learning import LEARNED_GAP, Learning
from callsheet._runtime.quotas import quotas
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.clock import Clock
from callsheet._state.cooperative import gathered
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._state.waiting import Waiters
from callsheet._submission.admission import Admission
from callsheet._submission.lost_creates import LostCreates
from callsheet._submission.paid_call import PaidCall
from callsheet._submission.reconciler import Reconciler
from callsheet._submission.sender import Sender
from callsheet._submission.submitter import Submitter
from callsheet._wire import LIST_BASE, URL_ROOM, dialect_of, id_cost
from callsheet.errors import (
    CallsheetError,
    ClosedError,
    NotSubmittedError,
)
from callsheet.events import Event, TaskSettled, TaskSubmitted


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Sequence

    from anyio.abc import TaskGroup

    from callsheet._http.transport import Transport
    from callsheet._models.policy import Limits, Polling, RetryPolicy
    from callsheet._models.provider import Provider
    from callsheet._models.spec import TaskSpec
    from callsheet._state.group import Group
    from callsheet._submission.bookkeeping import Bookkeeping


log = logging.getLogger("callsheet")


class Engine:
    """The parts of one client, connected.

    Args:
        provider: The provider that requests are for.
        transport: Sends the requests.
        limits: The caller's limits. A rate that is set replaces the provider's own.
        polling: The delay with which the end of a task should be noticed.
        retry: How often requests are repeated.
        bookkeeping: Keeps the ledger and the journal.
        observer: Called with every event.
        rng: Source of jitter.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        transport: Transport,
        limits: Limits,
        polling: Polling,
        retry: RetryPolicy,
        bookkeeping: Bookkeeping,
        observer: Callable[[Event], None] | None,
        rng: random.Random,
    ) -> None:
        self.provider = provider
        self.bookkeeping = bookkeeping
        self.clock = clock = Clock(provider.speed)
        self.registry = Registry()
        self.background: TaskGroup | None = None
        self._observer = observer
        self.waiting = Waiters()
        self._unwatched: set[Record] = set()
        wire = (transport, dialect_of(provider.dialect), provider, retry.timeout)
        api = Api(*wire)
        limits_by_verb = quotas(provider, limits)
        breaker = CircuitBreaker(width=limits.connections, retry_after_cap=retry.ceiling, rng=rng)
        creating = max(1, limits.connections * 3 // 4)
        room = limits.unfinished or provider.limits.unfinished
        planner = Planner(
            schedule=Schedule(
                delay=polling.delay,
                list_gap=limits_by_verb.lists.period / limits_by_verb.lists.limit,
            ),
            breaker=breaker,
            gets=limits_by_verb.gets,
            lists=limits_by_verb.lists,
            support={True: ListSupport.YES, False: ListSupport.NO, None: ListSupport.UNPROVEN}[
                provider.lists
            ],
            id_cost=id_cost,
            url_room=URL_ROOM - LIST_BASE,
        )
        self._learned_at = clock.now()
        self.learning = Learning(journal=bookkeeping.journal, schedule=planner.schedule)
        sender = Sender(
            paid_call=PaidCall(*wire),
            admission=Admission(
                rate_limit=limits_by_verb.creates, breaker=breaker, width=creating, room=room
            ),
            registry=self.registry,
            bookkeeping=bookkeeping,
            clock=clock,
            policy=retry,
            created=self._created,
            emit=self.emit,
            rng=rng,
        )
        reconciler = Reconciler(
            api=api,
            lost_creates=LostCreates(retry.lookup),
            lists=limits_by_verb.lists,
            planner=planner,
            registry=self.registry,
            clock=clock,
        )
        self.submitter = Submitter(
            sender=sender,
            reconciler=reconciler,
            bookkeeping=bookkeeping,
            policy=retry,
            width=creating,
            found=self._found,
            ended=self._ended,
            emit=self.emit,
        )
        self.poller = Poller(
            api=api,
            planner=planner,
            registry=self.registry,
            clock=clock,
            room_made=self.submitter.room_made,
            moved=bookkeeping.moved,
            ended=self._ended,
            emit=self.emit,
        )
        self.tasks = Tasks(
            submit=self.create,
            api=api,
            clock=clock,
            gets=limits_by_verb.gets,
            lists=limits_by_verb.lists,
            cancels=limits_by_verb.cancels,
            policy=retry,
            rng=rng,
        )
        self.attacher = Attacher(
            registry=self.registry,
            poller=self.poller,
            bookkeeping=bookkeeping,
            clock=clock,
            spawn=self.spawn,
        )
        self.canceller = Canceller(
            submitter=self.submitter,
            registry=self.registry,
            poller=self.poller,
            tasks=self.tasks,
            wait_for_id=self._wait_for_id_or_end,
            end_unsent=self._end_unsent,
        )

    def start(self, background: TaskGroup) -> None:
        """Submit and poll in *background*, which the client owns."""
        self.background = background
        background.start_soon(self.submitter.run, name="callsheet submitter")
        background.start_soon(self.poller.run, name="callsheet poller")

    def close(self) -> None:
        """Stop taking work. Specs that were never sent end as not submitted; the rest stays open.

        Waiters get `ClosedError`.
        """
        self.learning.keep()
        for record in self.submitter.close():
            self.end(record, NotSubmittedError("the client was closed before its turn"))
        self.waiting.close()

    def record(
        self, spec: TaskSpec | None, *, index: int = 0, group: Group | None = None
    ) -> Record:
        """A new record: of a spec that is going to be submitted, or of an attached task."""
        if spec is None:
            return Record(None, index=index, group=group)
        model = getattr(spec, "model", None) or self.provider.default_model
        record = Record(spec, index=index, model=model, group=group)
        record.estimate = price(spec, provider=self.provider)
        return record

    async def records(self, specs: Sequence[TaskSpec], group: Group) -> list[Record]:
        """The records of a group's specs, in order. Others get turns while they are priced."""
        each = (self.record(spec, index=index, group=group) for index, spec in enumerate(specs))
        return await gathered(each, per_turn=SPECS_PER_TURN)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *work* until the client is left."""
        if self.background is None or self.waiting.closed:
            raise ClosedError("the client is closed")
        self.background.start_soon(work)

    async def submit(
        self, records: Sequence[Record], *, name: str | None = None, priority: int = 0
    ) -> None:
        """Write records into the journal and queue them; a higher priority is sent first.

        Raises:
            SpecError: A spec cannot be written; nothing is queued.
            JournalError: The journal cannot be written; nothing is queued.
        """
        # The plan is on disk before a create can be sent, so each paid request has a row.
        await self.bookkeeping.plan(records, name)
        if self.waiting.closed:
            raise ClosedError("the client was closed; nothing was sent")
        self.submitter.put(records, priority=priority)

    def take_callback(self, task_id: str, token: str | None) -> bool:
        """Handle a callback: poll the task at once; return whether it is one of ours."""
        if token is not None and self.submitter.take_callback(token, task_id):
            return True
        record = self.registry.get(task_id)
        if record is not None:
            self.poller.nudge(record)
        return record is not None

    async def create(self, spec: TaskSpec) -> str:
        """Create a task without watching it; return its id."""
        record = self.record(spec)
        self._unwatched.add(record)
        try:
            self.submitter.put([record])
            await self.wait_for_id(record)
        finally:
            self._unwatched.discard(record)
        return record.task_id or ""

    async def wait_for_id(self, record: Record) -> None:
        """Wait until *record* has an id.

        Raises:
            CallsheetError: It ended without one.
            ClosedError: The client was closed first.
        """
        try:
            await self._wait_for_id_or_end(record)
        except BaseException:
            if self.submitter.can_withdraw(record):
                self._end_unsent(record, "its submitter stopped waiting")
            raise
        if record.task_id is None and record.error is not None:
            raise record.error

    async def _wait_for_id_or_end(self, record: Record) -> None:
        await self.waiting.wait(record, lambda: record.task_id is not None or record.settled)

    def end(self, record: Record, error: CallsheetError) -> None:
        """End a record that never became a task, unless it has ended already."""
        if record.settle(error):
            self._ended(record)

    def _end_unsent(self, record: Record, why: str) -> None:
        """End a record that is never sent, also not by a later process."""
        if record.settle(NotSubmittedError(why)):
            self.bookkeeping.withdrawn(record)
            self._tell_end(record)

    def emit(self, event: Event) -> None:
        """Call the observer with an event. An exception that it raises is logged."""
        if self._observer is not None:
            try:
                self._observer(event)
            except Exception:
                log.exception("the observer failed on %r", event)

    def _created(self, record: Record) -> None:
        self.bookkeeping.created(record)
        self.submitter.reconciler.made(record)
        if record in self._unwatched:
            self.attacher.release(record)
        elif self.registry.get(record.task_id or "") is record:  # if not, it was attached before
            self.poller.watch(record, fresh=True)
        self.emit(TaskSubmitted(task_id=record.task_id or "", index=record.index))

    def _found(self, record: Record) -> None:
        self._created(record)
        first = self.registry.get(record.task_id or "")
        if first is not None:
            self.poller.nudge(first)

    def _ended(self, record: Record) -> None:
        self.bookkeeping.ended(record)
        if self._learned_at + LEARNED_GAP <= (now := self.clock.now()):
            self._learned_at = now
            self.learning.keep()
        self._tell_end(record)

    def _tell_end(self, record: Record) -> None:
        if self._observer is not None:
            self.emit(TaskSettled(outcome=record.outcome))
