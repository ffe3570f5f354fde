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
from callsheet._journal.notes import (
    AttemptNote,
    CancelNote,
    FileNote,
    RefusalNote,
    RetractionNote,
    TaskNote,
)
from callsheet._state.fate import Fate
from callsheet.errors import ClosedError, JournalError, SpecError
from journals import attempt, entries, entries_of, journal, plan
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
            (row,) = await plan(opened, BOATS[:1])
            monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
            opened.write([TaskNote(row, 1, "cgt-1")])

    with pytest.raises(RuntimeError, match="can't start"):
        await run_out_of_threads()
    opened._file.close()
    assert "cgt-1 (row 1)" in caplog.text


async def test_a_failed_write_is_undone(path):
    """A failed transaction writes nothing, and the next one is written."""
    async with journal(path) as opened:
        (row,) = await plan(opened, BOATS[:1])
        with pytest.raises(sqlite3.Error):
            opened._file.write(
                [], [(row, "made", 1, '"cgt-1"', None), (row, "made", 1, object(), None)]
            )
        await attempt(opened, row, "t")
        (entry,) = await entries(opened)
    assert entry.task_id is None
    assert [(each.token, each.fate) for each in entry.attempts] == [("t", Fate.OUT)]


async def test_the_notes_of_one_call_are_written_together_or_not_at_all(path):
    """If one note of a call finds no room, none of its notes is written."""
    async with journal(path) as opened:
        (row,) = await plan(opened, BOATS[:1])
        fill_disk(opened)
        with pytest.raises(JournalError):
            await opened.write_first(
                [AttemptNote(row, 1, "t", 1.0), TaskNote(row, 1, "cgt-" + "1" * 10_000)]
            )
        make_room(opened)
        (entry,) = await entries(opened)
        assert (entry.attempts, entry.task_id) == ((), None)
        opened.write([RefusalNote(row, 1), CancelNote(row)])
        opened.write([])
        (entry,) = await entries(opened)
        assert entry.cancelled


async def test_a_value_that_is_none_fails_where_it_is_given(path):
    """A note with a wrong value raises at once, and harms no other note."""
    async with journal(path) as opened:
        (row,) = await plan(opened, BOATS[:1])
        with pytest.raises(TypeError):
            opened.write([FileNote(row, object())])
        opened.write([FileNote(row, "/films/boat.mp4")])
        (entry,) = await entries(opened)
    assert entry.file == "/films/boat.mp4"


async def test_a_cancelled_plan_that_was_not_written_is_not_reported_on_leaving(path):
    """A plan that was cancelled before it was written does not count as unwritten."""
    async with journal(path) as opened:
        (row,) = await plan(opened, BOATS[:1])
        fill_disk(opened)
        opened.write([TaskNote(row, 1, "cgt-" + "1" * 10_000)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plan, opened, BOATS)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        with pytest.raises(JournalError, match="1 notes are not on disk"):
            await opened.flush()
        make_room(opened)
    async with journal(path) as again:
        assert len(await entries(again)) == 1


async def test_a_spec_that_json_cannot_hold_is_refused(path):
    """Every value that JSON cannot hold is named with its spec, and nothing is planned."""
    wrong = TaskSpec("boat", extra={"when": object()}, tools=[{"f": {1, 2}}])
    async with journal(path) as opened:
        with pytest.raises(SpecError) as caught:
            await plan(opened, [BOATS[0], wrong, TaskSpec("b", extra={"x": float("nan")})])
        named = [(problem.index, problem.field) for problem in caught.value.problems]
        assert sorted(named) == [(1, "extra"), (1, "tools"), (2, "extra")]
        assert await entries(opened) == []
        assert len(await plan(opened, BOATS)) == 5


async def test_a_journal_works_only_inside_its_block(path):
    """Before and after the block, every method raises `ClosedError`."""
    opened = journal(path)
    for _ in range(2):
        with pytest.raises(ClosedError):
            await plan(opened, BOATS)
        with pytest.raises(ClosedError):
            await attempt(opened, 1, "t")
        with pytest.raises(ClosedError):
            opened.write([TaskNote(1, 1, "cgt-1")])
        with pytest.raises(ClosedError):
            await entries(opened)
        if opened._limiter is None:
            async with opened:
                pass
    with pytest.raises(ClosedError):
        async with opened:
            pass


async def test_a_row_that_a_note_names_is_not_given_again(path):
    """New rows follow all rows in the file, planned or not."""
    async with journal(path) as opened:
        await plan(opened, BOATS[:2])
        opened.write([RetractionNote(7)])
    async with journal(path) as again:
        assert list(await plan(again, BOATS[:2])) == [8, 9]


async def test_a_row_with_an_attempt_is_not_retracted(path):
    """A note that takes a plan back hides no attempt and no id that was noted after it."""
    async with journal(path) as opened:
        (row,) = await plan(opened, BOATS[:1])
        opened.write([RetractionNote(row)])
        await attempt(opened, row, "t")
        opened.write([TaskNote(row, 1, "cgt-1")])
        (entry,) = await entries(opened)
    assert (entry.attempts[0].token, entry.task_id) == ("t", "cgt-1")


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
    found = entries_of(path, backend)
    check(found, safe)
    assert len(safe["ended"]) > 20
    assert [entry.row for entry in found] == sorted(entry.row for entry in found)
    assert files(path.parent) == ["shoot.db"]


def note(line, safe):
    """Keep what a writer has acknowledged."""
    if not line.startswith("open"):
        kind, row, name = line.split()
        safe[kind][int(row)] = name


def check(found, safe):
    """Everything that was acknowledged is there, and nothing that was not written."""
    known = {entry.row: entry for entry in found}
    assert {row: known[row].spec.prompt for row in safe["planned"]} == safe["planned"]
    assert {row: known[row].attempts[0].token[6:] for row in safe["sent"]} == safe["sent"]
    assert {row: known[row].answer.task_id[4:] for row in safe["ended"]} == safe["ended"]
    for entry in found:
        tokens = [each.token for each in entry.attempts]
        assert tokens in ([], [f"token-{entry.spec.prompt}"])
        assert entry.task_id in {None, f"cgt-{entry.spec.prompt}"}
        assert tokens or not entry.task_id
