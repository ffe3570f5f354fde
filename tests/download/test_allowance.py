"""How many URLs are remembered: a law of counting that would take minutes through the surface."""

from __future__ import annotations

from callsheet._download import fetch


def test_count_of_urls_stays_small():
    """The URLs that were asked for last are known, however many there were before."""
    allowance = fetch.Allowance()
    for _ in range(fetch.MOST_REQUESTS):
        assert allowance.take("late")
    for number in range(fetch._KNOWN_URLS - 1):
        assert allowance.take(str(number))
    assert not allowance.take("late")
    for number in range(fetch._KNOWN_URLS):
        assert allowance.take(f"other {number}")
    assert len(allowance._asked) == fetch._KNOWN_URLS
