"""Tasks that share a queue, and when each of them is worth a look."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

from callsheet._core.registry import Record


if TYPE_CHECKING:
    from collections.abc import Iterator


SWEEP = 300.0
"""Seconds after which a task is asked about although its turn should not have come."""

LONGEST_GAP = 60.0


@attrs.frozen(kw_only=True)
class RenderLaw:
    """How long a task runs: log-normal with this median (seconds) and sigma."""

    median: float
    sigma: float

    def gap(self, age: float, *, delay: float) -> float:
        """Seconds until the next look at a task that has run for *age* seconds.

        Nothing is asked before the shortest likely render; then at even gaps, since an end falls
        on average into the middle of a gap; long after the median the gaps grow, because waiting
        has become a matter of patience.
        """
        first = self.median * math.exp(-1.6 * self.sigma)
        if age < first - delay:
            return first - age
        late = age - 3.0 * self.median
        return max(1.5 * delay, min(0.1 * late, LONGEST_GAP) if late > 0 else 0.0)


@attrs.define(eq=False)
class Lane:
    """The tasks of one model and tier, which wait in one queue, first come first served.

    The scout is the one waiting task that is asked about: mostly the head of the line. While scouts
    are found running, the next one is taken twice as far back, so that the end of the running
    tasks is found in a logarithmic number of looks; everybody before a running task is presumed
    to run, too, until an answer says otherwise.
    """

    line: deque[Record] = attrs.field(factory=deque)
    stride: int = 1
    _strays: set[Record] = attrs.field(factory=set, init=False)
    """Those found running out of turn, who stand in the line until it has passed them."""

    def scout(self) -> Record | None:
        """The task to be asked about next among those that wait."""
        while self.line and _out_of_line(self.line[0]):
            self._strays.discard(self.line.popleft())
        if not self.line:
            self.stride = 1
            return None
        place = min(self.stride, len(self.line)) - 1
        while _out_of_line(self.line[place]):
            place -= 1
        return self.line[place]

    def found_running(self, record: Record, *, started: float) -> list[Record]:
        """Take *record* out of the line with all before it; return those presumed to run."""
        presumed: list[Record] = []
        if record in (self.scout(), self.line[0] if self.line else None):
            while (first := self.line.popleft()) is not record:
                self._strays.discard(first)
                if not _out_of_line(first):
                    first.started = started
                    presumed.append(first)
            self.stride = min(self.stride * 2, max(len(self.line), 1))
        else:
            self._strays.add(record)
        record.started = started
        return presumed

    def found_waiting(self, record: Record) -> bool:
        """Take the news that *record* waits; tell whether the line's front is now known."""
        if record.started is not None:
            record.started = None
            if record in self._strays:
                self._strays.remove(record)
            else:
                self.line.appendleft(record)
        scout = self.scout()
        if record is next(self.waiting(), None):
            self.stride = 1
        elif record is scout:
            self.stride = max(1, self.stride // 2)
            return False
        return True

    def waiting(self) -> Iterator[Record]:
        """Those who wait, from the front."""
        return (record for record in self.line if not _out_of_line(record))


def _out_of_line(record: Record) -> bool:
    return record.settled or record.started is not None
