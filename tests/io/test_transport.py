"""One request over HTTP: what counts as never sent, what as lost, and how many at once."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from callsheet._io.transport import Transport
from callsheet._wire import Request
from callsheet.errors import (
    ClosedError,
    ConfigurationError,
    ConnectFailedError,
    ProtocolError,
    SpecError,
    TransportError,
)
from emulation import Script


GET = Request(method="GET", target="/tasks/a%2Fb?x=1&x=2")
POST = Request(method="POST", target="/tasks", body=b'{"a": "\xc3\xa9"}')


def transport(*answers: object, connections: int = 4, key: str | None = "k") -> Transport:
    """A transport before a scripted provider."""
    return Transport(
        base_url="http://api.test/v3/", api_key=key, connections=connections,
        custom=Script(*answers),
    )  # fmt: skip


async def test_a_request_goes_out_as_it_was_written():
    """Method, escaped target, body and key leave unchanged."""
    t = transport(httpx.Response(200))
    async with t:
        await t.send(GET, timeout=5)
        await t.send(POST, timeout=5)
    get, post = t._custom.seen
    assert str(get.url) == "http://api.test/v3/tasks/a%2Fb?x=1&x=2"
    assert post.content == POST.body
    assert post.headers["content-type"] == "application/json"
    assert post.headers["content-length"] == str(len(POST.body))
    assert "content-type" not in get.headers
    assert {r.headers["authorization"] for r in (get, post)} == {"Bearer k"}


async def test_without_a_key_there_is_no_authorization():
    """No key, no header."""
    t = transport(httpx.Response(200), key=None)
    async with t:
        await t.send(GET, timeout=5)
    assert "authorization" not in t._custom.seen[0].headers


async def test_an_answer_comes_whole_whatever_its_status():
    """Status, lower-case header names and the decoded body are handed on."""
    packed = gzip.compress(b"hello")
    headers = {"X-Request-Id": "r1", "Content-Encoding": "gzip"}
    t = transport(lambda: httpx.Response(503, headers=headers, stream=httpx.ByteStream(packed)))
    async with t:
        response = await t.send(GET, timeout=5)
    assert (response.status_code, response.body) == (503, b"hello")
    assert response.headers["x-request-id"] == "r1"


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
    async with transport(error("why")) as t:
        words = rf"{error.__name__}: why \({re.escape(str(t._base.netloc, 'ascii'))}\)"
        with pytest.raises(ConnectFailedError, match=words) as caught:
            await t.send(POST, timeout=5)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("error", LOST)
async def test_what_may_have_left_is_not_a_failed_connection(error):
    """All other errors of the library and its streams leave open whether the request arrived."""
    async with transport(error("why")) as t:
        with pytest.raises(TransportError) as caught:
            await t.send(POST, timeout=5)
    assert not isinstance(caught.value, ConnectFailedError)


async def test_a_mistake_of_a_transport_is_not_hidden():
    """What is no error of the network leaves as it is."""
    async with transport(ZeroDivisionError()) as t:
        with pytest.raises(ZeroDivisionError):
            await t.send(GET, timeout=5)


async def test_an_attempt_ends_with_its_timeout():
    """However slowly bytes drip, an attempt takes no longer than it may."""

    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self):
            for _ in range(1000):
                await anyio.sleep(1)
                yield b" "

    async with transport(httpx.Response(200, stream=Drip())) as t:
        started = anyio.current_time()
        with pytest.raises(TransportError, match="within 7 s"):
            await t.send(GET, timeout=7)
        assert anyio.current_time() - started == pytest.approx(7)


async def test_a_timeout_does_not_count_the_wait_for_a_connection():
    """Requests queue in order for a connection, outside of their own time."""

    class Slow(httpx.AsyncBaseTransport):
        order: list[str]

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.order.append(request.url.path)
            await anyio.sleep(3)
            return httpx.Response(200)

    slow = Slow()
    slow.order = []
    t = Transport(base_url="http://a.test", api_key=None, connections=2, custom=slow)
    async with t, anyio.create_task_group() as group:
        for i in range(10):
            request = Request(method="GET", target=f"/{i}")
            group.start_soon(lambda request=request: t.send(request, timeout=4))
            await anyio.sleep(0.01)
    assert slow.order == [f"/{i}" for i in range(10)]


async def test_an_answer_beyond_any_real_size_is_given_up():
    """Reading stops at the limit, and the connection is free again."""
    big = httpx.Response(200, content=b" " * 9_000_000)
    async with transport(big, httpx.Response(200), connections=1) as t:
        with pytest.raises(ProtocolError, match="larger"):
            await t.send(GET, timeout=5)
        assert (await t.send(GET, timeout=5)).status_code == 200


async def test_a_redirect_is_an_answer():
    """Redirects are not followed, so the key stays here."""
    async with transport(httpx.Response(302, headers={"location": "http://evil.test"})) as t:
        assert (await t.send(GET, timeout=5)).status_code == 302
    assert len(t._custom.seen) == 1


@pytest.mark.parametrize("where", ["http://xn--/", "http://[::1", "/" + "a" * 65_530])
async def test_a_redirect_to_nowhere_is_an_answer_or_an_error_of_ours(where):
    """What httpx makes of a place that it is not even asked to go to is no other error."""
    async with transport(httpx.Response(302, headers={"location": where})) as t:
        with suppress(TransportError):
            assert (await t.send(POST, timeout=5)).status_code == 302


async def test_a_target_that_is_too_long_for_a_url_is_refused():
    """Nothing is sent, the error is short, and the connection is free for others."""
    async with transport(httpx.Response(200), connections=1) as t:
        with pytest.raises(SpecError, match="too long") as caught:
            await t.send(Request(method="GET", target=f"/{'a' * 70_000}"), timeout=5)
        assert len(str(caught.value)) < 150
        await t.send(GET, timeout=5)
    assert len(t._custom.seen) == 1


async def test_cookies_are_not_kept():
    """What an answer sets is not sent again."""
    async with transport(httpx.Response(200, headers={"set-cookie": "a=b"}), connections=1) as t:
        await t.send(GET, timeout=5)
        await t.send(GET, timeout=5)
    assert "cookie" not in t._custom.seen[1].headers


async def test_a_long_key_is_taken_out_of_answers():
    """A provider that repeats the key in headers or body gives it away to nobody."""
    key = "0f9e8d7c-6b5a-4321-8765-43210fedcba9"
    said = httpx.Response(401, headers={"x-why": key}, text=f"wrong key {key}")
    async with transport(said, key=key) as t:
        response = await t.send(GET, timeout=5)
    assert key not in repr(attributes := (response.headers, response.body))
    assert b"wrong key ***" in attributes


async def test_a_closed_transport_sends_nothing():
    """After it was left, a transport raises `ClosedError`, and a borrowed one stays open."""
    t = transport(httpx.Response(200))
    async with t:
        await t.send(GET, timeout=5)
    with pytest.raises(ClosedError):
        await t.send(GET, timeout=5)
    assert len(t._custom.seen) == 1


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
        Transport(base_url=address, api_key=None, connections=1)


def test_its_repr_holds_no_key():
    """The key is in no text."""
    assert "secret" not in repr(
        Transport(base_url="http://a.test", api_key="secret", connections=1)
    )


# With real sockets on loopback, and therefore in real time.

REAL = pytest.mark.parametrize(
    ("anyio_backend", "choice"),
    [("asyncio", None), ("trio", None), ("asyncio", "aiohttp")],
    ids=["asyncio", "trio", "aiohttp"],
)
Talk = Callable[[SocketStream], Awaitable[None]]


async def served(
    talk: Talk,
    use: Callable[[Transport], Awaitable[None]],
    choice: str | None,
    *,
    connections: int = 4,
    key: str | None = None,
):
    """Serve connections with *talk* while *use* sends; return how many came."""
    came = 0

    async def handle(stream: SocketStream) -> None:
        nonlocal came
        came += 1
        async with stream:
            await talk(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            address = f"http://127.0.0.1:{port}"
            async with real(address, choice, connections=connections, key=key) as t:
                await use(t)
            group.cancel_scope.cancel()
    return came


def real(
    address: str, choice: str | None, *, connections: int = 4, key: str | None = None
) -> Transport:
    """A transport over sockets."""
    if choice:
        pytest.importorskip(choice)
    return Transport(base_url=address, api_key=key, connections=connections, custom=choice)


async def answer_for_ever(stream: SocketStream) -> None:
    """Answer every request of a connection."""
    while True:
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@REAL
async def test_where_nothing_listens_nothing_is_sent(choice):
    """A refused connection is a `ConnectFailedError`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with real(address, choice) as t:
            with pytest.raises(ConnectFailedError):
                await t.send(POST, timeout=5)


@REAL
async def test_connections_are_few_and_used_again(choice):
    """A hundred requests at once share the given number of connections."""

    async def use(t: Transport) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(lambda: t.send(GET, timeout=5))

    assert 1 <= await served(answer_for_ever, use, choice, connections=3) <= 3


async def close_at_once(stream: SocketStream) -> None:
    """Take a request and hang up."""
    await stream.receive()


async def half_an_answer(stream: SocketStream) -> None:
    """Stop in the middle of an answer."""
    await stream.receive()
    await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "cgt-')


async def no_http(stream: SocketStream) -> None:
    """Answer in another protocol."""
    await stream.receive()
    await stream.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@REAL
@pytest.mark.parametrize("talk", [close_at_once, half_an_answer, no_http])
async def test_a_broken_answer_is_lost_and_not_a_failed_connection(talk, choice):
    """A server that hangs up, stops halfway or speaks no HTTP has had the request."""

    async def use(t: Transport) -> None:
        with pytest.raises(TransportError) as caught:
            await t.send(POST, timeout=5)
        assert not isinstance(caught.value, ConnectFailedError)

    assert await served(talk, use, choice) == 1


@REAL
@pytest.mark.parametrize(
    "head", [b"%b", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b"]
)
async def test_a_broken_answer_that_repeats_the_key_shows_it_to_nobody(choice, head):
    """What breaks HTTP may be quoted in the error, but never the key in it."""
    key = "0f9e8d7c-6b5a-4321-8765-43210fedcba9"

    async def talk(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(head % (b"Bearer " + key.encode() + b"\r\n\r\n"))

    async def use(t: Transport) -> None:
        with pytest.raises(TransportError) as caught:
            await t.send(GET, timeout=5)
        assert key not in str(caught.value)

    await served(talk, use, choice, key=key)


@REAL
async def test_a_silent_server_is_given_up_in_time(choice):
    """A server that never answers costs the attempt's timeout."""

    async def silent(stream: SocketStream) -> None:
        await anyio.sleep_forever()

    async def use(t: Transport) -> None:
        with pytest.raises(TransportError):
            await t.send(GET, timeout=0.05)

    await served(silent, use, choice)
