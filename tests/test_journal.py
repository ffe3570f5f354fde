"""A client with a journal, and how the next client continues from it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import (
    CallsheetError,
    ConfigurationError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    NotSubmittedError,
    SpecError,
    SpendLimit,
    SpendLimitError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskSpec,
    Video,
)
from disks import full_disk
from emulation import ARK, COMET, Wire, body_of, client, first, refusal


if TYPE_CHECKING:
    from pathlib import Path

    from callsheet import Provider


def boats(count: int) -> list[TaskSpec]:
    """*count* specs."""
    return [TaskSpec(f"boat {i}") for i in range(count)]


async def test_a_batch_continues_where_the_last_client_stopped(tmp_path: Path):
    """Finished, running, waiting and unsent specs come back in order, and each is paid once."""
    wire = Wire(concurrency=4, queue_limit=4, render_seconds=60.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        batch = await c.submit_many(boats(20), name="boats")
        await anyio.sleep(100)
        before = batch.progress
    assert before.succeeded >= 4
    assert before.submitted < 20
    async with client(wire, journal=path) as c:
        again = await c.resume()
        assert again.name == "boats"
        assert again.progress.succeeded == before.succeeded
        assert [handle.spec for handle in again] == boats(20)
        assert len((await again.result()).urls()) == 20
        assert c.spend.spent.tasks == 20
    assert wire.emulator.ledger.billed == wire.emulator.ledger.created == 20


async def test_a_finished_journal_gives_all_outcomes_at_once(tmp_path: Path):
    """Videos, failures and refusals are the same as before and need no request."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    specs = [TaskSpec("a"), TaskSpec("[fail] b"), TaskSpec("c", extra={"duration": "x"})]
    async with client(wire, journal=path) as c:
        first_time = await (await c.submit_many(specs)).result()
    sent = len(wire.seen)
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        second_time = await batch.result()
        assert batch.progress.done
    assert len(wire.seen) == sent
    kinds = [Video, TaskFailedError, InvalidRequestError]
    for kind, one, two in zip(kinds, first_time, second_time, strict=True):
        assert isinstance(one.video or one.error, kind)
        assert type(one.video or one.error) is type(two.video or two.error)
        assert str(one.error) == str(two.error)
        assert one.video == two.video
        assert one.task_id == two.task_id


async def test_a_create_in_flight_on_leaving_is_found_by_the_next_client(tmp_path: Path):
    """A create without an answer is found by its token and not sent again."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
    async with client(wire, journal=path) as c:
        await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(1)
    async with client(wire, journal=path) as c:
        (handle,) = await c.resume()
        assert (await handle).url
    assert len(wire.sent("POST")) == 1
    assert wire.emulator.ledger.billed == 1


def advance_wall_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the wall clock go on by *seconds*, as between two processes."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + seconds)


async def leave_one_lost(wire: Wire, path: Path) -> None:
    """Close a client that does not know whether its create made a task."""
    async with client(wire, journal=path) as c:
        await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(1)


async def test_a_search_goes_on_after_a_failed_list_hours_later(tmp_path: Path, monkeypatch):
    """However long ago a create was lost, one failed list does not end the search for it."""
    wire = Wire(render_seconds=5000.0)
    path = tmp_path / "shoot.db"
    wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
    await leave_one_lost(wire, path)
    advance_wall_clock(monkeypatch, 8 * 3600)
    wire.fault = first(3, lambda: refusal(503, "ServiceUnavailable"), method="GET")
    async with client(wire, journal=path) as c:
        (handle,) = await c.resume()
        assert (await handle).url
    assert wire.emulator.ledger.billed == 1


@pytest.mark.parametrize(("days", "sent"), [(6, 2), (8, 1)])
async def test_a_lost_create_that_lists_no_longer_show_is_not_sent_again(
    tmp_path: Path, monkeypatch, days: int, sent: int
):
    """A lost create is not sent again after a week, because lists no longer show such tasks."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    wire.fault = first(1, lambda: httpx.Response(502))
    await leave_one_lost(wire, path)
    advance_wall_clock(monkeypatch, days * 86_400)
    async with client(wire, journal=path) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, SubmissionUncertainError) == (sent == 1)
        assert c.spend.uncertain.tasks == (sent == 1)
    assert len(wire.sent("POST")) == sent


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be deleted")
@pytest.mark.parametrize("provider", [ARK, COMET], ids=["ark", "cometapi"])
async def test_an_id_that_a_kill_left_unwritten_is_found_by_its_token(
    tmp_path: Path, provider: Provider
):
    """Without a token, the task is uncertain and not sent again."""
    wire = Wire(render_seconds=60.0)
    path, killed = tmp_path / "shoot.db", tmp_path / "killed.db"

    def kill(request: httpx.Request, _response: httpx.Response) -> None:
        if request.method == "POST":
            for kind in ("", "-wal"):
                shutil.copy(f"{path}{kind}", f"{killed}{kind}")

    wire.change = kill
    async with client(wire, provider=provider, api_key="k", journal=path) as c:
        handle = await c.submit(TaskSpec("boat"))
    async with client(wire, provider=provider, api_key="k", journal=killed) as c:
        (outcome,) = await (await c.resume()).result()
    if provider is ARK:
        assert outcome.task_id == handle.task_id
    else:
        assert isinstance(outcome.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 1


async def test_nothing_is_sent_after_the_journal_is_deleted(tmp_path: Path):
    """A journal that is deleted during use is noticed, and the error names the missing ids."""
    wire = Wire()
    path = tmp_path / "shoot.db"

    async def lose_the_journal() -> None:
        async with client(wire, journal=path) as c:
            first_task = await c.submit(TaskSpec("boat"))
            path.rename(tmp_path / "elsewhere.db")
            with pytest.raises(JournalError, match="deleted, moved or replaced"):
                await c.submit(TaskSpec("another"))
            await first_task

    with pytest.raises(JournalError, match="deleted") as caught:
        await lose_the_journal()
    assert "notes are not on disk" in str(caught.value)
    assert len(wire.sent("POST")) == 1


async def test_nothing_is_sent_while_the_disk_is_full(tmp_path: Path):
    """A spec that cannot be written is not sent; running tasks end and are written later."""
    wire = Wire(render_seconds=60.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        first_batch = await c.submit_many(boats(3))
        await first_batch.submitted()
        planned = await c.submit_many(boats(1))
        with full_disk(path):
            for refused in (c.submit(TaskSpec("no")), c.submit_many(boats(2))):
                with pytest.raises(JournalError, match=r"shoot\.db cannot be written"):
                    await refused
            assert isinstance((await planned[0].outcome()).error, JournalError)
            outcomes = [outcome async for outcome in c.map(boats(2))]
            assert all(isinstance(outcome.error, JournalError) for outcome in outcomes)
            assert len((await first_batch.result()).urls()) == 3
        assert (await c.run(TaskSpec("yes"))).url
        assert c.spend.committed.tasks == c.spend.spent.tasks == 4
    assert wire.emulator.ledger.created == len(wire.sent("POST")) == 4
    async with client(wire, journal=path) as c:
        outcomes = await (await c.resume()).result()
        assert [outcome.ok for outcome in outcomes] == [True] * 5
    assert wire.emulator.ledger.billed == 5


async def test_ids_that_could_not_be_written_are_named_and_found_again(tmp_path: Path):
    """If the disk fills up after a create, its id is in the error and no second task is made."""
    wire = Wire()
    path = tmp_path / "shoot.db"

    async def leave_with_a_full_disk() -> None:
        async with client(wire, journal=path) as c:
            batch = await c.submit_many(boats(1))
            await anyio.sleep(0.02)
            assert len(wire.seen) == 1
            limit.enter_context(full_disk(path))
            await batch.submitted()

    with ExitStack() as limit, pytest.raises(JournalError) as caught:
        await leave_with_a_full_disk()
    task_id = wire.emulator.ledger.tasks[0].id
    assert task_id in str(caught.value)
    async with client(wire, journal=path) as c:
        (handle,) = await c.resume()
        assert (await handle).task_id == task_id
    assert wire.emulator.ledger.billed == 1


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser writes everywhere"
)
async def test_a_read_only_journal_is_refused(tmp_path: Path):
    """A journal that cannot be written is refused before anything is sent."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path):
        pass
    path.chmod(0o444)
    tmp_path.chmod(0o555)  # noqa: ASYNC240 - nothing else runs
    try:
        for name in ("shoot.db", "other.db"):
            with pytest.raises(ConfigurationError, match=f"{name} .*read-only"):
                async with client(wire, journal=tmp_path / name):
                    pass
    finally:
        tmp_path.chmod(0o755)  # noqa: ASYNC240 - nothing else runs
    assert not wire.seen


@pytest.mark.parametrize("place", [0, 20, 200, 4096, 8192, 20_000])
async def test_a_damaged_journal_is_refused_and_kept(tmp_path: Path, place: int):
    """A damaged file gives all outcomes or an error, nothing is sent, and the file is kept."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(50))).result()
    whole = path.read_bytes()
    assert len(whole) > place
    path.write_bytes(damaged := whole[:place] + b"\xff" * 64 + whole[place + 64 :])
    sent = len(wire.seen)

    async def use() -> CallsheetError | int:
        try:
            async with client(wire, journal=path) as c:
                return len((await (await c.resume()).result()).urls())
        except (ConfigurationError, JournalError) as error:
            return error

    result = await use()
    assert result == 50 or str(path) in str(result)
    assert not isinstance(result, ConfigurationError) or path.read_bytes() == damaged
    assert place >= 100 or isinstance(result, ConfigurationError)  # the header of the file
    assert len(wire.seen) == sent


async def test_a_cancelled_spec_is_not_sent_by_the_next_client(tmp_path: Path):
    """A cancelled spec stays cancelled, and a spec that only waited is sent."""
    wire = Wire(concurrency=1, queue_limit=1, render_seconds=1000.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        batch = await c.submit_many(boats(6))
        await anyio.sleep(5)
        unsent = [place for place, handle in enumerate(batch) if handle.task_id is None]
        assert await batch[unsent[0]].cancel()
    async with client(wire, journal=path) as c:
        again = await c.resume()
        assert isinstance((await again[unsent[0]].outcome()).error, NotSubmittedError)
        assert not again[unsent[1]].done
        result = await again.result()
    assert [outcome.index for outcome in result if not outcome.ok] == unsent[:1]
    assert wire.emulator.ledger.created == 5


async def test_a_batch_with_a_refused_key_is_sent_by_the_next_client(tmp_path: Path):
    """Specs that were not sent because of a refused key are still open."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    wire.fault = first(1, lambda: refusal(401, "AuthenticationError"))
    async with client(wire, journal=path) as c:
        assert len((await (await c.submit_many(boats(3))).result()).failures) == 3
    async with client(wire, journal=path) as c:
        assert len((await (await c.resume()).result()).urls()) == 3


async def test_a_task_that_was_given_up_is_polled_by_the_next_client(tmp_path: Path):
    """Only the provider's answer ends a task for the next client, and the spend includes it."""
    wire = Wire(render_seconds=60.0)
    path = tmp_path / "shoot.db"

    async def task_not_found(request: httpx.Request) -> httpx.Response | None:
        return refusal(404, "NotFound") if request.method == "GET" else None

    def without_video(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = {} if request.method != "GET" else body_of(response)
        for row in body.get("items", [body]):
            row.pop("content", None)
        return httpx.Response(200, json=body) if body else None

    wire.fault, kinds = task_not_found, []
    async with client(wire, journal=path) as c:
        kinds.append(type((await (await c.submit_many(boats(1))).result())[0].error))
        assert c.spend.uncertain.tasks == 1
    wire.fault, wire.change = None, without_video
    for _ in range(2):
        async with client(wire, journal=path) as c:
            batch = await c.resume()
            assert c.spend.reserved.tasks == 1
            kinds.append(type((await batch.result())[0].error))
            assert c.spend.spent.tasks == 1
    assert kinds == [NotFoundError, TaskFailedError, TaskFailedError]
    wire.change = lambda _request, _response: None
    async with client(wire, journal=path) as c:
        assert len((await (await c.resume()).result()).urls()) == 1
        assert c.spend.spent.tasks == 1
    assert len(wire.sent("POST")) == 1


async def test_attached_tasks_and_saved_files_are_remembered(tmp_path: Path):
    """An attached task is watched again, and its handle knows where the video was saved."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire) as c:
        task_id = await c.tasks.create(TaskSpec("boat"))
    async with client(wire, journal=path) as c:
        handle = c.attach(task_id)
        assert handle.file is None
        await handle
        handle.saved(tmp_path / "boat.mp4")
        assert handle.file == tmp_path / "boat.mp4"
    async with client(wire, journal=path) as c:
        (again,) = await c.resume()
        assert again.task_id == task_id
        assert again.done
        assert again.file == tmp_path / "boat.mp4"


@pytest.mark.parametrize("error", [None, KeyError])
async def test_attached_ids_are_kept_if_the_client_is_left_at_once(
    tmp_path: Path, error: type[Exception] | None
):
    """The ids are in the journal when the block ends, also if it ends with an error."""
    path = tmp_path / "shoot.db"
    wire = Wire(concurrency=10, render_seconds=60.0)
    async with client(wire) as c:
        ids = await (await c.submit_many(boats(3))).submitted()
    with pytest.raises(error) if error else nullcontext():
        async with client(wire, journal=path) as c:
            c.attach_many(ids)
            if error:
                raise error
    async with client(wire, journal=path) as c:
        assert [handle.task_id for handle in await c.resume()] == list(ids)


async def test_attached_ids_are_kept_if_the_client_is_cancelled(tmp_path: Path):
    """A Ctrl-C right after attaching loses no id."""
    path = tmp_path / "shoot.db"
    wire = Wire(concurrency=10, render_seconds=60.0)
    with anyio.CancelScope() as scope:
        async with client(wire, journal=path) as c:
            ids = await (await c.submit_many(boats(3))).submitted()
            c.attach_many(ids)
            scope.cancel()
            await anyio.sleep_forever()
    async with client(wire, journal=path) as c:
        assert [handle.task_id for handle in await c.resume()] == [*ids, *ids]


async def test_a_client_resumes_once_and_only_from_a_journal(tmp_path: Path):
    """A second resume and one without a journal are errors; an empty journal is an empty batch."""
    wire = Wire()
    async with client(wire) as c:
        with pytest.raises(ConfigurationError, match="journal="):
            await c.resume()
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        assert len(await c.resume()) == 0
        with pytest.raises(ConfigurationError, match="already"):
            await c.resume()


async def test_a_resume_that_fails_can_be_called_again(tmp_path: Path):
    """While the disk is full nothing is resumed; later everything is resumed, once."""
    wire = Wire(render_seconds=60.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(3))).submitted()
    async with client(wire, journal=path) as c:
        new = await c.submit(TaskSpec("new"))
        with full_disk(path):
            await new  # its outcome is kept until it can be written
            with pytest.raises(JournalError):
                await c.resume()
        again = await c.resume()
        assert len((await again.result()).urls()) == 3
        assert c.spend.spent.tasks == 4
    assert wire.emulator.ledger.billed == wire.emulator.ledger.created == 4


@pytest.mark.parametrize("turns", [0, 2, 4])
async def test_a_cancelled_resume_resumes_all_or_nothing(tmp_path: Path, turns: int):
    """Wherever a resume is cancelled, each task has one record and is paid once."""
    wire = Wire(concurrency=1000, queue_limit=500, render_seconds=60.0, creates_per_minute=100_000)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(520))).submitted()
    async with client(wire, journal=path) as c, anyio.create_task_group() as group:
        batches: list[object] = []

        async def resume() -> None:
            batches.append(await c.resume())

        group.start_soon(resume)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
            if not batches:
                assert c.spend.committed.tasks == 0
                batches.append(await c.resume())
            assert len((await batches[0].result()).urls()) == 520
            assert c.spend.spent.tasks == 520
    assert wire.emulator.ledger.billed == 520


async def test_a_new_spec_is_not_resumed(tmp_path: Path):
    """Only specs of an earlier client are resumed, even if new ones are submitted first."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await c.submit(TaskSpec("old"))
    async with client(wire, journal=path) as c:
        new = await c.submit(TaskSpec("new"))
        (old,) = await c.resume()
        assert (await old).task_id != (await new).task_id
    assert wire.emulator.ledger.billed == 2


async def test_a_journal_has_one_client_at_a_time_and_one_key(tmp_path: Path):
    """A journal that is in use, or of another key, is refused, and no key is shown."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path, api_key="secret-key-of-the-first") as c:
        await c.submit(TaskSpec("boat"))
        with pytest.raises(ConfigurationError, match="in use"):
            async with client(wire, journal=path, api_key="secret-key-of-the-first"):
                pass
    with pytest.raises(ConfigurationError, match="another API key") as caught:
        async with client(wire, journal=path, api_key="secret-key-of-another"):
            pass
    assert "secret" not in str(caught.value)
    assert b"secret" not in path.read_bytes()


async def test_a_spend_limit_counts_the_tasks_of_earlier_clients(tmp_path: Path):
    """The tasks of an earlier client are in the spend of the next one."""
    wire = Wire()
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(3))).result()
    async with client(wire, journal=path, spend=SpendLimit(tasks=4)) as c:
        await c.resume()
        assert c.spend.spent.tasks == 3
        result = await (await c.submit_many(boats(3))).result()
        assert sum(outcome.ok for outcome in result) == 1
    assert wire.emulator.ledger.created == 4


async def test_a_spend_limit_below_the_journals_spend_stops_new_creates(tmp_path: Path):
    """Running tasks go on; specs that made no task are refused and stay open."""
    wire = Wire(concurrency=10, render_seconds=400.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(3))).submitted()
        wire.fault = first(1, lambda: httpx.Response(502))
        await c.submit_many([TaskSpec("lost")])
        await anyio.sleep(1)
        wire.fault = first(9, lambda: refusal(429, "ServerOverloaded"))
        await c.submit_many([TaskSpec("unsent")])
        await anyio.sleep(1)
    wire.fault = None
    async with client(wire, journal=path, spend=SpendLimit(tasks=2)) as c:
        batch = await c.resume()
        assert c.spend.committed.tasks == 4
        assert c.spend.left.tasks == 0
        result = await batch.result()
        assert [type(outcome.error) for outcome in result[3:]] == [SpendLimitError] * 2
        assert len(result.failures) == 2
        assert c.spend.committed.tasks == c.spend.spent.tasks == 3
    async with client(wire, journal=path) as c:
        assert len((await (await c.resume()).result()).urls()) == 5
    assert wire.emulator.ledger.billed == wire.emulator.ledger.created == 5


async def test_a_sent_spec_without_a_price_goes_on(tmp_path: Path, monkeypatch):
    """A task that can no longer be priced is watched to its end."""
    wire = Wire(render_seconds=60.0)
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await (await c.submit_many(boats(2))).submitted()

    def estimate(*_: object) -> None:
        raise TypeError("no such model")

    monkeypatch.setattr("callsheet._catalog.estimates.estimate", estimate)
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        assert c.spend.committed.tasks == 2
        assert len((await batch.result()).urls()) == 2
    assert wire.emulator.ledger.billed == wire.emulator.ledger.created == 2


async def test_a_planned_spec_without_a_price_is_not_sent(tmp_path: Path, monkeypatch):
    """A planned spec that can no longer be priced ends with `SpecError`."""
    wire = Wire(render_seconds=60.0)
    wire.fault = first(9999, lambda: refusal(429, "ServerOverloaded"))
    path = tmp_path / "shoot.db"
    async with client(wire, journal=path) as c:
        await c.submit_many(boats(2))
    wire.fault = None

    def estimate(*_: object) -> None:
        raise TypeError("no such model")

    monkeypatch.setattr("callsheet._catalog.estimates.estimate", estimate)
    async with client(wire, journal=path) as c:
        result = await (await c.resume()).result()
        assert [type(outcome.error) for outcome in result] == [SpecError] * 2
        assert c.spend.committed.tasks == 0
    assert wire.emulator.ledger.created == 0


async def test_a_known_cost_stays_known_when_the_task_is_gone(tmp_path: Path):
    """A success without its video is billed, even after the provider has forgotten the task."""
    wire = Wire(render_seconds=20.0)
    path = tmp_path / "shoot.db"

    def without_video(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        body = body_of(response)
        for row in body.get("items", [body]):
            row.pop("content", None)
        return httpx.Response(200, json=body)

    wire.change = without_video
    async with client(wire, journal=path) as c:
        outcome = await (await c.submit_many(boats(1)))[0].outcome()
        assert isinstance(outcome.error, TaskFailedError)
        spent = c.spend.spent
        assert spent.tokens > 0
    wire.fault = first(9999, lambda: refusal(404, "NotFound"), method="GET")
    for _ in range(2):
        async with client(wire, journal=path) as c:
            await (await c.resume())[0].outcome()
            assert c.spend.spent == spent
            assert c.spend.uncertain.tasks == 0
