"""The rate limit: no period holds too many requests, and none waits without need."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callsheet._state.rate_limit import (
    JITTER,
    SLOWEST,
    STEADY,
    PollRateLimit,
    ProbingRateLimit,
    RateLimit,
)
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


def times_with_demand(budget: RateLimit, *, since: float, until: float) -> list[float]:
    """The times of requests that are sent as soon as the limit allows."""
    times, now = [], since
    while (now := budget.ready_at(now=now)) < until:
        times.append(budget.take(now=now))
    return times


firsts = st.floats(0.5, 10.0)


@given(firsts, st.floats(1.0, 5.0), st.lists(st.floats(0, 3), max_size=300), st.data())
def test_a_probed_rate_never_passes_its_highest(first, factor, pauses, data):
    """Whatever is sent and refused, no second holds more requests than the highest rate allows."""
    budget = ProbingRateLimit(limit=first, most=first * factor)
    times = []
    for now in accumulate(pauses, initial=0.0):
        times.append(budget.take(now=max(now, times[-1] if times else now)))
        if data.draw(st.integers(0, 9)) == 0:
            budget.refused(now=times[-1])
        assert min(SLOWEST, first) <= budget.limit <= budget.most
    assert most_in_window(times, 1.0) <= math.ceil(budget.most)


@given(firsts, moments)
def test_a_probed_rate_starts_low_and_without_a_burst(first, start):
    """In the first ten seconds no second holds more than the starting rate."""
    budget = ProbingRateLimit(limit=first, most=100.0)
    times = times_with_demand(budget, since=start, until=start + STEADY)
    assert most_in_window(times, 1.0) <= math.ceil(first)
    assert all(gap >= 1.0 / first for gap in gaps(times))


def test_a_probed_rate_is_doubled_each_ten_seconds_while_it_is_used_up():
    """It doubles up to the highest rate, and stays there."""
    budget, rates = ProbingRateLimit(limit=4.0, most=20.0), []
    for number in range(6):
        times_with_demand(budget, since=10.5 * number, until=10.5 * (number + 1))
        rates.append(budget.limit)
    assert rates == [8.0, 16.0, 20.0, 20.0, 20.0, 20.0]


@given(st.floats(2.1, 10.0))
def test_a_probed_rate_that_is_not_used_up_stays(slack):
    """Requests that are rarer than the rate prove nothing about a higher one."""
    budget = ProbingRateLimit(limit=4.0, most=20.0)
    for number in range(1000):
        budget.take(now=number * slack / 4.0)
    assert budget.limit == 4.0


def test_refusals_that_come_together_halve_a_probed_rate_once():
    """Refusals of requests at one rate count once, and later ones halve it again."""
    budget = ProbingRateLimit(limit=8.0, most=20.0)
    times_with_demand(budget, since=0.0, until=5.0)
    for now in (5.0, 5.1, 5.9):
        budget.refused(now=now)
    assert budget.limit == 4.0
    budget.refused(now=6.0)
    assert budget.limit == 2.0


def test_a_refusal_of_the_first_request_after_a_pause_halves_a_probed_rate():
    """It also counts if the rate was not used up before."""
    budget = ProbingRateLimit(limit=4.0, most=20.0)
    for now in (0.0, 100.0):
        budget.take(now=now)
    budget.refused(now=100.1)
    assert budget.limit == 2.0


def test_a_refusal_restarts_the_ten_seconds():
    """A rate is doubled only if nothing was refused for ten seconds."""
    budget = ProbingRateLimit(limit=8.0, most=20.0)
    times_with_demand(budget, since=0.0, until=9.0)
    budget.refused(now=9.0)
    times_with_demand(budget, since=9.0, until=18.5)
    assert budget.limit == 4.0
    times_with_demand(budget, since=18.5, until=20.0)
    assert budget.limit == 8.0


def test_a_probed_rate_is_not_lowered_without_end():
    """If everything is refused, a request goes every few seconds, and the rate recovers."""
    budget, now = ProbingRateLimit(limit=4.0, most=20.0), 0.0
    while now < 3600.0:
        now = budget.take(now=now)
        budget.refused(now=now)
    assert budget.limit == SLOWEST
    assert budget.ready_at(now=now) < now + 5.0
    times_with_demand(budget, since=now, until=now + 100.0)
    assert budget.limit == 20.0


def times_of_polls(
    share: PollRateLimit, *, since: float, until: float, overdue_at: float = math.inf
) -> list[float]:
    """The times of polls that are sent as soon as their share allows."""
    times, now = [], since
    while (now := share.ready_at(now=now, overdue_at=overdue_at)) < until:
        share.take(now=now)
        times.append(now)
    return times


rates = st.integers(1, 40)


@given(rates, moments)
def test_polls_take_half_of_a_quota_in_the_long_run(rate, start):
    """After a burst of one second, polls get half of the quota, evenly spaced."""
    times = times_of_polls(PollRateLimit(RateLimit(limit=rate)), since=start, until=start + 400.0)
    assert len(times) == pytest.approx(200.0 * rate / (1 + JITTER) + rate, abs=2 + rate)
    last = [at for at in times if at > start + 100.0]
    assert gaps(last) == pytest.approx([2.0 * (1 + JITTER) / rate] * (len(last) - 1), abs=1e-6)


@given(st.integers(2, 40), moments)
def test_polls_may_use_what_a_quota_allows_in_a_second_at_once(rate, start):
    """A burst of one second goes at the full rate before the half counts, again after a pause."""
    share = PollRateLimit(RateLimit(limit=rate))
    for begin in (start, start + 100.0):
        times = times_of_polls(share, since=begin, until=begin + 10.0)
        assert times[rate - 1] == pytest.approx(begin + (rate - 1) / rate * (1 + JITTER), abs=1e-6)
        assert times[-1] - times[-2] == pytest.approx(2.0 * (1 + JITTER) / rate, abs=1e-6)


@given(rates, moments)
def test_polls_take_the_whole_quota_while_the_next_task_is_overdue(rate, start):
    """While the next task is overdue, the limit of one half does not count."""
    share = PollRateLimit(RateLimit(limit=rate))
    times_of_polls(share, since=start, until=start + 50.0)
    over = times_of_polls(share, since=start + 50.0, until=start + 100.0, overdue_at=start + 70.0)
    late = [at for at in over if at > start + 72.0 + 2.0 / rate]
    assert gaps(late) == pytest.approx([(1 + JITTER) / rate] * (len(late) - 1), abs=1e-6)


@given(st.integers(5, 40), st.integers(1, 200), moments)
def test_polls_pay_back_what_they_took_beyond_the_half(rate, over, start):
    """After polls of overdue tasks the half pauses for as many, but for no more than a second."""
    share = PollRateLimit(RateLimit(limit=rate))
    now = times_of_polls(share, since=start, until=start + 50.0)[-1]
    for _ in range(over):
        now = share.ready_at(now=now, overdue_at=-math.inf)
        share.take(now=now)
    pause = share.ready_at(now=now, overdue_at=math.inf) - now
    gap = (1 + JITTER) / rate
    assert pause == pytest.approx(min(over * gap, 1.0) + gap, abs=2.5 * gap)


@given(rates, st.lists(st.tuples(st.floats(0, 2), st.booleans(), st.booleans()), max_size=200))
def test_polls_and_others_together_keep_the_quota(rate, steps):
    """With requests of the caller between polls, overdue or not, no second has too many."""
    quota = RateLimit(limit=rate)
    share, times, now = PollRateLimit(quota), [], 0.0
    for pause, overdue, other in steps:
        now += pause
        if other:
            now = quota.take(now=now)
        else:
            now = share.ready_at(now=now, overdue_at=-math.inf if overdue else math.inf)
            share.take(now=now)
        times.append(now)
    assert most_in_window(times, 1.0) <= rate


def test_polls_use_all_of_a_rate_that_is_only_probed():
    """A probed rate starts low, and it can only be doubled if it is used up."""
    quota = ProbingRateLimit(limit=4.0, most=20.0)
    times = times_of_polls(PollRateLimit(quota), since=0.0, until=9.0)
    assert len(times) == pytest.approx(9.0 * 4.0 / (1 + JITTER), abs=1)
    times_of_polls(PollRateLimit(quota), since=9.0, until=40.0)
    assert quota.limit == 20.0


def test_a_known_quota_is_not_lowered_by_a_refusal():
    """The refusal may come from another client that has used up the quota."""
    quota = RateLimit(limit=20.0)
    quota.refused(now=0.0)
    assert quota.limit == 20.0
