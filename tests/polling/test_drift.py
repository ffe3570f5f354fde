"""Ends that come later or earlier than expected."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.render_time.drift import FARTHEST, FEWEST_ENDS, Drift


def told(shares: list[float], *, known: float = 1.0, seen: float = 256.0) -> float:
    """What a drift finds after tasks ended at these shares, one after the other."""
    drift = Drift(known=known)
    for share in shares:
        drift.ended(share)
    return drift.spreads([], seen)


@given(st.lists(st.floats(0, 1), max_size=60))
def test_no_move_is_farther_than_the_farthest(shares):
    """However extreme the ends, a move stays small; ends in the middle are none."""
    assert abs(told(shares)) <= FARTHEST
    assert told([0.5] * len(shares)) == 0.0


@pytest.mark.parametrize(("share", "sign"), [(0.85, 1), (0.15, -1)])
def test_ends_that_are_all_late_or_all_early_are_a_drift(share, sign):
    """Thirty-two ends on one side are no chance."""
    assert sign * told([share] * 32) > 0.3


def test_chance_is_no_drift():
    """Ends that fall as expected are hardly ever taken for a drift."""
    rng = random.Random(1)
    found = [told([rng.random() for _ in range(32)]) for _ in range(300)]
    assert sum(off != 0.0 for off in found) < 15


def test_a_law_of_few_ends_is_wrong_rather_than_outdated():
    """Until the law has learned from some ends, later ones tell of no drift."""
    assert told([0.9] * 32, seen=32.0 + FEWEST_ENDS - 1.0) == 0.0
    assert told([0.9] * 32, seen=32.0 + FEWEST_ENDS) > 0.0


def test_tasks_that_began_together_end_without_a_drift():
    """The short ones end first; what the others have passed outweighs it at each moment."""
    drift = Drift()
    drift.expect(1.0, [(0.0, 400.0)])
    for step in range(1, 11):
        for number in range(40):
            drift.ended((step - 1) / 10 + (number + 0.5) / 400)
        assert drift.spreads([(step / 10, 400.0 - 40 * step)], 256.0) == 0.0
        drift.expect(1.0, [(step / 10, 400.0 - 40 * step)])


def test_tasks_that_are_stopped_are_no_drift():
    """Those who end otherwise take with them what they were credited with, and nothing else."""
    drift = Drift()
    drift.expect(1.0, [(0.5, 100.0)])
    for _ in range(40):
        drift.left(0.5)
    assert drift.spreads([(0.5, 60.0)], 256.0) == 0.0


def test_what_was_not_known_is_no_drift():
    """Ends at ages of which the law had seen nothing teach it, and do not move it."""
    drift = Drift()
    drift.expect(0.2, [(0.2, 100.0)])
    for _ in range(50):
        drift.ended(0.9)
    assert drift.spreads([(0.9, 50.0)], 256.0) == 0.0


def test_what_was_followed_is_not_followed_twice():
    """After a move the evidence for it is spent."""
    drift = Drift(known=1.0)
    for _ in range(40):
        drift.ended(0.95)
    first = drift.spreads([], 256.0)
    assert first > 0.5
    assert drift.spreads([], 256.0) < 0.2 * first
