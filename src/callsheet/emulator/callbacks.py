"""Which callbacks are due, and in which order.

This module sends nothing and reads no clock: callers pass the time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from typing import NamedTuple

import attrs


ANSWER_SECONDS = 5.0
"""Seconds within which a receiver must answer with a 2xx status.

Source: Ark create reference, Aug 2026.
"""

REDELIVERIES = 3
"""How often a callback about a success or failure is sent again (same source)."""

LONGEST_HOLD = 60.0
"""Most seconds by which a callback is delayed if it is chosen for that."""

REDELIVERED = frozenset({"succeeded", "failed"})


@attrs.define(eq=False, kw_only=True)
class Callback:
    """One change of a task's status, to be sent to its receiver.

    Attributes:
        task_id: Id of the task.
        status: The new status.
        url: Where to post it.
        body: The task in JSON, as a GET returned it at that moment.
        sent: How often it was sent.
    """

    task_id: str
    status: str
    url: str
    body: bytes
    sent: int = 0


class _Entry(NamedTuple):
    at: float
    number: int
    callback: Callback


@attrs.define(eq=False)
class Callbacks:
    """Callbacks that wait to be sent. For each task only one is being sent at a time.

    Attributes:
        seed: Whole number. It determines which callbacks are doubled or delayed.
        doubled: Share of callbacks that are sent twice, 0 to 1.
        held: Share of callbacks that are delayed by up to `LONGEST_HOLD` seconds, 0 to 1. Later
            callbacks of the same task may then arrive first.
        tried: How many were sent.
        delivered: How many of these were answered with a 2xx status in time.
    """

    seed: int
    doubled: float = 0.0
    held: float = 0.0
    tried: int = attrs.field(default=0, init=False)
    delivered: int = attrs.field(default=0, init=False)
    _waiting: list[_Entry] = attrs.field(factory=list[_Entry], init=False)
    _queues: dict[str, deque[Callback]] = attrs.field(
        factory=dict[str, deque[Callback]], init=False
    )
    _number: int = attrs.field(default=0, init=False)
    _changes: int = attrs.field(default=0, init=False)

    @property
    def next_at(self) -> float:
        """Unix time at which the next one is due; infinity if none waits."""
        return self._waiting[0].at if self._waiting else math.inf

    def counts(self) -> dict[str, int]:
        """Return how many were sent and how many of these arrived, as JSON values."""
        return {"tried": self.tried, "delivered": self.delivered}

    def put(self, callback: Callback, at: float) -> None:
        """Add a callback about a change of status at unix time *at*."""
        self._changes += 1
        rng = random.Random(f"{self.seed}/callback/{self._changes}")  # noqa: S311 - repeatable
        doubled_here, held_here = rng.random() < self.doubled, rng.random() < self.held
        if held_here:
            at += rng.uniform(0, LONGEST_HOLD)
        self._schedule(callback, at)
        if doubled_here:
            self._schedule(attrs.evolve(callback), at)

    def due(self, now: float) -> list[Callback]:
        """Remove and return the callbacks that can be sent at *now*, unix seconds."""
        found: list[Callback] = []
        while self.next_at <= now:
            callback = heapq.heappop(self._waiting).callback
            queue = self._queues.get(callback.task_id)
            if queue is None:
                self._queues[callback.task_id] = deque()
                found.append(callback)
            else:
                queue.append(callback)
        return found

    def done(self, callback: Callback, sent_at: float, *, accepted: bool) -> Callback | None:
        """Record that a callback was sent.

        Args:
            callback: The callback.
            sent_at: When it was sent, unix seconds.
            accepted: Whether it was answered with a 2xx status in time.

        Returns:
            The next callback of the same task, if one is due.
        """
        callback.sent += 1
        self.tried += 1
        self.delivered += accepted
        if not accepted and callback.status in REDELIVERED and callback.sent <= REDELIVERIES:
            self._schedule(callback, sent_at + ANSWER_SECONDS)
        queue = self._queues[callback.task_id]
        if queue:
            return queue.popleft()
        del self._queues[callback.task_id]
        return None

    def _schedule(self, callback: Callback, at: float) -> None:
        self._number += 1
        heapq.heappush(self._waiting, _Entry(at, self._number, callback))
