"""More tasks at once than a list of ids can name, through the client and the emulator."""

from __future__ import annotations

import httpx
import pytest

from callsheet import Limits, Polling, TaskSpec
from emulation import Wire, body_of, client, is_list, listed_ids


MANY = 1_000

WAYS = {"concurrency": MANY, "creates_per_minute": 100_000, "render_sigma": 0.0}

fractions = pytest.mark.parametrize("fraction", [0.0, 0.2, 0.45, 0.85, 0.96])


async def watch(wire: Wire) -> list[float]:
    """Make many videos that end together; return how late each end was noticed, in seconds."""
    learned: dict[str, float] = {}
    limits = Limits(creates_per_minute=100_000)
    async with client(wire, polling=Polling(delay=1.0), limits=limits) as c:
        batch = await c.submit_many(TaskSpec(f"boat {n}", duration=5) for n in range(MANY))
        async for outcome in batch.as_completed():
            assert outcome.ok
            learned[outcome.task_id or ""] = wire.emulator.now()
    ends = {task["id"]: task["updated_at"] for task in wire.emulator.state()["tasks"]}
    return [learned[task_id] - end for task_id, end in ends.items()]


@fractions
async def test_many_ends_at_once_are_noticed_with_few_calls(fraction):
    """A thousand ends are noticed with a few pages, within the limit of one list a second."""
    wire = Wire(render_seconds=60.0, fraction=fraction, **WAYS)
    delays = await watch(wire)
    assert max(delays) < 5.0
    lists = [request for request in wire.seen if is_list(request)]
    assert any(not listed_ids(request) for request in lists)
    assert wire.emulator.requests.list.refused == 0
    assert wire.emulator.requests.list.seen < 80
    assert wire.emulator.requests.get.seen == 0


@pytest.mark.parametrize("page", ["refused", "other people's"])
async def test_useless_pages_lose_no_task(page):
    """If pages are refused or show other people's tasks, all tasks are listed by id."""
    wire = Wire(render_seconds=60.0, **WAYS)

    def change(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        if not is_list(request) or listed_ids(request):
            return None
        if page == "refused":
            error = {"code": "InvalidParameter", "message": "page_size"}
            return httpx.Response(400, json={"error": error})
        rows = [{"id": f"stranger-{n}", "status": "running"} for n in range(500)]
        return httpx.Response(200, json={"items": rows, "total": 5000})

    wire.change = change
    delays = await watch(wire)
    assert len(delays) == MANY
    assert max(delays) < 15.0


@fractions
async def test_page_numbers_that_do_not_work_lose_no_task(fraction):
    """If every page is the first one, tasks that are not on it are listed by id."""
    wire = Wire(render_seconds=60.0, fraction=fraction, **WAYS | {"render_sigma": 0.3})

    async def turn_back(request: httpx.Request) -> None:
        if is_list(request) and not listed_ids(request):
            request.url = request.url.copy_set_param("page_num", 1)

    def hide_total(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        return httpx.Response(200, json={"items": body_of(response)["items"]})

    wire.fault, wire.change = turn_back, hide_total
    assert max(await watch(wire)) < 30.0  # mostly a few seconds, but useless pages take time
