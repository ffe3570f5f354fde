"""When a create provably made no task. Nothing is bought twice, whatever clocks and lists show."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import Polling, RetryPolicy, SubmissionUncertainError, TaskSpec
from callsheet.emulator import Emulator, Fault, Settings
from emulation import ARK, ManyTasksWire, Wire, body_of, client, first, is_list, listed_ids


if TYPE_CHECKING:
    from pathlib import Path


BOAT = TaskSpec("a paper boat", duration=5)


def lose_boat(request: httpx.Request) -> Exception | None:
    """Lose the answers to creates of ``BOAT``."""
    boat = request.method == "POST" and b"a paper boat" in request.content
    return httpx.ReadError("reset") if boat else None


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Change the wall clock by *seconds*, forward or back."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + seconds)


async def close_with_a_lost_create(wire: Wire, path: Path) -> None:
    """Submit ``BOAT``, and close the client before it finds the task."""
    async with client(wire, journal=path) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(1)


@pytest.mark.parametrize("hours", [-100, -1, 1, 100])
async def test_a_clock_change_between_two_processes_does_not_shorten_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
):
    """The next process begins a new window, so a task that appears late is found."""
    wire = Wire(faults=(Fault(request="late", delay=120.0),))
    await close_with_a_lost_create(wire, tmp_path / "shoot.db")
    set_clock(monkeypatch, hours * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (handle,) = await c.resume()
        assert (await handle).url
    assert len(wire.sent("POST")) == wire.emulator.ledger.billed == 1


async def test_a_clock_set_back_does_not_hide_the_task_among_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """After a clock was set back, the list is still read to its end before a task is absent."""
    wire = ManyTasksWire(concurrency=10, render_seconds=5000.0)
    wire.lose = lose_boat
    await close_with_a_lost_create(wire, tmp_path / "shoot.db")
    await anyio.sleep(3600)
    wire.add_tasks(700)
    set_clock(monkeypatch, -10 * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await c.run(TaskSpec("a star"))  # its answers show the provider's time
        (handle,) = await c.resume()
        assert (await handle).url
    assert wire.prompts.count("a paper boat") == 1


@pytest.mark.parametrize(("hours", "posts"), [(-30, 1), (30, 2)])
async def test_a_clock_that_was_set_back_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, posts: int
):
    """The list may then not reach back to the create, so it is not sent again."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    await close_with_a_lost_create(wire, tmp_path / "shoot.db")
    set_clock(monkeypatch, hours * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (outcome,) = await (await c.resume()).result()
        assert outcome.ok == (posts == 2)
        assert outcome.ok or isinstance(outcome.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == posts


@pytest.mark.parametrize("speed", [1.0, 64.0])  # a power of two: virtual time stays exact
async def test_what_an_earlier_process_made_speaks_against_an_empty_list(
    tmp_path: Path, speed: float
):
    """Tasks in the journal must be in the list, whatever the speed of the client's clock is."""
    wire = Wire(latency=0.03 / speed)
    provider = attrs.evolve(ARK, speed=speed)
    wire.lose = lose_boat
    async with client(wire, journal=tmp_path / "shoot.db", provider=provider) as c:
        await c.submit(TaskSpec("a kite"))
        await c.submit_many([BOAT])
        await anyio.sleep(1 / speed)
    wire.emulator.set_faults(Fault(verbs="list", lie="other-project"))
    async with client(wire, journal=tmp_path / "shoot.db", provider=provider) as c:
        _, boat = await c.resume()
        with pytest.raises(SubmissionUncertainError):
            await boat
    assert wire.prompts.count(BOAT.prompt) == 1


async def test_a_sleep_of_the_machine_makes_no_task_count_as_too_old(
    monkeypatch: pytest.MonkeyPatch,
):
    """The client's clock stops in a sleep, but the task does not count as an older one."""
    slept = 0.0
    wire = Wire()
    settings = Settings(concurrency=2, render_seconds=3800.0, render_sigma=0.0)
    wire.emulator = Emulator(settings, clock=lambda: anyio.current_time() + slept)
    wire._asgi = httpx.ASGITransport(app=wire.emulator.app)
    wire.lose = lose_boat
    async with client(wire) as c:
        await c.submit(TaskSpec("a kite"))  # its answers show the provider's time
        batch = await c.submit_many(
            [TaskSpec("a paper boat", extra={"safety_identifier": "user-1"})]
        )
        await anyio.sleep(1)
        slept = 3600.0
        set_clock(monkeypatch, slept)
        (outcome,) = await batch.result()
    assert isinstance(outcome.error, SubmissionUncertainError)
    assert wire.emulator.ledger.tasks[1].id in str(outcome.error)
    assert len(wire.sent("POST")) == 2


async def test_a_look_that_an_outage_delays_proves_nothing():
    """The task may appear on a page that was read before the outage."""
    late = Fault(request="late", delay=1000.0, since=30.0, times=1)
    wire = ManyTasksWire(concurrency=10, render_seconds=9000.0, faults=(late,))
    down_until = 0.0

    async def down(request: httpx.Request) -> httpx.Response | None:
        nonlocal down_until
        if request.method != "GET":
            return None
        if anyio.current_time() < down_until:
            return httpx.Response(503)
        if not listed_ids(request) and not down_until:
            down_until = anyio.current_time() + 2400.0
            c.take_callback(b'{"id": "%s", "status": "running"}' % pending.task_id.encode())
            await anyio.sleep(3)  # this page comes after a poll has opened the circuit breaker
        return None

    wire.add_tasks(600)
    async with client(wire) as c:
        pending = await c.submit(TaskSpec("a star"))
        await anyio.sleep(30)
        wire.fault = down
        handle = await c.submit(BOAT)
        assert handle.task_id
    assert wire.prompts.count("a paper boat") == 1


class ListWithRemovals:
    """A list from which tasks are removed between the first page and the next, in every look."""

    def __init__(self, wire: Wire, removed: int) -> None:
        self.wire, self.removed, self.number = wire, removed, 0
        self.newer = [self.other() for _ in range(500)]
        self.older = [self.other() for _ in range(200)]

    def other(self) -> dict[str, object]:
        """A task of another client."""
        self.number += 1
        return {"id": f"other-{self.number}", "status": "queued", "created_at": 1, "model": "m"}

    async def __call__(self, request: httpx.Request) -> httpx.Response | None:
        """Answer a request for the list of all tasks."""
        if not is_list(request) or "filter.task_ids" in request.url.params:
            return None
        num, size = (int(request.url.params[f"page_{name}"]) for name in ("num", "size"))
        if num == 1:
            self.newer = [self.other() for _ in range(500 - len(self.newer))] + self.newer
        else:
            self.newer = self.newer[self.removed :]
        lost = [
            {"id": task.id, "status": "queued", "created_at": 1, "model": "m"}
            | {"safety_identifier": task.order.safety_identifier}
            for task in self.wire.emulator.ledger.tasks
        ]
        everything = [*self.newer, *lost, *self.older]
        items = everything[(num - 1) * size : num * size]
        return httpx.Response(200, json={"items": items, "total": len(everything)})


@pytest.mark.parametrize(("removed", "found"), [(1, True), (30, False)])
async def test_a_task_that_moves_to_a_page_read_before_is_not_absent(removed, found):
    """Pages overlap. If more tasks are removed than overlap, the list proves nothing."""
    wire = Wire()
    wire.lose = lose_boat
    wire.fault = ListWithRemovals(wire, removed)
    async with client(wire) as c:
        (outcome,) = await (await c.submit_many([BOAT])).result()
        assert outcome.ok == found
        assert found or isinstance(outcome.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == wire.emulator.ledger.created == 1


async def test_a_search_in_a_long_list_does_not_delay_polls():
    """While the search reads thousands of tasks, a poll comes between any two of its pages."""
    wire = ManyTasksWire(render_seconds=3000.0)
    retry = RetryPolicy(lookup=60)  # enough time to read the list more than once
    async with client(wire, polling=Polling(delay=0.5), retry=retry) as c:
        c.attach_many(wire.add_tasks(5000))
        wire.fault = first(1, lambda: httpx.Response(502))
        lost = await c.submit_many([BOAT])
        await anyio.sleep(1)
        start = len(wire.seen)
        await lost.submitted()
    lists = [request for request in wire.seen[start:] if is_list(request)]
    sizes = [None if listed_ids(request) else request.url.params["page_size"] for request in lists]
    pages = [index for index, size in enumerate(sizes) if size not in {None, "500"}]  # not polls
    assert len(pages) >= 8
    assert all(later - earlier >= 2 for earlier, later in pairwise(pages[-12:]))
    assert wire.prompts.count("a paper boat") == 2


async def test_ended_tasks_show_that_a_list_omits_tokens(tmp_path: Path):
    """If earlier tasks, also of another process, are listed without tokens, nothing is proven."""
    wire = Wire(render_seconds=20.0)

    def without_tokens(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        ended = [{"id": task.id, "status": "succeeded"} for task in wire.emulator.ledger.tasks]
        return httpx.Response(200, json={"items": ended}) if is_list(request) else None

    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await c.run(TaskSpec("a kite"))
        wire.change = without_tokens
        wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        kite, boat = await (await c.resume()).result()
        assert kite.ok
        assert isinstance(boat.error, SubmissionUncertainError)
    assert wire.prompts == ["a kite", "a paper boat"]


@pytest.mark.parametrize("age", [0, 1000])
@pytest.mark.parametrize("kites", [0, 1])
async def test_a_task_without_a_token_may_be_the_lost_one(age: int, kites: int):
    """An old task without a token is not the lost one, if the list shows what it must show."""
    wire = Wire()

    def without_tokens(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        kite = wire.emulator.ledger.tasks[0]
        created = int(wire.emulator.ledger.tasks[-1].created_at) - age
        marked = {"safety_identifier": kite.order.safety_identifier, "model": "another model"}
        shown = marked | {"id": kite.id, "status": "succeeded", "created_at": int(kite.created_at)}
        other = {"id": "other", "status": "queued", "created_at": created}
        page = {"items": [*[shown] * kites, other], "total": 1 + kites}
        return httpx.Response(200, json=page) if is_list(request) else None

    async with client(wire) as c:
        await c.run(TaskSpec("a kite"))  # its answers show the provider's time
        wire.fault = first(1, lambda: httpx.Response(502))
        wire.change = without_tokens
        (outcome,) = await (await c.submit_many([BOAT])).result()
    assert outcome.ok == (age > 0 and kites > 0)


async def test_marks_that_are_omitted_in_one_tier_are_missed_in_the_others():
    """A list without the marks of a model proves nothing of that model, whatever its tier."""
    wire = Wire(render_seconds=20.0)

    def without_tokens(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request) or "filter.service_tier" in request.url.params:
            return None
        body = body_of(response)
        rows = [{k: v for k, v in row.items() if k != "safety_identifier"} for row in body["items"]]
        return httpx.Response(200, json=body | {"items": rows})

    async with client(wire, retry=RetryPolicy(lookup=60)) as c:
        for tier in (None, "flex"):
            await c.run(TaskSpec("a kite", service_tier=tier))
        await anyio.sleep(60)  # both kites are old enough to be in their lists
        wire.change = without_tokens
        wire.fault = first(2, lambda: httpx.Response(502))
        lost = [attrs.evolve(BOAT, service_tier=tier) for tier in (None, "flex")]
        outcomes = (await (await c.submit_many(lost)).result()).outcomes
    assert all(isinstance(each.error, SubmissionUncertainError) for each in outcomes)
    assert wire.prompts.count("a paper boat") == 2
