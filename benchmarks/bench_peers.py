"""Many tasks at once: one client, compared with what other packages offer for the same.

Every variant runs in its own process against a provider in another process, over loopback HTTP.
Every answer takes 30 ms. The baseline is the Ark SDK with the loop of its samples, which asks every
3 s. All retries, pools and timeouts are the defaults, unless the name says otherwise. Delay is the
time from the end of a task until its caller learns of it, over the finished tasks. Our rows also
show the least that is possible within the quota of one list and 20 gets per second. First all
renders take the same time. Then, for the baseline and us, they differ by up to a quarter both ways.

    python benchmarks/bench_peers.py [N ...] [--render S] [--spread PART ...] [--repeats R]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from typing import Any

import anyio
from _loopback import Settings, report_of, serving
from _peers import ARK, OURS, PACKAGES, VARIANTS, run
from _table import keep, show


PATIENCE = 180.0
"""Seconds after the longest render at which a task without an outcome counts as not finished."""

SEEN = 520.0
"""Tasks that can be asked about per second: one page of 500, and 20 gets."""


async def measure(variant: str, n: int, settings: Settings) -> dict[str, object]:
    """One run of one variant, with its own provider."""
    async with serving(settings) as origin:
        found = await run(variant, origin, n, settings.longest + PATIENCE)
        seen = await report_of(origin)
    ends: dict[str, float] = {task["id"]: task["ends"] for task in seen["tasks"]}
    delays = sorted(at - ends[task_id] for task_id, at in found["learned"].items())
    finished = len(delays)
    return {
        "tasks": n,
        "render s": _words(settings),
        "variant": variant,
        "baseline": variant == ARK,
        "finished": finished,
        "raised": _count(found["raised"]),
        "CPU s": found["cpu"],
        "status requests": len(seen["asked"]),
        "most in 1 s": max(Counter(map(int, seen["asked"])).values(), default=0),
        "delay p50 s": statistics.median(delays) if delays else None,
        "delay p95 s": delays[int(0.95 * finished)] if delays else None,
        "least p50 s": least(sorted(ends.values())) if variant.startswith(OURS) else None,
        "wall s": found["wall"],
        "peak MiB": found["peak"] / 1024,
        "provider CPU s": seen["cpu"],
    }


def median(rows: list[dict[str, object]]) -> dict[str, object]:
    """One row for several runs, with the median in every column of numbers."""
    return {
        name: statistics.median_low(row[name] for row in rows)  # type: ignore[type-var]
        if all(type(row[name]) in {int, float} for row in rows)
        else value
        for name, value in rows[0].items()
    }


def least(ends: list[float]) -> float:
    """Median delay of a caller who knows every end beforehand and uses the whole quota."""
    at, delays = 0.0, []
    for end in ends:
        at = max(at + 1.0 / SEEN, end)
        delays.append(at - end)
    return statistics.median(delays)


def _words(settings: Settings) -> str:
    few, many = settings.shortest, settings.longest
    return f"{few:g}" if few == many else f"{few:g} to {many:g}"


def _count(raised: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in raised.items()) or "-"


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, default=[1000])
    parser.add_argument("--render", type=float, default=60.0, help="seconds")
    parser.add_argument(
        "--spread", nargs="*", type=float, default=[0.0, 0.25], help="part of it, either side"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    rows = []
    for n in options.tasks:
        for spread in options.spread:
            settings = Settings(
                shortest=options.render * (1 - spread), longest=options.render * (1 + spread)
            )
            for variant in options.only:
                if not spread or variant == ARK or variant.startswith(OURS):
                    repeats = range(options.repeats)
                    rows.append(median([anyio.run(measure, variant, n, settings) for _ in repeats]))
                    print(rows[-1], file=sys.stderr)
    show("answers after 30 ms", rows, ratios=["CPU s", "status requests"])
    keep("peers", rows, packages=PACKAGES, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
