"""Many tasks at once: one client, and the code that a user would write without it.

Each runs in its own process against an emulator in another process, over loopback HTTP. The
emulator applies no quotas, because the baseline could not keep them. The baseline is httpx with one
get-and-sleep loop per task in one ``asyncio.gather``. It has no timeouts, because with the defaults
1000 tasks end in ``PoolTimeout``.

    python benchmarks/bench_fanout.py [N ...] [--repeats R]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time

import anyio
import httpx
from _table import keep, show

from callsheet import Client, Limits, Provider, TaskSpec
from callsheet.emulator import running


RENDER = 30.0
"""Median render, seconds."""

LOOP = 3.0
"""Seconds between two polls of one task in the baseline, as in the provider's own samples."""

PATIENCE = 300.0
"""Seconds after which a variant is reported as not finished."""

FREE = 1_000_000


async def gather_loops(base: str, n: int) -> dict[str, float]:
    """One get-and-sleep loop per task; returns when each id was seen to succeed."""
    learned: dict[str, float] = {}

    async def one(http: httpx.AsyncClient, number: int) -> None:
        body = {
            "model": "doubao-seedance-1-5-pro-251215",
            "content": [{"type": "text", "text": f"boat {number}"}],
        }
        answer = await http.post("/contents/generations/tasks", json=body)
        task_id = answer.raise_for_status().json()["id"]
        while True:
            answer = await http.get(f"/contents/generations/tasks/{task_id}")
            if answer.raise_for_status().json()["status"] == "succeeded":
                learned[task_id] = time.time()
                return
            await asyncio.sleep(LOOP)

    async with httpx.AsyncClient(
        base_url=base, headers={"Authorization": "Bearer x"}, timeout=None
    ) as http:
        await asyncio.gather(*(one(http, number) for number in range(n)))
    return learned


async def one_client(base: str, n: int) -> dict[str, float]:
    """One callsheet client with default settings, except that it has no quota of creates."""
    provider = Provider(
        name="bench",
        base_url=base,
        default_model="doubao-seedance-1-5-pro-251215",
        lists=True,
        limits=Limits(
            creates_per_minute=FREE, gets_per_second=20, lists_per_second=1, cancels_per_second=20
        ),
    )
    learned: dict[str, float] = {}
    async with Client(provider=provider) as client:
        batch = await client.submit_many(TaskSpec(f"boat {number}") for number in range(n))
        async for outcome in batch.as_completed():
            assert outcome.ok, outcome
            learned[outcome.task_id or ""] = time.time()
    return learned


VARIANTS = {"httpx, a loop each": gather_loops, "callsheet": one_client}


def child(variant: str, base: str, n: int) -> None:
    """Run one variant here and print what it cost."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.time()
    learned = asyncio.run(VARIANTS[variant](base, n))
    wall = time.time() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": after.ru_maxrss, "learned": learned}))


async def measure(variant: str, n: int) -> dict[str, object]:
    """One run of one variant, with its own emulator."""
    async with running(
        concurrency=n,
        render_seconds=RENDER,
        creates_per_minute=FREE,
        gets_per_second=FREE,
        lists_per_second=FREE,
    ) as origin:
        command = [sys.executable, __file__, "--child", variant, f"{origin}/api/v3", str(n)]
        row: dict[str, object] = {
            "tasks": n,
            "variant": variant,
            "baseline": variant != "callsheet",
        }
        try:
            with anyio.fail_after(PATIENCE):
                done = await anyio.run_process(command, stderr=None)
            result = json.loads(done.stdout)
        except TimeoutError:
            return row | {"finished": 0}
        except subprocess.CalledProcessError:
            return row | {"finished": 0}
        async with httpx.AsyncClient(timeout=60) as http:
            state = (await http.get(f"{origin}/_emulator/state")).json()
    requests, learned = state["requests"], result["learned"]
    ended = {task["id"]: task["updated_at"] for task in state["tasks"]}
    polls = requests["get"]["seen"] + requests["list"]["seen"]
    delays = [at - ended[task_id] for task_id, at in learned.items()]
    return row | {
        "finished": len(learned),
        "wall s": result["wall"],
        "CPU ms/task": 1000 * result["cpu"] / n,
        "polls/task": polls / n,
        "delay s": statistics.fmean(delays),
        "delay p95 s": sorted(delays)[int(0.95 * len(delays))],
        "peak MiB": result["peak"] / 1024,
    }


def median_row(rows: list[dict[str, object]]) -> dict[str, object]:
    """One row for several runs, with the median in every measured column."""
    done = [row for row in rows if row["finished"]] or rows
    return {
        name: statistics.median(row[name] for row in done)  # type: ignore[type-var]
        if isinstance(value, float)
        else value
        for name, value in done[0].items()
    }


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        variant, base, n = options.child
        child(variant, base, int(n))
        return
    rows = [
        median_row([anyio.run(measure, variant, n) for _ in range(options.repeats)])
        for n in options.tasks
        for variant in VARIANTS
    ]
    show(
        f"renders of {RENDER:g} s, baseline polls every {LOOP:g} s",
        rows,
        ratios=["CPU ms/task", "polls/task"],
    )
    keep("fanout", rows, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
