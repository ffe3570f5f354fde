"""One request of each verb: how it leaves, and what its answer, or none, means to the caller."""

from __future__ import annotations

import gzip
import json
import re
import ssl
from functools import partial

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    APIError,
    CallsheetError,
    Client,
    ClosedError,
    ConfigurationError,
    ConflictError,
    ConnectFailedError,
    InvalidRequestError,
    Limits,
    NotFoundError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    SpecError,
    SubmissionUncertainError,
    TaskSpec,
    TransportError,
)
from emulation import ARK, Script, refusal


BOAT = TaskSpec("boat é")
KEY = "0f9e8d7c-6b5a-4321-8765-43210fedcba9"
TASKS = "http://api.test/v3/contents/generations/tasks"
HERE = attrs.evolve(ARK, base_url="http://api.test/v3/", lists=False)
RUNNING = {"status": "running", "model": "m"}


def once(transport: httpx.AsyncBaseTransport, *, seconds: float = 5.0, **options: object) -> Client:
    """A client that makes one attempt of everything, which takes no longer than some seconds."""
    options = {"provider": HERE, "retry": RetryPolicy(attempts=1, timeout=seconds), **options}
    return Client(transport=transport, **options)


def running() -> httpx.Response:
    """A status answer."""
    return httpx.Response(200, json=RUNNING)


async def test_a_request_goes_out_as_it_was_written():
    """Method, escaped target, body and key leave unchanged."""
    script = Script(running(), httpx.Response(200, json={"items": []}),
                    httpx.Response(200, json={"id": "cgt-1"}))  # fmt: skip
    async with once(script, api_key="k") as c:
        await c.tasks.get("a/b?x")
        await c.tasks.list(task_ids=["1", "2"])
        await c.tasks.create(BOAT)
    get, page, post = script.seen
    assert str(get.url) == f"{TASKS}/a%2Fb%3Fx"
    assert str(page.url).startswith(f"{TASKS}?")
    assert page.url.params.get_list("filter.task_ids") == ["1", "2"]
    assert (get.method, page.method, post.method) == ("GET", "GET", "POST")
    assert str(post.url) == TASKS
    assert json.loads(post.content)["content"][0]["text"] == BOAT.prompt
    assert post.headers["content-type"] == "application/json"
    assert post.headers["content-length"] == str(len(post.content))
    assert "content-type" not in get.headers
    assert {r.headers["authorization"] for r in script.seen} == {"Bearer k"}


async def test_an_answer_is_read_whole_whatever_its_status():
    """Headers in any case and a packed body are understood."""
    packed = gzip.compress(refusal(503, "Away", "later").content)
    headers = {"X-Request-Id": "r1", "Content-Encoding": "gzip"}
    answer = httpx.Response(503, headers=headers, stream=httpx.ByteStream(packed))
    async with once(Script(answer)) as c:
        with pytest.raises(ServerError) as caught:
            await c.tasks.get("cgt-1")
    error = caught.value
    assert (error.status_code, error.code, error.message) == (503, "Away", "later")
    assert error.request_id == "r1"


NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)
LOST = (
    httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.CloseError,
    httpx.RemoteProtocolError, httpx.LocalProtocolError, httpx.DecodingError,
    httpx.TooManyRedirects, httpx.UnsupportedProtocol,
    ssl.SSLError, ConnectionResetError, BrokenPipeError,
    anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream,
)  # fmt: skip


@pytest.mark.parametrize("error", NEVER_SENT)
async def test_what_never_left_is_a_failed_connection(error):
    """Errors from before the request was written say that nothing was sent, and to where."""
    words = rf"{error.__name__}: why \({re.escape('api.test')}\)"
    async with once(Script(error("why"))) as c:
        for send in (partial(c.tasks.create, BOAT), partial(c.tasks.get, "cgt-1")):
            with pytest.raises(ConnectFailedError, match=words) as caught:
                await send()
            assert caught.value.__cause__ is None
        assert c.spend.committed.tasks == 0


@pytest.mark.parametrize("error", LOST)
async def test_what_may_have_left_is_not_a_failed_connection(error):
    """All other errors of the library and its streams leave open whether the request arrived."""
    script = Script(error("why"))
    async with once(script) as c:
        with pytest.raises(TransportError) as caught:
            await c.tasks.get("cgt-1")
        assert not isinstance(caught.value, ConnectFailedError)
        with pytest.raises(SubmissionUncertainError) as lost:
            await c.tasks.create(BOAT)
        assert isinstance(lost.value.__cause__, TransportError)
        assert c.spend.uncertain.tasks == 1
    assert len(script.seen) == 2


@pytest.mark.parametrize("error", [ZeroDivisionError, ValueError, KeyError])
async def test_a_mistake_of_a_transport_is_neither_hidden_nor_repeated(error):
    """What is no error of the network leaves as it is, after one attempt."""
    script = Script(error("mine"))
    async with once(script, retry=RetryPolicy()) as c:
        with pytest.raises(error, match="mine"):
            await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_a_wish_to_stop_is_not_repeated():
    """A Ctrl-C in the middle of a request ends the client, and nothing more is sent."""

    def stop() -> httpx.Response:
        raise KeyboardInterrupt

    script = Script(stop)

    async def use() -> None:
        async with once(script, retry=RetryPolicy()) as c:
            await c.tasks.get("cgt-1")

    with pytest.raises(KeyboardInterrupt):
        await use()
    assert len(script.seen) == 1


class Slow(httpx.AsyncBaseTransport):
    """Answers after some seconds; notes the order."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.order: list[str] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.order.append(request.url.path.rpartition("/")[2])
        await anyio.sleep(self.seconds)
        return running()

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True


class Drip(httpx.AsyncByteStream):
    """A body of which a byte comes each second."""

    async def __aiter__(self):
        """Give the bytes."""
        for _ in range(1000):
            await anyio.sleep(1)
            yield b" "


SILENCES = {
    "silent": lambda: Slow(1e9),
    "dripping": lambda: Script(lambda: httpx.Response(200, stream=Drip())),
}


@pytest.mark.parametrize("how", SILENCES)
@pytest.mark.parametrize("verb", ["get", "list", "cancel"])
async def test_an_attempt_ends_with_its_timeout(how, verb):
    """However slowly bytes drip, an attempt takes no longer than it may."""
    async with once(SILENCES[how](), seconds=7) as c:
        started = anyio.current_time()
        with pytest.raises(TransportError, match="within 7 s"):
            await (c.tasks.list() if verb == "list" else getattr(c.tasks, verb)("cgt-1"))
        assert anyio.current_time() - started == pytest.approx(7)


async def test_within_an_attempt_only_the_connection_has_a_limit_of_its_own():
    """The whole attempt is limited, so a transport gets no limits for writes and reads."""
    script = Script(running())
    async with once(script, seconds=7) as c:
        await c.tasks.get("cgt-1")
    limits = script.seen[0].extensions["timeout"]
    assert limits == {"connect": 7, "read": None, "write": None, "pool": None}


async def test_a_timeout_does_not_count_the_wait_for_a_connection():
    """Requests queue in order for a connection, outside of their own time."""
    slow = Slow(3)
    async with (
        once(slow, seconds=4, limits=Limits(connections=2)) as c,
        anyio.create_task_group() as group,
    ):
        for i in range(10):
            group.start_soon(c.tasks.get, str(i))
            await anyio.sleep(0.01)
    assert slow.order == [str(i) for i in range(10)]


async def test_an_answer_beyond_any_real_size_is_given_up():
    """Reading stops at the limit, and the connection is free again."""
    script = Script(httpx.Response(200, content=b" " * 9_000_000), running())
    async with once(script, limits=Limits(connections=1)) as c:
        with pytest.raises(ProtocolError, match="larger"):
            await c.tasks.get("cgt-1")
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"


@pytest.mark.parametrize(
    "where", ["http://evil.test", "http://xn--/", "http://[::1", "/" + "a" * 65_530]
)
async def test_a_redirect_is_an_answer_or_an_error_of_ours(where):
    """Redirects, also to what is no place, are not followed, so the key stays here."""
    script = Script(lambda: httpx.Response(302, headers={"location": where}))
    async with once(script) as c:
        with pytest.raises((APIError, SubmissionUncertainError)):
            await c.tasks.create(BOAT)
        with pytest.raises((APIError, TransportError)):
            await c.tasks.get("cgt-1")
    assert {request.url.host for request in script.seen} == {"api.test"}
    assert len(script.seen) == 2


async def test_ids_that_are_too_long_for_a_url_are_refused():
    """Nothing is sent, the error is short, and the connection is free for others."""
    script = Script(running())
    async with once(script, limits=Limits(connections=1)) as c:
        with pytest.raises(SpecError, match="too long") as caught:
            await c.tasks.list(task_ids=["cgt-1"] * 5000)
        assert len(str(caught.value)) < 150
        await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_cookies_are_not_kept():
    """What an answer sets is not sent again."""
    script = Script(lambda: httpx.Response(200, json=RUNNING, headers={"set-cookie": "a=b"}))
    async with once(script, limits=Limits(connections=1)) as c:
        await c.tasks.get("cgt-1")
        await c.tasks.get("cgt-1")
    assert "cookie" not in script.seen[1].headers


async def test_a_long_key_is_taken_out_of_answers():
    """A provider that repeats the key in headers or body gives it away to nobody."""
    said = refusal(401, "AuthenticationError", f"wrong key {KEY}", {"x-request-id": KEY})
    async with once(Script(said), api_key=KEY) as c:
        with pytest.raises(APIError) as caught:
            await c.tasks.get("cgt-1")
    assert KEY not in repr(vars(caught.value))
    assert (caught.value.message, caught.value.request_id) == ("wrong key ***", "***")


async def test_a_borrowed_transport_stays_open():
    """What a client was given is left open when it closes, and sends nothing any more."""
    slow = Slow(0.1)
    async with once(slow) as c:
        tasks = c.tasks
        await tasks.get("cgt-1")
    with pytest.raises(ClosedError):
        await tasks.get("cgt-1")
    assert len(slow.order) == 1
    assert not slow.closed


@pytest.mark.parametrize(
    "address",
    [
        "", "x", "ftp://a.test", "http://", "http://a b", "//a.test", "http://xn--/", "http://a..b",
        "http://\udcff", "http://a.test:99999", f"http://{'a' * 64}", f"http://a/{'b' * 70_000}",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(address):
    """Only http and https addresses with a host are taken."""
    with pytest.raises(ConfigurationError):
        Client(provider=attrs.evolve(ARK, base_url=address))


def test_the_repr_of_a_client_holds_no_key():
    """The key is in no text."""
    c = Client(provider=HERE, api_key="secret")
    assert "secret" not in repr(c)
    assert "secret" not in repr(vars(c)["provider"])


# What an answer to a create leaves open, and what it does not


async def create(*answers: object) -> str:
    """Create once, and see that one request left."""
    script = Script(*answers)
    async with once(script) as c:
        try:
            return await c.tasks.create(BOAT)
        except SubmissionUncertainError as error:
            sent = json.loads(script.seen[0].content)["safety_identifier"]
            assert sent == error.token  # noqa: PT017 - the caller looks at the error
            raise
        finally:
            assert len(script.seen) == 1


async def test_a_create_gives_the_id():
    """The id of the answer is handed on as it stands."""
    assert await create(httpx.Response(200, json={"id": "0217"})) == "0217"


@pytest.mark.parametrize(
    "answer",
    [httpx.ReadTimeout(""), refusal(500, "X"), httpx.Response(200), httpx.Response(408),
     httpx.Response(200, text="<html>")],
)  # fmt: skip
async def test_what_says_nothing_is_uncertain(answer):
    """A lost, failed or unreadable answer is uncertain, with the token and its cause."""
    with pytest.raises(SubmissionUncertainError) as caught:
        await create(answer)
    assert caught.value.token
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 302])
async def test_what_refuses_is_certain(status):
    """A refusal, whatever its number, means that there is no task."""
    with pytest.raises(APIError):
        await create(refusal(status, "Some.Code"))


async def test_what_refuses_for_load_is_certain():
    """Offered again for as long as the policy says, it then means that there is no task."""
    script = Script(lambda: refusal(429, "Some.Code"))
    async with once(script, retry=RetryPolicy(attempts=1, patience=0)) as c:
        with pytest.raises(APIError):
            await c.tasks.create(BOAT)
        assert c.spend.committed.tasks == 0


@pytest.mark.parametrize(
    "spec",
    [TaskSpec("a", extra={"x": object()}), TaskSpec(3), TaskSpec("a", tools=3)],
    ids=["extra", "prompt", "tools"],
)
async def test_a_spec_that_cannot_be_written_is_a_spec_error(spec):
    """Values that fit no JSON are the spec's fault, with the reason as its cause."""
    script = Script(httpx.Response(200, json={"id": "cgt-1"}))
    async with once(script) as c:
        try:
            await c.tasks.create(spec)
        except SpecError as error:
            assert error.problems  # noqa: PT017 - what can be written is the provider's to refuse
            assert not script.seen
            assert c.spend.committed.tasks == 0


async def test_a_get_keeps_the_id_that_was_asked_for():
    """A gateway that answers with no id of its own still tells of the task that was asked for."""
    script = Script(httpx.Response(200, json={"status": "running", "model": "m"}))
    async with once(script) as c:
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"


async def test_a_get_says_what_went_wrong():
    """Unknown ids and unreadable answers are errors of their own."""
    script = Script(refusal(404, "NotFound"), httpx.Response(200, text="hello"))
    async with once(script) as c:
        with pytest.raises(NotFoundError):
            await c.tasks.get("cgt-1")
        with pytest.raises(ProtocolError):
            await c.tasks.get("cgt-1")


async def test_a_list_sends_its_filters():
    """Ids are repeated, and what was not asked for is not sent."""
    page = {"items": [{"id": "a", "status": "queued"}], "total": 1}
    script = Script(httpx.Response(200, json=page))
    async with once(script) as c:
        found = await c.tasks.list(task_ids=["a", "b"], page_size=2, service_tier="flex")
    (request,) = script.seen
    assert request.url.params.get_list("filter.task_ids") == ["a", "b"]
    assert request.url.params["filter.service_tier"] == "flex"
    assert "filter.status" not in request.url.params
    assert found.items[0].task_id == "a"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": "a", "status": "cancelled"}'])
async def test_a_cancel_takes_every_kind_of_yes(body):
    """Nothing, an empty object and a whole task are all a success."""
    async with once(Script(httpx.Response(200, content=body), httpx.Response(204))) as c:
        await c.tasks.cancel("cgt-1")
        await c.tasks.cancel("cgt-1")


async def test_a_cancel_that_comes_too_late_is_a_conflict():
    """A task that runs is not cancelled, and that is no failure of the call."""
    late, wrong = (
        refusal(409, "InvalidAction.RunningTaskDeletion"),
        refusal(400, "InvalidParameter"),
    )
    async with once(Script(late, wrong)) as c:
        with pytest.raises(ConflictError):
            await c.tasks.cancel("cgt-1")
        with pytest.raises(InvalidRequestError):
            await c.tasks.cancel("cgt-1")


# Reads are repeated


class Timed(Script):
    """Notes when requests come."""

    def __init__(self, *answers: object) -> None:
        super().__init__(*answers)
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.times.append(anyio.current_time())
        return await super().handle_async_request(request)


async def test_a_success_is_not_repeated():
    """What succeeds is done, after one request and without a pause."""
    script = Timed(running())
    async with once(script, retry=RetryPolicy()) as c:
        started = anyio.current_time()
        await c.tasks.get("cgt-1")
        assert anyio.current_time() - started < 0.1
    assert len(script.seen) == 1


async def test_errors_are_repeated_after_pauses_that_double():
    """Each failure waits twice as long as the one before it, within a quarter."""
    script = Timed(
        httpx.ReadError("a"), refusal(500, "b"), httpx.Response(200, text="c"), running()
    )
    async with once(script, retry=RetryPolicy(initial=2.0)) as c:
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"
    for number, pause in enumerate((2.0, 4.0, 8.0)):
        waited = script.times[number + 1] - script.times[number]
        assert 0.75 * pause <= waited <= 1.25 * pause + 0.1


async def test_the_last_error_is_raised_bare():
    """When no more attempt is allowed, the error of the last one leaves, without a pause."""
    script = Timed(httpx.ReadError("a"), httpx.Response(200, text="c"))
    async with once(script, retry=RetryPolicy(attempts=2)) as c:
        with pytest.raises(ProtocolError) as caught:
            await c.tasks.get("cgt-1")
        assert anyio.current_time() - script.times[-1] < 0.1
    assert caught.value.excerpt == "c"
    assert len(script.seen) == 2


async def test_an_error_that_a_repetition_cannot_help_is_raised_at_once():
    """What is not transient is not repeated."""
    script = Timed(refusal(404, "NotFound"))
    async with once(script, retry=RetryPolicy()) as c:
        with pytest.raises(CallsheetError):
            await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_cancellation_ends_a_pause():
    """A pause can be cancelled, and no attempt follows."""
    script = Timed(httpx.ReadError("a"))
    async with once(script, retry=RetryPolicy(initial=2.0)) as c:
        with anyio.move_on_after(3) as scope:
            await c.tasks.get("cgt-1")
        assert scope.cancelled_caught
        await anyio.sleep(100)
    assert len(script.seen) == 2
