"""When which task is asked about: a plan that knows no clock and sends nothing."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence

import attrs

from callsheet._models.snapshot import Status
from callsheet._polling.pages import SIZE
from callsheet._polling.queue_model import Lane, ProviderClock
from callsheet._polling.render_times import ENOUGH_ENDS, REMEMBERED_ENDS, RenderTimes
from callsheet._polling.service_tier import Heap, Tier, due_in, fresh
from callsheet._state.record import Record


IDS_PER_LIST = 180
"""Ids that one list asks about: with 24 characters each they fit a line of 8 kB."""

SOONEST = 1.8
"""Seconds after which a task that may have begun is looked at for the first time."""

GROWTH = 0.09
"""Share of its age by which the next look at a task comes later."""

LONGEST = 1.9
"""Most times the delay between two looks at a task. Ends fall evenly between two looks, so the mean
delay is half of that: a little below the promise, which leaves room for what a request takes."""

ANSWER_TIME = 0.1
"""Seconds that a request takes until its answer is known, as is usual."""

WAITS = 4.0
"""Known ends of a kind for which a gap grows once by its own length: the more ends are known, the
less is learned by looking often."""

SWEEP = 30.0
"""Seconds between two sweeps, which look at one task whose turn should not have come."""

HEADS = 20
"""Most tasks at the head of a queue that fill a list, before others are swept."""

MOST_MISSES_GAP = 60.0

LEAST_RENDER = 0.1

SAME = 2.0
"""Seconds by which two times of one change may differ: they are whole, and its clock is guessed."""


@attrs.define(kw_only=True)
class Schedule:
    """The due times of all pending tasks. *now* is seconds on one monotonic clock.

    A record that is handed out is out of the plan until `seen`, `missed` or `nudge` brings it
    back; a record that has settled drops out by itself.

    Attributes:
        delay: Mean seconds from a task's end to its being known, as promised to the caller.
        page: Most tasks that one list is to ask about.
        list_gap: Seconds between two lists, by the quota.
    """

    delay: float
    page: int = IDS_PER_LIST
    list_gap: float = 1.0
    _tiers: dict[str | None, Tier] = attrs.field(factory=dict[str | None, Tier], init=False)
    _order: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    _clock: ProviderClock = attrs.field(factory=ProviderClock, init=False)
    _times: dict[tuple[object, ...], RenderTimes] = attrs.field(
        factory=dict[tuple[object, ...], RenderTimes], init=False
    )
    _steady: bool = attrs.field(default=True, init=False)
    _news: set[tuple[object, ...]] = attrs.field(factory=set[tuple[object, ...]], init=False)
    """Kinds of which something was learned since `learned` was called."""
    _vague: set[Record] = attrs.field(factory=set[Record], init=False)
    """Tasks that ran when they were attached, or before one that was never seen running: it is not
    known yet since when."""

    @property
    def longest(self) -> float:
        """Most seconds between two looks at a task that runs and may end."""
        # If the wanted delay is short, the answer takes a larger share of it.
        return max(self.delay, min(LONGEST * self.delay, 2.0 * (self.delay - ANSWER_TIME)))

    def add(self, record: Record, *, now: float) -> None:
        """Plan for a task that was just created."""
        lane = self._lane(record)
        record.alive_at = now
        lane.join(record)
        if lane.scout() is record:
            lane.waits_since = now
            self._date(record, now + self._scout_gap(lane, record, now))
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
        lane = self._lane(record)
        if status is Status.QUEUED:
            front_known = lane.found_waiting(record)
            record.alive_at, record.unseen = now, False
            record.asked, record.due = False, math.inf
            self._vague.discard(record)  # its start is still to come
            if lane.sweep_at == math.inf:
                lane.sweep_at = now + lane.sweep_gap
            self._send_scout(
                lane, now + (self._scout_gap(lane, record, now) if front_known else 0.0)
            )
            return
        if record.started is None:
            lane.waits_since = now
            if record.unseen and not self._clock.synchronous:
                self._vague.add(record)
            started = self._clock.local(updated_at, since=_since(record), now=now)
            self._begins(record)
            for presumed in lane.found_running(record, started=started, now=now):
                self._begins(presumed)
                if not presumed.asked:
                    self._date(presumed, now + self._gap(presumed, now))
            self._send_scout(lane, now)
        elif updated_at is not None and self._clock.synchronous:
            self._correct(lane, record, record.started, self._clock.when(updated_at, now=now))
        lane.confirm(record)
        record.alive_at, record.unseen = now, False
        self._date(record, now + self._gap(record, now))

    def settled(self, record: Record, *, now: float, updated_at: float | None = None) -> None:
        """Learn from an end, and give the place that became free to the next in line.

        Args:
            record: The record; it has its outcome.
            now: When that was learned.
            updated_at: The provider's time of the end, unix seconds.
        """
        polled, record.asked, record.due = record.asked, False, math.inf
        lane = self._lane(record)
        lane.leave(record)
        first, began = lane.is_first(record), record.started is not None
        vague = record in self._vague
        self._vague.discard(record)
        failed = record.status is Status.FAILED and (began or first)
        if record.status is not Status.SUCCEEDED and not failed:
            # it was stopped, and may never have held a place: no other task moves up
            if record.started is None and polled and not first:
                lane.found_out_of_turn(now=now)  # what stopped it may have stopped others
            waits = lane.front_known and not (polled and first)
            self._send_scout(lane, now + (self._scout_gap(lane, record, now) if waits else 0.0))
            return
        ended = self._clock.local(updated_at, since=_since(record), now=now)
        if record.started is None:
            presumed = lane.found_ended(record, now=now)
            if presumed is None:
                lane.found_out_of_turn(now=now)
            for each in presumed or ():
                self._vague.add(each)
                self._begins(each)
                if not each.asked:
                    self._date(each, now)  # it began before one that has ended
        elif not vague:
            self._learn(lane, record, max(ended - record.started, LEAST_RENDER), now)
        # by then the end is known that made room: each task that may have ended was looked at
        successor = lane.presume_next(ended, since=now - 2.0 * self.longest)
        if successor is None and (first or not lane.front_known):
            self._send_scout(lane, now)
        elif successor is not None:
            lane.waits_since = now
            self._vague.discard(successor)
            self._begins(successor)
            if not successor.asked:
                self._date(successor, max(now, ended + self._gap(successor, ended)))
            scout = lane.scout()
            if scout is not None and not scout.asked:
                self._date(scout, now + self._scout_gap(lane, scout, now))

    def missed(self, record: Record, *, now: float, own_fault: bool) -> None:
        """Plan on after a poll that said nothing about *record*.

        With *own_fault* the gap grows, because polls of other tasks are answered. Without it the
        service is down, and the circuit breaker decides when the next poll is sent.
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

    def recall(self, kind: tuple[object, ...], seconds: Sequence[float]) -> None:
        """Take over the render times that an earlier process has learned of one kind of task."""
        if kind not in self._times:
            self._times[kind] = RenderTimes.of(seconds[-REMEMBERED_ENDS:])

    def learned(self) -> dict[tuple[object, ...], list[float]]:
        """The render times of the kinds of which something was learned since the last call."""
        news = {kind: self._times[kind].seconds() for kind in self._news}
        self._news.clear()
        return news

    def next_due(self) -> float | None:
        """When the next record is due by itself."""
        heads = [heap[0][0] for heap in self._heaps() if fresh(heap)]
        heads += [lane.sweep_at for lane in self._lanes() if lane.sweep_at < math.inf]
        return min(heads, default=None)

    def head(self) -> Record | None:
        """The task that is due first, whenever that is."""
        heads = [head for tier in self._tiers.values() if (head := tier.head()) is not None]
        return min(heads, key=lambda head: head.due, default=None)

    def due(self, *, now: float) -> Record | None:
        """Hand out the most overdue record, if one is due."""
        # before other tasks, which may be due all the time
        swept = next((each for lane in self._lanes() for each in lane.swept(now=now)), None)
        if swept is not None:
            return _handed_out(swept)
        heaps = [heap for heap in self._heaps() if fresh(heap) and heap[0][0] <= now]
        if not heaps:
            return None
        return _handed_out(heapq.heappop(min(heaps, key=lambda heap: heap[0][:2]))[2])

    def local(self, at: float) -> float | None:
        """The provider's time *at* on the client's clock; ``None`` if no answer told yet."""
        return self._clock.translated(at)

    def _heaps(self) -> Iterator[Heap]:
        return (heap for tier in self._tiers.values() for heap in (tier.others, tier.running))

    def _lanes(self) -> Iterator[Lane]:
        return (lane for tier in self._tiers.values() for lane in tier.lanes.values())

    def group(self, *, now: float) -> list[Record]:
        """Hand out the records of one tier that a list is to ask about, up to a page."""
        ready = [
            (when, number, tier)
            for number, tier in enumerate(self._tiers.values())
            if (when := self._next_in(tier)) is not None and when <= now
        ]
        # a sweep that is due may find no task that waits: then the next tier has its turn
        for _, _, tier in sorted(ready):
            if group := self._group_of(tier, now=now):
                return group
        return []

    def _group_of(self, tier: Tier, *, now: float) -> list[Record]:
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
        return found

    def crowded(self, tier: str | None, *, now: float, shown: int | None = None) -> bool:
        """Whether more records of a tier are due than a list of ids shows, or than *shown*."""
        beyond = self.page if shown is None else shown
        heaps = (self._tiers[tier].others, self._tiers[tier].running)
        return sum(due_in(heap, now=now, most=beyond + 1) for heap in heaps) > beyond

    def is_alone(self) -> bool:
        """Whether there is one task, or none."""
        lanes = list(self._lanes())
        running = sum(len(lane.running) for lane in lanes)
        waiting = itertools.chain.from_iterable(lane.waiting() for lane in lanes)
        return running + sum(1 for _ in itertools.islice(waiting, 2)) <= 1

    def company(self, *, limit: int, tier: str | None) -> list[Record]:
        """Up to *limit* waiting records for the room left in a list: scouts, heads, then others.

        They stay in the plan, and are dated anew when the answer is in.
        """
        found: dict[Record, None] = {}
        lanes = self._tiers[tier].lanes.values()
        for lane in lanes:
            # before the heads: what they tell of those before them need not be told again
            scouts = itertools.islice(lane.next_scouts(), limit - len(found))
            found.update(dict.fromkeys(scouts))
        for lane in lanes:
            found.update(dict.fromkeys(lane.heads(min(HEADS, limit - len(found)))))
        for left, lane in zip(range(len(lanes), 0, -1), lanes, strict=True):
            found.update(dict.fromkeys(lane.sweep(math.ceil((limit - len(found)) / left))))
        return list(found)

    def _next_in(self, tier: Tier) -> float | None:
        head = tier.head()
        times = [lane.sweep_at for lane in tier.lanes.values() if lane.sweep_at < math.inf]
        return min([*times, *([] if head is None else [head.due])], default=None)

    def _begins(self, record: Record) -> None:
        """Note how much is known of its kind when a task begins; nothing if it is unknown when."""
        record.taught = 0 if record in self._vague else self._times_of(record).seen

    def _learn(self, lane: Lane, record: Record, seconds: float, now: float) -> None:
        """Learn from an end; if that voids what was known, look at the others of its kind soon."""
        self._news.add(_kind_of(record))
        if self._times_of(record).observe(seconds):
            for other in lane.running:
                if not (other.asked or other.refusals):
                    when = other.alive_at + self._gap(other, other.alive_at)
                    self._date(other, min(max(now, when), other.due))

    def _times_of(self, record: Record) -> RenderTimes:
        kind = _kind_of(record)
        times = self._times.get(kind)
        if times is None:
            times = self._times[kind] = RenderTimes()
        return times

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
            lane = lanes[record.model] = Lane(SWEEP)
        return lane

    def _correct(self, lane: Lane, record: Record, started: float, changed: float) -> None:
        """Correct since when a task runs by when it *changed* last, if that can be its start.

        Where tasks change that are known to run, it cannot.
        """
        if record in self._vague:
            record.started = min(changed, started)
            self._vague.discard(record)
        elif not lane.presumes(record):
            self._steady &= changed <= started + 2.0 * SAME
        elif self._steady and abs(changed - started) > SAME:
            record.started = changed

    def _gap(self, record: Record, now: float) -> float:
        """Seconds until the next look at a task that runs."""
        age = 0.0 if record.started is None else now - record.started
        times = self._times_of(record)
        known = times.known(record.taught)
        # a round of pages takes its time: it begins early enough for the last page to be in time
        pages = self._tier(record).runners() // SIZE
        longest = self.longest - min(pages * self.list_gap, self.delay)
        if known >= ENOUGH_ENDS:
            return max(times.first_look - age, longest)
        return min(_early_gap(age, known), longest)

    def _scout_gap(self, lane: Lane, record: Record, now: float) -> float:
        """Seconds until the next look at the task that is next to begin."""
        times = self._times_of(record)
        if times.counted >= ENOUGH_ENDS and self._clock.synchronous:
            # in time for the first look at it, if it has begun unseen; where the provider tells no
            # times, its start would have to be guessed from so long a gap
            return max(self.longest, times.first_look / 2.0)
        return min(_early_gap(now - lane.waits_since, times.counted), self.longest)

    def _send_scout(self, lane: Lane, when: float) -> None:
        scout = lane.scout()
        if scout is not None and not scout.asked and when < scout.due:
            self._date(scout, when)

    def _date(self, record: Record, when: float) -> None:
        tier = self._tier(record)
        alone = record.started is None or record.refusals > 0
        self._push(tier.others if alone else tier.running, record, when)

    def _ask(self, record: Record, when: float) -> None:
        """Date a record by itself, even if it runs and is normally asked about with others."""
        self._push(self._tier(record).others, record, when)

    def _push(self, heap: Heap, record: Record, when: float) -> None:
        if not record.settled:
            record.asked, record.due = False, when
            heapq.heappush(heap, (when, next(self._order), record))


def _kind_of(record: Record) -> tuple[object, ...]:
    """What the render time of a task depends on most."""
    spec = record.spec
    return (record.model, *((spec.resolution, spec.duration, spec.frames) if spec else ()))


def _handed_out(record: Record) -> Record:
    """Take a record out of the plan."""
    record.asked, record.due = True, math.inf
    return record


def _early_gap(age: float, known: int) -> float:
    """Seconds until the next look while too few ends are *known* to tell when tasks end."""
    return (SOONEST + GROWTH * age) * (1.0 + known / WAITS)


def _since(record: Record) -> float:
    """Since when a change that an answer tells of may have happened."""
    return -math.inf if record.unseen else record.alive_at
