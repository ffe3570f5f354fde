"""The journal as a file: its content, refused files and full disks."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import httpx
import pytest
from PIL import Image as Pillow

from callsheet import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Image,
    JournalError,
    Limits,
    NotSubmittedError,
    RetryPolicy,
    SpecError,
    SpendLimit,
    SubmissionUncertainError,
    TaskSpec,
)
from callsheet._journal.sqlite import VERSION
from disks import full_disk
from emulation import ARK, COMET, Wire, client, first, refusal
from processes import files


BOATS = [TaskSpec(f"boat {i}") for i in range(5)]
QUICK = {"limits": Limits(creates_per_minute=100_000, connections=300)}


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


def state_of(path):
    """The content, size and time of a file."""
    found = path.stat()
    return path.read_bytes(), found.st_size, found.st_mtime_ns


async def refusal_of(path, **options):
    """The error text for a journal that is refused; it contains the path."""
    wire = Wire()
    with pytest.raises(ConfigurationError) as caught:
        async with client(wire, journal=path, **options):
            pass
    assert str(path) in str(caught.value)
    assert not wire.seen
    return str(caught.value)


async def leave(path, specs=BOATS, *, sent=False, **options):
    """Let a client write specs to a journal; they are sent if *sent*, else cancelled."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path, **options) as c:
        batch = await c.submit_many(specs)
        if sent:
            await batch.submitted()
        else:
            await batch.cancel()


async def resumed(path, wire=None, **options):
    """The specs and the batch that the next client resumes."""
    async with client(wire or Wire(render_seconds=1e5), journal=path, **options) as c:
        batch = await c.resume()
        return [handle.spec for handle in batch], batch


async def test_a_plan_is_on_disk_when_it_returns(path):
    """The specs of every batch come back in order, although none was sent."""
    wire = Wire()
    wire.fault = first(99, lambda: refusal(429, "ServerOverloaded"))
    async with client(wire, journal=path) as c:
        await c.submit_many(BOATS, name="fleet ü")
    specs, batch = await resumed(path)
    assert (specs, batch.name) == (BOATS, "fleet ü")
    async with client(wire, journal=path) as c:
        await c.submit_many(BOATS[:2])
    specs, batch = await resumed(path)
    assert (specs, batch.name) == (BOATS + BOATS[:2], None)
    assert not wire.emulator.ledger.created


async def test_the_path_of_a_saved_video_is_kept_as_absolute(path, tmp_path, monkeypatch):
    """A relative path means the same file from any folder, and the last answer is kept."""
    monkeypatch.chdir(tmp_path)
    async with client(Wire(), journal=path) as c:
        handle = await c.submit(BOATS[0])
        video = await handle
        handle.saved("out/boat.mp4")
    monkeypatch.chdir("/")
    async with client(Wire(), journal=path) as c:
        (again,) = await c.resume()
        assert again.file == tmp_path / "out" / "boat.mp4"
        assert await again == video
        assert (await again).snapshot.raw == video.snapshot.raw


async def test_attached_tasks_have_an_id_and_no_spec(path):
    """Attached ids are one batch in their order, with its name."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        ids = [await c.tasks.create(spec) for spec in BOATS[:2]][::-1]
        c.attach_many(ids, name="old")
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert batch.name == "old"
        assert [(handle.task_id, handle.spec) for handle in batch] == [(i, None) for i in ids]


async def test_the_answers_of_many_tasks_keep_their_order(path):
    """Many answers at once are written in the order in which they came."""
    wire = Wire(concurrency=300, queue_limit=300, creates_per_minute=100_000)
    specs = [TaskSpec(f"boat {i}") for i in range(300)]
    async with client(wire, journal=path, **QUICK) as c:
        urls = (await (await c.submit_many(specs)).result()).urls()
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert [handle.spec for handle in batch] == specs
        assert (await batch.result()).urls() == urls


async def test_notes_of_the_same_moment_are_written_together(path, monkeypatch):
    """A hundred callers that wait at the same time share a few calls of a worker thread."""
    hops = 0
    work = anyio.to_thread.run_sync

    async def count(*args, **options):
        nonlocal hops
        hops += 1
        return await work(*args, **options)

    wire = Wire(concurrency=200, queue_limit=200, creates_per_minute=100_000, render_seconds=1e5)
    async with client(wire, journal=path, **QUICK) as c:
        await c.submit(TaskSpec("proves that creates work"))
        monkeypatch.setattr(anyio.to_thread, "run_sync", count)
        async with anyio.create_task_group() as callers:
            for number in range(100):
                callers.start_soon(c.submit, TaskSpec(f"boat {number}"))
        assert hops <= 20
    assert len(wire.sent("POST")) == 101


async def test_equal_content_is_stored_once(path):
    """A picture that is in many specs is stored once, in one plan or in several."""
    noise = random.Random(1).randbytes(3 * 320 * 320)
    file = io.BytesIO()
    Pillow.frombytes("RGB", (320, 320), noise).save(file, "png")
    pixels = file.getvalue()
    specs = [TaskSpec("boat", first_frame=Image(pixels))] * 20
    for more in (specs, [TaskSpec("x", last_frame=pixels, first_frame=bytes(bytearray(pixels)))]):
        await leave(path, more)
    assert path.stat().st_size < 2 * len(pixels)
    await leave(path, specs[:1])
    assert path.stat().st_size < 2 * len(pixels)
    specs, _ = await resumed(path)
    sources = [medium.source for spec in specs for _, medium in spec.media]
    assert sources == [pixels] * 23
    assert len({id(source) for source in sources}) == 1


async def test_relative_paths_are_kept_as_absolute(path, tmp_path, monkeypatch):
    """A relative path means the same file from any folder, and an id stays unchanged."""
    monkeypatch.chdir(tmp_path)
    Pillow.new("RGB", (320, 320)).save(tmp_path / "a.png")
    spec = TaskSpec("boat", first_frame="a.png", last_frame="asset://end")
    await leave(path, [spec], sent=True)
    monkeypatch.chdir("/")
    ((again,), _) = await resumed(path)
    assert again.first_frame == Image(tmp_path / "a.png")
    assert again.last_frame == Image("asset://end")


async def test_a_spec_that_json_cannot_hold_is_refused(path):
    """Each value that JSON cannot hold is named with its spec, and no spec is planned."""
    wrong = TaskSpec("boat", extra={"when": object()}, tools=[{"f": {1, 2}}])
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        with pytest.raises(SpecError) as caught:
            await c.submit_many([BOATS[0], wrong, TaskSpec("b", extra={"x": float("nan")})])
        named = {(problem.index, problem.field) for problem in caught.value.problems}
        assert named >= {(1, "extra"), (1, "tools"), (2, "extra")}
        assert {index for index, _ in named} == {1, 2}
        await (await c.submit_many(BOATS)).submitted()
    assert (await resumed(path, wire))[0] == BOATS


ELSEWHERE = attrs.evolve(ARK, base_url="http://other.test/api/v3")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": attrs.evolve(COMET, base_url=ARK.base_url)}, ["'emulator'", "'cometapi'"]),
        ({"provider": ELSEWHERE}, [ARK.base_url, ELSEWHERE.base_url]),
        ({"api_key": "another-key"}, ["another API key"]),
    ],
    ids=["provider", "address", "key"],
)
async def test_a_journal_of_another_account_is_refused(path, changes, words):
    """The provider, address and key must match, and the error shows nothing of a key."""
    await leave(path, sent=True, api_key="a-key")
    before = state_of(path)
    text = await refusal_of(path, **{"api_key": "a-key", **changes})
    assert all(word in text for word in words)
    assert "-key" not in text
    assert not re.search(r"[0-9a-f]{8}", text)
    assert state_of(path) == before
    assert files(path.parent) == ["shoot.db"]


async def test_a_key_may_be_corrected_while_no_task_exists(path):
    """Another key is accepted as long as no task was or may have been made."""
    wire = Wire(keys=("right",), render_seconds=1e5)
    async with client(wire, journal=path, api_key="wrong") as c:
        result = await (await c.submit_many(BOATS)).result()
        assert isinstance(result[0].error, AuthenticationError)
    async with client(wire, journal=path, api_key="right") as c:
        await (await c.resume()).submitted()
    assert wire.emulator.ledger.created == 5
    assert "another API key" in await refusal_of(path, api_key="wrong")


async def test_a_rotated_key_takes_a_journal_over_when_told_to(path):
    """The new key goes on with the tasks, owns the journal from then on, and buys nothing again."""
    wire = Wire(keys=("old", "new"), render_seconds=1e5)
    async with client(wire, api_key="old", journal=path) as c:
        ids = list(await (await c.submit_many(BOATS)).submitted())
    before = state_of(path)
    assert "journal_takeover=True" in await refusal_of(path, api_key="new")
    assert state_of(path) == before
    async with client(wire, api_key="new", journal_takeover=True, journal=path) as c:
        assert [handle.task_id for handle in await c.resume()] == ids
    async with client(wire, api_key="new", journal=path) as c:
        assert len(await c.resume()) == 5
    assert "another API key" in await refusal_of(path, api_key="old")
    assert len(wire.sent("POST")) == 5


async def test_only_a_key_can_be_taken_over(path):
    """A journal of another provider or address is refused, whatever the client was told."""
    await leave(path, sent=True)
    for other in (attrs.evolve(COMET, base_url=ARK.base_url), ELSEWHERE):
        text = await refusal_of(path, provider=other, api_key="k", journal_takeover=True)
        assert "it holds tasks" in text


def _other_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


def _truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _overwritten(path):
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"scribble" * 8
    path.write_bytes(content)


def _broken_page(path):
    content = bytearray(path.read_bytes())
    content[-4096 + 8 : -4096 + 12] = b"\x0f\xff\x0f\xff"  # the cell offsets of the last page
    path.write_bytes(content)


def _of_format(version):
    def change(path):
        with sqlite3.connect(path) as database:
            database.execute(f"PRAGMA user_version = {version}")
        database.close()

    return change


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.write_bytes(b"once upon a time " * 99), "no journal, or a damaged one"),
        (lambda path: path.write_bytes(b"x"), "no journal"),
        (_truncated, "no journal, or a damaged one"),
        (_overwritten, "no journal, or a damaged one"),
        (_broken_page, "no journal, or a damaged one"),
        (_of_format(VERSION + 1), "written by a newer callsheet"),
        (_of_format(1), "written by an older callsheet: its format is 1"),
        (_of_format(0), "pass another path as journal="),
    ],
)
async def test_a_file_that_is_no_journal_is_not_changed(path, tmp_path, spoil, word):
    """A broken, foreign or newer file is named and refused, and no byte of it changes."""
    await leave(path, [TaskSpec("boat " * 100)] * 200)
    spoil(path)
    before = state_of(path)
    assert word in await refusal_of(path)
    assert state_of(path) == before
    assert files(tmp_path) == ["shoot.db"]


async def test_a_refused_file_of_a_killed_process_is_not_changed(path, tmp_path):
    """A refused file and the log that a killed process left beside it keep every byte."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS)).submitted()
        for name in ("shoot.db", "shoot.db-wal"):
            (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    copy, log = tmp_path / "copy-shoot.db", tmp_path / "copy-shoot.db-wal"
    before = state_of(copy), state_of(log)
    assert "cometapi" in await refusal_of(copy, provider=COMET, api_key="k")
    assert (state_of(copy), state_of(log)) == before
    assert (await resumed(copy, wire))[0] == BOATS


async def test_a_database_of_another_program_is_not_changed(path, tmp_path):
    """A database that another program made is refused and not changed."""
    _other_database(path)
    before = state_of(path)
    assert "no journal" in await refusal_of(path)
    assert state_of(path) == before
    assert files(tmp_path) == ["shoot.db"]


def leave_half_made(path):
    """Write the files that a process leaves if it is killed while it makes a database."""
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


@pytest.mark.parametrize("prepare", [leave_half_made, Path.touch], ids=["half made", "empty"])
async def test_an_incomplete_file_becomes_a_journal(path, prepare):
    """An empty file, or a half-made one with its rollback log, becomes a journal."""
    prepare(path)
    await leave(path, sent=True)
    assert (await resumed(path))[0] == BOATS


async def test_an_impossible_path_is_named(tmp_path):
    """The error names folders, missing folders, files as folders, devices and loops."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a folder" in await refusal_of(tmp_path)
    assert "no folder" in await refusal_of(tmp_path / "nowhere" / "shoot.db")
    assert "no folder" in await refusal_of(tmp_path / "file" / "shoot.db")
    assert "no regular file" in await refusal_of(Path("/dev/null"))
    await refusal_of(tmp_path / "loop")
    with pytest.raises(ConfigurationError):
        async with client(Wire(), journal="a\0b"):
            pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that is read-only")
async def test_a_path_that_cannot_be_written_is_named(path):
    """The client does not start if the file cannot be made or changed."""
    assert "cannot be opened" in await refusal_of(Path("/proc/shoot.db"))
    if os.getuid() != 0:
        path.touch()
        path.chmod(0o400)
        assert "cannot be opened" in await refusal_of(path)


async def test_an_empty_batch_is_not_stored(path):
    """Empty batches leave nothing to resume."""
    async with client(Wire(), journal=path) as c:
        assert len(await c.submit_many([])) == 0
        assert len(c.attach_many([])) == 0
    assert (await resumed(path))[0] == []


async def test_an_unreadable_entry_is_an_error_that_names_the_file(path):
    """A note or a picture that another program changed is an error."""
    file = io.BytesIO()
    Pillow.new("RGB", (320, 320)).save(file, "png")
    await leave(path, [TaskSpec("boat", first_frame=Image(file.getvalue()))], sent=True)
    for change, words in (
        ("UPDATE media SET content = x'00'", re.escape(str(path))),
        ("UPDATE tasks SET spec = NULL", None),
        ("INSERT INTO notes (row, kind, value) VALUES (1, 'sung', NULL)", "sung"),
    ):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(change)
        if words is None:
            assert (await resumed(path))[0] == [None]
        else:
            with pytest.raises(JournalError, match=words):
                await resumed(path)


# Full disks


async def silence(_request):
    """Never answer."""
    await anyio.sleep_forever()


async def test_a_plan_that_is_too_large_for_the_disk_fails_alone(path):
    """Notes that are written at the same time as the failing plan are kept."""
    wire = Wire(concurrency=10, render_seconds=1e5)
    failed = []
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("proves that creates work"))

        async def submit_too_much():
            with pytest.raises(JournalError):
                await c.submit_many([TaskSpec("boat", extra={"long": "long " * 400_000})])
            failed.append(True)

        with full_disk(path, room=400_000):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(submit_too_much)
                for spec in BOATS:
                    tasks.start_soon(c.submit, spec)
        assert failed == [True]
    async with client(wire, journal=path) as c:
        ids = [handle.task_id for handle in await c.resume()]
    assert sorted(ids) == sorted(task.id for task in wire.emulator.ledger.tasks)
    assert len(ids) == 6


async def test_unwritten_ids_are_written_when_the_disk_has_room(path, caplog):
    """The full disk and its end are logged, and nothing new is sent between them."""
    caplog.set_level("INFO", "callsheet")
    wire = Wire(render_seconds=1e5, latency=1.0)
    async with client(wire, journal=path) as c:
        batch = await c.submit_many(BOATS[:1])
        await anyio.sleep(0.5)
        with full_disk(path):
            await batch.submitted()
            with pytest.raises(JournalError):
                await c.submit(BOATS[1])
        await c.submit(BOATS[2])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    async with client(wire, journal=path) as c:
        again = await c.resume()
        assert [handle.spec for handle in again] == [BOATS[0], BOATS[2]]
        assert all(handle.task_id for handle in again)
    assert len(wire.sent("POST")) == 2


async def no_thread(*_args, **_options):
    """Fail as on a machine that cannot start another thread."""
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_without_a_thread_ids_are_kept_and_nothing_new_is_sent(path, monkeypatch):
    """Callers get an error as with a full disk, and all is written when a thread can start."""
    wire = Wire(render_seconds=1e5, latency=1.0)
    async with client(wire, journal=path) as c:
        batch = await c.submit_many(BOATS[:1])
        await anyio.sleep(0.5)
        with monkeypatch.context() as machine:
            machine.setattr(anyio.to_thread, "run_sync", no_thread)
            await batch.submitted()
            for refused in (c.submit(BOATS[1]), c.submit_many(BOATS)):
                with pytest.raises(JournalError, match=r"shoot.db cannot be written: can't start"):
                    await refused
        await c.submit(BOATS[2])
    async with client(wire, journal=path) as c:
        assert all(handle.task_id for handle in await c.resume())
    assert len(wire.sent("POST")) == 2


async def test_unwritten_ids_are_written_on_leaving(path):
    """If the disk has room again only late, leaving the client writes the ids."""
    wire = Wire(render_seconds=1e5, latency=1.0)
    async with client(wire, journal=path) as c:
        batch = await c.submit_many(BOATS[:1])
        await anyio.sleep(0.5)
        with full_disk(path):
            (task_id,) = await batch.submitted()
            with pytest.raises(JournalError):
                await c.submit(BOATS[1])
    async with client(wire, journal=path) as c:
        assert [handle.task_id for handle in await c.resume()] == [task_id]


@pytest.mark.parametrize("full", [True, False], ids=["full disk", "disk"])
async def test_the_error_of_the_block_is_raised(path, full):
    """The block's own error is raised, and its notes name the ids that were not written."""
    wire = Wire(render_seconds=1e5, latency=1.0)

    async def fail(limit):
        async with client(wire, journal=path) as c:
            batch = await c.submit_many(BOATS[:1])
            await anyio.sleep(0.5)
            if full:
                limit.enter_context(full_disk(path))
            await batch.submitted()
            raise KeyError("mine")

    with contextlib.ExitStack() as limit, pytest.raises(KeyError) as caught:
        await fail(limit)
    (made,) = wire.emulator.ledger.tasks
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == full
    assert all(made.id in note for note in notes)
    async with client(wire, journal=path) as c:
        (handle,) = await c.resume()
        assert handle.task_id == (None if full else made.id)


# Cancellation during a write


async def test_a_plan_of_a_closing_client_is_written_whole_or_not_at_all(path):
    """Wherever closing interrupts a plan of another task, no part of a plan is written."""
    wire = Wire()
    wire.fault = first(999, lambda: refusal(429, "ServerOverloaded"))

    async def plan(c):
        with contextlib.suppress(ClosedError):
            await c.submit_many(BOATS)

    for steps in range(12):
        async with anyio.create_task_group() as tasks, client(wire, journal=path) as c:
            tasks.start_soon(plan, c)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    specs, _ = await resumed(path)
    assert specs == BOATS * (len(specs) // len(BOATS))


async def test_a_cancelled_plan_leaves_nothing(path):
    """Wherever a plan is cancelled while it is written, none of its specs is planned."""
    wire = Wire(concurrency=1000, queue_limit=1000, render_seconds=1e5)
    kept = []
    async with client(wire, journal=path) as c:

        async def plan(specs):
            await c.submit_many(specs)
            kept.extend(specs)

        for steps in range(12):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plan, [TaskSpec(f"boat {steps}"), TaskSpec(f"ship {steps}")])
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await plan(BOATS)
    specs, _ = await resumed(path, wire)
    assert specs == kept
    assert len(kept) < 5 + 24


async def test_a_cancelled_plan_that_did_not_fit_leaves_nothing(path):
    """It uses no rows, so the ids of the next client do not disappear with it."""
    wire = Wire(concurrency=10, render_seconds=1e5)

    async def plan(c):
        with contextlib.suppress(JournalError):
            await c.submit_many([TaskSpec("never")] * 2)

    async with client(wire, journal=path) as c:
        await c.submit(BOATS[0])
        with full_disk(path):
            for steps in range(8):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(plan, c)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS[1:])).submitted()
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert [handle.spec for handle in batch] == BOATS
        assert all(handle.task_id for handle in batch)
    assert sorted(wire.prompts) == [spec.prompt for spec in BOATS]


async def test_a_cancelled_submit_neither_loses_nor_repeats_a_task(tmp_path):
    """Wherever a submit is cancelled, the next client loses no task and pays for none twice."""
    fates = set()
    for steps in (*range(10), 40):
        wire = Wire(render_seconds=30.0)
        async with (
            client(wire, journal=tmp_path / f"{steps}.db") as c,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(c.submit, BOATS[0])
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            if steps == 40:  # by then it is sent, even if the disk is slow
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        left = len(wire.sent("POST"))
        async with client(wire, journal=tmp_path / f"{steps}.db") as c:
            for outcome in await (await c.resume()).result():
                assert outcome.ok == bool(left)
                assert left or isinstance(outcome.error, NotSubmittedError)
        assert wire.emulator.ledger.created == len(wire.sent("POST")) == left
        fates.add(left)
    assert fates == {0, 1}


# Only what is going on, and what ended long ago


async def test_only_what_is_going_on_is_resumed_on_request(path):
    """With *unfinished*, specs with a final outcome are left out, and their money counts."""
    wire = Wire(render_seconds=60.0, concurrency=10)
    async with client(wire, journal=path) as c:
        done = await c.submit_many([*BOATS[:2], TaskSpec("[fail] boat")], name="done")
        await done.result()
        await (await c.submit_many(BOATS[3:4], name="on")).submitted()
        wire.fault = first(9, lambda: refusal(429, "ServerOverloaded"))
        await c.submit_many(BOATS[4:], name="on")
        await anyio.sleep(1)
    wire.fault = None
    async with client(wire, journal=path, spend=SpendLimit(tasks=4)) as c:
        batch = await c.resume(unfinished=True)
        assert [handle.spec for handle in batch] == BOATS[3:]
        assert (batch.name, batch.progress.total) == ("on", 2)
        assert c.spend.spent.tasks == 2
        result = await batch.result()
        assert [outcome.index for outcome in result if outcome.ok] == [0, 1]
        assert c.spend.spent.tasks == 4
    async with client(wire, journal=path) as c:
        assert len(await c.resume(unfinished=True)) == 0
        assert c.spend.spent.tasks == 4
    async with client(wire, journal=path) as c:
        assert len(await c.resume()) == 5


async def test_an_error_that_another_process_may_mend_is_not_final(path):
    """A task that the client gave up, and a spec that a refused key stopped, are going on."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS[:1])).submitted()
        wire.fault = first(99, lambda: refusal(401, "AuthenticationError"), method="POST")
        await (await c.submit_many(BOATS[1:2])).result()
    async with client(wire, journal=path) as c:
        assert [handle.spec for handle in await c.resume(unfinished=True)] == BOATS[:2]


async def later_client(monkeypatch, path, wire, days, **options):
    """A client that is opened days later."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + days * 86_400)
    return client(wire, journal=path, **options)


async def test_what_ended_long_ago_is_pruned(path, monkeypatch):
    """Pruning removes old specs that are over, and their media, and keeps everything else."""
    pixels = io.BytesIO()
    Pillow.new("RGB", (320, 320)).save(pixels, "png")
    picture = Image(pixels.getvalue())
    wire = Wire(render_seconds=60.0, concurrency=10)
    async with client(wire, journal=path) as c:
        await (await c.submit_many([TaskSpec("old", first_frame=picture)], name="old")).result()
        await (await c.submit_many([TaskSpec("[fail] old")])).result()
        wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
        wire.fault = first(99, lambda: refusal(500, "InternalServiceError"), method="GET")
        await c.submit_many([TaskSpec("lost")])
        await anyio.sleep(1)
    wire.fault, wire.lose = None, lambda _: None
    async with await later_client(monkeypatch, path, wire, 40) as c:
        await (await c.submit_many([TaskSpec("new")])).result()
        month_ago = datetime.fromtimestamp(time.time(), UTC) - timedelta(days=30)
        assert await c.prune(before=month_ago) == 2
        assert await c.prune(before=month_ago) == 0
        assert [handle.spec.prompt for handle in await c.resume()] == ["lost"]
        # the picture was removed, too, and is stored anew
        await (await c.submit_many([TaskSpec("again", first_frame=picture)])).submitted()
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert [handle.spec.prompt for handle in batch] == ["lost", "new", "again"]
        assert batch[2].spec.first_frame == picture
        assert (await batch[1]).url


async def test_pruning_keeps_what_may_have_made_a_task(path, monkeypatch):
    """A spec that ended beside a create of unknown fate is kept, however old."""
    wire = Wire()
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS[:2])).result()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO notes (row, kind, n, value, at) VALUES (1, 'attempt', 2, '[\"t\",1]', 1)"
        )
    async with await later_client(monkeypatch, path, wire, 40) as c:
        assert await c.prune(before=datetime.now()) == 1  # noqa: DTZ005 - local time is allowed
        assert [handle.spec for handle in await c.resume()] == BOATS[:1]


async def test_pruning_keeps_keys(path, monkeypatch):
    """A pruned row with a key is not resumed, and the key stays in the file with its spec."""
    wire = Wire()
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS[:2])).result()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE tasks SET key = 'mine' WHERE row = 1")
    async with await later_client(monkeypatch, path, wire, 1) as c:
        assert await c.prune(before=datetime.now(UTC) + timedelta(days=1)) == 2
        assert await c.prune(before=datetime.now(UTC) + timedelta(days=1)) == 0
        assert len(await c.resume()) == 0
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT row, key FROM tasks").fetchall() == [(1, "mine")]
        kinds = {kind for (kind,) in database.execute("SELECT kind FROM notes")}
        assert kinds == {"attempt", "made", "pruned"}
    async with client(wire, journal=path) as c:
        assert len(await c.resume()) == 0
    assert len(wire.sent("POST")) == 2


async def test_pruning_needs_a_journal_and_a_time(path):
    """The error says what is missing."""
    async with client(Wire()) as c:
        with pytest.raises(ConfigurationError, match="journal="):
            await c.prune(before=datetime.now(UTC))
    async with client(Wire(), journal=path) as c:
        with pytest.raises(ConfigurationError, match="before is 5; give a time"):
            await c.prune(before=5)


async def test_a_prune_that_finds_no_room_removes_nothing(path):
    """On a full disk pruning raises, and everything is still there."""
    wire = Wire()
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS)).result()
        await anyio.sleep(1)
        with full_disk(path), pytest.raises(JournalError, match="cannot be pruned"):
            await c.prune(before=datetime.now(UTC) + timedelta(days=1))
        assert await c.prune(before=datetime.now(UTC) + timedelta(days=1)) == 5


# Attempts


async def test_every_attempt_keeps_its_token_through_processes(path):
    """The number of an attempt goes on in the next process, and no token replaces another."""
    wire = Wire()
    wire.fault = first(2, lambda: httpx.Response(502), method="POST")
    always = {"retry": RetryPolicy(resubmit="always", lookup=5.0)}
    async with client(wire, journal=path, **always) as c:
        await (await c.submit_many(BOATS[:1])).submitted()
    kept = attempts_in(path)
    assert [(kind, n) for kind, n, _ in kept][-2:] == [("attempt", 3), ("made", 3)]
    assert len({value for kind, _, value in kept if kind == "attempt"}) == 3
    wire.fault = first(1, lambda: httpx.Response(502), method="POST")
    async with client(wire, journal=path, **always) as c:
        await c.submit_many(BOATS[1:2])
        await anyio.sleep(1)
    async with client(wire, journal=path, **always) as c:
        await (await c.resume()).submitted()
    assert [(kind, n) for kind, n, _ in attempts_in(path, row=2)] == [
        ("attempt", 1),
        ("absent", 1),
        ("attempt", 2),
        ("made", 2),
    ]


def attempts_in(path, *, row=1):
    """What the file says about the attempts of a row: kind, number and value."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(
            "SELECT kind, n, value FROM notes WHERE row = ? AND n NOT NULL ORDER BY seq", (row,)
        ).fetchall()


async def test_an_attempt_without_its_own_note_is_not_sent_again(path):
    """Whatever is known of an attempt, one that may have made a task is never just queued."""
    wire = Wire()
    wire.fault = first(99, lambda: refusal(429, "ServerOverloaded"))
    async with client(wire, journal=path) as c:
        await c.submit_many(BOATS[:1])
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM notes")
        database.execute("INSERT INTO notes (row, kind, n) VALUES (1, 'doubted', 1)")
    wire.fault, posts = None, len(wire.sent("POST"))
    async with client(wire, journal=path) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, SubmissionUncertainError)
        assert c.spend.uncertain.tasks == 1
    assert len(wire.sent("POST")) == posts


async def test_a_refused_create_that_is_sent_again_is_one_attempt(path):
    """A create that was refused for its rate has one number and token, and counts its tries."""
    wire = Wire(render_seconds=1e5)
    wire.fault = first(2, lambda: refusal(429, "ServerOverloaded"), method="POST")
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS[:1])).submitted()
    kept = [(kind, n, value) for kind, n, value in attempts_in(path)]
    token = kept[0][2].removesuffix(",1]")
    assert kept[:-1] == [
        ("attempt", 1, f"{token},1]"),
        ("refused", 1, "1"),
        ("attempt", 1, f"{token},2]"),
        ("refused", 1, "2"),
        ("attempt", 1, f"{token},3]"),
    ]
    assert kept[-1][:2] == ("made", 1)
