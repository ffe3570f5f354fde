"""When the client looks for lost creates in the list, and when it stops."""

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
    """The time and the service tier of each list request that looks for lost creates."""
    pairs = zip(wire.times, wire.seen, strict=True)
    return [
        (at, request.url.params.get("filter.service_tier"))
        for at, request in pairs
        if is_list(request) and not listed_ids(request)
    ]


async def test_the_gaps_between_looks_grow():
    """The first look is after two seconds, and no gap is longer than a minute."""
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


async def test_without_a_lost_create_there_are_no_looks():
    """A client that has lost no create never looks through the list."""
    wire = Wire(render_seconds=30.0)
    async with client(wire) as c:
        await c.run(BOAT)
        await anyio.sleep(10_000)
    assert not looks(wire)


async def test_one_look_serves_all_lost_creates_of_a_tier():
    """Plain lists show no flex tasks, so each look reads one list for each tier."""
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
    for index in range(0, len(tiers) - 1, 2):
        assert set(tiers[index : index + 2]) == {None, "flex"}


async def lists_fail(request: httpx.Request) -> httpx.Response | None:
    """Answer each list request with an error."""
    return refusal(503, "ServiceUnavailable") if is_list(request) else None


GIVEN_UP = 4 * WINDOW
"""Seconds after which a search ends if no look could be completed. It has proven nothing."""


async def test_a_look_that_fails_is_repeated_for_a_limited_time():
    """It proves nothing, and the search ends after four windows."""
    wire = Wire()
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = lists_fail
    async with client(wire) as c:
        started = anyio.current_time()
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
        assert GIVEN_UP <= anyio.current_time() - started <= GIVEN_UP + 120
    assert len(wire.sent("POST")) == 1


async def test_a_create_that_was_lost_long_ago_is_looked_for_as_long(tmp_path: Path, monkeypatch):
    """While lists fail, a create that was lost a day ago is looked for as long as a new one."""
    wire, path = Wire(), tmp_path / "shoot.db"
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = lists_fail
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


async def test_a_create_that_is_found_during_the_last_look_is_not_sent_again():
    """A callback during the last look gives the create its id, also if the list omits the task."""
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
