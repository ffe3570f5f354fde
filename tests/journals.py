"""Journals for tests, and processes that write into them."""

from __future__ import annotations

import json
import os
import sys

import anyio

from callsheet import TaskSpec
from callsheet._journal.journal import Journal
from callsheet._wire.messages import Response
from callsheet._wire.snapshots import parse_snapshot
from processes import say


BASE_URL = "https://ark.test/api/v3"


def journal(path, **changes):
    """A journal of one account; *changes* make it another account's."""
    account = {"provider": "ark", "base_url": BASE_URL, "fingerprint": "3f1c", **changes}
    return Journal(path, **account)


def answer(task_id="cgt-1", status="succeeded", **fields):
    """A status answer, read from the wire."""
    row = {"id": task_id, "status": status, "model": "m", "updated_at": 1_700_000_000, **fields}
    if status == "succeeded":
        row["content"] = {"video_url": f"https://videos.test/{task_id}.mp4?sign=ü"}
    return parse_snapshot(Response(status_code=200, body=json.dumps(row).encode()))


def entries_of(path, backend="asyncio"):
    """Open a journal in a new event loop and read its entries."""

    async def read():
        async with journal(path) as opened:
            return await opened.entries()

    return anyio.run(read, backend=backend)


async def write_on(path):
    """Write like a client, in three tasks at once; print each step once it is on disk."""
    async with journal(path) as opened, anyio.create_task_group() as writers:
        say("open")
        for writer in range(3):
            writers.start_soon(write_one_after_another, opened, writer)


async def write_one_after_another(opened, writer):
    """Write one video task after the other, from its plan to its end."""
    for number in range(10_000):
        name = f"{os.getpid()}-{writer}-{number}"
        (row,) = await opened.plan([TaskSpec(name)])
        say("planned", row, name)
        await opened.sending(row, f"token-{name}", at=1.0)
        say("sent", row, name)
        opened.created(row, f"cgt-{name}")
        opened.settled(row, answer(f"cgt-{name}"))
        await opened.flush()
        say("ended", row, name)


def serve():
    """Read paths from standard input; write to each journal in a new process."""
    for path in sys.stdin:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            say("over")
        else:
            say("pid", os.getpid())
            anyio.run(write_on, path.strip())
