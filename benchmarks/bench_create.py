"""What a task costs the client beside the bare post that it cannot do without.

1000 creates, answers after 30 ms, renders of 20 s that all run at once, at a lean provider in a
process of its own, over loopback HTTP. The baselines send the same bodies over one
`httpx.AsyncClient`, or one `aiohttp.ClientSession`, from as many workers as the client has
connections; they read the ids and watch nothing. The client creates the tasks and waits for all of
them. Each variant runs in a process of its own, in turn; the medians are told. CPU time is that of
the client's process from before the connections are opened until after they are closed, without
imports. It holds the reading of the certificates once in each variant.

Run it in an environment that holds what a user's holds: only `callsheet`, and then
`callsheet[fast]`. `httpcore` imports `sniffio` four times in every request. The extra `fast` and
trio install it; in the core install each of these imports fails, which takes time.

    nox -s user -- bench_create.py [N] [--repeats R]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import statistics
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
import httpx
from _loopback import MODEL, Settings, serving
from _table import keep, show

from callsheet import Client, Limits, Provider, TaskSpec


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


RENDER = 20.0
FREE = 1_000_000
PATH = "/api/v3/contents/generations/tasks"
KEY = "k" * 40

Cost = dict[str, float]


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def body_of(number: int) -> bytes:
    """A create, as short as the client writes it."""
    body = {"model": MODEL, "content": [{"type": "text", "text": f"boat {number}"}]}
    return json.dumps(body).encode()


async def every(one: Callable[[int], Awaitable[str]], n: int) -> None:
    """All posts, from as many workers as the client has connections."""
    numbers = iter(range(n))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(Limits().connections)))


async def posts_by_httpx(origin: str, n: int) -> Cost:
    """The posts alone."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(headers=headers) as http:

        async def one(number: int) -> str:
            answer = await http.post(origin + PATH, content=body_of(number))
            task_id: str = answer.raise_for_status().json()["id"]
            return task_id

        await every(one, n)
    return {}


async def posts_by_aiohttp(origin: str, n: int) -> Cost:
    """The same over aiohttp."""
    import aiohttp  # noqa: PLC0415 - an extra

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    # All others read the certificates when their client is opened. aiohttp reads them when it is
    # imported, which is not counted, so here they are read once more.
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(
        headers=headers, raise_for_status=True, connector=connector
    ) as http:

        async def one(number: int) -> str:
            async with http.post(origin + PATH, data=body_of(number)) as answer:
                task_id: str = (await answer.json())["id"]
                return task_id

        await every(one, n)
    return {}


async def callsheet(origin: str, n: int, *, transport: str | None) -> Cost:
    """All tasks from spec to outcome, with default settings but for the lifted quota of creates."""
    provider = Provider(
        name="bench",
        base_url=f"{origin}/api/v3",
        default_model=MODEL,
        lists=True,
        token=True,
        limits=Limits(
            creates_per_minute=FREE, gets_per_second=20, lists_per_second=1, cancels_per_second=20
        ),
    )
    begun = cpu()
    async with Client(provider=provider, api_key=KEY, transport=transport) as client:  # type: ignore[arg-type]
        batch = await client.submit_many(TaskSpec(f"boat {number}") for number in range(n))
        await batch.submitted()
        created = cpu()
        assert len((await batch.result()).urls()) == n
    return {"ms a create": 1000 * (created - begun) / n, "ms an end": 1000 * (cpu() - created) / n}


VARIANTS: dict[str, tuple[Callable[[str, int], Awaitable[Cost]], tuple[str, ...]]] = {
    "bare httpx posts": (posts_by_httpx, ()),
    "callsheet": (partial(callsheet, transport=None), ()),
    "bare aiohttp posts": (posts_by_aiohttp, ("aiohttp",)),
    'callsheet, "aiohttp"': (partial(callsheet, transport="aiohttp"), ("aiohttp",)),
}
"""Each baseline before what is measured against it, with what it needs installed."""


def child(variant: str, origin: str, n: int) -> None:
    """Do one run here and print what it cost."""
    run, packages = VARIANTS[variant]
    for package in ("callsheet._runtime.engine", *packages):
        import_module(package)

    async def counted() -> Cost:
        begun = cpu()
        parts = await run(origin, n)
        return {"CPU s": cpu() - begun, **parts}

    print(json.dumps(asyncio.run(counted())))


async def measure(variant: str, n: int) -> Cost:
    """One run against a provider of its own."""
    async with serving(Settings(shortest=RENDER, longest=RENDER)) as origin:
        command = [sys.executable, __file__, str(n), "--child", variant, origin]
        done = await anyio.run_process(command, stderr=None)
    cost: Cost = json.loads(done.stdout)
    return cost


def rows_of(n: int, repeats: int) -> list[dict[str, object]]:
    """The variants that can run here, in turn; medians."""
    names = [name for name, (_, needs) in VARIANTS.items() if all(map(find_spec, needs))]
    runs: dict[str, list[Cost]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, done in runs.items():
            done.append(anyio.run(measure, name, n))
    rows: list[dict[str, object]] = []
    base = 1.0
    for name, done in runs.items():
        middle = {key: statistics.median(run[key] for run in done) for key in done[0]}
        if name.startswith("bare"):
            base = middle["CPU s"]
        rows.append(
            {
                "tasks": n,
                "variant": name,
                "baseline": name.startswith("bare"),
                "CPU s": middle["CPU s"],
                "of the bare posts": middle["CPU s"] / base,
                "ms a create": middle.get("ms a create"),
                "ms an end": middle.get("ms an end"),
            }
        )
    return rows


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="?", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.child:
        child(*options.child, options.tasks)
        return
    foreign = [name for name in ("trio", "sniffio") if find_spec(name)]
    print(f"here is {' and '.join(foreign) or 'neither trio nor sniffio'}", file=sys.stderr)
    rows = rows_of(options.tasks, options.repeats)
    show("what a task costs beside the bare post", rows)
    packages = ["aiohttp"] if find_spec("aiohttp") else []
    name = "create-fast" if packages else "create"
    keep(name, rows, packages=[*packages, "httpcore"], really=not options.keep_nothing)


if __name__ == "__main__":
    main()
