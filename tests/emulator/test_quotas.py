"""Quotas: what is refused, and what must not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import ARK
from callsheet.emulator.quota import Window
from emulator.desk import TWO, problem, sample


async def test_creates_above_the_minute_quota_are_refused(desk):
    """The create after the quota is the published 429, makes no task, and passes a minute later."""
    d = desk(creates_per_minute=3)
    for _ in range(3):
        await d.created()
    answer = await d.create()
    published = sample("46")["error"]
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == published["code"]
    assert answer.json()["error"]["message"] == published["message"]
    assert await d.created(model=TWO)
    d.later(58)
    await d.created()
    assert d.emulator.ledger.created == 5
    assert d.emulator.requests.create.refused == 1


async def test_published_creates_per_minute_are_the_default(desk):
    """Lite models take 300 creates a minute, shared by both tiers."""
    d = desk()
    lite = "doubao-seedance-1-0-lite-t2v-250428"
    for number in range(300):
        await d.created(model=lite, service_tier="flex" if number % 2 else "default")
    assert (await d.create(model=lite)).status_code == 429


async def test_a_full_queue_refuses_creates(desk):
    """Over the queue limit the create is the published 429; a freed place lets one in."""
    d = desk(concurrency=1, queue_limit=2)
    for _ in range(3):
        await d.created()
    answer = await d.create()
    published = sample("48")["error"]
    error = answer.json()["error"]
    assert answer.status_code == 429
    assert (error["code"], error["type"]) == (published["code"], published["type"])
    assert error["message"].startswith(published["message"].removesuffix("{{id}}"))
    d.later(30)
    await d.created()
    assert d.emulator.requests.create.refused == 1


async def test_a_running_place_needs_no_queue(desk):
    """A queue limit of none still takes what can run at once."""
    d = desk(concurrency=1, queue_limit=0)
    await d.created()
    assert problem(await d.create())[0] == 429


async def test_two_lists_in_one_second_are_one_too_many(desk):
    """The second list call within a second is refused, the one after a second is not."""
    d = desk()
    assert (await d.list()).status_code == 200
    d.later(-0.5)
    assert problem(await d.list()) == (429, "AccountRateLimitExceeded", "")
    assert (await d.list()).status_code == 200


async def test_lists_spaced_a_second_apart_are_never_refused(desk):
    """Jitter of some milliseconds on calls that are a second apart costs nothing."""
    d = desk()
    for number in range(50):
        d.later(0.02 if number % 2 else -0.02)
        assert (await d.list()).status_code == 200


async def test_quotas_belong_to_the_account(desk):
    """One key's list calls do not use up another's."""
    d = desk()
    assert (await d.list()).status_code == 200
    d.key = "other"
    d.later(-1)
    assert (await d.list()).status_code == 200


@pytest.mark.parametrize(("method", "verb"), [("GET", "get"), ("DELETE", "delete")])
async def test_the_twenty_first_call_in_a_second_is_refused(desk, method, verb):
    """GET and DELETE take 20 calls a second each."""
    d = desk()
    answers = [(await d.send(method, f"{ARK}/none")).status_code for _ in range(21)]
    assert answers == [404] * 20 + [429]
    assert getattr(d.emulator.requests, verb).refused == 1
    d.later(1)
    assert (await d.send(method, f"{ARK}/none")).status_code == 404


@given(
    gaps=st.lists(st.floats(0, 2), max_size=80), limit=st.integers(1, 5), period=st.floats(0.5, 60)
)
def test_a_window_never_lets_more_than_its_limit_in(gaps, limit, period):
    """Among accepted calls, any limit + 1 span at least 95 % of the period."""
    window = Window(limit, period)
    now, accepted = 0.0, []
    for gap in gaps:
        now += gap
        if window.take(now):
            accepted.append(now)
    spans = [late - early for early, late in zip(accepted, accepted[limit:], strict=False)]
    assert all(span >= period * 0.95 - 1e-6 for span in spans)
