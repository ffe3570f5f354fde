"""The journal as a file: what it holds for the next client, what is none, and full disks."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import sqlite3
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
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
    SpecError,
    TaskSpec,
)
from disks import full_disk
from emulation import ARK, COMET, Wire, client, first, refusal
from processes import files


BOATS = [TaskSpec(f"boat {i}") for i in range(5)]
QUICK = {"limits": Limits(creates_per_minute=100_000, connections=300)}


@pytest.fixture
def path(tmp_path):
    """Where a journal is to be."""
    return tmp_path / "shoot.db"


def sealed(path):
    """All that can be seen of a file."""
    found = path.stat()
    return path.read_bytes(), found.st_size, found.st_mtime_ns


async def told(path, **options):
    """The words with which a journal is refused, its path among them."""
    wire = Wire()
    with pytest.raises(ConfigurationError) as caught:
        async with client(wire, journal=path, **options):
            pass
    assert str(path) in str(caught.value)
    assert not wire.seen
    return str(caught.value)


async def leave(path, specs=BOATS, *, sent=False, **options):
    """A client leaves a journal with specs, of which the first has been sent only if that is so."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path, **options) as c:
        batch = await c.submit_many(specs)
        if sent:
            await batch.submitted()
        else:
            await batch.cancel()


async def resumed(path, wire=None, **options):
    """The specs, and the batch, that the next client takes up."""
    async with client(wire or Wire(render_seconds=1e5), journal=path, **options) as c:
        batch = await c.resume()
        return [handle.spec for handle in batch], batch


async def test_a_plan_is_there_when_it_returns(path):
    """Specs come back in their order, from every batch, although none of them was sent."""
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


async def test_where_a_video_was_saved_is_kept_from_any_folder(path, tmp_path, monkeypatch):
    """A relative path is kept as the file that it was, beside the provider's last word."""
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


async def test_tasks_that_exist_already_have_an_id_and_no_spec(path):
    """Attached ids are one batch in their order, with its name."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        ids = [await c.tasks.create(spec) for spec in BOATS[:2]][::-1]
        c.attach_many(ids, name="old")
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert batch.name == "old"
        assert [(handle.task_id, handle.spec) for handle in batch] == [(i, None) for i in ids]


async def test_many_at_once_keep_their_order(path):
    """News from many tasks at once is written in the order in which it came."""
    wire = Wire(concurrency=300, queue_limit=300, creates_per_minute=100_000)
    specs = [TaskSpec(f"boat {i}") for i in range(300)]
    async with client(wire, journal=path, **QUICK) as c:
        urls = (await (await c.submit_many(specs)).result()).urls()
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert [handle.spec for handle in batch] == specs
        assert (await batch.result()).urls() == urls


async def test_what_comes_together_is_written_together(path, monkeypatch):
    """A hundred callers that wait at the same time share a few hops to the disk."""
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


async def test_bytes_are_stored_once_for_each_content(path):
    """A picture in many specs takes its room once, in one plan or in several."""
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


async def test_paths_hold_from_any_folder(path, tmp_path, monkeypatch):
    """A relative path is kept as the file that it was, and an id as it is."""
    monkeypatch.chdir(tmp_path)
    Pillow.new("RGB", (320, 320)).save(tmp_path / "a.png")
    spec = TaskSpec("boat", first_frame="a.png", last_frame="asset://end")
    await leave(path, [spec], sent=True)
    monkeypatch.chdir("/")
    ((again,), _) = await resumed(path)
    assert again.first_frame == Image(tmp_path / "a.png")
    assert again.last_frame == Image("asset://end")


async def test_a_spec_that_cannot_be_written_down_is_refused(path):
    """All that JSON cannot hold is named, with its spec, and nothing of the batch is planned."""
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
async def test_a_journal_of_others_is_refused(path, changes, words):
    """Provider, address and key must be those that it was made for; no mark of a key is told."""
    await leave(path, sent=True, api_key="a-key")
    before = sealed(path)
    text = await told(path, **{"api_key": "a-key", **changes})
    assert all(word in text for word in words)
    assert "-key" not in text
    assert not re.search(r"[0-9a-f]{8}", text)
    assert sealed(path) == before
    assert files(path.parent) == ["shoot.db"]


async def test_a_key_that_bought_nothing_may_be_put_right(path):
    """As long as nothing was made, or may have been, another key takes the journal over."""
    wire = Wire(keys=("right",), render_seconds=1e5)
    async with client(wire, journal=path, api_key="wrong") as c:
        result = await (await c.submit_many(BOATS)).result()
        assert isinstance(result[0].error, AuthenticationError)
    async with client(wire, journal=path, api_key="right") as c:
        await (await c.resume()).submitted()
    assert wire.emulator.ledger.created == 5
    assert "another API key" in await told(path, api_key="wrong")


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
        ((version,),) = database.execute("PRAGMA user_version")
        database.execute(f"PRAGMA user_version = {version + 1}")
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
    await leave(path, [TaskSpec("boat " * 100)] * 200)
    spoil(path)
    before = sealed(path)
    assert word in await told(path)
    assert sealed(path) == before
    assert files(tmp_path) == ["shoot.db"]


async def test_what_a_kill_left_is_refused_untouched(path, tmp_path):
    """Even with a log beside it that a killed process left, a refused file keeps every byte."""
    wire = Wire(render_seconds=1e5)
    async with client(wire, journal=path) as c:
        await (await c.submit_many(BOATS)).submitted()
        for name in ("shoot.db", "shoot.db-wal"):
            (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    copy, log = tmp_path / "copy-shoot.db", tmp_path / "copy-shoot.db-wal"
    before = sealed(copy), sealed(log)
    assert "cometapi" in await told(copy, provider=COMET, api_key="k")
    assert (sealed(copy), sealed(log)) == before
    assert (await resumed(copy, wire))[0] == BOATS


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


@pytest.mark.parametrize("prepare", [leave_half_made, Path.touch], ids=["half made", "empty"])
async def test_what_is_no_journal_yet_becomes_one(path, prepare):
    """A half-made file with the log that undoes it, and an empty one, are made a journal."""
    prepare(path)
    await leave(path, sent=True)
    assert (await resumed(path))[0] == BOATS


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
        async with client(Wire(), journal="a\0b"):
            pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that is read-only")
async def test_a_path_that_cannot_be_written_is_named(path):
    """Where no file can be made, or the file cannot be changed, the client does not start."""
    assert "cannot be opened" in await told(Path("/proc/shoot.db"))
    if os.getuid() != 0:
        path.touch()
        path.chmod(0o400)
        assert "cannot be opened" in await told(path)


async def test_no_specs_need_no_room(path):
    """An empty batch is no batch."""
    async with client(Wire(), journal=path) as c:
        assert len(await c.submit_many([])) == 0
        assert len(c.attach_many([])) == 0
    assert (await resumed(path))[0] == []


async def test_an_entry_that_cannot_be_read_is_an_error_that_names_the_file(path):
    """A note or a picture that was changed from outside is not passed over."""
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
    """Let nothing be answered."""
    await anyio.sleep_forever()


async def test_one_that_needs_too_much_room_harms_nobody_else(path):
    """A plan that does not fit fails alone: what was written at the same time is written."""
    wire = Wire(concurrency=10, render_seconds=1e5)
    failed = []
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("proves that creates work"))

        async def much():
            with pytest.raises(JournalError):
                await c.submit_many([TaskSpec("boat", extra={"long": "long " * 400_000})])
            failed.append(True)

        with full_disk(path, room=400_000):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(much)
                for spec in BOATS:
                    tasks.start_soon(c.submit, spec)
        assert failed == [True]
    async with client(wire, journal=path) as c:
        ids = [handle.task_id for handle in await c.resume()]
    assert sorted(ids) == sorted(task.id for task in wire.emulator.ledger.tasks)
    assert len(ids) == 6


async def test_ids_that_cannot_be_written_are_kept_and_written_as_soon_as_there_is_room(
    path, caplog
):
    """The log tells of both; nothing new begins in between, and nothing is lost."""
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
    """What a machine without room for another thread says."""
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def test_without_a_thread_to_write_ids_are_kept_and_nothing_new_begins(path, monkeypatch):
    """Whoever waits is told, as with a full disk; once there is a thread, all is written."""
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


async def test_what_was_kept_is_written_on_leaving(path):
    """Room that came back late is used on leaving."""
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
async def test_the_blocks_own_error_goes_first(path, full):
    """An error of the block leaves bare; what was not written stands in its notes."""
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


# Cancelled while something is written


async def test_a_plan_that_is_cancelled_with_its_client_is_whole_or_not_there(path):
    """Wherever closing meets a plan from another task, it is not left half written."""
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
    """Who is cancelled while a plan is written has planned nothing, wherever it was."""
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
    """Its rows were never there, so that ids of the next process do not vanish with them."""
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


async def test_an_attempt_is_noted_whole_or_not_begun(tmp_path):
    """Wherever who submits is cancelled, the next client neither loses a task nor buys another."""
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
            if steps == 40:  # by then it has left, however slow the disk is
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
