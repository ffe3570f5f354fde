"""The behaviour of the client for its users."""

from __future__ import annotations

import json

import anyio
import anyio.to_thread
import httpx
import pytest

from callsheet import (
    CallsheetError,
    ClosedError,
    Limits,
    NotSubmittedError,
    RetryPolicy,
    ServerError,
    Status,
    TaskSpec,
)
from callsheet.events import StatusChanged, TaskSettled, TaskSubmitted
from emulation import ARK, COMET, Wire, body_of, client, first, is_list


async def test_a_batch_resolves_to_urls_in_input_order():
    """Every spec of a batch gets the URL of its own video."""
    wire = Wire()
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}", duration=5) for i in range(30))
        result = await batch.result()
    assert len(set(result.urls())) == 30
    assert [outcome.index for outcome in result] == list(range(30))
    assert wire.emulator.ledger.billed == 30


async def test_a_map_takes_only_its_window_from_an_endless_source():
    """An endless source is read only while the window has room, and not after the loop."""
    pulled = 0

    def endless():
        """Endless specs."""
        nonlocal pulled
        while True:
            pulled += 1
            yield TaskSpec(f"boat {pulled}")

    async with client(Wire()) as c:
        got = 0
        async for outcome in c.map(endless(), window=20):
            assert outcome.ok
            assert pulled <= got + 20
            got += 1
            if got == 50:
                break
        taken = pulled
        await anyio.sleep(1000)
        assert pulled == taken


async def test_a_batch_at_cometapi_needs_no_list():
    """If the provider has no lists, tasks are polled one by one."""
    wire = Wire()
    async with client(wire, provider=COMET, api_key="sk-test") as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20


async def test_requests_in_flight_never_exceed_the_connections():
    """Many callers share the given connections, and no call fails because of that."""
    wire = Wire(concurrency=100, gets_per_second=1000, latency=0.5)
    limits = Limits(connections=3, gets_per_second=1000)
    got: list[str] = []

    async def ask(task_id: str) -> None:
        got.append((await c.tasks.get(task_id)).task_id)

    async with client(wire, limits=limits) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(30))
        ids = await batch.submitted()
        async with anyio.create_task_group() as group:
            for task_id in ids * 5:
                group.start_soon(ask, task_id)
        assert len((await batch.result()).urls()) == 30
    assert sorted(got) == sorted(ids * 5)
    assert wire.most_in_flight == 3


async def test_one_connection_is_enough():
    """With a single connection every task still ends."""
    wire = Wire()
    async with client(wire, limits=Limits(connections=1)) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(30))
        assert len((await batch.result()).urls()) == 30
    assert wire.most_in_flight == 1


async def test_a_client_used_outside_its_block_is_closed():
    """Before, after and without ``async with``, every call raises `ClosedError`."""
    c = client(Wire())

    async def closed() -> None:
        for use in (
            lambda: c.submit(TaskSpec("a")),
            lambda: c.submit_many([TaskSpec("a")]),
            lambda: c.run(TaskSpec("a")),
        ):
            with pytest.raises(ClosedError):
                await use()
        for use in (
            lambda: c.map([TaskSpec("a")]),
            lambda: c.attach("cgt-1"),
            lambda: c.attach_many(["cgt-1"]),
            lambda: c.tasks,
        ):
            with pytest.raises(ClosedError):
                use()

    await closed()
    assert "closed" in repr(c)
    async with c:
        assert "open" in repr(c)
    await closed()


async def test_a_client_is_entered_once():
    """A second ``async with`` raises `ClosedError`, or anyio's own error if it is nested."""
    c = client(Wire())
    async with c:
        with pytest.raises(RuntimeError, match="already been entered"):
            async with c:
                pass
        assert (await c.run(TaskSpec("boat"))).url
    with pytest.raises(ClosedError, match="once"):
        async with c:
            pass


@pytest.mark.parametrize("elsewhere", ["asyncio", "trio"])
async def test_a_client_belongs_to_one_event_loop(elsewhere):
    """In another event loop an open client raises `ClosedError` and does not hang."""
    wire = Wire()

    async def use() -> None:
        with pytest.raises(ClosedError, match="another event loop"):
            await c.submit(TaskSpec("boat"))
        with pytest.raises(ClosedError, match="another event loop"):
            c.map([])

    def use_without_any() -> None:
        with pytest.raises(ClosedError):
            c.attach("cgt-1")

    async with client(wire) as c:
        await anyio.to_thread.run_sync(lambda: anyio.run(use, backend=elsewhere))
        await anyio.to_thread.run_sync(use_without_any)
        assert not wire.seen


async def test_the_task_api_of_a_closed_client_is_closed():
    """The task API of a client is closed with it."""
    wire = Wire()
    async with client(wire) as c:
        tasks = c.tasks
        task_id = await tasks.create(TaskSpec("boat"))
    for use in (
        lambda: tasks.get(task_id),
        tasks.list,
        lambda: tasks.cancel(task_id),
        lambda: tasks.create(TaskSpec("boat")),
    ):
        with pytest.raises((ClosedError, NotSubmittedError)):
            await use()
    assert len(wire.seen) == 1


async def test_two_clients_are_independent():
    """Clients share nothing, and one may be opened inside another."""
    wire = Wire()
    async with client(wire) as outer, client(wire) as inner:
        one, two = await outer.submit(TaskSpec("a")), await inner.submit(TaskSpec("b"))
        assert (await one).url != (await two).url


async def test_the_observer_gets_the_events_of_a_task_in_order():
    """A task is submitted, changes its status and settles, and each event comes once."""
    events: list[object] = []
    wire = Wire(concurrency=2, render_seconds=60.0)
    async with client(wire, observer=events.append) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(8))
        ids = await batch.submitted()
        await batch.result()
    for index, task_id in enumerate(ids):
        life = [e for e in events if getattr(e, "outcome", e).task_id == task_id]
        assert isinstance(life[0], TaskSubmitted)
        assert life[0].index == index
        assert isinstance(life[-1], TaskSettled)
        assert all(isinstance(event, StatusChanged) for event in life[1:-1])
        assert len(life) <= 3


async def test_an_error_of_the_observer_does_not_affect_tasks(caplog):
    """The error is logged, and every task still has its outcome."""

    def bad(event: object) -> None:
        raise RuntimeError("observer")

    async with client(Wire(), observer=bad) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(5))
        assert len((await batch.result()).urls()) == 5
    assert "observer" in caplog.text


async def test_every_page_of_the_tasks_is_read():
    """``tasks.iter`` reads all pages, the newest first, and ``tasks.list`` reads one."""
    wire = Wire()
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(25))
        ids = await batch.submitted()
        await batch.result()
        page = await c.tasks.list(page_size=10)
        some = await c.tasks.list(task_ids=ids[:2])
        found = [snapshot.task_id async for snapshot in c.tasks.iter(page_size=10)]
        none = [snapshot async for snapshot in c.tasks.iter(status=Status.FAILED)]
    assert (page.total, len(page.items)) == (25, 10)
    assert {snapshot.task_id for snapshot in some.items} == set(ids[:2])
    assert sorted(found) == sorted(ids)
    assert none == []


@pytest.mark.parametrize("counted", [True, False])
async def test_a_page_may_have_fewer_tasks_than_requested(counted):
    """``tasks.iter`` goes on after pages that are not full, with and without a ``total``."""
    wire = Wire()

    async def clamp(request: httpx.Request) -> None:
        if is_list(request):
            request.url = request.url.copy_set_param("page_size", 5)

    def hide_total(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request) or counted:
            return None
        return httpx.Response(200, json={"items": body_of(response)["items"]})

    async with client(wire) as c:
        ids = await (await c.submit_many(TaskSpec(f"boat {i}") for i in range(12))).submitted()
        wire.fault, wire.change = clamp, hide_total
        found = [snapshot.task_id async for snapshot in c.tasks.iter(page_size=100)]
    assert sorted(found) == sorted(ids)


async def test_reads_are_retried_after_transient_errors():
    """A get that fails with a transient error is retried as the policy says."""
    wire = Wire()
    async with client(wire, retry=RetryPolicy(attempts=3)) as c:
        task_id = await c.tasks.create(TaskSpec("boat"))
        wire.fault = first(2, lambda: httpx.Response(503), method="GET")
        assert (await c.tasks.get(task_id)).task_id == task_id
        wire.fault = first(3, lambda: httpx.Response(503), method="GET")
        with pytest.raises(ServerError):
            await c.tasks.get(task_id)


async def test_without_pending_tasks_nothing_is_sent():
    """A client without pending tasks sends no request."""
    wire = Wire()
    async with client(wire) as c:
        await c.run(TaskSpec("boat"))
        sent = len(wire.seen)
        await c.tasks.create(TaskSpec("unwatched"))
        await anyio.sleep(80_000)
    assert len(wire.seen) == sent + 1


async def test_the_default_model_is_the_providers():
    """A spec without a model is sent with the provider's default model."""
    wire = Wire()
    async with client(wire) as c:
        await c.submit(TaskSpec("boat"))
    assert json.loads(wire.seen[0].content)["model"] == ARK.default_model


async def test_a_create_of_an_invalid_object_fails_alone():
    """A raw create of an object that is not a spec does not affect other creates."""
    wire = Wire()
    async with client(wire) as c:
        with pytest.raises((CallsheetError, TypeError)):
            await c.tasks.create("a boat")
        with pytest.raises((CallsheetError, TypeError)):
            await c.tasks.create(TaskSpec("boat", extra={"odd": object()}))
        assert (await c.run(TaskSpec("boat"))).url
