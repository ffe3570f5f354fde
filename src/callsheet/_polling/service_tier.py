"""The tasks that one list call can show: those of one service tier."""

from __future__ import annotations

import heapq

import attrs

from callsheet._polling.queue_model import Lane
from callsheet._state.record import Record


Heap = list[tuple[float, int, Record]]
"""Due times; an entry is stale once its record was dated anew or has settled."""


@attrs.define(eq=False)
class Tier:
    """The tasks of one service tier: those of another are invisible to its lists.

    Attributes:
        lanes: By model.
        others: Due times of tasks not known to run, and of those that were denied.
        running: Due times of tasks that run.
    """

    lanes: dict[str | None, Lane] = attrs.field(factory=dict[str | None, Lane])
    others: Heap = attrs.field(factory=list[tuple[float, int, Record]])
    running: Heap = attrs.field(factory=list[tuple[float, int, Record]])

    def runners(self) -> int:
        """Number of tasks that run."""
        return sum(len(lane.running) for lane in self.lanes.values())

    def head(self) -> Record | None:
        """The task that is due first, whenever that is."""
        heads = [heap[0] for heap in (self.others, self.running) if fresh(heap)]
        return min(heads, key=lambda head: head[:2])[2] if heads else None


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
