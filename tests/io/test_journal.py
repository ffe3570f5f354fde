"""What was wanted, what left and what came of it outlives the process."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sqlite3
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from callsheet import AudioRef, Image, Status, TaskSpec, VideoRef
from callsheet._io import entry as notes
from callsheet._io.journal_file import VERSION
from callsheet.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    JournalError,
    NotSubmittedError,
    SpecError,
    SubmissionUncertainError,
)
from journals import BASE_URL, answer, entries_of, files, journal, started


BOATS = [TaskSpec(f"boat {i}") for i in range(5)]


@pytest.fixture
def path(tmp_path):
    """Where a journal is to be."""
    return tmp_path / "shoot.db"


def sealed(path):
    """All that can be seen of a file."""
    found = path.stat()
    return path.read_bytes(), found.st_size, found.st_mtime_ns


async def told(path, **changes):
    """The words with which a journal is refused, its path among them."""
    with pytest.raises(ConfigurationError) as caught:
        async with journal(path, **changes):
            pass
    assert str(path) in str(caught.value)
    return str(caught.value)


async def test_a_plan_is_there_when_it_returns(path):
    """Rows come in the order of the specs, and every spec can be read back from another run."""
    async with journal(path) as opened:
        first = await opened.plan(BOATS, name="fleet ü")
        second = await opened.plan(BOATS[:2])
        assert list(first) == sorted(first)
        assert set(first).isdisjoint(second)
    async with journal(path) as again:
        entries = await again.entries()
        third = await again.plan(BOATS[:1])
    assert [entry.spec for entry in entries] == BOATS + BOATS[:2]
    assert [entry.row for entry in entries] == [*first, *second]
    assert [entry.index for entry in entries] == [0, 1, 2, 3, 4, 0, 1]
    assert [entry.name for entry in entries] == ["fleet ü"] * 5 + [None] * 2
    assert len({entry.batch for entry in entries}) == 2
    assert min(third) > max(second)
    blank = ("token", "sent_at", "task_id", "status", "answer", "error", "file")
    assert all(getattr(entry, name) is None for entry in entries for name in blank)


async def test_the_whole_story_of_a_task_is_kept(path, tmp_path, monkeypatch):
    """Token, id, status, the provider's answer and the file come back, each after its news."""
    monkeypatch.chdir(tmp_path)
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        await opened.sending(row, "callsheet-1", at=12.5)
        (entry,) = await opened.entries()
        assert (entry.token, entry.sent_at, entry.task_id) == ("callsheet-1", 12.5, None)
        opened.created(row, "cgt-1")
        (entry,) = await opened.entries()
        assert (entry.task_id, entry.token, entry.status) == ("cgt-1", "callsheet-1", None)
        opened.status(row, Status.QUEUED)
        opened.status(row, Status.RUNNING)
        (entry,) = await opened.entries()
        assert (entry.status, entry.answer) == (Status.RUNNING, None)
        end = answer("cgt-1", seed=7)
        opened.settled(row, end)
        opened.downloaded(row, "out/boat.mp4")
    async with journal(path) as again:
        (entry,) = await again.entries()
    assert entry.answer == end
    assert entry.answer.raw == end.raw
    assert entry.status is Status.SUCCEEDED
    assert entry.error is None
    assert entry.file == str(tmp_path / "out" / "boat.mp4")


async def test_tasks_that_exist_already_have_an_id_and_no_spec(path):
    """Attached ids are one batch in their order."""
    async with journal(path) as opened:
        await opened.plan(BOATS[:1])
        rows = await opened.adopt(["cgt-b", "cgt-a"], name="old")
    async with journal(path) as again:
        adopted = (await again.entries())[1:]
    assert [(e.row, e.task_id, e.spec, e.name) for e in adopted] == [
        (rows[0], "cgt-b", None, "old"),
        (rows[1], "cgt-a", None, "old"),
    ]


async def test_what_provably_made_nothing_is_only_planned_again(path):
    """A refused attempt takes its token back."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        await opened.sending(row, "t", at=1.0)
        opened.unsent(row)
        (entry,) = await opened.entries()
    assert (entry.token, entry.sent_at, entry.error) == (None, None, None)


async def test_a_provider_without_tokens_still_has_its_attempts_noted(path):
    """The time of an attempt says that it may have left, where it carries no token."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        await opened.sending(row, None, at=5.0)
        (entry,) = await opened.entries()
    assert (entry.token, entry.sent_at) == (None, 5.0)


async def test_a_new_attempt_begins_the_story_anew(path):
    """What an earlier attempt came to is forgotten when another one leaves."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        await opened.sending(row, "a", at=1.0)
        opened.created(row, "cgt-1")
        opened.settled(row, answer("cgt-1", "failed", error={"code": "X", "message": "no"}))
        await opened.sending(row, "b", at=2.0)
        (entry,) = await opened.entries()
    assert (entry.token, entry.sent_at) == ("b", 2.0)
    assert (entry.task_id, entry.status, entry.answer, entry.error) == (None, None, None, None)


async def test_an_end_without_the_providers_word_is_its_error(path):
    """Errors come back as they were; an id that is found later replaces a lost answer."""
    errors = [
        SubmissionUncertainError("ReadTimeout", "callsheet-1"),
        AuthenticationError("no such key", 401, "AuthenticationError", "req-1"),
    ]
    async with journal(path) as opened:
        rows = await opened.plan(BOATS[:2])
        for row, error in zip(rows, errors, strict=True):
            opened.settled(row, error)
        first, second = await opened.entries()
        opened.created(rows[0], "cgt-1")
        found, _ = await opened.entries()
    assert (type(first.error), str(first.error)) == (type(errors[0]), str(errors[0]))
    assert vars(second.error) == vars(errors[1])
    assert (found.task_id, found.error) == ("cgt-1", None)


async def test_many_at_once_keep_their_order(path):
    """News from many tasks at once is written in the order in which it came."""
    async with journal(path) as opened:
        rows = await opened.plan([TaskSpec("boat")] * 300)

        async def live(row):
            await opened.sending(row, f"t{row}", at=row)
            opened.created(row, f"cgt-{row}")
            await anyio.lowlevel.checkpoint()
            opened.status(row, Status.RUNNING)
            opened.settled(row, answer(f"cgt-{row}"))

        async with anyio.create_task_group() as tasks:
            for row in rows:
                tasks.start_soon(live, row)
    async with journal(path) as again:
        entries = await again.entries()
    assert [entry.token for entry in entries] == [f"t{row}" for row in rows]
    assert [entry.answer.task_id for entry in entries] == [f"cgt-{row}" for row in rows]


async def test_what_comes_together_is_written_together(path, monkeypatch):
    """A hundred callers that wait at the same time share a few transactions."""
    written = []
    async with journal(path) as opened:
        rows = await opened.plan([TaskSpec("boat")] * 100)
        write = opened._file.write

        def count(plans, notes):
            written.append(len(notes))
            write(plans, notes)

        monkeypatch.setattr(opened._file, "write", count)
        async with anyio.create_task_group() as tasks:
            for row in rows:
                tasks.start_soon(lambda row=row: opened.sending(row, "t", at=1.0))
    assert sum(written) == 100
    assert len(written) <= 5


async def test_bytes_are_stored_once_for_each_content(path):
    """A picture in many specs takes its room once, in one plan or in several."""
    pixels = random.Random(1).randbytes(100_000)
    spec = TaskSpec("boat", first_frame=Image(pixels))
    async with journal(path) as opened:
        await opened.plan([spec] * 20)
        await opened.plan([TaskSpec("x", references=[Image(bytes(bytearray(pixels)))])])
    assert path.stat().st_size < 2 * len(pixels)
    async with journal(path) as again:
        await again.plan([spec])
        entries = await again.entries()
    assert path.stat().st_size < 2 * len(pixels)
    assert [entry.spec.media[0][1].source for entry in entries] == [pixels] * 22
    assert len({id(entry.spec.media[0][1].source) for entry in entries}) == 1


async def test_paths_hold_from_any_folder(path, tmp_path, monkeypatch):
    """A relative path is kept as the file that it was."""
    monkeypatch.chdir(tmp_path)
    async with journal(path) as opened:
        await opened.plan([TaskSpec(references=[VideoRef("a.mp4"), AudioRef("asset://clip")])])
        (entry,) = await opened.entries()
    assert entry.spec.references == (VideoRef(tmp_path / "a.mp4"), AudioRef("asset://clip"))


async def test_a_spec_that_cannot_be_written_down_is_refused(path):
    """All that JSON cannot hold is named, with its spec, and nothing of the batch is planned."""
    wrong = TaskSpec("boat", extra={"when": object()}, tools=[{"f": {1, 2}}])
    async with journal(path) as opened:
        with pytest.raises(SpecError) as caught:
            await opened.plan([BOATS[0], wrong, TaskSpec("b", extra={"x": float("nan")})])
        named = [(problem.index, problem.field) for problem in caught.value.problems]
        assert sorted(named) == [(1, "extra"), (1, "tools"), (2, "extra")]
        assert await opened.entries() == []
        assert len(await opened.plan(BOATS)) == 5


async def test_no_secret_is_in_the_file(path):
    """User, password and query of an address are not stored, and not told."""
    secret = "https://me:hunter2@ark.test/api/v3?key=hunter2"
    async with journal(path, base_url=secret) as opened:
        await opened.plan(BOATS)
    assert b"hunter2" not in path.read_bytes()
    async with journal(path, base_url=BASE_URL):
        pass
    assert "hunter2" not in await told(path, base_url=secret.replace("ark.test", "other.test"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": "cometapi"}, ["'ark'", "'cometapi'"]),
        ({"base_url": "https://other.test"}, [BASE_URL, "https://other.test"]),
        ({"fingerprint": "77aa"}, ["another API key"]),
    ],
)
async def test_a_journal_of_others_is_refused(path, changes, words):
    """Provider, address and key must be those that it was made for; no fingerprint is told."""
    async with journal(path) as opened:
        rows = await opened.plan(BOATS)
        await opened.sending(rows[0], "token", at=1.0)
    before = sealed(path)
    text = await told(path, **changes)
    assert all(word in text for word in words)
    assert "3f1c" not in text
    assert "77aa" not in text
    assert sealed(path) == before
    assert files(path.parent) == ["shoot.db"]


async def test_a_key_that_bought_nothing_may_be_put_right(path):
    """As long as nothing was made, or may have been, another key takes the journal over."""
    async with journal(path) as opened:
        rows = await opened.plan(BOATS)
        await opened.sending(rows[0], "token", at=1.0)
        opened.unsent(rows[0])
    async with journal(path, fingerprint="77aa") as opened:
        await opened.sending(rows[0], "token", at=1.0)
    assert "another API key" in await told(path)


def _other_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


def _truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _scribbled(path):
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"scribble" * 8
    path.write_bytes(content)


def _crumpled(path):
    content = bytearray(path.read_bytes())
    content[-4096 + 8 : -4096 + 12] = b"\x0f\xff\x0f\xff"  # where the last page says its cells are
    path.write_bytes(content)


def _newer(path):
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.write_bytes(b"once upon a time " * 99), "no journal, or a damaged one"),
        (lambda path: path.write_bytes(b"x"), "no journal"),
        (_truncated, "no journal, or a damaged one"),
        (_scribbled, "no journal, or a damaged one"),
        (_crumpled, "no journal, or a damaged one"),
        (_newer, "newer"),
    ],
)
async def test_what_is_no_journal_is_left_as_it_is(path, tmp_path, spoil, word):
    """A broken, strange or newer file is named and refused, and not a byte of it changes."""
    async with journal(path) as opened:
        await opened.plan([TaskSpec("boat " * 100)] * 200)
    spoil(path)
    before = sealed(path)
    assert word in await told(path)
    assert sealed(path) == before
    assert files(tmp_path) == ["shoot.db"]


async def test_what_a_kill_left_is_refused_untouched(path, tmp_path):
    """Even with a log beside it that a killed process left, a refused file keeps every byte."""
    async with journal(path) as opened:
        await opened.plan(BOATS)
        for name in ("shoot.db", "shoot.db-wal"):
            (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    copy, log = tmp_path / "copy-shoot.db", tmp_path / "copy-shoot.db-wal"
    before = sealed(copy), sealed(log)
    assert "cometapi" in await told(copy, provider="cometapi")
    assert (sealed(copy), sealed(log)) == before
    async with journal(copy) as again:
        assert [entry.spec for entry in await again.entries()] == BOATS


async def test_a_database_of_others_is_left_as_it_is(path, tmp_path):
    """A database that some other program made is no journal."""
    _other_database(path)
    before = sealed(path)
    assert "no journal" in await told(path)
    assert sealed(path) == before
    assert files(tmp_path) == ["shoot.db"]


def leave_half_made(path):
    """Leave what a process leaves that is killed in the middle of making a database."""
    other = path.with_name("half")
    with contextlib.closing(sqlite3.connect(other, isolation_level=None)) as half:
        half.execute("PRAGMA cache_size = 1")
        half.execute("BEGIN")
        half.execute("CREATE TABLE tasks (spec TEXT)")
        half.executemany("INSERT INTO tasks VALUES (?)", [("boat" * 1000,)] * 50)
        for name in ("", "-journal"):
            content = Path(f"{other}{name}").read_bytes()
            assert content
            Path(f"{path}{name}").write_bytes(content)


async def test_one_that_was_killed_while_it_was_made_becomes_a_journal(path):
    """A half-made file with the log that undoes it is undone, and made again."""
    leave_half_made(path)
    async with journal(path) as opened:
        await opened.plan(BOATS)
        assert len(await opened.entries()) == 5


async def test_an_empty_file_becomes_a_journal(path):
    """A file that somebody made beforehand is used, and so is an empty database."""
    path.touch()
    async with journal(path) as opened:
        await opened.plan(BOATS)
        assert len(await opened.entries()) == 5


async def test_a_path_that_can_be_no_file_is_named(tmp_path):
    """Folders, missing folders, files in place of folders, devices, loops: each says what it is."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a folder" in await told(tmp_path)
    assert "no folder" in await told(tmp_path / "nowhere" / "shoot.db")
    assert "no folder" in await told(tmp_path / "file" / "shoot.db")
    assert "no regular file" in await told(Path("/dev/null"))
    await told(tmp_path / "loop")
    with pytest.raises(ConfigurationError):
        async with journal("a\0b"):
            pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that is read-only")
async def test_a_path_that_cannot_be_written_is_named(path):
    """Where no file can be made, or the file cannot be changed, the client does not start."""
    assert "cannot be opened" in await told(Path("/proc/shoot.db"))
    if os.getuid() != 0:
        path.touch()
        path.chmod(0o400)
        assert "cannot be opened" in await told(path)


def fill(opened):
    """Let the disk be full: the database may not grow any more."""
    opened._file._database.execute("PRAGMA max_page_count = 1")


def drain(opened):
    """Let there be room again."""
    opened._file._database.execute("PRAGMA max_page_count = 1000000")


async def test_a_full_disk_is_told_before_anything_is_sent(path):
    """Who plans or is about to send gets an error, and neither is in the journal."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        fill(opened)
        with pytest.raises(JournalError, match=f"{re.escape(str(path))} cannot be written: .*full"):
            await opened.plan([TaskSpec("long " * 10_000)])
        with pytest.raises(JournalError, match="full"):
            await opened.sending(row, "long" * 10_000, at=1.0)
        drain(opened)
        (entry,) = await opened.entries()
        assert (entry.spec, entry.token) == (BOATS[0], None)
        assert len(await opened.plan(BOATS)) == 5


async def test_one_that_needs_too_much_room_harms_nobody_else(path):
    """A plan that does not fit fails alone: what was written at the same time is written."""
    async with journal(path) as opened:
        rows = await opened.plan(BOATS)
        fill(opened)
        failed = []

        async def much():
            with pytest.raises(JournalError):
                await opened.plan([TaskSpec("long " * 100_000)])
            failed.append(True)

        async with anyio.create_task_group() as tasks:
            for row in rows:
                tasks.start_soon(lambda row=row: opened.sending(row, "t", at=1.0))
            tasks.start_soon(much)
        assert failed == [True]
        assert [entry.token for entry in await opened.entries()] == ["t"] * 5


async def test_ids_that_cannot_be_written_are_kept_and_nothing_new_begins(path, caplog):
    """While an id waits for room every awaited call fails; with room, all is written in order."""
    caplog.set_level("INFO", "callsheet")
    async with journal(path) as opened:
        rows = await opened.plan(BOATS[:2])
        await opened.sending(rows[0], "t", at=1.0)
        fill(opened)
        opened.created(rows[0], "cgt-" + "1" * 10_000)
        with pytest.raises(JournalError, match=rf"1 notes are not on disk.*cgt-1+ \(row {rows[0]}"):
            await opened.flush()
        with pytest.raises(JournalError):
            await opened.sending(rows[1], "t", at=1.0)
        opened.settled(rows[0], NotSubmittedError("later"))
        opened.created(rows[0], "cgt-2")
        drain(opened)
        await opened.flush()
        first, second = await opened.entries()
    assert (first.task_id, first.token, first.error) == ("cgt-2", "t", None)
    assert second.token is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def no_thread(*_args, **_options):
    """What a machine without room for another thread says."""
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_without_a_thread_to_write_ids_are_kept_and_nothing_new_begins(path, monkeypatch):
    """Whoever waits is told, as with a full disk; once there is a thread, all is written."""
    async with journal(path) as opened:
        one, two = await opened.plan(BOATS[:2])
        with monkeypatch.context() as machine:
            machine.setattr(anyio.to_thread, "run_sync", no_thread)
            opened.created(one, "cgt-1")
            with pytest.raises(JournalError, match=r"shoot.db cannot be written: can't start new"):
                await opened.sending(two, "t", at=1.0)
            with pytest.raises(JournalError, match="can't start"):
                await opened.plan(BOATS)
            with pytest.raises(JournalError, match=rf"1 notes .*cgt-1 \(row {one}"):
                await opened.flush()
        await opened.sending(two, "again", at=1.0)
        first, second = await opened.entries()
    assert (first.task_id, second.token) == ("cgt-1", "again")


async def test_what_no_thread_could_write_is_told_on_leaving(path, monkeypatch, caplog):
    """The ids stand in the log, although the journal cannot even be closed."""
    opened = journal(path)

    async def run_out_of_threads():
        async with opened:
            (row,) = await opened.plan(BOATS[:1])
            monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
            opened.created(row, "cgt-1")

    with pytest.raises(RuntimeError, match="can't start"):
        await run_out_of_threads()
    opened._file.close()
    assert "cgt-1 (row 1)" in caplog.text


async def test_a_write_that_fails_half_way_leaves_nothing(path):
    """A transaction is whole or not there, and the next one is not harmed."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        with pytest.raises(sqlite3.Error):
            opened._file.write([], [(row, "created", '"cgt-1"'), (row, "created", object())])
        await opened.sending(row, "t", at=1.0)
        (entry,) = await opened.entries()
    assert (entry.task_id, entry.token) == (None, "t")


async def test_what_could_not_be_written_is_told_on_leaving(path, caplog):
    """The last attempt is made on leaving; if it fails, the error holds the ids."""

    async def run_out_of_room():
        async with journal(path) as opened:
            await opened.plan(BOATS[:1])
            fill(opened)
            opened.created(1, "cgt-" + "a" * 10_000)
            opened.status(1, Status.QUEUED)

    with pytest.raises(JournalError, match=r"2 notes .*cgt-a+ \(row 1\)"):
        await run_out_of_room()
    assert "cgt-aaa" in caplog.text
    async with journal(path) as again:
        (entry,) = await again.entries()
        assert entry.task_id is None


async def test_what_was_kept_is_written_on_leaving(path):
    """Room that came back late is used on leaving."""
    async with journal(path) as opened:
        await opened.plan(BOATS[:1])
        fill(opened)
        opened.created(1, "cgt-" + "a" * 10_000)
        with pytest.raises(JournalError):
            await opened.flush()
        drain(opened)
    async with journal(path) as again:
        assert (await again.entries())[0].task_id == "cgt-" + "a" * 10_000


async def test_the_blocks_own_error_goes_first(path):
    """An error of the block leaves bare; what was not written stands in its notes."""

    async def fail():
        async with journal(path) as opened:
            await opened.plan(BOATS[:1])
            fill(opened)
            opened.created(1, "cgt-" + "a" * 10_000)
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        await fail()
    assert "cgt-aaa" in caught.value.__notes__[0]


async def test_an_error_of_the_block_leaves_bare(path):
    """The block's own error is not wrapped in a group, and nothing is lost by it."""

    async def fail():
        async with journal(path) as opened:
            opened.created(*await opened.plan(BOATS[:1]), "cgt-1")
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        await fail()
    assert not hasattr(caught.value, "__notes__")
    async with journal(path) as again:
        assert [entry.task_id for entry in await again.entries()] == ["cgt-1"]


async def test_a_plan_that_is_cancelled_with_its_client_is_whole_or_not_there(path):
    """Wherever closing meets a plan from another task, it is not left half written."""
    for steps in range(8):
        async with anyio.create_task_group() as tasks, journal(path) as opened:
            tasks.start_soon(opened.plan, BOATS)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    async with journal(path) as again:
        assert len(await again.entries()) % len(BOATS) == 0


async def test_a_cancelled_plan_leaves_nothing(path):
    """Who is cancelled while a plan is written has planned nothing, wherever it was."""
    async with journal(path) as opened:
        for steps in range(6):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(opened.plan, BOATS)
                tasks.start_soon(opened.adopt, ["cgt-1"])
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        assert await opened.entries() == []
        await opened.plan(BOATS)
    async with journal(path) as again:
        assert [entry.spec for entry in await again.entries()] == BOATS


async def test_a_cancelled_plan_that_did_not_fit_leaves_nothing(path):
    """Its rows were never there, so that ids of the next process do not vanish with them."""
    async with journal(path) as opened:
        await opened.plan(BOATS[:1])
        fill(opened)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.plan, [TaskSpec("long " * 100_000)] * 2)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await opened.flush()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert list(database.execute("SELECT * FROM notes")) == []
    async with journal(path) as opened:
        for row in await opened.plan(BOATS[1:]):
            opened.created(row, f"cgt-{row}")
    async with journal(path) as again:
        assert [entry.spec for entry in await again.entries()] == BOATS
        assert all(entry.task_id for entry in (await again.entries())[1:])


async def test_a_cancelled_plan_that_was_not_written_is_no_news_on_leaving(path):
    """While nothing can be written, taking back what was not is nothing that could be lost."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        fill(opened)
        opened.created(row, "cgt-" + "1" * 10_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.plan, BOATS)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        with pytest.raises(JournalError, match="1 notes are not on disk"):
            await opened.flush()
        drain(opened)
    async with journal(path) as again:
        assert len(await again.entries()) == 1


async def test_a_row_that_any_note_speaks_of_is_not_given_again(path):
    """New rows begin after all that stands in the file, planned or not."""
    async with journal(path) as opened:
        await opened.plan(BOATS[:2])
        opened._file.write([], [notes.withdrawn(7)])
    async with journal(path) as again:
        assert list(await again.plan(BOATS[:2])) == [8, 9]


async def test_a_row_with_later_news_is_not_withdrawn(path):
    """A note that took another row of the same number back hides no id."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        opened._file.write([], [notes.withdrawn(row)])
        await opened.sending(row, "t", at=1.0)
        opened.created(row, "cgt-1")
        (entry,) = await opened.entries()
    assert (entry.token, entry.task_id) == ("t", "cgt-1")


async def test_an_attempt_is_noted_whole_or_not_begun(path):
    """Cancelling who is about to send does not leave it in doubt whether the token was noted."""
    noted = []
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])

        async def send():
            await opened.sending(row, "t", at=1.0)
            noted.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        (entry,) = await opened.entries()
        assert (entry.token == "t") is bool(noted)


async def test_what_was_noted_before_a_cancelled_exit_is_written(path):
    """A client that is cancelled leaves a whole journal and gives its lease back."""
    with anyio.CancelScope() as scope:
        async with journal(path) as opened:
            rows = await opened.plan(BOATS)
            for row in rows:
                opened.created(row, f"cgt-{row}")
                opened.status(row, Status.QUEUED)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    async with journal(path) as again:
        entries = await again.entries()
    assert [(e.task_id, e.status) for e in entries] == [(f"cgt-{r}", Status.QUEUED) for r in rows]


async def test_it_is_used_inside_its_block_only(path):
    """Before and after the block every method says that the journal is closed."""
    opened = journal(path)
    for _ in range(2):
        with pytest.raises(ClosedError):
            await opened.plan(BOATS)
        with pytest.raises(ClosedError):
            await opened.sending(1, "t", at=1.0)
        with pytest.raises(ClosedError):
            opened.created(1, "cgt-1")
        with pytest.raises(ClosedError):
            await opened.entries()
        if opened._limiter is None:
            async with opened:
                pass
    with pytest.raises(ClosedError):
        async with opened:
            pass


async def test_no_specs_need_no_room(path):
    """An empty batch is no batch."""
    async with journal(path) as opened:
        assert list(await opened.plan([])) == []
        assert list(await opened.adopt([])) == []
        assert await opened.entries() == []


async def test_an_entry_that_cannot_be_read_is_an_error_that_names_the_file(path):
    """A note or a picture that was changed from outside is not passed over."""
    async with journal(path) as opened:
        await opened.plan([TaskSpec("boat", first_frame=Image(b"pixels"))])
        database = opened._file._database
        database.execute("UPDATE media SET content = x'00'")
        with pytest.raises(JournalError, match=re.escape(str(path))):
            await opened.entries()
        database.execute("UPDATE tasks SET spec = NULL")
        assert len(await opened.entries()) == 1
        database.execute("INSERT INTO notes (row, kind, value) VALUES (1, 'sung', NULL)")
        with pytest.raises(JournalError, match="sung"):
            await opened.entries()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are cheap to start and kill")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_killed_at_any_moment_it_loses_nothing_that_was_acknowledged(path, backend):
    """After each of 20 kills it opens, with every row, token and end that was said to be safe."""
    chance = random.Random(backend)
    server = started("serve")
    safe = {"planned": {}, "sent": {}, "ended": {}}
    with server:
        for kill in range(20):
            print(path, file=server.stdin, flush=True)
            pid = int(server.stdout.readline().split()[1])
            for _ in range(chance.choice([0, 0, 1, chance.randrange(40)])):
                note(server.stdout.readline(), safe)
            for _ in range(chance.randrange(100_000)):
                pass
            os.kill(pid, 9)
            for line in iter(server.stdout.readline, "over\n"):
                note(line, safe)
            if kill % 2:  # every other time, the next writer finds what the kill left
                check(entries_of(path, backend), safe)
        server.stdin.close()
    entries = entries_of(path, backend)
    check(entries, safe)
    assert len(safe["ended"]) > 20
    assert [entry.row for entry in entries] == sorted(entry.row for entry in entries)
    assert files(path.parent) == ["shoot.db"]


def note(line, safe):
    """Take what a writer says."""
    if not line.startswith("open"):
        kind, row, name = line.split()
        safe[kind][int(row)] = name


def check(entries, safe):
    """Nothing that was acknowledged is missing, and nothing is there that cannot have been."""
    known = {entry.row: entry for entry in entries}
    assert {row: known[row].spec.prompt for row in safe["planned"]} == safe["planned"]
    assert {row: known[row].token[6:] for row in safe["sent"]} == safe["sent"]
    assert {row: known[row].answer.task_id[4:] for row in safe["ended"]} == safe["ended"]
    for entry in entries:
        assert entry.token in {None, f"token-{entry.spec.prompt}"}
        assert entry.task_id in {None, f"cgt-{entry.spec.prompt}"}
        assert entry.token or not entry.task_id


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_disk_that_takes_no_more_bytes_loses_no_id(path):
    """With writes that the system refuses, nothing is begun, and ids follow when it takes them."""
    process = started("meet_the_limit", str(path))
    assert process.communicate()[0].splitlines() == ["refused", "refused", "kept", "whole"]
    assert [entry.task_id for entry in entries_of(path)] == ["cgt-1", None]
