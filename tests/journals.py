"""Journals for tests, and processes that write into them."""

from __future__ import annotations

import json
import os
import sys

import anyio

from callsheet import TaskSpec
from callsheet._journal.journal import Journal
from callsheet._journal.notes import AnswerNote, AttemptNote, TaskNote
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


async def entries(opened):
    """All entries of an open journal."""
    return [entry async for page in opened.pages() for entry in page]


async def plan(opened, specs, *, name=None):
    """Plan specs as one batch; return their rows."""
    made = opened.new_plan(specs, name=name)
    await opened.write_first([made])
    return made.rows


async def attempt(opened, row, token, *, at=1.0, n=1, tries=1):
    """Note that a create is about to be sent."""
    await opened.write_first([AttemptNote(row, n, token, at=at, tries=tries)])


def entries_of(path, backend="asyncio"):
    """Open a journal in a new event loop and read its entries."""

    async def read():
        async with journal(path) as opened:
            return await entries(opened)

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
        (row,) = await plan(opened, [TaskSpec(name)])
        say("planned", row, name)
        await attempt(opened, row, f"token-{name}")
        say("sent", row, name)
        opened.write([TaskNote(row, 1, f"cgt-{name}")])
        opened.write([AnswerNote(row, answer(f"cgt-{name}"), 1.0)])
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
