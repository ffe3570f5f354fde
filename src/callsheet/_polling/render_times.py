"""How long tasks ran that have ended, and when a first look at the next ones is worth it."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Self

import attrs


if TYPE_CHECKING:
    from collections.abc import Iterable


ENOUGH_ENDS = 16
"""Ends of one kind from which on they tell when tasks of that kind begin to end."""

REMEMBERED_ENDS = 256
"""Ends of one kind that are remembered, the latest."""

RARE = 2.65
"""Standard deviations below the mean of a normal distribution that one in 250 is below. At one in a
hundred a task of a thousand was known 18 s late by gets, even to somebody who knew all starts; each
task now costs half a get more for it."""

LEAST_SPREAD = 0.03
"""Least standard deviation of the logarithm that is believed: times are measured between polls."""

CONTRADICTIONS = 3
"""Ends among the last `ENOUGH_ENDS` that came before the age at which one in 250 was
expected to have ended, after which what was learned is dropped."""


@attrs.define
class RenderTimes:
    """The render times of one kind of task.

    Only one number is made of them: the age before which hardly any task ends. Too low, it costs a
    few looks; too high, it makes ends late. So it is dropped as soon as ends contradict it. The
    short tasks of a batch end first: they must not tell anything about the rest of their batch,
    which is why a task goes by the ends that were known when it began.

    Attributes:
        first_look: Age at which one in 250 is expected to have ended, seconds; 0 while too
            few ends are known.
        seen: Number of ends that were observed.
        counted: Number of the latest of them that still count: those since the last contradiction.
    """

    first_look: float = attrs.field(default=0.0, init=False)
    seen: int = attrs.field(default=0, init=False)
    counted: int = attrs.field(default=0, init=False)
    _logs: deque[float] = attrs.field(factory=deque[float], init=False)
    _sum: float = attrs.field(default=0.0, init=False)
    _squares: float = attrs.field(default=0.0, init=False)
    _early: int = attrs.field(default=0, init=False)
    """One bit for each of the last ends, set where it came before `first_look`."""

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self:
        """What render times of an earlier process tell, the latest last. Each is > 0."""
        times = cls()
        for each in seconds:
            times.seen, times.counted = times.seen + 1, times.counted + 1
            times._remember(math.log(each))
        times._predict()
        return times

    def seconds(self) -> list[float]:
        """The render times that count and are remembered, the latest last."""
        return [math.exp(each) for each in self._logs]

    def known(self, seen: int) -> int:
        """How many of the first *seen* ends still count: none that came before a contradiction."""
        return max(0, seen - (self.seen - self.counted))

    def observe(self, seconds: float) -> bool:
        """Learn that a task ran for *seconds*, > 0; return whether what was learned is now void."""
        self.seen, self.counted = self.seen + 1, self.counted + 1
        self._early = (self._early << 1 | (seconds < self.first_look)) & (1 << ENOUGH_ENDS) - 1
        if self._early.bit_count() >= CONTRADICTIONS:
            self._drop()
            return True
        self._remember(math.log(seconds))
        self._predict()
        return False

    def _predict(self) -> None:
        count = len(self._logs)
        if count >= ENOUGH_ENDS:
            mean = self._sum / count
            variance = max(self._squares / count - mean * mean, 0.0) * (1.0 + 3.0 / count)
            self.first_look = math.exp(mean - RARE * max(math.sqrt(variance), LEAST_SPREAD))

    def _drop(self) -> None:
        self.counted, self.first_look = 0, 0.0
        self._early, self._sum, self._squares = 0, 0.0, 0.0
        self._logs.clear()

    def _remember(self, value: float) -> None:
        self._sum += value
        self._squares += value * value
        if len(self._logs) == REMEMBERED_ENDS:
            oldest = self._logs.popleft()
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._logs.append(value)
