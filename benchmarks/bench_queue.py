"""A queue at the provider: requests and delay for tasks of which only a few run at once.

1000 tasks created at once, 10 run at a time, log-normal renders with a median of 90 s, in simulated
time, so that the figures are exact and the same on every machine. The client knows nothing of the
render times when it starts.

Three rows say what could be had at most: plans that know the true distribution and, at each list,
exactly when every task started, set to a mean delay of 5 s; and a number of calls that no plan with
that delay can go below.

A second table is of creates that are answered in another order than the provider took them, which
nothing tells the client before it sees when each task began.

    python benchmarks/bench_queue.py [--tasks N] [--seeds S]
"""

from __future__ import annotations

import argparse
import statistics
from collections import deque
from typing import TYPE_CHECKING

from _bounds import Known, best, fewest_lists, looking_ahead, threshold
from _simulate import LATENCY, Cost, Ours, World, render_times, simulate
from _table import keep, show


if TYPE_CHECKING:
    from collections.abc import Callable


MEDIAN, AT_ONCE, DELAY = 90.0, 10, 5.0

ASTRAY = (0, 3, 6, 12)
"""Places by which the answers to creates may be out of order."""

MORE = 4
"""Times as many worlds for the bound, which varies more than what a plan costs."""


def loops(world: World, following: Callable[[float], float]) -> Cost:
    """One loop per task: *following* gives the pause after a pause; no quota."""
    gets, delays = 0, []
    for end in world.ends:
        at, pause = 0.0, 0.0
        while True:
            pause = following(pause)
            at += pause
            gets += 1
            if at >= end:
                break
        delays.append(at + LATENCY - end)
    return Cost(lists=0, gets=gets, delays=delays, busiest=(0, len(world.ends)))


def round_robin(world: World) -> Cost:
    """All pending tasks in turn at 20 gets a second."""
    waiting = deque(range(len(world.ends)))
    at, gets, delays = 0.0, 0, []
    while waiting:
        at += 1 / 20
        gets += 1
        index = waiting.popleft()
        if at >= world.ends[index]:
            delays.append(at + LATENCY - world.ends[index])
        else:
            waiting.append(index)
    return Cost(lists=0, gets=gets, delays=delays, busiest=(0, 20))


def list_clock(world: World, gap: float) -> Cost:
    """One list over all that run, every *gap* seconds, with the queue's order known for free."""
    last = max(world.ends)
    calls = int(last / gap) + 1
    delays = [gap - end % gap + LATENCY for end in world.ends]
    return Cost(lists=calls, gets=0, delays=delays, busiest=(1, 0))


VARIANTS: dict[str, Callable[[World], Cost]] = {
    "get each every 5 s": lambda world: loops(world, lambda _: 5.0),
    "get each every 10 s": lambda world: loops(world, lambda _: 10.0),
    "get each, gaps x1.5 up to 60 s": lambda world: loops(
        world, lambda pause: min(max(1.0, pause * 1.5), 60.0)
    ),
    "get all in turn, 20/s": round_robin,
    "list the running every 10 s": lambda world: list_clock(world, 10.0),
    "callsheet, gets": lambda world: simulate(
        world, Ours(len(world.ends), lists=False, delay=DELAY)
    ),
    "callsheet, lists": lambda world: simulate(
        world, Ours(len(world.ends), lists=True, delay=DELAY)
    ),
}


def error(values: list[float]) -> float | None:
    """Standard error of the mean, if there is more than one value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def row(sigma: float, variant: str, costs: list[Cost], tasks: int) -> dict[str, object]:
    """What a variant cost on average over the seeds."""
    calls = [(c.lists + c.gets) / tasks for c in costs]
    return {
        "sigma": sigma,
        "variant": variant,
        "baseline": variant.startswith("get each every 5"),
        "calls/task": statistics.fmean(calls),
        "+-": error(calls),
        "delay s": statistics.fmean(c.delay for c in costs),
        "worst delay s": max(max(c.delays) for c in costs),
        "lists in 1 s": max(c.busiest[0] for c in costs),
        "gets in 1 s": max(c.busiest[1] for c in costs),
    }


def references(sigma: float, tasks: int, seeds: int) -> list[dict[str, object]]:
    """What could be had at most."""
    known = Known.log_normal(median=MEDIAN, sigma=sigma)
    times = [
        render_times(tasks + 6 * AT_ONCE, median=MEDIAN, sigma=sigma, seed=seed)
        for seed in range(MORE * seeds)
    ]
    worlds = [World.queue(each[:tasks], at_once=AT_ONCE) for each in times[:seeds]]
    waits = best(worlds, lambda k: threshold(known, k), DELAY)
    looks = best(worlds, lambda k: looking_ahead(known, k), DELAY)
    price = DELAY / statistics.fmean(c.lists / tasks for c in looks)
    fewest = [
        fewest_lists(known, each, count=tasks, at_once=AT_ONCE, delay=DELAY, price=price) / tasks
        for each in times
    ]
    bound = {
        "sigma": sigma,
        "variant": "no plan can do less",
        "calls/task": statistics.fmean(fewest),
        "+-": error(fewest),
        "delay s": DELAY,
    }
    return [
        row(sigma, "knows law and starts, threshold", waits, tasks),
        row(sigma, "knows law and starts, looks ahead", looks, tasks),
        bound,
    ]


def astray(worlds: list[World]) -> list[dict[str, object]]:
    """What answers in another order cost; sigma 0.25."""
    rows = []
    for lists in (False, True):
        for places in ASTRAY:
            costs = [
                simulate(
                    world,
                    Ours(len(world.ends), lists=lists, delay=DELAY, astray=places),
                )
                for world in worlds
            ]
            calls = f"callsheet, {'lists' if lists else 'gets'}"
            cost = row(0.25, calls, costs, len(worlds[0].ends))
            rows.append({"places out of order": places, **cost, "baseline": places == 0})
    return rows


def main() -> None:
    """Simulate, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    rows, worlds = [], {}
    for sigma in (0.15, 0.25, 0.5):
        times = (
            render_times(options.tasks, median=MEDIAN, sigma=sigma, seed=seed)
            for seed in range(options.seeds)
        )
        worlds[sigma] = [World.queue(each, at_once=AT_ONCE) for each in times]
        for variant, run in VARIANTS.items():
            costs = [run(world) for world in worlds[sigma]]
            rows.append(row(sigma, variant, costs, options.tasks))
        rows += references(sigma, options.tasks, options.seeds)
    title = f"{options.tasks} tasks, {AT_ONCE} at once, renders around {MEDIAN:g} s"
    show(title, rows, ratios=["calls/task"])
    disordered = astray(worlds[0.25])
    show("creates answered out of order", disordered, ratios=["calls/task"])
    keep("queue", rows + disordered, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
