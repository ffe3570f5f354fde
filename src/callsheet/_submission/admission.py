"""When the next create may be sent."""

from __future__ import annotations

import attrs

from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import RateLimit


FIRST_PROBE = 30.0
"""Seconds after which a queue that was full is tried with one task more than it took."""

LONGEST_PROBE = 600.0
"""The same, once it was found full many times."""


@attrs.define(kw_only=True)
class Admission:
    """The door that every paid request passes: quota, gate, room, and pauses after refusals.

    After a refusal one create at a time tries whether others are welcome again.

    How many tasks the provider's queue takes is not published. A refusal tells how many there were
    then: from there on a task is sent when another has ended, and now and then one more, which
    raises what is known; each one that passes lets the next step be twice as large.

    Attributes:
        rate_limit: Creates that the quota allows.
        breaker: How much traffic the service bears.
        width: Most creates in flight, >= 1.
        room: Most unfinished tasks that the provider is known to take; ``None`` if unknown.
        probing: Whether *room* was found out and may be passed by a probe.
    """

    rate_limit: RateLimit
    breaker: CircuitBreaker
    width: int
    room: int | None = None
    probing: bool = attrs.field(init=False)
    _in_flight: int = attrs.field(default=0, init=False)
    _resumes_at: float = attrs.field(default=float("-inf"), init=False)
    _refusals: int = attrs.field(default=0, init=False)
    _for_room: bool = attrs.field(default=False, init=False)
    _probe_gap: float = attrs.field(default=FIRST_PROBE, init=False)
    _probe_at: float = attrs.field(default=float("-inf"), init=False)
    _step: int = attrs.field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        """A room that is given is kept to."""
        self.probing = self.room is None

    def most_under_way(self, unfinished: int) -> int:
        """Most creates that may be under way together, >= 1, beside that many unfinished tasks."""
        if self._refusals:
            return 1
        return self.width if self.room is None else max(1, min(self.width, self.room - unfinished))

    @property
    def refusals(self) -> int:
        """Refusals since a create was last accepted; those of one moment count once."""
        return self._refusals

    def ready_at(self, *, now: float, unfinished: int = 0) -> float | None:
        """The earliest time for one more create; ``None``: not before something happens.

        Args:
            now: Seconds on the client's clock.
            unfinished: Tasks at the provider that have not ended.
        """
        if self._in_flight >= (1 if self._refusals else self.width):
            return None
        breaker = self.breaker.ready_at(now=now, in_flight=self._in_flight)
        if breaker is None:
            return None
        ready = max(breaker, self._resumes_at, self.rate_limit.ready_at(now=now))
        if self.room is None or unfinished + self._in_flight < self.room:
            return ready
        if self._in_flight or not self.probing:
            return None
        return max(ready, self._probe_at)

    def take(self, *, now: float) -> None:
        """One create leaves now."""
        self.rate_limit.take(now=now)
        self._in_flight += 1

    def accepted(self, *, now: float, unfinished: int = 0, polled: bool = True) -> bool:
        """A create brought an id; tell whether this opened the gate.

        One that left before the last refusal does not end the pause that the refusal asked for.
        With *polled* false nobody polls, and the create speaks for the whole service.
        """
        self._in_flight -= 1
        if now >= self._resumes_at:
            self._refusals, self._for_room = 0, False
        if self.probing and self.room is not None and unfinished > self.room:
            self.room = unfinished + self._step
            self._step *= 2
            self._probe_gap, self._probe_at = FIRST_PROBE, now + FIRST_PROBE
        return self.breaker.passed(now=now, poll=not polled)

    def refused(self, *, for_room: bool, now: float, unfinished: int = 0) -> None:
        """A create was refused for load or, with *for_room*, because the queue is full."""
        self._in_flight -= 1
        if self._refusals == 0 or now >= self._resumes_at:
            self._refusals += 1
        self._for_room = for_room
        if for_room and self.probing:
            # those in flight may have been taken: each of their answers makes this more exact
            self.room = max(1, unfinished + self._in_flight)
            self._step, self._probe_at = 1, now + self._probe_gap
            self._probe_gap = min(2.0 * self._probe_gap, LONGEST_PROBE)

    def hold(self, *, until: float) -> None:
        """Send nothing before *until*."""
        self._resumes_at = max(self._resumes_at, until)

    def failed(self, *, now: float, retry_after: float | None = None) -> bool:
        """The service did not serve a create; tell whether this shut the gate."""
        self._in_flight -= 1
        return self.breaker.failed(now=now, poll=False, retry_after=retry_after)

    def ended(self) -> None:
        """A create ended in a way that says nothing about the service's load."""
        self._in_flight -= 1

    def room_made(self) -> None:
        """A task of ours left the provider's queue: a create that waits for room may try."""
        if self._for_room:
            self._resumes_at = float("-inf")
