"""Queues, outcomes, cancelling and the end of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import Emulator, Settings
from callsheet.emulator.service import Service
from emulator.desk import EPOCH, TWO, problem, sample


DAY = 86_400


async def test_tasks_run_in_order_up_to_the_limit(make_client):
    """With a limit of two, tasks start in order of creation, as soon as a running one ends."""
    client = make_client(concurrency=2)
    ids = [await client.created() for _ in range(5)]
    states = [await client.status(task_id) for task_id in ids]
    assert states == ["running", "running", "queued", "queued", "queued"]
    client.advance(30)
    states = [await client.status(task_id) for task_id in ids]
    assert states == ["succeeded", "succeeded", "running", "running", "queued"]
    client.advance(60)
    body = (await client.get(ids[4])).json()
    assert body["status"] == "succeeded"
    assert body["updated_at"] == EPOCH + 90


async def test_models_and_tiers_have_queues_of_their_own(make_client):
    """A full queue of one model or tier does not delay another."""
    client = make_client(concurrency=1)
    await client.created()
    assert await client.status(await client.created()) == "queued"
    assert await client.status(await client.created(model=TWO)) == "running"
    assert await client.status(await client.created(model=TWO, resolution="4k")) == "running"
    assert await client.status(await client.created(service_tier="flex")) == "running"


async def test_published_concurrency_is_the_default(make_client):
    """Ten tasks of 1.5 pro run at once, five of 1.0 lite, one of 2.0 at 4k."""
    client = make_client()
    cases = [({}, 10), ({"model": "doubao-seedance-1-0-lite-t2v-250428"}, 5)]
    for fields, places in [*cases, ({"model": TWO, "resolution": "4k"}, 1)]:
        ids = [await client.created(**fields) for _ in range(places + 1)]
        states = [await client.status(task_id) for task_id in ids]
        assert states == ["running"] * places + ["queued"]


async def test_priority_orders_the_queue(make_client):
    """On 2.x tasks with higher priority start first, and equal ones in order of creation."""
    client = make_client(concurrency=1)
    await client.created(model=TWO)
    low, high, same = [await client.created(model=TWO, priority=p) for p in (0, 9, 9)]
    client.advance(30)
    assert await client.status(high) == "running"
    client.advance(30)
    assert await client.status(same) == "running"
    assert await client.status(low) == "queued"


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("A cat [fail]", "failed", "InternalServiceError"),
        ("A cat [reject]", "failed", "OutputVideoSensitiveContentDetected"),
        ("A cat [expire]", "expired", None),
        ("A cat", "succeeded", None),
    ],
)
async def test_marks_in_the_prompt_choose_the_ending(make_client, prompt, status, code):
    """A mark causes each outcome; only a success is billed and has a video."""
    client = make_client()
    task_id = await client.created(prompt)
    client.advance(30)
    body = (await client.get(task_id)).json()
    assert body["status"] == status
    assert body.get("error", {}).get("code") == code
    assert ("content" in body) == ("usage" in body) == (status == "succeeded")
    assert client.emulator.ledger.billed == (status == "succeeded")


async def test_a_refused_prompt_makes_no_task(make_client):
    """Input moderation refuses the create, and the ledger stays empty."""
    client = make_client()
    answer = await client.create("A cat [refuse]")
    assert problem(answer) == (400, "InputTextSensitiveContentDetected", "content")
    assert client.emulator.ledger.created == 0


async def test_failures_have_the_set_share_and_repeat(make_client):
    """About the set share of tasks fail, the same ones for the same seed."""

    async def endings(seed):
        client = make_client(failure_rate=0.3, seed=seed, concurrency=500)
        ids = [await client.created() for _ in range(300)]
        client.advance(60)
        rows = client.emulator.ledger.rows()
        assert [row["id"] for row in rows] == ids
        return [row["status"] for row in rows]

    first = await endings(1)
    assert 60 < first.count("failed") < 120
    assert await endings(1) == first
    assert await endings(2) != first


async def test_a_task_expires_after_its_time_queued_or_running(make_client):
    """An unfinished task expires on time, and the next one starts."""
    client = make_client(concurrency=1, render_seconds=5000)
    running = await client.created(execution_expires_after=3600)
    waiting = await client.created(execution_expires_after=3601)
    client.advance(3600)
    assert await client.status(running) == "expired"
    assert await client.status(waiting) == "running"
    client.advance(1)
    assert (await client.get(waiting)).json()["updated_at"] == EPOCH + 3601


async def test_a_queued_task_is_cancelled_with_an_empty_object(make_client):
    """A queued task can be cancelled once, leaves the queue, and its record is gone after 24 h."""
    client = make_client(concurrency=1, render_seconds=1000)
    await client.created()
    task_id = await client.created()
    last = await client.created()
    answer = await client.delete(task_id)
    assert (answer.status_code, answer.json()) == (200, sample("31"))
    assert await client.status(task_id) == "cancelled"
    assert (await client.delete(task_id)).status_code == 403
    client.advance(1001)
    assert await client.status(last) == "running"
    client.advance(DAY - 1010)
    assert (await client.get(task_id)).status_code == 200
    client.advance(20)
    assert (await client.get(task_id)).status_code == 404
    assert client.emulator.ledger.created == 3


async def test_a_running_task_cannot_be_cancelled(make_client):
    """DELETE of a running task gets the published 409, and the task succeeds."""
    client = make_client()
    task_id = await client.created()
    answer = await client.delete(task_id)
    assert (answer.status_code, answer.json()) == (409, sample("33"))
    client.advance(30)
    assert await client.status(task_id) == "succeeded"


async def test_deleting_an_ended_task_removes_its_record(make_client):
    """DELETE removes the record of an ended task; the ledger keeps it."""
    client = make_client()
    task_id = await client.created()
    client.advance(30)
    assert (await client.delete(task_id)).json() == {}
    assert (await client.get(task_id)).status_code == 404
    assert (await client.delete(task_id)).status_code == 404
    assert client.emulator.ledger.billed == 1


async def test_a_record_is_kept_for_seven_days(make_client):
    """After seven days GET and list no longer find a task."""
    client = make_client()
    task_id = await client.created()
    client.advance(7 * DAY - 10)
    assert (await client.list(task_id)).json()["total"] == 1
    client.advance(10)
    assert (await client.get(task_id)).status_code == 404
    assert (await client.list(task_id)).json()["total"] == 0


async def test_render_times_are_drawn_from_the_seed(make_client):
    """Render times vary around the median and are the same for the same seed."""

    async def spans(seed):
        client = make_client(seed=seed, render_sigma=0.25, concurrency=500)
        for _ in range(200):
            await client.created()
        client.advance(500)
        return [row["updated_at"] - row["created_at"] for row in client.emulator.ledger.rows()]

    first = await spans(1)
    assert first == await spans(1) != await spans(2)
    assert 28 < sorted(first)[100] < 32
    assert max(first) > 1.3 * min(first)


async def test_longer_and_larger_videos_take_longer(make_client):
    """Without a set median, render times grow with length and resolution."""
    client = make_client(render_seconds=None)
    for fields in (
        {"duration": 4, "resolution": "480p"},
        {"duration": 4, "resolution": "1080p"},
        {"duration": 12, "resolution": "1080p"},
    ):
        await client.created(**fields)
    client.advance(1000)
    spans = [row["updated_at"] - row["created_at"] for row in client.emulator.ledger.rows()]
    assert 30 < spans[0] < spans[1] < spans[2] < 200


async def test_speed_makes_emulated_time_run_faster(make_client):
    """At speed 60 half a second of the clock is half a minute of emulated time."""
    client = make_client(speed=60)
    task_id = await client.created()
    client.advance(0.5)
    body = (await client.get(task_id)).json()
    assert body["status"] == "succeeded"
    assert body["updated_at"] == EPOCH + 30


async def test_emulated_time_starts_at_the_wall_clock():
    """Without an epoch, timestamps start at the wall clock's time."""
    emulator = Emulator(clock=lambda: 5.0)
    assert emulator.now() > EPOCH - 400 * DAY


async def test_the_state_can_be_read(make_client):
    """Ledger and request counts can be read over HTTP without a key."""
    client = make_client(lists_per_second=1)
    task_id = await client.created(safety_identifier="token")
    client.advance(30)
    await client.get(task_id)
    await client.list()
    client.seconds -= 0.999
    await client.list()
    state = (await client.download("http://emulator.test/_emulator/state")).json()
    assert (state["created"], state["billed"], state["tokens"]) == (1, 1, 108_900)
    assert state["requests"]["create"] == {"seen": 1, "refused": 0}
    assert state["requests"]["list"] == {"seen": 2, "refused": 1}
    assert state["tasks"][0]["safety_identifier"] == "token"
    assert (
        "tasks"
        not in (await client.download("http://emulator.test/_emulator/state?rows=false")).json()
    )


async def test_the_ledger_lists_what_was_bought_twice(make_client):
    """The ledger lists identifiers with several tasks, both created and billed."""
    client = make_client()
    for name in ("a", "b", "b", "c", "c", "c"):
        await client.created(safety_identifier=name)
    await client.created("A cat [fail]", safety_identifier="a")
    for _ in range(2):
        await client.created()
    ledger = client.emulator.ledger
    assert ledger.created_twice == {"a": 2, "b": 2, "c": 3}
    assert (ledger.billed, ledger.billed_twice) == (0, {})
    client.advance(30)
    ledger = client.emulator.ledger
    assert (ledger.created, ledger.billed) == (9, 8)
    assert ledger.billed_twice == {"b": 2, "c": 3}
    state = (await client.download("http://emulator.test/_emulator/state")).json()
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
def test_the_limit_is_always_used_and_never_exceeded(moves, places):
    """At most the set number of tasks run, and no task waits while fewer run."""
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
