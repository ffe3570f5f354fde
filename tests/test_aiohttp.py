"""The client and the downloader over aiohttp, with a real server on loopback, in real time.

``test_sockets.py`` tests this transport too, for what all transports share.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import sys
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest
from anyio.abc import SocketAttribute

from callsheet import (
    APIError,
    Client,
    ClosedError,
    ConfigurationError,
    ConnectFailedError,
    Limits,
    ProtocolError,
    RetryPolicy,
    ServerError,
    SubmissionUncertainError,
    TaskSpec,
    TransportError,
)
from callsheet.downloads import Downloader
from callsheet.errors import DownloadError
from emulation import ARK
from loopback import Received, answer, answering, listening


if TYPE_CHECKING:
    from anyio.abc import SocketStream


aiohttp = pytest.importorskip("aiohttp")

BOAT = TaskSpec("boat é")
KEY = "0f9e8d7c-6b5a-4321-8765-43210fedcba9"
TASKS = "/v3/contents/generations/tasks"
RUNNING = answer(b'{"status": "running", "model": "m"}')
PROVIDER = attrs.evolve(ARK, lists=False, limits=Limits(gets_per_second=100_000.0))

on_asyncio = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest):
    """Real time on asyncio, and on uvloop if it is installed."""
    if request.param[1]:
        pytest.importorskip("uvloop")
    return request.param


@pytest.fixture(autouse=True)
def no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's proxy settings."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client_of(
    origin: str, *, connections: int = 4, key: str | None = "k", seconds: float = 5.0
) -> Client:
    """A client that makes one attempt of each request."""
    return Client(
        provider=attrs.evolve(PROVIDER, base_url=f"{origin}/v3"),
        api_key=key,
        transport="aiohttp",
        limits=Limits(connections=connections),
        retry=RetryPolicy(attempts=1, timeout=seconds),
    )


VERBS = {
    "POST": lambda c: c.tasks.create(BOAT),
    "GET": lambda c: c.tasks.get("a"),
    "DELETE": lambda c: c.tasks.cancel("a"),
}


async def assert_lost(c: Client, verb: str) -> None:
    """Check that a request with this verb fails without an answer and may have arrived."""
    with pytest.raises(TransportError) as caught:
        await VERBS[verb](c)
    lost = caught.value
    assert isinstance(lost, SubmissionUncertainError) == (verb == "POST")
    cause = lost.__cause__ if verb == "POST" else lost
    assert isinstance(cause, TransportError)
    assert not isinstance(cause, ConnectFailedError)


@on_asyncio
async def test_a_request_goes_out_as_it_was_written():
    """The verb, the escaped target, the headers and the body are sent unchanged."""
    handler = answering(RUNNING, answer(b'{"items": []}'), answer(b'{"id": "cgt-1"}'))
    async with listening(handler) as received, client_of(received.origin) as c:
        await c.tasks.get("a/b?x~")
        await c.tasks.list(task_ids=["a,b", "~"])
        assert await c.tasks.create(BOAT) == "cgt-1"
    get, page, post = received.requests
    assert get.startswith(f"GET {TASKS}/a%2Fb%3Fx~ HTTP/1.1\r\n".encode())
    assert page.startswith(f"GET {TASKS}?".encode())
    line = page.partition(b"\r\n")[0]
    assert b"filter.task_ids=a%2Cb&" in line
    assert b"filter.task_ids=~" in line
    body = json.loads(post.partition(b"\r\n\r\n")[2])
    assert body["content"][0]["text"] == BOAT.prompt
    assert {**received.headers(0), "user-agent": "", "host": ""} == {
        "host": "",
        "accept": "application/json",
        "user-agent": "",
        "authorization": "Bearer k",
    }
    assert received.headers(0)["user-agent"].startswith("callsheet (aiohttp 3.")
    assert received.headers(2).keys() - received.headers(0).keys() == {
        "content-type",
        "content-length",
    }
    assert received.headers(2)["content-type"] == "application/json"


@on_asyncio
async def test_a_large_body_is_sent_whole_with_its_length():
    """A create of several megabytes is neither chunked nor cut."""
    prompt = "0123456789abcdef" * 64 * 4096 + "end"
    handler = answering(answer(b'{"id": "cgt-1"}'))
    async with listening(handler) as received, client_of(received.origin) as c:
        await c.tasks.create(TaskSpec(prompt))
    body = received.requests[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body)["content"][0]["text"] == prompt
    assert received.headers()["content-length"] == str(len(body))
    assert "transfer-encoding" not in received.headers()


@on_asyncio
async def test_an_answer_of_any_status_is_read_whole():
    """Headers in any case, repeated headers and a compressed body are understood."""
    body = gzip.compress(b'{"error": {"code": "Away", "message": "later"}}')
    headers = "X-Request-Id: r1\r\nX-Request-Id: r2\r\nContent-Encoding: gzip\r\n"
    said = answer(body, status="503 Away", headers=headers)
    async with listening(answering(said)) as received, client_of(received.origin) as c:
        with pytest.raises(ServerError) as caught:
            await c.tasks.get("a")
    error = caught.value
    assert (error.status_code, error.code, error.message) == (503, "Away", "later")
    assert error.request_id == "r1, r2"


async def reset(stream: SocketStream, _received: Received) -> bool:
    """Reset the connection instead of closing it."""
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


BREAKS = {
    "closed": answering(b""),
    "reset": reset,
    "half": answering(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id"', b""),
    "no http": answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "bad chunks": answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"),
}


@on_asyncio
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", BREAKS)
async def test_a_received_request_counts_as_lost_and_is_sent_once(how, verb):
    """A request that the server has read does not count as unsent and is sent only once."""

    async def handler(stream: SocketStream, received: Received) -> bool:
        return bool(await BREAKS[how](stream, received)) or True

    async with listening(handler) as received, client_of(received.origin) as c:
        await assert_lost(c, verb)
        await anyio.sleep(0.02)
    assert len(received.requests) == 1


@on_asyncio
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_request_on_a_reused_connection_that_breaks_is_lost(how, verb):
    """If the server closes a reused connection, the request on it is lost and sent only once."""

    async def handler(stream: SocketStream, received: Received) -> bool:
        if len(received.requests) == 1:
            await stream.send(RUNNING)
            return False
        return bool(await BREAKS[how](stream, received))

    async with listening(handler) as received, client_of(received.origin) as c:
        await c.tasks.get("a")
        await assert_lost(c, verb)
        await anyio.sleep(0.02)
    assert (len(received.requests), received.connections) == (2, 1)


@on_asyncio
async def test_a_refused_connection_sends_nothing():
    """A refused connection is a `ConnectFailedError`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client_of(f"http://127.0.0.1:{taken.getsockname()[1]}") as c:
            with pytest.raises(ConnectFailedError):
                await c.tasks.create(BOAT)


def shorten_connect_timeout(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let connections take no longer than *seconds* to be made."""
    timeout = aiohttp.ClientTimeout

    def shorter(*, connect: float, **others: object) -> object:
        return timeout(connect=min(connect, seconds), **others)

    monkeypatch.setattr(aiohttp, "ClientTimeout", shorter)


@on_asyncio
async def test_a_failed_handshake_sends_nothing(monkeypatch):
    """A server that speaks no TLS, or that does not answer, gets no request."""
    shorten_connect_timeout(monkeypatch, 0.05)
    sent: list[bytes] = []

    async def handle(stream: SocketStream) -> None:
        async with stream:
            sent.append(await stream.receive())
            if len(sent) == 1:
                await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group, client_of(f"https://127.0.0.1:{port}") as c:
            group.start_soon(listener.serve, handle)
            for _ in range(2):
                with pytest.raises(ConnectFailedError):
                    await c.tasks.create(BOAT)
            group.cancel_scope.cancel()
    assert len(sent) == 2
    assert all(b"boat" not in hello for hello in sent)


@on_asyncio
async def test_cookies_are_dropped_and_redirects_are_not_followed():
    """No cookie is sent back, a redirect counts as an answer, and a repeated key is hidden."""
    headers = f"Set-Cookie: a=b\r\nX-Request-Id: {KEY}\r\n"
    body = json.dumps({"error": {"code": "Wrong", "message": f"wrong key {KEY}"}}).encode()
    moved = answer(status="302 Found", headers=f"Location: /elsewhere\r\n{headers}")
    said = answer(body, status="401 No", headers=headers)
    errors = []
    async with (
        listening(answering(moved, said)) as received,
        client_of(received.origin, key=KEY) as c,
    ):
        for _ in range(2):
            with pytest.raises(APIError) as caught:
                await c.tasks.get("a")
            errors.append(caught.value)
    assert [error.status_code for error in errors] == [302, 401]
    assert (errors[1].message, errors[1].request_id) == ("wrong key ***", "***")
    assert errors[0].request_id == "***"
    assert len(received.requests) == 2
    assert "cookie" not in received.headers()


@on_asyncio
async def test_an_answer_that_is_too_large_is_an_error():
    """Reading stops at the limit, and the next request uses a new connection."""
    handler = answering(answer(b" " * 9_000_000), RUNNING)
    async with listening(handler) as received, client_of(received.origin, connections=1) as c:
        with pytest.raises(ProtocolError, match="larger"):
            await c.tasks.get("a")
        assert (await c.tasks.get("a")).task_id == "a"
    assert received.connections == 2


@on_asyncio
async def test_an_attempt_ends_with_its_timeout():
    """An attempt ends on time if the server is silent, or sends its body byte by byte."""

    async def drip(stream: SocketStream, received: Received) -> None:
        if len(received.requests) > 1:
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while len(received.requests) > 1:
            await stream.send(b" ")
            await anyio.sleep(0.005)
        await anyio.sleep_forever()

    async with listening(drip) as received, client_of(received.origin, seconds=0.05) as c:
        for verb in ("GET", "POST"):
            with anyio.fail_after(2):
                await assert_lost(c, verb)


@on_asyncio
async def test_connections_are_limited_and_reused(monkeypatch):
    """A hundred requests at once share a few connections, which are kept for less than a minute."""
    kept: list[float] = []
    connector = aiohttp.TCPConnector

    def noting(*, keepalive_timeout: float, **others: object) -> object:
        kept.append(keepalive_timeout)
        return connector(keepalive_timeout=keepalive_timeout, **others)

    monkeypatch.setattr(aiohttp, "TCPConnector", noting)
    async with (
        listening(answering(RUNNING)) as received,
        client_of(received.origin, connections=3) as c,
        anyio.create_task_group() as group,
    ):
        for _ in range(100):
            group.start_soon(c.tasks.get, "a")
    assert kept
    assert max(kept) < 60
    assert len(received.requests) == 100
    assert 1 <= received.connections <= 3


@on_asyncio
async def test_a_cancelled_request_closes_its_connection():
    """The server sees the connection close, and the next request uses another one."""
    arrived = anyio.Event()

    async def handler(stream: SocketStream, received: Received) -> None:
        if len(received.requests) == 1:
            arrived.set()
            return
        await stream.send(RUNNING)

    async with listening(handler) as received, client_of(received.origin, connections=1) as c:
        tasks = c.tasks
        async with anyio.create_task_group() as group:
            group.start_soon(tasks.cancel, "a")
            await arrived.wait()
            group.cancel_scope.cancel()
        assert (await tasks.get("a")).task_id == "a"
        assert (received.connections, received.closed_by_client) == (2, 1)
    with pytest.raises(ClosedError):
        await tasks.get("a")


@on_asyncio
async def test_the_proxy_in_the_environment_is_used(monkeypatch):
    """Requests use the proxy that the environment names, except for the hosts that it exempts."""
    async with listening(answering(RUNNING)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin.replace("http://", "http://me:pw@"))
        async with client_of("http://api.test") as c:
            await c.tasks.get("a/b")
        assert proxy.requests[0].startswith(f"GET http://api.test{TASKS}/a%2Fb ".encode())
        assert proxy.headers()["proxy-authorization"] == "Basic bWU6cHc="
        async with listening(answering(RUNNING)) as received, client_of(received.origin) as c:
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            await c.tasks.get("a")
        assert (len(proxy.requests), len(received.requests)) == (1, 1)


@on_asyncio
async def test_a_tunnel_that_a_proxy_refuses_sends_nothing(monkeypatch):
    """If a proxy refuses the tunnel, the error is `ConnectFailedError` and no key is sent."""
    async with listening(answering(answer(status="403 Forbidden"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        async with client_of("https://api.test", key=KEY) as c:
            with pytest.raises(ConnectFailedError, match="403"):
                await c.tasks.create(BOAT)
    assert proxy.requests[0].startswith(b"CONNECT api.test:443 ")
    assert KEY.encode() not in b"".join(proxy.requests)


def test_a_proxy_of_an_unknown_kind_is_refused(monkeypatch):
    """A SOCKS proxy is an error; it is not ignored."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="socks5"):
        Client(api_key="k", transport="aiohttp")


@pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"])
async def test_aiohttp_on_trio_is_refused():
    """On trio, entering a client or a downloader raises an error that names asyncio."""
    for sender in (Client(api_key="k", transport="aiohttp"), Downloader(transport="aiohttp")):
        with pytest.raises(ConfigurationError, match="asyncio"):
            async with sender:
                pass


@pytest.mark.parametrize("make", [lambda t: Client(api_key="k", transport=t),
                                  lambda t: Downloader(transport=t)])  # fmt: skip
def test_a_transport_that_is_not_available_is_refused(make, monkeypatch):
    """An unknown transport is refused, and for a missing extra the error says how to install it."""
    with pytest.raises(ConfigurationError, match="'curl'"):
        make("curl")
    for name, module in list(sys.modules.items()):
        if name.startswith("callsheet.") and getattr(module, "aiohttp", None) is aiohttp:
            monkeypatch.delitem(sys.modules, name)  # as in a process that never had it
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'callsheet\[fast\]'"):
        make("aiohttp")


@on_asyncio
async def test_a_client_over_aiohttp_makes_videos(tmp_path):
    """A client, the emulator and a downloader work together over aiohttp."""
    client = Client(provider="emulator", transport="aiohttp", limits=Limits(connections=2))
    async with client, Downloader(transport="aiohttp") as downloader:
        video = await client.run(TaskSpec("a boat", duration=5), timeout=30)
        path = await downloader.fetch(video, tmp_path / "boat.mp4")
    assert b"ftyp" in path.read_bytes()[:16]


@on_asyncio
async def test_an_address_that_only_aiohttp_refuses_is_a_connect_error():
    """For a host that looks like a number, the error says that nothing was sent."""
    async with client_of("http://1.2.3.4.5.6") as c:
        with pytest.raises(ConnectFailedError):
            await c.tasks.create(BOAT)


# Storage hosts

VIDEO = bytes(range(256)) * 4000


@on_asyncio
async def test_a_file_is_downloaded_whole_after_a_redirect(tmp_path):
    """A redirect to a relative URL is followed, and the host gets only the needed headers."""
    moved = answer(status="307 Moved", headers="Location: /b?sig=%2F%7E\r\n")
    async with (
        listening(answering(moved, answer(VIDEO))) as received,
        Downloader(transport="aiohttp") as downloader,
    ):
        path = await downloader.fetch(f"{received.origin}/a?sig=%2F%7E", tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO
    assert [r.split(b" ")[1] for r in received.requests] == [b"/a?sig=%2F%7E", b"/b?sig=%2F%7E"]
    assert received.headers().keys() == {"host", "accept", "accept-encoding", "user-agent"}
    assert received.headers()["accept-encoding"] == "identity"


@on_asyncio
async def test_a_cut_file_is_resumed(tmp_path):
    """After the connection breaks, only the missing bytes are requested."""
    head = f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: {len(VIDEO)}\r\n\r\n'
    span = f'Content-Range: bytes 70000-{len(VIDEO) - 1}/{len(VIDEO)}\r\nETag: "1"\r\n'
    rest = answer(VIDEO[70000:], status="206 Partial", headers=span)

    async def handler(stream: SocketStream, received: Received) -> bool:
        await stream.send(rest if len(received.requests) > 1 else head.encode() + VIDEO[:70000])
        return True

    async with listening(handler) as received, Downloader(transport="aiohttp") as downloader:
        path = await downloader.fetch(f"{received.origin}/a", tmp_path / "a.mp4")
    assert received.headers()["range"] == "bytes=70000-"
    assert path.read_bytes() == VIDEO


@on_asyncio
@pytest.mark.parametrize(
    "location", ["/again", "ftp://storage.test/x", "http://", "http://h:x/", "http://["]
)
async def test_redirects_that_cannot_be_followed_are_refused(location, tmp_path):
    """A loop, another protocol and an invalid URL are errors that show no signature."""
    said = answer(status="302 Found", headers=f"Location: {location}?sig=sesame\r\n")
    async with (
        listening(answering(said)) as received,
        Downloader(transport="aiohttp") as downloader,
    ):
        with pytest.raises(DownloadError) as caught:
            await downloader.fetch(f"{received.origin}/a?sig=sesame", tmp_path / "a.mp4")
    assert "sesame" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@on_asyncio
@pytest.mark.parametrize(
    "url", ["one.mp4", "http://", "http://[::1", "http://h:99999/", "x://h/", "//h/x", "https:///x"]
)
async def test_an_invalid_url_is_refused(url, tmp_path):
    """A text that is not a URL raises `DownloadError`."""
    async with Downloader(transport="aiohttp") as downloader:
        with pytest.raises(DownloadError, match="not a URL"):
            await downloader.fetch(url, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


@on_asyncio
async def test_unusual_characters_in_a_redirect_are_escaped(tmp_path):
    """Spaces and letters beyond ASCII in a redirect are escaped."""
    moved = answer(status="302 Found", headers="Location: /b c/é\r\n")
    async with (
        listening(answering(moved, answer(VIDEO))) as received,
        Downloader(transport="aiohttp") as downloader,
    ):
        path = await downloader.fetch(f"{received.origin}/a", tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO
    assert received.requests[1].startswith(b"GET /b%20c/%C3%A9 HTTP/1.1\r\n")


@on_asyncio
async def test_a_network_error_shows_no_signature(tmp_path):
    """The error of a failed connection does not contain the URL's query."""

    async def hang(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        downloader = Downloader(transport="aiohttp", attempts=1, timeout=0.05)
        async with anyio.create_task_group() as group, downloader:
            group.start_soon(listener.serve, hang)
            with pytest.raises(DownloadError, match="Connection") as caught:
                await downloader.fetch(f"https://127.0.0.1:{port}/a?sig=sesame", tmp_path / "a.mp4")
            group.cancel_scope.cancel()
    assert "sesame" not in str(caught.value)
