"""The front of the house, seen by a user."""

from __future__ import annotations

import anyio
import httpx
import pytest

from callsheet import TaskSpec
from emulation import COMET, Wire, client


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
    """An endless source is pulled only as places become free, and no more once the loop is left."""
    pulled = 0

    def endless():
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


async def test_an_outage_of_the_status_route_loses_nothing():
    """Twenty seconds of 503 on the status route settle no task and end within ten seconds."""
    wire = Wire(concurrency=200, render_seconds=30.0)

    async def down(request: httpx.Request) -> httpx.Response | None:
        out = request.method == "GET" and 20 <= anyio.current_time() < 60
        return httpx.Response(503, text="upstream") if out else None

    wire.fault = down
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(200))
        result = await batch.result()
        assert len(result.urls()) == 200
        assert anyio.current_time() < 90
    probes = [
        at
        for at, r in zip(wire.times, wire.seen, strict=True)
        if r.method == "GET" and 21 < at < 60
    ]
    assert all(later - earlier >= 1 for earlier, later in zip(probes, probes[1:], strict=False))


async def test_a_batch_through_cometapi_needs_no_list():
    """Where lists are not served, tasks are asked about one by one."""
    wire = Wire()
    async with client(wire, provider=COMET, api_key="sk-test") as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20
