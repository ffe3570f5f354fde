"""A client that makes a hundred videos, in processes that a test kills.

For each line of JSON on standard input it starts a process that continues one journal and prints
what happens.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial

import anyio

from callsheet import Client, Limits, Polling, Provider, RetryPolicy, TaskSpec
from callsheet.events import Event, TaskSubmitted


COUNT = 100


def say(*words: object) -> None:
    """Print a line for the process that started this one, in a single write."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def report_id(event: Event) -> None:
    """Print each id as soon as it is known."""
    if isinstance(event, TaskSubmitted):
        say("id", event.index, event.task_id)


async def shoot(
    *,
    journal: str,
    base_url: str,
    key: str,
    speed: float,
    lookup: float,
    prompts: list[str] | None = None,
    skew: float = 0.0,
) -> None:
    """Continue a journal until every spec has its outcome.

    Args:
        journal: Its path.
        base_url: The provider's address.
        key: The API key.
        speed: How much faster than life the provider runs.
        lookup: Seconds for which a lost create is looked for.
        prompts: The prompts; each ends with its number. By default there are a hundred boats.
        skew: How many seconds the wall clock of this process is fast.
    """
    true_time = time.time
    time.time = lambda: true_time() + skew
    provider = Provider(
        name="emulator",
        base_url=base_url,
        default_model="doubao-seedance-1-5-pro-251215",
        limits=Limits(creates_per_minute=6000),
        lists=True,
        token=True,
        speed=speed,
    )
    async with Client(
        api_key=key,
        provider=provider,
        journal=journal,
        polling=Polling(delay=10.0),
        retry=RetryPolicy(lookup=lookup, timeout=2.0),
        observer=report_id,
    ) as client:
        say("open")
        batch = await client.resume()
        if len(batch) == 0:
            prompts = prompts or [f"boat {i}" for i in range(COUNT)]
            batch = await client.submit_many(TaskSpec(prompt) for prompt in prompts)
        async for outcome in batch.as_completed():
            say("video" if outcome.ok else f"error {outcome.error!r}", outcome.index)
        for handle in batch:
            say("end", handle.spec.prompt.split()[-1], handle.task_id)
        say("spent", client.spend.spent.tasks, client.spend.spent.tokens)
        say("left", client.spend.reserved.tasks + client.spend.uncertain.tasks)


def serve() -> None:
    """Start a process for each line."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            say("pid", os.getpid())
            anyio.run(partial(shoot, **json.loads(line)))
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        say("over", status)


if __name__ == "__main__":
    serve()
