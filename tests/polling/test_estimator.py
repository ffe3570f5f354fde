"""What past ends teach."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.render_time.estimator import ROUNDED_DOWN, STEADY, Estimator
from making import moments
from simulated_provider import PRIOR


DELAY = 5.0


def experience() -> Estimator:
    """Experience of nothing."""
    return Estimator(delay=DELAY, prior=lambda _: PRIOR)


@given(st.lists(st.tuples(moments, moments, moments | st.none()), min_size=1))
def test_a_change_lies_between_the_looks_before_and_after_it(changes):
    """Whatever the provider says, a change is believed to lie where it can lie."""
    past = experience()
    for one, other, updated_at in changes:
        since, now = sorted((one, other))
        assert since <= past.local(updated_at, since=since, now=now) <= now


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ahead", [-1e6, 0.3, 1e9])
def test_the_time_of_a_change_is_told_without_bias(whole, ahead):
    """Whatever the provider's clock and whether it rounds: neither too early nor too late."""
    past, rng, errors = experience(), random.Random(1), []
    for number in range(400):
        change = 10.0 * number + 5.0 + rng.uniform(0.0, 5.0)
        said = float(math.floor(change + ahead)) if whole else change + ahead
        since, now = change - rng.uniform(0.0, 5.0), change + rng.uniform(0.0, 5.0)
        errors.append(past.local(said, since=since, now=now) - change)
    assert statistics.fmean(errors[100:]) == pytest.approx(0.0, abs=0.15)
    assert max(map(abs, errors[100:])) < ROUNDED_DOWN


def test_one_who_was_believed_to_live_too_long_spoils_no_clock():
    """A task attached after its end is no proof against the clock that all others show."""
    past = experience()
    past.local(50.0, since=-math.inf, now=90.0)
    for number in range(100):
        change = 100.0 + 7.25 * number
        believed = past.local(float(math.floor(change)), since=change - 4.0, now=change + 1.0)
        assert believed == pytest.approx(change, abs=2.0)


def seen_changes(past: Estimator, times: range, *, ahead: float = 0.0) -> float:
    """Changes each seen within 3 s, by a clock that is so far *ahead*; how far off the last is."""
    for now in times:
        believed = past.local(float(now - 1) + ahead, since=now - 3.0, now=float(now))
    return believed - (now - 1)


@pytest.mark.parametrize("wrong", [3600.0, 8.0, -3600.0])
def test_one_absurd_time_is_no_clock(wrong):
    """A time that contradicts all others moves nothing."""
    past = experience()
    before = seen_changes(past, range(10, 100, 10))
    past.local(100.0 + wrong, since=98.0, now=101.0)
    assert seen_changes(past, range(110, 150, 10)) == pytest.approx(before, abs=0.01)


@pytest.mark.parametrize("wrong", [3600.0, 30.0, -3600.0])
def test_a_clock_that_was_set_is_believed(wrong):
    """Once several times in a row agree on another clock, that is the one."""
    past = experience()
    before = seen_changes(past, range(10, 100, 10))
    after = seen_changes(past, range(110, 200, 10), ahead=wrong)
    assert after == pytest.approx(before, abs=1.0)


@given(st.lists(st.floats(0.0, 1e4), max_size=300))
def test_the_aim_stays_near_what_is_asked_for(lates):
    """No run of late or early ends makes the aim absurd."""
    past = experience()
    for late in lates:
        past.noticed(late)
        assert DELAY / 3.0 <= past.aim <= 2.0 * DELAY


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_the_delay_reached_is_the_one_asked_for_from_the_start(factor):
    """Plans that reach more or less than is aimed for: what that cost at first is made up for."""
    past, lates = experience(), []
    for _ in range(1_000):
        lates.append(factor * past.aim)
        past.noticed(lates[-1])
    assert past.aim == pytest.approx(DELAY / factor, rel=0.01)
    assert statistics.fmean(lates) == pytest.approx(DELAY, rel=0.005)
    assert factor == 1.0 or abs(DELAY - DELAY / factor) * STEADY / 1_000 > 0.005 * DELAY
