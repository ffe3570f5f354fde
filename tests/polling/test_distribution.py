"""How long tasks run, and the best times to look."""

from __future__ import annotations

import bisect
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet._polling.render_time.distribution import (
    LONGEST_LOOK_GAP,
    WINDOW,
    RenderTimeDistribution,
)


medians = st.floats(0.01, 1e5)
sigmas = st.floats(0.01, 5)
delays = st.floats(0.01, 600)
ages = st.floats(0, 1e9)


def looks(distribution: RenderTimeDistribution, ends: list[float]) -> tuple[float, float]:
    """Mean number of looks and mean delay at tasks that end at some ages."""
    count, late = 0, 0.0
    for end in ends:
        age = 0.0
        while age < end:
            age += distribution.gap(age)
            count += 1
        late += age - end
    return count / len(ends), late / len(ends)


def optimum(ends: list[float], number: float, *, grid: int = 250) -> float:
    """Mean delay of the best programme with that number of looks, by one who knows all ends."""
    times = sorted(ends)
    step = (times[-1] - times[0]) / grid
    edges = [0.0] + [times[0] + step * k for k in range(1, grid)] + [times[-1]]
    ended = [bisect.bisect_right(times, edge) for edge in edges]
    sums = [0.0]
    for time in times:
        sums.append(sums[-1] + time)
    share = [count / len(times) for count in ended]
    moment = [sums[count] / len(times) for count in ended]

    def waiting(here: int, then: int) -> float:
        return edges[then] * (share[then] - share[here]) - (moment[then] - moment[here])

    def solve(price: float) -> tuple[float, float]:
        cost, following = [0.0] * (grid + 1), [grid] * (grid + 1)
        for here in range(grid - 1, -1, -1):
            best = math.inf
            for then in range(here + 1, grid + 1):
                if (wait := waiting(here, then)) > best:
                    break
                if wait + cost[then] < best:
                    best, following[here] = wait + cost[then], then
            cost[here] = best + price * (1.0 - share[here])
        delay, asked, here = 0.0, 0.0, 0
        while here < grid:
            then = following[here]
            delay, asked = delay + waiting(here, then), asked + 1.0 - share[here]
            here = then
        return asked, delay

    low, high = 1e-2, 100.0
    for _ in range(14):
        price = math.sqrt(low * high)
        low, high = (price, high) if solve(price)[0] > number else (low, price)
    return solve(high)[1]


def renders(rng: random.Random, median: float, sigma: float, number: int) -> list[float]:
    """Log-normal render times."""
    return [median * math.exp(sigma * rng.gauss(0.0, 1.0)) for _ in range(number)]


@pytest.mark.parametrize(("median", "sigma"), [(90.0, 0.2), (60.0, 0.5), (150.0, 0.4)])
def test_two_hundred_ends_teach_nearly_the_best_programme(median, sigma):
    """From another prior the delay gets within a quarter of the least for as many looks."""
    rng = random.Random(3)
    distribution = RenderTimeDistribution(median=75.0, sigma=0.5, delay=5.0)
    for number, age in enumerate(renders(rng, median, sigma, 200)):
        distribution.observe(age)
        if number % 32 == 31:
            distribution.refit(())
    distribution.refit(())
    ends = renders(rng, median, sigma, 1500)
    number, late = looks(distribution, ends)
    assert 2.5 < late < 10.0
    assert late < 1.25 * optimum(ends, number)


@given(medians, sigmas, delays)
@settings(max_examples=25)
def test_the_first_plan_knows_the_prior_only(median, sigma, delay):
    """Before any end the law has seen nothing, and expects about the prior's median."""
    distribution = RenderTimeDistribution(median=median, sigma=sigma, delay=delay)
    assert distribution.seen == 0
    assert distribution.ended(0.0, median) == pytest.approx(0.5, abs=0.05)
    assert 0.9 * median < distribution.mean < 1.1 * median * math.exp(3.0 * sigma + 0.1)
    assert 0.0 < distribution.mass <= 0.5


@given(
    st.builds(RenderTimeDistribution, median=medians, sigma=sigmas, delay=delays),
    st.lists(st.floats(0.1, 1e9), max_size=40),
    st.lists(ages, max_size=5).map(tuple),
    st.lists(ages, min_size=2, max_size=20).map(sorted),
)
@settings(max_examples=60, deadline=None)
def test_whatever_was_seen_the_law_stays_a_law(distribution, ends, running, at):
    """Gaps are positive and finite, chances within 0 and 1, and no task ends before it did."""
    for age in ends:
        distribution.observe(age)
    distribution.refit(running)
    assert distribution.seen == len(ends)
    survival = [distribution._survival(age) for age in [0.0, *at]]
    assert survival[0] == 1.0
    assert all(0.0 <= each <= 1.0 for each in survival)
    assert survival == sorted(survival, reverse=True)
    chances = [distribution.ended(at[0], age) for age in at]
    assert chances[0] in (0.0, 1.0)
    assert chances == sorted(chances)
    assert all(0.0 <= each <= 1.0 for each in chances)
    for age in (0.0, *at):
        gap = distribution.gap(age)
        assert gap > 0.0
        assert math.isfinite(gap)
    assert math.isfinite(distribution.mean)
    assert distribution.mean > 0.0
    assert 0.0 < distribution.mass <= 0.5


@given(
    st.builds(RenderTimeDistribution, median=medians, sigma=sigmas, delay=delays), st.floats(1, 1e6)
)
@settings(max_examples=25)
def test_gaps_grow_slowly_once_a_task_is_late(distribution, late):
    """Beyond the mean no gap is long beside the age or the aim; beyond all bins they are even."""
    age = distribution.mean * (1.0 + late)
    assert distribution.gap(age) <= max(4.0 * distribution.delay, 0.25 * age, LONGEST_LOOK_GAP)
    beyond = distribution._edge(128) * (1.0 + late)
    assert distribution.gap(beyond) == max(
        2.0 * distribution.delay, min(0.1 * beyond, LONGEST_LOOK_GAP)
    )


def test_who_still_runs_makes_the_law_later():
    """Tasks that run longer than what has ended tell of longer renders than the ends alone."""
    early, late = (RenderTimeDistribution(median=60.0, sigma=0.5, delay=5.0) for _ in range(2))
    for distribution in (early, late):
        for age in (40.0, 45.0, 50.0, 55.0):
            distribution.observe(age)
    early.refit(())
    late.refit((100.0,) * 20)
    assert late.mean > 1.3 * early.mean
    assert all(late._survival(age) > early._survival(age) for age in (45.0, 60.0, 90.0, 120.0))
    assert late.ended(0.0, 60.0) < 0.3


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_first_to_end_of_those_who_began_together_do_not_mislead(share):
    """The short ones end first; with the others counted as running, the median is the true one."""
    times = sorted(renders(random.Random(5), 120.0, 0.4, 400))
    distribution = RenderTimeDistribution(median=75.0, sigma=0.5, delay=5.0)
    misled = RenderTimeDistribution(median=75.0, sigma=0.5, delay=5.0)
    ended = int(400 * share)
    for age in times[:ended]:
        distribution.observe(age)
        misled.observe(age)
    now = times[ended - 1]
    distribution.refit((now,) * (400 - ended))
    misled.refit(())
    before = 0.9 * now
    assert distribution.ended(0.0, before) == pytest.approx(
        bisect.bisect(times, before) / 400, abs=0.05
    )
    assert abs(distribution.mean - statistics.fmean(times)) < abs(
        misled.mean - statistics.fmean(times)
    )
    assert distribution.mean == pytest.approx(statistics.fmean(times), rel=0.2)


def test_the_law_follows_a_drift():
    """Renders that get longer push the old ones out of the memory."""
    rng = random.Random(9)
    distribution = RenderTimeDistribution(median=60.0, sigma=0.3, delay=5.0)
    for median in (60.0, 120.0):
        for age in renders(rng, median, 0.2, int(4 * WINDOW)):
            distribution.observe(age)
    distribution.refit((130.0,) * 5)
    assert distribution.mean == pytest.approx(120.0, rel=0.1)
    assert sum(distribution._ends) == pytest.approx(WINDOW, rel=0.05)


@pytest.mark.parametrize("sigma", [0.15, 0.7])
@pytest.mark.parametrize("aim", [2.0, 5.0])
def test_gaps_may_be_far_shorter_than_the_bins_are_wide(sigma, aim):
    """Also where a bin is longer than the gap, the delay is nearly the least for as many looks."""
    rng = random.Random(8)
    distribution = RenderTimeDistribution(median=100.0, sigma=0.6, delay=aim)
    for age in renders(rng, 90.0, sigma, 400):
        distribution.observe(age)
    for _ in range(4):
        distribution.refit(())
    ends = renders(rng, 90.0, sigma, 1500)
    number, late = looks(distribution, ends)
    assert late < 1.15 * optimum(ends, number, grid=400)


def test_bins_move_when_ends_come_later_than_before():
    """Renders that got half as long again are expected after few ends, and as narrowly."""
    rng = random.Random(4)
    distribution = RenderTimeDistribution(median=100.0, sigma=0.6, delay=5.0)
    for median in (90.0,) * 6 + (135.0,) * 3:
        for age in renders(rng, median, 0.15, 32):
            distribution.observe(age)
        distribution.refit(())
    assert distribution.ended(0.0, 135.0) == pytest.approx(0.5, abs=0.15)
    assert distribution.ended(0.0, 100.0) < 0.15


def test_bins_that_moved_stay_when_nothing_new_is_known():
    """Tasks that run do not move with the bins: planned for again, they are no drift."""
    rng = random.Random(4)
    distribution = RenderTimeDistribution(median=100.0, sigma=0.6, delay=5.0)
    running = (80.0,) * 50
    for median in (90.0,) * 6 + (135.0,):
        for age in renders(rng, median, 0.15, 32):
            distribution.observe(age)
        low = distribution._low
        distribution.refit(running)
    assert distribution._low > low
    low = distribution._low
    distribution.refit(running)
    assert distribution._low == low


def test_the_short_ones_that_end_first_are_no_drift():
    """Among tasks that began together ends come later and later, and the bins stay."""
    times = sorted(renders(random.Random(6), 90.0, 0.5, 400))
    distribution = RenderTimeDistribution(median=100.0, sigma=0.6, delay=5.0)
    low = distribution._low
    for number, age in enumerate(times[:384]):
        distribution.observe(age)
        if number % 32 == 31:
            distribution.refit((age,) * (399 - number))
    assert distribution._low == low


def test_a_sample_stands_for_all_that_run_and_tells_of_no_drift():
    """Every tenth of those that run teaches the same as all of them."""
    every, tenth = (RenderTimeDistribution(median=100.0, sigma=0.6, delay=5.0) for _ in range(2))
    for number, age in enumerate(renders(random.Random(7), 60.0, 0.2, 64)):
        for distribution in (every, tenth):
            distribution.observe(age + number)
    every.refit((70.0,) * 300)
    low = tenth._low
    tenth.refit((70.0,) * 30, each=10.0)
    tenth.refit((70.0,) * 30, each=10.0)
    every.refit((70.0,) * 300)
    assert tenth._low == low
    assert tenth.mean == pytest.approx(every.mean, rel=0.05)


def cohort(*, ended: int = 60, running: int = 40, age: float = 70.0) -> RenderTimeDistribution:
    """A law of tasks that began together: most have ended, and the rest are of one age."""
    distribution = RenderTimeDistribution(median=100.0, sigma=0.6, delay=5.0)
    for each in sorted(renders(random.Random(2), 60.0, 0.1, 100))[:ended]:
        distribution.observe(each)
    distribution.refit((age,) * running)
    return distribution


def test_a_crowd_that_does_not_end_is_a_surprise():
    """Tasks of one age that pass the time when they should end make the law plan anew: later."""
    distribution = cohort()
    assert not distribution.surprised(60.0)
    assert not any(distribution.surprised(71.0) for _ in range(10))
    distribution.refit((70.0,) * 40)
    assert sum(distribution.surprised(110.0) for _ in range(10)) > 1
    before = distribution.gap(110.0)
    distribution.refit((110.0,) * 40)
    assert not distribution.surprised(110.0)
    assert distribution.gap(110.0) > 1.5 * before


def test_looks_at_a_crowd_that_surprised_are_scattered():
    """Tasks that differ by milliseconds are not all looked at together where nobody knows."""
    distribution = cohort(running=200)
    distribution.refit((110.0,) * 200)
    gaps = [distribution.gap(110.0 + number / 1000.0) for number in range(40)]
    assert max(gaps) > 1.5 * min(gaps)


def test_first_ends_after_a_pause_are_a_surprise():
    """When a crowd begins to end after all, each of the first ends makes the law plan anew."""
    distribution = cohort()
    assert any(distribution.surprised(110.0) for _ in range(10))
    distribution.refit((160.0,) * 40)
    due = []
    for number in range(8):
        distribution.observe(161.0)
        due.append(distribution.surprised(161.0))
        if due[-1]:
            distribution.refit((161.0,) * (39 - number))
    assert due[0]
    assert 3 <= sum(due) < 8
    assert distribution.ended(161.0, 170.0) > 0.1


def test_few_tasks_are_no_crowd():
    """What a handful of tasks does surprises nobody."""
    distribution = cohort(ended=95, running=5)
    assert not any(distribution.surprised(500.0) for _ in range(10))


@pytest.mark.parametrize(("median", "delay"), [(600.0, 0.01), (0.1, 300.0)])
def test_an_aim_out_of_reach_is_forgotten_when_it_comes_in_reach(median, delay):
    """However long the aim could not be reached, a few plans later the looks fit a new one."""
    distribution = RenderTimeDistribution(median=median, sigma=0.5, delay=delay)
    for _ in range(150):
        distribution.refit(())
    distribution.delay = median / 10.0
    for _ in range(25):
        distribution.refit(())
    ends = renders(random.Random(1), median, 0.5, 300)
    _, late = looks(distribution, ends)
    assert late < 2.5 * max(distribution.delay, 0.5)


@pytest.mark.parametrize("values", [{"median": 0.0}, {"sigma": 0.0}, {"delay": -1.0}])
def test_a_law_of_nothing_is_refused(values):
    """Median, sigma and delay are positive."""
    with pytest.raises(ValueError, match="> 0"):
        RenderTimeDistribution(**{"median": 60.0, "sigma": 0.5, "delay": 5.0} | values)
