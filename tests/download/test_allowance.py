"""The number of remembered URLs, tested here because a test with a client would take minutes."""

from __future__ import annotations

from callsheet._download import fetch


def test_the_number_of_remembered_urls_is_bounded():
    """Only the most recently used URLs are remembered, however many there were before."""
    allowance = fetch.Allowance()
    for _ in range(fetch.MOST_REQUESTS):
        assert allowance.take("late")
    for number in range(fetch._KNOWN_URLS - 1):
        assert allowance.take(str(number))
    assert not allowance.take("late")
    for number in range(fetch._KNOWN_URLS):
        assert allowance.take(f"other {number}")
    assert len(allowance._asked) == fetch._KNOWN_URLS
