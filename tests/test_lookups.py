"""When the list is looked through for creates whose answers were lost, and when that stops."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import RetryPolicy, SubmissionUncertainError, TaskSpec
from emulation import Wire, client, first, is_list, listed_ids, refusal


if TYPE_CHECKING:
    from pathlib import Path


WINDOW = 300.0
BOAT = TaskSpec("a paper boat", duration=5)


def looks(wire: Wire) -> list[tuple[float, str | None]]:
    """When the list was looked through, and that of which tier."""
    pairs = zip(wire.times, wire.seen, strict=True)
    return [
        (at, request.url.params.get("filter.service_tier"))
        for at, request in pairs
        if is_list(request) and not listed_ids(request)
    ]


async def test_looks_come_with_growing_gaps():
    """The first is soon, and none is more than a minute after the one before."""
    wire = Wire(latency=0.0)
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(WINDOW - 1)
    times = [at - wire.times[0] for at, _ in looks(wire)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == pytest.approx(2.0, abs=0.1)
    assert gaps[:3] == pytest.approx([2.0, 4.0, 8.0], abs=0.1)
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(60.0, abs=0.1)


async def test_without_anything_lost_nobody_looks():
    """No look is due, now or later."""
    wire = Wire(render_seconds=30.0)
    async with client(wire) as c:
        await c.run(BOAT)
        await anyio.sleep(10_000)
    assert not looks(wire)


async def test_one_look_serves_all_of_a_tier():
    """Plain lists show no flex tasks, so these are looked for in lists of their own."""
    wire = Wire(latency=0.0, concurrency=10)
    specs = [
        TaskSpec("plain"),
        TaskSpec("same", service_tier="default"),
        TaskSpec("cheap", service_tier="flex"),
    ]
    async with client(wire) as c:
        await c.submit(TaskSpec("proves that creates work"))
        wire.fault = first(3, lambda: httpx.Response(502))
        for spec in specs:
            await c.submit_many([spec])
        await anyio.sleep(WINDOW - 1)
    tiers = [tier for _, tier in looks(wire)]
    assert len(tiers) > 6
    for place in range(0, len(tiers) - 1, 2):
        assert set(tiers[place : place + 2]) == {None, "flex"}


async def away(request: httpx.Request) -> httpx.Response | None:
    """The list route answers nothing of use."""
    return refusal(503, "ServiceUnavailable") if is_list(request) else None


GIVEN_UP = WINDOW + 1800.0
"""Seconds after which a search that could never be finished has proven nothing, and ends."""


async def test_a_look_that_cannot_be_finished_is_repeated_but_not_for_ever():
    """It proves nothing, also long after the window; half an hour later it is given up."""
    wire = Wire()
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = away
    async with client(wire) as c:
        started = anyio.current_time()
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
        assert GIVEN_UP <= anyio.current_time() - started <= GIVEN_UP + 120
    assert len(wire.sent("POST")) == 1


async def test_what_is_learned_of_late_is_looked_for_as_long(tmp_path: Path, monkeypatch):
    """A create that was lost a day before gets the same patience with a list that fails."""
    wire, path = Wire(), tmp_path / "shoot.db"
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = away
    async with client(wire, journal=path) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(1)
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + 90_000)
    async with client(wire, journal=path) as c:
        started = anyio.current_time()
        (handle,) = await c.resume()
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
        assert GIVEN_UP <= anyio.current_time() - started <= GIVEN_UP + 120
    assert len(wire.sent("POST")) == 1


async def test_what_is_found_while_the_last_look_goes_on_is_not_sent_again():
    """A create whose callback comes while the list is read, which does not show it, has its id."""
    wire = Wire(render_seconds=1000.0)
    reading = anyio.Event()

    async def slow_list(request: httpx.Request) -> httpx.Response | None:
        if not is_list(request) or listed_ids(request):
            return None
        if anyio.current_time() > wire.times[0] + WINDOW:
            reading.set()
            await anyio.sleep(20)
        return httpx.Response(200, json={"items": [], "total": 0})

    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = slow_list
    async with client(wire, retry=RetryPolicy(lookup=WINDOW)) as c:
        (handle,) = await c.submit_many([BOAT])
        await reading.wait()
        (made,) = wire.emulator.ledger.tasks
        (create,) = wire.sent("POST")
        token = json.loads(create.content)["safety_identifier"]
        body = json.dumps({"id": made.id, "status": "running"}).encode()
        assert c.take_callback(body, token=token)
        await anyio.sleep(100)
        assert handle.task_id == made.id
        assert not handle.done
    assert len(wire.sent("POST")) == 1
