"""What the provider's times tell of its clock."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.provider_clock import ROUNDED_DOWN, ProviderClock
from making import moments


@given(st.lists(st.tuples(moments, moments, moments | st.none()), min_size=1))
def test_a_change_lies_between_the_looks_before_and_after_it(changes):
    """Whatever the provider says, a change is believed to lie where it can lie."""
    clock = ProviderClock()
    for one, other, updated_at in changes:
        since, now = sorted((one, other))
        assert since <= clock.local(updated_at, since=since, now=now) <= now


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ahead", [-1e6, 0.3, 1e9])
def test_the_time_of_a_change_is_told_without_bias(whole, ahead):
    """Whatever the provider's clock and whether it rounds: neither too early nor too late."""
    clock, rng, errors = ProviderClock(), random.Random(1), []
    for number in range(400):
        change = 10.0 * number + 5.0 + rng.uniform(0.0, 5.0)
        said = float(math.floor(change + ahead)) if whole else change + ahead
        since, now = change - rng.uniform(0.0, 5.0), change + rng.uniform(0.0, 5.0)
        errors.append(clock.local(said, since=since, now=now) - change)
    assert statistics.fmean(errors[100:]) == pytest.approx(0.0, abs=0.15)
    assert max(map(abs, errors[100:])) < ROUNDED_DOWN


def test_one_who_was_believed_to_live_too_long_spoils_no_clock():
    """A task attached after its end is no proof against the clock that all others show."""
    clock = ProviderClock()
    clock.local(50.0, since=-math.inf, now=90.0)
    for number in range(100):
        change = 100.0 + 7.25 * number
        believed = clock.local(float(math.floor(change)), since=change - 4.0, now=change + 1.0)
        assert believed == pytest.approx(change, abs=2.0)


def seen_changes(clock: ProviderClock, times: range, *, ahead: float = 0.0) -> float:
    """Changes each seen within 3 s, by a clock that is so far *ahead*; how far off the last is."""
    for now in times:
        believed = clock.local(float(now - 1) + ahead, since=now - 3.0, now=float(now))
    return believed - (now - 1)


@pytest.mark.parametrize("wrong", [3600.0, 8.0, -3600.0])
def test_one_absurd_time_is_no_clock(wrong):
    """A time that contradicts all others moves nothing."""
    clock = ProviderClock()
    before = seen_changes(clock, range(10, 100, 10))
    clock.local(100.0 + wrong, since=98.0, now=101.0)
    assert seen_changes(clock, range(110, 150, 10)) == pytest.approx(before, abs=0.01)


@pytest.mark.parametrize("wrong", [3600.0, 30.0, -3600.0])
def test_a_clock_that_was_set_is_believed(wrong):
    """Once several times in a row agree on another clock, that is the one."""
    clock = ProviderClock()
    before = seen_changes(clock, range(10, 100, 10))
    after = seen_changes(clock, range(110, 200, 10), ahead=wrong)
    assert after == pytest.approx(before, abs=1.0)
