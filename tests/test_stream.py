"""``Client.map`` takes endless specs and gives each outcome as soon as it is known."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from PIL import Image as Picture

from callsheet import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Image,
    NotSubmittedError,
    Outcome,
    OutcomeStream,
    SpecError,
    SubmissionUncertainError,
    TaskSpec,
)
from emulation import Wire, client, first, refusal


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def boats(count: int) -> Iterator[TaskSpec]:
    """*count* specs."""
    return (TaskSpec(f"boat {i}") for i in range(count))


async def slowly(count: int, gap: float) -> AsyncIterator[TaskSpec]:
    """*count* specs, one every *gap* seconds."""
    for i in range(count):
        await anyio.sleep(gap)
        yield TaskSpec(f"boat {i}")


async def drain(stream: OutcomeStream, found: list[Outcome]) -> None:
    """Add every outcome to *found*."""
    async for outcome in stream:
        found.append(outcome)  # noqa: PERF401 - kept also if the stream raises


async def test_every_spec_has_one_outcome_with_its_own_index():
    """Outcomes carry the position of their spec in the source, each once."""
    async with client(Wire()) as c:
        found = [outcome async for outcome in c.map(boats(60), window=20)]
    assert sorted(outcome.index for outcome in found) == list(range(60))
    assert all(outcome.spec.prompt == f"boat {outcome.index}" for outcome in found)
    assert all(outcome.ok for outcome in found)


async def test_an_async_source_works_the_same_way():
    """Specs may come from an async iterable, however slow it is."""
    async with client(Wire()) as c:
        found = [outcome async for outcome in c.map(slowly(30, 2.0), window=10)]
    assert sorted(outcome.index for outcome in found) == list(range(30))


async def test_outcomes_are_delivered_while_a_source_is_slow():
    """An outcome does not wait for the next spec."""
    wire = Wire(render_seconds=30.0)
    times: list[float] = []
    async with client(wire) as c:
        async for outcome in c.map(slowly(3, 1000.0)):
            assert outcome.ok
            times.append(anyio.current_time() - wire.times[0])
    assert [round(at, -3) for at in times] == [0, 1000, 2000]
    assert times[0] < 100


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_of_the_source_comes_after_all_earlier_outcomes(kind):
    """If the source raises, all specs that it gave before still have their outcomes."""

    def broken() -> Iterator[TaskSpec]:
        yield from boats(7)
        raise OSError("the file is gone")

    async def broken_async() -> AsyncIterator[TaskSpec]:
        for spec in boats(7):
            yield spec
        raise OSError("the file is gone")

    found = []
    async with client(Wire()) as c:
        stream = c.map(broken() if kind == "sync" else broken_async(), window=3)
        with pytest.raises(OSError, match="the file is gone"):
            await drain(stream, found)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert sorted(outcome.index for outcome in found) == list(range(7))


async def test_a_bad_spec_has_its_own_outcome():
    """A spec that fails its check is not sent and ends with `SpecError`; the others go on."""
    wire = Wire()
    specs = [TaskSpec("a"), TaskSpec("b", duration=99), TaskSpec("c"), TaskSpec(None)]
    async with client(wire) as c:
        found = {outcome.index: outcome async for outcome in c.map(specs)}
    assert {index: outcome.ok for index, outcome in found.items()} == {
        0: True, 1: False, 2: True, 3: False
    }  # fmt: skip
    assert isinstance(found[1].error, SpecError)
    assert sorted(wire.prompts) == ["a", "c"]


async def test_a_source_item_that_is_no_spec_is_a_type_error():
    """A source item that is not a spec raises `TypeError` after the outcomes before it."""
    found = []
    async with client(Wire()) as c:
        with pytest.raises(TypeError, match="str, not a TaskSpec"):
            await drain(c.map([TaskSpec("a"), "b", TaskSpec("c")]), found)
    assert [outcome.index for outcome in found] == [0]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_that_concerns_every_spec_stops_the_stream(kind):
    """A refused key ends the stream after one POST: first the outcomes, then the error."""
    wire = Wire()
    wire.fault = first(99, lambda: refusal(401, "AuthenticationError"))
    pulled = 0

    def endless() -> Iterator[TaskSpec]:
        """Specs without end."""
        nonlocal pulled
        while True:
            pulled += 1
            yield TaskSpec(f"boat {pulled}")

    async def endless_async() -> AsyncIterator[TaskSpec]:
        for spec in endless():
            yield spec
            await anyio.sleep(0.5)

    found = []
    async with client(wire) as c:
        source = endless() if kind == "sync" else endless_async()
        with pytest.raises(AuthenticationError):
            await drain(c.map(source, window=10), found)
        await anyio.sleep(1)
        if kind == "async":
            await source.aclose()
    assert len(wire.seen) == 1
    assert isinstance(found[0].error, AuthenticationError)
    assert all(isinstance(outcome.error, NotSubmittedError) for outcome in found[1:])
    assert pulled <= 11


async def test_a_window_of_one_makes_one_task_at_a_time():
    """With a window of one there is never more than one unfinished task."""
    wire = Wire(render_seconds=10.0)
    async with client(wire) as c:
        found = [outcome.index async for outcome in c.map(boats(8), window=1)]
    assert found == list(range(8))
    ends = [task.updated_at for task in wire.emulator.ledger.tasks]
    starts = [task.created_at for task in wire.emulator.ledger.tasks]
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))


@pytest.mark.parametrize("window", [0, -1])
async def test_a_window_below_one_is_refused(window):
    """A window below one is a `ConfigurationError`."""
    async with client(Wire()) as c:
        with pytest.raises(ConfigurationError, match="window"):
            c.map(boats(1), window=window)


async def test_iterating_goes_on_after_a_break():
    """After a break the stream can be continued, and meanwhile no spec is taken."""
    pulled: list[int] = []

    def noted() -> Iterator[TaskSpec]:
        for i in range(40):
            pulled.append(i)
            yield TaskSpec(f"boat {i}")

    async with client(Wire()) as c:
        stream = c.map(noted(), window=10)
        assert isinstance(stream, OutcomeStream)
        found = []
        async for outcome in stream:
            found.append(outcome.index)
            if len(found) == 5:
                break
        taken = len(pulled)
        await anyio.sleep(1000)
        assert len(pulled) == taken <= 15
        found += [outcome.index async for outcome in stream]
    assert sorted(found) == list(range(40))


async def test_an_empty_source_ends_at_once():
    """Without specs there are no outcomes and no requests."""
    wire = Wire()
    async with client(wire) as c:
        assert [outcome async for outcome in c.map([])] == []
        assert [outcome async for outcome in c.map(slowly(0, 1.0))] == []
    assert not wire.seen


async def test_lost_and_failed_specs_do_not_end_the_stream():
    """A lost answer and a failed task are normal outcomes."""
    wire = Wire()
    wire.lose = lambda r: httpx.ReadError("reset") if len(wire.sent("POST")) == 3 else None
    async with client(wire) as c:
        specs = [*boats(6), TaskSpec("[fail]"), TaskSpec("[refuse]")]
        found = [outcome async for outcome in c.map(specs, window=1)]
    assert len(found) == 8
    assert isinstance(found[2].error, SubmissionUncertainError)
    assert sum(outcome.ok for outcome in found) == 5


async def test_a_spec_whose_check_is_cancelled_is_not_lost():
    """Cancelling the wait for an outcome while a spec is being checked loses no spec."""
    file = io.BytesIO()
    Picture.new("RGB", (320, 320)).save(file, "png")
    specs = [TaskSpec(f"boat {i}", first_frame=Image(file.getvalue())) for i in range(5)]
    async with client(Wire()) as c:
        stream = c.map(iter(specs), window=5)
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)
        found = [outcome.index async for outcome in stream]
    assert sorted(found) == list(range(5))


async def test_a_stream_ends_with_its_client():
    """Waiting for an outcome after the client is closed raises `ClosedError`."""
    async with client(Wire(render_seconds=1000.0)) as c:
        stream = c.map(boats(3))
        with anyio.move_on_after(5):
            await anext(stream)
    with pytest.raises(ClosedError):
        await anext(stream)


async def test_two_streams_share_a_client():
    """Two streams run at the same time, each with its own indexes."""
    found: dict[str, list[int]] = {"a": [], "b": []}

    async def consume(name: str, stream: OutcomeStream) -> None:
        async for outcome in stream:
            found[name].append(outcome.index)

    async with client(Wire()) as c, anyio.create_task_group() as group:
        group.start_soon(consume, "a", c.map(boats(20), window=5))
        group.start_soon(consume, "b", c.map(slowly(20, 0.1), window=5))
    assert sorted(found["a"]) == sorted(found["b"]) == list(range(20))


class FastProvider(httpx.AsyncBaseTransport):
    """A small, fast provider for many tasks, which end after a minute."""

    def __init__(self) -> None:
        self.ends: dict[str, float] = {}
        self.lists = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        now = anyio.current_time()
        if request.method == "POST":
            task_id = f"cgt-{len(self.ends)}"
            self.ends[task_id] = now + 60
            return httpx.Response(200, json={"id": task_id})
        self.lists += 1
        items = [
            {"id": i, "status": "succeeded", "content": {"video_url": f"http://v.test/{i}"}}
            if self.ends[i] <= now
            else {"id": i, "status": "running"}
            for i in request.url.params.get_list("filter.task_ids")
        ]
        return httpx.Response(200, json={"items": items, "total": len(items)})


@pytest.mark.parametrize("specs", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_thousands_of_specs_stream_with_default_settings(specs):
    """All specs go through the default window, and each is paid once."""
    wire = FastProvider()
    most = count = 0
    async with client(wire) as c:
        async for outcome in c.map(boats(specs)):
            assert outcome.ok
            count += 1
            most = max(most, len(wire.ends) - count)
    assert count == len(wire.ends) == specs
    assert most <= 100
