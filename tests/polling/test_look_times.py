"""The cheapest times to look."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._polling.render_time.look_times import plan


def survivors(chances: list[float]) -> array[float]:
    """Chance to get to each edge."""
    alive = [1.0]
    for chance in chances:
        alive.append(alive[-1] * (1.0 - chance))
    return array("f", alive)


def edges(number: int) -> list[float]:
    """Ages on a logarithmic scale."""
    return [10.0 * 1.05**k for k in range(number)]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.floats(1e-3, 1e3))
def test_the_next_look_lies_ahead(chances, price):
    """From every edge the next look is later, and costs are finite and not negative."""
    at = edges(len(chances) + 1)
    found = plan(at, survivors(chances), price)
    assert all(then > age for age, then in zip(at, found.following, strict=True))
    assert 0.0 <= found.delay < math.inf
    assert 0.0 <= found.looks < math.inf
    assert at[0] <= found.mean <= at[-1]


@given(st.lists(st.floats(0.01, 0.5), min_size=5, max_size=60), st.floats(0.01, 10))
def test_dearer_looks_are_fewer_and_later(chances, price):
    """A higher price never buys more looks, nor less delay, but by what lies within a bin."""
    at, alive = edges(len(chances) + 1), survivors(chances)
    cheap, dear = plan(at, alive, price), plan(at, alive, 10.0 * price)
    assert dear.looks <= cheap.looks + 1e-6
    assert dear.delay >= cheap.delay - 1e-6


@pytest.mark.parametrize("price", [0.05, 1.0, 20.0])
def test_even_chances_make_even_gaps(price):
    """With the same hazard at all ages the gap is the square root of twice the price over it."""
    hazard = 0.01
    at = [float(k) for k in range(0, 1000, 5)]
    found = plan(at, array("f", [math.exp(-hazard * age) for age in at]), price)
    gap = found.following[40] - at[40]
    assert gap == pytest.approx(math.sqrt(2.0 * price / hazard), rel=0.12)


def test_nothing_is_looked_at_where_nothing_ends():
    """Between two groups of ends the next look skips the pause."""
    chances = [0.0] * 10 + [0.2] * 5 + [0.0] * 20 + [0.5] * 10
    at = edges(len(chances) + 1)
    found = plan(at, survivors(chances), 1.0)
    assert found.following[0] > at[10]
    assert found.following[16] > at[35]
