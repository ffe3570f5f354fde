"""How many modules are entered on the way of a create, of an answer, and of a lost answer.

What is counted: each time a function of the package is called, or a coroutine of it goes on, its
file is noted. A *module* is a file that was noted; a *change* is a note of another file than that
of the note before. Returns are not noted, so a call into another file and back is one change,
unless the caller calls on. Comprehensions and generator expressions belong to the function that
they stand in, since not every Python makes frames for them; the body of a module belongs to its
import. Files outside the package are passed over, and so are methods that attrs has written, which
have no file. Caches are empty at the start, and work for threads is done in place: both would make
the numbers depend on what ran before.
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


MOST_MODULES = {"submit_many to POST": 49, "status request to waiter": 28, "lost answer to id": 36}
MOST_CHANGES = {"submit_many to POST": 151}
"""Today's numbers, lowered as they fall. Targets: 32 modules with 100 changes, 18, and 25."""

ROOT = Path(callsheet.__file__).parent

WITHIN = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"}
"""Code that belongs to the function, or the import, that it stands in."""


class Route:
    """The files that are entered between `begin` and `end`, in order."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def begin(self) -> None:
        """Note from here on."""
        self.files.clear()
        gc.disable()  # it would call what cleans up, at any moment
        sys.setprofile(self._note)

    def end(self) -> None:
        """Note no more."""
        sys.setprofile(None)
        gc.enable()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name not in WITHIN:
            file = Path(code.co_filename)
            if file.is_relative_to(ROOT):
                self.files.append(file.relative_to(ROOT).as_posix())

    def check(self, name: str) -> None:
        """Fail if it is longer than it was, and print it."""
        steps = [file for file, _ in groupby(self.files)]
        modules, changes = len(set(steps)), len(steps)
        said = f"{name}: {modules} modules, {changes} changes"
        way = "\n".join(["", said, *steps])
        assert self.files, "nothing was noted"
        assert modules <= MOST_MODULES[name], way
        assert changes <= MOST_CHANGES.get(name, changes), way


class Provider(httpx.AsyncBaseTransport):
    """Has one task, which is done by the time somebody asks."""

    def __init__(self, *, lose: Callable[[], None] | None = None) -> None:
        self.lose = lose
        self.met: dict[str, Callable[[], None]] = {}
        self.posted = anyio.Event()
        self.task: dict[str, object] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once; tell who wants to know of a method for the first time."""
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
    """Asyncio alone: trio runs what is ready in any order."""
    return BACKENDS["asyncio"]()


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch):
    """A route whose numbers depend on nothing that ran before, nor on threads."""

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
    """A client with a journal, whose tasks carry marks that a list shows."""
    journal = tmp_path / "shoot.db"
    return Client(provider="ark", api_key="k" * 20, transport=provider, journal=journal)


async def test_a_create_enters_few_modules(route: Route, tmp_path: Path):
    """From `submit_many` to the POST, its check, its price and its notes included."""
    provider = Provider()
    provider.met["POST"] = route.end
    async with client(provider, tmp_path) as c:
        await anyio.sleep(1)  # what a client does by itself at first is over
        route.begin()
        await c.submit_many([TaskSpec("a boat")])
        await provider.posted.wait()
    route.check("submit_many to POST")


async def test_a_queued_spec_is_not_looked_up_in_the_catalog(route: Route, tmp_path: Path):
    """Its check and its price are done when `submit_many` returns: none of that is left to do."""
    provider = Provider()
    provider.met["POST"] = route.end
    async with client(provider, tmp_path) as c:
        await c.submit_many([TaskSpec("a boat")])
        route.begin()
        await provider.posted.wait()
    assert not [file for file in route.files if file.startswith("_catalog/")]
    assert any(file.endswith("/ledger.py") for file in route.files), "it was let through unseen"


async def test_an_answer_passes_few_modules(route: Route, tmp_path: Path):
    """From the moment a status request has left to the waiter of its task."""
    provider = Provider()
    async with client(provider, tmp_path) as c:
        handle = await c.submit(TaskSpec("a boat"))
        provider.met["GET"] = route.begin
        await handle
        route.end()
    route.check("status request to waiter")


async def test_a_lost_answer_passes_few_modules(route: Route, tmp_path: Path):
    """From the error of the POST to the caller who gets the id that the list has shown."""
    provider = Provider(lose=route.begin)
    async with client(provider, tmp_path) as c:
        await anyio.sleep(1)
        handle = await c.submit(TaskSpec("a boat"))
        route.end()
        assert handle.task_id == "cgt-1"
    route.check("lost answer to id")
