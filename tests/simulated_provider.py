"""A small simulated provider, and a simulated client that polls it with the real planner."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import attrs

from callsheet._models.snapshot import Snapshot, Status
from callsheet._polling.planner import ListSupport, Planner, PollRequest
from callsheet._polling.schedule import Schedule
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet._state.registry import Registry, result_of
from callsheet.errors import CallsheetError
from making import NEVER, most_in_window, record, snapshot


WAKES = 4
"""Most wake-ups in one second that may find no poll to send."""


@attrs.define(eq=False)
class Job:
    """A task at the provider."""

    task_id: str
    created: float
    seconds: float
    outcome: Status
    starts: float = NEVER
    ends: float = NEVER


@attrs.define(kw_only=True)
class SimulatedProvider:
    """Runs up to *places* tasks at once, in order of creation or in random order."""

    places: int
    rng: random.Random
    in_turn: bool = True
    jobs: dict[str, Job] = attrs.field(factory=dict)
    _waiting: list[Job] = attrs.field(factory=list)
    _free: list[float] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._free = [0.0] * self.places

    def create(self, *, now: float, outcome: Status = Status.SUCCEEDED) -> str:
        """Create a task and return its id."""
        self._advance(now)
        seconds = self.rng.lognormvariate(4.1, 0.5)
        job = Job(f"cgt-{len(self.jobs)}", now, seconds, outcome)
        self.jobs[job.task_id] = job
        self._waiting.append(job)
        return job.task_id

    def look(self, task_id: str, *, now: float) -> Snapshot:
        """The status answer about a task at the time *now*."""
        self._advance(now)
        job = self.jobs[task_id]
        if now >= job.ends:
            return snapshot(task_id, job.outcome, updated_at=job.ends)
        if now >= job.starts:
            return snapshot(task_id, Status.RUNNING, updated_at=job.starts)
        return snapshot(task_id, Status.QUEUED, updated_at=job.created)

    def page(self, number: int, size: int) -> list[str]:
        """The ids on one page of all tasks, the newest first."""
        return list(reversed(self.jobs))[(number - 1) * size : number * size]

    def finish(self) -> float:
        """Let all tasks end; return the time of the last end."""
        self._advance(NEVER)
        return max((job.ends for job in self.jobs.values()), default=0.0)

    def _advance(self, now: float) -> None:
        while self._waiting and self._free[0] <= now:
            turn = 0 if self.in_turn else self.rng.randrange(len(self._waiting))
            job = self._waiting.pop(turn)
            job.starts = max(heapq.heappop(self._free), job.created)
            job.ends = job.starts + job.seconds
            heapq.heappush(self._free, job.ends)


Answer = CallsheetError | list[Snapshot]
Respond = Callable[[PollRequest, float], Answer]
"""The answer to a poll that reaches the provider at a given time."""


def planner(
    support: ListSupport, *, delay: float = 5.0, width: int = 16, page: int = 100, **values
) -> Planner:
    """A planner with a working circuit breaker and the usual rate limits."""
    return Planner(
        schedule=Schedule(delay=delay, page=page),
        breaker=CircuitBreaker(width=width, rng=random.Random(1)),
        gets=RateLimit(limit=20),
        lists=RateLimit(limit=1),
        support=support,
        id_cost=lambda task_id: len(task_id) + 1,
        **values,
    )


@attrs.define(kw_only=True)
class SimulatedClient:
    """A registry and a planner that get each answer as in the real client.

    Each poll is checked against the rate limits, the due times and the polls in flight.
    """

    planner: Planner
    registry: Registry = attrs.field(factory=Registry)
    now: float = 0.0
    in_flight: list[PollRequest] = attrs.field(factory=list)
    nudged: set[Record] = attrs.field(factory=set)
    polls: int = 0
    gets: list[float] = attrs.field(factory=list)
    lists: list[float] = attrs.field(factory=list)
    final_refusals: list[Record] = attrs.field(factory=list)
    locked_out: bool = False

    def add(self, task_id: str, *, fresh: bool = True, tier: str | None = None) -> Record:
        """Watch a task that was created just now, or attach to one."""
        made = record(tier=tier)
        if fresh:
            self.registry.adopt(made, task_id, now=self.now)
            self.planner.schedule.add(made, now=self.now)
        elif self.registry.adopt(made, task_id, now=self.now):
            self.planner.schedule.adopt(made, now=self.now)
        return made

    def next(self) -> PollRequest | None:
        """The next poll; ``None`` if the planner may sleep, which is checked first."""
        plan = self.planner
        held = {*plan._singles, *itertools.chain(*plan._groups)}
        due_at = plan.schedule.next_due()
        due = {each for each in self.registry if each in held or self._is_due(each)}
        lists = not plan._listing and due_at is not None and due_at <= self.now
        page, poll = plan.schedule.page, plan.next(now=self.now)
        if poll is None:
            self._check_sleep()
            return None
        self._check(poll, due, may_list=lists or bool(held), page=page)
        self.polls += 1
        self.in_flight.append(poll)
        return poll

    def wake_at(self) -> float | None:
        """When to call `next` again."""
        return self.planner.wake_at(now=self.now)

    def answer(self, poll: PollRequest, answer: Answer) -> None:
        """Apply the answer to *poll*, as the client's poller does."""
        self.in_flight.remove(poll)
        if isinstance(answer, CallsheetError):
            follows = self.planner.failed(poll, answer, now=self.now)
            if follows.final_refusal:
                self.final_refusals.append(poll.records[0])
                self.settle(poll.records[0], answer)
            if follows.locked_out:
                self.locked_out = True
                for each in list(self.registry):
                    self.settle(each, answer)
            return
        asked, pages = set(poll.records), self.planner.pages[poll.tier]
        if poll.page is not None:
            pages.arrived(now=self.now)
            asked = {each for each in self.registry if pages.is_news(each, now=self.now)}
        found = {each.task_id for each in answer} & {each.task_id for each in asked}
        for each in answer:
            self.take(each, single=poll.single)
        last = len(answer) < self.planner.page_size
        self.planner.read(poll, now=self.now, found=len(found), last=last)

    def take(self, said: Snapshot, *, single: bool = False) -> None:
        """Apply one status answer, as the client's poller does."""
        one = self.registry.get(said.task_id)
        if one is None:
            return
        settled = self.registry.apply(said)
        without_video = not settled and said.status is Status.SUCCEEDED
        if without_video and self.planner.without_video(one, single=single, now=self.now):
            settled = self.registry.settle(one, result_of(said), Status.FAILED)
        if settled:
            self.planner.schedule.settled(one, now=self.now, updated_at=said.updated_at)
        elif not said.status.terminal:
            status = one.status or said.status
            self.planner.schedule.seen(one, status, now=self.now, updated_at=said.updated_at)
            if any(one in poll.records for poll in self.in_flight):
                self.nudged.add(one)  # another answer was faster

    def settle(self, one: Record, error: CallsheetError) -> None:
        """Settle a record with an error."""
        self.registry.settle(one, error)
        self.planner.schedule.settled(one, now=self.now)

    def nudge(self, one: Record) -> None:
        """Make a record due at once."""
        self.nudged.add(one)
        self.planner.schedule.nudge(one, now=self.now)

    def _is_due(self, one: Record) -> bool:
        """Whether *one* may be polled by itself: it is due, or a sweep of its lane is."""
        lane = self.planner.schedule._lane(one)
        return one.due <= self.now or (one.started is None and lane.sweep_at <= self.now)

    def _check(self, poll: PollRequest, due: set[Record], *, may_list: bool, page: int) -> None:
        assert poll.records
        assert len(set(poll.records)) == len(poll.records)
        busy = {each for one in self.in_flight for each in one.records} - self.nudged
        assert busy.isdisjoint(poll.records)
        if poll.single:
            self.gets.append(self.now)
            (one,) = poll.records
            assert not one.settled
            too_long = self.planner.id_cost(one.task_id) > self.planner.url_room
            assert one in due or (may_list and too_long)
        else:
            self.lists.append(self.now)
            costs = sum(self.planner.id_cost(each.task_id) for each in poll.records)
            assert costs <= self.planner.url_room
            assert len(poll.records) <= page
            assert {each.tier for each in poll.records} == {poll.tier}
            assert may_list
            assert all(one.single for one in self.in_flight)

    def _check_sleep(self) -> None:
        for _ in range(WAKES):
            wake = self.planner.wake_at(now=self.now)
            if wake is None or wake > self.now:
                break
            assert self.planner.next(now=self.now) is None, (
                "it was about to sleep with a poll to send"
            )
        else:
            raise AssertionError("it would spin")
        if wake is None:
            assert self.in_flight or not len(self.registry), "it would sleep for ever"


@attrs.define(kw_only=True)
class Simulation:
    """One run of a simulated client whose polls *respond* answers, event by event."""

    client: SimulatedClient
    respond: Respond
    latency: Callable[[], float] = lambda: 0.1
    settled_at: dict[str, float] = attrs.field(factory=dict)
    _events: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _number: itertools.count = attrs.field(factory=itertools.count)

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Call *what* at the time *when*."""
        heapq.heappush(self._events, (when, next(self._number), what))

    def run(self, *, until: float, most: int = 100_000) -> None:
        """Go on until all tasks have ended and no event is left, or until the time *until*."""
        client, called, idle_wakes = self.client, False, []
        for _ in range(most):
            sent = client.polls
            while (poll := client.next()) is not None:
                self._send(poll)
            if called and client.polls == sent:
                idle_wakes.append(client.now)
                assert most_in_window(idle_wakes[-2 * WAKES :], 1.0) <= WAKES, (
                    "it wakes up in idle_wakes"
                )
            if not self._events and not len(client.registry):
                return
            wake = client.wake_at()
            when = min(
                NEVER if wake is None else wake, self._events[0][0] if self._events else NEVER
            )
            if when > until:
                return
            client.now = max(client.now, when)
            called = not (self._events and self._events[0][0] <= client.now)
            while self._events and self._events[0][0] <= client.now:
                heapq.heappop(self._events)[2]()
        raise AssertionError("it never comes to rest")

    def _send(self, poll: PollRequest) -> None:
        client, sent = self.client, self.client.now
        seconds = self.latency()

        def arrive() -> None:
            before = set(client.registry)
            client.answer(poll, self.respond(poll, sent + seconds / 2))
            for each in before - set(client.registry):
                self.settled_at[each.task_id] = client.now

        self.at(sent + seconds, arrive)
