"""Whether many tasks of one age end otherwise than a law of their times expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Callable


FEWEST_IN_COHORT = 8
"""Tasks that must have got to an age before the law learns from it that none of them ends."""

CLOSE = 0.8
"""Part of that age from which on a task belongs to the crowd."""

ABSENT = 4.0
"""Ends that must have been expected in vain before the law is planned anew."""

AGED = 1.03
"""Growth of the age before ends can be missed."""

MOST_SPARE = 2.0
"""Most ends beyond twice those expected that do not surprise, unless the crowd is large."""

MANY = 64.0
"""Tasks of a large crowd for each such end: a page of ends is not worth many plans."""


@attrs.define
class Cohort:
    """Tasks of about one age that ran when their law was planned, and what was seen of them since.

    Attributes:
        age: The age that enough of them had got to, seconds; 0: there is no crowd.
        size: How many were close to it.
    """

    age: float = 0.0
    size: float = 0.0
    _ended: int = 0
    _passed: int = 0
    _spare: float = 1.0

    def gather(self, running: tuple[float, ...], *, each: float) -> None:
        """Begin anew with those who run now; each of their ages stands for *each* tasks."""
        self.age = sorted(running)[-FEWEST_IN_COHORT] if len(running) >= FEWEST_IN_COHORT else 0.0
        self.size = each * sum(age > CLOSE * self.age for age in running)
        self._ended = self._passed = 0

    def lose_one(self) -> None:
        """A task ended."""
        self._ended += 1

    def surprises(self, age: float, chance: Callable[[float, float], float]) -> bool:
        """Whether too few or too many have ended, seen at a task that got to *age*.

        Args:
            age: Seconds.
            chance: By the law, that a task which ran at one age has ended by another one.
        """
        if not self.age or age < self.age:
            return False
        self._passed += 1
        expected = min(self._passed, self.size) * chance(self.age, age)
        if expected > 2 * self._ended + ABSENT and age > AGED * self.age:
            self._spare = 0.5
            return True
        if self._ended > 2.0 * expected + self._spare:
            self._spare = min(2.0 * self._spare, max(MOST_SPARE, self.size / MANY))
            return True
        return False
