"""Sends the polls that the planner chooses, in one loop for all tasks of a client."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

import anyio.lowlevel
import attrs

from callsheet._http.api import Api
from callsheet._models.snapshot import Page, Snapshot, Status
from callsheet._polling.planner import Planner, PollRequest
from callsheet._state.clock import Clock, WakeEvent
from callsheet._state.lifecycle import Lifecycle
from callsheet._state.registry import Registry, result_of
from callsheet.errors import (
    CallsheetError,
    NotFoundError,
    SubmissionUncertainError,
    TransportError,
)
from callsheet.events import GateOpened, GateShut, PollFailed, StatusChanged


if TYPE_CHECKING:
    from callsheet._state.record import Record


FIRST_TIMEOUT = 4.0
"""Seconds without an answer after which a poll is given up at first. In an outage only one probe is
in flight; with a longer timeout it would notice the service's return late."""

ANSWERS_PER_TURN = 5
"""Answers that are applied before other coroutines run. An end updates the estimates and wakes its
waiters, which takes time."""

TIMEOUT_GROWTH = 1.15
"""Factor of the timeout after a poll that was given up: the service may only be slow."""


@attrs.define(eq=False, kw_only=True)
class Poller:
    """Sends the planner's polls and applies the answers to the registry.

    Attributes:
        api: Sends the requests.
        planner: Chooses the next poll.
        registry: Holds the pending tasks.
        clock: The client's clock.
        lifecycle: Is told what becomes of the tasks.
    """

    api: Api
    planner: Planner
    registry: Registry
    clock: Clock
    lifecycle: Lifecycle
    _wake_up: WakeEvent = attrs.field(init=False)
    _timeouts: dict[bool, float] = attrs.field(init=False)
    """Seconds, by `PollRequest.single`: lists may be slower than gets, or faster."""
    _expected: tuple[float, float] = attrs.field(default=(math.inf, math.inf), init=False)
    """What `_next_times` returned when the loop went to sleep."""

    def __attrs_post_init__(self) -> None:
        """Make what depends on the clock, and set the first timeouts."""
        self._wake_up = WakeEvent(self.clock)
        self._timeouts = dict.fromkeys((True, False), FIRST_TIMEOUT)

    def watch(self, *records: Record, fresh: bool) -> None:
        """Poll these tasks from now on; *fresh* means that they were created just now."""
        schedule = self.planner.schedule
        plan, now = schedule.add if fresh else schedule.adopt, self.clock.now()
        was_alone = schedule.is_alone()  # one task is asked about by a get, two by a list
        for record in records:
            plan(record, now=now)
        # Most tasks of a batch change nothing about the next poll, so the loop sleeps on.
        if was_alone or any(map(operator.lt, self._next_times(), self._expected)):
            self._wake_up.set()

    def nudge(self, record: Record) -> None:
        """Poll a task as soon as the rate limit allows."""
        self.planner.schedule.nudge(record, now=self.clock.now())
        self._wake_up.set()

    def _next_times(self) -> tuple[float, float]:
        """When the next task is due by the plan, and when the next task is overdue."""
        due, deadline = self.planner.schedule.next_due(), self.registry.next_deadline()
        return math.inf if due is None else due, math.inf if deadline is None else deadline

    async def run(self) -> None:
        """Poll until cancelled."""
        async with anyio.create_task_group() as polls:
            while True:
                now = self.clock.now()
                for record, error in self.registry.overdue(now=now):
                    self.settle(record, error)
                poll = self.planner.next(now=now)
                if poll is not None:
                    polls.start_soon(self._send, poll)
                    continue
                self._expected = self._next_times()
                times = (self.planner.wake_at(now=now), self.registry.next_deadline())
                await self._wake_up.wait(min((t for t in times if t is not None), default=None))

    def take(self, snapshot: Snapshot, *, single: bool = False) -> None:
        """Apply a status answer to the registry and the schedule.

        After a success without a video URL the task is polled again by get. It ends when the
        planner finds that final, which only *single* answers, those of polls by get, can show.
        """
        record = self.registry.get(snapshot.task_id)
        if record is None:
            return
        if snapshot.task_id != record.task_id:  # the gateway has an id of its own for it
            snapshot = attrs.evolve(snapshot, task_id=_id(record))
        if not self.registry.is_of_another(snapshot):
            self._apply(record, snapshot, single=single)
        elif not single:
            self.planner.ask_alone(record)  # a list may show marks of other tasks
            self._wake_up.set()
        else:
            reason = f"the id {snapshot.task_id} that its create brought is that of another task"
            made = self.registry.made_task(snapshot.task_id)
            token = None if made is None else made.mark
            self._disown(record, SubmissionUncertainError(reason, token))

    def _apply(self, record: Record, snapshot: Snapshot, *, single: bool) -> None:
        before = record.status
        settled, now = self.registry.apply(snapshot), self.clock.now()
        without_video = not settled and snapshot.status is Status.SUCCEEDED
        if without_video and self.planner.without_video(record, single=single, now=now):
            settled = self.registry.settle(record, result_of(snapshot), Status.FAILED)
            for each in settled:
                each.snapshot = snapshot  # it is billed nevertheless
        if without_video and not settled:
            for each in self.registry.records_of(snapshot.task_id):
                self.lifecycle.moved(each, snapshot)
            self._wake_up.set()
        for each in settled:
            self.lifecycle.task_ended(each)
        if settled:
            self.planner.schedule.settled(record, now=now, updated_at=snapshot.updated_at)
        elif not snapshot.status.terminal:
            status = record.status or snapshot.status  # a stale answer has changed nothing
            self.planner.schedule.seen(record, status, now=now, updated_at=snapshot.updated_at)
            if before is not status:
                self.lifecycle.moved(record, snapshot)
                self.lifecycle.emit(
                    StatusChanged(task_id=snapshot.task_id, before=before, after=status)
                )
        if settled or (before is Status.QUEUED and record.status is not Status.QUEUED):
            self.lifecycle.room_made()

    async def _send(self, poll: PollRequest) -> None:
        started, timeout = anyio.current_time(), self._timeouts[poll.single]
        try:
            page = await self._ask(poll, timeout)
        except CallsheetError as error:
            if isinstance(error, TransportError) and anyio.current_time() - started >= timeout:
                usual = self._timeouts[poll.single]
                self._timeouts[poll.single] = max(usual, timeout * TIMEOUT_GROWTH)
            await self._failed(poll, error)
        else:
            took = anyio.current_time() - started
            self._timeouts[poll.single] = max(FIRST_TIMEOUT, 2 * took)
            await self._read(poll, page)
        self._wake_up.set()

    async def _ask(self, poll: PollRequest, limit: float) -> Page:
        if poll.single:
            (record,) = poll.records
            return Page(items=[await self.api.get(_id(record), limit=limit)])
        if poll.page is not None:
            return await self.api.list(
                page_num=poll.page,
                page_size=self.planner.page_size,
                service_tier=poll.tier,
                limit=limit,
            )
        ids = [self.registry.listed_as(_id(record)) for record in poll.records]
        return await self.api.list(
            task_ids=ids, page_size=len(ids), service_tier=poll.tier, limit=limit
        )

    async def _read(self, poll: PollRequest, page: Page) -> None:
        now, found, pages = self.clock.now(), 0, self.planner.pages[poll.tier]
        if poll.page is not None:
            pages.arrived(now=now)
        asked = {record.task_id: place for place, record in enumerate(poll.records)}
        # a list may come in any order, but what one task tells of others depends on the order
        items = sorted(page.items, key=lambda each: asked.get(each.task_id, len(asked)))
        for number, snapshot in enumerate(items, 1):
            record = self.registry.get(snapshot.task_id)
            if record is not None and poll.page is None:
                found += record.task_id in asked
            elif record is not None:
                found += pages.is_news(record, now=now)
            self.take(snapshot, single=poll.single)
            if number % ANSWERS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()
        count, size = len(page.items) + page.unreadable, self.planner.page_size
        last = count < size or (page.total is not None and page.total <= (poll.page or 1) * size)
        if self.planner.read(poll, now=self.clock.now(), found=found, last=last):
            self.lifecycle.emit(GateOpened())

    async def _failed(self, poll: PollRequest, error: CallsheetError) -> None:
        follows = self.planner.failed(poll, error, now=self.clock.now())
        ids = tuple(_id(record) for record in poll.records)
        self.lifecycle.emit(PollFailed(task_ids=ids, error=error))
        if follows.restored:
            self.lifecycle.emit(GateOpened())
        if follows.tripped:
            self.lifecycle.emit(GateShut(error=error))
        record = poll.records[0]
        if follows.final_refusal and self.registry.get(_id(record)) is not None:
            end = self._disown if isinstance(error, NotFoundError) else self.settle
            end(record, error)
        if follows.locked_out:
            for number, record in enumerate(list(self.registry), start=1):
                if not record.settled:  # others may have settled it meanwhile
                    self.settle(record, error)
                if number % ANSWERS_PER_TURN == 0:
                    await anyio.lowlevel.checkpoint()

    def _disown(self, record: Record, error: CallsheetError) -> None:
        """Watch a task no longer whose id is not that of its spec's own task."""
        if self.lifecycle.disowned(record, error):
            self.drop(record)
        else:
            self.settle(record, error)

    def drop(self, record: Record) -> None:
        """Poll a task no longer, without an outcome."""
        if self.registry.get(_id(record)) is record:
            self.registry.forget(record)
            self.planner.drop(record, now=self.clock.now())
            self.lifecycle.room_made()

    def settle(self, record: Record, error: CallsheetError, status: Status | None = None) -> None:
        """End a task with an error that no answer has brought."""
        watched = self.registry.get(_id(record)) or record  # another record may stand for the task
        settled = self.registry.settle(record, error, status)
        for each in settled:
            self.lifecycle.task_ended(each)
        if settled:
            self.planner.schedule.settled(watched, now=self.clock.now())
            self.lifecycle.room_made()


def _id(record: Record) -> str:
    return record.task_id or ""
