"""Other processes that use a journal."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread

from callsheet import (
    CallsheetError,
    Client,
    ConfigurationError,
    JournalError,
    Limits,
    Provider,
    TaskSpec,
)
from callsheet._journal import lock_file
from callsheet._journal.identity import Identity
from callsheet._journal.sqlite import LostError, SqliteStore
from emulation import Wire, client


if sys.platform != "win32":
    import fcntl


ORDINARY_USER = 54_321
"""The number of a user who owns nothing."""


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


def read_and_hold(path):
    """Hold a journal, read all its files and copy them, and write into it when told."""
    copies = Path(path).parent / "copies"

    async def serve():
        async with client(Wire(), journal=path) as c:
            await c.submit_many([TaskSpec("boat")], name="held")
            copies.mkdir()
            for file in Path(path).parent.glob("shoot.db*"):
                (copies / file.name).write_bytes(file.read_bytes())
            say("read")
            await anyio.to_thread.run_sync(sys.stdin.readline)
            await c.submit_many([TaskSpec("kite")])
            say("written")

    anyio.run(serve)


def lose_the_lock(path, how):
    """Hold a journal whose locks are gone, and try to send when told."""
    wire = Wire(render_seconds=1e6)

    async def serve():
        async with client(wire, journal=path) as c:
            await c.submit(TaskSpec("boat"))
            await c.prune(before=datetime.now())  # noqa: DTZ005 - the id is on disk now
            Path(path).read_bytes()  # noqa: ASYNC240 - ends SQLite's own lock
            if how == "deleted":
                Path(f"{path}-lock").unlink()  # noqa: ASYNC240 - nothing else runs
            say("lost")
            await anyio.to_thread.run_sync(sys.stdin.readline)
            try:
                await c.submit(TaskSpec("kite"))
            except JournalError as error:
                say(error)
        say("sent", len(wire.prompts))

    anyio.run(serve)


def steal(path):
    """Open a journal as on a file system without locks, and write into it twice."""
    lock_file._lock = lambda _descriptor: True
    wire = Wire(render_seconds=1e6)

    async def serve():
        async with client(wire) as other:  # the first id of an emulator is that of the other one
            await other.submit(TaskSpec("zero"))
        async with client(wire, journal=path) as c:
            say(*[handle.spec.prompt for handle in await c.resume()])
            await c.submit(TaskSpec("one"))
            await anyio.to_thread.run_sync(sys.stdin.readline)
            await c.submit(TaskSpec("two"))
        say("sent", len(wire.prompts))

    anyio.run(serve)


def fork_a_store(path, end):
    """Fork while a file is open; the child tries to use it and ends."""
    store = SqliteStore(Path(path))
    store.open(Identity(provider="ark", base_url="http://a.test", fingerprint="f"))
    store.write([], [(1, "attempt", 1, '["t",1]', 1.0)])
    child = os.fork()
    if not child:
        try:
            store.write([], [(2, "attempt", 1, '["t",1]', 1.0)])
        except LostError:
            say("LostError")
        store.close()
        del store
        if end == "_exit":
            os._exit(0)
        if end == "collect":
            gc.collect()
        sys.exit(0)
    say("child", os.waitpid(child, 0)[1])
    say("log", Path(f"{path}-wal").exists())
    store.write([], [(2, "attempt", 1, '["t",1]', 1.0)])
    store.close()
    store = SqliteStore(Path(path))
    store.open(Identity(provider="ark", base_url="http://a.test", fingerprint="f"))
    say("rows", store.rows)
    store.close()


def fork_a_client(path, backend):
    """Fork while a client is open; the child tries to use it."""
    wire = Wire(render_seconds=1e6)

    def in_child(c, handle):
        for use in (lambda: c.submit(TaskSpec("child")), handle.cancel):
            try:
                anyio.run(use, backend=backend)
            except CallsheetError as error:
                say(type(error).__name__, error)

    async def serve():
        async with client(wire, journal=path) as c:
            await c.submit(TaskSpec("boat"))
            batch = await c.submit_many([TaskSpec("kite")])
            child = os.fork()
            if not child:
                thread = threading.Thread(target=in_child, args=(c, batch[0]))
                thread.start()
                thread.join(30)
                os._exit(thread.is_alive())
            say("child", os.waitpid(child, 0)[1])  # noqa: ASYNC222 - nothing else runs
            await batch.submitted()
        say(*wire.prompts)

    anyio.run(serve, backend=backend)


def fork_and_wait(path):
    """Hold a journal with a child that lives on until standard input closes."""

    async def serve():
        async with client(Wire(), journal=path) as c:
            await c.submit_many([TaskSpec("boat")], name="held")
            if not os.fork():
                sys.stdin.read()
                os._exit(0)
            say("forked")
            await anyio.sleep_forever()

    anyio.run(serve)


def contend(path, witness, base_url, count):
    """Wait for a journal like many others do, and make its videos; say when it is held.

    The holder also locks another file, which the operating system frees when it is killed.
    """
    # Opened before the journal, so that of a killed process it is closed before the journal's lock.
    descriptor = os.open(witness, os.O_RDWR | os.O_CREAT)
    provider = Provider(
        name="emulator",
        base_url=base_url,
        default_model="doubao-seedance-1-5-pro-251215",
        limits=Limits(creates_per_minute=600),
        lists=True,
        token=True,
        speed=60.0,
    )

    async def serve():
        async with Client(
            api_key="key", provider=provider, journal=path, journal_timeout=60_000
        ) as c:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("held by another one, too")
            say("held")
            batch = await c.resume()
            if not batch:
                batch = await c.submit_many(TaskSpec(f"boat {n}") for n in range(int(count)))
            result = await batch.result()
            say("done", len(result.urls()))
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    anyio.run(serve)


def open_as_another_user(folder):
    """Open journals in a folder that another user owns, and say what each error is.

    What a client imports late is imported before: the other user may not read those files.
    """
    own = Path(folder) / "own"
    own.mkdir()

    async def opened(path):
        try:
            async with client(Wire(latency=1e6), journal=path) as c:
                await c.submit_many([TaskSpec("boat")])
        except ConfigurationError as error:
            say(error)
        else:
            say("opened")

    anyio.run(opened, own / "shoot.db")
    os.chown(own, ORDINARY_USER, ORDINARY_USER)
    os.chown(own / "shoot.db", ORDINARY_USER, ORDINARY_USER)
    os.setgroups([])
    os.setgid(ORDINARY_USER)
    os.setuid(ORDINARY_USER)
    for name in ("own/shoot.db", "shoot.db", "other.db", "open/shoot.db", "locked/shoot.db"):
        anyio.run(opened, Path(folder) / name)


def cancel_and_wait(path, what):
    """Cancel specs that cannot be sent yet, and wait to be killed as soon as that has returned."""
    wire = Wire(concurrency=1, queue_limit=1, render_seconds=1e6)

    async def serve():
        async with client(wire, journal=path) as c:
            batch = await c.submit_many([TaskSpec(f"boat {n}") for n in range(40)])
            if what == "batch":
                await batch.cancel()
            else:
                for handle in batch[5:]:
                    await handle.cancel()
            os.kill(os.getpid(), signal.SIGKILL)

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
