"""Rules of the journal that cannot be tested through a client.

For the other rules see ``test_journal_file.py``.
"""

from __future__ import annotations

import os
import random
import sqlite3

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from callsheet import TaskSpec
from callsheet._journal import entries as notes
from callsheet.errors import ClosedError, JournalError, SpecError
from journals import entries_of, journal
from processes import files, started


BOATS = [TaskSpec(f"boat {i}") for i in range(5)]


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


def fill_disk(opened):
    """Make the disk full: the database may not grow any more."""
    opened._file._database.execute("PRAGMA max_page_count = 1")


def make_room(opened):
    """Make room on the disk again."""
    opened._file._database.execute("PRAGMA max_page_count = 1000000")


async def no_thread(*_args, **_options):
    """Fail as a machine does that cannot start another thread."""
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_notes_that_no_thread_can_write_are_logged_on_leaving(path, monkeypatch, caplog):
    """The log names the ids, even if the journal cannot be closed."""
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


async def test_a_failed_write_is_undone(path):
    """A failed transaction writes nothing, and the next one is written."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        with pytest.raises(sqlite3.Error):
            opened._file.write([], [(row, "created", '"cgt-1"'), (row, "created", object())])
        await opened.sending(row, "t", at=1.0)
        (entry,) = await opened.entries()
    assert (entry.task_id, entry.token) == (None, "t")


async def test_a_cancelled_plan_that_was_not_written_is_not_reported_on_leaving(path):
    """A plan that was cancelled before it was written does not count as unwritten."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        fill_disk(opened)
        opened.created(row, "cgt-" + "1" * 10_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.plan, BOATS)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        with pytest.raises(JournalError, match="1 notes are not on disk"):
            await opened.flush()
        make_room(opened)
    async with journal(path) as again:
        assert len(await again.entries()) == 1


async def test_a_spec_that_json_cannot_hold_is_refused(path):
    """Every value that JSON cannot hold is named with its spec, and nothing is planned."""
    wrong = TaskSpec("boat", extra={"when": object()}, tools=[{"f": {1, 2}}])
    async with journal(path) as opened:
        with pytest.raises(SpecError) as caught:
            await opened.plan([BOATS[0], wrong, TaskSpec("b", extra={"x": float("nan")})])
        named = [(problem.index, problem.field) for problem in caught.value.problems]
        assert sorted(named) == [(1, "extra"), (1, "tools"), (2, "extra")]
        assert await opened.entries() == []
        assert len(await opened.plan(BOATS)) == 5


async def test_a_journal_works_only_inside_its_block(path):
    """Before and after the block, every method raises `ClosedError`."""
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


async def test_a_row_that_a_note_names_is_not_given_again(path):
    """New rows follow all rows in the file, planned or not."""
    async with journal(path) as opened:
        await opened.plan(BOATS[:2])
        opened._file.write([], [notes.withdrawn(7)])
    async with journal(path) as again:
        assert list(await again.plan(BOATS[:2])) == [8, 9]


async def test_a_row_with_later_notes_is_not_withdrawn(path):
    """A note that cancels a plan hides no id that was noted after it."""
    async with journal(path) as opened:
        (row,) = await opened.plan(BOATS[:1])
        opened._file.write([], [notes.withdrawn(row)])
        await opened.sending(row, "t", at=1.0)
        opened.created(row, "cgt-1")
        (entry,) = await opened.entries()
    assert (entry.token, entry.task_id) == ("t", "cgt-1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are cheap to start and kill")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_killed_writer_loses_no_acknowledged_note(path, backend):
    """After each of 20 kills the journal has every row, token and end that was acknowledged."""
    chance = random.Random(backend)
    server = started("journals", "serve")
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
            if kill % 2:  # else the next writer opens the files as the kill left them
                check(entries_of(path, backend), safe)
        server.stdin.close()
    entries = entries_of(path, backend)
    check(entries, safe)
    assert len(safe["ended"]) > 20
    assert [entry.row for entry in entries] == sorted(entry.row for entry in entries)
    assert files(path.parent) == ["shoot.db"]


def note(line, safe):
    """Keep what a writer has acknowledged."""
    if not line.startswith("open"):
        kind, row, name = line.split()
        safe[kind][int(row)] = name


def check(entries, safe):
    """Everything that was acknowledged is there, and nothing that was not written."""
    known = {entry.row: entry for entry in entries}
    assert {row: known[row].spec.prompt for row in safe["planned"]} == safe["planned"]
    assert {row: known[row].token[6:] for row in safe["sent"]} == safe["sent"]
    assert {row: known[row].answer.task_id[4:] for row in safe["ended"]} == safe["ended"]
    for entry in entries:
        assert entry.token in {None, f"token-{entry.spec.prompt}"}
        assert entry.task_id in {None, f"cgt-{entry.spec.prompt}"}
        assert entry.token or not entry.task_id
