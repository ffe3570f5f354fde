"""A client over real sockets on loopback, in real time, with each transport."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from callsheet import (
    Client,
    ConnectFailedError,
    Limits,
    RetryPolicy,
    SubmissionUncertainError,
    TaskSpec,
    TransportError,
)
from emulation import ARK
from loopback import Handler, Received, answer, answering, listening


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import SocketStream


BOAT = TaskSpec("boat")
KEY = "0f9e8d7c-6b5a-4321-8765-43210fedcba9"
RUNNING = answer(b'{"status": "running", "model": "m"}')
PROVIDER = attrs.evolve(ARK, lists=False, limits=Limits(gets_per_second=100_000.0))

each_transport = pytest.mark.parametrize(
    ("anyio_backend", "choice"),
    [("asyncio", None), ("trio", None), ("asyncio", "aiohttp")],
    ids=["asyncio", "trio", "aiohttp"],
)


def client_of(
    origin: str,
    choice: str | None,
    *,
    connections: int = 4,
    key: str | None = None,
    seconds: float = 5.0,
) -> Client:
    """A client over sockets that makes one attempt of each request."""
    if choice:
        pytest.importorskip(choice)
    return Client(
        provider=attrs.evolve(PROVIDER, base_url=f"{origin}/v3"),
        api_key=key,
        transport=choice,
        limits=Limits(connections=connections),
        retry=RetryPolicy(attempts=1, timeout=seconds),
    )


async def serve(
    handler: Handler,
    use: Callable[[Client], Awaitable[None]],
    choice: str | None,
    **options: object,
) -> Received:
    """Serve with *handler* while *use* sends requests."""
    async with listening(handler) as received, client_of(received.origin, choice, **options) as c:
        await use(c)
    return received


@each_transport
async def test_a_refused_connection_sends_nothing(choice):
    """A refused connection is a `ConnectFailedError`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client_of(f"http://127.0.0.1:{taken.getsockname()[1]}", choice) as c:
            with pytest.raises(ConnectFailedError):
                await c.tasks.create(BOAT)


@each_transport
async def test_connections_are_limited_and_reused(choice):
    """A hundred requests at once share the given number of connections."""

    async def use(c: Client) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(c.tasks.get, "a")

    received = await serve(answering(RUNNING), use, choice, connections=3)
    assert len(received.requests) == 100
    assert 1 <= received.connections <= 3


BROKEN = {
    "hangs up": b"",
    "half an answer": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "cgt-',
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
}


def breaking(said: bytes) -> Handler:
    """Send *said* and close the connection."""

    async def handler(stream: SocketStream, _received: Received) -> bool:
        await stream.send(said)
        return True

    return handler


@each_transport
@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_answer_counts_as_lost(how, choice):
    """If a server closes early, stops halfway or speaks no HTTP, it may have got the request."""

    async def use(c: Client) -> None:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.tasks.create(BOAT)
        cause = caught.value.__cause__
        assert isinstance(cause, TransportError)
        assert not isinstance(cause, ConnectFailedError)

    received = await serve(breaking(BROKEN[how]), use, choice)
    assert (received.connections, len(received.requests)) == (1, 1)


@each_transport
@pytest.mark.parametrize(
    "head", [b"%b", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b"]
)
async def test_a_broken_answer_that_repeats_the_key_does_not_show_it(choice, head):
    """The error may quote a broken answer, but never the key in it."""

    async def use(c: Client) -> None:
        with pytest.raises(TransportError) as caught:
            await c.tasks.get("a")
        assert KEY not in str(caught.value)

    await serve(breaking(head % (b"Bearer " + KEY.encode() + b"\r\n\r\n")), use, choice, key=KEY)


@each_transport
async def test_a_silent_server_ends_in_a_timeout(choice):
    """If a server never answers, the attempt ends with its timeout."""

    async def silent(_stream: SocketStream, _received: Received) -> None:
        await anyio.sleep_forever()

    async def use(c: Client) -> None:
        with pytest.raises(TransportError), anyio.fail_after(4):
            await c.tasks.get("a")

    await serve(silent, use, choice, seconds=0.05)
