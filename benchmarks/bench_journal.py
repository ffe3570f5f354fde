"""What a journal costs: the same run with and without one.

Each run has a client in its own process and an emulator without quotas in another process, over
loopback HTTP. Runs with and without a journal take turns; the medians are printed. Share is the
part of the run's CPU time that the journal adds. "Writer" is the CPU time of the writing thread,
measured in the run itself. The rest of the difference is the work to pass notes to that thread and
back.

In the second table nothing is grouped: the specs are submitted one after the other. Each waits for
its id, and so twice for the disk.

The third table is about `Client.resume` of a journal in which every spec is finished. CPU time is
that of all threads. The baseline reads the same rows with `sqlite3` and parses each value with
`json.loads`, and keeps nothing. Memory is what the process holds after `resume`, and at most
meanwhile, beyond what it held before.

    python benchmarks/bench_journal.py [N ...] [--resume N ...] [--repeats R] [--transport NAME]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import sqlite3
import statistics
import subprocess
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
from callsheet._journal.notes import AnswerNote, AttemptNote, StatusNote, TaskNote
from callsheet._journal.sqlite import SqliteStore
from callsheet._models.snapshot import Status
from callsheet._wire.snapshots import read_snapshot
from callsheet.emulator import running


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._journal.codec import PlanText
    from callsheet._journal.journal import Journal
    from callsheet._journal.notes import StoredNote
    from callsheet._submission.bookkeeping import Bookkeeping


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

    def write(
        self,
        plans: Sequence[PlanText],
        notes: Sequence[StoredNote],
        learned: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write in one transaction."""
        begun = time.thread_time()
        super().write(plans, notes, learned)
        Writer.seconds += time.thread_time() - begun
        Writer.commits += bool(plans or notes or learned)


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


def finished(number: int) -> dict[str, object]:
    """An answer about a finished task, in Ark's form and length."""
    host = "https://ark-content-generation-cn-beijing.tos-cn-beijing.volces.com"
    return {
        "id": f"cgt-20261130{number:010}",
        "model": "doubao-seedance-1-5-pro-251215",
        "status": "succeeded",
        "content": {
            "video_url": f"{host}/doubao-seedance-1-5-pro/{number:032}.mp4"
            "?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AKLTYWMwMjcx%2F20261130%2F"
            "cn-beijing%2Ftos%2Frequest&X-Tos-Date=20261130T095113Z&X-Tos-Expires=86400"
            f"&X-Tos-Signature={number:064x}&X-Tos-SignedHeaders=host"
        },
        "seed": number,
        "resolution": "720p",
        "duration": 5,
        "ratio": "16:9",
        "framespersecond": 24,
        "usage": {"completion_tokens": 108900, "total_tokens": 108900},
        "created_at": 1796038273,
        "updated_at": 1796038333,
    }


async def fill(journal: Journal, n: int) -> None:
    """Write what a client writes about specs that are finished."""
    plan = journal.new_plan([TaskSpec(f"A paper boat on a canal, {i}") for i in range(n)])
    await journal.write_first([plan])
    for number, row in enumerate(plan.rows):
        raw = finished(number)
        answer = read_snapshot(raw, task_id=str(raw["id"]))
        token = f"callsheet-{number:032x}"
        journal.write([AttemptNote(row, 1, token, 1796038272.0)])
        journal.write([TaskNote(row, 1, answer.task_id)])
        journal.write([StatusNote(row, Status.RUNNING)])
        journal.write([AnswerNote(row, answer, 1796038334.0)])
        if number % 1000 == 0:
            await journal.flush()


def memory() -> tuple[int, int]:
    """Bytes that this process holds now, and the most that it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return 1024 * int(found["VmRSS"]), 1024 * int(found["VmHWM"])


def resume_child(what: str, path: str, n: int) -> None:
    """Fill a journal, or read or resume it, and print what that took."""
    base = "http://127.0.0.1:9/api/v3"

    async def filled() -> dict[str, float]:
        c = client(base, path, None)
        books: Bookkeeping = c._bookkeeping  # noqa: SLF001 - the key's fingerprint must fit
        assert books.journal is not None
        async with books.journal as journal:
            await fill(journal, n)
        return {}

    async def read() -> dict[str, float]:
        start, used = time.perf_counter(), time.process_time()
        with contextlib.closing(sqlite3.connect(path)) as database:
            for query in ("SELECT spec FROM tasks", "SELECT value FROM notes"):
                for (text,) in database.execute(query):
                    json.loads(text)
        return {
            "seconds": time.perf_counter() - start,
            "used": time.process_time() - used,
        }

    async def resumed(*, unfinished: bool) -> dict[str, float]:
        async with client(base, path, None) as c:
            gc.collect()
            before, start, used = memory(), time.perf_counter(), time.process_time()
            batch = await c.resume(unfinished=unfinished)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            assert len(batch) == (0 if unfinished else n)
            assert c.spend.spent.tasks == n
            after = memory()
        return {
            "seconds": seconds,
            "used": used,
            "bytes": (after[0] - before[0]) / n,
            "most": (after[1] - before[0]) / n,
        }

    work = {
        "fill": filled,
        "read": read,
        "resume": partial(resumed, unfinished=False),
        "unfinished": partial(resumed, unfinished=True),
    }
    print(json.dumps(anyio.run(work[what])))


def resume_rows(n: int, repeats: int) -> list[dict[str, object]]:
    """Resume a journal of *n* finished specs; return the medians."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/shoot.db"

        def run(what: str) -> dict[str, float]:
            command = [sys.executable, __file__, "--resume-child", what, path, str(n)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found: dict[str, float] = json.loads(done.stdout)
            return found

        run("fill")
        runs: dict[str, list[dict[str, float]]] = {"read": [], "resume": [], "unfinished": []}
        for _ in range(repeats):
            for what, done in runs.items():
                done.append(run(what))
    names = {
        "read": "sqlite3 and json.loads alone",
        "resume": "resume()",
        "unfinished": "resume(unfinished=True)",
    }
    rows: list[dict[str, object]] = []
    for what, done in runs.items():
        middle = {name: statistics.median(run[name] for run in done) for name in done[0]}
        rows.append(
            {
                "finished specs": n,
                "variant": names[what],
                "baseline": what == "read",
                "wall s": middle["seconds"],
                "CPU us/spec": 1e6 * middle["used"] / n,
                "bytes/spec": middle.get("bytes"),
                "most bytes/spec": middle.get("most"),
            }
        )
    base = rows[0]["CPU us/spec"]
    for row in rows:
        row["times the baseline"] = row["CPU us/spec"] / base  # type: ignore[operator]
    return rows


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
    parser.add_argument("tasks", nargs="*", type=int, default=[100, 1000, 10_000], help="0: none")
    parser.add_argument("--alone", type=int, default=300, help="specs submitted one by one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--transport", nargs="*", default=[""], help="also: aiohttp")
    parser.add_argument("--resume", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--child", nargs=5)
    parser.add_argument("--resume-child", nargs=3)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        how, base, n, journal, transport = options.child
        child(how, base, int(n), journal, transport)
        return
    if options.resume_child:
        what, path, count = options.resume_child
        resume_child(what, path, int(count))
        return
    sizes = [(TOGETHER, n) for n in options.tasks if n] + [(ALONE, options.alone)] * bool(
        options.alone
    )
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
    tables = {how: rows for how, rows in tables.items() if rows}
    if options.resume:
        tables["resume"] = [row for n in options.resume for row in resume_rows(n, options.repeats)]
    for how, rows in tables.items():
        columns = {name: None for row in rows for name in row}
        show(how, [columns | row for row in rows])
    keep("journal", list(chain.from_iterable(tables.values())), really=not options.keep_nothing)


if __name__ == "__main__":
    main()
