"""Render times give the first look at later tasks, until ends contradict them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.render_times import (
    CONTRADICTIONS,
    ENOUGH_ENDS,
    REMEMBERED_ENDS,
    RenderTimes,
)


renders = st.floats(0.1, 100_000.0)
seeds = st.integers(0, 2**32)


def times_of(*seconds: float) -> RenderTimes:
    """The render times that are known after ends with these seconds."""
    times = RenderTimes()
    for each in seconds:
        times.observe(each)
    return times


def log_normal(rng: random.Random, median: float, sigma: float) -> float:
    """A log-normal render time."""
    return median * math.exp(sigma * rng.gauss(0.0, 1.0))


@given(st.lists(renders, max_size=ENOUGH_ENDS - 1))
def test_few_ends_give_no_first_look(seconds):
    """Fewer than 16 ends give no first look and contradict nothing."""
    times = RenderTimes()
    assert not any(times.observe(each) for each in seconds)
    assert times.first_look == 0.0
    assert times.seen == times.counted == times.known(len(seconds)) == len(seconds)


@given(seeds, st.floats(1.0, 1000.0), st.floats(0.01, 1.0), st.booleans())
def test_about_one_in_a_hundred_ends_before_the_first_look(seed, median, sigma, two_kinds):
    """Whether times are narrow, wide or of two kinds, few later tasks end before the first look."""
    rng = random.Random(seed)

    def render() -> float:
        factor = 3.0 if two_kinds and rng.random() < 0.4 else 1.0
        return log_normal(rng, factor * median, sigma)

    times = times_of(*(render() for _ in range(REMEMBERED_ENDS)))
    if times.first_look:  # else three early ends have just removed it
        early = sum(render() < times.first_look for _ in range(1000))
        assert early <= 40


@given(seeds, st.floats(0.05, 1.0))
def test_the_first_look_is_not_much_too_early(seed, sigma):
    """For log-normal times, at least one task in 5000 ends before the first look."""
    rng = random.Random(seed)
    times = times_of(*(log_normal(rng, 60.0, sigma) for _ in range(REMEMBERED_ENDS)))
    if times.counted == REMEMBERED_ENDS:
        assert times.first_look > 60.0 * math.exp(-3.6 * sigma)


@given(renders)
def test_equal_render_times_are_not_taken_as_exact(seconds):
    """Times are measured between polls, so the first look is a little before their mean."""
    times = times_of(*[seconds] * ENOUGH_ENDS)
    assert 0.9 * seconds < times.first_look < 0.95 * seconds


@given(st.integers(ENOUGH_ENDS, 400), st.integers(0, 12), st.integers(0, 12))
def test_three_early_ends_in_sixteen_remove_all_known_times(before, first, second):
    """If three of the last 16 tasks end before the first look, all known times are removed."""
    times, voided = times_of(*[60.0] * before), []
    pattern = [1.0, *[60.0] * first, 1.0, *[60.0] * second, 1.0]
    for seconds in pattern:
        early = seconds < times.first_look
        voided.append(times.observe(seconds))
        assert early or not voided[-1]
    if first + second + CONTRADICTIONS <= ENOUGH_ENDS and seconds_stay_early(before, pattern):
        assert voided == [False] * (len(pattern) - 1) + [True]
        assert times.first_look == 0.0
        assert times.counted == 0


def seconds_stay_early(before: int, pattern: list[float]) -> bool:
    """Whether the first look stays above a second while those ends are remembered."""
    times = times_of(*[60.0] * before)
    for seconds in pattern[:-1]:
        times.observe(seconds)
    return times.first_look > 1.0


def test_two_early_ends_remove_nothing():
    """Two early ends in 16, or three that are further apart, may be chance."""
    times = times_of(*[60.0] * 300)
    for _ in range(3):
        assert not times.observe(50.0)
        assert not times.observe(50.0)
        assert not any(times.observe(60.0) for _ in range(ENOUGH_ENDS))
    assert times.first_look > 0.0


def test_after_a_contradiction_times_are_learned_again():
    """After a contradiction there is no first look until 16 more ends."""
    times = times_of(*[60.0] * 100, *[30.0] * CONTRADICTIONS)
    assert times.first_look == 0.0
    for _ in range(ENOUGH_ENDS - 1):
        times.observe(30.0)
    assert times.first_look == 0.0
    times.observe(30.0)
    assert 27.0 < times.first_look < 30.0


@given(st.lists(st.sampled_from([10.0, 60.0]), max_size=120), st.integers(0, 120))
def test_ends_before_a_contradiction_never_count(seconds, seen):
    """Of the first *seen* ends, only those after the last contradiction count."""
    times, dropped = RenderTimes(), 0
    for number, each in enumerate(seconds, 1):
        if times.observe(each):
            dropped = number
    seen = min(seen, len(seconds))
    assert times.known(seen) == max(0, seen - dropped)
    assert times.counted == len(seconds) - dropped == times.known(times.seen)


@given(st.lists(st.floats(50.0, 70.0), max_size=300), seeds)
def test_only_the_last_ends_count(before, seed):
    """Only the last 256 ends count, whatever came before them."""
    rng = random.Random(seed)
    last = [rng.uniform(50.0, 70.0) for _ in range(REMEMBERED_ENDS)]
    times = times_of(*before, *last)
    if times.counted == len(before) + len(last):  # no contradiction came in between
        logs = [math.log(each) for each in last]
        mean = math.fsum(logs) / len(logs)
        variance = math.fsum((each - mean) ** 2 for each in logs) / len(logs)
        spread = math.sqrt(variance * (1.0 + 3.0 / len(logs)))
        assert times.first_look == pytest.approx(math.exp(mean - 2.65 * max(spread, 0.03)))
