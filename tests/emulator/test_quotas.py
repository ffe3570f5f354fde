"""Quotas: what is refused, and what must not be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import ARK
from callsheet.emulator.quota import Window
from emulator.desk import TWO, problem, sample


async def test_creates_above_the_minute_quota_are_refused(make_client):
    """The create above the quota gets the published 429 and no task; a minute later one works."""
    client = make_client(creates_per_minute=3)
    for _ in range(3):
        await client.created()
    answer = await client.create()
    published = sample("46")["error"]
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == published["code"]
    assert answer.json()["error"]["message"] == published["message"]
    assert await client.created(model=TWO)
    client.advance(58)
    await client.created()
    assert client.emulator.ledger.created == 5
    assert client.emulator.requests.create.refused == 1


async def test_published_creates_per_minute_are_the_default(make_client):
    """Lite models accept 300 creates a minute, shared by both tiers."""
    client = make_client()
    lite = "doubao-seedance-1-0-lite-t2v-250428"
    for number in range(300):
        await client.created(model=lite, service_tier="flex" if number % 2 else "default")
    assert (await client.create(model=lite)).status_code == 429


async def test_a_full_queue_refuses_creates(make_client):
    """A create above the queue limit gets the published 429; after a task has left one works."""
    client = make_client(concurrency=1, queue_limit=2)
    for _ in range(3):
        await client.created()
    answer = await client.create()
    published = sample("48")["error"]
    error = answer.json()["error"]
    assert answer.status_code == 429
    assert (error["code"], error["type"]) == (published["code"], published["type"])
    assert error["message"].startswith(published["message"].removesuffix("{{id}}"))
    client.advance(30)
    await client.created()
    assert client.emulator.requests.create.refused == 1


async def test_a_task_that_runs_at_once_needs_no_queue(make_client):
    """With a queue limit of 0, a create that can run at once is accepted."""
    client = make_client(concurrency=1, queue_limit=0)
    await client.created()
    assert problem(await client.create())[0] == 429


async def test_two_lists_in_one_second_are_one_too_many(make_client):
    """The second list call within a second is refused, the one after a second is not."""
    client = make_client()
    assert (await client.list()).status_code == 200
    client.advance(-0.5)
    assert problem(await client.list()) == (429, "AccountRateLimitExceeded", "")
    assert (await client.list()).status_code == 200


async def test_lists_spaced_a_second_apart_are_never_refused(make_client):
    """Calls a second apart are not refused for some milliseconds of jitter."""
    client = make_client()
    for number in range(50):
        client.advance(0.02 if number % 2 else -0.02)
        assert (await client.list()).status_code == 200


async def test_quotas_belong_to_the_account(make_client):
    """List calls of one key do not count for another key."""
    client = make_client()
    assert (await client.list()).status_code == 200
    client.key = "other"
    client.advance(-1)
    assert (await client.list()).status_code == 200


@pytest.mark.parametrize(("method", "verb"), [("GET", "get"), ("DELETE", "delete")])
async def test_the_twenty_first_call_in_a_second_is_refused(make_client, method, verb):
    """GET and DELETE accept 20 calls a second each."""
    client = make_client()
    answers = [(await client.send(method, f"{ARK}/none")).status_code for _ in range(21)]
    assert answers == [404] * 20 + [429]
    assert getattr(client.emulator.requests, verb).refused == 1
    client.advance(1)
    assert (await client.send(method, f"{ARK}/none")).status_code == 404


@given(
    gaps=st.lists(st.floats(0, 2), max_size=80), limit=st.integers(1, 5), period=st.floats(0.5, 60)
)
def test_a_window_never_lets_more_than_its_limit_in(gaps, limit, period):
    """Any limit + 1 accepted calls in a row span at least 95 % of the period."""
    window = Window(limit, period)
    now, accepted = 0.0, []
    for gap in gaps:
        now += gap
        if window.take(now):
            accepted.append(now)
    spans = [late - early for early, late in zip(accepted, accepted[limit:], strict=False)]
    assert all(span >= period * 0.95 - 1e-6 for span in spans)
