"""Thousands of tasks in one client do not block the event loop, and waiting costs no coroutine."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest

from callsheet import AuthenticationError, Client, Limits, Polling, TaskSpec
from callsheet._runtime.intake import Intake
from callsheet.events import TaskSettled
from emulation import ARK, is_list, listed_ids, refusal


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator


MANY = 3_000

PIECES = 3
"""The most pieces of work before another coroutine that starts at the same time runs."""

FREE = Limits(
    creates_per_minute=1e9, gets_per_second=1e9, lists_per_second=1e9, cancels_per_second=1e9
)


class Provider(httpx.AsyncBaseTransport):
    """A provider that gives the same status for every task."""

    def __init__(self, status: str = "queued") -> None:
        self.status = status
        self.created = 0
        self.refused = False
        self.cancelled: list[str] = []
        self.cancelling = self.most_cancelling = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "DELETE":
            self.cancelling += 1
            self.most_cancelling = max(self.most_cancelling, self.cancelling)
        await anyio.sleep(0.001)
        if self.refused:
            return refusal(401, "AuthenticationError")
        if request.method == "POST":
            self.created += 1
            return httpx.Response(200, json={"id": f"cgt-{self.created}"})
        task_id = request.url.path.rpartition("/")[2]
        if request.method == "DELETE":
            self.cancelling -= 1
            self.cancelled.append(task_id)
            return httpx.Response(200, json={})
        ids = listed_ids(request) if is_list(request) else [task_id]
        rows = [self._row(each) for each in ids]
        body = {"items": rows, "total": len(rows)} if is_list(request) else rows[0]
        return httpx.Response(200, content=json.dumps(body).encode())

    def _row(self, task_id: str) -> dict[str, object]:
        status = "cancelled" if task_id in self.cancelled else self.status
        content = {"video_url": f"https://storage.test/{task_id}"}
        return {"id": task_id, "status": status, "content": content}


def client(provider: Provider, **options: object) -> Client:
    """A client with very high quotas."""
    known = attrs.evolve(ARK, limits=FREE)
    return Client(provider=known, transport=provider, polling=Polling(delay=0.5), **options)


@attrs.define
class Turns:
    """Another coroutine, which counts the events between two of its turns.

    The first event wakes it, but more may happen before it runs.
    """

    most: int = 0
    _since: int = 0
    _something: anyio.Event = attrs.field(factory=anyio.Event)

    def note(self) -> None:
        """Count an event."""
        self._since += 1
        self.most = max(self.most, self._since)
        self._something.set()

    async def run(self) -> None:
        """Run once after each event."""
        while True:
            await self._something.wait()
            self._something, self._since = anyio.Event(), 0

    @classmethod
    @asynccontextmanager
    async def taken(cls) -> AsyncGenerator[Turns]:
        """Run until the block ends."""
        made = cls()
        async with anyio.create_task_group() as others:
            others.start_soon(made.run)
            yield made
            others.cancel_scope.cancel()


def ids(count: int) -> list[str]:
    """Ids of tasks that were created earlier."""
    return [f"cgt-{number}" for number in range(count)]


async def test_others_get_turns_while_specs_are_made_and_checked():
    """Specs are taken from a generator and checked a few hundred at a time."""
    async with client(Provider()) as c, Turns.taken() as turns:

        def specs() -> Iterator[TaskSpec]:
            for number in range(MANY):
                turns.note()
                yield TaskSpec(f"boat {number}")

        batch = await c.submit_many(specs())
        assert len(batch) == MANY
    assert 1 < turns.most <= PIECES * 500


async def test_a_submission_that_is_cancelled_while_specs_are_checked_sends_nothing():
    """A `submit_many` that is cancelled before it returns has sent nothing."""
    provider = Provider()
    async with client(provider) as c:
        with anyio.CancelScope() as scope:

            def specs() -> Iterator[TaskSpec]:
                for number in range(MANY):
                    if number == MANY // 2:
                        scope.cancel()
                    yield TaskSpec(f"boat {number}")

            await c.submit_many(specs())
        assert scope.cancelled_caught
        await anyio.sleep(60)
    assert provider.created == 0


async def test_others_get_turns_while_a_list_is_read():
    """The ends in one answer are applied a few at a time."""
    async with Turns.taken() as turns:

        def note(event: object) -> None:
            if isinstance(event, TaskSettled):
                turns.note()

        async with client(Provider("succeeded"), observer=note) as c:
            result = await c.attach_many(ids(MANY)).result()
    assert len(result) == MANY
    assert turns.most <= PIECES * 10


async def test_others_get_turns_while_a_finished_batch_is_read():
    """Reading outcomes that exist already, one by one or together, lets other coroutines run."""
    async with client(Provider("succeeded")) as c:
        batch = c.attach_many(ids(MANY))
        await batch.result()
        async with Turns.taken() as turns:
            seen = 0
            async for outcome in batch.as_completed():
                assert outcome.ok
                turns.note()
                seen += 1
        assert seen == MANY
        assert turns.most <= PIECES * 100
        for read in (batch.result, batch.submitted):
            taken = 0

            async def count() -> None:
                nonlocal taken
                while True:
                    taken += 1
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as others:
                others.start_soon(count)
                assert len(await read()) == MANY
                others.cancel_scope.cancel()
            assert taken >= MANY / 500 - 1


async def test_others_get_turns_while_all_tasks_are_given_up():
    """A key that stays refused ends all tasks, some at a time."""
    provider = Provider()
    async with Turns.taken() as turns:

        def note(event: object) -> None:
            if isinstance(event, TaskSettled):
                turns.note()

        async with client(provider, observer=note) as c:
            batch = c.attach_many(ids(MANY))
            await anyio.sleep(5)
            provider.refused = True
            result = await batch.result()
    assert all(isinstance(outcome.error, AuthenticationError) for outcome in result)
    assert turns.most <= PIECES * 10


async def test_others_get_turns_while_a_batch_is_withdrawn():
    """Unsent specs are withdrawn some at a time, and none of them is sent."""
    provider = Provider()
    slow = attrs.evolve(FREE, creates_per_minute=1)
    async with Turns.taken() as turns:

        def note(event: object) -> None:
            if isinstance(event, TaskSettled):
                turns.note()

        async with client(provider, observer=note, limits=slow) as c:
            batch = await c.submit_many(TaskSpec(f"boat {n}") for n in range(MANY))
            await anyio.sleep(1)
            assert await batch.cancel() == MANY
    assert provider.created == len(provider.cancelled) == 1
    assert turns.most <= PIECES * 100


async def test_a_large_batch_is_cancelled_some_tasks_at_a_time():
    """Only a few dozen cancels are in flight at once, however many tasks there are."""
    provider = Provider()
    async with client(provider, limits=attrs.evolve(FREE, connections=1_000)) as c:
        batch = c.attach_many(ids(300))
        assert await batch.cancel() == 300
    assert sorted(provider.cancelled) == sorted(ids(300))
    assert 1 < provider.most_cancelling <= 32


@pytest.mark.parametrize("count", [10, MANY])
async def test_a_pending_task_has_no_coroutine(count):
    """Only the poller and the submitter run, however many tasks are pending."""
    async with client(Provider()) as c:
        await anyio.sleep(1)
        before = len(anyio.get_running_tasks())
        batch = c.attach_many(ids(count))
        await anyio.sleep(30)
        assert batch.progress.queued == count
        assert len(anyio.get_running_tasks()) == before


async def test_others_get_turns_while_a_journal_of_finished_tasks_is_resumed(tmp_path, monkeypatch):
    """Entries of finished tasks are read a few at a time."""
    path = tmp_path / "journal"
    async with client(Provider("succeeded"), journal=path) as c:
        batch = await c.submit_many([TaskSpec("boat")] * MANY)
        await batch.result()
    made = 0
    make = Intake.record

    def counted(*args, **options):
        nonlocal made
        made += 1
        return make(*args, **options)

    monkeypatch.setattr(Intake, "record", counted)
    async with client(Provider(), journal=path) as c:
        most = seen = 0

        async def look() -> None:
            nonlocal most, seen
            while True:
                most, seen = max(most, made - seen), made
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as others:
            others.start_soon(look)
            resumed = await c.resume()
            others.cancel_scope.cancel()
        assert c.spend.spent.tasks == len(resumed) == MANY
    assert 1 < most <= PIECES * 50
