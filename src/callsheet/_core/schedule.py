"""When which task is asked about: a plan that knows no clock and sends nothing."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from operator import itemgetter

import attrs

from callsheet._core.lanes import SWEEP, Lane, RenderLaw
from callsheet._core.registry import Record
from callsheet._models.snapshot import Status


MOST_MISSES_GAP = 60.0


@attrs.define(kw_only=True)
class Schedule:
    """The due times of all pending tasks. *now* is seconds on one monotonic clock.

    A record that `due` hands out is out of the plan until `seen`, `missed` or `nudge` brings it
    back; a record that has settled drops out by itself.

    Attributes:
        delay: Seconds between a task's end and its being noticed to aim for.
        law: How long a record's task is expected to run.
    """

    delay: float
    law: Callable[[Record], RenderLaw]
    _lanes: dict[tuple[str | None, str | None], Lane] = attrs.field(factory=dict, init=False)
    _heaps: dict[str | None, list[tuple[float, int, Record]]] = attrs.field(
        factory=dict, init=False
    )
    _order: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def add(self, record: Record, *, now: float) -> None:
        """Plan for a task that was just created."""
        lane = self._lane(record)
        lane.line.append(record)
        alone = lane.scout() is record
        self._date(record, now + (self.delay if alone else SWEEP))

    def adopt(self, record: Record, *, now: float) -> None:
        """Plan for a task of unknown age: it is asked about at once."""
        self._lane(record).line.append(record)
        self._date(record, now)

    def seen(self, record: Record, status: Status, *, now: float) -> None:
        """Plan on after an answer that did not settle *record*."""
        record.misses = record.refusals = 0
        lane = self._lane(record)
        if status is Status.QUEUED:
            front_known = lane.found_waiting(record)
            self._date(record, now + SWEEP)
            self._send_scout(lane, now + (2 * self.delay if front_known else 0.0))
            return
        if record.started is None:
            for presumed in lane.found_running(record, started=now):
                self._date(presumed, now + self._gap(presumed, now))
            self._send_scout(lane, now)
        self._date(record, now + self._gap(record, now))

    def settled(self, record: Record, *, now: float) -> None:
        """A place became free in the record's lane: the next in line may have started."""
        record.due = float("inf")
        self._send_scout(self._lane(record), now)

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
        self._date(record, now + pause)

    def nudge(self, record: Record, *, now: float) -> None:
        """Something happened to the task: ask at once."""
        self._date(record, now)

    def next_due(self) -> float | None:
        """When the next record is due."""
        heads = [heap[0][0] for heap in self._heaps.values() if _fresh(heap)]
        return min(heads, default=None)

    def due(self, *, now: float, limit: int) -> list[Record]:
        """Hand out up to *limit* due records of one tier, the most overdue first."""
        heaps = [heap for heap in self._heaps.values() if _fresh(heap)]
        found: list[Record] = []
        if heaps:
            heap = min(heaps, key=itemgetter(0))
            while len(found) < limit and _fresh(heap) and heap[0][0] <= now:
                record = heapq.heappop(heap)[2]
                record.due = float("inf")
                found.append(record)
        return found

    def company(self, *, limit: int, tier: str | None) -> list[Record]:
        """Up to *limit* records worth asking about since there is room in a call: heads of lines.

        They stay in the plan, and are dated anew when the answer is in.
        """
        found: list[Record] = []
        for (_, lane_tier), lane in self._lanes.items():
            if lane_tier == tier and lane.scout() is not None:
                room = limit - len(found)
                found += itertools.islice((r for r in lane.waiting() if r.due < float("inf")), room)
        return found

    def _lane(self, record: Record) -> Lane:
        key = (record.model, tier_of(record))
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane()
        return lane

    def _gap(self, record: Record, now: float) -> float:
        age = 0.0 if record.started is None else now - record.started
        return self.law(record).gap(age, delay=self.delay)

    def _send_scout(self, lane: Lane, when: float) -> None:
        scout = lane.scout()
        if scout is not None and when < scout.due < float("inf"):
            self._date(scout, when)

    def _date(self, record: Record, when: float) -> None:
        if not record.settled:
            record.due = when
            heap = self._heaps.setdefault(tier_of(record), [])
            heapq.heappush(heap, (when, next(self._order), record))


def _fresh(heap: list[tuple[float, int, Record]]) -> bool:
    """Drop what was dated anew or has settled from the heap's top; tell whether any is left."""
    while heap and (heap[0][2].due != heap[0][0] or heap[0][2].settled):
        heapq.heappop(heap)
    return bool(heap)


def tier_of(record: Record) -> str | None:
    """The service tier of a record's task, if it is not the default one."""
    tier = None if record.spec is None else record.spec.service_tier
    return tier if tier != "default" else None
