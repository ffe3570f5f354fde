"""How many requests of one kind a quota allows."""

from __future__ import annotations

import attrs
from attrs.validators import ge, gt


JITTER = 0.02
"""Share of the quota that stays unused: some requests travel faster than others, so they may arrive
closer together than they were sent."""


@attrs.define(kw_only=True)
class RateLimit:
    """At most *limit* requests in any *period*, evenly spaced after a first *burst*.

    This is the generic cell rate algorithm: its state is one number, not a list of past requests.

    Attributes:
        limit: Requests per period, > 0; fractions are allowed.
        period: Seconds, > 0.
        burst: Requests that may go at once after a pause, >= 1. If it exceeds *limit*, it is 1.
    """

    limit: float = attrs.field(validator=gt(0))
    period: float = attrs.field(default=1.0, validator=gt(0))
    burst: int = attrs.field(default=1, validator=ge(1))
    _gap: float = attrs.field(init=False)
    _next: float = attrs.field(default=float("-inf"), init=False)

    def __attrs_post_init__(self) -> None:
        """Set the gap so that a burst and the requests after it stay within the limit together."""
        if self.burst > self.limit:
            self.burst = 1
        steady = self.limit - (self.burst - 1)
        self._gap = self.period / steady * (1 + JITTER)

    def ready_at(self, *, now: float) -> float:
        """The earliest time, not before *now*, at which a request may be sent."""
        return max(now, self._next - (self.burst - 1) * self._gap)

    def take(self, *, now: float) -> float:
        """Reserve one request and return the time, not before *now*, at which it may be sent."""
        when = self.ready_at(now=now)
        self._next = max(self._next, when) + self._gap
        return when
