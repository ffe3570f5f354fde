"""A provider in its own process, with which this and other packages are measured.

It serves the part of each API that its package needs: Ark's tasks, OpenAI's videos, fal's queue.
All tasks run at once. The number in the prompt decides how long each runs, the same for every
package. It is a plain asyncio protocol, so that its own work hardly changes the measurement.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import anyio
import attrs
import httpx


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MODEL = "doubao-seedance-1-5-pro-251215"


@attrs.frozen(kw_only=True)
class Settings:
    """How the provider behaves. All times are in seconds, outages counted from the first create.

    Attributes:
        shortest: Shortest render.
        longest: Longest render.
        answer: Time that every answer takes.
        fault: What happens to status requests from *since* to *until*.
        dropped: Share of accepted creates whose answer never comes.
    """

    shortest: float
    longest: float
    answer: float = 0.03
    fault: str | None = None
    since: float = 0.0
    until: float = 0.0
    dropped: float = 0.0


@attrs.define
class Made:
    """A task at the provider."""

    id: str
    number: int
    token: str | None
    created: float
    ends: float


ABORT = b""
"""Instead of an answer, the connection is reset."""

WORDS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}


class Desk:
    """Decides the answer to each request; ``None`` means no answer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.origin = ""
        self.tasks: dict[str, Made] = {}
        self.asked: list[float] = []
        self._rng = random.Random(0)

    def answer(self, method: str, target: str, body: bytes) -> bytes | None:
        """Return the answer to a request, and note when a status was asked for."""
        now = time.time()
        path, _, query = target.partition("?")
        if path == "/report":
            return written(200, self.report())
        if method == "POST":
            return self._create(path, body, now)
        result = path.startswith("/peers/") and not path.endswith("/status")
        if not result:
            self.asked.append(now)
        return self._outage(now) if self._down(now) else self._status(path, query, now)

    def report(self) -> dict[str, Any]:
        """All tasks, the times of the status requests, and the CPU time used."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "tasks": [attrs.asdict(task) for task in self.tasks.values()],
            "asked": self.asked,
            "cpu": used.ru_utime + used.ru_stime,
        }

    def _down(self, now: float) -> bool:
        if self.settings.fault is None or not self.tasks:
            return False
        began = next(iter(self.tasks.values())).created
        return self.settings.since <= now - began < self.settings.until

    def _outage(self, now: float) -> bytes | None:
        error = {
            "error": {"code": "ServerOverloaded", "message": "try later", "type": "", "at": now}
        }
        match self.settings.fault:
            case "503":
                return written(503, error)
            case "503, nginx":
                return written(503, "<html><center>nginx</center></html>", kind="text/html")
            case "429":
                return written(429, error)
            case "429, Retry-After":
                return written(429, error, "retry-after: 5\r\n")
            case "resets":
                return ABORT
        return None

    def _create(self, path: str, body: bytes, now: float) -> bytes:
        number = int(re.search(rb"boat (\d+)", body)[1])  # type: ignore[index]
        token = re.search(rb'"safety_identifier": ?"([^"]+)"', body)
        render = random.Random(number).uniform(self.settings.shortest, self.settings.longest)
        task = Made(
            id=f"cgt-20261122120000-{len(self.tasks):05d}",
            number=number,
            token=None if token is None else token[1].decode(),
            created=now,
            ends=now + render,
        )
        self.tasks[task.id] = task
        if self._rng.random() < self.settings.dropped:
            return ABORT
        if path == "/v1/videos":
            return written(200, video(task, now))
        if path.startswith("/peers/"):
            here = f"{self.origin}/peers/video/requests/{task.id}"
            urls = {"response_url": here, "status_url": f"{here}/status", "cancel_url": f"{here}/x"}
            return written(200, {"request_id": task.id, **urls})
        return written(200, {"id": task.id, "safety_identifier": task.token})

    def _status(self, path: str, query: str, now: float) -> bytes:
        if path == "/api/v3/contents/generations/tasks":
            return self._list(parse_qs(query), now)
        task = self.tasks.get(path.removesuffix("/status").rpartition("/")[2])
        if task is None:
            return written(404, {"error": {"code": "ResourceNotFound", "message": path}})
        if path.startswith("/v1/"):
            return written(200, video(task, now))
        if path.endswith("/status"):
            done = now >= task.ends
            state = {"status": "COMPLETED" if done else "IN_PROGRESS", "logs": None}
            return written(200, {**state, "request_id": task.id})
        return written(200, row(task, now))

    def _list(self, query: dict[str, list[str]], now: float) -> bytes:
        ids = query.get("filter.task_ids")
        found = [self.tasks[i] for i in ids if i in self.tasks] if ids else [*self.tasks.values()]
        rows = [row(task, now) for task in reversed(found)]
        wanted = query.get("filter.status")
        rows = [each for each in rows if wanted is None or each["status"] in wanted]
        page, size = (
            int(query.get(k, [v])[0]) for k, v in (("page_num", "1"), ("page_size", "20"))
        )
        return written(200, {"items": rows[(page - 1) * size : page * size], "total": len(rows)})


def row(task: Made, now: float) -> dict[str, Any]:
    """A task in the form of Ark."""
    done = now >= task.ends
    result = {"content": {"video_url": f"https://videos.test/{task.id}.mp4"}, "duration": 5}
    return {
        "id": task.id,
        "model": MODEL,
        "status": "succeeded" if done else "running",
        "created_at": int(task.created),
        "updated_at": int(task.ends if done else task.created),
        "safety_identifier": task.token,
        **(result if done else {}),
    }


def video(task: Made, now: float) -> dict[str, Any]:
    """A task in the form of OpenAI."""
    done = now >= task.ends
    return {
        "id": task.id,
        "object": "video",
        "model": "sora-2",
        "status": "completed" if done else "in_progress",
        "progress": 100 if done else 50,
        "created_at": int(task.created),
        "size": "720x1280",
        "seconds": "4",
    }


def written(status: int, body: object, more: str = "", kind: str = "application/json") -> bytes:
    """An HTTP answer; text is sent as it is, everything else as JSON."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} {WORDS[status]}\r\ncontent-type: {kind}\r\n{more}"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Wire(asyncio.Protocol):
    """One connection: HTTP/1.1, kept alive, bodies with a ``Content-Length``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, for the answers."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Schedule the answer to every complete request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            last = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < last:
                return
            body = bytes(self._received[end + 4 : last])
            del self._received[:last]
            method, target, _ = head.decode("latin-1").split(" ", 2)
            answer = self._desk.answer(method, target, body)
            if answer is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(self._desk.settings.answer, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport.is_closing():
            return
        if answer is not ABORT:
            self._transport.write(answer)
            return
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def serve(settings: Settings) -> None:
    """Serve until killed; print the origin."""
    desk = Desk(settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Wire(desk), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    desk.origin = f"http://127.0.0.1:{port}"
    print(desk.origin, flush=True)
    await server.serve_forever()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Run a provider in its own process until the block is left; yields its origin."""
    command = [sys.executable, __file__, json.dumps(attrs.asdict(settings))]
    process = await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=None)
    try:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        yield (await process.stdout.receive()).decode().strip()
    finally:
        process.kill()
        await process.aclose()


async def report_of(origin: str) -> dict[str, Any]:
    """What has happened at a provider so far; see `Desk.report`."""
    async with httpx.AsyncClient(timeout=60) as http:
        answer: dict[str, Any] = (await http.get(f"{origin}/report")).json()
        return answer


if __name__ == "__main__":
    asyncio.run(serve(Settings(**json.loads(sys.argv[1]))))
