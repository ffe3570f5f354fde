"""Faults of the provider: what is lost, how many requests are sent, and how soon ends are known.

200 tasks run, for 40 s to 70 s. Status requests fail from 38 s to 58 s after the first create,
while more than half of the renders end. In the last rows nothing fails except one in ten answers to
a create, which is dropped after the task was made. Every variant has its own process and provider.
The variants of one fault run at the same time. All renders succeed, so a wait that raised is lost.
A wait that has not ended 40 s after the last render is counted separately: a package that waits
120 s or 600 s for an answer may still ask again.

    python benchmarks/bench_faults.py [--tasks N] [--faults NAME ...] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import anyio
import attrs
from _loopback import Settings, report_of, serving
from _peers import ARK, DEFAULT, FAL, OPENAI, OURS, PACKAGES, run
from _table import Row, keep, show


VARIANTS = (ARK, OPENAI, FAL, f"{DEFAULT}, no timeouts", OURS)

FULL = Settings(shortest=40.0, longest=70.0, since=38.0, until=58.0)

QUICK = Settings(shortest=5.0, longest=15.0, since=4.0, until=9.0)

OUTAGES = ("503", "503, nginx", "resets", "429", "429, Retry-After", "silence")

DROPPED = "creates dropped"

PATIENCE = 40.0
"""Seconds after the longest render at which a variant that still waits is stopped."""


async def measure(fault: str, variant: str, n: int, settings: Settings, rows: list[Row]) -> None:
    """One run of one variant, with its own provider."""
    async with serving(settings) as origin:
        found = await run(variant, origin, n, settings.longest + PATIENCE)
        seen = await report_of(origin)
    tasks = {task["id"]: task for task in seen["tasks"]}
    began = min(task["created"] for task in tasks.values())
    back = began + settings.until
    asked = [at - began for at in seen["asked"]]
    out = [at for at in asked if settings.since <= at < settings.until]
    after = [at for at in asked if settings.until <= at < settings.until + 10.0]
    known = found["learned"]
    with_video = {tasks[task_id]["number"] for task_id in known}
    billed = {task["number"] for task in tasks.values()}
    raised = sum(found["raised"].values())
    row: dict[str, object] = {
        "fault": fault,
        "variant": variant,
        "baseline": variant == ARK,
        "videos": len(with_video),
        "raised": raised,
        "still waiting": n - len(with_video) - raised,
        "why": ", ".join(found["raised"]) or "-",
    }
    if fault == DROPPED:
        row |= {
            "wanted": n,
            "billed": len(tasks),
            "duplicates": len(tasks) - len(billed),
            "orphans": len(billed - with_video),
        }
    else:
        late = [at - max(back, tasks[task_id]["ends"]) for task_id, at in known.items()]
        row |= {
            "asked while out": len(out),
            "most in 1 s": _most(out),
            "most in 1 s after": _most(after),
            "known within s": max(late, default=None),
        }
    rows.append(row)


def _most(times: list[float]) -> int:
    """The most requests in one second."""
    return max(Counter(map(int, times)).values(), default=0)


async def side_by_side(fault: str, n: int, settings: Settings) -> list[Row]:
    """Run all variants with one fault, each with its own provider."""
    rows: list[Row] = []
    changes = {"dropped": 0.1} if fault == DROPPED else {"fault": fault}
    async with anyio.create_task_group() as runs:
        for variant in VARIANTS:
            runs.start_soon(measure, fault, variant, n, attrs.evolve(settings, **changes), rows)
    return sorted(rows, key=lambda row: VARIANTS.index(str(row["variant"])))


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--faults", nargs="*", choices=[*OUTAGES, DROPPED])
    parser.add_argument("--quick", action="store_true", help="short renders, 5 s of outage")
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    outages: list[Row] = []
    creates: list[Row] = []
    for fault in options.faults or [*OUTAGES, DROPPED]:
        settings = QUICK if options.quick else FULL
        found = anyio.run(side_by_side, fault, options.tasks, settings)
        (creates if fault == DROPPED else outages).extend(found)
        print(*found, sep="\n", file=sys.stderr)
    if outages:
        show(f"{options.tasks} tasks, the status route out", outages)
    if creates:
        show(f"{options.tasks} tasks, 10 % of the answers to creates dropped", creates)
    keep("faults", [*outages, *creates], packages=PACKAGES, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
