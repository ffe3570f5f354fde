"""Request quotas: sliding windows of accepted calls."""

from __future__ import annotations

from collections import deque

import attrs


TOLERANCE = 0.05
"""Share by which a window is shorter than the published one.

Without it, a client that spaces its calls exactly would be refused for a few milliseconds of
jitter.
"""


@attrs.define
class Window:
    """At most *limit* accepted calls in any *period*. Refused calls do not count.

    Attributes:
        limit: Calls, >= 1.
        period: Length of the window, seconds.
    """

    limit: int
    period: float
    _accepted: deque[float] = attrs.field(factory=deque[float], init=False)

    def take(self, now: float) -> bool:
        """Count a call at *now* (seconds) and return whether it is within the quota."""
        horizon = now - self.period * (1 - TOLERANCE)
        while self._accepted and self._accepted[0] <= horizon:
            self._accepted.popleft()
        if len(self._accepted) >= self.limit:
            return False
        self._accepted.append(now)
        return True


@attrs.define
class Counter:
    """How many calls of one verb came in, and how many a quota refused."""

    seen: int = 0
    refused: int = 0


@attrs.define
class Requests:
    """Calls by verb, over all accounts.

    *refused* counts 429 answers, and downloads above the limit of a URL.
    """

    create: Counter = attrs.field(factory=Counter)
    get: Counter = attrs.field(factory=Counter)
    list: Counter = attrs.field(factory=Counter)
    delete: Counter = attrs.field(factory=Counter)
    download: Counter = attrs.field(factory=Counter)
