"""When which task is asked about: a plan that knows no clock and sends nothing."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator

import attrs

from callsheet._models.snapshot import Status
from callsheet._polling.queue_model import Lane
from callsheet._polling.render_time.estimator import Estimator, kind_of
from callsheet._polling.service_tier import Heap, Tier, due_in, fresh, top
from callsheet._state.record import Record


IDS_PER_LIST = 180
"""Ids that one list asks about: with 24 characters each they fit a line of 8 kB."""

MOST_REPLANNED = 1_000
"""Most running tasks of a lane that are dated anew when its law has changed."""

SWEEP = 30.0
"""Seconds between two looks at tasks whose turn should not have come, one task at a time."""

HEADS = 20
"""Most tasks at the head of a line that keep company in a list, before others are swept."""

MOST_MISSES_GAP = 60.0

SAME = 2.0
"""Seconds by which two times of one change may differ: they are whole, and its clock is guessed."""


@attrs.define(kw_only=True)
class Schedule:
    """The due times of all pending tasks. *now* is seconds on one monotonic clock.

    A record that is handed out is out of the plan until `seen`, `missed` or `nudge` brings it
    back; a record that has settled drops out by itself.

    Attributes:
        delay: Seconds between a task's end and its being noticed to aim for.
        prior: Median and sigma of the render time to expect of a record's task.
        page: Most tasks that one list is to ask about.
    """

    delay: float
    prior: Callable[[Record], tuple[float, float]]
    page: int = IDS_PER_LIST
    _tiers: dict[str | None, Tier] = attrs.field(factory=dict[str | None, Tier], init=False)
    _order: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    _estimator: Estimator = attrs.field(init=False)
    _taught: dict[Lane, float] = attrs.field(factory=dict[Lane, float], init=False)
    """Lanes whose law has changed since the last decision, and when."""
    _vague: set[Record] = attrs.field(factory=set[Record], init=False)
    """Those found running when they were attached, of whom nobody knows yet since when."""

    def __attrs_post_init__(self) -> None:
        """Start without any experience but the prior."""
        self._estimator = Estimator(delay=self.delay, prior=self.prior)

    def add(self, record: Record, *, now: float) -> None:
        """Plan for a task that was just created."""
        lane = self._lane(record)
        record.alive_at = now
        lane.join(record)
        if lane.scout() is record:
            self._date(record, now + self.delay)
        elif lane.sweep_at == math.inf:
            lane.sweep_at = now + lane.sweep_gap

    def adopt(self, record: Record, *, now: float) -> None:
        """Plan for a task of unknown age: it is asked about at once."""
        record.alive_at, record.unseen = now, True
        self._lane(record).join(record)
        self._date(record, now)

    def seen(
        self, record: Record, status: Status, *, now: float, updated_at: float | None = None
    ) -> None:
        """Plan on after an answer that did not settle *record*.

        Args:
            record: The record.
            status: What the answer says.
            now: When it came.
            updated_at: The provider's time of the last change, unix seconds.
        """
        record.misses = record.refusals = 0
        tier, lane = self._tier(record), self._lane(record)
        tier.ends_at = None
        if status is Status.QUEUED:
            half = 0.5 * self._estimator.distribution(record).mean
            lane.patience = min(2.0 * lane.patience, max(half, self.delay))
            front_known = lane.found_waiting(record)
            record.alive_at, record.unseen = now, False
            record.asked, record.due = False, math.inf
            if lane.sweep_at == math.inf:
                lane.sweep_at = now + lane.sweep_gap
            self._send_scout(lane, now + (lane.patience if front_known else 0.0))
            return
        if record.started is None:
            lane.patience = self.delay
            if record.unseen and not self._estimator.synchronous:
                self._vague.add(record)
            started = self._estimator.local(updated_at, since=_since(record), now=now)
            for presumed in lane.found_running(record, started=started, now=now):
                if not presumed.asked:
                    self._date(presumed, now + self._gap(presumed, now))
            self._send_scout(lane, now)
        elif updated_at is not None and self._estimator.synchronous:
            self._correct(lane, record, record.started, self._estimator.when(updated_at, now=now))
        lane.confirm(record)
        record.alive_at, record.unseen = now, False
        age = 0.0 if record.started is None else now - record.started
        if self._estimator.runs(record, age, lambda: self._ages(record)):
            self._taught[lane] = now
        self._date(record, now + self._gap(record, now))

    def settled(self, record: Record, *, now: float, updated_at: float | None = None) -> None:
        """Learn from an end, and give the place that became free to the next in line.

        Args:
            record: The record; it has its outcome.
            now: When that was learned.
            updated_at: The provider's time of the end, unix seconds.
        """
        polled, record.asked, record.due = record.asked, False, math.inf
        tier, lane = self._tier(record), self._lane(record)
        tier.ends_at = None
        lane.leave(record)
        first, began = lane.is_first(record), record.started is not None
        vague = record in self._vague
        self._vague.discard(record)
        failed = record.status is Status.FAILED and (began or first)
        if record.status is not Status.SUCCEEDED and not failed:
            # it was stopped, and may never have held a place: nobody moves up
            if record.started is not None:
                self._estimator.left(record, max(record.alive_at - record.started, 0.0))
            elif polled and not first:
                lane.found_out_of_turn(now=now)  # what stopped it may have stopped others
            waits = lane.front_known and not (polled and first)
            self._send_scout(lane, now + (lane.patience if waits else 0.0))
            return
        ended = self._estimator.local(updated_at, since=_since(record), now=now)
        if not record.unseen:
            self._estimator.noticed(now - ended)
        if record.started is None and not first:
            lane.found_out_of_turn(now=now)
        elif (
            record.started is not None
            and not vague
            and self._estimator.ran(record, ended - record.started, lambda: self._ages(record))
        ):
            self._taught[lane] = now
        successor = lane.presume_next(ended)
        if successor is None:
            self._send_scout(lane, now)
        else:
            if not successor.asked:
                self._date(successor, max(now, ended + self._gap(successor, ended)))
            scout = lane.scout()
            if scout is not None and not scout.asked:
                self._date(scout, now + lane.patience)

    def missed(self, record: Record, *, now: float, own_fault: bool) -> None:
        """Plan on after a poll that said nothing about *record*.

        With *own_fault* the gap grows, since others are answered; without, the service is down,
        and the gate decides when somebody is asked again.
        """
        if own_fault:
            record.misses += 1
            pause = min(2.0 ** min(record.misses, 10), MOST_MISSES_GAP)
        else:
            pause = 0.0
        self._ask(record, now + pause)

    def nudge(self, record: Record, *, now: float) -> None:
        """Something happened to the task: ask at once."""
        self._ask(record, now)

    def next_due(self) -> float | None:
        """When the next record is due by itself."""
        self._plan_anew()
        heads = [heap[0][0] for heap in self._heaps() if fresh(heap)]
        heads += [lane.sweep_at for lane in self._lanes() if lane.sweep_at < math.inf]
        return min(heads, default=None)

    def due(self, *, now: float) -> Record | None:
        """Hand out the most overdue record, if one is due."""
        self._plan_anew()
        # before others, who may be due all the time
        swept = next((each for lane in self._lanes() for each in lane.swept(now=now)), None)
        if swept is not None:
            return _handed_out(swept)
        heaps = [heap for heap in self._heaps() if fresh(heap) and heap[0][0] <= now]
        return _handed_out(heapq.heappop(min(heaps, key=top))[2]) if heaps else None

    def local(self, at: float) -> float | None:
        """The provider's time *at* on the client's clock; ``None`` if no answer told yet."""
        return self._estimator.translated(at)

    def _heaps(self) -> Iterator[Heap]:
        return (heap for tier in self._tiers.values() for heap in (tier.others, tier.running))

    def _lanes(self) -> Iterator[Lane]:
        return (lane for tier in self._tiers.values() for lane in tier.lanes.values())

    def list_at(self, *, now: float) -> float | None:
        """When a list is worth sending."""
        self._plan_anew()
        times = [self._list_at(tier, now) for tier in self._tiers.values()]
        return min((when for when in times if when is not None), default=None)

    def group(self, *, now: float) -> list[Record]:
        """Hand out the records of one tier that a list is to ask about, up to a page."""
        self._plan_anew()
        ready = [
            (when, number, tier)
            for number, tier in enumerate(self._tiers.values())
            if (when := self._list_at(tier, now)) is not None and when <= now
        ]
        if not ready:
            return []
        tier = min(ready)[2]
        few = tier.runners() <= self.page
        swept = (each for lane in tier.lanes.values() for each in lane.swept(now=now))
        found = [_handed_out(record) for record in itertools.islice(swept, self.page)]
        for heap in (tier.others,) if few else (tier.others, tier.running):
            while len(found) < self.page and fresh(heap) and heap[0][0] <= now:
                found.append(_handed_out(heapq.heappop(heap)[2]))
        for lane in tier.lanes.values() if few else ():
            company = (r for r in lane.running if not (r.asked or r.refusals))
            room = self.page - len(found)
            found += [_handed_out(record) for record in itertools.islice(company, room)]
        tier.ends_at = None
        return found

    def crowded(self, tier: str | None, *, now: float, beyond: int) -> bool:
        """Whether more than *beyond* records of a tier are due."""
        heaps = (self._tiers[tier].others, self._tiers[tier].running)
        return sum(due_in(heap, now=now, most=beyond + 1) for heap in heaps) > beyond

    def company(self, *, limit: int, tier: str | None) -> list[Record]:
        """Up to *limit* waiting records for the room left in a list: heads of lines, then others.

        They stay in the plan, and are dated anew when the answer is in.
        """
        found: dict[Record, None] = {}
        lanes = self._tiers[tier].lanes.values()
        for lane in lanes:
            found.update(dict.fromkeys(lane.heads(min(HEADS, limit - len(found)))))
        for left, lane in zip(range(len(lanes), 0, -1), lanes, strict=True):
            found.update(dict.fromkeys(lane.sweep(math.ceil((limit - len(found)) / left))))
        return list(found)

    def _list_at(self, tier: Tier, now: float) -> float | None:
        fresh(tier.running)  # lists date anew all that run: old dates would pile up
        return tier.list_at(self._estimator, page=self.page, now=now)

    def _plan_anew(self) -> None:
        """Move looks forward that come too late by what was learned, unless they are very many.

        That is done once for all that was learned since the last decision: a list may teach much.
        """
        while self._taught:
            lane, now = self._taught.popitem()
            for record in lane.running if len(lane.running) <= MOST_REPLANNED else ():
                when = max(now, record.alive_at + self._gap(record, record.alive_at))
                if not (record.asked or record.refusals) and when < record.due:
                    self._date(record, when)

    def _ages(self, like: Record) -> tuple[tuple[float, ...], float]:
        lanes = [t.lanes[like.model] for t in self._tiers.values() if like.model in t.lanes]
        each = max(1, sum(len(lane.running) for lane in lanes) // MOST_REPLANNED)
        kind = kind_of(like)
        running = itertools.chain.from_iterable(lane.running for lane in lanes)
        ages = (
            max(record.alive_at - record.started, 0.0)
            for record in itertools.islice(running, 0, None, each)
            if record.started is not None and record not in self._vague and kind_of(record) == kind
        )
        return tuple(ages), float(each)

    def _tier(self, record: Record) -> Tier:
        key = record.tier
        tier = self._tiers.get(key)
        if tier is None:
            tier = self._tiers[key] = Tier()
        return tier

    def _lane(self, record: Record) -> Lane:
        lanes = self._tier(record).lanes
        lane = lanes.get(record.model)
        if lane is None:
            lane = lanes[record.model] = Lane(self.delay, SWEEP)
        return lane

    def _correct(self, lane: Lane, record: Record, started: float, changed: float) -> None:
        """Correct since when a task runs by when it *changed* last, if that can be its start.

        Where tasks change that are known to run, it cannot.
        """
        if record in self._vague:
            record.started = min(changed, started)
            self._vague.discard(record)
        elif not lane.presumes(record):
            self._estimator.steady &= changed <= started + 2.0 * SAME
        elif self._estimator.steady and abs(changed - started) > SAME:
            record.started = changed

    def _gap(self, record: Record, now: float) -> float:
        age = 0.0 if record.started is None else now - record.started
        return self._estimator.distribution(record).gap(age)

    def _send_scout(self, lane: Lane, when: float) -> None:
        scout = lane.scout()
        if scout is not None and not scout.asked and when < scout.due:
            self._date(scout, when)

    def _date(self, record: Record, when: float) -> None:
        tier = self._tier(record)
        alone = record.started is None or record.refusals > 0
        self._push(tier.others if alone else tier.running, record, when)

    def _ask(self, record: Record, when: float) -> None:
        """Date a record by itself, also if it runs among few who are asked together."""
        tier = self._tier(record)
        tier.ends_at = None
        self._push(tier.others, record, when)

    def _push(self, heap: Heap, record: Record, when: float) -> None:
        if not record.settled:
            record.asked, record.due = False, when
            heapq.heappush(heap, (when, next(self._order), record))


def _handed_out(record: Record) -> Record:
    """Take a record out of the plan."""
    record.asked, record.due = True, math.inf
    return record


def _since(record: Record) -> float:
    """Since when a change that an answer tells of may have happened."""
    return -math.inf if record.unseen else record.alive_at
