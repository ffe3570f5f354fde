"""What answers tell of the provider: its queues and its clock.

A `Lane` is a model of one queue: which tasks run, which wait, and which is next. A `ProviderClock`
says when, on our own clock, the changes were that answers tell of.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

from callsheet._state.record import Record


if TYPE_CHECKING:
    from collections.abc import Iterator


SHORTEST_SWEEP = 0.5
"""Seconds between sweeps, the fewest."""

LONGEST_SWEEP = 300.0
"""Seconds between sweeps, the most: after many that found the expected order."""

SWEEP_GROWTH = 1.1
"""Factor of the seconds between sweeps after each one. A task out of order makes them fewer."""

LONGEST_STEP = 1_000
"""Most places that the scout moves back at once: all tasks before it may get new due times."""

PLACES_PER_CALL = 1_000
"""Most places of a queue that one call looks at. Tasks that ended early leave many empty places."""

DRIFT = 2e-5
"""Seconds per second by which two clocks may part."""

ROUNDED_DOWN = 1.0
"""Seconds to which the provider rounds its times down."""

BELIEVED = 5
"""Times in a row that contradict what is known of a clock until it is taken to have been set."""

TRAVEL = 0.1
"""Seconds by which an answer may be older than it seems."""


@attrs.define(eq=False)
class Lane:
    """The tasks of one model and tier, which share a queue. First in, first out is assumed.

    Only one of the waiting tasks is polled, the scout: mostly the head of the queue. If the scout
    runs, all tasks before it are presumed to run, too, and the next scout is twice as far back. So
    the first waiting task is found with a logarithmic number of polls. The front is known once the
    head was seen waiting. From then on, when a task ends, the head is presumed to start. A
    presumption may be wrong; later answers correct it.

    The order itself may be wrong, too. So from time to time one other waiting task is polled: a
    sweep.

    Attributes:
        sweep_gap: Seconds between two sweeps.
        waits_since: When the head of the queue may have started, for all that is known.
        sweep_at: When the next sweep is due.
        front_known: Whether the head of the queue was seen waiting.
        running: The tasks that were seen running or are presumed to run.
    """

    sweep_gap: float
    waits_since: float = 0.0
    front_known: bool = False
    sweep_at: float = math.inf
    running: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    _queue: deque[Record] = attrs.field(factory=deque[Record], init=False)
    _was_full: bool = attrs.field(default=False, init=False)
    """Whether a task was seen waiting at the head. From then on each start means that a place has
    become free."""
    _found_early: deque[float] = attrs.field(factory=deque[float], init=False)
    """When tasks were found running before it was known that their places were free."""
    _stride: int = attrs.field(default=1, init=False)
    _cursor: int = attrs.field(default=-1, init=False)
    _out_of_order: set[Record] = attrs.field(factory=set[Record], init=False)
    """Tasks found running out of order. They keep their place in the queue until it is the head."""
    _presumed: set[Record] = attrs.field(factory=set[Record], init=False)
    """Running tasks that no answer has shown running."""

    def join(self, record: Record) -> None:
        """Add a task at the end of the queue."""
        self._queue.append(record)

    def scout(self) -> Record | None:
        """The waiting task to poll next."""
        while self._queue and _not_waiting(self._queue[0]):
            self._out_of_order.discard(self._queue.popleft())
        if not self._queue:
            self._stride, self.front_known, self._was_full = 1, False, False
            return None
        place = self._place()
        while _not_waiting(self._queue[place]):
            place -= 1
        return self._queue[place]

    def next_scouts(self) -> Iterator[Record]:
        """The tasks that will be scouts if each one before is found running.

        One list can show them all, so that one answer tells how far the line has moved. The last
        task in line is left out: until the answer comes others may have joined behind it.
        """
        place, stride = self._stride - 1, self._stride
        while place + 1 < len(self._queue):
            record = self._queue[place]
            if not (_not_waiting(record) or record.asked):
                yield record
            stride = min(2 * stride, LONGEST_STEP)
            place += stride

    def is_first(self, record: Record) -> bool:
        """Whether *record* has the first place of the queue, even if it is settled."""
        return bool(self._queue) and self._queue[0] is record

    def presume_next(self, started: float, *, since: float) -> Record | None:
        """Presume that the head of the queue has started, if the front is known; return it.

        If a task was found running after *since*, before the end was known that made room for it,
        that task has the place already. Without this rule, one task too many would be presumed to
        run from then on.
        """
        while self._found_early and self._found_early[0] < since:
            self._found_early.popleft()
        if self._found_early:
            self._found_early.popleft()
            return None
        head = self.scout() if self.front_known and self._stride == 1 else None
        if head is not None:
            self._queue.popleft()
            self._presume(head, started)
        return head

    def found_running(self, record: Record, *, started: float, now: float) -> list[Record]:
        """Note that *record* runs. If it is the scout or the head, all before it run, too.

        Returns the tasks that are now presumed to run.
        """
        presumed: list[Record] = []
        if record in (self.scout(), self._queue[0] if self._queue else None):
            presumed = self._all_before_began(record, started=started, now=now)
        else:
            self._out_of_order.add(record)
            self.found_out_of_turn(now=now)
        self._run(record, started)
        return presumed

    def found_ended(self, record: Record, *, now: float) -> list[Record] | None:
        """Note that *record*, which was not known to run, has succeeded; ``None`` if out of order.

        Tasks that are shorter than the time between two looks are never seen running. If it was the
        scout, all before it have begun. Returns those of them that are now presumed to run.
        """
        if not self._queue:
            return None
        place = self._place()
        while place and self._queue[place] is not record and _not_waiting(self._queue[place]):
            place -= 1
        if self._queue[place] is not record:
            return [] if self.is_first(record) else None
        if self.front_known:
            return []
        return self._all_before_began(record, started=record.alive_at, now=now)

    def presumes(self, record: Record) -> bool:
        """Whether *record* is only presumed to run."""
        return record in self._presumed

    def confirm(self, record: Record) -> None:
        """Note that *record*, which is in `running`, really runs."""
        self._presumed.discard(record)

    def leave(self, record: Record) -> None:
        """Remove *record* from the running tasks, if it is one of them."""
        self.running.pop(record, None)
        self._presumed.discard(record)

    def found_waiting(self, record: Record) -> bool:
        """Note that *record* waits; return whether the front of the queue is now known.

        Tasks after it that are only presumed to run wait, too.
        """
        if record in self._out_of_order:
            self._out_of_order.remove(record)
            self._stop(record)
        elif record.started is not None:
            back = [record, *self._presumed_after(record)]
            for each in back:
                self._stop(each)
            self._queue.extendleft(reversed(back))
        scout = self.scout()
        if record is next(self.waiting(), None):
            self._stride, self.front_known, self._was_full = 1, True, True
        elif record is scout:
            self._stride = max(1, self._stride // 2)
            return False
        return self.front_known

    def sweep(self, limit: int) -> list[Record]:
        """Up to *limit* waiting tasks, different ones at each call until all were returned once."""
        found: list[Record] = []
        for _ in range(min(len(self._queue), PLACES_PER_CALL)):
            if len(found) == limit:
                break
            self._cursor = (self._cursor + 1) % len(self._queue)
            record = self._queue[self._cursor]
            if not _not_waiting(record) and not record.asked:
                found.append(record)
        return found

    def swept(self, *, now: float) -> list[Record]:
        """The waiting task to poll in a sweep, if one is due: a list of one or none."""
        if self.sweep_at > now:
            return []
        found = self.sweep(1)
        self.sweep_at = now + self.sweep_gap if self.scout() else math.inf
        self.sweep_gap = min(self.sweep_gap * SWEEP_GROWTH, LONGEST_SWEEP)
        return found

    def found_out_of_turn(self, *, now: float) -> None:
        """Sweep more often, because the queue is not served in the presumed order."""
        self.sweep_gap = max(self.sweep_gap / 4.0, SHORTEST_SWEEP)
        self.sweep_at = min(self.sweep_at, now + self.sweep_gap)

    def waiting(self) -> Iterator[Record]:
        """The waiting tasks, from the front."""
        return (record for record in self._queue if not _not_waiting(record))

    def heads(self, limit: int) -> Iterator[Record]:
        """Up to *limit* waiting tasks that are not being polled, from the front."""
        front = itertools.islice(self._queue, PLACES_PER_CALL)
        return itertools.islice((r for r in front if not _not_waiting(r) and not r.asked), limit)

    def _place(self) -> int:
        """The place of the scout, where the task that stands there still waits."""
        return min(self._stride, len(self._queue)) - 1

    def _all_before_began(self, record: Record, *, started: float, now: float) -> list[Record]:
        """Remove *record* and all before it from the queue; return those presumed to run now."""
        presumed: list[Record] = []
        while (first := self._queue.popleft()) is not record:
            self._out_of_order.discard(first)
            if not _not_waiting(first):
                self._presume(first, max(started, first.alive_at))
                presumed.append(first)
        if self._was_full:
            self._found_early.extend([now] * (1 + len(presumed)))
        self._stride = min(self._stride * 2, max(len(self._queue), 1), LONGEST_STEP)
        self.front_known = False
        return presumed

    def _presumed_after(self, record: Record) -> list[Record]:
        later = itertools.dropwhile(lambda each: each is not record, self.running)
        return [each for each in itertools.islice(later, 1, None) if each in self._presumed]

    def _presume(self, record: Record, started: float) -> None:
        self._run(record, started)
        record.alive_at = started
        self._presumed.add(record)

    def _stop(self, record: Record) -> None:
        record.started = None
        self.leave(record)
        if not record.asked:
            record.due = math.inf

    def _run(self, record: Record, started: float) -> None:
        record.started = started
        self.running[record] = None


@attrs.define
class ProviderClock:
    """Maps the provider's times to seconds on the client's own monotonic clock."""

    _least: float = attrs.field(default=-math.inf, init=False)
    """Least seconds to add to a time of the provider."""
    _most: float = attrs.field(default=math.inf, init=False)
    _bounded_at: float = attrs.field(default=0.0, init=False)
    _odd: int = attrs.field(default=0, init=False)

    def local(self, updated_at: float | None, *, since: float, now: float) -> float:
        """The provider's time of a change on our clock: between *since* and *now*.

        Every change bounds how far the clocks differ from both sides, as it lies between *since*
        and *now*, and its second was rounded down: the middle of the bounds is believed. A provider
        that gives no time leaves the middle to be guessed.
        """
        if updated_at is None:
            return now if since == -math.inf else (since + now) / 2.0
        self._bound(since - TRAVEL - updated_at - ROUNDED_DOWN, now - updated_at, now)
        return min(max(self.when(updated_at, now=now), since), now)

    @property
    def synchronous(self) -> bool:
        """Whether both bounds of the clocks' difference are known."""
        return self._least > -math.inf

    def when(self, at: float, *, now: float) -> float:
        """The provider's time *at* on our clock, not after *now*, by what is known so far."""
        if not self.synchronous:
            return now
        return min(at + (self._least + self._most + ROUNDED_DOWN) / 2.0, now)

    def _bound(self, least: float, most: float, now: float) -> None:
        """Take bounds of the clocks' difference, unless they contradict all that came before.

        One time may be anything; where several in a row say the same, a clock was set.
        """
        drift = DRIFT * (now - self._bounded_at)
        before, after = self._least - drift, self._most + drift
        if most < before - ROUNDED_DOWN or least > after + ROUNDED_DOWN:
            self._odd += 1
            if self._odd < BELIEVED:
                return
            before, after = -math.inf, math.inf
        self._odd, self._bounded_at = 0, now
        self._most = min(after, most)
        self._least = min(max(before, least), self._most)

    def translated(self, at: float) -> float | None:
        """The provider's time *at* on our clock, at the latest; ``None`` if no answer told yet."""
        return None if self._most == math.inf else at + self._most


def _not_waiting(record: Record) -> bool:
    return record.settled or record.started is not None
