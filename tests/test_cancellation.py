"""A client is cancelled at every possible point: no create is repeated, no id is lost."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from PIL import Image as Picture

from callsheet import (
    Client,
    ClosedError,
    Image,
    Limits,
    NotSubmittedError,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskSpec,
    TaskTimeoutError,
    Video,
)
from callsheet.events import TaskSettled, TaskSubmitted
from disks import slow_disk
from emulation import Wire, client, first, refusal


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from pathlib import Path


class Interrupted:
    """An awaitable that cancels a scope just before its sleep number *k*, counted from 0."""

    def __init__(self, inner: Awaitable[Any], k: int, scope: anyio.CancelScope) -> None:
        self.inner, self.k, self.scope = inner, k, scope
        self.sleeps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.inner.__await__()
        send, value = steps.send, None
        while True:
            try:
                trap = send(value)
            except StopIteration as end:
                return end.value
            if self.sleeps == self.k:
                self.scope.cancel()
            self.sleeps += 1
            try:
                send, value = steps.send, (yield trap)
            except BaseException as error:  # noqa: BLE001 - passed on, whatever it is
                send, value = steps.throw, error


def picture() -> Image:
    """A small picture in memory, so that specs are read in a worker thread."""
    file = io.BytesIO()
    Picture.new("RGB", (320, 320)).save(file, "png")
    return Image(file.getvalue())


async def run_interrupted(
    work: Callable[[Client], Awaitable[Any]], k: int
) -> tuple[bool, Wire, list[object]]:
    """Cancel *work* at its sleep *k*; return whether it got there, the wire and the events."""
    wire = Wire(render_seconds=60.0)
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        with anyio.CancelScope() as scope:
            steps = Interrupted(work(c), k, scope)
            await steps
        await anyio.sleep(1000)
    return steps.sleeps > k, wire, events


async def submit_many(c: Client) -> None:
    """Submit a spec whose picture is read in a worker thread."""
    batch = await c.submit_many([TaskSpec("boat", first_frame=picture())])
    await batch.submitted()


WAYS = {
    "submit": lambda c: c.submit(TaskSpec("boat")),
    "submit a picture": lambda c: c.submit(TaskSpec("boat", first_frame=picture())),
    "run": lambda c: c.run(TaskSpec("boat")),
    "create": lambda c: c.tasks.create(TaskSpec("boat")),
    "submit_many": submit_many,
}


@pytest.mark.parametrize("way", WAYS)
async def test_cancelling_at_any_sleep_loses_no_id(way):
    """Wherever it is cancelled, a spec is not sent or its task is watched to its end."""
    for k in range(50):
        reached, wire, events = await run_interrupted(WAYS[way], k)
        created = wire.emulator.ledger.created
        assert len(wire.sent("POST")) == created <= 1
        ids = [event.task_id for event in events if isinstance(event, TaskSubmitted)]
        assert ids == [task.id for task in wire.emulator.ledger.tasks]
        ends = [event.outcome.ok for event in events if isinstance(event, TaskSettled)]
        if created and way != "create":  # `tasks.create` does not watch its task
            assert ends == [True]
        if not reached:
            break
    assert not reached
    assert created == 1


@pytest.mark.parametrize("way", ["submit", "run"])
async def test_cancelling_at_any_moment_loses_no_id(way):
    """Whenever it is cancelled, a spec is not sent or its task is watched to its end."""
    fates: set[int] = set()
    for tick in range(12):
        wire = Wire(latency=0.1, render_seconds=30.0)
        ends: list[bool] = []

        def note(event: object, ends: list[bool] = ends) -> None:
            if isinstance(event, TaskSettled):
                ends.append(event.outcome.ok)

        async with client(wire, observer=note) as c:
            with anyio.move_on_after(tick / 80):
                await (c.submit if way == "submit" else c.run)(TaskSpec("boat"))
            await anyio.sleep(500)
        created = wire.emulator.ledger.created
        assert len(wire.sent("POST")) == created
        assert ends == [bool(created)]
        fates.add(created)
    assert 1 in fates


async def test_a_spec_that_is_cancelled_before_its_turn_is_not_sent():
    """If a submit is cancelled while it waits for an earlier create, its spec is not sent."""
    wire = Wire()
    wire.fault = first(1, lambda: refusal(429, "ServerOverloaded", headers={"retry-after": "50"}))
    async with client(wire) as c, anyio.create_task_group() as group:
        group.start_soon(c.submit, TaskSpec("early"))
        await anyio.sleep(1)
        waiting = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        with anyio.move_on_after(5):
            await c.submit(TaskSpec("late"))
        assert not waiting.progress.submitted
        await waiting.submitted()
    assert "late" not in wire.prompts
    assert wire.emulator.ledger.created == 21


async def test_leaving_waits_for_the_ids_of_creates_in_flight():
    """On leaving, creates in flight get a few seconds, and their ids are reported."""
    wire = Wire(latency=3.0)
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        await c.submit_many(TaskSpec(f"boat {i}") for i in range(100))
        await anyio.sleep(4)
        left = anyio.current_time()
    assert 1 < anyio.current_time() - left < 5.5
    ids = {event.task_id for event in events if isinstance(event, TaskSubmitted)}
    assert len(ids) > 5
    assert ids == {task.id for task in wire.emulator.ledger.tasks}
    assert len(wire.sent("POST")) == len(ids)


async def test_leaving_does_not_wait_forever():
    """A create without an answer in that time ends as uncertain, with its token."""
    wire = Wire(latency=100.0)
    outcomes: list[Any] = []

    def note(event: object) -> None:
        if isinstance(event, TaskSettled):
            outcomes.append(event.outcome)

    async with client(wire, observer=note) as c:
        await c.submit_many(TaskSpec(f"boat {i}") for i in range(10))
        await anyio.sleep(1)
        left = anyio.current_time()
    assert 4.5 < anyio.current_time() - left < 6
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds.count(SubmissionUncertainError) == len(wire.sent("POST")) == 1
    assert kinds.count(NotSubmittedError) == 9


async def test_a_cancelled_client_waits_for_creates_in_flight():
    """A create in flight gets the same seconds if the client is cancelled from outside."""
    wire = Wire(latency=3.0)
    ids: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, TaskSubmitted):
            ids.append(event.task_id)

    with anyio.move_on_after(1) as scope:
        async with client(wire, observer=note) as c:
            await c.run(TaskSpec("boat"))
    assert scope.cancelled_caught
    assert ids == [task.id for task in wire.emulator.ledger.tasks]
    assert len(ids) == 1


async def test_a_create_that_waits_for_a_retry_is_not_submitted_on_leaving():
    """A refused create that waits for its next attempt ends when the client is closed."""
    wire = Wire()
    wire.fault = first(99, lambda: refusal(429, "ServerOverloaded"))
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        await anyio.sleep(5)
    assert batch.progress.failed == batch.progress.total == 20
    assert all(isinstance(handle._record.error, NotSubmittedError) for handle in batch)
    assert wire.emulator.ledger.created == 0


async def test_cancelling_a_waiter_cancels_only_the_waiting():
    """Cancelling one waiter changes neither the task nor the other waiters."""
    wire = Wire(render_seconds=60.0)
    videos: list[Video] = []

    async def wait(handle: Any) -> None:
        videos.append(await handle)

    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        async with anyio.create_task_group() as group:
            group.start_soon(wait, handle)
            with anyio.move_on_after(10) as scope:
                await handle
            assert scope.cancelled_caught
            assert not handle.done
        assert (await handle) == videos[0]
    assert not wire.sent("DELETE")


async def test_a_timeout_does_not_cancel_the_task():
    """After a wait that timed out the task runs on and can be waited for again."""
    wire = Wire(render_seconds=60.0)
    async with client(wire) as c:
        with pytest.raises(TaskTimeoutError) as caught:
            await c.run(TaskSpec("boat"), timeout=10)
        assert caught.value.task_id == wire.emulator.ledger.tasks[0].id
        handle = c.attach(caught.value.task_id)
        with pytest.raises(TaskTimeoutError):
            await handle.wait(timeout=0)
        with pytest.raises(TaskTimeoutError, match="after 3"):
            await handle.wait(timeout=3)
        assert (await handle.wait(timeout=1000)).url
        assert (await handle.wait(timeout=0)).url
    assert not wire.sent("DELETE")
    assert wire.emulator.ledger.created == wire.emulator.ledger.billed == 1


async def test_a_timeout_before_the_id_names_no_task():
    """If a run times out before its create is answered, the error says that there is no id."""
    wire = Wire(latency=10.0)
    async with client(wire) as c:
        with pytest.raises(TaskTimeoutError, match="without an id") as caught:
            await c.run(TaskSpec("boat"), timeout=2)
        assert caught.value.task_id is None
        await anyio.sleep(1000)
    assert wire.emulator.ledger.billed == 1
    assert len(wire.sent("POST")) == 1


async def test_a_timeout_of_the_caller_is_a_bare_timeout_error():
    """The caller's own ``fail_after`` raises a plain `TimeoutError`."""
    async with client(Wire(render_seconds=60.0)) as c:
        handle = await c.submit(TaskSpec("boat"))
        with pytest.raises(TimeoutError) as caught, anyio.fail_after(5):
            await handle
    assert not isinstance(caught.value, TaskTimeoutError)


@pytest.mark.parametrize("cancel", [False, True])
async def test_only_cancel_on_exit_cancels_at_the_provider(cancel):
    """Leaving sends DELETE only with ``cancel_on_exit``, which stops all tasks not yet running."""
    wire = Wire(render_seconds=1000.0, concurrency=3)
    async with client(wire, cancel_on_exit=cancel) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(10))
        await batch.submitted()
    states = [task.status for task in wire.emulator.ledger.tasks]
    assert states.count("running") == 3
    assert states.count("cancelled") == (7 if cancel else 0)
    assert bool(wire.sent("DELETE")) is cancel


async def test_cancel_on_exit_cancels_creates_in_flight():
    """A create in flight on leaving is cancelled as soon as it has its id."""
    wire = Wire(render_seconds=1000.0, concurrency=1, latency=1.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        async with Client(provider=c.provider, transport=wire, cancel_on_exit=True) as inner:
            await inner.submit_many(TaskSpec(f"boat {i}") for i in range(5))
            await anyio.sleep(0.5)
    states = [task.status for task in wire.emulator.ledger.tasks]
    assert states[0] == "running"
    assert set(states[1:]) <= {"cancelled"}


@pytest.mark.parametrize(
    "error", [KeyError, ValueError, KeyboardInterrupt, SystemExit, StopAsyncIteration]
)
async def test_the_callers_exception_is_raised_unchanged(error):
    """An exception of the block is raised as it is: not in a group and without a cause."""
    mine = error("mine")

    async def block() -> None:
        async with client(Wire()) as c:
            await c.submit_many([TaskSpec("boat")])
            raise mine

    with pytest.raises(error) as caught:
        await block()
    assert caught.value is mine
    assert mine.__cause__ is None


async def test_a_scope_around_a_client_can_be_cancelled():
    """A scope around a client is cancelled like any other while tasks are watched."""
    with anyio.move_on_after(30) as scope:
        async with client(Wire(render_seconds=1000.0)) as c:
            batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(5))
            await batch.result()
    assert scope.cancelled_caught


async def test_a_group_of_the_caller_stays_a_group():
    """An exception group that the caller raises is not unpacked."""
    with pytest.raises(ExceptionGroup) as caught:
        async with client(Wire()):
            raise ExceptionGroup("mine", [KeyError("a"), ValueError("b")])
    assert caught.value.message == "mine"


async def test_waiters_get_closed_error_when_the_client_is_closed():
    """All waiters get `ClosedError`, and the ids can still be read."""
    closed: list[str] = []

    async def wait(work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except ClosedError:
            closed.append(work.__name__)

    async def iterate() -> None:
        async for _ in batch.as_completed():
            pass

    async def awaiting() -> None:
        await batch[0]

    wire = Wire(render_seconds=1000.0)
    async with anyio.create_task_group() as group, client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(3))
        ids = await batch.submitted()
        for work in (batch.result, batch[0].outcome, batch[1].wait, awaiting, iterate):
            group.start_soon(wait, work)
        await anyio.sleep(5)
    assert sorted(closed) == ["awaiting", "iterate", "outcome", "result", "wait"]
    for work in (batch.result, batch[0].wait, batch[0].cancel, batch.cancel):
        with pytest.raises(ClosedError):
            await work()
    assert tuple(handle.task_id for handle in batch) == ids
    assert await batch.submitted() == ids


async def test_known_outcomes_are_available_after_closing():
    """Outcomes that are known when the client closes can be read after that."""
    async with client(Wire()) as c:
        batch = await c.submit_many([TaskSpec("boat")])
        await batch.result()
    assert (await batch[0]).url
    assert len((await batch.result()).urls()) == 1
    assert [outcome.ok async for outcome in batch.as_completed()] == [True]


async def test_cancelled_reads_give_their_connections_back():
    """A read that is cancelled before its answer leaves its connection free."""
    wire = Wire(latency=5.0)
    async with client(wire) as c:
        task_id = await c.tasks.create(TaskSpec("boat"))
        for _ in range(40):
            with anyio.move_on_after(1):
                await c.tasks.get(task_id)
        assert (await c.tasks.get(task_id)).task_id == task_id
    assert wire._in_flight == 0


async def test_a_broken_answer_while_closing_is_uncertain():
    """A create whose connection breaks while the client closes ends as uncertain."""
    wire = Wire(latency=2.0)
    wire.lose = lambda _: httpx.ReadError("reset")
    errors: list[object] = []

    def note(event: object) -> None:
        if isinstance(event, TaskSettled):
            errors.append(event.outcome.error)

    async with client(wire, observer=note) as c:
        await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(1)
    assert [type(error) for error in errors] == [SubmissionUncertainError]


@pytest.mark.parametrize("running", [True, False])
async def test_cancel_on_timeout_cancels_a_queued_task(running):
    """With ``cancel_on_timeout`` a queued task is cancelled, and the error says whether it was."""
    wire = Wire(concurrency=1, render_seconds=1000.0)
    async with client(wire) as c:
        if not running:
            await c.submit(TaskSpec("another"))
        with pytest.raises(TaskTimeoutError) as caught:
            await c.run(TaskSpec("boat"), timeout=30, cancel_on_timeout=True)
        assert caught.value.cancelled is not running
        assert ("cancelled" in str(caught.value)) is not running
        handle = c.attach(caught.value.task_id)
        with pytest.raises((TaskTimeoutError, TaskCancelledError)) as again:
            await handle.wait(timeout=30, cancel_on_timeout=True)
        assert isinstance(again.value, TaskTimeoutError) is running


async def test_nothing_is_sent_after_leaving():
    """A create that gets its turn on leaving is sent before leaving or not at all."""
    stopped = 0
    for _ in range(20):  # because trio wakes its tasks in any order
        wire = Wire(latency=0.5)
        async with client(wire, limits=Limits(unfinished=1)) as c:
            batch = await c.submit_many([TaskSpec("first"), TaskSpec("second")])
            await batch[0]
        assert (batch[1].task_id is None) == (len(wire.prompts) == 1)
        stopped += batch[1].task_id is None
    assert stopped


@pytest.mark.parametrize("kind", ["load", "room"])
async def test_a_create_that_is_cancelled_in_flight_and_refused_is_not_repeated(kind):
    """If a create is cancelled in flight and then refused for load, no attempt follows."""
    code = {"load": "ServerOverloaded", "room": "QuotaExceeded"}[kind]
    wire = Wire(latency=2.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("another"))
        wire.fault = first(1, lambda: refusal(429, code, "The request has exceeded the quota"))
        (handle,) = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(0.5)
        assert await handle.cancel()
        assert isinstance((await handle.outcome()).error, NotSubmittedError)
        assert c.spend.reserved.tasks == 1
        await anyio.sleep(100)
    assert len(wire.sent("POST")) == 2


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_create_that_is_cancelled_during_its_journal_write_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
):
    """If it is cancelled or the client closes during the write, the create is not sent."""
    slow_disk(monkeypatch, lambda: 3.0)
    wire = Wire()
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (handle,) = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(1)
        if how == "cancelled":
            assert await handle.cancel()
        assert c.spend.committed.tasks == (how == "closed")
    assert not wire.sent("POST")
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (outcome,) = await (await c.resume()).result()
        assert outcome.ok == (how == "closed")
    assert wire.emulator.ledger.created == outcome.ok
