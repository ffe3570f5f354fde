"""The table of output sizes."""

from __future__ import annotations

import pytest

from callsheet._catalog import MODELS, capability, output_size
from callsheet._catalog.models import RATIOS


@pytest.mark.parametrize(
    ("model", "resolution", "ratio", "size"),
    [
        ("doubao-seedance-1-0-pro-250528", "480p", "16:9", (864, 480)),
        ("doubao-seedance-1-0-pro-250528", None, "9:16", (1088, 1920)),
        ("seedance-1-5-pro-251215", "480P", "16:9", (864, 496)),
        ("seedance-1-5-pro-251215", None, "21:9", (1470, 630)),
        ("dreamina-seedance-2-0-260128", "4K", "16:9", (3840, 2160)),
        ("dreamina-seedance-2-5-260628", "480p", "9:16", (480, 854)),
    ],
)
def test_size_is_that_of_the_table(model, resolution, ratio, size):
    """Width and height equal those in the reference, in upper or lower case."""
    assert output_size(capability(model), resolution, ratio) == size


@pytest.mark.parametrize(
    ("model", "resolution", "ratio"),
    [
        (None, "720p", "16:9"),
        ("ep-1", "720p", "16:9"),
        ("seedance-1-5-pro-251215", "720p", None),
        ("seedance-1-5-pro-251215", "720p", "adaptive"),
        ("seedance-1-5-pro-251215", "720p", "2:1"),
        ("seedance-1-5-pro-251215", "4k", "16:9"),
    ],
)
def test_size_is_unknown_outside_the_table(model, resolution, ratio):
    """Unknown models, other resolutions and adaptive ratios have no size."""
    assert output_size(capability(model), resolution, ratio) is None


def test_every_resolution_of_every_model_has_sizes_of_its_ratio():
    """No size is missing, and each is within four percent of its ratio."""
    for row in MODELS:
        for resolution in row.resolutions:
            for ratio in RATIOS[:-1]:
                width, height = output_size(row, resolution, ratio)
                across, down = map(int, ratio.split(":"))
                assert width / height == pytest.approx(across / down, rel=0.04)
