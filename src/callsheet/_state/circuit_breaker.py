"""One circuit breaker per account: one probe at a time in an outage, then a slow start."""

from __future__ import annotations

import random

import attrs

from callsheet._state.backoff import honoured


FIRST_PAUSE = 1.0
LONGEST_PROBE_PAUSE = 4.0
"""Seconds. Short enough that after an outage of less than a minute the end of every task is known
within ten seconds of the service's return."""


@attrs.define(kw_only=True)
class CircuitBreaker:
    """Limits the requests in flight to what the service can take.

    Attributes:
        width: Most requests in flight while the service works, >= 1.
        retry_after_cap: Longest ``Retry-After`` that is honoured, seconds.
        rng: Source of jitter.
        tripped: Whether the last request failed.
    """

    width: int
    retry_after_cap: float = 60.0
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    tripped: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _probe_at: float = attrs.field(default=float("-inf"), init=False)
    _tripped_by_poll: bool = attrs.field(default=False, init=False)
    _allowed: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start with all requests allowed."""
        self._allowed = self.width

    def ready_at(self, *, now: float, in_flight: int) -> float | None:
        """The earliest time for one more request; ``None``: only after one in flight has ended."""
        if self.tripped:
            return None if in_flight else max(now, self._probe_at)
        return now if in_flight < self._allowed else None

    def failed(
        self,
        *,
        now: float,
        poll: bool,
        retry_after: float | None = None,
        sent: float | None = None,
    ) -> bool:
        """Note that a request failed; return whether this tripped the breaker.

        Failures of requests that were sent together count once, because they show the same state
        of the service. The pause is counted from *sent*: a request that waited long for nothing
        has been pause enough.
        """
        was_closed = not self.tripped
        if was_closed or now >= self._probe_at:
            self._failures += 1
        self.tripped = True
        self._tripped_by_poll = self._tripped_by_poll or poll
        self._allowed = 1
        self._pause(now if sent is None else sent, retry_after, now)
        return was_closed

    def passed(self, *, now: float, poll: bool) -> bool:
        """Note that a request was served; return whether this reset the breaker.

        A create does not reset a breaker that polls have tripped: either route may fail alone.
        """
        if self.tripped and self._tripped_by_poll and not poll:
            self._pause(now, None, now)
            return False
        was_tripped = self.tripped
        self.tripped, self._failures = False, 0
        self._tripped_by_poll, self._probe_at = False, float("-inf")
        self._allowed = 1 if was_tripped else min(self.width, self._allowed * 2)
        return was_tripped

    def _pause(self, sent: float, retry_after: float | None, now: float) -> None:
        grown = min(FIRST_PAUSE * 1.5 ** min(self._failures - 1, 16), LONGEST_PROBE_PAUSE)
        asked = honoured(retry_after, most=self.retry_after_cap, rng=self.rng)
        pause = grown * self.rng.uniform(1.0, 1.25)
        self._probe_at = max(self._probe_at, sent + pause, now + asked)
