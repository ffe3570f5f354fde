"""Files of a journal that are deleted, replaced or cut while it is in use are noticed at once."""

from __future__ import annotations

import sys

import anyio
import pytest

from callsheet import Limits, TaskSpec
from callsheet.errors import JournalError
from emulation import Wire, client, first, refusal
from processes import files


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be deleted")

QUICK = {"limits": Limits(creates_per_minute=100_000)}


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


def log_of(path):
    """The path of the log of a journal."""
    return path.with_name(f"{path.name}-wal")


def delete(file):
    """Delete a file."""
    file.unlink()


def replace(file):
    """Put a copy in the place of a file."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


def cut(file):
    """Cut a file in half."""
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def lengthen(file):
    """Add to a file, as another program does that writes to the database."""
    with file.open("ab") as opened:
        opened.write(b"\0" * 4096)


@pytest.mark.parametrize("which", ["", "-wal"])
@pytest.mark.parametrize("change", [delete, replace, cut, lengthen])
async def test_a_changed_file_is_noticed_before_the_next_request(path, which, change):
    """The error names the file, and nothing more is sent, not even what was planned before."""
    wire = Wire(render_seconds=1e5, concurrency=10)

    async def use():
        async with client(wire, journal=path) as c:
            await c.submit(TaskSpec("boat"))
            await anyio.sleep(1)
            wire.fault = first(1, lambda: refusal(429, "ServerOverloaded"))
            planned = await c.submit_many([TaskSpec("ship")])
            await anyio.sleep(0.1)
            change(path.with_name(path.name + which))
            with pytest.raises(JournalError, match=rf"shoot\.db{which}[ :]"):
                await c.submit(TaskSpec("kite"))
            assert isinstance((await planned[0].outcome()).error, JournalError)
            planned[0].saved("a fact")

    if (which, change) == ("-wal", delete):  # that the log was deleted loses nothing
        await use()
    else:
        with pytest.raises(JournalError, match="not on disk"):
            await use()
    assert wire.prompts == ["boat", "ship"]
    assert wire.emulator.ledger.created == 1


async def leave_at_once(path, wire):
    """Submit 60 specs, delete the log, and return the files that a kill then leaves."""
    async with client(wire, journal=path, **QUICK) as c:
        batch = await c.submit_many([TaskSpec(f"boat {n}") for n in range(60)])
        await batch.submitted()
        log_of(path).unlink()
        with pytest.raises(JournalError, match="nothing more is sent"):
            await c.submit(TaskSpec("kite"))
        batch[0].saved("/films/boat.mp4")
        await anyio.sleep(1)
        return {file.name: file.read_bytes() for file in path.parent.iterdir()}


async def test_nothing_is_lost_with_a_deleted_log(path, tmp_path):
    """After a kill the next process knows each id that was in the log, and what came later."""
    wire = Wire(render_seconds=1e5, concurrency=100, queue_limit=100, creates_per_minute=100_000)
    left = await leave_at_once(path, wire)
    later = tmp_path / "later"
    later.mkdir()
    for name, content in left.items():
        (later / name).write_bytes(content)
    async with client(wire, journal=later / "shoot.db", **QUICK) as c:
        batch = await c.resume()
        ids = {handle.task_id for handle in batch}
        assert batch[0].file.name == "boat.mp4"
    assert ids == {task.id for task in wire.emulator.ledger.tasks}
    assert len(ids) == len(wire.prompts) == 60


async def test_a_client_whose_log_was_deleted_leaves_a_whole_journal(path, caplog):
    """Leaving it is no error, as everything is on disk; the next client sends again."""
    wire = Wire(render_seconds=1e5, concurrency=100, queue_limit=100, creates_per_minute=100_000)
    await leave_at_once(path, wire)
    assert files(path.parent) == ["shoot.db"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with client(wire, journal=path, **QUICK) as c:
        assert len(await c.resume()) == 60
        await c.submit(TaskSpec("kite"))
    assert len(wire.prompts) == 61


async def test_the_log_of_others_is_not_deleted(path):
    """A client that finds another log at the path leaves it alone when it closes."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("boat"))
        await c.submit(TaskSpec("ship"))
        await anyio.sleep(1)
        log_of(path).unlink()
        log_of(path).write_bytes(b"of another process")
        with pytest.raises(JournalError, match="replaced"):
            await c.submit(TaskSpec("kite"))
    assert log_of(path).read_bytes() == b"of another process"
    assert len(wire.prompts) == 2


async def test_pruning_and_copying_notice_a_changed_file(path, tmp_path):
    """What reads or removes much looks at the files first, too."""
    async with client(Wire(), journal=path) as c:
        await c.run(TaskSpec("boat"))
        await anyio.sleep(1)
        lengthen(path)
        with pytest.raises(JournalError, match="cannot be copied: another program has changed"):
            await c.backup_journal(tmp_path / "copy.db")
    assert "copy.db" not in files(tmp_path)


async def test_a_file_that_is_put_back_is_used_again(path):
    """A journal that was moved away for a moment and is back is the same journal."""
    wire = Wire(render_seconds=1e5)
    away = path.with_name("away")
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("boat"))
        path.rename(away)
        with pytest.raises(JournalError, match="deleted, moved or replaced"):
            await c.submit(TaskSpec("kite"))
        away.rename(path)
        await c.submit(TaskSpec("ship"))
    assert wire.prompts == ["boat", "ship"]
    assert files(path.parent) == ["shoot.db"]
