"""What a file of specs costs before the first create, and what an earlier run of it costs.

The specs of a file resemble each other: they begin alike, are equal, differ only in case and in
characters that no file name may have, or are long Chinese texts. Each figure is microseconds of
CPU time a spec, all threads included, from a process of its own. The baseline is ``json.loads`` of
the same specs as JSON lines. "Growth" is the time per spec against that at the size before: 1 is
linear.

Memory is what is held per spec when the first create could leave: the prompt, its spec, its job
with the name of its video, its record, and its place in line; "peak" is the most on the way there.

    python benchmarks/bench_files.py [N ...] [--first-create]

With ``--first-create`` the whole command is run on the emulator that it starts itself, and the
seconds are told from its start to its first task id, and the CPU time of its process until then.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from array import array
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from _held import Desk, Meter, client
from _table import keep, show

from callsheet._catalog import PROVIDERS, check
from callsheet._cli.continuing import find_work, refusal
from callsheet._cli.estimates import estimates_of, summary
from callsheet._cli.inputs import read
from callsheet._cli.matching import match, tasks_of
from callsheet._cli.names import FileNames
from callsheet._cli.plan import entries_of, jobs_of
from callsheet._cli.results import Ending, Results, Row


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from callsheet._cli.plan import Job


COMMON = "A red fox walks through deep snow under tall pines, the camera follows it closely; " * 3
CHINESE = "一只红狐狸穿过松林间的深雪镜头紧紧跟随它" * 25

KINDS = {
    "begin alike": lambda i: f"{COMMON}shot {i}",
    "equal": lambda _: f"{COMMON}shot",
    "case, forbidden characters": lambda i: (
        "".join(
            (char.upper() if i >> place & 1 else char)
            for place, char in enumerate("a red fox, a pine")
        )
        + " ?:*|"[i % 5]
    ),
    "long Chinese": lambda i: f"{CHINESE}{i}",
}
"""How the specs of a file resemble each other: position to prompt."""

FORMATS = [(kind, "txt") for kind in KINDS] + [("begin alike", "csv"), ("begin alike", "jsonl")]

ARK = PROVIDERS["ark"]
FIELDS = {"resolution": "720p", "duration": 5}


def write(path: Path, prompts: Sequence[str]) -> None:
    """Write a file of specs; all but text files set two fields as well."""
    match path.suffix:
        case ".txt":
            path.write_text("".join(f"{prompt}\n" for prompt in prompts), "utf-8")
        case ".jsonl":
            path.write_text("".join(f"{line}\n" for line in json_lines(prompts)), "utf-8")
        case _:
            with path.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(["prompt", *FIELDS])
                table.writerows([prompt, *FIELDS.values()] for prompt in prompts)


def json_lines(prompts: Sequence[str]) -> list[str]:
    """The specs as JSON."""
    return [json.dumps({"prompt": prompt, **FIELDS}, ensure_ascii=False) for prompt in prompts]


class Times(dict[str, float]):
    """Seconds of CPU time by the name of a step."""

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Measure what is done meanwhile."""
        start = time.process_time()
        yield
        self[step] = time.process_time() - start


async def steps(source: Path, folder: Path) -> dict[str, float]:
    """Take one file through everything that grows with it."""
    times = Times()
    with times.of("read"):
        entries, _ = read(source)
    with times.of("check"):
        for entry in entries:
            assert not check(entry.spec, provider=ARK)
    with times.of("names"):
        FileNames([entry.spec.prompt for entry in entries])
    jobs = jobs_of(entries, None)
    with times.of("estimates"):
        summary(source, estimates_of(jobs, "ark"))
    desk = Desk(Meter(), lambda _: "queued")
    path = folder / "journal.db"
    async with give_up(), client(desk, journal=path) as c:
        with times.of("plan"):
            await c.submit_many([job.spec for job in jobs])
        raise GiveUp
    async with give_up(), client(desk, journal=path) as c:
        with times.of("resume"):
            tasks = tasks_of(await c.resume())
        with times.of("match journal"):
            assert len(match(jobs, [], tasks).tasks) == len(jobs)
        raise GiveUp
    put(folder, jobs)
    results = Results(folder)
    with times.of("results"):
        results.read()
    with times.of("match results"):
        earlier = match(jobs, results.rows.values(), [])
        assert len(earlier.rows) == len(jobs)
        assert refusal(jobs, earlier, folder, tasks_live=True) is None
        find_work(jobs, earlier, folder, tasks_live=True)
    lines = json_lines([job.spec.prompt or "" for job in jobs])
    with times.of("json.loads"):
        for line in lines:
            json.loads(line)
    return times


def put(folder: Path, jobs: Sequence[Job]) -> None:
    """Write the rows of a run that was stopped, and their videos were not fetched."""
    with Results(folder) as results:
        for job in jobs:
            row = Row(
                index=job.index,
                spec=job.spec.to_dict(),
                provider="ark",
                task_id=f"cgt-20261122183159-{job.index:07d}",
                status=Ending.INTERRUPTED,
            )
            results.put(row)


class GiveUp(Exception):  # noqa: N818 - nothing is wrong
    """Leaves a client that has more to do."""


@contextlib.asynccontextmanager
async def give_up() -> AsyncIterator[None]:
    """Let `GiveUp` end here."""
    with contextlib.suppress(GiveUp):
        yield


async def memory(source: Path) -> dict[str, float]:
    """Bytes that are held when everything is in line, and the most on the way there."""
    desk = Desk(Meter(), lambda _: "queued")
    found: dict[str, float] = {}
    async with give_up(), client(desk) as c:
        tracemalloc.start()
        entries = await entries_of(source, provider=ARK, defaults={}, limit=None)
        jobs = jobs_of(entries, None)
        del entries
        batch = await c.submit_many([job.spec for job in jobs])
        # What a run keeps of each job beside it, in the place of a handle.
        runner = array("i", range(len(jobs))), bytearray(len(jobs)), bytearray(len(jobs))
        found["held"], found["peak"] = tracemalloc.get_traced_memory()
        prompts = sum(sys.getsizeof(job.spec.prompt) for job in jobs)
        found["held beyond prompts"] = found["held"] - prompts
        assert len(runner[0]) == len(batch) == len(jobs)
        raise GiveUp
    return found


def child(work: str, kind: str, ending: str, n: int) -> None:
    """Measure here, and print."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / f"specs.{ending}"
        write(source, [KINDS[kind](i) for i in range(n)])
        found = (
            anyio.run(memory, source) if work == "memory" else anyio.run(steps, source, Path(name))
        )
    print(json.dumps(found))


def measured(work: str, kind: str, ending: str, n: int) -> dict[str, float]:
    """What a process of its own measures."""
    command = [sys.executable, __file__, "--child", work, kind, ending, str(n)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def first_create(n: int) -> dict[str, object]:
    """Run the command on its own emulator until it has a task id."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "specs.txt"
        write(source, [KINDS["begin alike"](i) for i in range(n)])
        code = "import sys; from callsheet._cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "run", str(source), "--provider", "emulator"]
        start = time.perf_counter()
        with subprocess.Popen(
            [*command, "--out", f"{name}/out", "--json"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "progress" and event["submitted"]:
                    break
            seconds = time.perf_counter() - start
            status = Path(f"/proc/{process.pid}/status").read_text()
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            process.kill()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return {
        "specs": n,
        "first create s": seconds,
        "CPU s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "peak MiB": int(peak) / 1024,
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--child", nargs=4)
    parser.add_argument("--first-create", action="store_true")
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        work, kind, ending, n = options.child
        child(work, kind, ending, int(n))
        return
    tables: dict[str, list[dict[str, object]]] = {}
    for kind, ending in FORMATS:
        rows = tables[f"{kind}, {ending}"] = []
        before: dict[str, float] = {}
        for n in options.specs:
            each = {
                step: 1e6 * seconds / n
                for step, seconds in measured("steps", kind, ending, n).items()
            }
            loads = each.pop("json.loads")
            rows.append({"specs": n, "step": "json.loads", "baseline": True, "us/spec": loads})
            for step, us in each.items():
                growth = us / before[step] if before else None
                rows.append(
                    {"specs": n, "step": step, "baseline": False, "us/spec": us, "growth": growth}
                )
            before = each
        rows[0]["growth"] = None
        show(f"{kind}, {ending}", rows, ratios=["us/spec"])
    held = [
        {"specs": n, "kind": kind, "file": ending}
        | {f"{name} B/spec": size / n for name, size in measured("memory", kind, ending, n).items()}
        for kind, ending in FORMATS
        for n in options.specs
    ]
    show("memory", held)
    creates = [first_create(n) for n in options.specs] if options.first_create else []
    if creates:
        show("first create", creates)
    kept = [{"file": name, **row} for name, rows in tables.items() for row in rows]
    keep("files", [*kept, *held, *creates], really=not options.keep_nothing)


if __name__ == "__main__":
    main()
