"""What one list call can show, and when such a call is worth sending."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import attrs

from callsheet._polling.queue_model import Lane
from callsheet._state.record import Record


if TYPE_CHECKING:
    from callsheet._polling.render_time.distribution import RenderTimeDistribution
    from callsheet._polling.render_time.estimator import Estimator


HORIZON = 600.0
"""Seconds that the plan of a list looks ahead."""

PRECISION = 0.25
"""Seconds to which the time of a list is worked out."""

SLACK = 0.25
"""Part of the delay aimed for that a list waits after its first record is due, for company."""

MOST_SLACK = 1.25
"""Seconds that it waits at most: after a callback somebody is to know soon."""

Heap = list[tuple[float, int, Record]]
"""Due times; an entry is stale once its record was dated anew or has settled."""


@attrs.define(eq=False)
class Tier:
    """The tasks of one service tier: those of another are invisible to its lists.

    Attributes:
        lanes: By model.
        others: Due times of tasks not known to run, and of those that were denied.
        running: Due times of tasks that run, each by its own law.
        ends_at: When enough unseen ends are expected to be worth a list; ``None``: not computed.
    """

    lanes: dict[str | None, Lane] = attrs.field(factory=dict[str | None, Lane])
    others: Heap = attrs.field(factory=list[tuple[float, int, Record]])
    running: Heap = attrs.field(factory=list[tuple[float, int, Record]])
    ends_at: float | None = None

    def runners(self) -> int:
        """Number of tasks that run."""
        return sum(len(lane.running) for lane in self.lanes.values())

    def list_at(self, estimator: Estimator, *, page: int, now: float) -> float | None:
        """When a list is worth sending; ``None``: there is nothing to ask about.

        As long as one *page* shows all that run, each list renews what is known of all of them;
        with more, each is asked when its own law says so.
        """
        slack = min(SLACK * estimator.delay, MOST_SLACK)
        times = [self.others[0][0] + slack] if fresh(self.others) else []
        count = self.runners()
        if count > page:
            times += [self.running[0][0] + slack] if fresh(self.running) else []
        elif count:
            if self.ends_at is None:
                self.ends_at = self._ends_at(estimator, count, now)
            times.append(self.ends_at)
        return min(times, default=None)

    def _ends_at(self, estimator: Estimator, count: int, now: float) -> float:
        """When a list is worth its price.

        With many tasks: the delay aimed for, after as many unseen ends are expected as come within
        that delay on average. So it waits for more while ends come fast, since few follow soon
        after; docs/polling.md says why. With one alone: at the chance at which its law would look.
        """
        tasks: list[tuple[RenderTimeDistribution, float, float]] = []
        worth = 0.0
        for lane in self.lanes.values():
            for record in lane.running:
                if record.asked or record.refusals:
                    continue
                distribution = estimator.distribution(record)
                many = min(estimator.aim / distribution.mean, 0.25)
                worth += many + max(distribution.mass - many, 0.0) / count
                started = record.started or 0.0
                tasks.append((distribution, started, record.alive_at - started))
        if not tasks:
            return now + HORIZON
        early, late = 0.0, HORIZON
        while late - early > PRECISION:
            middle = (early + late) / 2.0
            at = now + middle
            if (
                sum(distribution.ended(age, at - started) for distribution, started, age in tasks)
                < worth
            ):
                early = middle
            else:
                late = middle
        return now + late + estimator.aim * (1.0 - 1.0 / count)


def top(heap: Heap) -> tuple[float, int]:
    """Order of heaps by their first entry, which must exist."""
    return heap[0][:2]


def fresh(heap: Heap) -> bool:
    """Drop what is stale from a heap's top; tell whether any is left."""
    while heap and (heap[0][2].due != heap[0][0] or heap[0][2].settled):
        heapq.heappop(heap)
    return bool(heap)


def due_in(heap: Heap, *, now: float, most: int) -> int:
    """How many records of a heap are due, counted up to *most*."""
    count, places = 0, [0]
    while places and count < most:
        place = places.pop()
        if place < len(heap) and heap[place][0] <= now:
            when, _, record = heap[place]
            count += record.due == when and not record.settled
            places += (2 * place + 1, 2 * place + 2)
    return count
