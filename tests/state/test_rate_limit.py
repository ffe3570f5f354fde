"""The rate limit: no period holds too many requests, and none waits without need."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callsheet._state.rate_limit import JITTER, RateLimit
from making import gaps, moments, most_in_window, pauses


limits = st.integers(1, 40) | st.floats(0.05, 40)
periods = st.sampled_from([1.0, 60.0]) | st.floats(0.01, 3600)
bursts = st.integers(1, 50)


@st.composite
def limits_by_verb(draw: st.DrawFn) -> RateLimit:
    """Rate limits of every kind."""
    return RateLimit(limit=draw(limits), period=draw(periods), burst=draw(bursts))


def requests(start: float, pauses: list[float], period: float) -> list[float]:
    """Ascending times from *start* on; *pauses* are shares of the period."""
    return list(accumulate((pause * period for pause in pauses), initial=start))


def at_once(start: float, budget: RateLimit) -> object:
    """The time *start*, apart from rounding."""
    return pytest.approx([start] * budget.burst, rel=0, abs=1e-7)


shares = st.lists(st.just(0.0) | st.floats(0, 0.1) | st.floats(0, 3), max_size=150)


@given(limits_by_verb(), moments, shares)
def test_no_window_holds_more_than_the_limit(budget, start, shares):
    """Whatever the request times are, no closed window of a period holds more than the limit."""
    times = [budget.take(now=now) for now in requests(start, shares, budget.period)]
    assert most_in_window(times, budget.period) <= math.ceil(budget.limit)


@given(limits_by_verb(), moments, shares)
def test_over_a_long_time_fractions_of_a_limit_count(budget, start, shares):
    """In many periods there are at most the limit per period, plus one burst."""
    times = [budget.take(now=now) for now in requests(start, shares, budget.period)]
    periods = (times[-1] - times[0] + 1e-6) / budget.period  # late times are rounded
    assert len(times) <= periods * budget.limit / (1 + JITTER) + budget.burst + 1e-3


@given(limits_by_verb(), moments, shares)
def test_times_are_in_order_and_never_in_the_past(budget, start, shares):
    """Each time is not before its request and not before an earlier time."""
    asked = requests(start, shares, budget.period)
    times = [budget.take(now=now) for now in asked]
    assert all(taken >= now for taken, now in zip(times, asked, strict=True))
    assert all(gap >= 0 for gap in gaps(times))


@given(limits_by_verb(), moments, shares, pauses)
def test_take_returns_the_time_of_ready_at(budget, start, shares, pause):
    """`take` returns exactly the time of `ready_at`, which itself changes nothing."""
    for now in requests(start, shares, budget.period):
        budget.take(now=now)
    later = now + pause
    ready = budget.ready_at(now=later)
    assert budget.ready_at(now=later) == ready
    assert budget.take(now=later) == ready


@given(st.integers(1, 60), st.sampled_from([1.0, 60.0]), bursts)
def test_steady_demand_uses_nearly_all_of_the_limit(limit, period, burst):
    """Constant demand is served at the limit less the burst and the margin."""
    budget = RateLimit(limit=limit, period=period, burst=burst)
    times = [budget.take(now=0.0) for _ in range(40 * limit)]
    served = (len(times) - budget.burst) / (times[-1] / period)
    assert served == pytest.approx((limit - budget.burst + 1) / (1 + JITTER))


@given(limits_by_verb(), moments)
def test_a_whole_burst_goes_at_once_and_no_more(budget, start):
    """After a pause a whole burst goes without waiting, and the next request waits."""
    assert [budget.take(now=start) for _ in range(budget.burst)] == at_once(start, budget)
    assert budget.ready_at(now=start) > start


@given(limits_by_verb(), moments, shares)
def test_a_long_pause_brings_the_burst_back(budget, start, shares):
    """Once the reserved time has passed, one whole burst goes again, and no more."""
    for now in requests(start, shares, budget.period):
        last = budget.take(now=now)
    later = last + (budget.burst + 1) * 1.1 * budget.period / min(budget.limit, 1)
    assert [budget.take(now=later) for _ in range(budget.burst)] == at_once(later, budget)
    assert budget.take(now=later) > later


@given(limits_by_verb(), moments, shares)
def test_slow_demand_never_waits(budget, start, shares):
    """Requests that are rarer than the steady rate never wait."""
    gap = budget.period / (budget.limit - budget.burst + 1) * (1 + 2 * JITTER)
    for now in accumulate((gap * (1 + share) for share in shares), initial=start):
        assert budget.take(now=now) == now


@given(limits, bursts)
@example(limit=0.5, burst=2)
def test_a_burst_above_the_limit_is_ignored(limit, burst):
    """A burst that is larger than the limit counts as one request."""
    budget = RateLimit(limit=limit, burst=burst)
    assert budget.burst == (burst if burst <= limit else 1)


@pytest.mark.parametrize(
    "values", [{"limit": 0}, {"limit": 1, "period": 0}, {"limit": 1, "burst": 0}]
)
def test_limits_that_are_not_positive_are_refused(values):
    """Limit, period and burst must be positive."""
    with pytest.raises(ValueError, match="must be"):
        RateLimit(**values)
