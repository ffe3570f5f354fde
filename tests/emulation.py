"""The emulator in this process, in virtual time, behind a transport that can be made to fail."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import attrs
import httpx

from callsheet import Client, Provider
from callsheet._catalog import PROVIDERS
from callsheet.emulator import ConnectionCut, Emulator, Post, Settings


Fault = Callable[[httpx.Request], Awaitable[httpx.Response | None]]
"""Answers in the emulator's place, raises, or returns ``None`` to let the request through."""

Change = Callable[[httpx.Request, httpx.Response], httpx.Response | None]
"""Answers in the place of an answer of the emulator, or returns ``None`` to leave it alone."""

ARK: Provider = attrs.evolve(
    PROVIDERS["emulator"], base_url="http://emulator.test/api/v3", speed=1.0
)
COMET: Provider = attrs.evolve(
    PROVIDERS["cometapi"], base_url="http://emulator.test/volc/v3", key_variable=None
)

CUTS = {"reset": httpx.ReadError, "close": httpx.RemoteProtocolError}

FOREVER = 10_000_000.0


class Wire(httpx.AsyncBaseTransport):
    """The emulator as a transport. It keeps the requests, and can replace or lose answers.

    With *post*, and while `Emulator.send_callbacks` runs, callbacks are sent there. The provider's
    clock, which shows whole seconds, starts at this *fraction* of a second.
    """

    def __init__(
        self,
        *,
        latency: float = 0.03,
        post: Post | None = None,
        fraction: float = 0.5,
        **settings: object,
    ) -> None:
        settings.setdefault("epoch", math.floor(time.time()) + fraction)
        posts = {} if post is None else {"post": post}
        self.emulator = Emulator(Settings(**settings), clock=anyio.current_time, **posts)
        self.latency = latency
        self.seen: list[httpx.Request] = []
        self.times: list[float] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self.fault: Fault | None = None
        self.change: Change = lambda _request, _response: None
        self.lose: Callable[[httpx.Request], Exception | None] = lambda _: None
        self._asgi = httpx.ASGITransport(app=self.emulator.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.seen.append(request)
        self.times.append(anyio.current_time())
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            return await self._answer(request)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(self.latency / 2)
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        try:
            response = await self._ask(request)
        except ConnectionCut as cut:
            await anyio.sleep(self.latency / 2)
            raise CUTS[cut.how]("the connection was cut") from None
        await anyio.sleep(self.latency / 2)
        lost = self.lose(request)
        if lost is not None:
            raise lost
        return self.change(request, response) or response

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        return await self._asgi.handle_async_request(request)

    def sent(self, method: str) -> list[httpx.Request]:
        """All requests with this method, in order."""
        return [request for request in self.seen if request.method == method]

    def sent_at(self, method: str) -> list[float]:
        """When the requests with this method were sent."""
        pairs = zip(self.times, self.seen, strict=True)
        return [at for at, request in pairs if request.method == method]

    @property
    def prompts(self) -> list[str]:
        """The prompts of all creates that were sent, repeated ones included."""
        return [prompt_of(request) for request in self.sent("POST")]


class ManyTasksWire(Wire):
    """An emulator whose lists also show thousands of tasks that it has not made.

    It would take the emulator a minute to make so many, so these are only rows of text. They are
    running, have marks, and can be read by id.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self._rows: dict[str, tuple[int, str]] = {}
        self._listed: list[tuple[int, str]] = []

    def add_tasks(self, count: int) -> list[str]:
        """Add so many tasks, created now, and return their ids."""
        now, first_new = int(self.emulator.now()), len(self._rows)
        ids = [f"other-{number}" for number in range(first_new, first_new + count)]
        model = ARK.default_model
        for task_id in ids:
            row = {"id": task_id, "model": model, "status": "running", "created_at": now}
            row |= {"updated_at": now, "safety_identifier": f"of-{task_id}"}
            self._rows[task_id] = (now, json.dumps(row))
        self._listed = list(self._rows.values())[::-1]
        return ids

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        task_id = request.url.path.rpartition("/")[2]
        if request.method == "GET" and task_id in self._rows:
            return httpx.Response(200, content=self._rows[task_id][1])
        if not is_list(request):
            return await super()._ask(request)
        everything = request.url.copy_merge_params({"page_num": "1", "page_size": "500"})
        made = body_of(
            await super()._ask(httpx.Request("GET", everything, headers=request.headers))
        )
        mine = [(row["created_at"], json.dumps(row)) for row in made["items"]]
        ids = listed_ids(request)
        others = [self._rows[each] for each in ids if each in self._rows] if ids else self._listed
        rows = sorted(mine + others, key=lambda row: -row[0])
        num, size = (int(request.url.params[f"page_{name}"]) for name in ("num", "size"))
        page = ", ".join(text for _, text in rows[(num - 1) * size : num * size])
        return httpx.Response(200, content=f'{{"items": [{page}], "total": {len(rows)}}}')


def client(
    wire: httpx.AsyncBaseTransport, *, provider: Provider = ARK, **options: object
) -> Client:
    """A client whose provider is the emulator behind *wire*."""
    return Client(provider=provider, transport=wire, **options)


def prompt_of(request: httpx.Request) -> str:
    """The prompt that a create sends."""
    return json.loads(request.content)["content"][0]["text"]


def listed_ids(request: httpx.Request) -> list[str]:
    """The ids that a list request names."""
    return request.url.params.get_list("filter.task_ids")


def is_list(request: httpx.Request) -> bool:
    """Whether a request asks about many tasks."""
    return request.method == "GET" and request.url.path.endswith("/tasks")


def refusal(
    status: int, code: str, message: str = "no", headers: dict[str, str] | None = None
) -> httpx.Response:
    """A refusal as Ark writes it."""
    body = {"error": {"code": code, "message": message, "param": "", "type": "BadRequest"}}
    return httpx.Response(status, json=body, headers=headers)


def body_of(response: httpx.Response) -> Any:
    """The JSON of the emulator's answer, whose stream has one piece.

    An answer that is not JSON, such as the page of a missing route, gives an empty object.
    """
    text = b"".join(response.stream._body)
    return json.loads(text) if text.startswith(b"{") else {}


def first(count: int, answer: Callable[[], httpx.Response], *, method: str = "POST") -> Fault:
    """A fault that answers the first *count* requests with this method."""
    left = count

    async def fault(request: httpx.Request) -> httpx.Response | None:
        nonlocal left
        if request.method != method or left == 0:
            return None
        left -= 1
        return answer()

    return fault


class Script(httpx.AsyncBaseTransport):
    """Gives its answers in order, and repeats the last one."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.answers: Iterable[Any] = list(answers)
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.seen.append(request)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        await anyio.sleep(0.01)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer
