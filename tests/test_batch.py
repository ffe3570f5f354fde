"""A batch of tasks: isolation, shared errors, order and progress."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    AuthenticationError,
    BalanceError,
    Batch,
    BatchError,
    ContentRejectedError,
    InvalidRequestError,
    Limits,
    ModelNotFoundError,
    NotFoundError,
    NotSubmittedError,
    Progress,
    QuotaExhaustedError,
    SpecError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskSpec,
)
from callsheet.events import TaskSettled
from emulation import ARK, COMET, Wire, client, first, prompt_of, refusal


def boats(count: int) -> list[TaskSpec]:
    """*count* different specs."""
    return [TaskSpec(f"boat {i}") for i in range(count)]


async def test_failing_specs_do_not_affect_the_others():
    """If one spec is refused, one fails and one is lost, the others get their videos."""
    wire = Wire()
    wire.lose = lambda r: (
        httpx.ReadError("reset") if r.method == "POST" and prompt_of(r) == "lost" else None
    )
    prompts = ["a", "[refuse]", "b", "[fail]", "c", "lost", "d"]
    async with client(wire, provider=attrs.evolve(ARK, lists=False)) as c:
        batch = await c.submit_many(map(TaskSpec, prompts))
        result = await batch.result()
    kinds = [type(outcome.error) for outcome in result]
    none = type(None)
    assert kinds == [
        none, ContentRejectedError, none, TaskFailedError, none, SubmissionUncertainError, none
    ]  # fmt: skip
    assert wire.emulator.ledger.created == 6  # the create whose answer was lost made a task, too


STOPPING_ERRORS = {
    "key": (lambda: refusal(401, "AuthenticationError"), AuthenticationError),
    "balance": (lambda: refusal(403, "AccountOverdueError"), BalanceError),
    "model": (lambda: refusal(404, "ModelNotOpen"), ModelNotFoundError),
    "quota": (lambda: refusal(429, "SetLimitExceeded"), QuotaExhaustedError),
    "wrong address": (lambda: httpx.Response(404, text="<html>nginx</html>"), InvalidRequestError),
    "redirect": (lambda: httpx.Response(301, headers={"location": "/x"}), InvalidRequestError),
    "page": (lambda: httpx.Response(200, text="<html>hello</html>"), SubmissionUncertainError),
    "wrapper": (
        lambda: refusal(400, "", "cannot parse JSON: unexpected end"),
        InvalidRequestError,
    ),
}


@pytest.mark.parametrize("kind", STOPPING_ERRORS)
async def test_an_error_that_affects_every_spec_stops_the_batch_at_once(kind):
    """After the first such error nothing more is sent; the other errors name it as the cause."""
    answer, error = STOPPING_ERRORS[kind]
    wire = Wire()
    wire.fault = first(99, answer)
    async with client(wire) as c:
        batch = await c.submit_many(boats(50))
        result = await batch.result()
        ids = await batch.submitted()
        await anyio.sleep(1000)
    assert len(wire.seen) == 1
    assert wire.prompts == ["boat 0"]
    assert isinstance(result[0].error, error)
    for outcome in result[1:]:
        assert isinstance(outcome.error, NotSubmittedError)
        assert outcome.error.__cause__ is result[0].error
        assert type(result[0].error).__name__ in str(outcome.error)
    assert ids == (None,) * 50


async def test_a_wrong_key_costs_one_request():
    """With a key that the emulator does not know, a whole batch sends one POST."""
    wire = Wire(keys=("right",))
    async with client(wire, api_key="wrong") as c:
        batch = await c.submit_many(boats(20))
        result = await batch.result()
    assert [type(outcome.error) for outcome in result] == [
        AuthenticationError, *[NotSubmittedError] * 19
    ]  # fmt: skip
    assert wire.emulator.requests.create.seen == 1


async def test_a_closed_model_stops_only_its_own_specs():
    """If one model is not open to the account, specs of another model still succeed."""
    closed, other = "doubao-seedance-1-0-pro-250528", "doubao-seedance-1-5-pro-251215"
    wire = Wire(not_open=closed)
    async with client(wire) as c:
        specs = [TaskSpec(f"boat {i}", model=(closed, other)[i % 2]) for i in range(20)]
        result = await (await c.submit_many(specs)).result()
    assert all(outcome.ok == (outcome.index % 2) for outcome in result)
    assert isinstance(result[0].error, ModelNotFoundError)
    assert all(isinstance(outcome.error, NotSubmittedError) for outcome in result[2::2])
    assert len(wire.sent("POST")) == 11


async def test_a_key_that_is_revoked_later_stops_the_rest():
    """Existing tasks are watched to their end, and unsent specs are not sent."""
    wire = Wire(render_seconds=30.0)

    async def revoked(request: httpx.Request) -> httpx.Response | None:
        bad = request.method == "POST" and wire.emulator.ledger.created >= 30
        return refusal(401, "AuthenticationError") if bad else None

    wire.fault = revoked
    async with client(wire) as c:
        batch = await c.submit_many(boats(300))
        result = await batch.result()
    kinds = [type(outcome.error) for outcome in result]
    assert sum(outcome.ok for outcome in result) == 30
    assert 1 <= kinds.count(AuthenticationError) <= 12
    assert kinds.count(AuthenticationError) + kinds.count(NotSubmittedError) == 270
    assert len(wire.sent("POST")) == 30 + kinds.count(AuthenticationError)


async def test_batches_do_not_stop_each_other():
    """After one batch was stopped, another batch of the same client succeeds."""
    wire = Wire()
    wire.fault = first(1, lambda: refusal(401, "AuthenticationError"))
    async with client(wire) as c:
        bad = await c.submit_many(boats(5))
        await bad.result()
        good = await c.submit_many(boats(5))
        assert len((await good.result()).urls()) == 5


async def test_all_problems_of_all_specs_are_named_before_anything_is_sent():
    """A batch with bad specs sends nothing and names every problem with its index."""
    wire = Wire()
    async with client(wire) as c:
        specs = [
            TaskSpec("fine"),
            TaskSpec("bad", duration=99, resolution="8k"),
            TaskSpec(None),
            TaskSpec("bad", ratio="5:5"),
        ]
        with pytest.raises(SpecError) as caught:
            await c.submit_many(specs)
        with pytest.raises(TypeError, match="item 1 is a str"):
            await c.submit_many([TaskSpec("a"), "b"])
    named = [(problem.index, problem.field) for problem in caught.value.problems]
    assert {(1, "duration"), (1, "resolution"), (3, "ratio")} <= set(named)
    assert 2 in {index for index, _ in named}
    assert 0 not in {index for index, _ in named}
    assert not wire.seen


async def test_equal_specs_are_two_tasks():
    """A spec that is given twice makes two tasks, and both are billed."""
    wire = Wire()
    spec = TaskSpec("boat", seed=7)
    async with client(wire) as c:
        result = await (await c.submit_many([spec, spec])).result()
    assert len(set(result.urls())) == 2
    assert wire.emulator.ledger.billed == 2


async def test_specs_are_sent_in_input_order():
    """Creates are sent in the order in which their specs were given."""
    wire = Wire(latency=0.0)
    async with client(wire) as c:
        batch = await c.submit_many(boats(40))
        await batch.submitted()
    assert wire.prompts == [f"boat {i}" for i in range(40)]


async def test_submit_many_returns_before_anything_is_sent():
    """Specs are submitted in the background, and ``submitted`` waits for the ids."""
    wire = Wire()
    async with client(wire) as c:
        batch = await c.submit_many(boats(10), name="harbour")
        assert not wire.seen
        assert batch.name == "harbour"
        assert "harbour" in repr(batch)
        ids = await batch.submitted()
        assert set(ids) == {task.id for task in wire.emulator.ledger.tasks}
        assert ids == tuple(handle.task_id for handle in batch)
        assert not batch[9].done


async def test_submitted_gives_none_for_a_failed_submission():
    """The ids come in input order, with ``None`` for a submission that failed."""
    async with client(Wire()) as c:
        batch = await c.submit_many([TaskSpec("a"), TaskSpec("[refuse]"), TaskSpec("b")])
        one, none, two = await batch.submitted()
    assert one
    assert none is None
    assert two


async def test_a_batch_is_a_sequence_of_handles():
    """Length, index, slice, iteration and membership are those of a sequence."""
    async with client(Wire()) as c:
        batch = await c.submit_many(boats(5))
        assert isinstance(batch, (Batch, Sequence))
        assert len(batch) == len(list(batch)) == 5
        assert [handle.spec.prompt for handle in batch[1:3]] == ["boat 1", "boat 2"]
        assert batch[-1] == batch[4]
        assert batch[2] in batch
        assert batch.index(batch[3]) == 3
        with pytest.raises(IndexError):
            batch[5]


async def test_an_empty_batch_is_done():
    """A batch without specs ends at once without outcomes, and nothing is sent."""
    wire = Wire()
    async with client(wire) as c:
        batch = await c.submit_many([])
        result = await batch.result()
        assert await batch.submitted() == ()
        assert [outcome async for outcome in batch.as_completed()] == []
        assert await batch.cancel() == 0
        assert len(c.attach_many([])) == 0
    assert result.urls() == []
    assert not wire.seen


async def test_progress_always_adds_up():
    """At every event the counts of the progress add up, and ``done`` never falls."""
    wire = Wire(concurrency=5, render_seconds=60.0, failure_rate=0.3)
    batches: list[Batch] = []
    steps: list[Progress] = []

    def note_progress(_: object) -> None:
        if batches:
            steps.append(batches[0].progress)

    specs = [*boats(40), TaskSpec("[refuse]")]
    async with client(wire, observer=note_progress) as c:
        batch = await c.submit_many(specs)
        batches.append(batch)
        result = await batch.result()
        last = batch.progress
    assert len(steps) > 80
    for step in steps:
        assert step.total == 41
        assert min(step.queued, step.running, step.succeeded, step.failed) >= 0
        assert step.queued + step.running + step.succeeded + step.failed <= step.total
        unsent_failures = step.failed if not step.submitted else 1
        assert step.submitted <= step.queued + step.running + step.done
        assert step.queued + step.running + step.done <= step.submitted + unsent_failures
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert (last.queued, last.running, last.done) == (0, 0, 41)
    assert last.failed == len(result.failures) > 1
    assert last.submitted == 40


async def test_outcomes_come_as_they_are_ready():
    """A quick task is delivered before a slow one that was submitted first."""
    wire = Wire(concurrency=1)
    slow, quick = "doubao-seedance-2-5-260628", "doubao-seedance-1-0-pro-250528"
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("s", model=slow), TaskSpec("q", model=quick)])
        order = [outcome.index async for outcome in batch.as_completed()]
    assert order == [1, 0]


async def test_leaving_as_completed_early_stops_no_task():
    """After a break the tasks go on, and a new iteration begins with the first outcome."""
    async with client(Wire(concurrency=3, render_seconds=60.0)) as c:
        batch = await c.submit_many(boats(12))
        early = await anext(batch.as_completed())
        await anyio.sleep(600)
        assert batch.progress.succeeded == 12
        again = [outcome async for outcome in batch.as_completed()]
    assert again[0] == early
    assert sorted(outcome.index for outcome in again) == list(range(12))


async def test_two_iterations_at_once_get_the_same_outcomes():
    """Each consumer of ``as_completed`` gets every outcome, in the same order."""
    found: list[list[int]] = []

    async def consume(batch: Batch) -> None:
        found.append([outcome.index async for outcome in batch.as_completed()])

    async with client(Wire()) as c, anyio.create_task_group() as group:
        batch = await c.submit_many(boats(20))
        group.start_soon(consume, batch)
        group.start_soon(consume, batch)
    assert found[0] == found[1]
    assert sorted(found[0]) == list(range(20))


async def test_a_result_names_every_failure_in_input_order():
    """The `BatchError` holds one error per failure, in input order, with a note on the spec."""
    async with client(Wire()) as c:
        prompts = ["a", "b [reject]", "c", "d [fail]"]
        result = await (await c.submit_many(map(TaskSpec, prompts))).result()
    assert [outcome.index for outcome in result.failures] == [1, 3]
    for method in (result.urls, result.videos, result.raise_for_failures):
        with pytest.raises(BatchError, match="2 of 4") as caught:
            method()
        assert [error.__notes__ for error in caught.value.exceptions] == [
            ["spec 1 'b [reject]'"], ["spec 3 'd [fail]'"]
        ]  # fmt: skip
    assert len(result) == 4
    assert result[0].ok
    assert [outcome.index for outcome in result[1:3]] == [1, 2]


async def test_cancelling_a_batch_stops_specs_that_have_not_started():
    """Running tasks go on; ``cancel`` stops queued tasks and unsent specs, and counts both."""
    wire = Wire(concurrency=3, render_seconds=1000.0)
    async with client(wire) as c:
        batch = await c.submit_many(boats(100))
        await anyio.sleep(1)
        sent = len(wire.sent("POST"))
        stopped = await batch.cancel()
        assert await batch.cancel() == 0
        result = await batch.result()
    assert 3 < sent < 100
    assert stopped == 97 == len(result.failures)
    assert wire.emulator.ledger.billed == 3
    assert batch.progress.failed == 97
    assert len(wire.sent("POST")) == sent


async def test_cancelling_a_batch_stops_specs_that_wait_after_a_refusal():
    """A refused create that waits to be sent again is cancelled at once."""
    wire = Wire()
    wire.fault = first(99, lambda: refusal(429, "ServerOverloaded"))
    async with client(wire) as c:
        batch = await c.submit_many(boats(5))
        await anyio.sleep(20)
        started = anyio.current_time()
        assert await batch.cancel() == 5
        assert anyio.current_time() == started
        sent = len(wire.seen)
        await anyio.sleep(1000)
    assert len(wire.seen) == sent


async def test_a_batch_whose_cancel_is_refused_raises_the_error():
    """If one cancel is refused, its error is raised directly, not in an exception group."""
    wire = Wire(concurrency=1, render_seconds=100.0)
    wire.fault = first(1, lambda: refusal(403, "AccessDenied"), method="DELETE")
    async with client(wire) as c:
        batch = await c.submit_many(boats(6))
        await batch.submitted()
        with pytest.raises(BalanceError):
            await batch.cancel()


async def test_a_batch_whose_cancel_fails_for_some_stops_the_others():
    """A note on the error counts the stopped tasks and gives the indexes of the others."""
    wire = Wire(concurrency=1, render_seconds=100.0)
    ids: list[str] = []

    async def refuse(request: httpx.Request) -> httpx.Response | None:
        bad = request.method == "DELETE" and request.url.path.endswith((ids[7], ids[40]))
        return refusal(403, "AccessDenied") if bad else None

    wire.fault = refuse
    async with client(wire) as c:
        batch = await c.submit_many(boats(60))
        ids.extend(await batch.submitted())
        with pytest.raises(BalanceError) as caught:
            await batch.cancel()
        assert caught.value.__notes__ == [
            "57 tasks were stopped in time; 2 could not be: 7, 40",
        ]
        assert batch.progress.failed == 57
        wire.fault = None
        assert await batch.cancel() == 2


async def test_attached_ids_may_be_repeated_or_unknown():
    """Each id has its own outcome: equal ids share a video, and only unknown ids fail."""
    wire = Wire(render_seconds=60.0)
    async with client(wire) as c:
        mine = await c.submit_many(boats(3))
        a, b, d = await mine.submitted()
        batch = c.attach_many([a, "cgt-unknown", b, a, d, "cgt-unknown"], name="again")
        assert [handle.task_id for handle in batch] == [a, "cgt-unknown", b, a, d, "cgt-unknown"]
        result = await batch.result()
        own = (await mine.result()).urls()
        assert batch.progress.total == 6
        assert (batch.progress.succeeded, batch.progress.failed) == (4, 2)
        assert await batch.submitted() == (a, "cgt-unknown", b, a, d, "cgt-unknown")
    assert [outcome.url for outcome in result] == [own[0], None, own[1], own[0], own[2], None]
    assert all(isinstance(outcome.error, NotFoundError) for outcome in result.failures)
    assert [outcome.index for outcome in result] == list(range(6))
    assert wire.emulator.ledger.created == 3


async def test_each_outcome_is_reported_once():
    """The observer gets one event for each spec and for each attached id."""
    events: list[object] = []
    async with client(Wire(), observer=events.append) as c:
        batch = await c.submit_many([*boats(5), TaskSpec("[refuse]")])
        ids = await batch.submitted()
        attached = c.attach_many(ids[:2])
        await batch.result()
        await attached.result()
    settled = [event.outcome for event in events if isinstance(event, TaskSettled)]
    assert len(settled) == 8


async def test_a_thousand_specs_work_with_default_settings():
    """A thousand specs make a thousand videos with sixteen connections and few requests."""
    wire = Wire(concurrency=1000)
    async with client(wire) as c:
        batch = await c.submit_many(boats(1000))
        result = await batch.result()
    assert len(set(result.urls())) == 1000
    assert wire.emulator.ledger.created == 1000
    assert wire.most_in_flight <= 16
    assert len(wire.sent("GET")) < 300


async def test_a_wrong_key_stops_a_batch_without_lists():
    """Also with a provider that has no lists, a wrong key costs one request."""
    wire = Wire(keys=("right",))
    async with client(wire, provider=COMET, api_key="wrong") as c:
        result = await (await c.submit_many(boats(5))).result()
    assert isinstance(result[0].error, AuthenticationError)
    assert len(wire.seen) == 1


@pytest.mark.parametrize("queue_limit", [None, 5])
async def test_a_small_batch_does_not_wait_for_a_large_one(queue_limit):
    """Specs of both batches are sent in turn, also while the provider's queue is full."""
    wire = Wire(concurrency=3, queue_limit=queue_limit, render_seconds=30.0)
    async with client(wire) as c:
        large = await c.submit_many(TaskSpec(f"large {i}") for i in range(200))
        await anyio.sleep(5)
        before = len(wire.prompts)
        small = await c.submit_many(TaskSpec(f"small {i}") for i in range(10))
        await small.submitted()
        since = [prompt for prompt in wire.prompts[before:] if prompt.startswith("large")]
        await small.result()
        assert large.progress.succeeded <= before + 35
    assert len(set(since)) <= 35


async def test_a_batch_of_a_higher_priority_is_sent_first():
    """Specs of a higher priority are sent before all others that wait."""
    wire = Wire(concurrency=3, render_seconds=30.0)
    async with client(wire, limits=Limits(creates_per_minute=60)) as c:
        await c.submit_many(TaskSpec(f"later {i}") for i in range(50))
        await anyio.sleep(5)
        before = len(wire.prompts)
        urgent = await c.submit_many([TaskSpec(f"now {i}") for i in range(5)], priority=1)
        single = await c.submit(TaskSpec("single"), priority=2)
        await urgent.submitted()
        await c.run(TaskSpec("last"), priority=-1, timeout=1e9)
    after = wire.prompts[before:]
    already_waiting = 12  # creates that waited for the rate limit before
    assert set(after[: 6 + already_waiting]) >= {f"now {i}" for i in range(5)} | {"single"}
    assert after[-1] == "last"
    assert single.task_id


async def test_no_more_tasks_are_unfinished_than_the_limits_allow():
    """With ``unfinished=4`` another spec is sent only when one of four tasks has ended."""
    wire = Wire(render_seconds=30.0)
    async with client(wire, limits=Limits(unfinished=4)) as c:
        batch = await c.submit_many(boats(12))
        most = 0

        async def count(_: httpx.Request) -> None:
            nonlocal most
            progress = batch.progress
            most = max(most, progress.submitted - progress.succeeded - progress.failed)

        wire.fault = count
        assert len((await batch.result()).urls()) == 12
    assert most == 4


async def test_a_limit_above_the_providers_queue_sends_with_pauses():
    """After a refusal by a full queue, the next create waits for a pause or until a task ends."""
    wire = Wire(concurrency=1, queue_limit=2, render_seconds=500.0)
    async with client(wire, limits=Limits(unfinished=50)) as c:
        batch = await c.submit_many(boats(5))
        await anyio.sleep(450)
        assert len(wire.sent("POST")) < 25
        await batch.submitted()  # goes on as soon as a task ends
        assert batch.progress.succeeded <= 2


async def test_outcomes_can_be_pickled_before_and_after_video_is_read():
    """The pickle always holds a `Video`, which another version of Python reads, too."""
    wire = Wire()
    async with client(wire) as c:
        result = await (await c.submit_many(boats(2))).result()
    assert result[0].video is not None
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert all(b"Video" in pickle.dumps(outcome) for outcome in (*result, *again))
    assert copy.deepcopy(result) == result
