"""A server on loopback that keeps the bytes of all requests and gives prepared answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream


@attrs.define
class Received:
    """What a server has received.

    Attributes:
        origin: The server's address.
        requests: Whole requests, in order.
        connections: How many were opened.
        closed_by_client: How many the client closed.
    """

    origin: str
    requests: list[bytes] = attrs.Factory(list)
    connections: int = 0
    closed_by_client: int = 0

    def count(self, verb: str) -> int:
        """How many requests had this method."""
        return sum(request.startswith(verb.encode() + b" ") for request in self.requests)

    def headers(self, number: int = -1) -> dict[str, str]:
        """The headers of one request, with lower-case names."""
        lines = self.requests[number].split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


Handler = Callable[[SocketStream, Received], Awaitable[object]]
"""Answers one request; a true result closes the connection."""


@asynccontextmanager
async def listening(handler: Handler) -> AsyncGenerator[Received]:
    """Serve on a free port until the block ends."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        received = Received(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

        async def handle(stream: SocketStream) -> None:
            received.connections += 1
            async with stream:
                while (request := await _request(stream)) is not None:
                    received.requests.append(request)
                    if await handler(stream, received):
                        return
                received.closed_by_client += 1

        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            yield received
            group.cancel_scope.cancel()


async def _request(stream: SocketStream) -> bytes | None:
    """One whole request; ``None`` if the client has closed the connection."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
        wanted = int(lengths[0][15:]) if lengths else 0
        while len(body) < wanted:
            body += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "") -> bytes:
    """The bytes of an answer; each of *headers* ends with a line break."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(*answers: bytes) -> Handler:
    """Give these answers in order and repeat the last one; an empty one closes the connection."""
    left = list(answers)

    async def handler(stream: SocketStream, _received: Received) -> bool:
        said = left.pop(0) if len(left) > 1 else left[0]
        if said:
            await stream.send(said)
        return not said

    return handler
