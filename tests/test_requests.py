"""Single requests of each kind: how they are sent, and what each answer or error means."""

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
    """A client that makes one attempt of each request, which takes at most *seconds*."""
    options = {"provider": HERE, "retry": RetryPolicy(attempts=1, timeout=seconds), **options}
    return Client(transport=transport, **options)


def running() -> httpx.Response:
    """The answer for a task that is running."""
    return httpx.Response(200, json=RUNNING)


async def test_a_request_goes_out_as_it_was_written():
    """The method, the escaped target, the body and the key are sent unchanged."""
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


async def test_an_answer_of_any_status_is_read_whole():
    """Headers in any case and a compressed body are understood."""
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
async def test_an_error_before_sending_is_a_connect_error(error):
    """An error before the request is written says that nothing was sent, and names the host."""
    words = rf"{error.__name__}: why \({re.escape('api.test')}\)"
    async with once(Script(error("why"))) as c:
        for send in (partial(c.tasks.create, BOAT), partial(c.tasks.get, "cgt-1")):
            with pytest.raises(ConnectFailedError, match=words) as caught:
                await send()
            assert caught.value.__cause__ is None
        assert c.spend.committed.tasks == 0


@pytest.mark.parametrize("error", LOST)
async def test_an_error_after_sending_began_is_not_a_connect_error(error):
    """After all other errors of the library and its streams, the request may have arrived."""
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
async def test_a_bug_in_a_transport_is_neither_hidden_nor_retried(error):
    """An error that is not a network error is raised unchanged, after one attempt."""
    script = Script(error("mine"))
    async with once(script, retry=RetryPolicy()) as c:
        with pytest.raises(error, match="mine"):
            await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_a_request_is_not_retried_after_ctrl_c():
    """Ctrl-C during a request ends the client, and nothing more is sent."""

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
    """Answers after some seconds, and keeps the order of the requests."""

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
    """A body that gives one byte each second."""

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
    """However slowly the bytes come, an attempt takes no longer than its timeout."""
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
    """Requests wait in order for a connection, and the wait does not count for the timeout."""
    slow = Slow(3)
    async with (
        once(slow, seconds=4, limits=Limits(connections=2)) as c,
        anyio.create_task_group() as group,
    ):
        for i in range(10):
            group.start_soon(c.tasks.get, str(i))
            await anyio.sleep(0.01)
    assert slow.order == [str(i) for i in range(10)]


async def test_an_answer_that_is_too_large_is_an_error():
    """Reading stops at the limit, and the connection can be used again."""
    script = Script(httpx.Response(200, content=b" " * 9_000_000), running())
    async with once(script, limits=Limits(connections=1)) as c:
        with pytest.raises(ProtocolError, match="larger"):
            await c.tasks.get("cgt-1")
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"


@pytest.mark.parametrize(
    "where", ["http://evil.test", "http://xn--/", "http://[::1", "/" + "a" * 65_530]
)
async def test_a_redirect_is_not_followed(where):
    """A redirect, even to an invalid address, is not followed, so no other host gets the key."""
    script = Script(lambda: httpx.Response(302, headers={"location": where}))
    async with once(script) as c:
        with pytest.raises((APIError, SubmissionUncertainError)):
            await c.tasks.create(BOAT)
        with pytest.raises((APIError, TransportError)):
            await c.tasks.get("cgt-1")
    assert {request.url.host for request in script.seen} == {"api.test"}
    assert len(script.seen) == 2


async def test_ids_that_are_too_long_for_a_url_are_refused():
    """Nothing is sent, the error is short, and the connection can be used by others."""
    script = Script(running())
    async with once(script, limits=Limits(connections=1)) as c:
        with pytest.raises(SpecError, match="too long") as caught:
            await c.tasks.list(task_ids=["cgt-1"] * 5000)
        assert len(str(caught.value)) < 150
        await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_cookies_are_not_kept():
    """A cookie that an answer sets is not sent back."""
    script = Script(lambda: httpx.Response(200, json=RUNNING, headers={"set-cookie": "a=b"}))
    async with once(script, limits=Limits(connections=1)) as c:
        await c.tasks.get("cgt-1")
        await c.tasks.get("cgt-1")
    assert "cookie" not in script.seen[1].headers


async def test_a_key_in_an_answer_is_hidden():
    """If the provider repeats the key in a header or a body, the error does not show it."""
    said = refusal(401, "AuthenticationError", f"wrong key {KEY}", {"x-request-id": KEY})
    async with once(Script(said), api_key=KEY) as c:
        with pytest.raises(APIError) as caught:
            await c.tasks.get("cgt-1")
    assert KEY not in repr(vars(caught.value))
    assert (caught.value.message, caught.value.request_id) == ("wrong key ***", "***")


async def test_a_borrowed_transport_stays_open():
    """A closed client leaves the transport that it was given open, and no longer uses it."""
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
def test_an_invalid_address_is_refused(address):
    """Only http and https addresses with a host are accepted."""
    with pytest.raises(ConfigurationError):
        Client(provider=attrs.evolve(ARK, base_url=address))


def test_the_repr_of_a_client_holds_no_key():
    """Neither the client's nor the provider's repr contains the key."""
    c = Client(provider=HERE, api_key="secret")
    assert "secret" not in repr(c)
    assert "secret" not in repr(vars(c)["provider"])


# Which answers to a create are certain, and which are not


async def create(*answers: object) -> str:
    """Create once, and check that one request was sent."""
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


async def test_a_create_returns_the_id():
    """The id in the answer is returned unchanged."""
    assert await create(httpx.Response(200, json={"id": "0217"})) == "0217"


@pytest.mark.parametrize(
    "answer",
    [httpx.ReadTimeout(""), refusal(500, "X"), httpx.Response(200), httpx.Response(408),
     httpx.Response(200, text="<html>")],
)  # fmt: skip
async def test_a_create_without_a_usable_answer_is_uncertain(answer):
    """A lost, failed or unreadable answer raises an error with the token and its cause."""
    with pytest.raises(SubmissionUncertainError) as caught:
        await create(answer)
    assert caught.value.token
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 302])
async def test_a_refused_create_made_no_task(status):
    """A refusal with any of these status codes means that there is no task."""
    with pytest.raises(APIError):
        await create(refusal(status, "Some.Code"))


async def test_a_create_that_is_refused_for_load_made_no_task():
    """When the policy allows no further attempt, the refusal means that there is no task."""
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
async def test_a_spec_with_a_wrong_value_is_sent_or_raises_spec_error(spec):
    """A spec with a wrong value is sent as it is, or raises `SpecError` before it is sent."""
    script = Script(httpx.Response(200, json={"id": "cgt-1"}))
    async with once(script) as c:
        try:
            await c.tasks.create(spec)
        except SpecError as error:
            assert error.problems  # noqa: PT017 - the provider judges what JSON can hold
            assert not script.seen
            assert c.spend.committed.tasks == 0


async def test_a_snapshot_has_the_id_that_was_asked_for():
    """If an answer has no id, the snapshot has the id of the request."""
    script = Script(httpx.Response(200, json={"status": "running", "model": "m"}))
    async with once(script) as c:
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"


async def test_a_get_raises_an_error_for_each_failure():
    """An unknown id and an unreadable answer each raise their own error."""
    script = Script(refusal(404, "NotFound"), httpx.Response(200, text="hello"))
    async with once(script) as c:
        with pytest.raises(NotFoundError):
            await c.tasks.get("cgt-1")
        with pytest.raises(ProtocolError):
            await c.tasks.get("cgt-1")


async def test_a_list_sends_its_filters():
    """Each id is sent as its own parameter, and unused filters are not sent."""
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
async def test_a_cancel_accepts_every_kind_of_success(body):
    """No body, an empty object and a whole task all count as success."""
    async with once(Script(httpx.Response(200, content=body), httpx.Response(204))) as c:
        await c.tasks.cancel("cgt-1")
        await c.tasks.cancel("cgt-1")


async def test_a_cancel_that_comes_too_late_is_a_conflict():
    """Cancelling a running task is a conflict, and not an invalid request."""
    late, wrong = (
        refusal(409, "InvalidAction.RunningTaskDeletion"),
        refusal(400, "InvalidParameter"),
    )
    async with once(Script(late, wrong)) as c:
        with pytest.raises(ConflictError):
            await c.tasks.cancel("cgt-1")
        with pytest.raises(InvalidRequestError):
            await c.tasks.cancel("cgt-1")


# Reads are retried


class Timed(Script):
    """Keeps the times of the requests."""

    def __init__(self, *answers: object) -> None:
        super().__init__(*answers)
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.times.append(anyio.current_time())
        return await super().handle_async_request(request)


async def test_a_success_is_not_retried():
    """A success takes one request and no pause."""
    script = Timed(running())
    async with once(script, retry=RetryPolicy()) as c:
        started = anyio.current_time()
        await c.tasks.get("cgt-1")
        assert anyio.current_time() - started < 0.1
    assert len(script.seen) == 1


async def test_reads_are_retried_after_pauses_that_double():
    """Each pause is twice as long as the one before it, within 25 percent."""
    script = Timed(
        httpx.ReadError("a"), refusal(500, "b"), httpx.Response(200, text="c"), running()
    )
    async with once(script, retry=RetryPolicy(initial=2.0)) as c:
        assert (await c.tasks.get("cgt-1")).task_id == "cgt-1"
    for number, pause in enumerate((2.0, 4.0, 8.0)):
        waited = script.times[number + 1] - script.times[number]
        assert 0.75 * pause <= waited <= 1.25 * pause + 0.1


async def test_the_last_error_is_raised_unchanged():
    """When no attempt is left, the last error is raised at once."""
    script = Timed(httpx.ReadError("a"), httpx.Response(200, text="c"))
    async with once(script, retry=RetryPolicy(attempts=2)) as c:
        with pytest.raises(ProtocolError) as caught:
            await c.tasks.get("cgt-1")
        assert anyio.current_time() - script.times[-1] < 0.1
    assert caught.value.excerpt == "c"
    assert len(script.seen) == 2


async def test_a_permanent_error_is_raised_at_once():
    """An error that is not transient is not retried."""
    script = Timed(refusal(404, "NotFound"))
    async with once(script, retry=RetryPolicy()) as c:
        with pytest.raises(CallsheetError):
            await c.tasks.get("cgt-1")
    assert len(script.seen) == 1


async def test_cancellation_ends_a_pause():
    """A pause can be cancelled, and no further attempt follows."""
    script = Timed(httpx.ReadError("a"))
    async with once(script, retry=RetryPolicy(initial=2.0)) as c:
        with anyio.move_on_after(3) as scope:
            await c.tasks.get("cgt-1")
        assert scope.cancelled_caught
        await anyio.sleep(100)
    assert len(script.seen) == 2
