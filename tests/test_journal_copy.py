"""`Client.backup_journal` copies a journal that is in use."""

from __future__ import annotations

import os
import stat
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import anyio
import anyio.to_thread
import pytest

from callsheet import Client, ClosedError, TaskSpec
from callsheet._journal import sqlite
from callsheet.errors import ConfigurationError, JournalError
from disks import full_disk
from emulation import Wire, client
from processes import files


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


@pytest.fixture
def wire():
    """A provider with room for many tasks, which take long."""
    return Wire(render_seconds=1e5, concurrency=100, queue_limit=100, creates_per_minute=100_000)


def long_specs(count):
    """Specs that fill many steps of a copy."""
    return [TaskSpec(f"boat {n}", extra={"long": "long " * 20_000}) for n in range(count)]


async def test_a_copy_is_a_journal(path, tmp_path, wire):
    """A client goes on from the copy: it knows each id, and sends nothing again."""
    copy = tmp_path / "copy.db"
    async with client(wire, journal=path) as c:
        batch = await c.submit_many([TaskSpec("boat"), TaskSpec("kite")], name="fleet")
        ids = list(await batch.submitted())
        await c.backup_journal(copy)
        assert files(tmp_path) == ["copy.db", "shoot.db", "shoot.db-lock", "shoot.db-wal"]
    async with client(wire, journal=copy) as c:
        again = await c.resume()
        assert again.name == "fleet"
        assert [handle.task_id for handle in again] == ids
    assert len(wire.prompts) == 2
    assert files(tmp_path) == ["copy.db", "shoot.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of another kind")
@pytest.mark.parametrize("umask", [0, 0o777])
async def test_only_the_owner_can_read_a_copy(path, tmp_path, wire, umask):
    """Its permissions do not depend on the umask, nor on those of the journal."""
    async with client(wire, journal=path) as c:
        path.chmod(0o644)
        before = os.umask(umask)
        try:
            await c.backup_journal(tmp_path / "copy.db")
        finally:
            os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "there",
    ["copy.db", "copy.db-wal", "copy.db-journal", "copy.db-shm", "copy.db-lock"],
)
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_a_copy_replaces_nothing(path, tmp_path, wire, there, kind):
    """If the name is taken, or that of a file beside it, nothing is written or changed."""
    target = tmp_path / there
    match kind:
        case "file":
            target.write_text("mine")
        case "folder":
            target.mkdir()
        case "link":
            target.symlink_to(tmp_path / "nowhere")
    async with client(wire, journal=path) as c:
        before = files(tmp_path)
        with pytest.raises(ConfigurationError, match=f"copy .*{there} exists already"):
            await c.backup_journal(tmp_path / "copy.db")
        assert files(tmp_path) == before
        await c.submit(TaskSpec("boat"))
    assert kind != "file" or target.read_text() == "mine"


async def test_a_copy_that_comes_second_replaces_nothing(path, tmp_path, wire, monkeypatch):
    """If the name is taken while the copy is made, that file stays."""
    target = tmp_path / "copy.db"
    made = sqlite.SqliteStore._copy

    def slowly(*args):
        made(*args)
        target.write_text("mine")

    monkeypatch.setattr(sqlite.SqliteStore, "_copy", slowly)
    async with client(wire, journal=path) as c:
        with pytest.raises(ConfigurationError, match=r"copy\.db"):
            await c.backup_journal(target)
    assert files(tmp_path) == ["copy.db", "shoot.db"]
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", ["shoot.db-journal", "shoot.db-shm"])
async def test_a_copy_is_no_file_of_the_journal(path, tmp_path, wire, name):
    """A name that SQLite would read as a part of the journal is refused."""
    async with client(wire, journal=path) as c:
        with pytest.raises(ConfigurationError, match="belongs to journal"):
            await c.backup_journal(tmp_path / name)


async def test_a_copy_needs_a_journal_and_a_folder(path, tmp_path, wire):
    """The error says what is missing, and the client goes on."""
    async with client(wire) as c:
        with pytest.raises(ConfigurationError, match="journal="):
            await c.backup_journal(path)
    async with client(wire, journal=path) as c:
        for wrong in (tmp_path / "no" / "copy.db", "a\0b", "/proc/copy.db"):
            with pytest.raises(ConfigurationError, match="cannot be written"):
                await c.backup_journal(wrong)
        await c.submit(TaskSpec("boat"))


async def test_the_writer_goes_on_while_a_copy_is_made(path, tmp_path, wire, monkeypatch):
    """Notes are written between the steps, and the copy holds them, too."""
    monkeypatch.setattr(sqlite, "PAGES_PER_STEP", 1)
    steps, last = [], None
    pause = time.sleep

    def count(seconds):
        steps.append(seconds)
        pause(seconds)

    monkeypatch.setattr(sqlite, "time", SimpleNamespace(sleep=count))
    async with client(wire, journal=path) as c:
        await c.submit_many(long_specs(4))

        async def copy():
            nonlocal last
            await c.backup_journal(tmp_path / "copy.db")
            last = len(steps)

        async with anyio.create_task_group() as both:
            both.start_soon(copy)
            while not steps:
                await anyio.to_thread.run_sync(pause, 0.001)
            await c.submit_many([TaskSpec("meanwhile")])
            between = len(steps)
    assert 0 < between < last
    async with client(wire, journal=tmp_path / "copy.db") as c:
        prompts = [handle.spec.prompt for handle in await c.resume()]
    assert prompts == ["boat 0", "boat 1", "boat 2", "boat 3", "meanwhile"]


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_copy_that_is_stopped_leaves_nothing(path, tmp_path, wire, monkeypatch, how):
    """Cancelling it, or leaving the client, ends it after a step, and no file stays."""
    monkeypatch.setattr(sqlite, "PAGES_PER_STEP", 1)
    said = []

    async def copy(c, scope):
        with scope:
            try:
                await c.backup_journal(tmp_path / "copy.db")
            except ClosedError as error:
                said.append(str(error))

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        async with client(wire, journal=path) as c:
            await c.submit_many(long_specs(40))
            await anyio.sleep(1)
            tasks.start_soon(copy, c, scope)
            while not any(name.endswith(".part") for name in files(tmp_path)):
                await anyio.to_thread.run_sync(time.sleep, 0.001)
            if how == "cancelled":
                scope.cancel()
                await c.submit(TaskSpec("boat"))
        assert files(tmp_path) == ["shoot.db"]
    assert ["closed before" in words for words in said] == [True] * (how == "closed")


async def test_a_copy_that_finds_no_room_leaves_nothing(path, tmp_path, wire):
    """On a full disk there is no copy, and the client goes on when there is room."""
    async with client(wire, journal=path) as c:
        await c.submit_many(long_specs(4))
        await anyio.sleep(1)
    async with client(wire, journal=path) as c:
        await c.prune(before=datetime.fromtimestamp(0, UTC))  # writes nothing
        with full_disk(path, room=50_000), pytest.raises(JournalError, match="cannot be copied"):
            await c.backup_journal(tmp_path / "copy.db")
        assert files(tmp_path) == ["shoot.db", "shoot.db-lock", "shoot.db-wal"]
        await c.submit(TaskSpec("boat"))
        await c.backup_journal(tmp_path / "copy.db")
    async with client(wire, journal=tmp_path / "copy.db") as c:
        assert len(await c.resume()) == 5


async def test_a_closed_client_copies_nothing(path, tmp_path, wire):
    """After the client is left, there is a clear error and no file."""
    async with client(wire, journal=path) as c:
        pass
    assert isinstance(c, Client)
    with pytest.raises(ClosedError):
        await c.backup_journal(tmp_path / "copy.db")
    assert files(tmp_path) == ["shoot.db"]
