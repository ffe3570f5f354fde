"""The planner against a simulated provider, event by event: exact figures, no clock, no network."""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Protocol

import attrs

from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._polling.pages import SIZE
from callsheet._polling.planner import ListSupport, Planner
from callsheet._polling.poller import Poller
from callsheet._polling.schedule import Schedule
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.clock import Clock
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet._state.registry import Registry


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._polling.planner import PollRequest
    from callsheet.errors import CallsheetError
    from callsheet.events import Event


LATENCY = 0.05
"""Seconds between a request and its answer."""

WARM = 100
"""Ends after which a kind of task is well known."""

MODEL = "doubao-seedance-1-5-pro-251215"


@attrs.frozen
class World:
    """What the provider does with tasks that are all created at time 0.

    Attributes:
        starts: When each task starts, seconds.
        ends: When each task ends, seconds.
    """

    starts: tuple[float, ...]
    ends: tuple[float, ...]

    @classmethod
    def queue(cls, times: list[float], *, at_once: int) -> World:
        """First come first served, *at_once* at a time."""
        free = [0.0] * at_once
        starts, ends = [], []
        for seconds in times:
            start = heapq.heappop(free)
            starts.append(start)
            ends.append(start + seconds)
            heapq.heappush(free, start + seconds)
        return cls(tuple(starts), tuple(ends))

    def asked(self, poll: PollRequest) -> Sequence[int]:
        """The tasks that a poll asks about: those of its ids, or of a page, the newest first."""
        if poll.page is None:
            return [record.index for record in poll.records]
        end = len(self.ends) - (poll.page - 1) * SIZE
        return range(end - 1, max(end - SIZE, 0) - 1, -1)

    def snapshot(self, index: int, at: float) -> Snapshot:
        """What the provider says of a task at a moment; its times are whole seconds, as there."""
        status, updated = Status.QUEUED, 0.0
        if at >= self.ends[index]:
            status, updated = Status.SUCCEEDED, self.ends[index]
        elif at >= self.starts[index]:
            status, updated = Status.RUNNING, self.starts[index]
        return Snapshot(
            task_id=f"cgt-{index}",
            status=status,
            raw_status=status.value,
            video_url="https://x/y.mp4" if status is Status.SUCCEEDED else None,
            created_at=0.0,
            updated_at=float(int(updated)),
        )


def render_times(n: int, *, median: float, sigma: float, seed: int) -> list[float]:
    """Log-normal render times, seconds."""
    rng = random.Random(seed)
    return [median * 2.718281828459045 ** (sigma * rng.gauss(0.0, 1.0)) for _ in range(n)]


@attrs.frozen(kw_only=True)
class Cost:
    """What watching cost.

    Attributes:
        lists: List calls.
        gets: Gets.
        delays: Seconds between each task's end and its being known.
        busiest: Most lists and most gets in any second.
        busiest_of_ten: Gets a second in the busiest ten seconds.
        learned: Calls that were sent after `WARM` ends were known.
    """

    lists: int
    gets: int
    delays: list[float]
    busiest: tuple[int, int]
    busiest_of_ten: float = 0.0
    learned: int = 0

    @property
    def delay(self) -> float:
        """Mean delay, seconds."""
        return sum(self.delays) / len(self.delays)


class Watcher(Protocol):
    """Something that decides when to ask about what."""

    def next(self, now: float) -> PollRequest | None:
        """A request to send now."""

    def wake_at(self, now: float) -> float | None:
        """When to ask again if nothing comes back before."""

    def answered(self, poll: PollRequest, snapshots: list[Snapshot], now: float) -> None:
        """Take an answer."""


class _Now(Clock):
    """A clock that is set."""

    def __init__(self) -> None:
        object.__setattr__(self, "at", 0.0)

    def set(self, at: float) -> None:
        """It is *at* o'clock."""
        object.__setattr__(self, "at", at)

    def now(self) -> float:
        return self.at  # type: ignore[attr-defined,no-any-return]


class _NobodyTold:
    """A lifecycle without a journal, money or an observer."""

    def moved(self, record: Record, answer: Snapshot) -> None: ...

    def task_ended(self, record: Record) -> None: ...

    def ended(self, record: Record) -> None: ...

    def disowned(self, record: Record, error: CallsheetError) -> bool: ...  # type: ignore[empty-body]

    def room_made(self) -> None: ...

    def emit(self, event: Event) -> None: ...


class Ours:
    """The planner, registry and poller of a client, without their loop.

    Its creates may be answered up to *astray* places out of the order in which the provider took
    them, as those are that are sent side by side.
    """

    def __init__(
        self,
        n: int,
        *,
        lists: bool,
        delay: float,
        astray: int = 0,
        gets: RateLimit | None = None,
    ) -> None:
        self.count = n
        self.clock = _Now()
        self.registry = Registry()
        planner = Planner(
            schedule=Schedule(delay=delay),
            breaker=CircuitBreaker(width=16),
            gets=gets or RateLimit(limit=20.0),
            lists=RateLimit(limit=1.0),
            support=ListSupport.YES if lists else ListSupport.NO,
            id_cost=lambda _: 41,
        )
        self.poller = Poller(
            api=None,  # type: ignore[arg-type] - nothing is sent here
            planner=planner,
            registry=self.registry,
            clock=self.clock,
            lifecycle=_NobodyTold(),
        )
        spec = TaskSpec("a boat", duration=5)
        rng = random.Random(astray)
        for index in sorted(range(n), key=lambda place: place + rng.uniform(0, astray)):
            record = Record(spec, index=index, model=MODEL)
            self.registry.adopt(record, f"cgt-{index}", now=0.0)
            self.poller.watch(record, fresh=True)

    def next(self, now: float) -> PollRequest | None:
        self.clock.set(now)
        return self.poller.planner.next(now=now)

    def wake_at(self, now: float) -> float | None:
        return self.poller.planner.wake_at(now=now)

    def answered(self, poll: PollRequest, snapshots: list[Snapshot], now: float) -> None:
        self.clock.set(now)
        planner = self.poller.planner
        pages, found = planner.pages[poll.tier], len(snapshots)
        if poll.page is not None:
            pages.arrived(now=now)
            records = [self.registry.get(snapshot.task_id) for snapshot in snapshots]
            found = sum(pages.is_news(each, now=now) for each in records if each is not None)
        for snapshot in snapshots:
            self.poller.take(snapshot, single=poll.single)
        last = (poll.page or 1) * planner.page_size >= self.count  # the provider tells the total
        planner.read(poll, now=now, found=found, last=last)


def simulate(world: World, watcher: Watcher) -> Cost:
    """Let *watcher* watch until it knows every end."""
    n = len(world.ends)
    known: dict[int, float] = {}
    sent: dict[bool, list[float]] = {True: [], False: []}
    coming: list[tuple[float, int, PollRequest, float]] = []
    now, number = 0.0, 0
    while len(known) < n:
        while (poll := watcher.next(now)) is not None:
            number += 1
            sent[poll.single].append(now)
            heapq.heappush(coming, (now + LATENCY, number, poll, now + LATENCY / 2))
        wake = watcher.wake_at(now)
        times = [t for t in (wake, coming[0][0] if coming else None) if t is not None]
        now = max(now, min(times))
        while coming and coming[0][0] <= now:
            _, _, poll, looked = heapq.heappop(coming)
            snapshots = []
            for index in world.asked(poll):
                snapshot = world.snapshot(index, looked)
                snapshots.append(snapshot)
                if snapshot.status.terminal:
                    known.setdefault(index, now)
            watcher.answered(poll, snapshots, now)
    warm = sorted(known.values())[min(WARM, n - 1)]
    return Cost(
        lists=len(sent[False]),
        gets=len(sent[True]),
        delays=[known[index] - end for index, end in enumerate(world.ends)],
        busiest=(_busiest(sent[False]), _busiest(sent[True])),
        busiest_of_ten=_busiest(sent[True], window=10.0) / 10.0,
        learned=sum(at > warm for times in sent.values() for at in times),
    )


def _busiest(times: list[float], *, window: float = 1.0) -> int:
    """Most events in any window of so many seconds."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most
