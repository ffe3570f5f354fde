"""The surface as type checkers see it: read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from callsheet import (
    AudioRef,
    Batch,
    BatchError,
    BatchResult,
    CallsheetError,
    Client,
    Image,
    Limits,
    Outcome,
    OutcomeStream,
    Page,
    Polling,
    Progress,
    Provider,
    RateLimitError,
    RetryPolicy,
    Snapshot,
    SpecError,
    Status,
    SubmissionUncertainError,
    TaskHandle,
    Tasks,
    TaskSpec,
    TaskTimeoutError,
    UncertainAttempt,
    Usage,
    Video,
    VideoRef,
)
from callsheet.errors import Problem
from callsheet.events import Event, StatusChanged, TaskSettled, TaskSubmitted


def specs() -> Iterator[TaskSpec]:
    """Every kind of spec."""
    yield TaskSpec("a paper boat", duration=5, ratio="16:9")
    yield TaskSpec(first_frame="frame.png", last_frame=Path("last.png"))
    yield TaskSpec("a", references=[Image(b"..."), VideoRef("https://a.test/v"), AudioRef("a.mp3")])
    yield TaskSpec("a", tools=["web_search", {"type": "web_search"}], extra={"newer": 1})


async def endless() -> AsyncIterator[TaskSpec]:
    """Specs without end."""
    while True:
        yield TaskSpec("a")


def observe(event: Event) -> None:
    """Every kind of event."""
    match event:
        case TaskSubmitted():
            assert_type(event.task_id, str)
            assert_type(event.index, int)
        case StatusChanged():
            assert_type(event.before, Status | None)
            assert_type(event.after, Status)
        case TaskSettled():
            assert_type(event.outcome, Outcome)
        case _:
            pass


async def one(client: Client) -> None:
    """One task."""
    assert_type(await client.run(TaskSpec("a"), timeout=5), Video)
    handle = await client.submit(TaskSpec("a"))
    assert_type(handle, TaskHandle)
    assert_type(handle.task_id, str | None)
    assert_type(handle.spec, TaskSpec | None)
    assert_type(handle.status, Status | None)
    assert_type(handle.snapshot, Snapshot | None)
    assert_type(handle.done, bool)
    assert_type(await handle, Video)
    assert_type(await handle.wait(timeout=3.5), Video)
    assert_type(await handle.outcome(), Outcome)
    assert_type(await handle.cancel(), bool)
    assert_type(handle.uncertain_attempts, tuple[UncertainAttempt, ...])
    assert_type(await handle.resolve("cgt-1", attempt=2), Snapshot | None)
    assert_type(client.attach("cgt-1"), TaskHandle)


async def many(client: Client) -> None:
    """A batch."""
    batch = await client.submit_many(specs(), name="boats")
    assert_type(batch, Batch)
    assert_type(batch.name, str | None)
    assert_type(len(batch), int)
    assert_type(batch[0], TaskHandle)
    assert_type(batch[1:], Sequence[TaskHandle])
    assert_type([handle.spec for handle in batch], list[TaskSpec | None])
    assert_type(batch.progress, Progress)
    assert_type(batch.progress.done, int)
    assert_type(await batch.submitted(), tuple[str | None, ...])
    assert_type(await batch.cancel(), int)
    async for outcome in batch.as_completed():
        assert_type(outcome, Outcome)
    result = await batch.result()
    assert_type(result, BatchResult)
    assert_type(result[0], Outcome)
    assert_type(result[1:], Sequence[Outcome])
    assert_type(result.urls(), list[str])
    assert_type(result.videos(), list[Video])
    assert_type(result.failures, tuple[Outcome, ...])
    assert_type(client.attach_many(["cgt-1"]), Batch)


async def stream(client: Client) -> None:
    """A stream."""
    assert_type(client.map(specs(), window=20), OutcomeStream)
    async for outcome in client.map(endless()):
        assert_type(outcome.index, int)
        assert_type(outcome.spec, TaskSpec | None)
        assert_type(outcome.task_id, str | None)
        assert_type(outcome.video, Video | None)
        assert_type(outcome.error, CallsheetError | None)
        assert_type(outcome.url, str | None)
        assert_type(outcome.ok, bool)


async def wire(client: Client) -> None:
    """The task API itself."""
    tasks = client.tasks
    assert_type(tasks, Tasks)
    assert_type(await tasks.create(TaskSpec("a")), str)
    snapshot = await tasks.get("cgt-1")
    assert_type(snapshot, Snapshot)
    assert_type(snapshot.status, Status)
    assert_type(snapshot.status.terminal, bool)
    assert_type(snapshot.raw["anything"], Any)
    page = await tasks.list(task_ids=["cgt-1"], status=Status.QUEUED, page_size=100)
    assert_type(page, Page)
    assert_type(page.items, Sequence[Snapshot])
    assert_type(page.total, int | None)
    async for each in tasks.iter(status="failed"):
        assert_type(each, Snapshot)
    await tasks.cancel("cgt-1")


def facts(video: Video) -> None:
    """What a video says."""
    assert_type(video.url, str)
    assert_type(video.last_frame_url, str | None)
    assert_type(video.seed, int | None)
    assert_type(video.duration, float | None)
    assert_type(video.usage, Usage | None)
    assert_type(video.expires_at, datetime | None)


async def failures(client: Client) -> None:
    """What can be caught."""
    try:
        await client.run(TaskSpec("a"))
    except SpecError as error:
        assert_type(error.problems, tuple[Problem, ...])
    except SubmissionUncertainError as error:
        assert_type(error.token, str | None)
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.status_code, int)
    except TaskTimeoutError as error:
        assert_type(error.task_id, str | None)
    except CallsheetError as error:
        assert_type(error.transient, bool)
    try:
        (await (await client.submit_many(specs())).result()).raise_for_failures()
    except BatchError as group:
        assert_type(group.exceptions, tuple[Exception | ExceptionGroup[Exception], ...])


async def main() -> None:
    """How a client is made."""
    async with Client() as client:
        assert_type(client, Client)
    provider = Provider(name="mine", base_url="https://mine.test", default_model="ep-1")
    async with Client(
        api_key="k",
        provider=provider,
        base_url=None,
        limits=Limits(creates_per_minute=60, connections=4),
        polling=Polling(delay=2.0),
        retry=RetryPolicy(attempts=3, resubmit="never"),
        observer=observe,
        cancel_on_exit=True,
    ) as client:
        for use in (one, many, stream, wire, failures):
            await use(client)
        assert_type(client.provider, Provider)
