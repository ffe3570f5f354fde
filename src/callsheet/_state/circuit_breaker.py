"""One gate per account: while the service is down, one probe at a time; then a slow start."""

from __future__ import annotations

import random

import attrs


FIRST_PAUSE = 1.0
LONGEST_PROBE_PAUSE = 4.0
"""Short enough that every end is known within ten seconds of the return of a service that was out
for less than a minute."""


@attrs.define(kw_only=True)
class CircuitBreaker:
    """How much traffic the service bears.

    Attributes:
        width: Requests in flight that an open gate lets through at most, >= 1.
        retry_after_cap: Longest ``Retry-After`` that is honoured, seconds.
        rng: Source of jitter.
    """

    width: int
    retry_after_cap: float = 60.0
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _failures: int = attrs.field(default=0, init=False)
    _opens_at: float = attrs.field(default=float("-inf"), init=False)
    _by_poll: bool = attrs.field(default=False, init=False)
    _allowed: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start fully open."""
        self._allowed = self.width

    @property
    def tripped(self) -> bool:
        """Whether the last word of the service was a failure."""
        return self._failures > 0

    def ready_at(self, *, now: float, in_flight: int) -> float | None:
        """The earliest time for one more request; ``None``: not before one in flight is back."""
        if self.tripped:
            return None if in_flight else max(now, self._opens_at)
        return now if in_flight < self._allowed else None

    def failed(
        self,
        *,
        now: float,
        poll: bool,
        retry_after: float | None = None,
        sent: float | None = None,
    ) -> bool:
        """Note a request that the service did not serve; tell whether this shut the gate.

        Failures of requests that were sent together count once: they tell of the same moment. The
        pause counts from *sent*: a request that waited long in vain has paused long enough.
        """
        was_open = not self.tripped
        if was_open or now >= self._opens_at:
            self._failures += 1
        self._by_poll = self._by_poll or poll
        self._allowed = 1
        self._pause(now if sent is None else sent, retry_after, now)
        return was_open

    def passed(self, *, now: float, poll: bool) -> bool:
        """Note a request that the service served; tell whether this opened the gate.

        A create that passes does not open a gate that polls have shut: the routes fail apart.
        """
        if self.tripped and self._by_poll and not poll:
            self._pause(now, None, now)
            return False
        was_tripped = self.tripped
        self._failures, self._by_poll, self._opens_at = 0, False, float("-inf")
        self._allowed = 1 if was_tripped else min(self.width, self._allowed * 2)
        return was_tripped

    def _pause(self, sent: float, retry_after: float | None, now: float) -> None:
        grown = min(FIRST_PAUSE * 1.5 ** min(self._failures - 1, 16), LONGEST_PROBE_PAUSE)
        asked = 0.0 if retry_after is None else min(max(retry_after, 0.0), self.retry_after_cap)
        pause = grown * self.rng.uniform(1.0, 1.25)
        self._opens_at = max(self._opens_at, sent + pause, now + asked)
