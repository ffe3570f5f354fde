"""What proves that a create made nothing: whatever clocks and lists do, nothing is bought twice."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import Polling, RetryPolicy, SubmissionUncertainError, TaskSpec
from callsheet.emulator import Emulator, Fault, Settings
from emulation import ManyTasksWire, Wire, client, first, is_list, listed_ids


if TYPE_CHECKING:
    from pathlib import Path


BOAT = TaskSpec("a paper boat", duration=5)


def loses_one(request: httpx.Request) -> Exception | None:
    """Lose the answer to a boat's create."""
    boat = request.method == "POST" and b"a paper boat" in request.content
    return httpx.ReadError("reset") if boat else None


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the wall clock forward, or back."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + seconds)


async def leave_one_lost(wire: Wire, path: Path) -> None:
    """A client is left, which never learns what became of its create."""
    async with client(wire, journal=path) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(1)


@pytest.mark.parametrize("hours", [-100, -1, 1, 100])
async def test_a_clock_set_between_two_processes_ends_no_search_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
):
    """The window is counted anew: a task that surfaces late is found, however long ago it seems."""
    wire = Wire(faults=(Fault(request="late", delay=120.0),))
    await leave_one_lost(wire, tmp_path / "shoot.db")
    set_clock(monkeypatch, hours * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (handle,) = await c.resume()
        assert (await handle).url
    assert len(wire.sent("POST")) == wire.emulator.ledger.billed == 1


async def test_a_clock_set_back_does_not_hide_the_task_among_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What would prove that it was never made is read to the end of the list."""
    wire = ManyTasksWire(concurrency=10, render_seconds=5000.0)
    wire.lose = loses_one
    await leave_one_lost(wire, tmp_path / "shoot.db")
    await anyio.sleep(3600)
    wire.add_tasks(700)
    set_clock(monkeypatch, -10 * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await c.run(TaskSpec("a star"))  # its answers tell the provider's time
        (handle,) = await c.resume()
        assert (await handle).url
    assert wire.prompts.count("a paper boat") == 1


@pytest.mark.parametrize(("hours", "posts"), [(-30, 1), (30, 2)])
async def test_a_clock_that_ran_backwards_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, posts: int
):
    """Nobody knows then whether the list still reaches back to the create."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    await leave_one_lost(wire, tmp_path / "shoot.db")
    set_clock(monkeypatch, hours * 3600)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (outcome,) = await (await c.resume()).result()
        assert outcome.ok == (posts == 2)
        assert outcome.ok or isinstance(outcome.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == posts


async def test_a_sleep_of_the_machine_makes_no_namesake_too_old(monkeypatch: pytest.MonkeyPatch):
    """The client's clock stands still in a sleep; the task is not taken for an older one."""
    slept = 0.0
    wire = Wire()
    settings = Settings(concurrency=2, render_seconds=3800.0, render_sigma=0.0)
    wire.emulator = Emulator(settings, clock=lambda: anyio.current_time() + slept)
    wire._asgi = httpx.ASGITransport(app=wire.emulator.app)
    wire.lose = loses_one
    async with client(wire) as c:
        await c.submit(TaskSpec("a kite"))  # its answers tell the provider's time
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


async def test_a_look_that_an_outage_holds_up_proves_nothing():
    """It began within the window, and the task surfaced on a page that was read before."""
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
            await anyio.sleep(3)  # the first page passes, after a poll has shut the gate
        return None

    wire.add_tasks(600)
    async with client(wire) as c:
        pending = await c.submit(TaskSpec("a star"))
        await anyio.sleep(30)
        wire.fault = down
        handle = await c.submit(BOAT)
        assert handle.task_id
    assert wire.prompts.count("a paper boat") == 1


class Shifting:
    """A list in which tasks are removed between its first page and the next, in every look."""

    def __init__(self, wire: Wire, removed: int) -> None:
        self.wire, self.removed, self.number = wire, removed, 0
        self.before = [self.other() for _ in range(500)]
        self.behind = [self.other() for _ in range(200)]

    def other(self) -> dict[str, object]:
        """A task of somebody else's."""
        self.number += 1
        return {"id": f"other-{self.number}", "status": "queued", "created_at": 1, "model": "m"}

    async def __call__(self, request: httpx.Request) -> httpx.Response | None:
        """Answer a list of all tasks."""
        if not is_list(request) or "filter.task_ids" in request.url.params:
            return None
        num, size = (int(request.url.params[f"page_{name}"]) for name in ("num", "size"))
        if num == 1:
            self.before = [self.other() for _ in range(500 - len(self.before))] + self.before
        else:
            self.before = self.before[self.removed :]
        lost = [
            {"id": task.id, "status": "queued", "created_at": 1, "model": "m"}
            | {"safety_identifier": task.order.safety_identifier}
            for task in self.wire.emulator.ledger.tasks
        ]
        everything = [*self.before, *lost, *self.behind]
        items = everything[(num - 1) * size : num * size]
        return httpx.Response(200, json={"items": items, "total": len(everything)})


@pytest.mark.parametrize(("removed", "found"), [(1, True), (30, False)])
async def test_a_task_that_slips_to_a_page_read_before_is_not_taken_for_absent(removed, found):
    """Pages overlap; if more is removed than that, the list proves nothing."""
    wire = Wire()
    wire.lose = loses_one
    wire.fault = Shifting(wire, removed)
    async with client(wire) as c:
        (outcome,) = await (await c.submit_many([BOAT])).result()
        assert outcome.ok == found
        assert found or isinstance(outcome.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == wire.emulator.ledger.created == 1


async def test_a_long_list_leaves_polls_their_share():
    """While thousands of tasks are looked through, every other list is a poll's."""
    wire = ManyTasksWire(render_seconds=3000.0)
    retry = RetryPolicy(lookup=60)  # time enough to read all of them, and more than once
    async with client(wire, polling=Polling(delay=0.5), retry=retry) as c:
        c.attach_many(wire.add_tasks(5000))
        wire.fault = first(1, lambda: httpx.Response(502))
        lost = await c.submit_many([BOAT])
        await anyio.sleep(1)
        begun = len(wire.seen)
        await lost.submitted()
    lists = [request for request in wire.seen[begun:] if is_list(request)]
    sizes = [None if listed_ids(request) else request.url.params["page_size"] for request in lists]
    pages = [place for place, size in enumerate(sizes) if size not in {None, "500"}]  # no poll's
    assert len(pages) >= 8
    assert all(later - earlier >= 2 for earlier, later in pairwise(pages[-12:]))
    assert wire.prompts.count("a paper boat") == 2


async def test_tasks_that_have_ended_show_that_a_list_drops_marks(tmp_path: Path):
    """What was made before, here or by an earlier process, must be listed with its token."""
    wire = Wire(render_seconds=20.0)

    def without_marks(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        ended = [{"id": task.id, "status": "succeeded"} for task in wire.emulator.ledger.tasks]
        return httpx.Response(200, json={"items": ended}) if is_list(request) else None

    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await c.run(TaskSpec("a kite"))
        wire.change = without_marks
        wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        kite, boat = await (await c.resume()).result()
        assert kite.ok
        assert isinstance(boat.error, SubmissionUncertainError)
    assert wire.prompts == ["a kite", "a paper boat"]


@pytest.mark.parametrize("age", [0, 1000])
async def test_a_task_without_a_mark_may_be_the_lost_one(age: int):
    """Before any mark was seen, one that is young enough keeps the create from being sent again."""
    wire = Wire()

    def without_marks(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        created = int(wire.emulator.ledger.tasks[-1].created_at) - age
        rows = [{"id": "other", "status": "queued", "created_at": created}]
        page = {"items": rows, "total": 1}
        return httpx.Response(200, json=page) if is_list(request) else None

    async with client(wire) as c:
        await c.run(TaskSpec("a kite"))  # its answers tell the provider's time
        wire.fault = first(1, lambda: httpx.Response(502))
        wire.change = without_marks
        (outcome,) = await (await c.submit_many([BOAT])).result()
    assert outcome.ok == (age > 0)
