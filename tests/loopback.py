"""A server on loopback that keeps what it heard, byte for byte, and answers as it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream


@attrs.define
class Heard:
    """What a server has heard.

    Attributes:
        origin: Where it is.
        requests: Whole requests, in order.
        connections: How many were opened.
        hung_up: How many the other side closed.
    """

    origin: str
    requests: list[bytes] = attrs.Factory(list)
    connections: int = 0
    hung_up: int = 0

    def count(self, verb: str) -> int:
        """How many requests of a verb came."""
        return sum(request.startswith(verb.encode() + b" ") for request in self.requests)

    def headers(self, number: int = -1) -> dict[str, str]:
        """The headers of one request, with lower-case names."""
        lines = self.requests[number].split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


Talk = Callable[[SocketStream, Heard], Awaitable[object]]
"""Answers one request; what it returns, if it is true, ends the connection."""


@asynccontextmanager
async def listening(talk: Talk) -> AsyncGenerator[Heard]:
    """Serve on a free port for as long as the block lasts."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        heard = Heard(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

        async def handle(stream: SocketStream) -> None:
            heard.connections += 1
            async with stream:
                while (request := await _request(stream)) is not None:
                    heard.requests.append(request)
                    if await talk(stream, heard):
                        return
                heard.hung_up += 1

        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            yield heard
            group.cancel_scope.cancel()


async def _request(stream: SocketStream) -> bytes | None:
    """One whole request, or nothing when the other side has closed."""
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
    """The bytes of an answer; *headers* end with a line break each."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def saying(*answers: bytes) -> Talk:
    """Give these answers, one each, the last one for ever; an empty one hangs up."""
    left = list(answers)

    async def talk(stream: SocketStream, _heard: Heard) -> bool:
        said = left.pop(0) if len(left) > 1 else left[0]
        if said:
            await stream.send(said)
        return not said

    return talk
