"""A journal has one holder: others get an error that names it, and its lease ends with it."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import sys

import anyio
import pytest

from callsheet import TaskSpec
from callsheet.errors import ConfigurationError
from emulation import Wire, client
from processes import files, started


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    """Nobody waits for a holder that is about to close."""
    connect = sqlite3.connect

    def at_once(*args, **options):
        return connect(*args, **{**options, "timeout": 0.01})

    monkeypatch.setattr(sqlite3, "connect", at_once)


def journal(path, **options):
    """A client that keeps a journal, and of which nothing is ever answered."""
    return client(Wire(latency=1e6), journal=path, **options)


async def refused(path, **changes):
    """What a second one is told."""
    with pytest.raises(ConfigurationError) as caught:
        async with journal(path, **changes):
            pass
    return str(caught.value)


async def test_a_second_client_is_refused_and_told_who_has_it(tmp_path):
    """Whoever opens a held journal gets its path, and process, host and time of the holder."""
    path = tmp_path / "shoot.db"
    async with journal(path) as first:
        text = await refused(path)
        for word in (str(path), str(os.getpid()), socket.gethostname(), "since 2", "UTC"):
            assert word in text
        assert "another client of this process" in text
        await first.submit_many([TaskSpec("boat")])
    async with journal(path) as again:
        assert len(await again.resume()) == 1


async def test_the_lease_is_of_the_file_not_of_its_name(tmp_path, monkeypatch):
    """Another way to the same file finds it held."""
    path = tmp_path / "shoot.db"
    (tmp_path / "link.db").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    async with journal(tmp_path / "link.db"):
        assert "is in use" in await refused(path)
        assert "is in use" in await refused("shoot.db")


async def test_who_is_refused_does_not_end_the_lease(tmp_path):
    """However often others try, the journal stays with its holder."""
    path = tmp_path / "shoot.db"
    async with journal(path) as first:
        for _ in range(3):
            assert "is in use" in await refused(path)
            assert "is in use" in await refused(path, api_key="other")
            await first.submit_many([TaskSpec("boat")])


async def test_nothing_but_the_journal_is_left_behind(tmp_path):
    """A journal that was closed is one file; while it is open, its helpers stand beside it."""
    path = tmp_path / "shoot.db"
    async with journal(path) as opened:
        await opened.submit_many([TaskSpec("boat")])
        assert files(tmp_path) == ["shoot.db", "shoot.db-lease", "shoot.db-wal"]
    assert files(tmp_path) == ["shoot.db"]


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "h", "since": 1e30}']
)
async def test_a_note_that_says_nothing_takes_no_lease_away(tmp_path, note):
    """The note only names the holder: without it, the journal is held all the same."""
    path = tmp_path / "shoot.db"
    async with journal(path):
        (tmp_path / "shoot.db-lease").write_text(note)
        assert "in use by another process" in await refused(path)


async def test_the_note_of_a_dead_holder_holds_nothing(tmp_path):
    """A note alone keeps nobody out."""
    (tmp_path / "shoot.db-lease").write_text('{"pid": 1, "host": "h", "since": 1}')
    async with journal(tmp_path / "shoot.db"):
        pass
    assert files(tmp_path) == ["shoot.db"]


async def test_one_that_is_being_made_is_held_already(tmp_path):
    """Of two that begin a journal at the same moment, one is refused."""
    path = tmp_path / "shoot.db"
    path.touch()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is in use" in await refused(path)
    async with journal(path):
        pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_killed_holder_is_followed_at_once(tmp_path, backend):
    """Another process that holds the journal is named; killed with -9, it holds nothing."""
    path = tmp_path / "shoot.db"
    holder = started("processes", "hold", str(path))
    with holder:
        assert holder.stdout.readline() == "open\n"
        assert f"process {holder.pid} on" in anyio.run(refused, path, backend=backend)
        holder.kill()
        holder.wait()

        async def follow():
            async with journal(path) as opened:
                assert (await opened.resume()).name == "held"

        anyio.run(follow, backend=backend)
    assert files(tmp_path) == ["shoot.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of another kind")
async def test_a_lease_that_cannot_be_signed_is_a_lease(tmp_path):
    """Where the note cannot be written the journal is held without a name."""
    (tmp_path / "shoot.db-lease").mkdir()
    async with journal(tmp_path / "shoot.db"):
        assert "in use by another process" in await refused(tmp_path / "shoot.db")
