"""What `Client.stats` says, and the event of a list that is not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import ClosedError, RetryPolicy, Stats, SubmissionUncertainError, TaskSpec
from callsheet.events import ListDoubted
from emulation import Wire, body_of, client, first, is_list


if TYPE_CHECKING:
    from callsheet.events import Event


BOAT = TaskSpec("a paper boat", duration=5)


async def test_stats_count_what_is_going_on():
    """Each spec and task is counted under one word, until it has its outcome."""
    wire = Wire(concurrency=2, render_seconds=60.0)
    async with client(wire) as c:
        idle = Stats(
            backlog=0,
            in_flight=0,
            uncertain=0,
            queued=0,
            running=0,
            service_up=True,
            doubted_lists=(),
        )
        assert await c.stats() == idle
        batch = await c.submit_many([BOAT] * 5)
        early = await c.stats()
        assert early.backlog + early.in_flight + early.queued + early.running == 5
        await batch.submitted()
        await anyio.sleep(10)
        stats = await c.stats()
        assert (stats.backlog, stats.in_flight, stats.queued, stats.running) == (0, 0, 3, 2)
        await batch.result()
        assert await c.stats() == idle
    with pytest.raises(ClosedError):
        await c.stats()


async def test_stats_say_that_the_service_is_down():
    """A health check can tell an outage from a queue."""
    wire = Wire(render_seconds=600.0)
    async with client(wire) as c:
        await c.submit(BOAT)
        wire.fault = first(9999, lambda: httpx.Response(503), method="GET")
        await anyio.sleep(60)
        assert not (await c.stats()).service_up
        wire.fault = None
        await anyio.sleep(120)
        assert (await c.stats()).service_up


async def test_a_list_that_is_not_believed_is_an_event_and_in_the_stats():
    """The event comes once, and its reason stays in the stats as long as the list is wrong."""
    events: list[Event] = []
    wire = Wire(render_seconds=20.0)

    def in_capitals(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        body = body_of(response)
        for row in body["items"]:
            row["safety_identifier"] = row["safety_identifier"].upper()
        return httpx.Response(200, json=body)

    async with client(wire, observer=events.append, retry=RetryPolicy(lookup=60)) as c:
        kite = await c.submit(TaskSpec("a kite"))
        await kite
        await anyio.sleep(60)
        wire.change = in_capitals
        for _ in range(2):
            wire.fault = first(1, lambda: httpx.Response(502))
            with pytest.raises(SubmissionUncertainError, match="another mark"):
                await c.submit(BOAT)
        assert (await c.stats()).uncertain == 2
        (reason,) = (await c.stats()).doubted_lists
    assert kite.task_id is not None
    assert kite.task_id in reason
    doubted = [each for each in events if isinstance(each, ListDoubted)]
    assert doubted == [ListDoubted(kind="mark", reason=reason, service_tier=None)]
    assert wire.prompts.count(BOAT.prompt) == 2
