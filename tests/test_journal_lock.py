"""A journal has one holder, and others get an error that names it."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import stat
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from callsheet import TaskSpec
from callsheet._journal.database_file import LONGEST_PATH
from callsheet._journal.sqlite import VERSION
from callsheet.errors import ConfigurationError, JournalError
from disks import no_file_beyond
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


@pytest.mark.skipif(sys.platform == "win32", reason="links and devices of another kind")
@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
async def test_a_lock_that_cannot_be_made_is_named(tmp_path, kind):
    """Without a lock the journal is not opened or made, and the error names the lock's file."""
    lock, other = tmp_path / "shoot.db-lock", tmp_path / "other"
    match kind:
        case "folder":
            lock.mkdir()
        case "link":
            lock.symlink_to(other)
        case "pipe":
            os.mkfifo(lock)
    assert "shoot.db-lock, the file that locks it" in await refusal_of(tmp_path / "shoot.db")
    assert files(tmp_path) == ["shoot.db-lock"]


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


# The lock holds


def next_line(process):
    """The next line that a process prints, without its end."""
    return process.stdout.readline().rstrip("\n")


def test_reading_the_files_in_the_holder_does_not_end_the_lock(tmp_path):
    """After the holder has read or copied its own files, another process is still refused."""
    path = tmp_path / "shoot.db"
    with started("processes", "read_and_hold", str(path)) as holder:
        assert next_line(holder) == "read"
        assert f"in use by process {holder.pid}" in anyio.run(refusal_of, path)
        print(file=holder.stdin, flush=True)
        assert next_line(holder) == "written"
    assert holder.returncode == 0
    assert files(tmp_path / "copies") == ["shoot.db", "shoot.db-lock", "shoot.db-wal"]


async def test_a_copied_lock_file_locks_nothing(tmp_path):
    """A journal that was copied with its lock file belongs to nobody."""
    copies = tmp_path / "copies"
    copies.mkdir()
    async with journal(tmp_path / "shoot.db") as c:
        await c.submit_many([TaskSpec("boat")])
        for file in tmp_path.glob("shoot.db*"):
            (copies / file.name).write_bytes(file.read_bytes())
    assert files(copies) == ["shoot.db", "shoot.db-lock", "shoot.db-wal"]
    async with journal(copies / "shoot.db") as c:
        assert len(await c.resume()) == 1


async def test_a_file_with_two_names_is_refused(tmp_path):
    """A hard link is refused, because clients by different names would not see each other."""
    path, other = tmp_path / "shoot.db", tmp_path / "other.db"
    async with journal(path) as first:
        await first.submit_many([TaskSpec("boat")])
        other.hardlink_to(path)
        assert "2 names (hard links)" in await refusal_of(other)
        await first.submit_many([TaskSpec("kite")])
    assert "2 names (hard links)" in await refusal_of(path)
    other.unlink()
    async with journal(path) as again:
        assert len(await again.resume()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be renamed")
async def test_the_lock_moves_with_a_renamed_folder(tmp_path):
    """In a renamed folder the journal is still in use, and its holder sends nothing more."""
    (tmp_path / "a").mkdir()
    wire = Wire()

    async def hold():
        async with client(wire, journal=tmp_path / "a" / "shoot.db") as c:
            await c.submit(TaskSpec("boat"))
            await c.prune(before=datetime.now(UTC))  # what is known is on disk
            (tmp_path / "a").rename(tmp_path / "b")
            assert "is in use" in await refusal_of(tmp_path / "b" / "shoot.db")
            with pytest.raises(JournalError, match="deleted or moved"):
                await c.submit(TaskSpec("kite"))
            await c.attach("cgt-1").outcome()

    with pytest.raises(JournalError, match="not on disk"):
        await hold()
    assert wire.prompts == ["boat"]
    async with journal(tmp_path / "b" / "shoot.db") as again:
        (boat,) = await again.resume()
        assert (boat.spec.prompt, boat.task_id) == ("boat", wire.emulator.ledger.tasks[0].id)


@pytest.mark.parametrize("how", ["deleted", "ignored"])
def test_a_holder_that_finds_another_one_sends_nothing_more(tmp_path, how):
    """If the lock is deleted, or the file system ignores it, the first holder stops.

    What the second one writes is not touched, also when the first one closes.
    """
    path = tmp_path / "shoot.db"
    with started("processes", "lose_the_lock", str(path), how) as first:
        assert next_line(first) == "lost"
        with started("processes", "steal", str(path)) as second:
            assert next_line(second) == "boat"
            print(file=first.stdin, flush=True)
            assert f"process {second.pid} on" in next_line(first)
            assert next_line(first) == "sent 1"
            assert first.wait() == 0
            print(file=second.stdin, flush=True)
            assert next_line(second) == "sent 3"
    assert second.returncode == 0
    assert files(tmp_path) == ["shoot.db"]

    async def see():
        async with journal(path) as c:
            assert [handle.spec.prompt for handle in await c.resume()] == ["boat", "one", "two"]

    anyio.run(see)


async def test_each_opener_raises_the_epoch(tmp_path):
    """The database file holds the number of times that it was opened, beside its format."""
    path = tmp_path / "shoot.db"
    epochs = []
    for _ in range(3):
        async with journal(path):
            epochs.append(int.from_bytes(path.read_bytes()[60:64], "big"))
    assert [epoch >> 8 for epoch in epochs] == [1, 2, 3]
    assert {epoch & 0xFF for epoch in epochs} == {VERSION}


async def test_another_epoch_in_the_database_stops_its_holder(tmp_path):
    """A client that opened the same file where its lock file is not seen is noticed, too."""
    path = tmp_path / "shoot.db"
    wire = Wire()
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("boat"))
        await anyio.sleep(1)
        with path.open("r+b") as file:
            file.seek(61)
            file.write(b"\0\7")
        with pytest.raises(JournalError, match="another client has opened"):
            await c.submit(TaskSpec("kite"))
    assert wire.prompts == ["boat"]


# Odd places


NAMES = (
    " ",
    "~",
    ".db",
    "two words.db",
    "-dash.db",
    "file:x.db",
    ":memory:",
    "x?mode=ro&immutable=1.db",
    "100%25#.db",
    "quo'te\".db",
    "*?[a];$HOME.db",
    "back\\slash.db",
    "new\nline\t.db",
    "船 ünï 😀.db",
    "e\u0301.db",
    "\udcff.db",
    "n" * 247,
    "船" * 82,
    "d" * 200 + "/" + "e" * 100,
)


@pytest.mark.skipif(sys.platform == "win32", reason="most of these names are none there")
@pytest.mark.parametrize("name", NAMES)
async def test_any_name_that_a_file_can_have_is_one_for_a_journal(tmp_path, name):
    """Whatever the name is, there is one holder, one file, and what it holds is found again."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    async with journal(path) as first:
        await first.submit_many([TaskSpec("boat")])
        assert "in use by another client of this process" in await refusal_of(path)
    assert files(path.parent) == [path.name]
    async with journal(path) as again:
        assert len(await again.resume()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="lengths of another kind")
@pytest.mark.parametrize("length", [248, 251, 255, 256])
async def test_a_name_that_is_too_long_is_refused_before_a_file_is_made(tmp_path, length):
    """A name to which SQLite cannot add its own endings is refused, and nothing is left."""
    assert "its name is too long" in await refusal_of(tmp_path / ("n" * length))
    assert files(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="lengths of another kind")
async def test_a_path_that_is_too_long_for_sqlite_is_refused_before_a_file_is_made(tmp_path):
    """The longest path works; with one byte more it is named as too long, and nothing is left."""
    folder = tmp_path
    while (left := LONGEST_PATH - len("/nnnn") - len(bytes(folder))) > 0:
        folder /= "d" * min(100, left - 1)
    folder.mkdir(parents=True)
    async with journal(folder / "nnnn"):
        assert "is in use" in await refusal_of(folder / "nnnn")
    assert files(folder) == ["nnnn"]
    assert "its path is too long" in await refusal_of(folder / "nnnnn")
    assert files(folder) == ["nnnn"]


async def test_a_folder_behind_a_link_has_the_same_journal(tmp_path):
    """Through a linked folder, and through a link to a link, the one lock is met."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "again").symlink_to(tmp_path / "link")
    async with journal(tmp_path / "again" / "shoot.db"):
        assert files(tmp_path / "real") == ["shoot.db", "shoot.db-lock", "shoot.db-wal"]
        for folder in ("real", "link", "again", "link/../real"):
            assert "is in use" in await refusal_of(tmp_path / folder / "shoot.db")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
async def test_a_link_that_leads_to_no_file_yet_makes_the_file_that_it_names(tmp_path):
    """A journal is made where its link leads, with its lock beside it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "shoot.db")
    async with journal(tmp_path / "link.db"):
        assert "is in use" in await refusal_of(tmp_path / "real" / "shoot.db")
    assert files(tmp_path) == ["link.db", "real"]
    assert files(tmp_path / "real") == ["shoot.db"]


# Forks


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked")


@forks
@pytest.mark.parametrize("end", ["exit", "_exit", "collect"])
def test_a_forked_child_does_not_touch_the_journal(tmp_path, end):
    """The child cannot write, and however it ends, the parent goes on undisturbed."""
    with started("processes", "fork_a_store", str(tmp_path / "shoot.db"), end) as parent:
        said = parent.stdout.read().split("\n")
    assert said[:3] == ["LostError", "child 0", "log True"]
    assert said[3] == "rows 3"
    assert parent.returncode == 0
    assert files(tmp_path) == ["shoot.db"]


@forks
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_says_that_a_forked_child_cannot_use_it(tmp_path, backend):
    """Submitting and cancelling in a child are errors, and the parent submits on."""
    with started("processes", "fork_a_client", str(tmp_path / "shoot.db"), backend) as parent:
        said = parent.stdout.read().split("\n")
    assert said[0].startswith("ClosedError the client belongs to process")
    assert said[1].startswith("ClosedError journal")
    assert said[2:4] == ["child 0", "boat kite"]
    assert parent.returncode == 0


@forks
def test_a_forked_child_does_not_hold_the_lock(tmp_path):
    """When the holder is killed, its child that lives on does not keep the journal in use."""
    path = tmp_path / "shoot.db"
    with started("processes", "fork_and_wait", str(path)) as parent:
        assert next_line(parent) == "forked"
        assert "is in use" in anyio.run(refusal_of, path)
        parent.kill()
        parent.wait()

        async def follow():
            async with journal(path) as c:
                assert (await c.resume()).name == "held"

        anyio.run(follow)
        parent.stdin.close()  # the child ends


# Permissions


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of another kind")
@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
async def test_files_of_a_journal_are_its_owners_alone(tmp_path, umask):
    """Whatever the umask is, only the owner reads and writes the files that are made."""
    path = tmp_path / "shoot.db"
    before = os.umask(umask)
    try:
        async with journal(path) as c:
            await c.submit_many([TaskSpec("boat")])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert modes == dict.fromkeys(["shoot.db", "shoot.db-lock", "shoot.db-wal"], 0o600)
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of another kind")
async def test_a_file_that_is_there_keeps_its_permissions(tmp_path):
    """The permissions of an existing journal stay, and its log gets the same ones."""
    path = tmp_path / "shoot.db"
    async with journal(path):
        pass
    path.chmod(0o640)
    async with journal(path) as c:
        await c.submit_many([TaskSpec("boat")])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"shoot.db": 0o640, "shoot.db-wal": 0o640, "shoot.db-lock": 0o600}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser becomes another"
)
def test_an_ordinary_user_is_told_what_is_read_only():
    """Own files work; files and folders of another user are named, and no byte is changed."""
    with tempfile.TemporaryDirectory() as name:  # `tmp_path` is closed to other users
        folder = Path(name)
        folder.chmod(0o755)
        for place in ("", "open", "locked"):
            (folder / place).mkdir(exist_ok=True)
            anyio.run(leave_a_journal, folder / place / "shoot.db")
            (folder / place / "shoot.db").chmod(0o644)
        (folder / "open").chmod(0o777)
        (folder / "locked").chmod(0o700)
        before = {path: path.read_bytes() for path in folder.rglob("*.db")}
        with started("processes", "open_as_another_user", name) as process:
            said = process.stdout.read().splitlines()
        assert process.returncode == 0
        assert said[:2] == ["opened", "opened"]
        for place, text in zip(("", "", "open/", "locked/"), said[2:], strict=True):
            assert text.startswith(f"journal {folder}/{place}")
            assert "read-only" in text or "Permission denied" in text
        assert {path: path.read_bytes() for path in before} == before
        assert files(folder) == ["locked", "open", "own", "shoot.db"]
        assert files(folder / "locked") == ["shoot.db"]
        assert files(folder / "open") == ["shoot.db"]


async def leave_a_journal(path):
    """Make a journal that is closed."""
    async with journal(path):
        pass


# Full disks


@pytest.mark.parametrize("room", [0, 50, 200, 4096, 8192, 30_000])
@pytest.mark.parametrize("exists", [False, True])
async def test_a_full_disk_refuses_to_open_and_changes_nothing(tmp_path, room, exists):
    """Opened without room, a journal is refused, keeps all it holds, and can be opened later."""
    path = tmp_path / "shoot.db"
    if exists:
        async with journal(path) as c:
            await c.submit_many([TaskSpec("boat")])
    before = path.read_bytes() if exists else b""
    with no_file_beyond(min(room, 4096) if exists else room):
        assert str(path) in await refusal_of(path)
    assert (path.read_bytes() if path.exists() else b"") == before
    async with journal(path) as c:
        assert len(await c.resume()) == exists
    assert files(tmp_path) == ["shoot.db"]


async def test_a_note_that_is_cut_off_by_a_full_disk_is_no_lock(tmp_path):
    """If the holder's name does not fit whole, the journal is not opened at all."""
    with no_file_beyond(50):
        text = await refusal_of(tmp_path / "shoot.db")
    assert "shoot.db-lock, the file that locks it, cannot be used (No space" in text
    assert files(tmp_path) == ["shoot.db-lock"]
