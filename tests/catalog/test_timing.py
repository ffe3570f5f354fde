"""The guess at how long a video takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._catalog import MODELS, render_time


models = st.sampled_from([row.cn for row in MODELS]) | st.none() | st.text()
resolutions = st.sampled_from(["480p", "720P", "1080p", "4k", "2k", None]) | st.text()


@given(models, resolutions, st.none() | st.floats())
def test_every_guess_is_usable(model, resolution, duration):
    """Median and sigma are positive and finite, and the median lies within an hour."""
    guess = render_time(model, resolution, duration)
    assert 0 < guess.median < 3600
    assert 0 < guess.sigma < 2


@pytest.mark.parametrize("model", [row.cn for row in MODELS])
def test_more_pixels_and_seconds_take_longer(model):
    """The median grows with the resolution and with the duration."""
    sizes = [render_time(model, name, 5).median for name in ("480p", "720p", "1080p", "4k")]
    lengths = [render_time(model, "720p", seconds).median for seconds in (2, 5, 12, 30)]
    assert sizes == sorted(sizes)
    assert lengths == sorted(lengths)


@pytest.mark.parametrize(
    ("model", "resolution", "duration", "seen"),
    [
        ("doubao-seedance-1-0-pro-250528", "1080p", 5, (48, 84)),
        ("doubao-seedance-1-0-pro-250528", "480p", 10, (70, 70)),
        ("doubao-seedance-1-0-lite-t2v-250428", "720p", 10, (60, 60)),
        ("doubao-seedance-1-5-pro-251215", "720p", 5, (55, 55)),
        ("doubao-seedance-2-0-260128", "480p", 5, (81, 81)),
        ("doubao-seedance-2-0-260128", "720p", 5, (56, 140)),
        ("doubao-seedance-2-0-fast-260128", "720p", 5, (134, 134)),
        ("doubao-seedance-2-5-260628", "480p", 5, (368, 368)),
        ("doubao-seedance-2-5-260628", "720p", 30, (330, 1057)),
    ],
)
def test_what_was_seen_lies_within_the_guess(model, resolution, duration, seen):
    """Live timings lie within two sigmas of the median."""
    guess = render_time(model, resolution, duration)
    for seconds in seen:
        assert abs(math.log(seconds / guess.median)) < 2 * guess.sigma


def test_the_less_is_known_the_wider_the_guess():
    """An unknown model, resolution or duration widens the spread."""
    known = render_time("doubao-seedance-2-0-260128", "720p", 5)
    assert render_time("doubao-seedance-2-0-260128", "720p", -1).sigma > known.sigma
    assert render_time("doubao-seedance-2-0-260128", "2k", 5).sigma > known.sigma
    assert render_time("ep-1", "720p", 5).sigma > known.sigma


def test_what_is_not_given_is_the_provider_default():
    """Leaving out resolution and duration means the model's own defaults."""
    model = "doubao-seedance-1-0-pro-250528"
    assert render_time(model, None, None) == render_time(model, "1080p", 5)
