"""Memory of pending tasks: registry and schedule together, or one waiting coroutine per task.

The figures are resident memory per task, without the caller's own spec, each from its own process.

    python benchmarks/bench_memory.py [N ...]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
from pathlib import Path

from _table import keep, show

from callsheet._models.spec import TaskSpec
from callsheet._polling.schedule import Schedule
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._state.registry import Registry


PAGE = 4096


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def callsheet(n: int) -> float:
    """Bytes per pending task of one batch: record, id, registry and schedule."""
    spec = TaskSpec("a boat")
    group = Group(total=n)
    registry = Registry()
    schedule = Schedule(delay=5.0)
    before = resident()
    records = [Record(spec, index=i, model="m", group=group) for i in range(n)]
    for number, record in enumerate(records):
        registry.adopt(record, f"cgt-20261122183159-{number:07d}", now=number * 0.1)
        schedule.add(record, now=number * 0.1)
    return (resident() - before) / n


def coroutines(n: int) -> float:
    """Bytes per pending task if each has one sleeping asyncio task, which holds its id."""

    async def wait(task_id: str) -> str:
        await asyncio.sleep(3600)
        return task_id

    async def measure() -> float:
        before = resident()
        tasks = [asyncio.create_task(wait(f"cgt-20261122183159-{i:07d}")) for i in range(n)]
        await asyncio.sleep(0)
        used = resident() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return used / n

    return asyncio.run(measure())


VARIANTS = {"a coroutine each": coroutines, "callsheet": callsheet}


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--child")
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        print(VARIANTS[options.child](options.tasks[0]))
        return
    rows = []
    for n in options.tasks:
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--child", variant, str(n)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(
                {
                    "tasks": n,
                    "variant": variant,
                    "baseline": variant != "callsheet",
                    "bytes/task": float(done.stdout),
                }
            )
    show("memory per pending task", rows, ratios=["bytes/task"])
    keep("memory", rows, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
