"""Creates are sent in order, within the quota, each at most once."""

from __future__ import annotations

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    ConnectFailedError,
    Limits,
    NotSubmittedError,
    RetryPolicy,
    SubmissionUncertainError,
    TaskSpec,
)
from callsheet.events import GateOpened, GateShut
from emulation import ARK, Script, Wire, client, first, prompt_of, refusal


def boats(count: int) -> list[TaskSpec]:
    """*count* specs."""
    return [TaskSpec(f"boat {i}") for i in range(count)]


class RoomProvider(httpx.AsyncBaseTransport):
    """Accepts creates while it has room; a task ends when it is removed from `open`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.open: list[str] = []
        self.taken: list[int] = []
        self.creates: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a create, later ones sooner, or a get."""
        if request.method == "GET":
            task_id = request.url.path.rpartition("/")[2]
            row = {"id": task_id, "status": "running"}
            if task_id not in self.open:
                row |= {"status": "succeeded", "content": {"video_url": "http://v.test/a"}}
            return httpx.Response(200, json=row)
        self.creates.append(anyio.current_time())
        await anyio.sleep(0.1 * (7 - len(self.creates) % 8))
        if len(self.open) >= self.room:
            return refusal(429, "QuotaExceeded", "The request has exceeded the quota")
        number = int(prompt_of(request).removeprefix("boat "))
        self.taken.append(number)
        self.open.append(f"cgt-{number}")
        return httpx.Response(200, json={"id": f"cgt-{number}"})


@pytest.mark.parametrize("room", [1, 2, 5])
async def test_a_spec_that_waits_for_room_keeps_its_place(room):
    """No spec overtakes one that waits for room, in whatever order the refusals arrive."""
    desk = RoomProvider(room)
    provider = attrs.evolve(ARK, lists=False)
    async with client(desk, provider=provider, limits=Limits(connections=11)) as c:
        batch = await c.submit_many(boats(20))
        while len(desk.taken) < 20:
            await anyio.sleep(60)
            del desk.open[:1]
        desk.open.clear()
        assert len((await batch.result()).urls()) == 20
    assert sorted(desk.taken) == list(range(20))
    assert desk.taken[room:] == sorted(desk.taken[room:])


async def test_specs_become_tasks_in_order():
    """Creates are sent in the order of their specs, and each spec gets the id of its own task."""
    wire = Wire(concurrency=50)
    async with client(wire) as c:
        batch = await c.submit_many(boats(50))
        ids = await batch.submitted()
    assert wire.prompts == [f"boat {i}" for i in range(50)]
    made = {task.id: task.order.prompt for task in wire.emulator.ledger.tasks}
    assert [made[task_id] for task_id in ids] == wire.prompts
    assert batch.progress.failed == 0


async def test_creates_stay_within_their_quota():
    """No minute holds more creates than the quota allows."""
    wire = Wire(concurrency=200, render_seconds=10.0)
    async with client(wire, limits=Limits(creates_per_minute=60)) as c:
        await (await c.submit_many(boats(200))).submitted()
    times = wire.sent_at("POST")
    assert len(times) == 200
    for i, start in enumerate(times):
        assert sum(start <= at < start + 60 for at in times[i:]) <= 60


async def test_the_first_create_of_a_batch_is_sent_alone():
    """No second create is sent before the first one has brought an id."""
    wire = Wire(latency=5.0)
    async with client(wire, limits=Limits(creates_per_minute=6000)) as c:
        await (await c.submit_many(boats(9))).submitted()
    times = wire.sent_at("POST")
    assert times[1] - times[0] >= 5.0
    assert times[4] - times[1] < 1.0


async def test_failed_connections_trip_the_breaker():
    """Failed connections trip the circuit breaker once, and the first success resets it."""
    wire = Wire(render_seconds=1e5, concurrency=8)
    events: list[object] = []

    def refused() -> httpx.Response:
        raise httpx.ConnectError("refused")

    wire.fault = first(3, refused)
    async with client(wire, observer=events.append) as c:
        ids = await (await c.submit_many(boats(8))).submitted()
        assert all(ids)
    kinds = [type(event) for event in events if isinstance(event, (GateShut, GateOpened))]
    assert kinds == [GateShut, GateOpened]


async def test_a_create_that_never_connects_ends_after_its_attempts():
    """A single spec uses exactly the attempts of its policy."""
    script = Script(httpx.ConnectError("refused"))
    async with client(script, retry=RetryPolicy(attempts=3)) as c:
        with pytest.raises(ConnectFailedError):
            await c.submit(TaskSpec("boat"))
    assert len(script.seen) == 3


async def test_closing_settles_every_spec():
    """Closing the client ends waiting specs and creates in flight, and settles all of them."""
    wire = Wire(latency=0.1, render_seconds=1e5)
    async with client(wire, limits=Limits(connections=3)) as c:
        await c.submit(TaskSpec("proves it"))
        wire.latency = 1000.0
        batches = [await c.submit_many([spec]) for spec in boats(6)]
        await anyio.sleep(1)
        left = anyio.current_time()
    assert anyio.current_time() - left == pytest.approx(5.0)
    errors = []
    for batch in batches:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - told apart below
            await batch[0]
        errors.append(type(caught.value))
    assert errors == [SubmissionUncertainError] * 2 + [NotSubmittedError] * 4
    assert wire.prompts == ["proves it", "boat 0", "boat 1"]
