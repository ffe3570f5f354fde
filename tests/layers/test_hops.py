"""How many modules are entered for a create, for an answer and for a lost answer.

Each time a function of the package is called, or a coroutine of the package continues, its file
is noted. A *module* is a file that was noted. A *change* is a note of a different file than the
note before. Returns are not noted, so a call into another file and back is one change, unless the
caller makes another call. Comprehensions and generator expressions count as part of the function
that contains them, because not every Python makes frames for them. The body of a module counts as
part of its import. Files outside the package are ignored, and so are methods that attrs has
written, because they have no file. Caches are empty at the start, and work for threads is done in
the same thread; else the numbers would depend on what ran before.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

import callsheet
from callsheet import Client, TaskSpec
from conftest import BACKENDS


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


MOST_MODULES = {"submit_many to POST": 27, "status request to waiter": 18, "lost answer to id": 25}
MOST_CHANGES = {"submit_many to POST": 97}
"""What was reached. The targets are 32 modules with 100 changes, 18, and 25."""

ROOT = Path(callsheet.__file__).parent

WITHIN = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"}
"""Code that is counted as part of the function or the import that contains it."""


class Route:
    """The files that are entered between `begin` and `end`, in order."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def begin(self) -> None:
        """Start to note files."""
        self.files.clear()
        gc.disable()  # because it could call finalizers at any time
        sys.setprofile(self._note)

    def end(self) -> None:
        """Stop to note files."""
        sys.setprofile(None)
        gc.enable()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name not in WITHIN:
            file = Path(code.co_filename)
            if file.is_relative_to(ROOT):
                self.files.append(file.relative_to(ROOT).as_posix())

    def check(self, name: str) -> None:
        """Fail if the route is longer than its limit, and print its length."""
        steps = [file for file, _ in groupby(self.files)]
        modules, changes = len(set(steps)), len(steps)
        said = f"{name}: {modules} modules, {changes} changes"
        way = "\n".join(["", said, *steps])
        assert self.files, "nothing was noted"
        assert modules <= MOST_MODULES[name], way
        assert changes <= MOST_CHANGES.get(name, changes), way


class Provider(httpx.AsyncBaseTransport):
    """A provider with one task, which has ended by its first poll."""

    def __init__(self, *, lose: Callable[[], None] | None = None) -> None:
        self.lose = lose
        self.met: dict[str, Callable[[], None]] = {}
        self.posted = anyio.Event()
        self.task: dict[str, object] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once, and wake whoever waits for the first request of this method."""
        self.met.pop(request.method, lambda: None)()
        if request.method == "POST":
            self.posted.set()
            return self.create(json.loads(request.content))
        assert request.method == "GET"
        many = request.url.path.endswith("/tasks")
        return httpx.Response(200, json={"items": [self.task], "total": 1} if many else self.task)

    def create(self, body: dict[str, object]) -> httpx.Response:
        """Make the task; its answer may be lost."""
        self.task = {
            "id": "cgt-1",
            "model": body["model"],
            "safety_identifier": body["safety_identifier"],
            "created_at": int(time.time()),
            "status": "succeeded",
            "content": {"video_url": "https://storage.test/cgt-1.mp4"},
        }
        if self.lose is not None:
            self.lose()
            raise httpx.ReadError("connection reset")
        return httpx.Response(200, json={"id": "cgt-1"})


@pytest.fixture
def anyio_backend():
    """Asyncio only, because trio runs ready tasks in any order."""
    return BACKENDS["asyncio"]()


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch):
    """A route whose numbers depend neither on earlier tests nor on threads."""

    async def in_place(work: Callable[..., object], *args: object, **_: object) -> object:
        await anyio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", in_place)
    for name, module in [*sys.modules.items()]:
        for value in [*vars(module).values()] if name.startswith("callsheet") else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    route = Route()
    yield route
    route.end()


def client(provider: Provider, tmp_path: Path) -> Client:
    """A client with a journal, whose provider lists its tasks with their marks."""
    journal = tmp_path / "shoot.db"
    return Client(provider="ark", api_key="k" * 20, transport=provider, journal=journal)


async def test_a_create_enters_few_modules(route: Route, tmp_path: Path):
    """This counts from `submit_many` to the POST, with check, price and journal."""
    provider = Provider()
    provider.met["POST"] = route.end
    async with client(provider, tmp_path) as c:
        await anyio.sleep(1)  # the work at the start of the client is done
        route.begin()
        await c.submit_many([TaskSpec("a boat")])
        await provider.posted.wait()
    route.check("submit_many to POST")


async def test_a_queued_spec_is_not_looked_up_in_the_catalog(route: Route, tmp_path: Path):
    """When `submit_many` returns, the spec is checked and priced, so no look-up is left."""
    provider = Provider()
    provider.met["POST"] = route.end
    async with client(provider, tmp_path) as c:
        await c.submit_many([TaskSpec("a boat")])
        route.begin()
        await provider.posted.wait()
    assert not [file for file in route.files if file.startswith("_catalog/")]
    assert any(file.endswith("/spend.py") for file in route.files), "it was let through unseen"


async def test_an_answer_enters_few_modules(route: Route, tmp_path: Path):
    """This counts from a sent status request to the waiter of its task."""
    provider = Provider()
    async with client(provider, tmp_path) as c:
        handle = await c.submit(TaskSpec("a boat"))
        provider.met["GET"] = route.begin
        await handle
        route.end()
    route.check("status request to waiter")


async def test_a_lost_answer_enters_few_modules(route: Route, tmp_path: Path):
    """This counts from the error of the POST to the caller who gets the id from a list."""
    provider = Provider(lose=route.begin)
    async with client(provider, tmp_path) as c:
        await anyio.sleep(1)
        handle = await c.submit(TaskSpec("a boat"))
        route.end()
        assert handle.task_id == "cgt-1"
    route.check("lost answer to id")
