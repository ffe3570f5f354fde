"""Very many tasks in one client: memory, idle CPU time, and how long the event loop is held.

Each figure comes from its own process, in real time, from a client whose provider answers in the
same process. The CPU time of that provider is subtracted. The baseline is what a script without
this package does: a coroutine for each task, which here only sleeps and sends nothing.

The loop is held from one look for events until the next. That is measured in CPU time of its
thread, so that other processes do not count. The figure is the longest such time of a run, and the
median of several runs, with and without Python's garbage collector, whose time depends on all
objects in the process. "Frozen" rows call `gc.freeze()` before the client is opened, as a service
may do at its start.

    python benchmarks/bench_scale.py [N ...] [--seconds S] [--repeats R]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _held import Desk, Meter, client, name
from _table import keep, show

from callsheet import Batch, TaskSpec


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


PAGE = 4096

RUNNING = 10
"""Tasks that run at once in the rows in which the others wait."""

RENDER = 90.0

NAP = 5.0
"""Seconds for which a coroutine of the baseline sleeps between two polls of its task."""

SETTLED = 10_000
"""Tasks that end within one second."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    while not condition():  # noqa: ASYNC110 - the measured code must not signal the benchmark
        await asyncio.sleep(0.02)


async def coroutines_pending(meter: Meter, n: int, _: float) -> dict[str, object]:
    """Memory of one sleeping coroutine per task, which holds its id."""

    async def wait(task_id: str) -> str:
        await asyncio.sleep(3600)
        return task_id

    before = resident()
    meter.reset()
    tasks = [asyncio.create_task(wait(name(number))) for number in range(n)]
    await asyncio.sleep(0)
    figures = meter.figures()
    used = resident() - before
    for task in tasks:
        task.cancel()
    return {"bytes/task": used / n, "bytes/task, later": used / n, **figures}


async def attached(meter: Meter, n: int, _: float) -> dict[str, object]:
    """Memory of attached tasks, at once and after one poll of each; how long attaching holds."""
    desk = Desk(meter, lambda _: "queued")
    async with client(desk) as open_client:
        await open_client.tasks.list(task_ids=[name(0)])
        names = [name(number) for number in range(n)]
        before = resident()
        meter.reset()
        batch = open_client.attach_many(names)
        meter.end()
        figures = meter.figures()
        at_once = resident() - before
        await until(lambda: desk.ids > n)
        await asyncio.sleep(1.0)
        later = resident() - before
        start = time.thread_time()
        gc.collect()
        pause = time.thread_time() - start
        gc.freeze()  # an application may do this, a library may not
        start = time.thread_time()
        gc.collect()
        frozen = time.thread_time() - start
        gc.unfreeze()
        assert len(batch) == n
    return {
        "bytes/task": at_once / n,
        "bytes/task, later": later / n,
        **figures,
        "collect ms": 1e3 * pause,
        "collect ms, frozen": 1e3 * frozen,
    }


async def submitted(meter: Meter, n: int, _: float) -> dict[str, object]:
    """Memory of submitted tasks of one spec, their ids included."""
    desk = Desk(meter, lambda _: "queued")
    spec = TaskSpec("a paper boat", duration=5)
    async with client(desk) as open_client:
        await open_client.tasks.list(task_ids=[name(0)])
        specs = [spec] * n
        before = resident()
        meter.reset()
        batch = await open_client.submit_many(specs)
        meter.end()
        figures = meter.figures()
        await batch.submitted()
        at_once = resident() - before
        await asyncio.sleep(10.0)
        later = resident() - before
    return {"bytes/task": at_once / n, "bytes/task, later": later / n, **figures}


async def submitting(meter: Meter, n: int, _: float, *, made: bool = False) -> dict[str, object]:
    """How long the loop is held by submitting specs, from a list or from a generator."""
    desk = Desk(meter, lambda _: "queued")
    async with client(desk) as open_client:
        specs = (TaskSpec(f"boat {number}", duration=5) for number in range(n))
        given = specs if made else list(specs)
        await asyncio.sleep(0)
        gc.collect()
        meter.reset()
        start = meter.used()
        await open_client.submit_many(given)
        meter.end()
        return {"us/task": 1e6 * (meter.used() - start) / n, **meter.figures()}


async def coroutines_idle(meter: Meter, n: int, seconds: float) -> dict[str, object]:
    """CPU time of one coroutine per task that wakes up every few seconds and sends nothing."""

    async def wait(number: int) -> None:
        await asyncio.sleep(NAP * number / n)
        while True:  # noqa: ASYNC110 - the baseline is such a loop
            await asyncio.sleep(NAP)

    tasks = [asyncio.create_task(wait(number)) for number in range(n)]
    await asyncio.sleep(2 * NAP)
    start = meter.used()
    await asyncio.sleep(seconds)
    used = meter.used() - start
    for task in tasks:
        task.cancel()
    return {"% of a core": 100 * used / seconds, "lists/s": 0.0}


async def idle(meter: Meter, n: int, seconds: float, *, all_run: bool = False) -> dict[str, object]:
    """CPU time of waiting for tasks, all running or ten at a time."""
    since: float | None = None

    def status(number: int) -> str:
        gap = RENDER / RUNNING
        age = (0.0 if since is None else time.monotonic() - since) - gap * (number - RUNNING)
        if all_run or 0 <= age < RENDER:
            return "running"
        return "queued" if age < 0 else "succeeded"

    desk = Desk(meter, status)
    async with client(desk, lists=1) as open_client:
        if all_run:
            batch: Batch = open_client.attach_many(name(number) for number in range(n))
        else:
            batch = await open_client.submit_many([TaskSpec("boat", duration=5)] * n)
            await batch.submitted()
        await asyncio.sleep(3 * NAP)
        since = time.monotonic()
        start, lists = meter.used(), desk.lists
        meter.reset()
        await asyncio.sleep(seconds)
        used, asked = meter.used() - start, desk.lists - lists
        assert batch.progress.done <= seconds
    return {"% of a core": 100 * used / seconds, "lists/s": asked / seconds}


async def coroutines_ending(meter: Meter, n: int, _: float) -> dict[str, object]:
    """How long the loop is held by coroutines that wake up within one second, gathered."""
    tasks = [asyncio.create_task(asyncio.sleep(2.0 + number / n)) for number in range(n)]
    waiting = asyncio.gather(*tasks)
    await asyncio.sleep(1.5)
    meter.reset()
    start = time.perf_counter()
    await waiting
    return {"wall s": time.perf_counter() - start, **meter.figures()}


async def by_completion(batch: Batch) -> None:
    """Read each outcome as soon as it is there."""
    async for outcome in batch.as_completed():
        assert outcome.ok


async def by_result(batch: Batch) -> None:
    """Wait for all outcomes together."""
    assert not (await batch.result()).failures


async def by_handle(batch: Batch) -> None:
    """Wait for each handle in a separate task."""

    async def one(number: int) -> None:
        await batch[number]

    await asyncio.gather(*(one(number) for number in range(len(batch))))


async def ending(
    meter: Meter,
    n: int,
    _: float,
    *,
    wait: Callable[[Batch], Awaitable[None]],
    frozen: bool = False,
) -> dict[str, object]:
    """How long the loop is held while tasks that run end within one second and are waited for."""
    if frozen:  # a service may do this after its start
        gc.collect()
        gc.freeze()
    since: float | None = None

    def status(number: int) -> str:
        over = since is not None and time.monotonic() - since >= number / n
        return "succeeded" if over else "running"

    async with client(Desk(meter, status), delay=0.2) as open_client:
        batch = await open_client.submit_many([TaskSpec("boat", duration=5)] * n)
        await until(lambda: batch.progress.running == n)
        waiter = asyncio.ensure_future(wait(batch))
        await asyncio.sleep(1.0)
        meter.reset()
        since = time.monotonic()
        await waiter
        meter.end()
        return {"wall s": time.monotonic() - since, **meter.figures()}


async def resumed(meter: Meter, n: int, _: float) -> dict[str, object]:
    """How long the loop is held by resuming a journal of tasks that have all ended."""
    desk = Desk(meter, lambda _: "succeeded")
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        async with client(desk, delay=0.2, journal=journal) as open_client:
            batch = await open_client.submit_many([TaskSpec("boat", duration=5)] * n)
            await batch.result()
        del batch
        gc.collect()
        async with client(desk, journal=journal) as open_client:
            await asyncio.sleep(0.1)
            meter.reset()
            start = time.perf_counter()
            batch = await open_client.resume()
            meter.end()
            assert batch.progress.done == n
            return {"wall s": time.perf_counter() - start, **meter.figures()}


async def coroutines_started(meter: Meter, n: int, _: float) -> dict[str, object]:
    """How long the loop is held by starting a coroutine for each spec."""

    async def wait(spec: TaskSpec) -> TaskSpec:
        await asyncio.sleep(3600)
        return spec

    specs = [TaskSpec(f"boat {number}", duration=5) for number in range(n)]
    await asyncio.sleep(0)
    gc.collect()
    meter.reset()
    start = meter.used()
    tasks = [asyncio.create_task(wait(spec)) for spec in specs]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    figures = {"us/task": 1e6 * (meter.used() - start) / n, **meter.figures()}
    for task in tasks:
        task.cancel()
    return figures


FIGURES: dict[str, dict[str, Callable[[Meter, int, float], Awaitable[dict[str, object]]]]] = {
    "pending": {
        "a coroutine each": coroutines_pending,
        "attach_many": attached,
        "submit_many": submitted,
    },
    "handing in": {
        "a coroutine each": coroutines_started,
        "submit_many, a list": submitting,
        "submit_many, a generator": lambda *a: submitting(*a, made=True),
    },
    "idle": {
        "a coroutine each": coroutines_idle,
        "10 run, the others wait": idle,
        "all run": lambda *a: idle(*a, all_run=True),
    },
    "ending": {
        "a coroutine each": coroutines_ending,
        "as_completed()": lambda *a: ending(*a, wait=by_completion),
        "result()": lambda *a: ending(*a, wait=by_result),
        "a handle each": lambda *a: ending(*a, wait=by_handle),
        "as_completed(), frozen": lambda *a: ending(*a, wait=by_completion, frozen=True),
        "result(), frozen": lambda *a: ending(*a, wait=by_result, frozen=True),
        "a handle each, frozen": lambda *a: ending(*a, wait=by_handle, frozen=True),
    },
    "resuming": {"resume()": resumed},
}

MOST = {"idle": 100_000, "ending": SETTLED, "resuming": SETTLED}
"""The largest number of tasks of these figures. They are measured only for the largest number that
is allowed: more would take hours, or could not end within a second."""

ONCE = 1_000_000
"""With this many tasks or more a figure is measured once: a million creates take some minutes."""


def child(figure: str, variant: str, n: int, seconds: float) -> None:
    """Run one variant in this process and print its figures."""
    with asyncio.Runner(loop_factory=Meter) as runner:
        meter = runner.get_loop()
        assert isinstance(meter, Meter)
        print(json.dumps(runner.run(_run(meter, figure, variant, n, seconds))))


async def _run(
    meter: Meter, figure: str, variant: str, n: int, seconds: float
) -> dict[str, object]:
    return await FIGURES[figure][variant](meter, n, seconds)


def measure(
    figure: str, variant: str, n: int, *, seconds: float, repeats: int
) -> dict[str, object]:
    """The medians of several runs."""
    runs: list[dict[str, float]] = []
    for _ in range(repeats if n < ONCE else 1):
        command = [sys.executable, __file__, str(n), "--seconds", str(seconds)]
        command += ["--child", figure, variant]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout))
    row: dict[str, object] = {"tasks": n, "variant": variant, "baseline": "coroutine" in variant}
    for column in runs[0]:
        row[column] = statistics.median(run[column] for run in runs)
    return row


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long idling is watched")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=FIGURES, help="one figure")
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        child(*options.child, options.tasks[0], options.seconds)
        return
    kept: list[dict[str, object]] = []
    for figure in [options.only] if options.only else FIGURES:
        sizes = sorted({min(n, MOST.get(figure, n)) for n in options.tasks})
        if figure in MOST:
            sizes = sizes[-1:]
        rows = [
            measure(figure, variant, n, seconds=options.seconds, repeats=options.repeats)
            for n in sizes
            for variant in FIGURES[figure]
        ]
        columns = dict.fromkeys(name for row in rows for name in row)
        ratios = [c for c in ("bytes/task", "us/task", "% of a core", "held ms") if c in columns]
        show(figure, [{name: row.get(name) for name in columns} for row in rows], ratios=ratios)
        kept += [{"figure": figure, **row} for row in rows]
    keep("scale", kept, really=not options.keep_nothing and options.only is None)


if __name__ == "__main__":
    main()
