"""Log-normal laws for what was not seen."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.render_time.lognormal import (
    FRINGE,
    UNKNOWN_SHARE,
    LogNormal,
    chances,
    fitted,
)


EDGES = [10.0 * 1.03**k for k in range(129)]


def ends(median: float, sigma: float, number: float) -> list[float]:
    """Ends that fall between each two edges."""
    normal = NormalDist()
    shares = [normal.cdf(math.log(edge / median) / sigma) for edge in EDGES]
    return [number * (late - early) for early, late in pairwise(shares)]


@given(st.floats(60, 120), st.floats(0.1, 0.4), st.floats(0.3, 1.0))
def test_the_law_of_the_ends_is_found_also_while_half_still_run(median, sigma, share):
    """Log-normal ends give their own law back; those that run beyond an age count as running."""
    seen = ends(median, sigma, 1000.0)
    left, last = share * sum(seen), 0
    while last < 128 and left > 0.0:
        left -= seen[last]
        last += 1
    running = [sum(seen[last:])] * last + [0.0] * (128 - last)
    law = fitted(EDGES, seen[:last] + [0.0] * (128 - last), running)
    assert law is not None
    assert law.median == pytest.approx(median, rel=0.05)
    assert law.sigma == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("places", [(60,), (0, 127), ()])
def test_ends_that_lie_together_or_decades_apart_have_no_shape(places):
    """One place makes no line; two far apart make one that is too flat."""
    edges = [10.0 * 2.0**k for k in range(129)]
    seen = [20.0 if k in places else 0.0 for k in range(128)]
    assert fitted(edges, seen, [0.0] * 128) is None


def test_the_fringe_says_nothing():
    """Ends before and after which nearly all or nearly none are left make no line."""
    seen = [0.0] * 128
    seen[50], seen[51] = 1.0, 1.0
    assert fitted(EDGES, seen, [2.0 / FRINGE] * 128) is None


@given(st.floats(0.1, 0.9), st.floats(20, 200), st.floats(0.1, 1.5))
def test_chances_are_those_of_the_mixture(weight, median, sigma):
    """What gets to an edge times the chance to end there is what ends there."""
    parts = [LogNormal(weight, median, sigma), LogNormal(1.0 - weight, 80.0, 0.5)]
    found = chances(EDGES, parts)
    normal = NormalDist()
    alive = [
        sum(p.weight * normal.cdf(-math.log(edge / p.median) / p.sigma) for p in parts)
        for edge in EDGES
    ]
    assert all(0.0 <= chance <= 1.0 for chance in found)
    for chance, (early, late) in zip(found, pairwise(alive), strict=True):
        if early > 1e-6:
            assert chance == pytest.approx(1.0 - late / early, abs=1e-6)


def test_where_nobody_gets_some_chance_is_left():
    """Beyond all that is expected the chance to end is neither none nor certain."""
    assert chances(EDGES, [LogNormal(1.0, 10.0, 0.05)])[-1] == UNKNOWN_SHARE
