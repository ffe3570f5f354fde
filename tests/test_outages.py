"""If status requests fail, no task is lost, few are sent, and ends are noticed soon."""

from __future__ import annotations

import ssl
from itertools import pairwise

import anyio
import httpx
import pytest

from callsheet import (
    AuthenticationError,
    ConnectFailedError,
    Limits,
    NotFoundError,
    RetryPolicy,
    TaskSpec,
    TaskTimeoutError,
)
from callsheet.events import GateOpened, GateShut, PollFailed, TaskSettled
from emulation import ARK, COMET, Wire, body_of, client, first, is_list, listed_ids, refusal


START, END = 55.0, 75.0


def raises(error: Exception):
    """A fault that raises a network error."""

    def answer() -> httpx.Response:
        raise error

    return answer


OUTAGES = {
    "503": lambda: httpx.Response(503, text="upstream"),
    "reset": raises(httpx.ReadError("connection reset by peer")),
    "damaged record": raises(ssl.SSLError(1, "[SSL] record layer failure")),
    "no connection": raises(httpx.ConnectError("connection refused")),
    "429 with Retry-After": lambda: refusal(
        429, "AccountRateLimitExceeded", headers={"retry-after": "5"}
    ),
    "429": lambda: refusal(429, "AccountRateLimitExceeded"),
    "html 200": lambda: httpx.Response(200, text="<html><title>maintenance</title></html>"),
    "empty 200": lambda: httpx.Response(200),
    "404 without code": lambda: httpx.Response(404, text="404 page not found"),
    "404 html": lambda: httpx.Response(404, text="<html>nginx</html>"),
    "redirect": lambda: httpx.Response(302, headers={"location": "http://login.test/"}),
    "silence": None,
}
BY_GET = ("503", "reset", "damaged record", "429 with Retry-After", "404 without code", "silence")
CASES = [
    *(pytest.param(kind, "list") for kind in OUTAGES),
    *(pytest.param(kind, "get") for kind in BY_GET),
]


def delays_of(wire: Wire, ends: dict[str, float]) -> list[float]:
    """Seconds from the time when each end could be known until it was known."""
    emulator = wire.emulator
    clock, epoch = emulator._origin
    real = {task.id: task.updated_at - epoch + clock for task in emulator.ledger.tasks}
    began = wire.times[0]
    return [
        at - max(real[task_id], began + END)
        for task_id, at in ends.items()
        if real[task_id] < began + END and at > began + START
    ]


@pytest.mark.parametrize(("kind", "face"), CASES)
async def test_an_outage_of_the_status_route_loses_no_task(kind, face):
    """After 20 s of outage with few probes, the ends of 200 tasks are known within ten seconds.

    If tasks are polled one by one, the time depends on the quota of gets.
    """
    wire = Wire(concurrency=200, render_seconds=60.0)

    async def down(request: httpx.Request) -> httpx.Response | None:
        since = anyio.current_time() - wire.times[0]
        if request.method != "GET" or not START <= since < END:
            return None
        if OUTAGES[kind] is None:
            await anyio.sleep_forever()
        return OUTAGES[kind]()

    wire.fault = down
    options = {"provider": COMET, "api_key": "k"} if face == "get" else {}
    ends: dict[str, float] = {}
    async with client(wire, limits=Limits(creates_per_minute=600), **options) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(200))
        async for outcome in batch.as_completed():
            assert outcome.ok
            ends[outcome.task_id] = anyio.current_time()
    assert len(ends) == 200
    back = 9.5 if kind == "silence" else 6.5
    left = sum(at > wire.times[0] + END for at in ends.values())
    assert max(delays_of(wire, ends)) < (10 if face == "list" else back + left / 19)
    assert len(delays_of(wire, ends)) > 30
    probes = [at - wire.times[0] for at in wire.sent_at("GET")]
    noticed = START + (5 if kind == "silence" else 2)  # silence is only noticed by its timeout
    probes = [at for at in probes if noticed <= at < END]
    assert 1 <= len(probes) <= 19
    assert all(later - earlier >= 1 for earlier, later in pairwise(probes))


async def test_an_outage_is_reported_to_the_observer_once():
    """`GateShut` and `GateOpened` are reported once each, and every failed poll with its ids."""
    wire = Wire(render_seconds=30.0)
    wire.fault = first(5, lambda: httpx.Response(503), method="GET")
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(5))
        assert len((await batch.result()).urls()) == 5
    kinds = [type(event) for event in events]
    assert kinds.count(GateShut) == kinds.count(GateOpened) == 1
    assert kinds.count(PollFailed) == 5
    assert kinds.index(GateShut) < kinds.index(GateOpened)
    ids = {task.id for task in wire.emulator.ledger.tasks}
    assert all(set(e.task_ids) <= ids and e.task_ids for e in events if isinstance(e, PollFailed))


async def test_a_lasting_outage_ends_at_the_deadline_of_the_task():
    """If no poll is ever answered, every wait ends with `TaskTimeoutError` and the id."""
    wire = Wire()
    wire.fault = first(10_000, lambda: httpx.Response(503), method="GET")
    spec = TaskSpec("boat", execution_expires_after=3600)
    async with client(wire) as c:
        handle = await c.submit(spec)
        started = anyio.current_time()
        with pytest.raises(TaskTimeoutError) as caught:
            await handle
        with pytest.raises(TimeoutError, match=handle.task_id):
            await handle.wait(timeout=5)
    assert caught.value.task_id == handle.task_id
    assert 3600 < anyio.current_time() - started < 3600 + 15 * 60
    assert not wire.sent("DELETE")


async def test_a_task_that_never_ends_is_given_up_at_its_deadline():
    """A task that stays running is given up some minutes after its own expiry."""
    wire = Wire(render_seconds=1_000_000.0)

    def running(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        body = body_of(response)
        for item in body["items"]:
            item["status"] = "running"
        return httpx.Response(200, json=body)

    wire.change = running
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("boat", execution_expires_after=3600)] * 3)
        started = anyio.current_time()
        result = await batch.result()
        assert 3600 < anyio.current_time() - started < 3600 + 15 * 60
    assert all(isinstance(outcome.error, TaskTimeoutError) for outcome in result)
    assert batch.progress.failed == 3


async def test_creates_go_on_while_only_the_status_route_is_down():
    """An outage of the status route does not stop creates for long."""
    wire = Wire(concurrency=200, render_seconds=30.0)

    async def down(request: httpx.Request) -> httpx.Response | None:
        late = anyio.current_time() - wire.times[0] > 200
        return None if request.method == "POST" or late else httpx.Response(503)

    wire.fault = down
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20
    assert wire.emulator.ledger.created == 20


async def test_an_outage_of_everything_resends_no_create_that_may_have_arrived():
    """If no connection can be made, creates wait, and each is paid once."""
    wire = Wire(concurrency=200, render_seconds=30.0)

    async def down(_: httpx.Request) -> httpx.Response | None:
        if 2 <= anyio.current_time() - wire.times[0] < 22:
            raise httpx.ConnectError("refused")
        return None

    wire.fault = down
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(200))
        result = await batch.result()
    refused = [o for o in result.failures if isinstance(o.error, ConnectFailedError)]
    assert len(refused) == len(result.failures) == 0
    assert wire.emulator.ledger.created == 200


async def test_a_key_that_is_refused_for_a_moment_loses_nothing():
    """A status route that answers 401 for half a minute settles no task."""
    wire = Wire(render_seconds=60.0)

    async def refuse_key(request: httpx.Request) -> httpx.Response | None:
        out = request.method == "GET" and anyio.current_time() - wire.times[0] < 40
        return refusal(401, "AuthenticationError") if out else None

    wire.fault = refuse_key
    async with client(wire) as c:
        assert (await c.run(TaskSpec("boat"))).url


async def test_a_key_that_stays_refused_ends_every_wait():
    """A key that stays refused ends all waits with `AuthenticationError` after about a minute."""
    wire = Wire(render_seconds=60.0)
    wire.fault = first(9999, lambda: refusal(401, "AuthenticationError"), method="GET")
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(5))
        result = await batch.result()
        assert 60 < anyio.current_time() - wire.times[0] < 120
    assert all(isinstance(outcome.error, AuthenticationError) for outcome in result)


async def test_unknown_status_words_end_nothing():
    """A task with an unknown status is polled on, and its end is noticed."""
    wire = Wire(render_seconds=60.0)
    words: list[str] = []

    def with_unknown_status(
        request: httpx.Request, response: httpx.Response
    ) -> httpx.Response | None:
        if request.method != "GET":
            return None
        body = body_of(response)
        for item in body.get("items", [body]):
            if item.get("status") == "running":
                item["status"] = "Simmering Gently"
                words.append(item["status"])
        return httpx.Response(200, json=body)

    wire.change = with_unknown_status
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        await anyio.sleep(50)
        assert handle.status == "unknown"
        assert handle.snapshot.raw_status == "Simmering Gently"
        assert (await handle).url
    assert words


async def test_a_success_without_a_video_in_a_list_is_polled_again():
    """After a success without a URL in a list, one get reads the URL."""
    wire = Wire()

    def without(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        body = body_of(response)
        for item in body["items"]:
            item.pop("content", None)
        return httpx.Response(200, json=body)

    wire.change = without
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(10))
        assert len(set((await batch.result()).urls())) == 10
    assert wire.emulator.requests.get.seen == 10


async def test_tasks_that_lists_leave_out_are_polled_by_get():
    """A task that a list leaves out is polled by get and does not end because of that."""
    wire = Wire()

    def leave_out_tasks(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        body = body_of(response)
        body["items"] = body["items"][::2]
        return httpx.Response(200, json=body)

    wire.change = leave_out_tasks
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20
    assert wire.emulator.requests.get.refused == 0


async def test_other_peoples_tasks_in_a_list_are_ignored():
    """Tasks of other people in an answer change nothing."""
    wire = Wire()

    def add_foreign_tasks(
        request: httpx.Request, response: httpx.Response
    ) -> httpx.Response | None:
        if not is_list(request):
            return None
        body = body_of(response)
        foreign = {"id": "cgt-foreign", "status": "failed", "error": {"code": "X", "message": ""}}
        body["items"] = [foreign, *body["items"], None, "what", {"status": "failed"}, {"id": 7}]
        return httpx.Response(200, json=body)

    wire.change = add_foreign_tasks
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(10))
        assert len((await batch.result()).urls()) == 10
    assert len([event for event in events if isinstance(event, TaskSettled)]) == 10


@pytest.mark.parametrize("flex", [{"service_tier": "flex"}, {"extra": {"service_tier": "flex"}}])
async def test_flex_tasks_have_their_own_lists(flex):
    """Flex tasks are found by lists of their tier, because other lists do not show them.

    Only the last remaining task may be polled by get.
    """
    wire = Wire()
    async with client(wire) as c:
        specs = [TaskSpec(f"b {i}", **({}, flex)[i % 2]) for i in range(10)]
        batch = await c.submit_many(specs)
        assert len((await batch.result()).urls()) == 10
        flex_ids = {handle.task_id for handle in list(batch)[1::2]}
    for request in filter(is_list, wire.seen):
        of_flex = request.url.params.get("filter.service_tier") == "flex"
        assert all((task_id in flex_ids) == of_flex for task_id in listed_ids(request))
    gets = {request.url.path for request in wire.sent("GET") if not is_list(request)}
    assert len(gets) <= 1


async def test_a_bad_id_in_a_group_is_split_off():
    """An id for which the provider refuses a whole list does not affect the other tasks."""
    wire = Wire()

    async def refuse_bad_id(request: httpx.Request) -> httpx.Response | None:
        if is_list(request) and "rotten" in listed_ids(request):
            return refusal(400, "InvalidParameter", "filter.task_ids")
        if request.url.path.endswith("/rotten"):
            return refusal(400, "InvalidParameter", "id")
        return None

    wire.fault = refuse_bad_id
    async with client(wire) as c:
        good = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        bad = c.attach("rotten")
        outcome = await bad.outcome()
        assert outcome.error.code == "InvalidParameter"
        assert len((await good.result()).urls()) == 20
    asked = [request.url.path for request in wire.seen]
    refused = max(number for number, path in enumerate(asked) if path.endswith("/rotten"))
    assert any(is_list(request) for request in wire.seen[refused:])


async def test_an_unknown_id_ends_as_not_found_after_three_answers():
    """The third 404 with a code is final, and the waiters get `NotFoundError`."""
    wire = Wire()
    async with client(wire) as c:
        handle = c.attach("cgt-gone")
        with pytest.raises(NotFoundError):
            await handle
    assert wire.emulator.requests.get.seen == 3


async def test_a_new_task_may_be_unknown_for_a_moment():
    """Two 404 answers for a task that was just created are no outcome."""
    wire = Wire()
    wire.fault = first(2, lambda: refusal(404, "NotFound"), method="GET")
    async with client(wire, provider=COMET, api_key="k") as c:
        assert (await c.run(TaskSpec("boat"))).url


NO_LISTS = {
    "405": lambda: httpx.Response(405, text="<html>no</html>"),
    "404": lambda: httpx.Response(404, text="404 page not found"),
    "400": lambda: refusal(400, "InvalidParameter"),
    "501": lambda: httpx.Response(501),
    "html 200": lambda: httpx.Response(200, text="<!doctype html><p>CometAPI"),
    "empty 200": lambda: httpx.Response(200),
    "no items": lambda: httpx.Response(200, json={"data": []}),
    "no tasks": lambda: httpx.Response(200, json={"items": [], "total": 0}),
}
NO_LISTS_TAKEN_FOR_OUTAGES = {
    "an error in a 200": lambda: httpx.Response(200, json={"code": 404, "message": "no route"}),
    "500 of the caller": lambda: refusal(500, "invalid_request", "no such route"),
    "500": lambda: httpx.Response(500, text="<html>oops</html>"),
    "503": lambda: httpx.Response(503, text="no upstream"),
    "403": lambda: refusal(403, "AccessDenied"),
    "redirect": lambda: httpx.Response(301, headers={"location": "http://docs.test/"}),
}


@pytest.mark.parametrize("kind", NO_LISTS_TAKEN_FOR_OUTAGES)
async def test_a_list_route_that_fails_before_it_is_proven_does_not_hide_the_get_route(kind):
    """If lists are unproven, tasks are polled by get whatever a list answers."""
    wire = Wire()

    async def no_lists(request: httpx.Request) -> httpx.Response | None:
        return NO_LISTS_TAKEN_FOR_OUTAGES[kind]() if is_list(request) else None

    wire.fault = no_lists
    async with client(wire, provider=COMET, api_key="k") as c:
        with anyio.fail_after(1800):
            assert (await c.run(TaskSpec("boat"))).url


@pytest.mark.parametrize("kind", NO_LISTS)
async def test_a_provider_without_lists_is_recognized(kind):
    """Whatever a missing list route answers, tasks are soon polled by get."""
    wire = Wire()

    async def no_lists(request: httpx.Request) -> httpx.Response | None:
        return NO_LISTS[kind]() if is_list(request) else None

    wire.fault = no_lists
    async with client(wire, provider=COMET, api_key="k") as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20
    assert len([request for request in wire.seen if is_list(request)]) <= 3
    assert wire.emulator.requests.get.refused == 0


async def test_a_provider_whose_lists_work_is_polled_by_list():
    """Lists that were unproven and work are used."""
    wire = Wire(comet_full=True)
    async with client(wire, provider=COMET, api_key="k") as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(50))
        assert len((await batch.result()).urls()) == 50
    assert wire.emulator.requests.get.seen < 10
    assert wire.emulator.requests.list.seen > 5


async def test_numbers_as_strings_and_missing_times_are_read():
    """An answer with numbers as strings and without times gives the same video."""
    wire = Wire()

    def with_other_types(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = body_of(response)
        if request.method != "GET" or "status" not in body:
            return None
        if body["status"] == "succeeded":
            body = {
                "id": body["id"],
                "status": "SUCCESS",
                "content": [{"video_url": {"url": body["content"]["video_url"]}}],
                "duration": "5.0",
                "seed": "42",
                "usage": {"total_tokens": "108900"},
            }
        return httpx.Response(200, json={"code": 0, "message": "success", "data": body})

    wire.change = with_other_types
    async with client(wire, provider=COMET, api_key="k") as c:
        video = await c.run(TaskSpec("boat", duration=5))
    assert (video.duration, video.seed, video.usage.total_tokens) == (5.0, 42, 108900)
    assert video.url.startswith("http://emulator.test/files/")
    assert video.expires_at is None


@pytest.mark.parametrize("lists", [True, False])
async def test_quotas_are_never_exceeded(lists):
    """Three hundred tasks against the strict quotas see no status request refused."""
    wire = Wire(concurrency=60)
    options = {} if lists else {"provider": COMET, "api_key": "k"}
    async with client(wire, **options) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(300))
        assert len((await batch.result()).urls()) == 300
    requests = wire.emulator.requests
    assert requests.list.refused == requests.get.refused == requests.create.refused == 0
    # the last task may be alone for a while, and one alone is asked about by a get
    assert requests.get.seen <= 1 if lists else requests.list.seen == 0


async def test_a_full_queue_pauses_creates_while_polls_go_on():
    """With room for twenty waiting tasks a hundred specs all finish, each paid once."""
    wire = Wire(queue_limit=20, concurrency=3, render_seconds=60.0)
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(100))
        assert len((await batch.result()).urls()) == 100
    assert wire.emulator.ledger.created == 100
    posts, polls = wire.sent_at("POST"), wire.sent_at("GET")
    gap, pause = max((later - earlier, earlier) for earlier, later in pairwise(posts))
    assert gap > 5
    assert any(pause < at < pause + gap for at in polls)
    assert wire.emulator.requests.create.refused <= 20


async def test_a_slow_service_does_not_count_as_down():
    """Answers that take nine seconds each still bring every outcome."""
    wire = Wire(latency=9.0, render_seconds=60.0)
    async with client(wire) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(20))
        assert len((await batch.result()).urls()) == 20


async def test_the_attempt_timeout_of_the_policy_bounds_polls_too():
    """A poll is given up no later than the policy's timeout for one attempt."""
    wire = Wire(latency=0)
    events: list[object] = []

    async def silence(request: httpx.Request) -> None:
        if request.method == "GET" and len(wire.sent("GET")) == 1:
            await anyio.sleep_forever()

    wire.fault = silence
    retry = RetryPolicy(timeout=2)
    async with client(wire, retry=retry, observer=events.append) as c:
        assert (await c.run(TaskSpec("boat"))).url
    (failed,) = (event for event in events if isinstance(event, PollFailed))
    assert "within 2 s" in str(failed.error)


@pytest.mark.parametrize("provider", [ARK, COMET], ids=["lists", "gets"])
@pytest.mark.parametrize("seconds", ["30", "60"])
async def test_a_refused_key_with_retry_after_ends_every_wait(provider, seconds):
    """Refusals that are rare because each has ``Retry-After`` also count as a lasting lockout."""
    wire = Wire(render_seconds=5000.0)
    async with client(wire, provider=provider, api_key="k") as c:
        handle = await c.submit(TaskSpec("boat"))
        await anyio.sleep(30)
        later = {"retry-after": seconds}
        wire.fault = first(
            9999, lambda: refusal(401, "AuthenticationError", headers=later), method="GET"
        )
        with anyio.fail_after(400):
            assert isinstance((await handle.outcome()).error, AuthenticationError)
