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

    def refused(self, *, now: float) -> None:
        """Take note of a 429. A limit that is known stays as it is."""


STEADY = 10.0
"""Seconds without a refusal after which the rate is doubled, if it was used up."""

TOGETHER = 1.0
"""Seconds within which refusals count once: the requests were sent at the same rate."""

SLOWEST = 0.25
"""Least requests per second that a rate is lowered to, so that the end of refusals is noticed."""


@attrs.define(kw_only=True)
class ProbingRateLimit(RateLimit):
    """A quota that is not published: it starts low, and the answers tell how far it goes.

    The rate is doubled after each `STEADY` seconds in which it was used up and nothing was refused,
    and halved by a refusal, down to `SLOWEST`. There is no burst.

    Attributes:
        limit: Requests per period, > 0; it changes.
        most: Requests per period that are never passed.
        proven: The highest rate that was used up for `STEADY` seconds without a refusal, and that
            no refusal since then speaks against; ``None`` if there is none.
    """

    most: float = attrs.field(validator=gt(0))
    proven: float | None = attrs.field(default=None, init=False)
    _since: float = attrs.field(default=float("inf"), init=False)
    """Since when the rate is used up without a refusal."""
    _halved_at: float = attrs.field(default=float("-inf"), init=False)

    def take(self, *, now: float) -> float:
        """Reserve one request, as `RateLimit.take` does; a rate that proves itself is raised."""
        if now > self._next + self._gap:
            self._since = now  # it was not used up
        elif now - self._since >= STEADY:
            self.proven = max(self.limit, self.proven or 0.0)
            self._change(min(2.0 * self.limit, self.most), now)
        return RateLimit.take(self, now=now)

    def refused(self, *, now: float) -> None:
        """Halve the rate; refusals of requests that were sent together count once."""
        self._since = now
        if now - self._halved_at >= TOGETHER:
            self._halved_at = now
            self._change(max(self.limit / 2.0, SLOWEST * self.period), now)
            if self.proven is not None:
                self.proven = min(self.proven, self.limit)

    def recall(self, proven: float) -> None:
        """Begin with what an earlier process has proven, > 0.

        Others may use a part of the quota by now, so no more than half of it is used at first, or
        as much as would be used if nothing were known.
        """
        self.proven = min(proven, self.most)
        self.limit = max(min(self.proven, self.limit), self.proven / 2.0)
        self._gap = self.period / self.limit * (1 + JITTER)

    def _change(self, limit: float, now: float) -> None:
        self.limit, self._since = limit, now
        self._gap = self.period / limit * (1 + JITTER)


AHEAD = 1.0
"""Most seconds for which polls pause in return for what they took beyond half of a quota."""


@attrs.define
class PollRateLimit:
    """The part of a quota that polls use: half of it, or all of it for a task that waits too long.

    The other half is for what cannot wait: status requests of the caller's own, and cancels that
    look first. The whole burst of one second may be used at once, so that twenty tasks that begin
    together are asked about together. A rate that is only probed is low enough to be used whole.

    Attributes:
        quota: The rate limit of all requests of the kind.
    """

    quota: RateLimit
    _half: RateLimit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Fix the half, with a burst of what the quota allows in one second."""
        quota = self.quota
        if isinstance(quota, ProbingRateLimit):
            self._half = quota
            return
        burst = max(1, int(quota.limit / quota.period))
        limit = quota.limit / quota.period / 2.0 + burst - 1
        self._half = RateLimit(limit=limit, burst=burst)

    def ready_at(self, *, now: float, overdue_at: float) -> float:
        """The earliest time, not before *now*, at which a poll may be sent.

        Args:
            now: Seconds on the client's clock.
            overdue_at: When the task that is to be asked about will have waited too long.
        """
        half = self._half.ready_at(now=now)
        return max(self.quota.ready_at(now=now), min(half, max(now, overdue_at)))

    def take(self, *, now: float) -> None:
        """Take one request that is ready. One that only the whole quota allowed is paid back later.

        Otherwise a first round of many tasks would take the burst, and the second round the whole
        quota on top of it. What is paid back is limited, so that tasks which long took the whole
        quota do not keep others waiting once they have ended.
        """
        if self._half is not self.quota and self._half.ready_at(now=now) <= now + AHEAD:
            self._half.take(now=now)
        self.quota.take(now=now)
