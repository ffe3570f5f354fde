"""How long to pause before a request is repeated."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.policy import RetryPolicy
from callsheet._state.backoff import pause_before


attempts = st.integers(2, 10_000)
seconds = st.floats(0.001, 1e6)
asked = st.none() | st.floats(allow_nan=True)
seeds = st.integers(0, 999)


@given(attempts, seconds, seconds, asked, seeds)
def test_a_pause_is_positive_and_bounded(attempt, initial, ceiling, asked, seed):
    """Whatever ``Retry-After`` says, a pause is between zero and the ceiling plus jitter."""
    policy = RetryPolicy(initial=initial, ceiling=ceiling)
    pause = pause_before(attempt, policy, rng=random.Random(seed), retry_after=asked)
    assert 0 < pause <= 1.25 * ceiling


@given(attempts, seconds, seconds, seeds)
def test_a_pause_doubles_up_to_the_ceiling(attempt, initial, ceiling, seed):
    """A pause is the first one doubled each time, or the ceiling, plus or minus 25 %."""
    policy = RetryPolicy(initial=initial, ceiling=ceiling)
    pause = pause_before(attempt, policy, rng=random.Random(seed))
    nominal = min(initial * 2.0 ** min(attempt - 2, 64), ceiling)
    assert 0.75 * nominal <= pause <= 1.25 * nominal


@given(attempts, st.floats(0, 60), seeds)
def test_a_pause_is_at_least_retry_after(attempt, asked, seed):
    """A pause is at least ``Retry-After`` if that is within the ceiling."""
    pause = pause_before(attempt, RetryPolicy(), rng=random.Random(seed), retry_after=asked)
    assert pause >= asked


@given(attempts, st.floats(60), seeds)
def test_retry_after_is_honoured_up_to_the_ceiling(attempt, asked, seed):
    """If ``Retry-After`` exceeds the ceiling, the pause is the ceiling plus or minus 25 %."""
    pause = pause_before(attempt, RetryPolicy(), rng=random.Random(seed), retry_after=asked)
    assert 45 <= pause <= 75
