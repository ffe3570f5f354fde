"""Whether tasks end later or earlier than a law of their times expects."""

from __future__ import annotations

import math

import attrs


MEMORY = 48.0
"""Ends that the evidence remembers."""

SURE = 5.0
"""Square of the standard errors below which a difference is taken for chance."""

FEWEST_ENDS = 16
"""Ends that a law has to have learned from before what comes after tells of a drift."""

LEAST_VARIANCE = 0.5
"""Least variance of the evidence, that of six ends: fewer say nothing."""

SPREADS = 0.295
"""Spreads of a normal law by which it lies off, for each unit of score over variance."""

FARTHEST = 2.0


@attrs.define
class Drift:
    """Evidence that the ends of now are not those of before.

    A task counts by the share of tasks that the law expects to have ended by its age. It is a half
    on average at the end; a task that still runs is credited with half of its share, which is what
    its end is expected to bring beyond that. So the sum stays near zero as long as the law
    holds, also when the short tasks end first, as those do that were submitted together. Shares
    above *known* tell of what the law did not know yet and not of a drift: they count as running.

    Attributes:
        known: Share of tasks that end at ages of which the law has learned.
    """

    known: float = 0.0
    _score: float = 0.0
    _variance: float = 0.0
    _ends: float = 0.0
    _credit: float = 0.0

    def ended(self, share: float) -> None:
        """A task ended when *share* of all were expected to have."""
        self._ends += 1.0
        if share < self.known:
            self._score += share - 0.5
            self._variance += (1.0 - share) ** 2 / 4.0
        else:
            self._score += self.known / 2.0

    def left(self, share: float) -> None:
        """A task that got so far will not end by itself: what it was credited with is its own."""
        self._score += self._credited([(share, 1.0)])

    def spreads(self, running: list[tuple[float, float]], seen: float) -> float:
        """By how many spreads of the law's logarithm ends come later now, 0 if that may be chance.

        Args:
            running: Share of each task that runs, and how many such tasks there are.
            seen: Ends that the law was told of, up to the number it remembers.
        """
        self._score += self._credited(running) - self._credit
        learned = seen - self._ends
        if learned < FEWEST_ENDS:
            self._score = self._variance = self._ends = 0.0
            return 0.0
        variance = max(self._variance, LEAST_VARIANCE)
        chance = variance * (1.0 + self._ends / learned)
        sure = max(0.0, 1.0 - SURE * chance / max(self._score**2, chance))
        off = SPREADS * self._score / variance * sure
        kept = math.exp(-min(self._ends, MEMORY) / MEMORY)
        self._score *= (1.0 - sure) * kept
        self._variance *= kept
        self._ends *= kept
        return max(-FARTHEST, min(FARTHEST, off))

    def expect(self, known: float, running: list[tuple[float, float]]) -> None:
        """Go on by a law that was planned anew, under which the tasks that run have new shares."""
        self.known = known
        self._credit = self._credited(running)

    def _credited(self, running: list[tuple[float, float]]) -> float:
        return sum(min(share, self.known) * count for share, count in running) / 2.0
