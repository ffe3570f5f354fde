"""Callbacks: which are due, and in which order; told the time, sends nothing."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from typing import NamedTuple

import attrs


ANSWER_SECONDS = 5.0
"""How long a receiver has for an answer with a 2xx status (Ark create reference, Aug 2026)."""

REDELIVERIES = 3
"""How often a callback about an end is sent again (same source)."""

LONGEST_HOLD = 60.0
"""Most seconds for which a callback is held back, where some are."""

REDELIVERED = frozenset({"succeeded", "failed"})


@attrs.define(eq=False, kw_only=True)
class Callback:
    """One change of a task's status, on its way to its receiver.

    Attributes:
        task_id: The task.
        status: What it changed to.
        url: Where to post it.
        body: The task as a get showed it at that moment, JSON.
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
    """Those that wait. Of one task one is under way at a time; the next follows when it is done.

    Attributes:
        seed: Whole number that the draws follow from.
        doubled: Share that is sent twice, 0 to 1.
        held: Share that is held back for up to `LONGEST_HOLD`, so that later ones overtake, 0 to 1.
        tried: How many times one was sent.
        delivered: How many of these were answered with a 2xx status in time.
    """

    seed: int
    doubled: float = 0.0
    held: float = 0.0
    tried: int = attrs.field(default=0, init=False)
    delivered: int = attrs.field(default=0, init=False)
    _waiting: list[_Entry] = attrs.field(factory=list[_Entry], init=False)
    _lines: dict[str, deque[Callback]] = attrs.field(factory=dict[str, deque[Callback]], init=False)
    _number: int = attrs.field(default=0, init=False)
    _changes: int = attrs.field(default=0, init=False)

    @property
    def next_at(self) -> float:
        """Unix time from which one is due; infinity if none waits."""
        return self._waiting[0].at if self._waiting else math.inf

    def counts(self) -> dict[str, int]:
        """Tell how many were sent, and how many of these arrived, ready for JSON."""
        return {"tried": self.tried, "delivered": self.delivered}

    def put(self, callback: Callback, at: float) -> None:
        """Take a change of status that came about at unix time *at*."""
        self._changes += 1
        rng = random.Random(f"{self.seed}/callback/{self._changes}")  # noqa: S311 - repeatable
        twice, hold = rng.random() < self.doubled, rng.random() < self.held
        if hold:
            at += rng.uniform(0, LONGEST_HOLD)
        self._wait(callback, at)
        if twice:
            self._wait(attrs.evolve(callback), at)

    def due(self, now: float) -> list[Callback]:
        """Take out what is to be sent at *now*."""
        found: list[Callback] = []
        while self.next_at <= now:
            callback = heapq.heappop(self._waiting).callback
            line = self._lines.get(callback.task_id)
            if line is None:
                self._lines[callback.task_id] = deque()
                found.append(callback)
            else:
                line.append(callback)
        return found

    def done(self, callback: Callback, sent_at: float, *, taken: bool) -> Callback | None:
        """Book an attempt made at *sent_at* and give the next one of the task, if one is due."""
        callback.sent += 1
        self.tried += 1
        self.delivered += taken
        if not taken and callback.status in REDELIVERED and callback.sent <= REDELIVERIES:
            self._wait(callback, sent_at + ANSWER_SECONDS)
        line = self._lines[callback.task_id]
        if line:
            return line.popleft()
        del self._lines[callback.task_id]
        return None

    def _wait(self, callback: Callback, at: float) -> None:
        self._number += 1
        heapq.heappush(self._waiting, _Entry(at, self._number, callback))
