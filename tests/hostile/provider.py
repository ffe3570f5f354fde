"""A provider that behaves as badly as it can, as a process of its own.

It is written from the description of the wire alone and imports nothing of the package, so no
mistake of the package can be in it, too. Its first argument is a JSON object with ``speed``,
``seed``, ``lists`` and ``ways``; it prints its port, and stops when its input closes.

What it does to a create, chosen from ``ways``:

* ``honest``: it makes a task and answers with its id.
* ``eager``: it sends the callback before the answer.
* ``dropped``, ``lost``: it closes the connection; nothing, or a task, was made.
* ``failed``: it makes a task and answers with a 502.
* ``busy``: it refuses the create with a 429, and nothing is made.
* ``liar``: it makes a task, sends the callback, and answers with a 429.
* ``doubled``: a gateway repeats the create, both tasks are made, and the answer is lost.
* ``twin``: it makes a task and answers with the id of one that another create has got before.

``GET /bill`` shows every task, whoever it is of.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit


QUEUED, RENDERED = 2.0, 60.0
"""Seconds after its create at which a task starts to run, and at which it has ended."""

KNOWN = 10.0
"""Seconds after which an answer has surely arrived."""

TOKENS = 108_900
TASKS = "/contents/generations/tasks"


class Provider:
    """All tasks of one account."""

    def __init__(self, *, speed: float, seed: int, lists: bool, ways: list[str]) -> None:
        self.speed, self.lists, self.ways = speed, lists, ways
        self.start, self.epoch = time.monotonic(), time.time()
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        self.tasks: list[dict[str, Any]] = []
        self.creates = 0

    def now(self) -> float:
        """The time at the provider, in Unix seconds."""
        return self.epoch + (time.monotonic() - self.start) * self.speed

    def shown(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task as answers show it now."""
        age = self.now() - task["created"]
        status = task["end"] or ("queued" if age < QUEUED else "running")
        if task["end"] is None and age >= RENDERED:
            status = task["end"] = "succeeded"
        body = {key: task[key] for key in ("id", "model", "safety_identifier") if task[key]}
        body |= {"status": status, "created_at": int(task["created"])}
        body["updated_at"] = int(task["created"] + min(age, RENDERED))
        if status == "succeeded":
            body["content"] = {"video_url": f"http://127.0.0.1:9/{task['id']}.mp4"}
            body["usage"] = {"completion_tokens": TOKENS, "total_tokens": TOKENS}
        return body

    def make(self, order: dict[str, Any]) -> dict[str, Any]:
        """Make one task."""
        task = {
            "id": f"cgt-{len(self.tasks):05d}-{self.rng.randrange(10**6):06d}",
            "model": order["model"],
            "prompt": order["content"][0]["text"],
            "safety_identifier": order.get("safety_identifier"),
            "callback_url": order.get("callback_url"),
            "created": self.now(),
            "answered": False,
            "end": None,
        }
        self.tasks.append(task)
        return task

    def create(self, body: bytes) -> tuple[int, object] | None:
        """Answer a create; nothing means that the connection is closed."""
        order = json.loads(body)
        with self.lock:
            way = self.ways[self.creates % len(self.ways)]
            self.creates += 1
            if way == "dropped":
                return None
            if way == "busy":
                return 429, error("ServerOverloaded")
            known = (task for task in self.tasks if task["answered"])
            before = [task for task in known if self.now() - task["created"] > KNOWN]
            made = [self.make(order) for _ in range(2 if way == "doubled" else 1)]
        if way in {"eager", "liar"}:
            self.call_back(made[0])
        if way in {"lost", "doubled"}:
            return None
        refusals = {"failed": (502, "<html>bad gateway</html>")}
        if made[0]["callback_url"]:
            refusals["liar"] = (429, error("ServerOverloaded"))
        if way in refusals:
            return refusals[way]
        told = before if way == "twin" and before else made
        told[0]["answered"] = True
        return 200, {"id": told[0]["id"]}

    def call_back(self, task: dict[str, Any]) -> None:
        """Send a callback, and wait for the answer."""
        if not task["callback_url"]:
            return
        url, body = urlsplit(task["callback_url"]), json.dumps(self.shown(task)).encode()
        with socket.create_connection((url.hostname, url.port), timeout=5) as receiver:
            receiver.sendall(
                f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            receiver.recv(1000)

    def list(self, query: dict[str, list[str]]) -> tuple[int, object]:
        """Answer with one page of the list, the newest task first."""
        if not self.lists:
            return 404, "<html>no such page</html>"
        ids = query.get("filter.task_ids")
        with self.lock:
            found = [task for task in reversed(self.tasks) if ids is None or task["id"] in ids]
            if query.get("filter.service_tier", ["default"]) != ["default"]:
                found = []
            size = int(query.get("page_size", ["20"])[0])
            begin = (int(query.get("page_num", ["1"])[0]) - 1) * size
            items = [self.shown(task) for task in found[begin : begin + size]]
        return 200, {"items": items, "total": len(found)}

    def one(self, verb: str, task_id: str) -> tuple[int, object]:
        """Answer a request about one task."""
        with self.lock:
            task = next((each for each in self.tasks if each["id"] == task_id), None)
            if task is None:
                return 404, error("ResourceNotFound")
            status = self.shown(task)["status"]
            if verb == "GET":
                return 200, self.shown(task)
            if status != "queued":
                return 409, error("InvalidAction.RunningTaskDeletion")
            task["end"] = "cancelled"
            return 200, {}

    def answer(self, verb: str, target: str, body: bytes) -> tuple[int, object] | None:
        """Answer one request."""
        url = urlsplit(target)
        if url.path == "/bill":
            with self.lock:
                shown = [self.shown(task) | {"prompt": task["prompt"]} for task in self.tasks]
            return 200, {"tasks": shown, "creates": self.creates}
        if not url.path.endswith(TASKS):
            return self.one(verb, url.path.rpartition("/")[2])
        return self.create(body) if verb == "POST" else self.list(parse_qs(url.query))

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
                answer = self.answer(verb, target, received.read(length))
                if answer is None:
                    return
                status, body = answer
                text = body if isinstance(body, str) else json.dumps(body)
                connection.sendall(
                    f"HTTP/1.1 {status} Told\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
                )


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
