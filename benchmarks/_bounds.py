"""What lists over a queue must cost: the best plan we know, and a bound that no plan can beat.

Both know the law of render times and, at each list, exactly when every task has started or ended
until then. Time is counted in ticks: renders are rounded to whole ones.

The best plan weighs, at each list, the delay until the next one against its price and against what
the state will be worth by then. That worth is taken to be linear in the mean time that the running
tasks have left. Then t ticks cost E(delay) - k E(ends) + k t n / m, with n tasks at once, a mean
render of m ticks, and k half the time between two lists.

The bound is the dual of the same problem. Somebody who knows all render times beforehand chooses
the lists, but pays at each the delay that one who does not know had to expect, and k for each end
more (gets k for each end less) than was to be expected. One who does not know neither gains nor
loses by that on average: so on average no plan costs less than the cheapest choice of one who
knows. That holds for every price and every k; they only make the bound more or less tight. It
covers gets, too, since a list shows all that a get does.
"""

from __future__ import annotations

import heapq
import math
from itertools import accumulate, pairwise
from operator import mul
from typing import TYPE_CHECKING

import attrs
from _simulate import LATENCY, Cost, World


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Plan = Callable[[Sequence[int]], float]
    """Seconds until the next list, from the ages in ticks of all that run."""

TICK = 0.5
"""Seconds."""

LONGEST = 100
"""Most ticks between two lists, in which about five tasks end."""

LONGEST_FIRST = 240
"""Most ticks until the first list: all tasks start at once."""

RARE = 1e-9
"""Chance that is taken for none."""

REACH = 0.02
"""Seconds to which a plan is set to the delay that it may have."""


@attrs.frozen
class Known:
    """The law of render times of tasks that follow each other in one place, told in ticks.

    Attributes:
        left: By age, the mean time that a task has left.
        delay: By age and ticks from then, the delay of unseen ends to be expected.
        ends: By age and ticks from then, the number of unseen ends to be expected.
    """

    left: list[float]
    delay: list[list[float]]
    ends: list[list[float]]

    @classmethod
    def log_normal(cls, *, median: float, sigma: float) -> Known:
        """Log-normal render times, rounded to ticks."""
        alive, oldest = [1.0], 0
        while alive[-1] > RARE:
            oldest += 1
            z = math.log((oldest + 0.5) * TICK / median) / sigma
            alive.append(0.5 * math.erfc(z / math.sqrt(2.0)))
        left = [0.0] * (oldest + 1)
        rest = 0.0
        for age in range(oldest, -1, -1):
            rest += alive[age]
            left[age] = rest / alive[age]
        alive += [0.0] * LONGEST_FIRST
        known = cls(left, [[0.0]], [[0.0]])
        for ticks in range(1, LONGEST_FIRST + 1):
            delay, ends = known.following(alive, 0, ticks)
            known.delay[0].append(delay[-1])
            known.ends[0].append(ends[-1])
        for age in range(1, oldest + 1):
            delay, ends = known.following(alive, age, LONGEST)
            known.delay.append(delay)
            known.ends.append(ends)
        return known

    @property
    def mean(self) -> float:
        """Mean render time."""
        return self.left[0]

    def following(
        self, alive: list[float], age: int, longest: int
    ) -> tuple[list[float], list[float]]:
        """Delay and number of ends within each time up to *longest* from *age*.

        A task that ends is followed by one whose delay and ends must be known for shorter times.
        """
        now = alive[age]
        gone = [(early - late) / now for early, late in pairwise(alive[age : age + longest + 1])]
        ends = [0.0, *accumulate(gone)]
        waits = (past + new / 2.0 for past, new in zip(ends, gone, strict=False))
        delay = [0.0, *accumulate(waits)]
        quiet = next((n for n, each in enumerate(self.ends[0]) if each > RARE), longest)
        for ticks in range(quiet + 1, longest + 1):
            first = gone[: ticks - quiet]
            after = slice(ticks - 1, quiet - 1, -1)
            delay[ticks] += sum(map(mul, first, self.delay[0][after]))
            ends[ticks] += sum(map(mul, first, self.ends[0][after]))
        return delay, ends

    def steps(self, k: float) -> list[list[float]]:
        """By age and ticks, the delay to be expected less *k* for each end to be expected."""
        return [
            [delay - k * ends for delay, ends in zip(*rows, strict=True)]
            for rows in zip(self.delay, self.ends, strict=True)
        ]


def threshold(known: Known, k: float) -> Plan:
    """A list once as many unseen ends are expected as come in 2 *k* seconds on average."""

    def plan(ages: Sequence[int]) -> float:
        worth = 2.0 * k / TICK * len(ages) / known.mean
        ends = _total(known.ends, ages)
        late = next((n for n, each in enumerate(ends) if each >= worth), LONGEST)
        early = ends[late - 1]
        part = (worth - early) / (ends[late] - early) if ends[late] > early else 1.0
        return TICK * (late - 1 + min(part, 1.0))

    return plan


def looking_ahead(known: Known, k: float) -> Plan:
    """A list where the step until then is cheapest, with what the state is worth afterwards.

    Lists 2 *k* seconds apart cost *k* seconds for each end twice: for their price and in delay.
    """
    steps = known.steps(k / TICK)

    def plan(ages: Sequence[int]) -> float:
        rate = k / TICK * len(ages) / known.mean
        costs = [step - rate * n for n, step in enumerate(_total(steps, ages))]
        return TICK * min(range(1, len(costs)), key=costs.__getitem__)

    return plan


def follow(world: World, plan: Plan) -> Cost:
    """What a plan costs that is told at each list when every task started or ended until then."""
    at, lists, delays = 0.0, 0, []
    running: list[int] = []
    following = 0
    while running or following < len(world.starts):
        while following < len(world.starts) and world.starts[following] <= at:
            running.append(following)
            following += 1
        delays += [at + LATENCY / 2 - world.ends[i] for i in running if world.ends[i] <= at]
        running = [i for i in running if world.ends[i] > at]
        if running:
            at += max(plan([round((at - world.starts[i]) / TICK) for i in running]), TICK)
            lists += 1
    return Cost(lists=lists, gets=0, delays=delays, busiest=(1, 0))


def best(worlds: list[World], plans: Callable[[float], Plan], delay: float) -> list[Cost]:
    """The cheapest plan of a family, which grows slower with its number, that keeps the delay."""
    slow, fast = 2.0 * delay, 0.0
    costs = []
    while slow - fast > REACH:
        middle = (slow + fast) / 2.0
        found = [follow(world, plans(middle)) for world in worlds]
        if sum(cost.delay for cost in found) <= delay * len(worlds):
            fast, costs = middle, found
        else:
            slow = middle
    return costs


def fewest_lists(
    known: Known, times: list[float], *, count: int, at_once: int, delay: float, price: float
) -> float:
    """A number of lists that, on average over *times*, no plan with a mean *delay* can go below.

    Args:
        known: The law of *times*.
        times: Render times of the *count* tasks and some more, which follow when they are through,
            so that every end but the last ones has its successor.
        count: Number of tasks that are waited for.
        at_once: Number of them that run at a time.
        delay: Mean seconds between an end and its being known.
        price: Seconds of delay that a list is worth; every price gives a bound.
    """
    k = math.sqrt(price / TICK * known.mean / (2.0 * at_once))
    steps = known.steps(k)
    ages, last = _ages(times, count=count, at_once=at_once)
    oldest = len(known.left) - 1
    left = [sum(known.left[min(age, oldest)] for age in each) for each in ages]
    cheapest = [math.inf] * len(ages)
    cheapest[0] = 0.0
    for now in range(last):
        if cheapest[now] == math.inf:
            continue
        base = cheapest[now] + price / TICK - k / known.mean * left[now]
        for ticks, step in enumerate(_total(steps, ages[now])[1:], start=1):
            then = now + ticks
            cost = base + step + k / known.mean * (left[then] + ticks * at_once)
            cheapest[then] = min(cheapest[then], cost)
    seconds = TICK * min(cheapest[last:])
    return (seconds - (delay - LATENCY / 2) * count) / price


def _ages(times: list[float], *, count: int, at_once: int) -> tuple[list[list[int]], int]:
    """Ages of all that run at each tick, until long after the last of *count* has started."""
    free = [(0, place) for place in range(at_once)]
    lines: list[list[int]] = [[] for _ in range(at_once)]
    last = 0
    for number, seconds in enumerate(times):
        start, place = heapq.heappop(free)
        if number == count - 1:
            last = start
        ticks = max(1, round(seconds / TICK))
        lines[place] += range(ticks)
        heapq.heappush(free, (start + ticks, place))
    return [list(ages) for ages in zip(*lines, strict=False)], last


def _total(table: list[list[float]], ages: Sequence[int]) -> list[float]:
    """The sum of the rows of all *ages*."""
    oldest = len(table) - 1
    return list(map(sum, zip(*(table[min(age, oldest)] for age in ages), strict=False)))
