"""A create is paid for, so it is sent again only if the first provably made no task."""

from __future__ import annotations

import json
import random
import ssl
from collections import Counter

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    APIError,
    AuthenticationError,
    BalanceError,
    Client,
    ConflictError,
    ConnectFailedError,
    ContentRejectedError,
    InvalidRequestError,
    ModelNotFoundError,
    Provider,
    QueueFullError,
    QuotaExhaustedError,
    RateLimitError,
    RetryPolicy,
    SpecError,
    SpendLimit,
    SpendLimitError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskSpec,
    _catalog,
)
from callsheet.events import CreatePaused, TaskSettled
from emulation import ARK, COMET, Wire, body_of, client, first, prompt_of, refusal


BOAT = TaskSpec("a paper boat", duration=5)

WITHOUT_LIST = attrs.evolve(ARK, lists=False)
"""A provider without lists, so a lost create cannot be looked up."""


class HalfABody(httpx.AsyncByteStream):
    """A body whose connection breaks in the middle."""

    async def __aiter__(self):
        yield b'{"id": "cgt-'
        await anyio.sleep(0.01)
        raise httpx.RemoteProtocolError("peer closed connection without sending complete body")


LOST_BY_THE_NETWORK = {
    "read timeout": httpx.ReadTimeout("slow"),
    "reset": httpx.ReadError("connection reset by peer"),
    "broken while writing": httpx.WriteError("broken pipe"),
    "write timeout": httpx.WriteTimeout("slow"),
    "closed without an answer": httpx.RemoteProtocolError("server disconnected"),
    "undecodable": httpx.DecodingError("not gzip"),
    "damaged record": ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] bad record mac"),
    "raw error of a stream": anyio.BrokenResourceError(),
}

LOST_IN_AN_ANSWER = {
    "500 json": lambda: refusal(500, "InternalServiceError"),
    "500 html": lambda: httpx.Response(500, text="<html><title>oops</title></html>"),
    "502 html": lambda: httpx.Response(502, text="<html><title>bad gateway</title></html>"),
    "503 json": lambda: refusal(503, "ServiceUnavailable"),
    "503 empty": lambda: httpx.Response(503),
    "504": lambda: httpx.Response(504, text="upstream request timeout"),
    "524": lambda: httpx.Response(524, text="<html>a timeout occurred</html>"),
    "408": lambda: httpx.Response(408),
    "empty 200": lambda: httpx.Response(200),
    "204": lambda: httpx.Response(204),
    "html 200": lambda: httpx.Response(200, text="<!doctype html><title>welcome</title>"),
    "no id": lambda: httpx.Response(200, json={}),
    "blank id": lambda: httpx.Response(200, json={"id": " "}),
    "a list": lambda: httpx.Response(200, json=[]),
    "half a json": lambda: httpx.Response(200, text='{"id": "cgt-'),
    "half a body": lambda: httpx.Response(200, stream=HalfABody()),
    "10 MB": lambda: httpx.Response(200, content=b" " * 10_000_000 + b'{"id": "cgt-1"}'),
    "not http": lambda: httpx.Response(199),
}


async def assert_lost_once(wire: Wire) -> None:
    """Check that a lost create is uncertain, and that nothing else is sent for an hour."""
    events: list[object] = []
    async with client(wire, provider=WITHOUT_LIST, observer=events.append) as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(BOAT)
        await anyio.sleep(3600)
    (post,) = wire.sent("POST")
    assert caught.value.token == json.loads(post.content)["safety_identifier"]
    assert caught.value.token in str(caught.value)
    assert not caught.value.transient
    assert [type(event) for event in events] == [TaskSettled]  # and no `CreatePaused`


@pytest.mark.parametrize("kind", LOST_BY_THE_NETWORK)
@pytest.mark.parametrize("accepted", [False, True], ids=["before", "after"])
async def test_a_create_that_is_lost_in_the_network_is_never_sent_again(kind, accepted):
    """A create whose request or answer is lost is reported with its token and sent once."""
    wire = Wire()

    async def fault(request: httpx.Request) -> None:
        if request.method == "POST" and not accepted:
            raise LOST_BY_THE_NETWORK[kind]

    wire.fault = fault
    wire.lose = lambda request: LOST_BY_THE_NETWORK[kind] if request.method == "POST" else None
    await assert_lost_once(wire)
    assert wire.emulator.ledger.created == accepted


@pytest.mark.parametrize("kind", LOST_IN_AN_ANSWER)
async def test_a_create_with_an_unusable_answer_is_never_sent_again(kind):
    """A failed or unreadable answer to an accepted create is reported with its token."""
    wire = Wire()
    wire.change = lambda request, _: LOST_IN_AN_ANSWER[kind]() if request.method == "POST" else None
    await assert_lost_once(wire)
    assert wire.emulator.ledger.created == 1


async def test_a_create_without_an_answer_ends_with_its_attempt():
    """If the provider is silent, the attempt ends with its timeout and nothing is sent again."""
    wire = Wire()

    async def silence(request: httpx.Request) -> None:
        if request.method == "POST":
            await anyio.sleep_forever()

    wire.fault = silence
    started = anyio.current_time()
    async with client(wire, provider=WITHOUT_LIST, retry=RetryPolicy(timeout=20)) as c:
        with pytest.raises(SubmissionUncertainError, match="20 s"):
            await c.submit(BOAT)
        assert anyio.current_time() - started == pytest.approx(20, abs=1)
    assert len(wire.sent("POST")) == 1


async def test_the_error_of_a_lost_create_without_a_token_has_none():
    """If no token is sent, the error has none and the create is still not repeated."""
    wire = Wire()
    wire.lose = lambda _: httpx.ReadError("reset")
    async with client(wire, provider=COMET, api_key="k") as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(BOAT)
    assert caught.value.token is None
    assert len(wire.sent("POST")) == 1


async def test_a_spec_with_its_own_identifier_sends_no_token():
    """A caller's own ``safety_identifier`` is not replaced by a token."""
    wire = Wire()
    async with client(wire) as c:
        await c.submit(TaskSpec("boat", extra={"safety_identifier": "user-1"}))
    assert json.loads(wire.sent("POST")[0].content)["safety_identifier"] == "user-1"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_neither_followed_nor_uncertain(status):
    """A redirect of a create means a wrong address: no task is made, and it is not followed."""
    wire = Wire()
    where = {"location": "http://elsewhere.test/contents/generations/tasks"}
    wire.fault = first(9, lambda: httpx.Response(status, headers=where))
    async with client(wire) as c:
        with pytest.raises(InvalidRequestError, match=r"elsewhere\.test"):
            await c.submit(BOAT)
    assert [request.url.host for request in wire.seen] == ["emulator.test"]
    assert wire.emulator.ledger.created == 0


REFUSALS = {
    "401": (lambda: refusal(401, "AuthenticationError"), AuthenticationError),
    "402": (lambda: refusal(402, ""), BalanceError),
    "403": (lambda: refusal(403, "AccountOverdueError"), BalanceError),
    "404": (lambda: refusal(404, "ModelNotOpen"), ModelNotFoundError),
    "409": (lambda: refusal(409, "Whatever"), ConflictError),
    "400": (lambda: refusal(400, "InvalidParameter"), InvalidRequestError),
    "moderation": (lambda: refusal(400, "InputTextSensitiveContentDetected"), ContentRejectedError),
    "plan": (
        lambda: refusal(429, "QuotaExceeded", "exhausted its free trial quota"),
        QuotaExhaustedError,
    ),
    "cap": (lambda: refusal(429, "SetLimitExceeded"), QuotaExhaustedError),
    "500 of the caller": (lambda: refusal(500, "invalid_request"), InvalidRequestError),
    "html 404": (lambda: httpx.Response(404, text="<html>no</html>"), InvalidRequestError),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refused_create_is_certain_and_sent_once(kind):
    """A refusal that waiting cannot change raises its own error after one request."""
    answer, error = REFUSALS[kind]
    wire = Wire()
    wire.fault = first(9, answer)
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        with pytest.raises(error):
            await c.submit(BOAT)
        await anyio.sleep(3600)
    assert len(wire.seen) == 1
    assert [type(event) for event in events] == [TaskSettled]
    assert wire.emulator.ledger.created == 0


def refuse_connection() -> httpx.Response:
    """Refuse the connection."""
    raise httpx.ConnectError("connection refused")


def time_out_connection() -> httpx.Response:
    """Let the connection time out."""
    raise httpx.ConnectTimeout("no answer to SYN")


REPEATABLE = {
    "connect failure": refuse_connection,
    "connect timeout": time_out_connection,
    "429 rate": lambda: refusal(429, "RateLimitExceeded.EndpointRPMExceeded"),
    "429 overloaded": lambda: refusal(429, "ServerOverloaded"),
    "429 with Retry-After": lambda: refusal(429, "RateLimitExceeded", headers={"retry-after": "7"}),
    "429 bare": lambda: httpx.Response(429),
    "429 queue full": lambda: refusal(
        429, "QuotaExceeded", "The request has exceeded the quota. Request ID: 02a"
    ),
    "400 check failed": lambda: refusal(400, "ContentSecurityDetectionError"),
}


@pytest.mark.parametrize("kind", REPEATABLE)
async def test_a_create_that_made_no_task_is_sent_again_unchanged(kind):
    """A create that never arrived, or was refused for load, is repeated with the same bytes."""
    wire = Wire()
    wire.fault = first(3, REPEATABLE[kind])
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        assert (await c.run(BOAT)).url
    posts = wire.sent("POST")
    assert len(posts) == 4
    assert len({post.content for post in posts}) == 1
    assert wire.emulator.ledger.created == wire.emulator.ledger.billed == 1
    assert len([event for event in events if isinstance(event, CreatePaused)]) == 3


async def test_a_create_waits_for_retry_after():
    """The next create is not sent before the provider's ``Retry-After`` has passed."""
    wire = Wire()
    wire.fault = first(1, lambda: refusal(429, "RateLimitExceeded", headers={"retry-after": "30"}))
    async with client(wire) as c:
        await c.submit(BOAT)
    before, after = wire.sent_at("POST")
    assert 30 <= after - before <= 32


async def test_an_unreachable_provider_is_given_up_after_the_attempts():
    """A create that never connects ends with `ConnectFailedError` after the policy's attempts."""
    wire = Wire()
    wire.fault = first(99, refuse_connection)
    async with client(wire, retry=RetryPolicy(attempts=4)) as c:
        with pytest.raises(ConnectFailedError):
            await c.submit(BOAT)
    assert len(wire.seen) == 4


async def test_an_endless_rate_limit_is_given_up_after_the_patience():
    """A create that is refused for load ends with its refusal when the patience is over."""
    wire = Wire()
    wire.fault = first(9999, lambda: refusal(429, "ServerOverloaded"))
    started = anyio.current_time()
    async with client(wire, retry=RetryPolicy(patience=600)) as c:
        with pytest.raises(RateLimitError):
            await c.submit(BOAT)
    assert 600 <= anyio.current_time() - started <= 800


async def test_a_full_queue_is_given_up_after_the_patience():
    """A queue that is full of other tasks is waited for only as long as the patience."""
    wire = Wire()
    wire.fault = first(9999, lambda: refusal(429, "QuotaExceeded", "exceeded the quota"))
    async with client(wire, retry=RetryPolicy(patience=600)) as c:
        with pytest.raises(QueueFullError):
            await c.submit(BOAT)


@pytest.mark.parametrize("accepted", [False, True], ids=["before", "after"])
async def test_without_lists_each_lost_create_is_named(accepted):
    """If a tenth of the creates is lost, no spec is sent twice and each loss is reported."""
    wire = Wire(concurrency=200)
    rng = random.Random(7)
    dropped: set[str] = set()

    def drops(request: httpx.Request) -> bool:
        if request.method != "POST" or rng.random() >= 0.1:
            return False
        dropped.add(prompt_of(request))
        return True

    async def fault(request: httpx.Request) -> None:
        if not accepted and drops(request):
            raise httpx.ReadError("reset")

    wire.fault = fault
    if accepted:
        wire.lose = lambda request: httpx.ReadTimeout("") if drops(request) else None
    async with client(wire, provider=WITHOUT_LIST) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(200))
        result = await batch.result()
    assert 5 < len(dropped) < 40
    assert set(Counter(wire.prompts).values()) == {1}
    assert {outcome.spec.prompt for outcome in result.failures} == dropped
    assert all(isinstance(o.error, SubmissionUncertainError) for o in result.failures)
    ledger = wire.emulator.ledger
    assert ledger.created == (200 if accepted else 200 - len(dropped))
    assert sum(outcome.ok for outcome in result) == 200 - len(dropped)
    marks = {row["safety_identifier"] for row in ledger.rows()}
    found = {outcome.error.token for outcome in result.failures} & marks
    assert len(found) == (len(dropped) if accepted else 0)


async def test_two_creates_with_one_id_are_two_tasks():
    """If two creates get the same id, the second task is found by its token, and not sent again."""
    wire = Wire()
    ids: list[str] = []

    def same(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        if request.method != "POST":
            return None
        ids.append(wire.emulator.ledger.tasks[0].id)
        return httpx.Response(200, json={"id": ids[0]})

    wire.change = same
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("one"), TaskSpec("two")])
        result = await batch.result()
        assert c.spend.spent.tasks == 2
    made = {task.order.prompt: task.id for task in wire.emulator.ledger.tasks}
    assert {each.spec.prompt: each.video.task_id for each in result} == made
    assert len(wire.sent("POST")) == 2


async def test_two_creates_with_one_id_and_no_list_leave_the_second_uncertain():
    """Where nobody can tell which task the second create has made, its end names its token."""
    wire = Wire()

    def same(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        first = wire.emulator.ledger.tasks[0].id
        return httpx.Response(200, json={"id": first}) if request.method == "POST" else None

    wire.change = same
    async with client(wire, provider=COMET, api_key="k") as c:
        good, bad = await (await c.submit_many([TaskSpec("one"), TaskSpec("two")])).result()
        assert (c.spend.spent.tasks, c.spend.uncertain.tasks) == (1, 1)
    assert good.ok
    assert isinstance(bad.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 2


async def test_tasks_create_follows_the_same_rules():
    """``tasks.create`` repeats a create only if no task was made."""
    wire = Wire()
    wire.fault = first(2, refuse_connection)
    async with client(wire) as c:
        assert await c.tasks.create(BOAT) == wire.emulator.ledger.tasks[0].id
        wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
        assert await c.tasks.create(BOAT) == wire.emulator.ledger.tasks[1].id
    assert len(wire.sent("POST")) == 4
    assert wire.emulator.ledger.created == 2


async def one_of_a_batch(c: Client) -> object:
    """Submit a batch of one spec, and return its video or raise its error."""
    return await (await c.submit_many([BOAT]))[0]


async def one_of_a_stream(c: Client) -> object:
    """Stream one spec, and return its video or raise its error."""
    (outcome,) = [outcome async for outcome in c.map([BOAT])]
    if outcome.error is not None:
        raise outcome.error
    return outcome.video


WAYS = {
    "create": lambda c: c.tasks.create(BOAT),
    "submit": lambda c: c.submit(BOAT),
    "run": lambda c: c.run(BOAT),
    "submit_many": one_of_a_batch,
    "map": one_of_a_stream,
}
"""All calls that send a create."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [None, SpendLimit(tasks=5)])
async def test_a_spec_without_a_price_is_not_sent(way, limit, monkeypatch):
    """With every call and limit it ends with `SpecError`, and nothing is reserved for it."""

    def estimate(*_: object) -> None:
        raise TypeError("no such size")

    monkeypatch.setattr("callsheet._catalog.estimates.estimate", estimate)
    wire = Wire()
    async with client(wire, spend=limit) as c:
        with pytest.raises(SpecError, match="no such size"):
            await WAYS[way](c)
        assert c.spend.committed.tasks == 0
    assert wire.sent("POST") == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("provider", [ARK, COMET], ids=lambda each: each.name)
async def test_a_spec_is_priced_once_for_all_its_creates(way, provider, monkeypatch):
    """A create that is repeated after a refusal or a lost answer is not priced again."""
    priced: list[object] = []
    estimate = _catalog.estimate

    def counted(spec: TaskSpec, provider: Provider) -> object:
        priced.append(spec)
        return estimate(spec, provider)

    monkeypatch.setattr("callsheet._catalog.estimates.estimate", counted)
    wire = Wire()
    wire.fault = first(2, lambda: refusal(429, "ServerOverloaded"))
    lost = iter([httpx.ReadError("reset")])
    wire.lose = lambda r: next(lost, None) if r.method == "POST" else None
    retry = RetryPolicy(resubmit="always")
    async with client(wire, provider=provider, api_key="k", retry=retry) as c:
        await WAYS[way](c)
        assert c.spend.committed.tasks == wire.emulator.ledger.created
    assert priced == [BOAT]


@pytest.mark.parametrize("key", ["model", "content"])
async def test_a_spend_limit_refuses_raw_keys_that_change_the_price(key):
    """A create is not sent if its `extra` sets a model or content that cannot be priced."""
    wire = Wire()
    raw = {"model": "doubao-seedance-2-0-260128", "content": [{"type": "text", "text": "--dur 9"}]}
    async with client(wire, spend=SpendLimit(tokens=1_000_000)) as c:
        with pytest.raises(SpendLimitError, match=f"extra says {key}"):
            await c.tasks.create(attrs.evolve(BOAT, extra={key: raw[key]}))
        assert c.spend.committed.tasks == 0
    assert wire.seen == []


async def test_a_refused_create_is_never_uncertain():
    """After every 4xx except 408 it is certain that no task exists."""
    for status in range(400, 430):
        wire = Wire()
        wire.fault = first(1, lambda status=status: httpx.Response(status, json={"error": {}}))
        async with client(
            wire, provider=WITHOUT_LIST, retry=RetryPolicy(attempts=1, patience=0)
        ) as c:
            with pytest.raises((APIError, SubmissionUncertainError)) as caught:
                await c.submit(BOAT)
        assert isinstance(caught.value, SubmissionUncertainError) == (status == 408), status


async def test_an_interrupted_create_may_have_made_a_task():
    """A create that is interrupted, as by a second Ctrl-C, is uncertain."""

    class InterruptedCreate(BaseException):
        pass

    async def interrupt(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            raise InterruptedCreate
        return None

    wire = Wire()
    wire.fault = interrupt
    ends: list[TaskSettled] = []
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the create is sent behind it
        async with client(wire, observer=ends.append) as c:
            await c.submit_many([BOAT])
            await anyio.sleep_forever()
    assert caught.group_contains(InterruptedCreate)
    (end,) = ends
    assert isinstance(end.outcome.error, SubmissionUncertainError)
    assert end.outcome.error.token
    assert c.spend.uncertain.tasks == 1


async def test_a_success_without_a_url_is_spent():
    """A success without a video URL is billed, so its cost counts as spent."""
    wire = Wire()

    def without_url(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        answer = body_of(response)
        for task in answer.get("items", [answer]):
            task.pop("content", None)
        return httpx.Response(200, json=answer)

    wire.change = without_url
    async with client(wire) as c:
        (outcome,) = await (await c.submit_many([BOAT])).result()
        assert isinstance(outcome.error, TaskFailedError)
        assert c.spend.spent.tasks == wire.emulator.ledger.billed == 1
        assert c.spend.spent.tokens == 108_900


async def test_a_bare_create_is_reserved_until_its_attached_task_ends():
    """The highest cost stays reserved until the task is attached and its end is known."""
    wire = Wire()
    async with client(wire, spend=SpendLimit(tasks=2)) as c:
        ids = [await c.tasks.create(TaskSpec(word)) for word in ("a boat", "[fail] a boat")]
        with pytest.raises(SpendLimitError):
            await c.tasks.create(TaskSpec("one more"))
        assert c.spend.reserved.tasks == 2
        batch = c.attach_many([*ids, ids[0]])
        assert await batch.submitted() == (*ids, ids[0])
        good, bad, same = await batch.result()
        assert good.ok
        assert same.ok
        assert isinstance(bad.error, TaskFailedError)
        assert [handle.spec.prompt for handle in batch] == ["a boat", "[fail] a boat", "a boat"]
        assert c.spend.reserved.tasks == 0
        assert c.spend.spent.tasks == 1
        assert await c.tasks.create(TaskSpec("one more"))
    assert wire.emulator.ledger.created == 3
