"""When to look at a running task: delay at the same number of looks, against the optimum.

No queue: tasks that run from the moment they are created. The optimum is a dynamic programme that
knows the distribution; the fixed gap is what a loop does. The client's law starts from a prior for
another distribution and learns from ends as they come. "At once" learns from tasks that were all
submitted together, when the first 200 of 400 have ended: the short ones end first.

    python benchmarks/bench_inspection.py
"""

from __future__ import annotations

import argparse
import bisect
import math
import random
import statistics
from typing import TYPE_CHECKING

from _table import keep, show

from callsheet._core.laws import RenderLaw


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


PRIOR = (75.0, 0.5)
"""Median and sigma that the law starts from; no distribution below has them."""

TASKS = 4000


def lognormal(rng: random.Random, median: float, sigma: float) -> float:
    """One render time, seconds."""
    return median * math.exp(sigma * rng.gauss(0.0, 1.0))


def drifting(rng: random.Random, number: int) -> float:
    """Renders that get half as long again over 200 tasks and stay so."""
    return lognormal(rng, 90.0 * (1.0 + 0.5 * min(number / 200, 1.0)), 0.2)


DISTRIBUTIONS: dict[str, Callable[[random.Random, int], float]] = {
    "narrow": lambda rng, _: lognormal(rng, 90.0, 0.15),
    "wide": lambda rng, _: lognormal(rng, 90.0, 0.7),
    "bimodal": lambda rng, _: lognormal(rng, 60.0 if rng.random() < 0.6 else 180.0, 0.12),
    "drifting": drifting,
}


def looks(gap: Callable[[float], float], ends: Sequence[float]) -> tuple[float, float]:
    """Mean number of looks and mean delay when the next look is *gap* after an age."""
    counts, delays = [], []
    for end in ends:
        age, count = 0.0, 0
        while age < end:
            age += gap(age)
            count += 1
        counts.append(count)
        delays.append(age - end)
    return statistics.fmean(counts), statistics.fmean(delays)


def optimum(ends: Sequence[float], polls: float) -> float:
    """Mean delay of the best schedule with *polls* looks per task on average."""
    grid, times = 400, sorted(ends)
    first, last, n = times[0], times[-1], len(times)
    edges = [0.0] + [first + (last - first) * k / grid for k in range(1, grid + 1)]
    ended = [bisect.bisect_right(times, edge) for edge in edges]
    sums = [0.0]
    for time in times:
        sums.append(sums[-1] + time)
    share = [count / n for count in ended]
    moment = [sums[count] / n for count in ended]

    def solve(price: float) -> tuple[float, float]:
        cost, following = [0.0] * (grid + 1), [grid] * (grid + 1)
        for here in range(grid - 1, -1, -1):
            best = math.inf
            for then in range(here + 1, grid + 1):
                waiting = edges[then] * (share[then] - share[here])
                waiting -= moment[then] - moment[here]
                if waiting > best:
                    break
                if waiting + cost[then] < best:
                    best, following[here] = waiting + cost[then], then
            cost[here] = best + price * (1.0 - share[here])
        delay, asked, here = 0.0, 0.0, 0
        while here < grid:
            then = following[here]
            delay += edges[then] * (share[then] - share[here]) - (moment[then] - moment[here])
            asked += 1.0 - share[here]
            here = then
        return asked, delay

    low, high = 1e-3, 300.0
    for _ in range(18):
        price = math.sqrt(low * high)
        low, high = (price, high) if solve(price)[0] > polls else (low, price)
    return solve(high)[1]


def fixed(ends: Sequence[float], polls: float) -> float:
    """Mean delay of the fixed gap with *polls* looks per task on average."""
    low, high = 0.5, 500.0
    for _ in range(40):
        gap = (low + high) / 2
        low, high = (gap, high) if looks(lambda _, g=gap: g, ends)[0] > polls else (low, gap)
    return looks(lambda _: high, ends)[1]


def one_by_one(law: RenderLaw, draw: Callable[[int], float]) -> int:
    """Let 200 tasks end one after the other."""
    for number in range(200):
        law.observe(draw(number))
        if number % 32 == 31:
            law.refit(())
    law.refit(())
    return 200


def at_once(law: RenderLaw, draw: Callable[[int], float]) -> int:
    """Let the first 200 of 400 tasks end that were submitted together."""
    times = sorted(draw(number) for number in range(400))
    for number, time in enumerate(times[:200]):
        law.observe(time)
        if number % 32 == 31:
            law.refit((time,) * (399 - number))
    law.refit((times[199],) * 200)
    return 400


STAGES: dict[str, Callable[[RenderLaw, Callable[[int], float]], int]] = {
    "the prior alone": lambda _law, _draw: 0,
    "200 ended": one_by_one,
    "200 of 400 ended": at_once,
}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    rows = []
    for name, sample in DISTRIBUTIONS.items():
        for aim in (2.0, 5.0, 10.0):
            for stage, learn in STAGES.items():
                rng = random.Random(options.seed)
                law = RenderLaw(median=PRIOR[0], sigma=PRIOR[1], delay=aim)
                begun = learn(law, lambda number, r=rng, s=sample: s(r, number))
                ends = [sample(rng, begun + number) for number in range(TASKS)]
                polls, delay = looks(law.gap, ends)
                best = optimum(ends, polls)
                rows.append(
                    {
                        "distribution": name,
                        "aim s": aim,
                        "known": stage,
                        "looks/task": polls,
                        "delay s": delay,
                        "optimum s": best,
                        "fixed gap s": fixed(ends, polls),
                        "of optimum": delay / best,
                    }
                )
    show("delay at the same number of looks", rows)
    keep("inspection", rows, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
