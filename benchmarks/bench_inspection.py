"""When to look at a running task: delay at the same number of looks, against the optimum.

No queue: tasks that run from the moment they are created. The optimum is a dynamic programme that
knows the distribution, and the best of all mixtures of such programmes where none has just as many
looks; the fixed gap is what a loop does. All are measured on the same 4000 ends, for several seeds:
"of optimum" is the mean over the seeds, "worst" the largest.

What the client's law knows:

* the prior alone: the catalog's for Seedance 2.0, whose tasks run about as long; it is none of the
  distributions.
* a prior far off: the catalog's for Seedance 1.5 pro, alone.
* 200 ended: 200 tasks ended one after the other.
* 200 of 400 ended: of tasks submitted together; the short ones end first. It learns no more.
* the rest of 400: the same, but for the tasks that still run then, and while they end the law goes
  on learning, as a client does. The optimum knows the distribution and that they run so long.

    python benchmarks/bench_inspection.py [--seeds S]
"""

from __future__ import annotations

import argparse
import bisect
import functools
import heapq
import itertools
import math
import random
import statistics
from typing import TYPE_CHECKING

from _table import keep, show

from callsheet._catalog import render_time
from callsheet._models.spec import TaskSpec
from callsheet._polling.render_time.distribution import RenderTimeDistribution
from callsheet._polling.render_time.estimator import Estimator
from callsheet._state.record import Record


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


PRIOR = render_time("doubao-seedance-2-0-260128", None, 5)

FAR_OFF = render_time("doubao-seedance-1-5-pro-251215", None, 5)

TASKS = 4000

GRID = 600
"""Ages at which the optimum may look."""

BEGIN = 0.1
"""Seconds within which tasks that are submitted together begin."""

ROUND = 1.0
"""Seconds after which all have been looked at that are due when the 200th is known."""

Costs = list[tuple[float, float]]
"""Looks per task and mean delay of several programmes, by looks."""


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
    ages = [0.0]
    while ages[-1] < max(ends):
        ages.append(ages[-1] + gap(ages[-1]))
    found = [bisect.bisect_left(ages, end) for end in ends]
    delays = [ages[number] - end for number, end in zip(found, ends, strict=True)]
    return statistics.fmean(found), statistics.fmean(delays)


def programmes(ends: Sequence[float]) -> Costs:
    """What the best programmes cost that know these ends, for prices of a look from low to high."""
    times, n = sorted(ends), len(ends)
    edges = [0.0] + [times[0] + (times[-1] - times[0]) * part / GRID for part in range(1, GRID + 1)]
    ended = [bisect.bisect_right(times, edge) for edge in edges]
    sums = list(itertools.accumulate(times, initial=0.0))
    share, moment = [count / n for count in ended], [sums[count] / n for count in ended]

    def solve(price: float) -> tuple[float, float]:
        cost, following = [0.0] * (GRID + 1), [GRID] * (GRID + 1)
        for here in range(GRID - 1, -1, -1):
            best = math.inf
            for then in range(here + 1, GRID + 1):
                waiting = edges[then] * (share[then] - share[here])
                waiting -= moment[then] - moment[here]
                if waiting > best:
                    break
                if waiting + cost[then] < best:
                    best, following[here] = waiting + cost[then], then
            cost[here] = best + price * (1.0 - share[here])
        asked, delay, here = 0.0, 0.0, 0
        while here < GRID:
            then = following[here]
            delay += edges[then] * (share[then] - share[here]) - (moment[then] - moment[here])
            asked += 1.0 - share[here]
            here = then
        return asked, delay

    return sorted({solve(0.02 * 1.12**step) for step in range(80)})


def optimum(costs: Costs, polls: float) -> float:
    """Least mean delay of a mixture of two programmes with *polls* looks per task on average."""
    below = [cost for cost in costs if cost[0] <= polls] or costs[:1]
    above = [cost for cost in costs if cost[0] > polls] or costs[-1:]
    return min(
        low
        if more <= few
        else low + (high - low) * min(max((polls - few) / (more - few), 0.0), 1.0)
        for few, low in below
        for more, high in above
    )


def fixed(ends: Sequence[float], polls: float) -> float:
    """Mean delay of the fixed gap with *polls* looks per task on average."""
    low, high = 0.3, 500.0
    for _ in range(25):
        gap = (low + high) / 2
        asked = statistics.fmean(math.ceil(end / gap) for end in ends)
        low, high = (gap, high) if asked > polls else (low, gap)
    return statistics.fmean(math.ceil(end / high) * high - end for end in ends)


@functools.cache
def later(name: str, begun: int, seed: int) -> tuple[list[float], Costs]:
    """Ends of the tasks that come after *begun* others, and what watching them costs at best."""
    rng = random.Random(f"{name} {seed}")
    ends = [DISTRIBUTIONS[name](rng, begun + number) for number in range(TASKS)]
    return ends, programmes(ends)


def one_by_one(distribution: RenderTimeDistribution, draw: Callable[[int], float]) -> int:
    """Let 200 tasks end one after the other."""
    for number in range(200):
        distribution.observe(draw(number))
        if number % 32 == 31:
            distribution.refit(())
    distribution.refit(())
    return 200


def at_once(distribution: RenderTimeDistribution, draw: Callable[[int], float]) -> int:
    """Let the first 200 of 400 tasks end that were submitted together."""
    times = sorted(draw(number) for number in range(400))
    for number, time in enumerate(times[:200]):
        distribution.observe(time)
        if number % 32 == 31:
            distribution.refit((time,) * (399 - number))
    distribution.refit((times[199],) * 200)
    return 400


STAGES: dict[str, Callable[[RenderTimeDistribution, Callable[[int], float]], int]] = {
    "the prior alone": lambda _law, _draw: 0,
    "a prior far off": lambda _law, _draw: 0,
    "200 ended": one_by_one,
    "200 of 400 ended": at_once,
}


def frozen(name: str, stage: str, aim: float, seed: int) -> tuple[float, ...]:
    """Looks and delay by a law that learns no more, and the optimum's and fixed gap's delay."""
    rng = random.Random(seed)
    prior = FAR_OFF if stage == "a prior far off" else PRIOR
    distribution = RenderTimeDistribution(median=prior.median, sigma=prior.sigma, delay=aim)
    begun = STAGES[stage](distribution, lambda number: DISTRIBUTIONS[name](rng, number))
    ends, costs = later(name, min(begun, 200), seed)
    polls, delay = looks(distribution.gap, ends)
    return polls, delay, optimum(costs, polls), fixed(ends, polls)


def rest(name: str, aim: float, seed: int) -> tuple[float, ...]:
    """The same for the tasks of 400 that still run when 200 are known to have ended."""
    rng = random.Random(seed)
    past = Estimator(delay=aim, prior=lambda _: (PRIOR.median, PRIOR.sigma))
    record = Record(TaskSpec("a boat", duration=5), index=0, model="a model")
    times = [DISTRIBUTIONS[name](rng, number) for number in range(400)]
    begins = [BEGIN * rng.random() for _ in times]
    running, asked, since = dict.fromkeys(range(400), 0.0), [0] * 400, math.inf
    due = [begin + past.distribution(record).gap(0.0) for begin in begins]
    heap = sorted(zip(due, range(400), strict=True))
    delays = dict[int, float]()
    while running:
        now, task = heapq.heappop(heap)
        if task not in running or now != due[task]:
            continue
        age = now - begins[task]
        asked[task] += age > since

        def ages() -> tuple[tuple[float, ...], float]:
            return tuple(running.values()), 1.0

        if age < times[task]:
            running[task] = age
            taught = past.runs(record, age, ages)
            due[task] = now + past.distribution(record).gap(age)
            heapq.heappush(heap, (due[task], task))
        else:
            del running[task]
            delays[task] = age - times[task]
            past.noticed(delays[task])
            taught = past.ran(record, times[task], ages)
        if len(delays) == 200:
            since = min(since, age + ROUND)
        for each, seen_at in running.items() if taught else ():
            sooner = max(now, begins[each] + seen_at + past.distribution(record).gap(seen_at))
            if sooner < due[each]:
                due[each] = sooner
                heapq.heappush(heap, (sooner, each))
    left = [task for task in range(400) if times[task] > since]
    polls = statistics.fmean(asked[task] for task in left)
    delay = statistics.fmean(delays[task] for task in left)
    drawn = (DISTRIBUTIONS[name](rng, number % 400) for number in itertools.count())
    ends = list(itertools.islice((end - since for end in drawn if end > since), TASKS))
    return polls, delay, optimum(programmes(ends), polls), fixed(ends, polls)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    rows = []
    for name in DISTRIBUTIONS:
        for aim in (2.0, 5.0, 10.0):
            for stage in (*STAGES, "the rest of 400"):
                runs = [
                    frozen(name, stage, aim, seed) if stage in STAGES else rest(name, aim, seed)
                    for seed in range(options.seeds)
                ]
                polls, delay, best, gap = (
                    statistics.fmean(each) for each in zip(*runs, strict=True)
                )
                rows.append(
                    {
                        "distribution": name,
                        "aim s": aim,
                        "known": stage,
                        "looks/task": polls,
                        "delay s": delay,
                        "optimum s": best,
                        "fixed gap s": gap,
                        "of optimum": statistics.fmean(run[1] / run[2] for run in runs),
                        "worst": max(run[1] / run[2] for run in runs),
                    }
                )
    show("delay at the same number of looks", rows)
    keep("inspection", rows, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
