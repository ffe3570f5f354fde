"""The provider's clock, as far as the times in its answers tell."""

from __future__ import annotations

import math

import attrs


DRIFT = 2e-5
"""Seconds per second by which two clocks may part."""

ROUNDED_DOWN = 1.0
"""Seconds to which the provider rounds its times down."""

BELIEVED = 5
"""Times in a row that contradict what is known of a clock until it is taken to have been set."""

TRAVEL = 0.1
"""Seconds by which an answer may be older than it seems."""


@attrs.define
class ProviderClock:
    """Maps the provider's times to seconds on the client's own monotonic clock."""

    _least: float = attrs.field(default=-math.inf, init=False)
    """Least seconds to add to a time of the provider."""
    _most: float = attrs.field(default=math.inf, init=False)
    _bounded_at: float = attrs.field(default=0.0, init=False)
    _odd: int = attrs.field(default=0, init=False)

    def local(self, updated_at: float | None, *, since: float, now: float) -> float:
        """The provider's time of a change on our clock: between *since* and *now*.

        Every change bounds how far the clocks differ from both sides, as it lies between *since*
        and *now*, and its second was rounded down: the middle of the bounds is believed. A provider
        that gives no time leaves the middle to be guessed.
        """
        if updated_at is None:
            return now if since == -math.inf else (since + now) / 2.0
        self._bound(since - TRAVEL - updated_at - ROUNDED_DOWN, now - updated_at, now)
        return min(max(self.when(updated_at, now=now), since), now)

    @property
    def synchronous(self) -> bool:
        """Whether both bounds of the clocks' difference are known."""
        return self._least > -math.inf

    def when(self, at: float, *, now: float) -> float:
        """The provider's time *at* on our clock, not after *now*, by what is known so far."""
        if not self.synchronous:
            return now
        return min(at + (self._least + self._most + ROUNDED_DOWN) / 2.0, now)

    def _bound(self, least: float, most: float, now: float) -> None:
        """Take bounds of the clocks' difference, unless they contradict all that came before.

        One time may be anything; where several in a row say the same, a clock was set.
        """
        drift = DRIFT * (now - self._bounded_at)
        before, after = self._least - drift, self._most + drift
        if most < before - ROUNDED_DOWN or least > after + ROUNDED_DOWN:
            self._odd += 1
            if self._odd < BELIEVED:
                return
            before, after = -math.inf, math.inf
        self._odd, self._bounded_at = 0, now
        self._most = min(after, most)
        self._least = min(max(before, least), self._most)

    def translated(self, at: float) -> float | None:
        """The provider's time *at* on our clock, at the latest; ``None`` if no answer told yet."""
        return None if self._most == math.inf else at + self._most
