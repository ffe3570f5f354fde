"""One loop polls all tasks of a client, and only answers settle them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    Client,
    NotFoundError,
    Status,
    TaskCancelledError,
    TaskSpec,
    TaskTimeoutError,
)
from callsheet.events import PollFailed, StatusChanged, TaskSettled
from emulation import ARK, Wire, client, listed_ids, prompt_of, refusal


if TYPE_CHECKING:
    from collections.abc import Callable

    from callsheet import Batch


FIRST_TIMEOUT = 4.0
"""Seconds without an answer that a poll is given at first."""


class TimedProvider(httpx.AsyncBaseTransport):
    """A provider whose tasks have their prompts as ids and end at given times."""

    def __init__(self, ends: dict[str, float]) -> None:
        self.ends = ends
        self.requests: list[tuple[float, list[str]]] = []
        self.fault: Callable[[], httpx.Response | None] = lambda: None
        self.seconds: Callable[[bool], float] = lambda _single: 0.01

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "POST":
            return httpx.Response(200, json={"id": prompt_of(request)})
        single = not request.url.path.endswith("/tasks")
        ids = [request.url.path.rpartition("/")[2]] if single else listed_ids(request)
        self.requests.append((anyio.current_time(), ids))
        await anyio.sleep(self.seconds(single))
        fault = self.fault()
        if fault is not None:
            return fault
        items = [self.row(task_id) for task_id in ids if task_id in self.ends]
        if single:
            return httpx.Response(200, json=items[0]) if items else refusal(404, "NotFound")
        return httpx.Response(200, json={"items": items, "total": len(items)})

    def row(self, task_id: str) -> dict[str, object]:
        """What the provider says of one task."""
        if anyio.current_time() < self.ends[task_id]:
            return {"id": task_id, "status": "running"}
        url = {"video_url": f"http://v.test/{task_id}"}
        return {"id": task_id, "status": "succeeded", "content": url}


def watching(provider: TimedProvider, *, lists: bool | None = True, **options: object) -> Client:
    """A client of this provider."""
    return client(provider, provider=attrs.evolve(ARK, lists=lists), **options)


async def watch(c: Client, *task_ids: str, **spec: object) -> Batch:
    """Submit new tasks with these ids."""
    batch = await c.submit_many(TaskSpec(task_id, **spec) for task_id in task_ids)
    assert await batch.submitted() == task_ids
    return batch


@pytest.mark.parametrize("lists", [True, False, None])
async def test_every_end_is_found_soon(lists):
    """Tasks settle within a few times the delay after their end, by gets or by lists."""
    now = anyio.current_time()
    provider = TimedProvider({f"t{i}": now + 40 + 5 * i for i in range(20)})
    events: list[object] = []
    async with watching(provider, lists=lists, observer=events.append) as c:
        batch = await watch(c, *provider.ends)
        with anyio.fail_after(400):
            assert len((await batch.result()).urls()) == 20
        sent = len(provider.requests)
        await anyio.sleep(10_000)
    settled = [event for event in events if isinstance(event, TaskSettled)]
    assert len(settled) == 20
    assert len(provider.requests) == sent


async def test_nothing_to_watch_costs_nothing():
    """Without tasks no request is ever sent."""
    provider = TimedProvider({})
    async with watching(provider):
        await anyio.sleep(80_000)
    assert provider.requests == []


async def test_a_new_task_wakes_a_sleeping_poller():
    """A task that is added while the poller sleeps is polled in time."""
    provider = TimedProvider({})
    async with watching(provider) as c:
        await anyio.sleep(5000)
        added = anyio.current_time()
        provider.ends["late"] = added + 30
        (handle,) = await watch(c, "late")
        with anyio.fail_after(1000):
            assert (await handle).url
    assert provider.requests[0][0] >= added
    assert anyio.current_time() - provider.ends["late"] < 60


async def test_a_failed_poll_settles_nothing():
    """Errors of the status route are reported as failed polls, and change no task."""
    provider = TimedProvider({"a": 0.0})
    provider.fault = lambda: httpx.Response(503)
    events: list[object] = []
    async with watching(provider, observer=events.append) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(300)
        assert not handle.done
        failed = [event for event in events if isinstance(event, PollFailed)]
        assert len(failed) == len(provider.requests) > 30
        assert all(event.task_ids == ("a",) for event in failed)
        provider.fault = lambda: None
        with anyio.fail_after(10):
            assert (await handle).url


@pytest.mark.parametrize("lists", [True, False])
async def test_a_poll_without_an_answer_is_given_up_later_each_time(lists):
    """A poll without an answer is given up after seconds, the next one a little later."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now, "b": now})
    provider.seconds = lambda _single: 1e9
    events: list[object] = []
    async with watching(provider, lists=lists, observer=events.append) as c:
        batch = await watch(c, "a", "b")
        await anyio.sleep(100)
        provider.seconds = lambda _single: 0.01
        with anyio.fail_after(100):
            assert len((await batch.result()).urls()) == 2
    polls = [at for at, _ in provider.requests]
    gaps = [b - a for a, b in pairwise(polls) if b > a + 1]  # gets of both leave together
    assert FIRST_TIMEOUT <= gaps[0] < 2 * FIRST_TIMEOUT + 2
    assert max(gaps[1:]) > gaps[0]
    failed = [event for event in events if isinstance(event, PollFailed)]
    assert failed
    assert f"within {FIRST_TIMEOUT:g} s" in str(failed[0].error)


async def test_a_list_may_be_slower_than_gets():
    """A list may take five seconds, however fast the gets meanwhile are."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now + 60.0, "b": now + 60.0})
    provider.seconds = lambda single: 0.01 if single else 5.01
    async with watching(provider) as c:
        batch = await watch(c, "a", "b")
        with anyio.fail_after(200):
            assert len((await batch.result()).urls()) == 2
    lists = [ids for _, ids in provider.requests if len(ids) > 1]
    assert len(lists) > len(provider.requests) / 2


async def test_an_unknown_id_settles_with_the_last_refusal():
    """An id that was created here and refused for a minute ends with the refusal."""
    provider = TimedProvider({})
    async with watching(provider, lists=False) as c:
        (handle,) = await watch(c, "gone")
        with anyio.fail_after(100):
            assert isinstance((await handle.outcome()).error, NotFoundError)
    assert len(provider.requests) == 6


async def test_a_deadline_settles_a_task_without_an_answer():
    """A task beyond its deadline settles with `TaskTimeoutError`, and is not polled again."""
    provider = TimedProvider({"a": 1e12})
    async with watching(provider) as c:
        (handle,) = await watch(c, "a", execution_expires_after=3600)
        with anyio.fail_after(5000):
            assert isinstance((await handle.outcome()).error, TaskTimeoutError)
        sent = len(provider.requests)
        await anyio.sleep(10_000)
    assert len(provider.requests) == sent


async def test_a_cancel_by_another_handle_stops_the_polls():
    """Whichever of two handles of a task is cancelled, the task is not polled any more."""
    wire = Wire(render_seconds=1e6, concurrency=1)

    async def forgetful(request: httpx.Request) -> httpx.Response | None:
        waits = request.method == "GET" and request.url.path.endswith(first.task_id)
        return refusal(404, "NotFound") if waits and wire.sent("DELETE") else None

    async with client(wire, provider=attrs.evolve(ARK, lists=False)) as c:
        await c.submit(TaskSpec("runs"))
        first = await c.submit(TaskSpec("waits"))
        twin = c.attach(first.task_id)
        wire.fault = forgetful
        assert await twin.cancel() is True
        for handle in (first, twin):
            assert isinstance((await handle.outcome()).error, TaskCancelledError)
        sent = len(wire.sent("GET"))
        await anyio.sleep(300)
        asked_since = [request.url.path for request in wire.sent("GET")[sent:]]
    assert not [path for path in asked_since if path.endswith(first.task_id)]


async def test_a_callback_causes_a_poll_at_once():
    """A task of which a callback comes is polled before it is due."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now + 1000})
    async with watching(provider) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(500)
        provider.ends["a"] = 0.0
        assert c.take_callback(json.dumps({"id": "a", "status": "running"}).encode())
        await anyio.sleep(3)
        assert handle.done


async def test_a_status_is_reported_when_it_changes():
    """The observer gets each change once, with the status before it."""
    provider = TimedProvider({"a": anyio.current_time() + 60})
    events: list[object] = []
    async with watching(provider, observer=events.append) as c:
        await (await watch(c, "a")).result()
    (moved,) = (event for event in events if isinstance(event, StatusChanged))
    assert (moved.before, moved.after) == (Status.QUEUED, Status.RUNNING)


@pytest.mark.parametrize(("lists", "most"), [(True, 1), (False, 20)])
async def test_quotas_hold_in_every_window(lists, most):
    """In no second are there more than twenty gets or more than one list."""
    now = anyio.current_time()
    provider = TimedProvider({f"t{i}": now + 50 + i / 10 for i in range(300)})
    async with watching(provider, lists=lists) as c:
        batch = c.attach_many(provider.ends)
        with anyio.fail_after(300):
            assert len((await batch.result()).urls()) == 300
    times = [at for at, _ in provider.requests]
    for i, start in enumerate(times):
        assert sum(start <= at < start + 1 for at in times[i : i + most + 2]) <= most
