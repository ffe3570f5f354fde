"""One loop that watches every task of a client and settles none by itself."""

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
from emulation import ARK, Wire, asked, client, prompt_of, refusal


if TYPE_CHECKING:
    from collections.abc import Callable

    from callsheet import Batch


FIRST_TIMEOUT = 4.0
"""Seconds without an answer that a poll is given at first."""


class Shelf(httpx.AsyncBaseTransport):
    """Makes tasks whose prompts are their ids, and which end at a time of their own."""

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
        ids = [request.url.path.rpartition("/")[2]] if single else asked(request)
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


def watching(shelf: Shelf, *, lists: bool | None = True, **options: object) -> Client:
    """A client of a shelf."""
    return client(shelf, provider=attrs.evolve(ARK, lists=lists), **options)


async def watch(c: Client, *task_ids: str, **spec: object) -> Batch:
    """Have new tasks made and watched."""
    batch = await c.submit_many(TaskSpec(task_id, **spec) for task_id in task_ids)
    assert await batch.submitted() == task_ids
    return batch


@pytest.mark.parametrize("lists", [True, False, None])
async def test_every_end_is_found_soon(lists):
    """Tasks settle within a few times the delay after they ended, whatever the route."""
    now = anyio.current_time()
    shelf = Shelf({f"t{i}": now + 40 + 5 * i for i in range(20)})
    events: list[object] = []
    async with watching(shelf, lists=lists, observer=events.append) as c:
        batch = await watch(c, *shelf.ends)
        with anyio.fail_after(400):
            assert len((await batch.result()).urls()) == 20
        sent = len(shelf.requests)
        await anyio.sleep(10_000)
    settled = [event for event in events if isinstance(event, TaskSettled)]
    assert len(settled) == 20
    assert len(shelf.requests) == sent


async def test_nothing_to_watch_costs_nothing():
    """Without tasks no request leaves, for as long as it takes."""
    shelf = Shelf({})
    async with watching(shelf):
        await anyio.sleep(80_000)
    assert shelf.requests == []


async def test_a_new_task_wakes_a_sleeping_poller():
    """A task that is added while the poller sleeps is asked about in time."""
    shelf = Shelf({})
    async with watching(shelf) as c:
        await anyio.sleep(5000)
        added = anyio.current_time()
        shelf.ends["late"] = added + 30
        (handle,) = await watch(c, "late")
        with anyio.fail_after(1000):
            assert (await handle).url
    assert shelf.requests[0][0] >= added
    assert anyio.current_time() - shelf.ends["late"] < 60


async def test_a_failed_poll_settles_nothing():
    """Errors of the status route are told as failed polls, and change no task."""
    shelf = Shelf({"a": 0.0})
    shelf.fault = lambda: httpx.Response(503)
    events: list[object] = []
    async with watching(shelf, observer=events.append) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(300)
        assert not handle.done
        failed = [event for event in events if isinstance(event, PollFailed)]
        assert len(failed) == len(shelf.requests) > 30
        assert all(event.task_ids == ("a",) for event in failed)
        shelf.fault = lambda: None
        with anyio.fail_after(10):
            assert (await handle).url


@pytest.mark.parametrize("lists", [True, False])
async def test_a_silent_service_is_given_up_early_and_ever_later(lists):
    """A poll without an answer is given up after seconds, the next one a little later."""
    now = anyio.current_time()
    shelf = Shelf({"a": now, "b": now})
    shelf.seconds = lambda _single: 1e9
    events: list[object] = []
    async with watching(shelf, lists=lists, observer=events.append) as c:
        batch = await watch(c, "a", "b")
        await anyio.sleep(100)
        shelf.seconds = lambda _single: 0.01
        with anyio.fail_after(100):
            assert len((await batch.result()).urls()) == 2
    polls = [at for at, _ in shelf.requests]
    gaps = [b - a for a, b in pairwise(polls) if b > a + 1]  # gets of both leave together
    assert FIRST_TIMEOUT <= gaps[0] < 2 * FIRST_TIMEOUT + 2
    assert max(gaps[1:]) > gaps[0]
    failed = [event for event in events if isinstance(event, PollFailed)]
    assert failed
    assert f"within {FIRST_TIMEOUT:g} s" in str(failed[0].error)


async def test_a_list_that_is_slower_than_gets_is_waited_for():
    """A list may take its five seconds, however fast the gets beside it are."""
    now = anyio.current_time()
    shelf = Shelf({"a": now + 60.0, "b": now + 60.0})
    shelf.seconds = lambda single: 0.01 if single else 5.01
    async with watching(shelf) as c:
        batch = await watch(c, "a", "b")
        with anyio.fail_after(200):
            assert len((await batch.result()).urls()) == 2
    lists = [ids for _, ids in shelf.requests if len(ids) > 1]
    assert len(lists) > len(shelf.requests) / 2


async def test_an_unknown_id_settles_with_the_providers_last_word():
    """Refusals of one id that was created here are its outcome after a minute."""
    shelf = Shelf({})
    async with watching(shelf, lists=False) as c:
        (handle,) = await watch(c, "gone")
        with anyio.fail_after(100):
            assert isinstance((await handle.outcome()).error, NotFoundError)
    assert len(shelf.requests) == 6


async def test_a_deadline_settles_what_nobody_answers_for():
    """A task beyond its deadline settles with `TaskTimeoutError`, and is not asked about again."""
    shelf = Shelf({"a": 1e12})
    async with watching(shelf) as c:
        (handle,) = await watch(c, "a", execution_expires_after=3600)
        with anyio.fail_after(5000):
            assert isinstance((await handle.outcome()).error, TaskTimeoutError)
        sent = len(shelf.requests)
        await anyio.sleep(10_000)
    assert len(shelf.requests) == sent


async def test_an_end_by_way_of_another_holder_leaves_nobody_running():
    """Two handles of one task: whichever is cancelled, the task is not asked about any more."""
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


async def test_a_nudge_asks_at_once():
    """A task of which something is heard is asked about without waiting for its turn."""
    now = anyio.current_time()
    shelf = Shelf({"a": now + 1000})
    async with watching(shelf) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(500)
        shelf.ends["a"] = 0.0
        assert c.take_callback(json.dumps({"id": "a", "status": "running"}).encode())
        await anyio.sleep(3)
        assert handle.done


async def test_a_status_is_told_when_it_changes():
    """The observer hears of a move once, with what was before."""
    shelf = Shelf({"a": anyio.current_time() + 60})
    events: list[object] = []
    async with watching(shelf, observer=events.append) as c:
        await (await watch(c, "a")).result()
    (moved,) = (event for event in events if isinstance(event, StatusChanged))
    assert (moved.before, moved.after) == (Status.QUEUED, Status.RUNNING)


@pytest.mark.parametrize(("lists", "most"), [(True, 1), (False, 20)])
async def test_quotas_hold_in_every_window(lists, most):
    """No second sees more than twenty gets, nor more than one list."""
    now = anyio.current_time()
    shelf = Shelf({f"t{i}": now + 50 + i / 10 for i in range(300)})
    async with watching(shelf, lists=lists) as c:
        batch = c.attach_many(shelf.ends)
        with anyio.fail_after(300):
            assert len((await batch.result()).urls()) == 300
    times = [at for at, _ in shelf.requests]
    for i, start in enumerate(times):
        assert sum(start <= at < start + 1 for at in times[i : i + most + 2]) <= most
