"""What a journal costs: the same run with and without one.

Each run has a client in its own process and an emulator without quotas in another process, over
loopback HTTP. Runs with and without a journal take turns; the medians are printed. Share is the
part of the run's CPU time that the journal adds. "Writer" is the CPU time of the writing thread,
measured in the run itself. The rest of the difference is the work to pass notes to that thread and
back.

In the second table nothing is grouped: the specs are submitted one after the other. Each waits for
its id, and so twice for the disk.

    python benchmarks/bench_journal.py [N ...] [--repeats R] [--transport NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from _table import keep, show

from callsheet import Client, Limits, Provider, TaskSpec
from callsheet._journal import journal as journal_module
from callsheet._journal.sqlite import SqliteStore
from callsheet.emulator import running


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._journal.codec import Plan
    from callsheet._journal.entries import Note


RENDER = 5.0
"""Median render, seconds."""

FREE = 1_000_000

TOGETHER, ALONE = "together", "one by one"


class Writer(SqliteStore):
    """Writes, and measures what that takes.

    Attributes:
        commits: Transactions.
        seconds: CPU time of the writing thread.
    """

    commits = 0
    seconds = 0.0

    def write(self, plans: Sequence[Plan], notes: Sequence[Note]) -> None:
        """Write in one transaction."""
        begun = time.thread_time()
        super().write(plans, notes)
        Writer.seconds += time.thread_time() - begun
        Writer.commits += bool(plans or notes)


def client(base: str, journal: str | None, transport: str | None) -> Client:
    """A client with default settings, except that it has no quota of creates."""
    provider = Provider(
        name="bench",
        base_url=base,
        default_model="doubao-seedance-1-5-pro-251215",
        lists=True,
        token=True,
        limits=Limits(
            creates_per_minute=FREE, gets_per_second=20, lists_per_second=1, cancels_per_second=20
        ),
    )
    choice = {} if transport is None else {"transport": transport}
    return Client(provider=provider, journal=journal, **choice)  # type: ignore[arg-type]


async def together(c: Client, n: int) -> None:
    """Submit all specs at once and wait for every video."""
    batch = await c.submit_many(TaskSpec(f"boat {number}") for number in range(n))
    assert len((await batch.result()).urls()) == n


async def one_by_one(c: Client, n: int) -> None:
    """Submit each spec when the one before has its id; do not wait for videos."""
    for number in range(n):
        await c.submit(TaskSpec(f"boat {number}"))


WORK = {TOGETHER: together, ALONE: one_by_one}


def child(how: str, base: str, n: int, journal: str, transport: str) -> None:
    """Do one run in this process and print what it cost."""
    journal_module.SqliteStore = Writer  # type: ignore[misc]

    async def run() -> dict[str, float]:
        path = journal or None
        async with client(base, path, transport or None) as c:
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            await WORK[how](c, n)
            after, end = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = sum(p.stat().st_size for p in Path(path).parent.iterdir()) if path else 0
        return {"cpu": cpu, "wall": end - start, "size": size}

    cost = anyio.run(run)
    print(json.dumps({**cost, "seconds": Writer.seconds, "commits": Writer.commits}))


async def measure(how: str, n: int, transport: str, *, journal: bool) -> dict[str, float]:
    """One run with its own emulator."""
    async with running(
        concurrency=n,
        render_seconds=RENDER,
        creates_per_minute=FREE,
        gets_per_second=FREE,
        lists_per_second=FREE,
    ) as origin:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "shoot.db") if journal else ""  # noqa: PTH118
            command = [sys.executable, __file__, "--child", how, f"{origin}/api/v3", str(n)]
            done = await anyio.run_process([*command, path, transport], stderr=None)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows_of(how: str, n: int, transport: str, repeats: int) -> list[dict[str, object]]:
    """Run both variants in turn; return the medians."""
    runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for _ in range(repeats):
        for journal, done in runs.items():
            done.append(anyio.run(partial(measure, how, n, transport, journal=journal)))
    middle = {
        journal: {name: statistics.median(run[name] for run in done) for name in done[0]}
        for journal, done in runs.items()
    }
    without, with_it = middle[False], middle[True]
    common = {"tasks": n, "handed in": how, "transport": transport or "httpx"}
    return [
        {
            **common,
            "variant": "no journal",
            "baseline": True,
            "wall s": without["wall"],
            "CPU ms/task": 1000 * without["cpu"] / n,
        },
        {
            **common,
            "variant": "journal",
            "baseline": False,
            "wall s": with_it["wall"],
            "CPU ms/task": 1000 * with_it["cpu"] / n,
            "share %": 100 * (1 - without["cpu"] / with_it["cpu"]),
            "writer ms/task": 1000 * with_it["seconds"] / n,
            "writer %": 100 * with_it["seconds"] / with_it["cpu"],
            "commits/task": with_it["commits"] / n,
            "bytes/task": with_it["size"] / n,
        },
    ]


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--alone", type=int, default=300, help="specs submitted one by one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--transport", nargs="*", default=[""], help="also: aiohttp")
    parser.add_argument("--child", nargs=5)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        how, base, n, journal, transport = options.child
        child(how, base, int(n), journal, transport)
        return
    sizes = [(TOGETHER, n) for n in options.tasks] + [(ALONE, options.alone)]
    tables = {
        how: [
            row
            for transport in options.transport
            for each, n in sizes
            if each == how
            for row in rows_of(how, n, transport, options.repeats)
        ]
        for how in (TOGETHER, ALONE)
    }
    for how, rows in tables.items():
        columns = {name: None for row in rows for name in row}
        show(how, [columns | row for row in rows])
    keep("journal", list(chain.from_iterable(tables.values())), really=not options.keep_nothing)


if __name__ == "__main__":
    main()
