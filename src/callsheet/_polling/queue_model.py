"""Tasks that share a queue: who runs, who waits, and whose turn is next."""

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

LONGEST_SWEEP = 300.0
"""Seconds between sweeps, once many have found the queue in order."""

SWEEP_GROWTH = 1.1
"""Growth of the seconds between sweeps with each one that finds the queue in order."""

LONGEST_STRIDE = 1_000
"""Most places that a scout is taken back at once: all before it may have to be dated anew."""

MOST_PASSED = 1_000
"""Most places of a line that one look at it passes: many may be left by those who ended early."""


@attrs.define(eq=False)
class Lane:
    """The tasks of one model and tier, which wait in one queue, first come first served.

    The scout is the one waiting task that is asked about: mostly the head of the line. While scouts
    are found running, the next one is taken twice as far back, so that the end of the running
    tasks is found in a logarithmic number of looks; everybody before a running task is presumed
    to run, too. Once the front is known, a place that becomes free is presumed to go to the head of
    the line. Answers correct every presumption.

    Attributes:
        patience: Seconds until a scout that was found waiting is asked again.
        sweep_gap: Seconds between two looks at somebody in the middle of the line.
        sweep_at: When the next of them is due.
        front_known: Whether the head of the line was seen waiting.
        running: Those seen or presumed to run.
    """

    patience: float
    sweep_gap: float
    front_known: bool = False
    sweep_at: float = math.inf
    running: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    _line: deque[Record] = attrs.field(factory=deque[Record], init=False)
    _stride: int = attrs.field(default=1, init=False)
    _cursor: int = attrs.field(default=-1, init=False)
    _strays: set[Record] = attrs.field(factory=set[Record], init=False)
    """Those found running out of turn, who stand in the line until it has passed them."""
    _presumed: set[Record] = attrs.field(factory=set[Record], init=False)
    """Those who run whom nobody has seen running."""

    def join(self, record: Record) -> None:
        """Stand at the end of the line."""
        self._line.append(record)

    def scout(self) -> Record | None:
        """The task to be asked about next among those that wait."""
        while self._line and _out_of_line(self._line[0]):
            self._strays.discard(self._line.popleft())
        if not self._line:
            self._stride, self.front_known = 1, False
            return None
        place = min(self._stride, len(self._line)) - 1
        while _out_of_line(self._line[place]):
            place -= 1
        return self._line[place]

    def is_first(self, record: Record) -> bool:
        """Whether *record* stands at the front of the line, be it settled or not."""
        return bool(self._line) and self._line[0] is record

    def presume_next(self, started: float) -> Record | None:
        """Let the head of the line take a place that became free, if the front is known."""
        head = self.scout() if self.front_known and self._stride == 1 else None
        if head is not None:
            self._line.popleft()
            self._presume(head, started)
        return head

    def found_running(self, record: Record, *, started: float, now: float) -> list[Record]:
        """Take *record* out of the line, with all before it if its turn was next.

        Returns those who are therefore presumed to run.
        """
        presumed: list[Record] = []
        if record in (self.scout(), self._line[0] if self._line else None):
            while (first := self._line.popleft()) is not record:
                self._strays.discard(first)
                if not _out_of_line(first):
                    self._presume(first, max(started, first.alive_at))
                    presumed.append(first)
            self._stride = min(self._stride * 2, max(len(self._line), 1), LONGEST_STRIDE)
            self.front_known = False
        else:
            self._strays.add(record)
            self.found_out_of_turn(now=now)
        self._run(record, started)
        return presumed

    def presumes(self, record: Record) -> bool:
        """Whether *record* runs by presumption alone."""
        return record in self._presumed

    def confirm(self, record: Record) -> None:
        """Take the news that *record* runs, as was presumed or known."""
        self._presumed.discard(record)

    def leave(self, record: Record) -> None:
        """Take *record* from those who run, if it is one of them."""
        self.running.pop(record, None)
        self._presumed.discard(record)

    def found_waiting(self, record: Record) -> bool:
        """Take the news that *record* waits; tell whether the line's front is now known.

        Those who were only presumed to run, and whose turn comes after it, wait as well.
        """
        if record in self._strays:
            self._strays.remove(record)
            self._stop(record)
        elif record.started is not None:
            back = [record, *self._presumed_after(record)]
            for each in back:
                self._stop(each)
            self._line.extendleft(reversed(back))
        scout = self.scout()
        if record is next(self.waiting(), None):
            self._stride, self.front_known = 1, True
        elif record is scout:
            self._stride = max(1, self._stride // 2)
            return False
        return self.front_known

    def sweep(self, limit: int) -> list[Record]:
        """Up to *limit* of those who wait, others at each call until it was everybody's turn."""
        found: list[Record] = []
        for _ in range(min(len(self._line), MOST_PASSED)):
            if len(found) == limit:
                break
            self._cursor = (self._cursor + 1) % len(self._line)
            record = self._line[self._cursor]
            if not _out_of_line(record) and not record.asked:
                found.append(record)
        return found

    def swept(self, *, now: float) -> list[Record]:
        """Somebody in the middle of the line, if it is time to look at one."""
        if self.sweep_at > now:
            return []
        found = self.sweep(1)
        self.sweep_at = now + self.sweep_gap if self.scout() else math.inf
        self.sweep_gap = min(self.sweep_gap * SWEEP_GROWTH, LONGEST_SWEEP)
        return found

    def found_out_of_turn(self, *, now: float) -> None:
        """Sweep faster: the queue is not served in the order that is presumed."""
        self.sweep_gap = max(self.sweep_gap / 4.0, SHORTEST_SWEEP)
        self.sweep_at = min(self.sweep_at, now + self.sweep_gap)

    def waiting(self) -> Iterator[Record]:
        """Those who wait, from the front."""
        return (record for record in self._line if not _out_of_line(record))

    def heads(self, limit: int) -> Iterator[Record]:
        """Up to *limit* of those who wait and are not asked about, from the front."""
        front = itertools.islice(self._line, MOST_PASSED)
        return itertools.islice((r for r in front if not _out_of_line(r) and not r.asked), limit)

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


def _out_of_line(record: Record) -> bool:
    return record.settled or record.started is not None
