"""Queues, endings, cancelling and forgetting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import Emulator, Settings
from callsheet.emulator.service import Service
from emulator.desk import EPOCH, TWO, problem, sample


DAY = 86_400


async def test_tasks_run_in_order_and_so_many_at_a_time(desk):
    """With two places, tasks start first come, first served, at the moment a place is free."""
    d = desk(concurrency=2)
    ids = [await d.created() for _ in range(5)]
    states = [await d.status(task_id) for task_id in ids]
    assert states == ["running", "running", "queued", "queued", "queued"]
    d.later(30)
    states = [await d.status(task_id) for task_id in ids]
    assert states == ["succeeded", "succeeded", "running", "running", "queued"]
    d.later(60)
    body = (await d.get(ids[4])).json()
    assert body["status"] == "succeeded"
    assert body["updated_at"] == EPOCH + 90


async def test_models_and_tiers_have_queues_of_their_own(desk):
    """A full queue of one model or tier holds no other up."""
    d = desk(concurrency=1)
    await d.created()
    assert await d.status(await d.created()) == "queued"
    assert await d.status(await d.created(model=TWO)) == "running"
    assert await d.status(await d.created(model=TWO, resolution="4k")) == "running"
    assert await d.status(await d.created(service_tier="flex")) == "running"


async def test_published_concurrency_is_the_default(desk):
    """Ten tasks of 1.5 pro run at once, five of 1.0 lite, one of 2.0 at 4k."""
    d = desk()
    cases = [({}, 10), ({"model": "doubao-seedance-1-0-lite-t2v-250428"}, 5)]
    for fields, places in [*cases, ({"model": TWO, "resolution": "4k"}, 1)]:
        ids = [await d.created(**fields) for _ in range(places + 1)]
        states = [await d.status(task_id) for task_id in ids]
        assert states == ["running"] * places + ["queued"]


async def test_priority_orders_the_queue(desk):
    """On 2.x the higher priority starts first, equal ones in order."""
    d = desk(concurrency=1)
    await d.created(model=TWO)
    low, high, same = [await d.created(model=TWO, priority=p) for p in (0, 9, 9)]
    d.later(30)
    assert await d.status(high) == "running"
    d.later(30)
    assert await d.status(same) == "running"
    assert await d.status(low) == "queued"


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("A cat [fail]", "failed", "InternalServiceError"),
        ("A cat [reject]", "failed", "OutputVideoSensitiveContentDetected"),
        ("A cat [expire]", "expired", None),
        ("A cat", "succeeded", None),
    ],
)
async def test_marks_in_the_prompt_choose_the_ending(desk, prompt, status, code):
    """Each ending can be rehearsed; only success is billed and has a video."""
    d = desk()
    task_id = await d.created(prompt)
    d.later(30)
    body = (await d.get(task_id)).json()
    assert body["status"] == status
    assert body.get("error", {}).get("code") == code
    assert ("content" in body) == ("usage" in body) == (status == "succeeded")
    assert d.emulator.ledger.billed == (status == "succeeded")


async def test_a_refused_prompt_makes_no_task(desk):
    """Input moderation refuses on create, and nothing is booked."""
    d = desk()
    answer = await d.create("A cat [refuse]")
    assert problem(answer) == (400, "InputTextSensitiveContentDetected", "content")
    assert d.emulator.ledger.created == 0


async def test_failures_have_the_set_share_and_repeat(desk):
    """A failure rate fails about that share of tasks, the same ones for the same seed."""

    async def endings(seed):
        d = desk(failure_rate=0.3, seed=seed, concurrency=500)
        ids = [await d.created() for _ in range(300)]
        d.later(60)
        rows = d.emulator.ledger.rows()
        assert [row["id"] for row in rows] == ids
        return [row["status"] for row in rows]

    first = await endings(1)
    assert 60 < first.count("failed") < 120
    assert await endings(1) == first
    assert await endings(2) != first


async def test_a_task_expires_after_its_time_queued_or_running(desk):
    """An unfinished task expires on time and frees its place."""
    d = desk(concurrency=1, render_seconds=5000)
    running = await d.created(execution_expires_after=3600)
    waiting = await d.created(execution_expires_after=3601)
    d.later(3600)
    assert await d.status(running) == "expired"
    assert await d.status(waiting) == "running"
    d.later(1)
    assert (await d.get(waiting)).json()["updated_at"] == EPOCH + 3601


async def test_a_queued_task_is_cancelled_with_an_empty_object(desk):
    """Cancelling a queued task works once, frees the line, and is forgotten after 24 h."""
    d = desk(concurrency=1, render_seconds=1000)
    await d.created()
    task_id = await d.created()
    last = await d.created()
    answer = await d.delete(task_id)
    assert (answer.status_code, answer.json()) == (200, sample("31"))
    assert await d.status(task_id) == "cancelled"
    assert (await d.delete(task_id)).status_code == 403
    d.later(1001)
    assert await d.status(last) == "running"
    d.later(DAY - 1010)
    assert (await d.get(task_id)).status_code == 200
    d.later(20)
    assert (await d.get(task_id)).status_code == 404
    assert d.emulator.ledger.created == 3


async def test_a_running_task_cannot_be_cancelled(desk):
    """DELETE of a running task is the published 409, and the task is billed."""
    d = desk()
    task_id = await d.created()
    answer = await d.delete(task_id)
    assert (answer.status_code, answer.json()) == (409, sample("33"))
    d.later(30)
    assert await d.status(task_id) == "succeeded"


async def test_deleting_an_ended_task_removes_its_record(desk):
    """DELETE takes an ended task off the record; the books keep it."""
    d = desk()
    task_id = await d.created()
    d.later(30)
    assert (await d.delete(task_id)).json() == {}
    assert (await d.get(task_id)).status_code == 404
    assert (await d.delete(task_id)).status_code == 404
    assert d.emulator.ledger.billed == 1


async def test_a_record_is_kept_for_seven_days(desk):
    """After seven days a task is gone from GET and list."""
    d = desk()
    task_id = await d.created()
    d.later(7 * DAY - 10)
    assert (await d.list(task_id)).json()["total"] == 1
    d.later(10)
    assert (await d.get(task_id)).status_code == 404
    assert (await d.list(task_id)).json()["total"] == 0


async def test_render_times_are_drawn_from_the_seed(desk):
    """Render times vary around the median and repeat for a seed."""

    async def spans(seed):
        d = desk(seed=seed, render_sigma=0.25, concurrency=500)
        for _ in range(200):
            await d.created()
        d.later(500)
        return [row["updated_at"] - row["created_at"] for row in d.emulator.ledger.rows()]

    first = await spans(1)
    assert first == await spans(1) != await spans(2)
    assert 28 < sorted(first)[100] < 32
    assert max(first) > 1.3 * min(first)


async def test_longer_and_larger_videos_take_longer(desk):
    """Without a set median, render times grow with length and resolution."""
    d = desk(render_seconds=None)
    for fields in (
        {"duration": 4, "resolution": "480p"},
        {"duration": 4, "resolution": "1080p"},
        {"duration": 12, "resolution": "1080p"},
    ):
        await d.created(**fields)
    d.later(1000)
    spans = [row["updated_at"] - row["created_at"] for row in d.emulator.ledger.rows()]
    assert 30 < spans[0] < spans[1] < spans[2] < 200


async def test_speed_makes_emulated_time_run_faster(desk):
    """At speed 60 half a second of the clock is half a minute of the service."""
    d = desk(speed=60)
    task_id = await d.created()
    d.later(0.5)
    body = (await d.get(task_id)).json()
    assert body["status"] == "succeeded"
    assert body["updated_at"] == EPOCH + 30


async def test_emulated_time_starts_at_the_wall_clock():
    """Without an epoch, timestamps start at today's time."""
    emulator = Emulator(clock=lambda: 5.0)
    assert emulator.now() > EPOCH - 400 * DAY


async def test_the_state_is_open_to_look_at(desk):
    """Books and counters are readable over HTTP without a key."""
    d = desk(lists_per_second=1)
    task_id = await d.created(safety_identifier="token")
    d.later(30)
    await d.get(task_id)
    await d.list()
    d.seconds -= 0.999
    await d.list()
    state = (await d.download("http://desk.test/_emulator/state")).json()
    assert (state["created"], state["billed"], state["tokens"]) == (1, 1, 108_900)
    assert state["requests"]["create"] == {"seen": 1, "refused": 0}
    assert state["requests"]["list"] == {"seen": 2, "refused": 1}
    assert state["tasks"][0]["safety_identifier"] == "token"
    assert "tasks" not in (await d.download("http://desk.test/_emulator/state?rows=false")).json()


async def test_the_books_tell_what_was_bought_twice(desk):
    """An identifier of several tasks stands out, once they are made and once they are billed."""
    d = desk()
    for name in ("a", "b", "b", "c", "c", "c"):
        await d.created(safety_identifier=name)
    await d.created("A cat [fail]", safety_identifier="a")
    for _ in range(2):
        await d.created()
    ledger = d.emulator.ledger
    assert ledger.created_twice == {"a": 2, "b": 2, "c": 3}
    assert (ledger.billed, ledger.billed_twice) == (0, {})
    d.later(30)
    ledger = d.emulator.ledger
    assert (ledger.created, ledger.billed) == (9, 8)
    assert ledger.billed_twice == {"b": 2, "c": 3}
    state = (await d.download("http://desk.test/_emulator/state")).json()
    assert (state["created_twice"], state["billed_twice"]) == (
        {"a": 2, "b": 2, "c": 3},
        {"b": 2, "c": 3},
    )


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["create", "delete", "wait"]), st.integers(0, 60)), max_size=60
    ),
    places=st.integers(1, 3),
)
def test_places_are_never_exceeded_and_never_idle(moves, places):
    """Whatever comes, at most so many tasks run, and none waits beside a free place."""
    settings = Settings(concurrency=places, render_seconds=30, creates_per_minute=10**6)
    service = Service(settings)
    now = EPOCH
    body = {"model": "doubao-seedance-1-5-pro-251215", "content": [{"type": "text", "text": "a"}]}
    account = service.account("key")
    for move, number in moves:
        now += 1.0
        tasks = list(account.tasks.values())
        if move == "create":
            service.create("key", body, now)
        elif move == "wait":
            now += number
            service.advance(now)
        elif tasks and tasks[number % len(tasks)].status in {"queued", "succeeded"}:
            service.advance(now)
            task = tasks[number % len(tasks)]
            if task.status != "running":
                service.delete("key", task.id, now)
        states = [task.status for task in account.tasks.values()]
        assert states.count("running") <= places
        assert states.count("queued") == account.queued
        assert not account.queued or states.count("running") == places
