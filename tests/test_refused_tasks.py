"""Tasks that exist, but whose id the provider refuses, or whose video it omits, for a while."""

from __future__ import annotations

import json
from itertools import pairwise

import anyio
import httpx
import pytest

from callsheet import NotFoundError, Status, TaskFailedError, TaskSpec
from emulation import ARK, COMET, Wire, body_of, client, is_list, refusal


PROVIDERS = {"ark": {"provider": ARK}, "cometapi": {"provider": COMET, "api_key": "k"}}
BY_PROVIDER = pytest.mark.parametrize("where", PROVIDERS.values(), ids=PROVIDERS)
REFUSALS = {
    "not found": lambda: refusal(404, "NotFound"),
    "invalid": lambda: refusal(400, "InvalidParameter"),
}


class Refusing:
    """Refuses every get and gives empty lists, from *begin* to *end* seconds from now."""

    def __init__(self, wire: Wire, kind: str, begin: float, end: float = float("inf")) -> None:
        now = anyio.current_time()
        self.begin, self.end, self.kind = now + begin, now + end, kind
        self.gets: list[float] = []
        wire.fault = self

    async def __call__(self, request: httpx.Request) -> httpx.Response | None:
        """Answer a status request."""
        now = anyio.current_time()
        if request.method != "GET" or not self.begin <= now < self.end:
            return None
        if is_list(request):
            return httpx.Response(200, json={"items": [], "total": 0})
        self.gets.append(now)
        return REFUSALS[self.kind]()


def callback(task_id: str | None) -> bytes:
    """What the provider posts about a task."""
    return json.dumps({"id": task_id, "status": "running"}).encode()


@BY_PROVIDER
@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize(("begin", "end"), [(0.0, 55.0), (30.0, 85.0)], ids=["new", "running"])
async def test_a_task_that_is_refused_for_less_than_a_minute_is_not_given_up(
    where, kind, begin, end
):
    """Refusals of an id that this client has created do not end the task for a minute."""
    wire = Wire(render_seconds=100.0)
    Refusing(wire, kind, begin, end)
    async with client(wire, **where) as c:
        assert (await c.run(TaskSpec("boat"))).url


@BY_PROVIDER
async def test_a_task_that_stays_refused_is_given_up_after_a_minute(where):
    """Its waiter gets `NotFoundError` after few gets, whose pauses double."""
    wire = Wire(render_seconds=1000.0)
    async with client(wire, **where) as c:
        handle = await c.submit(TaskSpec("boat"))
        await anyio.sleep(30)
        refusing = Refusing(wire, "not found", 0.0)
        with pytest.raises(NotFoundError):
            await handle
    assert 60 <= refusing.gets[-1] - refusing.gets[0] < 100
    assert len(refusing.gets) == 6
    gaps = [b - a for a, b in pairwise(refusing.gets)]
    assert gaps == sorted(gaps)


async def test_an_attached_task_that_was_seen_once_is_known():
    """An attached task that one answer has shown is not given up after three refusals."""
    wire = Wire(render_seconds=60.0, concurrency=1)
    async with client(wire) as c:
        await c.submit(TaskSpec("first"))
        task_id = await c.tasks.create(TaskSpec("second"))
    async with client(wire) as c:
        handle = c.attach(task_id)
        await anyio.sleep(2)
        Refusing(wire, "not found", 0.0, 100.0)
        c.take_callback(callback(task_id))
        await anyio.sleep(50)
        assert not handle.done
        wire.fault = None
        assert (await handle).url


async def test_callbacks_of_a_refused_task_do_not_end_it_earlier():
    """Each callback causes a get, but however many come, the task has its minute."""
    wire = Wire(render_seconds=100.0)
    Refusing(wire, "not found", 20.0, 60.0)
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        for _ in range(50):
            await anyio.sleep(1)
            c.take_callback(callback(handle.task_id))
        assert (await handle).url


async def test_refusals_before_and_after_an_outage_are_counted_apart():
    """An outage of more than a minute between refusals does not count as a minute of refusals."""
    wire = Wire(render_seconds=300.0)
    async with client(wire, provider=COMET, api_key="k") as c:
        handle = await c.submit(TaskSpec("boat"))
        await anyio.sleep(30)
        Refusing(wire, "not found", 0.0, 10.0)
        await anyio.sleep(10)

        async def down(request: httpx.Request) -> httpx.Response | None:
            return httpx.Response(503) if request.method == "GET" else None

        wire.fault = down
        await anyio.sleep(100)
        Refusing(wire, "not found", 0.0, 30.0)
        assert (await handle).url


class NoVideo:
    """Leaves the video out of every success for some time after the first one was shown."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self.seconds = seconds
        self.gets: list[float] = []
        self.begun = anyio.Event()
        self.shown: float | None = None
        wire.change = self

    def __call__(self, request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        """Change a status answer."""
        if request.method != "GET":
            return None
        body = body_of(response)
        now = anyio.current_time()
        for row in body.get("items", [body]):
            if row.get("status") == "succeeded":
                self.shown = now if self.shown is None else self.shown
                if now < self.shown + self.seconds:
                    row.pop("content", None)
                    if not is_list(request):
                        self.gets.append(now)
                        self.begun.set()
        return httpx.Response(response.status_code, json=body)


@BY_PROVIDER
@pytest.mark.parametrize("seconds", [3.0, 55.0])
async def test_a_video_may_come_up_to_a_minute_after_its_success(where, seconds):
    """After a success without a URL the task is read again by get until the URL is there."""
    wire = Wire(render_seconds=60.0)
    NoVideo(wire, seconds)
    async with client(wire, **where) as c:
        boats = [TaskSpec(f"boat {i}") for i in range(3)]
        assert len((await (await c.submit_many(boats)).result()).urls()) == 3
        assert c.spend.spent.tasks == 3


@BY_PROVIDER
async def test_a_success_that_never_shows_a_video_fails_after_a_minute(where):
    """It ends with `TaskFailedError` after few gets, and counts as billed."""
    wire = Wire(render_seconds=60.0)
    no_video = NoVideo(wire, 1e9)
    async with client(wire, **where) as c:
        handle = await c.submit(TaskSpec("boat"))
        with pytest.raises(TaskFailedError, match="no video URL"):
            await handle
        assert c.spend.spent.tasks == 1
        assert handle.snapshot.status is Status.SUCCEEDED
    assert 60 <= no_video.gets[-1] - no_video.gets[0] < 100
    assert len(no_video.gets) == 6


async def test_refusals_and_successes_without_a_video_count_together():
    """A minute of refused ids and missing videos together ends the task, and not less."""
    wire = Wire(render_seconds=60.0)
    no_video = NoVideo(wire, 1e9)
    async with client(wire, provider=COMET, api_key="k") as c:
        handle = await c.submit(TaskSpec("boat"))
        await no_video.begun.wait()
        refusing = Refusing(wire, "not found", 0.0)
        with pytest.raises(NotFoundError):
            await handle
    assert 60 <= refusing.gets[-1] - no_video.gets[0] < 100


async def test_a_cancel_of_a_success_without_a_video_removes_nothing():
    """The get before a cancel ends and deletes nothing, and another get follows at once."""
    wire = Wire(render_seconds=1.0, render_sigma=0.0)
    NoVideo(wire, 20.0)
    async with client(wire, provider=COMET, api_key="k") as c:
        *_, handle = [await c.submit(TaskSpec(f"boat {i}")) for i in range(3)]
        await anyio.sleep(3)
        assert handle.status is Status.QUEUED
        assert await handle.cancel() is False
        assert not handle.done
        await anyio.sleep(1)
        assert sum(r.url.path.endswith(handle.task_id) for r in wire.sent("GET")) == 2
        assert (await handle).url
    assert not wire.sent("DELETE")


async def test_callbacks_do_not_end_a_success_without_a_video():
    """However many callbacks come and whoever reads the task, the client waits for its URL."""
    wire = Wire(render_seconds=60.0)
    no_video = NoVideo(wire, 50.0)
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        await no_video.begun.wait()
        for _ in range(45):
            await anyio.sleep(1)
            c.take_callback(callback(handle.task_id))
            assert (await c.tasks.get(handle.task_id)).video_url is None
        assert (await handle).url
