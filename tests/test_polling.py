"""One loop polls all tasks of a client, and only answers settle them."""

from __future__ import annotations

import json
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    Client,
    Limits,
    NotFoundError,
    Polling,
    Status,
    TaskCancelledError,
    TaskSpec,
    TaskTimeoutError,
)
from callsheet.events import PollFailed, StatusChanged, TaskSettled
from emulation import ARK, COMET, Wire, client, listed_ids, prompt_of, refusal
from making import most_in_window


if TYPE_CHECKING:
    from collections.abc import Callable

    from callsheet import Batch


FIRST_TIMEOUT = 4.0
"""The first timeout of a poll, in seconds."""


EPOCH = 1_700_000_000
"""The provider's time at the start of a test."""


class TimedProvider(httpx.AsyncBaseTransport):
    """A provider whose tasks have their prompts as ids and end at given times.

    It gives the times of changes only if *tells* is set.
    """

    def __init__(self, ends: dict[str, float], *, tells: bool = False) -> None:
        self.ends = ends
        self.tells = tells
        self.starts: dict[str, float] = {}
        self.requests: list[tuple[float, list[str]]] = []
        self.fault: Callable[[], httpx.Response | None] = lambda: None
        self.seconds: Callable[[bool], float] = lambda _single: 0.01

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "POST":
            self.starts[prompt_of(request)] = anyio.current_time()
            return httpx.Response(200, json={"id": prompt_of(request)})
        single = not request.url.path.endswith("/tasks")
        ids = [request.url.path.rpartition("/")[2]] if single else listed_ids(request)
        self.requests.append((anyio.current_time(), ids))
        await anyio.sleep(self.seconds(single))
        fault = self.fault()
        if fault is not None:
            return fault
        items = [self.row(task_id) for task_id in ids if task_id in self.ends]
        if single:
            return httpx.Response(200, json=items[0]) if items else refusal(404, "NotFound")
        return httpx.Response(200, json={"items": items, "total": len(items)})

    def row(self, task_id: str) -> dict[str, object]:
        """The provider's JSON for one task."""
        ended = anyio.current_time() >= self.ends[task_id]
        row: dict[str, object] = {"id": task_id, "status": "succeeded" if ended else "running"}
        if self.tells:
            changed = self.ends[task_id] if ended else self.starts[task_id]
            row["updated_at"] = EPOCH + int(changed)
        if ended:
            row["content"] = {"video_url": f"http://v.test/{task_id}"}
        return row


def watching(provider: TimedProvider, *, lists: bool | None = True, **options: object) -> Client:
    """A client of this provider."""
    return client(provider, provider=attrs.evolve(ARK, lists=lists), **options)


async def watch(c: Client, *task_ids: str, **spec: object) -> Batch:
    """Submit new tasks with these ids."""
    batch = await c.submit_many(TaskSpec(task_id, **spec) for task_id in task_ids)
    assert await batch.submitted() == task_ids
    return batch


@pytest.mark.parametrize("lists", [True, False, None])
async def test_every_end_is_found_soon(lists):
    """A task settles within a few delays after its end, by gets or by lists."""
    now = anyio.current_time()
    provider = TimedProvider({f"t{i}": now + 40 + 5 * i for i in range(20)})
    events: list[object] = []
    async with watching(provider, lists=lists, observer=events.append) as c:
        batch = await watch(c, *provider.ends)
        with anyio.fail_after(400):
            assert len((await batch.result()).urls()) == 20
        sent = len(provider.requests)
        await anyio.sleep(10_000)
    settled = [event for event in events if isinstance(event, TaskSettled)]
    assert len(settled) == 20
    assert len(provider.requests) == sent


class Known:
    """An observer that keeps when the end of each task is known."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def __call__(self, event: object) -> None:
        """Note the end of a task."""
        if isinstance(event, TaskSettled) and event.outcome.task_id:
            self.at[event.outcome.task_id] = anyio.current_time()

    def delays(self, ends: dict[str, float]) -> list[float]:
        """Seconds from each end until it was known."""
        return [self.at[task_id] - end for task_id, end in ends.items()]


@pytest.mark.parametrize("lists", [True, False, None])
@pytest.mark.parametrize("tasks", [1, 20])
async def test_an_end_is_known_within_a_tenth_of_the_render(lists, tasks):
    """Up to twenty renders of 20 s are each known within 2 s and 10 %, by lists and by gets."""
    known, provider = Known(), TimedProvider({})
    async with watching(provider, lists=lists, observer=known) as c:
        await anyio.sleep(100)
        now = anyio.current_time()
        provider.ends = {f"t{i}": now + 20.0 + 0.1 * i for i in range(tasks)}
        with anyio.fail_after(60):
            await (await watch(c, *provider.ends)).result()
    late = zip(provider.ends, known.delays(provider.ends), strict=True)
    assert all(seconds <= 2.0 + 0.1 * (provider.ends[each] - now) for each, seconds in late)


@pytest.mark.parametrize("lists", [True, False, None])
@pytest.mark.parametrize("seconds", [5, 20, 60, 300])
@pytest.mark.parametrize("tells", [True, False])
async def test_an_end_is_known_within_ten_seconds_however_long_the_render(lists, seconds, tells):
    """With default settings this holds for the first task and for later ones."""
    known, provider = Known(), TimedProvider({}, tells=tells)
    async with watching(provider, lists=lists, observer=known) as c:
        for number in range(20):
            end = anyio.current_time() + seconds
            provider.ends[f"t{number}"] = end
            with anyio.fail_after(seconds + 20):
                await (await watch(c, f"t{number}")).result()
    assert max(known.delays(provider.ends)) <= 10.0


class ShuffledLists(TimedProvider):
    """A provider that lists tasks in an order of its own."""

    def row(self, task_id: str) -> dict[str, object]:
        """The provider's JSON for one task; the list that holds it is sorted by what is here."""
        return super().row(task_id) | {"order": zlib.crc32(task_id.encode())}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        response = await super().handle_async_request(request)
        body = json.loads(response.content)
        if "items" in body:
            body["items"].sort(key=lambda row: row["order"])
        return httpx.Response(response.status_code, json=body)


@pytest.mark.parametrize("lists", [True, False])
async def test_a_render_of_three_hours_is_looked_at_as_the_promise_needs(lists):
    """It is asked about every 9.5 s until its end, and no more often."""
    known, provider = Known(), TimedProvider({}, tells=True)
    async with watching(provider, lists=lists, observer=known) as c:
        provider.ends = {"long": anyio.current_time() + 3 * 3600.0}
        with anyio.fail_after(3 * 3600.0 + 20.0):
            await (await watch(c, "long")).result()
    assert max(known.delays(provider.ends)) <= 10.0
    assert len(provider.requests) <= 3 * 3600.0 / 9.5 + 20


@pytest.mark.parametrize("renders", [1.0, 6.0])
async def test_many_short_tasks_side_by_side_are_known_soon(renders):
    """One list tells how many of a thousand tasks have begun, in whatever order it shows them."""
    known, provider = Known(), ShuffledLists({})
    limits = Limits(creates_per_minute=1e6)
    async with watching(provider, observer=known, limits=limits) as c:
        now = anyio.current_time()
        provider.ends = {f"t{i}": now + renders + 0.001 * i for i in range(1000)}
        with anyio.fail_after(60):
            await (await watch(c, *provider.ends)).result()
    late = known.delays(provider.ends)
    assert max(late) <= 10.0
    assert sum(late) / len(late) <= 5.0


@pytest.mark.parametrize("delay", [1.0, 20.0])
async def test_the_set_delay_holds_for_long_renders(delay):
    """If renders are long, the mean delay is at most the one that was set."""
    known, provider = Known(), TimedProvider({}, tells=True)
    async with watching(provider, observer=known, polling=Polling(delay=delay)) as c:
        for number in range(40):
            end = anyio.current_time() + 600.0 + 7.3 * number
            provider.ends[f"t{number}"] = end
            await (await watch(c, f"t{number}")).result()
    late = known.delays(provider.ends)
    assert sum(late) / len(late) <= delay
    assert max(late) <= 2.0 * delay


async def test_a_single_task_is_polled_by_get():
    """A list costs the provider more than a get, so lists are for two or more tasks."""
    wire = Wire(render_seconds=30)
    async with client(wire) as c:
        await c.run(TaskSpec("a boat"))
        assert wire.emulator.requests.list.seen == 0
        assert wire.emulator.requests.get.seen > 2
        await (await c.submit_many([TaskSpec("a boat"), TaskSpec("a bird")])).result()
        assert wire.emulator.requests.list.seen > 2


async def test_without_a_known_rate_gets_start_at_four_a_second():
    """CometAPI gets at most four gets a second in the first ten seconds, and later 20."""
    provider, times = TimedProvider({f"t{i}": 1e9 for i in range(400)}), []
    comet = attrs.evolve(COMET, lists=False)
    async with client(provider, provider=comet, api_key="k" * 20) as c:
        c.attach_many(provider.ends)
        await anyio.sleep(60)
        times = [at for at, _ in provider.requests]
    first = times[0]
    assert most_in_window([at for at in times if at < first + 10.0], 1.0) == 4
    assert most_in_window(times, 1.0) in (19, 20)


async def test_without_a_known_rate_a_429_halves_the_rate_of_gets():
    """After a refusal the rate is halved, until ten seconds pass without one."""
    provider = TimedProvider({f"t{i}": 1e9 for i in range(400)})
    comet = attrs.evolve(COMET, lists=False)
    refusals = iter([refusal(429, "RateLimitExceeded")])
    async with client(provider, provider=comet, api_key="k" * 20) as c:
        c.attach_many(provider.ends)
        await anyio.sleep(5)
        provider.fault = lambda: next(refusals, None)
        await anyio.sleep(10)
        provider.fault = lambda: None
        times = [at for at, _ in provider.requests]
    refused = next(at for at in times if at > times[0] + 4.9)
    after = [at for at in times if refused < at < refused + 9.0]
    assert most_in_window([at for at in times if at <= refused], 1.0) == 4
    assert most_in_window(after, 1.0) == 2
    assert len(after) > 10


async def test_without_tasks_no_request_is_sent():
    """Without tasks no request is ever sent."""
    provider = TimedProvider({})
    async with watching(provider):
        await anyio.sleep(80_000)
    assert provider.requests == []


async def test_a_new_task_wakes_a_sleeping_poller():
    """A task that is added while the poller sleeps is polled in time."""
    provider = TimedProvider({})
    async with watching(provider) as c:
        await anyio.sleep(5000)
        added = anyio.current_time()
        provider.ends["late"] = added + 30
        (handle,) = await watch(c, "late")
        with anyio.fail_after(1000):
            assert (await handle).url
    assert provider.requests[0][0] >= added
    assert anyio.current_time() - provider.ends["late"] < 60


async def test_a_new_task_is_polled_in_time_while_others_have_time_left():
    """The poller wakes for a task whose first look comes before the next look at all others."""
    old = ["old 1", "old 2", "old 3"]
    provider = TimedProvider(dict.fromkeys(old, 1e6))
    async with watching(provider) as c:
        await watch(c, *old)
        await anyio.sleep(200)
        # they are asked about every 9.5 s by now; one second after that, eight are left
        last = provider.requests[-1][0]
        await anyio.sleep_until(last + 10.6)
        added = anyio.current_time()
        assert added - provider.requests[-1][0] < 2.0
        provider.ends["new"] = 1e6
        await watch(c, "new")
        await anyio.sleep(3.0)
        assert any("new" in ids for at, ids in provider.requests if at > added)


async def test_a_failed_poll_settles_nothing():
    """Errors of the status route are reported as failed polls, and change no task."""
    provider = TimedProvider({"a": 0.0})
    provider.fault = lambda: httpx.Response(503)
    events: list[object] = []
    async with watching(provider, observer=events.append) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(300)
        assert not handle.done
        failed = [event for event in events if isinstance(event, PollFailed)]
        assert len(failed) == len(provider.requests) > 30
        assert all(event.task_ids == ("a",) for event in failed)
        provider.fault = lambda: None
        with anyio.fail_after(10):
            assert (await handle).url


@pytest.mark.parametrize("lists", [True, False])
async def test_the_timeout_of_polls_grows(lists):
    """After each poll without an answer the next one gets a little more time."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now, "b": now})
    provider.seconds = lambda _single: 1e9
    events: list[object] = []
    async with watching(provider, lists=lists, observer=events.append) as c:
        batch = await watch(c, "a", "b")
        await anyio.sleep(100)
        provider.seconds = lambda _single: 0.01
        with anyio.fail_after(100):
            assert len((await batch.result()).urls()) == 2
    polls = [at for at, _ in provider.requests]
    gaps = [
        b - a for a, b in pairwise(polls) if b > a + 1
    ]  # because the gets of both are sent together
    assert FIRST_TIMEOUT <= gaps[0] < 2 * FIRST_TIMEOUT + 2
    assert max(gaps[1:]) > gaps[0]
    failed = [event for event in events if isinstance(event, PollFailed)]
    assert failed
    assert f"within {FIRST_TIMEOUT:g} s" in str(failed[0].error)


async def test_a_list_may_be_slower_than_gets():
    """A list may take five seconds, however fast the gets are."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now + 60.0, "b": now + 60.0})
    provider.seconds = lambda single: 0.01 if single else 5.01
    async with watching(provider) as c:
        batch = await watch(c, "a", "b")
        with anyio.fail_after(200):
            assert len((await batch.result()).urls()) == 2
    lists = [ids for _, ids in provider.requests if len(ids) > 1]
    assert len(lists) > len(provider.requests) / 2


async def test_an_unknown_id_settles_with_the_last_refusal():
    """An id of this client that is refused for a minute settles with the last refusal."""
    provider = TimedProvider({})
    async with watching(provider, lists=False) as c:
        (handle,) = await watch(c, "gone")
        with anyio.fail_after(100):
            assert isinstance((await handle.outcome()).error, NotFoundError)
    assert len(provider.requests) == 6


async def test_a_deadline_settles_a_task_without_an_answer():
    """A task beyond its deadline settles with `TaskTimeoutError`, and is not polled again."""
    provider = TimedProvider({"a": 1e12})
    async with watching(provider) as c:
        (handle,) = await watch(c, "a", execution_expires_after=3600)
        with anyio.fail_after(5000):
            assert isinstance((await handle.outcome()).error, TaskTimeoutError)
        sent = len(provider.requests)
        await anyio.sleep(10_000)
    assert len(provider.requests) == sent


async def test_a_cancel_by_another_handle_stops_the_polls():
    """Whichever of two handles of a task is cancelled, the task is not polled any more."""
    wire = Wire(render_seconds=1e6, concurrency=1)

    async def forget_task(request: httpx.Request) -> httpx.Response | None:
        waits = request.method == "GET" and request.url.path.endswith(first.task_id)
        return refusal(404, "NotFound") if waits and wire.sent("DELETE") else None

    async with client(wire, provider=attrs.evolve(ARK, lists=False)) as c:
        await c.submit(TaskSpec("runs"))
        first = await c.submit(TaskSpec("waits"))
        twin = c.attach(first.task_id)
        wire.fault = forget_task
        assert await twin.cancel() is True
        for handle in (first, twin):
            assert isinstance((await handle.outcome()).error, TaskCancelledError)
        sent = len(wire.sent("GET"))
        await anyio.sleep(300)
        asked_since = [request.url.path for request in wire.sent("GET")[sent:]]
    assert not [path for path in asked_since if path.endswith(first.task_id)]


async def test_a_callback_causes_a_poll_at_once():
    """A task with a callback is polled before it is due."""
    now = anyio.current_time()
    provider = TimedProvider({"a": now + 1000})
    async with watching(provider) as c:
        (handle,) = await watch(c, "a")
        await anyio.sleep(500)
        provider.ends["a"] = 0.0
        assert c.take_callback(json.dumps({"id": "a", "status": "running"}).encode())
        await anyio.sleep(3)
        assert handle.done


async def test_a_status_is_reported_when_it_changes():
    """The observer gets each change once, with the status before it."""
    provider = TimedProvider({"a": anyio.current_time() + 60})
    events: list[object] = []
    async with watching(provider, observer=events.append) as c:
        await (await watch(c, "a")).result()
    (moved,) = (event for event in events if isinstance(event, StatusChanged))
    assert (moved.before, moved.after) == (Status.QUEUED, Status.RUNNING)


@pytest.mark.parametrize(("lists", "most"), [(True, 1), (False, 20)])
async def test_quotas_hold_in_every_window(lists, most):
    """In no second are there more than twenty gets or more than one list."""
    now = anyio.current_time()
    provider = TimedProvider({f"t{i}": now + 50 + i / 10 for i in range(300)})
    async with watching(provider, lists=lists) as c:
        batch = c.attach_many(provider.ends)
        with anyio.fail_after(300):
            assert len((await batch.result()).urls()) == 300
    times = [at for at, _ in provider.requests]
    for i, start in enumerate(times):
        assert sum(start <= at < start + 1 for at in times[i : i + most + 2]) <= most


async def test_a_last_task_is_listed_if_gets_fail():
    """If gets fail, a single task is polled by a list."""
    wire = Wire()

    async def no_gets(request: httpx.Request) -> httpx.Response | None:
        is_get = request.method == "GET" and not request.url.path.endswith("/tasks")
        return refusal(503, "Away") if is_get else None

    wire.fault = no_gets
    async with client(wire) as c:
        with anyio.fail_after(600):
            video = await c.run(TaskSpec("a paper boat", duration=5))
    assert video.url
