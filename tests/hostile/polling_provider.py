"""A provider that tells the state of its tasks as badly as it can, as a process of its own.

It is written from the description of the wire alone and imports nothing of the package, so no
mistake of the package can be in it, too. Its first argument is a JSON object with the settings of
`Provider`; it prints its port, and stops when its input closes. Every create passes.

``GET /told`` shows what really happened: when each task ended, and when which request came, both
on the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qs, urlsplit


HOUR = 3600.0
TASKS = "/contents/generations/tasks"
CHUNK = 200
"""Bytes that a slow link brings at once."""


class Provider:
    """All tasks of one account.

    Args:
        speed: Seconds that pass here in one real second.
        renders: Seconds that the tasks run, one after the other, again and again.
        at_once: How many run at a time.
        clock: ``right``, ``behind`` by five hours, ``steps`` by an hour to and fro, ``still``, or
            ``random``.
        times: ``seconds``, ``missing``, ``null``, ``milliseconds`` or ``words``.
        goes_back: Every so many answers about a running task say that it is queued.
        lag: Seconds by which lists are old.
        storm: Seconds of each minute in which everything is refused with 429.
        retry_after: What a 429 says of when to come again; nothing if empty.
        fails: The route that answers 500: ``lists``, ``gets``, or none.
        latency: Seconds until an answer begins.
        bandwidth: Bytes a second of an answer, 0 for a fast link.
    """

    def __init__(
        self,
        *,
        speed: float,
        renders: list[float],
        at_once: int = 1000,
        clock: str = "right",
        times: str = "seconds",
        goes_back: int = 0,
        lag: float = 0.0,
        storm: float = 0.0,
        retry_after: str = "",
        fails: str = "",
        latency: float = 0.0,
        bandwidth: float = 0.0,
    ) -> None:
        self.speed, self.renders, self.at_once = speed, renders, at_once
        self.clock, self.times, self.goes_back, self.lag = clock, times, goes_back, lag
        self.storm, self.retry_after, self.fails = storm, retry_after, fails
        self.latency, self.bandwidth = latency, bandwidth
        self.begun, self.epoch = time.monotonic(), time.time()
        self.lock = threading.Lock()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.places: deque[float] = deque([0.0] * at_once)
        self.log: list[tuple[float, str, int]] = []
        self.answers, self.rng = 0, random.Random(1)

    def now(self) -> float:
        """Seconds since the provider began, as its tasks count them."""
        return (time.monotonic() - self.begun) * self.speed

    def dated(self, at: float) -> object:
        """A time as answers show it."""
        if self.clock == "behind":
            at -= 5 * HOUR
        elif self.clock == "steps":
            at -= HOUR * (int(self.now() / 20.0) % 2)
        elif self.clock == "random":
            at += self.rng.uniform(-3 * HOUR, 3 * HOUR)
        elif self.clock == "still":
            at = 0.0
        seconds = int(self.epoch + at)
        return {
            "seconds": seconds, "milliseconds": 1000 * seconds, "words": "just now", "null": None,
        }.get(self.times)  # fmt: skip

    def create(self, body: bytes) -> tuple[int, object]:
        """Make a task. It starts when a place is free, first come, first served."""
        with self.lock:
            created = self.now()
            start = max(created, min(self.places))
            self.places.remove(min(self.places))
            end = start + self.renders[len(self.tasks) % len(self.renders)]
            self.places.append(end)
            name = f"cgt-{len(self.tasks):05d}"
            task = {"id": name, "model": json.loads(body)["model"], "created": created}
            self.tasks[name] = task | {"start": start, "end": end}
        return 200, {"id": name}

    def shown(self, task: dict[str, Any], at: float) -> dict[str, Any]:
        """A task as answers show it, as it was at a moment."""
        status, changed = "queued", task["created"]
        if at >= task["end"]:
            status, changed = "succeeded", task["end"]
        elif at >= task["start"]:
            status, changed = "running", task["start"]
            self.answers += 1
            if self.goes_back and self.answers % self.goes_back == 0:
                status = "queued"
        body = {"id": task["id"], "model": task["model"], "status": status}
        if self.times != "missing":
            body |= {"created_at": self.dated(task["created"]), "updated_at": self.dated(changed)}
        if status == "succeeded":
            body["content"] = {"video_url": f"http://127.0.0.1:9/{task['id']}.mp4"}
        return body

    def list(self, query: dict[str, list[str]]) -> tuple[int, object]:
        """Answer with one page of the list, the newest task first."""
        ids = query.get("filter.task_ids")
        with self.lock:
            at = self.now() - self.lag
            found = [
                task
                for name, task in reversed(self.tasks.items())
                if (ids is None or name in ids) and task["created"] <= at
            ]
            size = int(query.get("page_size", ["20"])[0])
            begin = (int(query.get("page_num", ["1"])[0]) - 1) * size
            items = [self.shown(task, at) for task in found[begin : begin + size]]
        return 200, {"items": items, "total": len(found)}

    def answer(self, verb: str, target: str, body: bytes) -> tuple[int, object]:
        """Answer one request."""
        url = urlsplit(target)
        if url.path == "/told":
            ends = {
                name: self.begun + each["end"] / self.speed for name, each in self.tasks.items()
            }
            return 200, {"ends": ends, "log": self.log}
        if verb == "POST":
            return self.create(body)
        lists = url.path.endswith(TASKS)
        query = parse_qs(url.query)
        asked = len(query.get("filter.task_ids", [])) if lists else 1
        self.log.append((time.monotonic(), "lists" if lists else "gets", asked))
        if self.now() % 60.0 < self.storm:
            return 429, error("RateLimitExceeded")
        if self.fails == ("lists" if lists else "gets"):
            return 500, error("InternalServiceError")
        if lists:
            return self.list(query)
        task = self.tasks.get(url.path.rpartition("/")[2])
        with self.lock:
            return (
                (404, error("ResourceNotFound"))
                if not task
                else (200, self.shown(task, self.now()))
            )

    def serve(self, connection: socket.socket) -> None:
        """Answer all requests of one connection."""
        with connection, connection.makefile("rb") as received:
            while head := received.readline():
                verb, target, _ = head.decode().split(" ")
                length = 0
                while (line := received.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                status, body = self.answer(verb, target, received.read(length))
                text = json.dumps(body)
                lines = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(text)}\r\n"
                if status == 429 and self.retry_after:
                    lines += f"Retry-After: {self.retry_after}\r\n"
                self.send(connection, f"{lines}\r\n{text}".encode(), slow=verb == "GET")

    def send(self, connection: socket.socket, data: bytes, *, slow: bool) -> None:
        """Send an answer as fast as the link is."""
        if slow:
            time.sleep(self.latency / self.speed)
        size = CHUNK if slow and self.bandwidth else len(data)
        for begin in range(0, len(data), size):
            connection.sendall(data[begin : begin + size])
            if slow and self.bandwidth:
                time.sleep(size / self.bandwidth / self.speed)


def error(code: str) -> dict[str, Any]:
    """The body of a refusal."""
    return {"error": {"code": code, "message": "no", "param": "", "type": "Told"}}


def listen(provider: Provider) -> None:
    """Serve for ever, each connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(provider, connection), daemon=True).start()


def serve(provider: Provider, connection: socket.socket) -> None:
    """Serve one connection, which the other side may break at any moment."""
    try:
        provider.serve(connection)
    except OSError:
        connection.close()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    threading.Thread(target=listen, args=(Provider(**settings),), daemon=True).start()
    sys.stdin.read()
