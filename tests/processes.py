"""Other processes that use a journal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread

from callsheet import TaskSpec
from emulation import Wire, client


def files(folder):
    """The names of all files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def hold(path):
    """Open a journal as a client does, write into it, and never close it."""

    async def forever():
        async with client(Wire(), journal=path) as c:
            await c.submit_many([TaskSpec("boat")], name="held")
            say("open")
            await anyio.sleep_forever()

    anyio.run(forever)


def hold_until_told(path):
    """Hold a journal like a service that is stopped by a deploy: until a line comes."""

    async def serve():
        async with client(Wire(), journal=path) as c:
            await c.submit_many([TaskSpec("boat")], name="held")
            say("open")
            await anyio.to_thread.run_sync(sys.stdin.readline)
        say("closed")

    anyio.run(serve)


def take_over(path):
    """Wait for a journal like the next version of a service, and continue from it."""

    async def serve():
        say("waiting")
        async with client(Wire(), journal=path, journal_timeout=60) as c:
            say((await c.resume()).name)

    anyio.run(serve)


def say(*words):
    """Print a line for the process that started this one."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def started(module, function, *arguments):
    """Start a process that calls a function of a module in this folder."""
    code = f"import {module}; {module}.{function}(*{arguments!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
