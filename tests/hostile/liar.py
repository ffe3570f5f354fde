"""A provider whose lists and ids lie, as a process of its own, on raw sockets.

Run it as ``python -m hostile.liar`` in the folder of the tests, with its speed as the argument. It
prints its port, and stops when its input closes. Each API key is one account. The word before the
first slash of the key names the lie of its lists (see ``hostile.lies``), or is ``no-list``. A key
with the word ``mute`` at its end gets answers about single tasks without marks.
``GET /bill/<key>`` shows what was made for a key. After ``GET /truth/<key>`` its lists are honest.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hostile.account import Account
from hostile.lies import LIES, Answer


TASKS = "/contents/generations/tasks"


class Server:
    """All accounts."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.start, self.epoch = time.monotonic(), time.time()
        self.lock = threading.Lock()
        self.accounts: dict[str, Account] = {}

    def now(self) -> float:
        """The time at the provider, in Unix seconds."""
        return self.epoch + (time.monotonic() - self.start) * self.speed

    def account(self, key: str) -> Account:
        """The account of a key."""
        if key not in self.accounts:
            lie = LIES.get(key.split("/", maxsplit=1)[0])
            self.accounts[key] = Account(lie, echo=not key.endswith("mute"))
        return self.accounts[key]

    def answer(self, verb: str, target: str, key: str, body: bytes) -> Answer | None:
        """Answer one request; nothing means that the connection is closed."""
        url = urlsplit(target)
        with self.lock:
            if url.path.startswith("/bill/"):
                account = self.account(unquote(url.path.removeprefix("/bill/")))
                return Answer(200, {"tasks": account.bill(), "posts": account.posts})
            if url.path.startswith("/truth/"):
                self.account(unquote(url.path.removeprefix("/truth/"))).lie = LIES["honest"]
                return Answer(200, {})
            tail = url.path.partition(TASKS)[2].removeprefix("/")
            order = json.loads(body) if body else None
            return self.account(key).answer(verb, tail, parse_qs(url.query), order, self.now())

    def serve(self, connection: socket.socket) -> None:
        """Answer all requests of one connection."""
        with connection, connection.makefile("rb") as received:
            while head := received.readline():
                verb, target, _ = head.decode().split(" ")
                fields = dict(_fields(received))
                length = int(fields.get("content-length", 0))
                body = received.read(length)
                if len(body) < length:
                    return  # the other side has given up, so the request never arrived
                key = fields.get("authorization", "").removeprefix("Bearer ")
                answer = self.answer(verb, target, key, body)
                if answer is None:
                    return
                if answer.delay is None:
                    connection.recv(1)  # until the other side has enough of it
                    return
                time.sleep(answer.delay / self.speed)
                connection.sendall(_message(answer))


def _fields(received: Any):
    while (line := received.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        yield name.lower(), value.strip()


def _message(answer: Answer) -> bytes:
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    body = text.encode()
    return f"HTTP/1.1 {answer.status} Told\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def listen(server: Server) -> None:
    """Serve for ever, each connection in a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(server, connection), daemon=True).start()


def serve(server: Server, connection: socket.socket) -> None:
    """Serve one connection, which the other side may break at any moment."""
    try:
        server.serve(connection)
    except OSError:
        connection.close()


if __name__ == "__main__":
    threading.Thread(target=listen, args=(Server(float(sys.argv[1])),), daemon=True).start()
    sys.stdin.read()
