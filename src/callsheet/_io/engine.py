"""What runs inside an open client: registry, submitter and poller, wired together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from callsheet import _catalog
from callsheet._core.admission import Admission
from callsheet._core.budget import Budget
from callsheet._core.gate import Gate
from callsheet._core.planner import Lists, Planner
from callsheet._core.registry import Record, Registry
from callsheet._core.schedule import Schedule
from callsheet._io.calls import Calls
from callsheet._io.clock import Clock
from callsheet._io.poller import Poller
from callsheet._io.submitter import Submitter
from callsheet._io.tasks import Tasks
from callsheet._models.snapshot import Status
from callsheet._wire import LIST_BASE, dialect_of, id_cost
from callsheet.errors import (
    CallsheetError,
    ClosedError,
    ConflictError,
    NotFoundError,
    NotSubmittedError,
    TaskCancelledError,
    TaskTimeoutError,
)
from callsheet.events import Event, TaskSettled, TaskSubmitted


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from anyio.abc import TaskGroup

    from callsheet._core.groups import Group
    from callsheet._core.watched import Watched
    from callsheet._io.transport import Transport
    from callsheet._models.policy import Limits, Polling, RetryPolicy
    from callsheet._models.provider import Provider
    from callsheet._models.spec import TaskSpec


log = logging.getLogger("callsheet")

URL_ROOM = 7_800
"""Bytes of a list's path and query; common servers and proxies refuse lines above 8 kB."""


class Engine:
    """The moving parts of one client.

    Args:
        provider: Whom requests are for.
        transport: Where they go.
        limits: What the caller allows, each rate replacing the provider's own.
        polling: How soon ends should be noticed.
        retry: How often requests are repeated.
        observer: Told every event.
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
        observer: Callable[[Event], None] | None,
        rng: random.Random,
    ) -> None:
        self.provider = provider
        self.clock = Clock(provider.speed)
        self.registry = Registry()
        self.background: TaskGroup | None = None
        self._observer = observer
        self._closing: set[Callable[[], None]] = set()
        self._closed = False
        self._unwatched: set[Record] = set()
        calls = Calls(transport, dialect_of(provider.dialect), provider, retry.timeout)
        budgets = _budgets(provider, limits)
        gate = Gate(width=limits.connections, retry_after_cap=retry.ceiling, rng=rng)
        creating = max(1, limits.connections * 3 // 4)
        room = limits.unfinished or provider.limits.unfinished
        planner = Planner(
            schedule=Schedule(delay=polling.delay, prior=self._prior),
            gate=gate,
            gets=budgets["get"],
            lists=budgets["list"],
            support={True: Lists.YES, False: Lists.NO, None: Lists.UNPROVEN}[provider.lists],
            id_cost=id_cost,
            url_room=URL_ROOM - LIST_BASE,
        )
        self.submitter = Submitter(
            calls=calls,
            admission=Admission(budget=budgets["create"], gate=gate, width=creating, room=room),
            registry=self.registry,
            clock=self.clock,
            policy=retry,
            width=creating,
            created=self._created,
            ended=self._ended,
            emit=self.emit,
            rng=rng,
        )
        self.poller = Poller(
            calls=calls,
            planner=planner,
            registry=self.registry,
            clock=self.clock,
            room_made=self.submitter.room_made,
            emit=self.emit,
        )
        self.tasks = Tasks(
            submit=self.create,
            calls=calls,
            clock=self.clock,
            gets=budgets["get"],
            lists=budgets["list"],
            cancels=budgets["cancel"],
            policy=retry,
            rng=rng,
        )

    def start(self, background: TaskGroup) -> None:
        """Submit and poll in *background*, which the client owns."""
        self.background = background
        background.start_soon(self.submitter.run, name="callsheet submitter")
        background.start_soon(self.poller.run, name="callsheet poller")

    def close(self) -> None:
        """Stop taking work; what was never sent ends as not submitted, the rest stays open.

        Whoever waits is told with `ClosedError`.
        """
        self._closed = True
        for record in self.submitter.close():
            self.end(record, NotSubmittedError("the client was closed before its turn"))
        for wake in tuple(self._closing):
            wake()

    async def cancel_all(self) -> None:
        """Cancel every pending task that has not started; failures are logged."""

        async def stop(record: Record) -> None:
            try:
                await self.cancel(record)
            except CallsheetError:
                log.warning("task %s was not cancelled", record.task_id, exc_info=True)

        async with anyio.create_task_group() as cancels:
            for record in (*self.submitter.queued(), *self.submitter.active(), *self.registry):
                cancels.start_soon(stop, record)

    def record(
        self, spec: TaskSpec | None, *, index: int = 0, group: Group | None = None
    ) -> Record:
        """A record of a spec that is to be submitted, or of a task to be adopted."""
        model = (
            None if spec is None else getattr(spec, "model", None) or self.provider.default_model
        )
        return Record(spec, index=index, model=model, group=group)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *work* until the client is left."""
        if self.background is None:
            raise ClosedError("the client is closed")
        self.background.start_soon(work)

    def submit(self, records: Iterable[Record], *, priority: int = 0) -> None:
        """Queue records; those of a higher priority are sent first."""
        self.submitter.put(records, priority=priority)

    def adopt(self, record: Record, task_id: str) -> None:
        """Watch a task that exists already."""
        if self.registry.adopt(record, task_id, now=self.clock.now()):
            self.poller.watch(record, fresh=False)

    async def create(self, spec: TaskSpec) -> str:
        """Create a task and watch nothing; return its id."""
        record = self.record(spec)
        self._unwatched.add(record)
        try:
            self.submit([record])
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
            await self.wait(record, lambda: record.task_id is not None or record.settled)
        except BaseException:
            if self.submitter.withdrawn(record):
                self.end(record, NotSubmittedError("its submitter stopped waiting"))
            raise
        if record.task_id is None and isinstance(record.result, CallsheetError):
            raise record.result

    async def wait_for_change(self, watched: Sequence[Watched], done: Callable[[], bool]) -> None:
        """Wait until *done* holds, or one of *watched* tells of a change.

        Raises:
            ClosedError: The client was closed first.
        """
        if done():
            return
        if self._closed:
            raise ClosedError("the client was closed; its tasks go on and can be attached")
        event = anyio.Event()
        self._closing.add(event.set)
        for each in watched:
            each.watch(event.set)
        try:
            await event.wait()
        finally:
            self._closing.discard(event.set)
            for each in watched:
                each.unwatch(event.set)

    async def wait(self, watched: Watched, done: Callable[[], bool]) -> None:
        """Wait until *done* holds; it is looked at whenever *watched* tells of a change.

        Raises:
            ClosedError: The client was closed first.
        """
        while not done():
            await self.wait_for_change((watched,), done)

    async def wait_until(
        self,
        record: Record,
        *,
        timeout: float | None,  # noqa: ASYNC109 - patience of one waiter
    ) -> None:
        """Wait for the outcome of *record*, at most *timeout* seconds.

        Raises:
            TaskTimeoutError: It has none yet; it goes on.
            ClosedError: The client was closed first.
        """
        with anyio.move_on_after(timeout):
            await self.wait(record, lambda: record.settled)
        if not record.settled:
            raise TaskTimeoutError(record.task_id, timeout or 0.0)

    async def cancel(self, record: Record) -> bool:
        """Stop a task that has not started; tell whether it was stopped in time."""
        if self.submitter.withdrawn(record):
            self.end(record, NotSubmittedError("cancelled before it was sent"))
            return isinstance(record.result, NotSubmittedError)
        await self.wait(record, lambda: record.task_id is not None or record.settled)
        if record.task_id is None or record.settled:
            return isinstance(record.result, TaskCancelledError)
        return await self.tasks.persist(lambda: self._look_and_cancel(record))

    async def _look_and_cancel(self, record: Record) -> bool:
        """Cancel a task that is seen waiting.

        It is looked at right before each attempt, because the provider takes the cancelling of an
        ended task as the order to delete its record, and with it the way to its video.
        """
        task_id = record.task_id or ""
        await self.tasks.turn_to_cancel()
        self.poller.take(await self.tasks.get(task_id), final=True)
        if record.status is not Status.QUEUED:
            return isinstance(record.result, TaskCancelledError)
        try:
            await self.tasks.calls.cancel(task_id)
        except ConflictError:
            self.poller.nudge(record)
            return False
        try:
            self.poller.take(await self.tasks.get(task_id), final=True)
        except NotFoundError:
            gone = TaskCancelledError(task_id, None, "the provider has removed its record")
            for each in self.registry.settle(record, gone, Status.CANCELLED):
                self.emit(TaskSettled(outcome=each.outcome))
        return True

    def end(self, record: Record, error: CallsheetError) -> None:
        """End a record that never became a task, unless it has ended already."""
        if record.settle(error):
            self._ended(record)

    def emit(self, event: Event) -> None:
        """Tell the observer; what it raises is logged."""
        if self._observer is not None:
            try:
                self._observer(event)
            except Exception:
                log.exception("the observer failed on %r", event)

    def _created(self, record: Record) -> None:
        if record in self._unwatched:
            self.registry.forget(record)
        else:
            self.poller.watch(record, fresh=True)
        self.emit(TaskSubmitted(task_id=record.task_id or "", index=record.index))

    def _ended(self, record: Record) -> None:
        self.emit(TaskSettled(outcome=record.outcome))

    @staticmethod
    def _prior(record: Record) -> tuple[float, float]:
        spec = record.spec
        prior = _catalog.render_time(
            record.model,
            None if spec is None else spec.resolution,
            None if spec is None else spec.duration,
        )
        return prior.median, prior.sigma


def _budgets(provider: Provider, limits: Limits) -> dict[str, Budget]:
    ark = _catalog.PROVIDERS["ark"].limits

    def rate(name: str) -> float:
        chosen = (getattr(each, name) for each in (limits, provider.limits, ark))
        return float(next(value for value in chosen if value is not None))

    creates = rate("creates_per_minute")
    return {
        "create": Budget(limit=creates, period=60.0, burst=max(1, int(creates / 10))),
        "get": Budget(limit=rate("gets_per_second")),
        "list": Budget(limit=rate("lists_per_second")),
        "cancel": Budget(limit=rate("cancels_per_second")),
    }
