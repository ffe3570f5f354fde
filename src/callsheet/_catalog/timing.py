"""Estimated render times, used until the client has seen tasks of its own account end."""

from __future__ import annotations

import math
from typing import Final

import attrs

from callsheet._catalog.models import capability


@attrs.frozen
class RenderTime:
    """The estimated seconds from a task's start to its end, as a log-normal distribution.

    Attributes:
        median: Seconds, > 0.
        sigma: Standard deviation of the natural logarithm, > 0. With 0.7, two thirds of the tasks
            take between half and twice the median.
    """

    median: float
    sigma: float


_UNKNOWN_MODEL: Final = (120.0, 0.6, 1.0)

_FAMILIES: Final = {
    "1.0 lite t2v": (33.0, 0.86, 0.4),
    "1.0 lite i2v": (33.0, 0.86, 0.4),
    "1.0 pro": (48.0, 0.86, 0.4),
    "1.0 pro fast": (35.0, 0.86, 0.6),
    "1.5 pro": (55.0, 0.8, 0.5),
    "2.0": (100.0, 0.5, 0.6),
    "2.0 fast": (130.0, 0.5, 0.6),
    "2.0 mini": (140.0, 0.5, 0.6),
    "2.0 r2v": (130.0, 0.5, 0.7),
    "2.5": (240.0, 0.5, 0.7),
}
"""Family to three numbers: the median in seconds at 720p and 5 s; the exponent with which the
median grows with the duration; sigma.

The numbers were fitted by eye to a few dozen real timings: test_miyabi (October 2025), ComfyUI's
progress estimates, measurements of BytePlus (September 2026), apiyi and official samples. There are
no timings of 1.0 pro fast and 2.0 r2v; they have values near those of similar models, and a larger
sigma.
"""

_RESOLUTIONS: Final = {"480p": 0.8, "720p": 1.0, "1080p": 1.4, "4k": 3.0}
"""Factor on the median, from ComfyUI's estimates for the 1.0 models; the one for 4k is a guess."""

_UNSURE: Final = 0.3
"""Added to sigma once if the duration is unknown, as when the model chooses it, and once if the
resolution is unknown."""


def render_time(model: str | None, resolution: str | None, duration: float | None) -> RenderTime:
    """How long a video of this kind usually takes to render, without the time in the queue.

    Args:
        model: Id of the model; an unknown one gets a cautious estimate with a large sigma.
        resolution: Such as ``"720p"``, in upper or lower case; the model's default if ``None``.
        duration: Seconds; ``None`` for the provider's default of 5, -1 if the model chooses.

    Returns:
        A first estimate, to be replaced by measured times.
    """
    row = capability(model) if model is not None else None
    median, power, sigma = _FAMILIES[row.family] if row else _UNKNOWN_MODEL
    default = row.default_resolution if row else "720p"
    factor = _RESOLUTIONS.get((resolution or default).lower())
    seconds = 5.0 if duration is None else duration
    known = math.isfinite(seconds) and seconds > 0
    length = min(max(seconds, 1.0), 60.0) if known else 8.0
    unsure = _UNSURE * ((factor is None) + (not known))
    return RenderTime((factor or 1.0) * median * (length / 5.0) ** power, sigma + unsure)
