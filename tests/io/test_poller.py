"""The poller alone: one loop that watches every task and settles none by itself."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import Limits, Polling, RetryPolicy, Status, TaskSpec
from callsheet._core.ledger import Ledger
from callsheet._core.record import Record
from callsheet._io.books import Books
from callsheet._io.engine import Engine
from callsheet._io.poller import SILENCE
from callsheet._io.transport import Transport
from callsheet.errors import NotFoundError, TaskTimeoutError
from callsheet.events import PollFailed, StatusChanged, TaskSettled
from emulation import ARK, asked, refusal


if TYPE_CHECKING:
    from collections.abc import Callable


class Shelf(httpx.AsyncBaseTransport):
    """Tasks that end at a time of their own."""

    def __init__(self, ends: dict[str, float]) -> None:
        self.ends = ends
        self.requests: list[tuple[float, list[str]]] = []
        self.fault: Callable[[], httpx.Response | None] = lambda: None
        self.seconds = 0.01

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        single = not request.url.path.endswith("/tasks")
        ids = [request.url.path.rpartition("/")[2]] if single else asked(request)
        self.requests.append((anyio.current_time(), ids))
        await anyio.sleep(self.seconds)
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


class Watch:
    """A poller with everything around it that it needs."""

    def __init__(self, ends: dict[str, float], *, lists: bool | None = True) -> None:
        self.shelf = Shelf(ends)
        self.events: list[object] = []
        self.left = 0
        engine = Engine(
            provider=attrs.evolve(ARK, lists=lists),
            transport=Transport(
                base_url="http://a.test", api_key="k", connections=8, custom=self.shelf
            ),
            limits=Limits(connections=8),
            polling=Polling(),
            retry=RetryPolicy(),
            books=Books(ledger=Ledger()),
            observer=self.events.append,
            rng=random.Random(1),
        )
        self.registry, self.poller = engine.registry, engine.poller
        self.poller.room_made = self.leave

    def leave(self) -> None:
        """Count the news that there is room."""
        self.left += 1

    def watch(self, *task_ids: str, **spec: object) -> list[Record]:
        """Have new tasks watched."""
        every = [Record(TaskSpec("boat", **spec), model=ARK.default_model) for _ in task_ids]
        for record, task_id in zip(every, task_ids, strict=True):
            self.registry.add(record, task_id, now=anyio.current_time())
            self.poller.watch(record, fresh=True)
        return every

    async def run(self, seconds: float) -> None:
        """Run for some time."""
        with anyio.move_on_after(seconds):
            await self.poller.run()


@pytest.mark.parametrize("lists", [True, False, None])
async def test_every_end_is_found_soon(lists):
    """Tasks settle within a few times the delay after they ended, whatever the route."""
    now = anyio.current_time()
    ends = {f"t{i}": now + 40 + 5 * i for i in range(20)}
    watch = Watch(ends, lists=lists)
    every = watch.watch(*ends)
    await watch.run(400)
    assert all(record.succeeded for record in every)
    settled = [event for event in watch.events if isinstance(event, TaskSettled)]
    assert len(settled) == 20
    assert len(watch.registry) == 0
    assert watch.left >= 20


async def test_nothing_to_watch_costs_nothing():
    """Without tasks no request leaves, for as long as it takes."""
    watch = Watch({})
    await watch.run(1_000_000)
    assert watch.shelf.requests == []


async def test_a_new_task_wakes_a_sleeping_poller():
    """A task that is added while the poller sleeps is asked about in time."""
    watch = Watch({})

    async def add() -> None:
        await anyio.sleep(5000)
        watch.shelf.ends["late"] = anyio.current_time() + 30
        watch.watch("late")

    async with anyio.create_task_group() as group:
        group.start_soon(add)
        group.start_soon(watch.run, 6000)
    assert watch.registry.get("late") is None
    assert watch.shelf.requests[0][0] - watch.shelf.requests[-1][0] <= 0


async def test_a_failed_poll_settles_nothing():
    """Errors of the status route are told as failed polls, and change no record."""
    watch = Watch({"a": 0.0})
    watch.shelf.fault = lambda: httpx.Response(503)
    (record,) = watch.watch("a")
    await watch.run(300)
    assert not record.settled
    failed = [event for event in watch.events if isinstance(event, PollFailed)]
    assert len(failed) == len(watch.shelf.requests) > 30
    assert all(event.task_ids == ("a",) for event in failed)
    watch.shelf.fault = lambda: None
    await watch.run(10)
    assert record.succeeded


async def test_a_silent_service_is_given_up_early_and_ever_later():
    """A poll without an answer is given up after seconds, the next one a little later."""
    watch = Watch({"a": 0.0})
    watch.shelf.seconds = 1e9
    (record,) = watch.watch("a")

    async def heal() -> None:
        await anyio.sleep(100)
        watch.shelf.seconds = 0.01

    async with anyio.create_task_group() as group:
        group.start_soon(watch.run, 200)
        group.start_soon(heal)
    assert record.succeeded
    gaps = [b - a for a, b in pairwise(at for at, _ in watch.shelf.requests)]
    assert SILENCE <= gaps[0] < 2 * SILENCE + 2
    assert gaps[-1] > gaps[0]


async def test_a_list_that_is_slower_than_gets_is_waited_for():
    """A list may take its five seconds, however fast the gets beside it are."""
    watch = Watch({"a": 60.0, "b": 60.0})
    slow = watch.shelf.handle_async_request

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/tasks"):
            await anyio.sleep(5.0)
        return await slow(request)

    watch.shelf.handle_async_request = answer
    records = watch.watch("a", "b")
    await watch.run(200)
    assert all(record.succeeded for record in records)
    lists = [ids for _, ids in watch.shelf.requests if len(ids) > 1]
    assert len(lists) > len(watch.shelf.requests) / 2


async def test_an_unknown_id_settles_with_the_providers_last_word():
    """Refusals of one id that was created here are its outcome after a minute."""
    watch = Watch({}, lists=False)
    (record,) = watch.watch("gone")
    await watch.run(100)
    assert isinstance(record.error, NotFoundError)
    assert len(watch.shelf.requests) == 6


async def test_a_deadline_settles_what_nobody_answers_for():
    """A task beyond its deadline settles with `TaskTimeoutError`, answers or not."""
    watch = Watch({"a": 1e12})
    (record,) = watch.watch("a", execution_expires_after=3600)
    await watch.run(5000)
    assert isinstance(record.error, TaskTimeoutError)
    assert len(watch.registry) == 0


async def test_an_end_by_way_of_another_holder_leaves_nobody_running():
    """Two handles of one task: whichever is given up, the task is not asked about any more."""
    watch = Watch({"a": 1e9})
    (record,) = watch.watch("a")
    await watch.run(30)
    twin = Record(None, model=ARK.default_model)
    assert not watch.registry.adopt(twin, "a", now=anyio.current_time())
    watch.poller.settle(twin, NotFoundError("gone", 404, "NotFound"))
    assert record.settled
    assert twin.settled
    asked_before = len(watch.shelf.requests)
    await watch.run(300)
    assert len(watch.shelf.requests) == asked_before


async def test_a_nudge_asks_at_once():
    """A task of which something is heard is asked about without waiting for its turn."""
    now = anyio.current_time()
    watch = Watch({"a": now + 1000})
    (record,) = watch.watch("a")

    async def nudge() -> None:
        await anyio.sleep(500)
        watch.shelf.ends["a"] = 0.0
        watch.poller.nudge(record)
        await anyio.sleep(3)
        assert record.settled

    async with anyio.create_task_group() as group:
        group.start_soon(watch.run, 600)
        group.start_soon(nudge)


async def test_a_status_is_told_when_it_changes():
    """The observer hears of a move once, with what was before."""
    now = anyio.current_time()
    watch = Watch({"a": now + 60})
    watch.watch("a")
    await watch.run(120)
    (moved,) = (event for event in watch.events if isinstance(event, StatusChanged))
    assert (moved.before, moved.after) == (Status.QUEUED, Status.RUNNING)


async def test_quotas_hold_in_every_window():
    """No second sees more than twenty gets, nor more than one list."""
    now = anyio.current_time()
    ends = {f"t{i}": now + 50 + i / 10 for i in range(300)}
    for lists, most in ((True, 1), (False, 20)):
        watch = Watch(dict(ends), lists=lists)
        watch.watch(*ends)
        await watch.run(300)
        times = [at for at, _ in watch.shelf.requests]
        for i, start in enumerate(times):
            assert sum(start <= at < start + 1 for at in times[i : i + most + 2]) <= most
        assert len(watch.registry) == 0
