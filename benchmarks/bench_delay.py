"""How long after its end a task is known: the promise of ``Polling(delay=5.0)``, in simulated time.

The figures are exact and the same on every machine. Each row is one kind of day: how many tasks,
how many run at once, how long they render, and what the provider offers. The client knows nothing
of the render times when it starts. Beside it stand a loop for each task that asks every 5 s, the
loop of the Ark samples, which asks every 10 s, and somebody who knows when each task started and
the age before which one in 250 ends: who looks first at that age, and then each 9.5 s. The
last one knows even the ends, and asks about each task once, as soon as the quota allows: nobody can
be faster. The loops have no quota here: "calls in 1 s" says what they would need.

    python benchmarks/bench_delay.py [--quick]
"""

from __future__ import annotations

import argparse
import bisect
import math
import random
import statistics
from typing import TYPE_CHECKING

import attrs
from _simulate import LATENCY, WARM, Cost, Ours, World, simulate
from _table import keep, show

from callsheet._polling.pages import SIZE
from callsheet._runtime.quotas import FIRST_GETS
from callsheet._state.rate_limit import JITTER, ProbingRateLimit


if TYPE_CHECKING:
    from collections.abc import Callable


DELAY = 5.0

USUAL = 55.0
"""Median render time of Seedance 1.5 pro, seconds, by live timings of 2025 and 2026."""

ARK_GETS = 20.0
"""Gets a second that Ark allows."""

ENDS = 1000
"""Ends that each row has at least, over its days."""

RARE = -2.6521
"""Standard deviations of a normal distribution below which one in 250 lies."""


@attrs.frozen(kw_only=True)
class Day:
    """One kind of day.

    Attributes:
        tasks: Number of tasks, all created at once.
        at_once: Most of them that run at a time.
        scale: Median render, as a multiple of the usual one.
        sigma: Standard deviation of the logarithm of render times.
        second: Where not 1, four of ten tasks render so many times as long as the others.
        later: Where not 1, the factor on renders of all tasks from number 400 on.
    """

    tasks: int
    at_once: int
    scale: float
    sigma: float = 0.25
    second: float = 1.0
    later: float = 1.0

    def world(self, seed: int) -> World:
        """The day with that number."""
        rng = random.Random(seed)
        times = []
        for number in range(self.tasks):
            median = USUAL * self.scale * (self.second if rng.random() < 0.4 else 1.0)
            median *= self.later if number >= CHANGE else 1.0
            times.append(median * math.exp(self.sigma * rng.gauss(0.0, 1.0)))
        return World.queue(times, at_once=self.at_once)

    def first_end(self) -> float:
        """Age before which one in 250 ends."""
        return USUAL * self.scale * math.exp(RARE * self.sigma)


CHANGE = 400
"""Number of the task from which on renders are longer or shorter, where they are."""

SIDE_BY_SIDE = 10

QUEUED = 90.0 / USUAL
"""Scale of the renders of most days with a queue: those of `bench_queue.py`."""


def loop(world: World, gap: float) -> Cost:
    """Each task is asked about every *gap* seconds from its creation, by a loop of its own."""
    counts = [math.ceil((end - LATENCY / 2) / gap) for end in world.ends]
    delays = [n * gap + LATENCY - end for n, end in zip(counts, world.ends, strict=True)]
    return Cost(lists=0, gets=sum(counts), delays=delays, busiest=(0, len(world.ends)))


def knowing(world: World, first: float) -> Cost:
    """Each task is looked at when it may end, and then each 1.9 times the delay."""
    gets, delays = 0, []
    for start, end in zip(world.starts, world.ends, strict=True):
        looks = max(0, math.ceil((end - start - first) / (1.9 * DELAY)))
        gets += looks + 1
        delays.append(start + first + looks * 1.9 * DELAY + LATENCY - end)
    return Cost(lists=0, gets=gets, delays=delays, busiest=(0, 0))


def all_knowing(world: World, offer: str) -> Cost:
    """Each task is asked about once, after its end, as early as the quota allows.

    A list is as large as a page, and shows whatever tasks are wanted: no provider is so kind.
    """
    size, gap = (SIZE, 1.0 + JITTER) if offer == "lists" else (1, (1.0 + JITTER) / ARK_GETS)
    delays: list[float] = []
    ends, free, calls = sorted(world.ends), 0.0, 0
    while len(delays) < len(ends):
        at = max(ends[len(delays)], free)
        shown = bisect.bisect_right(ends, at, lo=len(delays), hi=min(len(delays) + size, len(ends)))
        delays += [at + LATENCY / 2 - end for end in ends[len(delays) : shown]]
        free, calls = at + gap, calls + 1
    lists = calls if offer == "lists" else 0
    return Cost(lists=lists, gets=calls - lists, delays=delays, busiest=(0, 0))


def ours(world: World, offer: str) -> Cost:
    """The client, with what the provider *offers*: lists, gets only, or gets of unknown rate."""
    rate = ProbingRateLimit(limit=FIRST_GETS, most=ARK_GETS) if offer == "unpublished" else None
    count = len(world.ends)
    return simulate(world, Ours(count, lists=offer == "lists", delay=DELAY, gets=rate))


def row(day: Day, offer: str, variant: str, run: Callable[[World], Cost]) -> dict[str, object]:
    """What a variant comes to, over as many days as are needed for enough ends."""
    worlds = [day.world(seed) for seed in range(math.ceil(ENDS / day.tasks))]
    costs = [run(world) for world in worlds]
    delays = [delay for cost in costs for delay in cost.delays]
    excess = [
        delay - 0.1 * (world.ends[index] - world.starts[index])
        for world, cost in zip(worlds, costs, strict=True)
        for index, delay in enumerate(cost.delays)
    ]
    count = len(delays)
    queued = variant == "callsheet" and day.at_once < day.tasks
    changed: list[float] = []
    if day.later != 1.0:
        changed = [d for cost in costs for d in cost.delays[CHANGE : CHANGE + 40]]
    return {
        "tasks": day.tasks,
        "at once": day.at_once,
        "render s": round(USUAL * day.scale * day.later, 1),
        "sigma": day.sigma,
        "two kinds": "yes" if day.second != 1.0 else None,
        "offer": offer,
        "variant": variant,
        "baseline": variant == "loop, 5 s",
        "mean s": statistics.fmean(delays),
        "+-": statistics.stdev(delays) / math.sqrt(count),
        "worst s": max(delays),
        "worst - 10 %": max(excess),
        "next 40: mean": statistics.fmean(changed) if changed else None,
        "next 40: worst": max(changed) if changed else None,
        "lists/task": sum(c.lists for c in costs) / count,
        "gets/task": sum(c.gets for c in costs) / count,
        "calls/task": sum(c.lists + c.gets for c in costs) / count,
        "learned": sum(c.learned for c in costs) / (day.tasks - WARM) if queued else None,
        "calls in 1 s": max(sum(c.busiest) for c in costs),
        "gets in 10 s": max(c.busiest_of_ten for c in costs),
    }


def days(*, quick: bool) -> list[tuple[Day, tuple[str, ...]]]:
    """Every day with what is offered on it."""
    every = ("lists", "gets", "unpublished")
    if quick:
        return [
            (Day(tasks=20, at_once=20, scale=0.5), every),
            (Day(tasks=1000, at_once=SIDE_BY_SIDE, scale=QUEUED), every),
        ]
    sizes = (1, 5, 20, 100, 300, 1000, 10_000)
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    shapes = ((0.1, 1.0), (0.6, 1.0), (0.15, 3.0))
    found = [
        *(Day(tasks=n, at_once=n, scale=scale) for n in sizes for scale in scales),
        *(
            Day(tasks=n, at_once=n, scale=1.0, sigma=sigma, second=second)
            for n in sizes
            for sigma, second in shapes
        ),
        *(Day(tasks=1000, at_once=SIDE_BY_SIDE, scale=scale) for scale in (*scales, QUEUED)),
        *(
            Day(tasks=1000, at_once=SIDE_BY_SIDE, scale=QUEUED, sigma=sigma, second=second)
            for sigma, second in shapes
        ),
        *(Day(tasks=1000, at_once=SIDE_BY_SIDE, scale=QUEUED, later=later) for later in (0.5, 2.0)),
    ]
    return [(day, every) for day in found]


def main() -> None:
    """Simulate, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two days, to see that it works")
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    rows = []
    for day, offers in days(quick=options.quick):
        first = day.first_end()
        variants: list[tuple[str, str, Callable[[World], Cost]]] = [
            ("any", "loop, 5 s", lambda world: loop(world, 5.0)),
            ("any", "loop, 10 s", lambda world: loop(world, 10.0)),
            ("any", "knows starts and law", lambda world, first=first: knowing(world, first)),
            *(
                (o, "knows the ends", lambda world, offer=o: all_knowing(world, offer))
                for o in ("lists", "gets")
            ),
            *((o, "callsheet", lambda world, offer=o: ours(world, offer)) for o in offers),
        ]
        rows += [row(day, offer, variant, run) for offer, variant, run in variants]
    show("seconds from the end of a render to its being known", rows, ratios=["calls/task"])
    keep("delay", rows, really=not options.keep_nothing and not options.quick)


if __name__ == "__main__":
    main()
