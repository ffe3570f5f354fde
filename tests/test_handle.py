"""The handle of one task."""

from __future__ import annotations

from itertools import pairwise

import anyio
import httpx
import pytest

from callsheet import (
    APIError,
    ConfigurationError,
    ConflictError,
    ErrorDetail,
    Limits,
    NotFoundError,
    NotSubmittedError,
    RetryPolicy,
    State,
    Status,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskExpiredError,
    TaskFailedError,
    TaskRejectedError,
    TaskSpec,
    Video,
)
from emulation import Wire, body_of, client, first, refusal


async def test_a_handle_shows_the_progress_of_its_task():
    """Id, spec, status, snapshot and done follow the task from the queue to its end."""
    spec = TaskSpec("boat")
    async with client(Wire(render_seconds=60.0, concurrency=1)) as c:
        ahead = await c.submit(TaskSpec("ahead"))
        handle = await c.submit(spec)
        assert handle.task_id
        assert handle.spec is spec
        assert (handle.status, handle.snapshot, handle.done) == (Status.QUEUED, None, False)
        assert handle.task_id in repr(handle)
        assert "queued" in repr(handle)
        await ahead
        await anyio.sleep(40)
        assert handle.status is Status.RUNNING
        assert handle.snapshot.status is Status.RUNNING
        await handle
        assert handle.status is Status.SUCCEEDED
        assert handle.done
        assert handle.snapshot.raw["content"]["video_url"] == (await handle).url


async def test_a_video_holds_the_fields_of_the_answer():
    """The video has its URLs, seed, size, length and usage, and says when the URLs expire."""
    wire = Wire(epoch=1_790_000_000.0, render_seconds=40.0)
    async with client(wire) as c:
        spec = TaskSpec("boat", duration=5, seed=7, ratio="1:1", return_last_frame=True)
        video = await c.run(spec)
    assert isinstance(video, Video)
    assert video.url.startswith("http://emulator.test/files/")
    assert ".png?" in video.last_frame_url
    assert (video.seed, video.ratio, video.duration, video.resolution) == (7, "1:1", 5.0, "720p")
    assert video.usage.total_tokens == video.usage.completion_tokens > 100_000
    task = wire.emulator.ledger.tasks[0]
    assert video.expires_at.timestamp() == int(task.updated_at) + 86_400
    assert video.expires_at.utcoffset().total_seconds() == 0


async def test_many_waiters_get_the_same_video():
    """All waiters get the same video, early or late, however often they await."""
    videos: list[Video] = []

    async def wait(handle: object) -> None:
        videos.append(await handle)

    async with client(Wire(render_seconds=30.0)) as c:
        handle = await c.submit(TaskSpec("boat"))
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(wait, handle)
        videos += [await handle, await handle, await handle.wait(), (await handle.outcome()).video]
    assert len(videos) == 54
    assert all(video == videos[0] for video in videos)


ENDINGS = {
    "[fail]": (TaskFailedError, "InternalServiceError"),
    "[reject]": (TaskRejectedError, "OutputVideoSensitiveContentDetected"),
    "[expire]": (TaskExpiredError, None),
}


@pytest.mark.parametrize("mark", ENDINGS)
async def test_each_kind_of_failure_has_its_own_error(mark):
    """A task that fails, is rejected or expires raises its own error at every await."""
    kind, code = ENDINGS[mark]
    async with client(Wire()) as c:
        handle = await c.submit(TaskSpec(f"boat {mark}"))
        with pytest.raises(kind) as caught:
            await handle
        with pytest.raises(kind):
            await handle.wait()
        outcome = await handle.outcome()
    assert (caught.value.task_id, caught.value.code) == (handle.task_id, code)
    assert outcome.error is caught.value
    assert (outcome.ok, outcome.url, outcome.video) == (False, None, None)
    if code:
        assert handle.snapshot.error == ErrorDetail(code, caught.value.reason)


async def test_run_raises_the_error_of_the_task():
    """``run`` raises `TaskRejectedError` for a rejected task."""
    async with client(Wire()) as c:
        with pytest.raises(TaskRejectedError):
            await c.run(TaskSpec("boat [reject]"))


async def test_cancelling_a_queued_task_stops_it():
    """For a queued task ``cancel`` returns ``True``, and waiters get `TaskCancelledError`."""
    wire = Wire(concurrency=1, render_seconds=100.0)
    async with client(wire) as c:
        running = await c.submit(TaskSpec("runs"))
        handle = await c.submit(TaskSpec("waits"))
        assert await handle.cancel() is True
        assert await handle.cancel() is True
        with pytest.raises(TaskCancelledError):
            await handle
        assert (await running).url
    assert len(wire.sent("DELETE")) == 1
    assert wire.emulator.ledger.billed == 1


async def test_cancelling_a_running_task_is_refused():
    """For a running task ``cancel`` returns ``False`` and sends no DELETE; the video comes."""
    wire = Wire(render_seconds=60.0)
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        assert await handle.cancel() is False
        assert (await handle).url
        assert await handle.cancel() is False
    assert not wire.sent("DELETE")


async def test_a_task_that_starts_during_a_cancel_goes_on():
    """A cancel that is answered with 409 returns ``False``, and the task is still watched."""
    wire = Wire(render_seconds=60.0, concurrency=1)
    wire.fault = first(
        1, lambda: refusal(409, "InvalidAction.RunningTaskDeletion"), method="DELETE"
    )
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        handle = await c.submit(TaskSpec("waits"))
        assert await handle.cancel() is False
        assert (await handle).url
    assert len(wire.sent("DELETE")) == 1


async def test_cancelling_an_ended_task_does_not_delete_it():
    """A cancel sends no DELETE for an ended task, because that would delete its video."""
    wire = Wire(render_seconds=5.0, render_sigma=0.0)
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        await anyio.sleep(4.9)
        wire.latency = 3.0
        assert await handle.cancel() is False
        assert (await handle).url
        assert (await c.tasks.get(handle.task_id)).status is Status.SUCCEEDED
    assert not wire.sent("DELETE")


async def test_a_cancel_reads_the_status_just_before_the_delete():
    """The status is read less than a second before the DELETE, however long the cancel waits."""
    wire = Wire(render_seconds=30.0, concurrency=2)
    async with client(wire, limits=Limits(cancels_per_second=0.02)) as c:
        batch = await c.submit_many(TaskSpec(f"boat {i}") for i in range(8))
        await batch.submitted()
        await batch.cancel()
        result = await batch.result()
    states = {task.status for task in wire.emulator.ledger.tasks}
    assert states <= {"succeeded", "cancelled"}
    assert sum(outcome.ok for outcome in result) == wire.emulator.ledger.billed
    for before, after in pairwise(zip(wire.times, wire.seen, strict=True)):
        if after[1].method == "DELETE":
            assert before[1].url == after[1].url
            assert after[0] - before[0] < 1


async def test_a_cancel_whose_answer_is_lost_reads_the_status_again():
    """After a lost answer the client asks for the status, and sends no second DELETE."""
    wire = Wire(render_seconds=60.0, concurrency=1)
    wire.lose = lambda r: httpx.ReadError("reset") if r.method == "DELETE" else None
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        handle = await c.submit(TaskSpec("waits"))
        assert await handle.cancel() is True
        assert isinstance((await handle.outcome()).error, TaskCancelledError)
    assert len(wire.sent("DELETE")) == 1


async def test_a_task_that_its_cancel_deletes_is_cancelled():
    """If the provider does not know the task after the cancel, the outcome is cancelled."""
    wire = Wire(render_seconds=60.0, concurrency=1)

    async def not_found(request: httpx.Request) -> httpx.Response | None:
        gone = wire.sent("DELETE") and request.method == "GET"
        return refusal(404, "NotFound") if gone else None

    wire.fault = not_found
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        handle = await c.submit(TaskSpec("waits"))
        assert await handle.cancel() is True
        assert isinstance((await handle.outcome()).error, TaskCancelledError)


async def test_cancelling_before_the_create_sends_nothing():
    """The spec is never sent, and its outcome is `NotSubmittedError`."""
    wire = Wire(latency=1.0)
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("one"), TaskSpec("two")])
        await anyio.sleep(0.1)
        assert await batch[1].cancel() is True
        assert batch[1].done
        with pytest.raises(NotSubmittedError):
            await batch[1]
        assert (await batch[0]).url
    assert wire.prompts == ["one"]


async def test_cancelling_during_the_create_waits_for_the_id():
    """If the create is in flight, the task is cancelled as soon as it has an id."""
    wire = Wire(latency=1.0, concurrency=1, render_seconds=100.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        batch = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(0.3)
        assert await batch[0].cancel() is True
    assert [task.status for task in wire.emulator.ledger.tasks][1] == "cancelled"


async def test_cancelling_a_failed_submission_returns_false():
    """A spec without a task id has nothing to cancel."""
    wire = Wire()
    wire.lose = lambda _: httpx.ReadError("reset")
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("boat")])
        (outcome,) = await batch.result()
        assert isinstance(outcome.error, SubmissionUncertainError)
        assert await batch[0].cancel() is False
        assert batch[0].status is None
        assert "without id" in repr(batch[0])


async def test_cancelling_an_unknown_task_raises():
    """``cancel`` raises `NotFoundError` for an id that the provider does not know."""
    async with client(Wire()) as c:
        with pytest.raises(NotFoundError):
            await c.attach("cgt-unknown").cancel()


async def test_an_attached_task_is_watched_to_its_end():
    """A handle of a task from an earlier client gets the video, and has no spec."""
    wire = Wire(render_seconds=60.0)
    async with client(wire) as c:
        ids = [await c.tasks.create(TaskSpec(f"boat {i}")) for i in range(3)]
    async with client(wire) as c:
        handle = c.attach(ids[1])
        assert (handle.task_id, handle.spec) == (ids[1], None)
        video = await handle
        assert video.task_id == ids[1]
    assert len(wire.sent("POST")) == 3


async def test_attaching_a_watched_task_shares_its_outcome():
    """A second handle gets the same video; one that is attached after the end asks again."""
    wire = Wire(render_seconds=60.0)
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        twin = c.attach(handle.task_id)
        assert twin.spec == handle.spec
        assert twin != handle
        assert (await twin) == (await handle)
        before = len(wire.sent("GET"))
        again = c.attach(handle.task_id)
        assert (await again).url == (await twin).url
        assert len(wire.sent("GET")) > before


@pytest.mark.parametrize("blank", ["", " ", "\n"])
async def test_a_blank_id_is_refused(blank):
    """A blank id raises `ConfigurationError` before any request."""
    wire = Wire()
    async with client(wire) as c:
        with pytest.raises(ConfigurationError):
            c.attach(blank)
        with pytest.raises(ConfigurationError):
            c.attach_many(["cgt-1", blank])
    assert not wire.seen


async def test_handles_of_one_record_are_equal():
    """Handles of one spec of a batch are equal and have one hash; others are not equal."""
    async with client(Wire()) as c:
        batch = await c.submit_many([TaskSpec("same"), TaskSpec("same")])
        assert batch[0] == batch[0]
        assert len({batch[0], batch[1], *batch}) == 2
        assert batch[0] != "something else"


async def test_special_characters_of_an_id_are_escaped():
    """An id with slashes, spaces or question marks is sent as one path segment."""
    wire = Wire()
    odd = "a/b c?d=é&#"
    async with client(wire) as c:
        with pytest.raises(APIError):
            await c.tasks.get(odd)
    (request,) = wire.seen
    assert request.url.raw_path.endswith(b"/tasks/a%2Fb%20c%3Fd%3D%C3%A9%26%23")


async def test_an_answer_about_another_task_is_ignored():
    """A get that answers with another id does not change this task."""
    wire = Wire(render_seconds=60.0)
    swapped = 0

    def swap(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal swapped
        if request.method != "GET" or swapped > 2:
            return None
        swapped += 1
        body = body_of(response)
        rows = body.get("items", [body])
        rows = [{**row, "id": "cgt-other", "status": "failed"} for row in rows]
        return httpx.Response(200, json={"items": rows} if "items" in body else rows[0])

    wire.change = swap
    async with client(wire) as c:
        assert (await c.run(TaskSpec("boat"))).url


async def test_tasks_cancel_raises_for_a_running_task():
    """``tasks.cancel`` cancels a queued task and raises `ConflictError` for one that runs."""
    wire = Wire(concurrency=1, render_seconds=60.0)
    async with client(wire) as c:
        running = await c.tasks.create(TaskSpec("runs"))
        queued = await c.tasks.create(TaskSpec("waits"))
        with pytest.raises(ConflictError):
            await c.tasks.cancel(running)
        await c.tasks.cancel(queued)
        assert (await c.tasks.get(queued)).status is Status.CANCELLED


async def test_a_handle_says_in_one_word_where_its_task_stands():
    """From the queue of the client to the outcome there is one state at a time."""
    wire = Wire(concurrency=1, render_seconds=30.0)
    async with client(wire, limits=Limits(creates_per_minute=6)) as c:
        batch = await c.submit_many([TaskSpec(f"boat {n}") for n in range(3)])
        await anyio.sleep(5)
        assert [each.state for each in batch] == [State.RUNNING, State.WAITING, State.WAITING]
        await batch.submitted()
        assert batch[2].state is State.QUEUED
        await batch[2].cancel()
        await batch.result()
        assert [each.state for each in batch] == [State.SUCCEEDED] * 2 + [State.CANCELLED]


async def test_the_state_of_a_spec_without_a_task_says_whether_there_may_be_one():
    """A lost create is uncertain, while it is looked for and after that; a refused one is not."""
    wire = Wire(render_seconds=30.0)
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    wire.fault = first(99, lambda: httpx.Response(503), method="GET")
    async with client(wire, retry=RetryPolicy(lookup=5)) as c:
        lost = (await c.submit_many([TaskSpec("a boat")]))[0]
        await anyio.sleep(1)
        assert (lost.state, lost.done) == (State.UNCERTAIN, False)
        await lost.outcome()
        assert (lost.state, lost.done) == (State.UNCERTAIN, True)
        wire.lose, wire.fault = None, first(1, lambda: refusal(400, "InvalidParameter"))
        refused = (await c.submit_many([TaskSpec("a boat")]))[0]
        await refused.outcome()
        assert refused.state == "not_submitted"
        attached = c.attach("cgt-unknown")
        assert attached.state is State.SUBMITTED
