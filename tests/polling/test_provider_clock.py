"""How the provider's clock is found from the times of changes."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.queue_model import ROUNDED_DOWN, ProviderClock
from making import moments


@given(st.lists(st.tuples(moments, moments, moments | st.none()), min_size=1))
def test_a_change_is_between_the_polls_before_and_after_it(changes):
    """Whatever time the provider gives, the local time lies between the two polls."""
    clock = ProviderClock()
    for one, other, updated_at in changes:
        since, now = sorted((one, other))
        assert since <= clock.local(updated_at, since=since, now=now) <= now


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ahead", [-1e6, 0.3, 1e9])
def test_the_time_of_a_change_has_no_bias(whole, ahead):
    """Whatever the offset, and with or without rounding, times are on average exact."""
    clock, rng, errors = ProviderClock(), random.Random(1), []
    for number in range(400):
        change = 10.0 * number + 5.0 + rng.uniform(0.0, 5.0)
        said = float(math.floor(change + ahead)) if whole else change + ahead
        since, now = change - rng.uniform(0.0, 5.0), change + rng.uniform(0.0, 5.0)
        errors.append(clock.local(said, since=since, now=now) - change)
    assert statistics.fmean(errors[100:]) == pytest.approx(0.0, abs=0.15)
    assert max(map(abs, errors[100:])) < ROUNDED_DOWN


def test_a_task_attached_after_its_end_does_not_shift_the_clock():
    """A change that is seen long after it happened does not contradict the other changes."""
    clock = ProviderClock()
    clock.local(50.0, since=-math.inf, now=90.0)
    for number in range(100):
        change = 100.0 + 7.25 * number
        believed = clock.local(float(math.floor(change)), since=change - 4.0, now=change + 1.0)
        assert believed == pytest.approx(change, abs=2.0)


def seen_changes(clock: ProviderClock, times: range, *, ahead: float = 0.0) -> float:
    """See changes within 3 s by a clock that is *ahead* seconds ahead; return the last error."""
    for now in times:
        believed = clock.local(float(now - 1) + ahead, since=now - 3.0, now=float(now))
    return believed - (now - 1)


@pytest.mark.parametrize("wrong", [3600.0, 8.0, -3600.0])
def test_a_single_wrong_time_does_not_shift_the_clock(wrong):
    """A time that contradicts all others has no effect."""
    clock = ProviderClock()
    before = seen_changes(clock, range(10, 100, 10))
    clock.local(100.0 + wrong, since=98.0, now=101.0)
    assert seen_changes(clock, range(110, 150, 10)) == pytest.approx(before, abs=0.01)


@pytest.mark.parametrize("wrong", [3600.0, 30.0, -3600.0])
def test_a_clock_that_was_set_is_followed(wrong):
    """If several times in a row agree on another clock, that clock is used."""
    clock = ProviderClock()
    before = seen_changes(clock, range(10, 100, 10))
    after = seen_changes(clock, range(110, 200, 10), ahead=wrong)
    assert after == pytest.approx(before, abs=1.0)
