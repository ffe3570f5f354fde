"""A journal has one holder, and others get an error that names it."""

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
def _short_timeout(monkeypatch):
    """Do not wait for a holder that is about to close."""
    connect = sqlite3.connect

    def at_once(*args, **options):
        return connect(*args, **{**options, "timeout": 0.01})

    monkeypatch.setattr(sqlite3, "connect", at_once)


def journal(path, **options):
    """A client with a journal, whose requests are never answered."""
    return client(Wire(latency=1e6), journal=path, **options)


async def refusal_of(path, **changes):
    """The error text for a second client."""
    with pytest.raises(ConfigurationError) as caught:
        async with journal(path, **changes):
            pass
    return str(caught.value)


async def test_a_second_client_is_refused_with_the_name_of_the_holder(tmp_path):
    """The error has the path, and the process, host and time of the holder."""
    path = tmp_path / "shoot.db"
    async with journal(path) as first:
        text = await refusal_of(path)
        for word in (str(path), str(os.getpid()), socket.gethostname(), "since 2", "UTC"):
            assert word in text
        assert "another client of this process" in text
        await first.submit_many([TaskSpec("boat")])
    async with journal(path) as again:
        assert len(await again.resume()) == 1


async def test_the_lock_belongs_to_the_file_and_not_to_its_name(tmp_path, monkeypatch):
    """The journal is also in use under any other path to the same file."""
    path = tmp_path / "shoot.db"
    (tmp_path / "link.db").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    async with journal(tmp_path / "link.db"):
        assert "is in use" in await refusal_of(path)
        assert "is in use" in await refusal_of("shoot.db")


async def test_a_refused_client_does_not_end_the_lock(tmp_path):
    """However often others try to open it, the journal stays with its holder."""
    path = tmp_path / "shoot.db"
    async with journal(path) as first:
        for _ in range(3):
            assert "is in use" in await refusal_of(path)
            assert "is in use" in await refusal_of(path, api_key="other")
            await first.submit_many([TaskSpec("boat")])


async def test_a_closed_journal_is_one_file(tmp_path):
    """A closed journal is one file; the other files exist only while it is open."""
    path = tmp_path / "shoot.db"
    async with journal(path) as opened:
        await opened.submit_many([TaskSpec("boat")])
        assert files(tmp_path) == ["shoot.db", "shoot.db-lock", "shoot.db-wal"]
    assert files(tmp_path) == ["shoot.db"]


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "h", "since": 1e30}']
)
async def test_an_unreadable_note_does_not_end_the_lock(tmp_path, note):
    """The note only names the holder; without it the journal is still in use."""
    path = tmp_path / "shoot.db"
    async with journal(path):
        (tmp_path / "shoot.db-lock").write_text(note)
        assert "in use by another process" in await refusal_of(path)


async def test_the_note_of_a_dead_holder_is_no_lock(tmp_path):
    """A note without a holder refuses no client."""
    (tmp_path / "shoot.db-lock").write_text('{"pid": 1, "host": "h", "since": 1}')
    async with journal(tmp_path / "shoot.db"):
        pass
    assert files(tmp_path) == ["shoot.db"]


async def test_a_journal_that_is_being_made_is_in_use(tmp_path):
    """Of two clients that make a journal at the same time, one is refused."""
    path = tmp_path / "shoot.db"
    path.touch()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is in use" in await refusal_of(path)
    async with journal(path):
        pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_killed_holder_has_no_lock(tmp_path, backend):
    """Another process that holds the journal is named, and after a kill it holds nothing."""
    path = tmp_path / "shoot.db"
    holder = started("processes", "hold", str(path))
    with holder:
        assert holder.stdout.readline() == "open\n"
        assert f"process {holder.pid} on" in anyio.run(refusal_of, path, backend=backend)
        holder.kill()
        holder.wait()

        async def follow():
            async with journal(path) as opened:
                assert (await opened.resume()).name == "held"

        anyio.run(follow, backend=backend)
    assert files(tmp_path) == ["shoot.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of another kind")
async def test_a_lock_that_cannot_be_made_is_named(tmp_path):
    """If the note cannot be written, the journal is in use without a name."""
    (tmp_path / "shoot.db-lock").mkdir()
    async with journal(tmp_path / "shoot.db"):
        assert "in use by another process" in await refusal_of(tmp_path / "shoot.db")


async def test_a_refusal_says_how_to_wait(tmp_path):
    """The error of a journal in use names the setting with which a client waits for it."""
    async with journal(tmp_path / "shoot.db"):
        assert "journal_timeout=" in await refusal_of(tmp_path / "shoot.db")


def test_the_next_version_of_a_service_takes_over_when_the_old_one_stops(tmp_path):
    """A process that waits for a journal opens it as soon as its holder closes it."""
    path = tmp_path / "shoot.db"
    with started("processes", "hold_until_told", str(path)) as old:
        assert old.stdout.readline() == "open\n"
        with started("processes", "take_over", str(path)) as new:
            assert new.stdout.readline() == "waiting\n"
            print(file=old.stdin, flush=True)
            assert old.stdout.readline() == "closed\n"
            assert new.stdout.readline() == "held\n"
    assert (old.returncode, new.returncode) == (0, 0)
    assert files(tmp_path) == ["shoot.db"]


async def test_waiting_ends_after_its_time(tmp_path):
    """If the holder does not close the journal in time, the client is refused."""
    async with journal(tmp_path / "shoot.db"):
        begun = anyio.current_time()
        assert "is in use" in await refusal_of(tmp_path / "shoot.db", journal_timeout=30)
        assert 30 <= anyio.current_time() - begun < 31


async def test_waiting_for_a_journal_can_be_cancelled_at_once(tmp_path):
    """A cancelled client stops waiting at once, and has changed nothing."""
    path = tmp_path / "shoot.db"
    async with journal(path) as first:
        before = files(tmp_path)
        begun = anyio.current_time()
        with anyio.move_on_after(10) as scope:
            async with journal(path, journal_timeout=1e6):
                pass
        assert scope.cancelled_caught
        assert anyio.current_time() - begun < 10.2
        assert files(tmp_path) == before
        await first.submit_many([TaskSpec("boat")])
    async with journal(path) as again:
        assert len(await again.resume()) == 1


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5s", None])
def test_a_time_to_wait_that_is_none_is_refused(tmp_path, seconds):
    """The error says what was given and what is wanted."""
    with pytest.raises(ConfigurationError, match=r"journal_timeout is .* number of seconds"):
        journal(tmp_path / "shoot.db", journal_timeout=seconds)
