"""Decides when the next create may be sent."""

from __future__ import annotations

import attrs

from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import RateLimit


FIRST_PROBE = 30.0
"""Seconds after which a full queue is tried with one task more than it is known to take."""

LONGEST_PROBE = 600.0
"""The longest such time. Each probe that finds the queue full doubles the time up to this."""


@attrs.define(kw_only=True)
class Admission:
    """Delays creates by the rate limit, the circuit breaker, the provider's room and its refusals.

    After a refusal creates are sent one at a time until one is accepted.

    The provider does not publish how many tasks its queue takes. When it refuses a create because
    the queue is full, the number of unfinished tasks at that moment is the room. From then on a
    create is sent when a task has ended. From time to time one more is sent as a probe. If it is
    accepted, the room grows, and the next step is twice as large.

    Attributes:
        rate_limit: The rate limit of creates.
        breaker: The circuit breaker of the service.
        width: Most creates in flight, >= 1.
        room: Most unfinished tasks that the provider is known to take; ``None`` if unknown.
        probing: Whether *room* was measured and may be passed by a probe.
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
        """Allow probes only if no room was given: a given room is never passed."""
        self.probing = self.room is None

    def most_under_way(self, unfinished: int) -> int:
        """Most creates that may be under way at a time, >= 1, with that many unfinished tasks."""
        if self._refusals:
            return 1
        return self.width if self.room is None else max(1, min(self.width, self.room - unfinished))

    @property
    def refusals(self) -> int:
        """Refusals since a create was last accepted. Those of one pause count once."""
        return self._refusals

    def ready_at(self, *, now: float, unfinished: int = 0) -> float | None:
        """The earliest time for one more create; ``None`` if another event must come first.

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
        """Note that one create is sent now."""
        self.rate_limit.take(now=now)
        self._in_flight += 1

    def accepted(self, *, now: float, unfinished: int = 0, polled: bool = True) -> bool:
        """Note that a create brought an id; return whether this closed the circuit breaker.

        A create that was sent before the last refusal does not end the pause after that refusal.
        With *polled* false there are no polls, so the create alone shows that the service works.
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
        """Note that a create was refused: for load or, with *for_room*, by a full queue."""
        self._in_flight -= 1
        if self._refusals == 0 or now >= self._resumes_at:
            self._refusals += 1
        self._for_room = for_room
        if for_room and self.probing:
            # creates in flight may have been accepted; each of their answers makes this more exact
            self.room = max(1, unfinished + self._in_flight)
            self._step, self._probe_at = 1, now + self._probe_gap
            self._probe_gap = min(2.0 * self._probe_gap, LONGEST_PROBE)

    def hold(self, *, until: float) -> None:
        """Send nothing before *until*."""
        self._resumes_at = max(self._resumes_at, until)

    def failed(self, *, now: float, retry_after: float | None = None) -> bool:
        """Note that the service did not serve a create; return whether that trips the breaker."""
        self._in_flight -= 1
        return self.breaker.failed(now=now, poll=False, retry_after=retry_after)

    def ended(self) -> None:
        """Note that a create ended in a way that says nothing about the load of the service."""
        self._in_flight -= 1

    def room_made(self) -> None:
        """Note that one of our tasks left the provider's queue: end a pause that waits for room."""
        if self._for_room:
            self._resumes_at = float("-inf")
