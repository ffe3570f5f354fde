"""What users would write with other packages, and one client of ours, each in its own process."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
from _loopback import MODEL

from callsheet import Client, Limits, Polling, Provider, TaskSpec


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


LOOP = 3.0
"""Seconds between two polls of one task, as in the samples of the Ark SDK."""

FREE = 1_000_000

PACKAGES = ("volcengine-ark-runtime", "openai", "fal-client", "httpx2")
"""Packages whose versions are written with the results."""

DEFAULT = "httpx, a loop each"
ARK = "Ark SDK, a loop each"
OPENAI = "openai create_and_poll"
FAL = "fal subscribe"
OURS = "callsheet"


@attrs.define
class Notes:
    """What a variant's caller learned: when the end of each task was known, and what was raised."""

    learned: dict[str, float] = attrs.field(factory=dict)
    raised: Counter[str] = attrs.field(factory=Counter)


async def each(n: int, notes: Notes, one: Callable[[int], Awaitable[str]]) -> None:
    """Run *one* for all prompts at once; it returns the id of the task that succeeded."""

    async def noted(number: int) -> None:
        try:
            task_id = await one(number)
        except Exception as error:  # noqa: BLE001 - what a package raises is a result
            notes.raised[type(error).__name__] += 1
        else:
            notes.learned[task_id] = time.time()

    await asyncio.gather(*(noted(number) for number in range(n)))


async def plain_httpx(origin: str, n: int, notes: Notes, **options: Any) -> None:
    """One get-and-sleep loop per task, with one `httpx` client."""
    path = "/contents/generations/tasks"
    async with httpx.AsyncClient(base_url=f"{origin}/api/v3", **options) as http:

        async def one(number: int) -> str:
            body = {"model": MODEL, "content": [{"type": "text", "text": f"boat {number}"}]}
            answer = await http.post(path, json=body)
            task_id: str = answer.raise_for_status().json()["id"]
            while True:
                answer = await http.get(f"{path}/{task_id}")
                if answer.raise_for_status().json()["status"] == "succeeded":
                    return task_id
                await asyncio.sleep(LOOP)

        await each(n, notes, one)


async def ark_sdk(origin: str, n: int, notes: Notes) -> None:
    """The loop from the samples of ``volcengine-ark-runtime``, one per task."""
    from volcenginesdkarkruntime import AsyncArk  # noqa: PLC0415 - one peer per process

    client = AsyncArk(api_key="x", base_url=f"{origin}/api/v3")
    tasks = client.content_generation.tasks

    async def one(number: int) -> str:
        content = [{"type": "text", "text": f"boat {number}"}]
        made = await tasks.create(model=MODEL, content=content)
        while True:
            seen = await tasks.get(task_id=made.id)
            if seen.status == "succeeded":
                return made.id
            await asyncio.sleep(LOOP)

    await each(n, notes, one)


async def openai_videos(origin: str, n: int, notes: Notes, **options: Any) -> None:
    """``create_and_poll`` of ``openai``, one per task."""
    from openai import AsyncOpenAI  # noqa: PLC0415 - one peer per process

    async with AsyncOpenAI(api_key="x", base_url=f"{origin}/v1") as client:

        async def one(number: int) -> str:
            made = await client.videos.create_and_poll(prompt=f"boat {number}", **options)
            return made.id

        await each(n, notes, one)


async def fal_queue(origin: str, n: int, notes: Notes, **options: Any) -> None:
    """``subscribe`` of ``fal-client``, one per task; only the address is changed, to plain HTTP."""
    import fal_client  # noqa: PLC0415 - one peer per process

    fal_client.client.QUEUE_URL_FORMAT = f"{origin}/"
    client = fal_client.AsyncClient(key="x")

    async def one(number: int) -> str:
        made = await client.subscribe("peers/video", {"prompt": f"boat {number}"}, **options)
        return str(made["id"])

    await each(n, notes, one)


async def one_client(origin: str, n: int, notes: Notes, delay: float = 5.0) -> None:
    """One callsheet client with default settings, except that it has no quota of creates."""
    provider = Provider(
        name="bench",
        base_url=f"{origin}/api/v3",
        default_model=MODEL,
        lists=True,
        token=True,
        limits=Limits(creates_per_minute=FREE, gets_per_second=20, lists_per_second=1),
    )
    async with Client(provider=provider, polling=Polling(delay=delay)) as client:
        batch = await client.submit_many(TaskSpec(f"boat {number}") for number in range(n))
        async for outcome in batch.as_completed():
            if outcome.ok and outcome.task_id is not None:
                notes.learned[outcome.task_id] = time.time()
            else:
                notes.raised[type(outcome.error).__name__] += 1


VARIANTS: dict[str, Callable[[str, int, Notes], Awaitable[None]]] = {
    ARK: ark_sdk,
    OPENAI: openai_videos,
    f"{OPENAI}, every {LOOP:g} s": partial(openai_videos, poll_interval_ms=int(1000 * LOOP)),
    FAL: fal_queue,
    f"{FAL}, every {LOOP:g} s": partial(fal_queue, interval=LOOP),
    DEFAULT: plain_httpx,
    f"{DEFAULT}, no timeouts": partial(plain_httpx, timeout=None),
    f"{DEFAULT}, no timeouts, no limits": partial(
        plain_httpx, timeout=None, limits=httpx.Limits(max_connections=None)
    ),
    OURS: one_client,
    f"{OURS}, delay=2": partial(one_client, delay=2.0),
    f"{OURS}, delay=1": partial(one_client, delay=1.0),
}


async def child(variant: str, origin: str, n: int, patience: float) -> None:
    """Run one variant here, for at most *patience* seconds, and print its cost and its results."""
    notes = Notes()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.time()
    try:
        async with asyncio.timeout(patience):
            await VARIANTS[variant](origin, n, notes)
    except TimeoutError:
        pass
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"wall": time.time() - start, "cpu": cpu, "peak": after.ru_maxrss}
    print(json.dumps(found | attrs.asdict(notes)), flush=True)


async def run(variant: str, origin: str, n: int, patience: float) -> dict[str, Any]:
    """Run one variant in its own process, and return what it printed."""
    command = [sys.executable, __file__, variant, origin, str(n), str(patience)]
    done = await anyio.run_process(command, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    asyncio.run(child(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
