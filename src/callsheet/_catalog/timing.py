"""How long a video takes, before anything has been learned from this account's own tasks."""

from __future__ import annotations

import math
from typing import Final

import attrs

from callsheet._catalog.models import capability


@attrs.frozen
class RenderTime:
    """A log-normal guess at the seconds from a task's start to its end.

    Attributes:
        median: Seconds, > 0.
        sigma: Standard deviation of the logarithm, > 0; 0.7 means that two thirds of the tasks
            take between half and twice the median.
    """

    median: float
    sigma: float


_UNKNOWN: Final = (120.0, 0.6, 1.0)

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
"""Family to: median at 720p and 5 s, power of the duration by which it grows, sigma.

Fitted by eye to a few dozen live timings: test_miyabi (October 2025), ComfyUI's progress estimates,
measurements of BytePlus (September 2026), apiyi and official samples. No time was seen for 1.0 pro
fast and 2.0 r2v, which are placed beside their kin with a wider spread.
"""

_RESOLUTIONS: Final = {"480p": 0.8, "720p": 1.0, "1080p": 1.4, "4k": 3.0}
"""Factor on the median: ComfyUI's estimates for the 1.0 models; for 4k a guess."""

_UNSURE: Final = 0.3
"""Added to sigma where the model chooses the duration or the resolution is unknown."""


def render_time(model: str | None, resolution: str | None, duration: float | None) -> RenderTime:
    """How long a video of this kind usually takes to render, without waiting in a queue.

    Args:
        model: Id of the model; an unknown one gets a cautious, wide guess.
        resolution: Such as ``"720p"``, in any case; the model's default if ``None``.
        duration: Seconds; ``None`` for the provider's default, -1 if the model chooses.

    Returns:
        A guess to start from; it is meant to be replaced by what is seen.
    """
    row = capability(model) if model is not None else None
    median, power, sigma = _FAMILIES[row.family] if row else _UNKNOWN
    default = row.default_resolution if row else "720p"
    factor = _RESOLUTIONS.get((resolution or default).lower())
    seconds = 5.0 if duration is None else duration
    known = math.isfinite(seconds) and seconds > 0
    length = min(max(seconds, 1.0), 60.0) if known else 8.0
    unsure = _UNSURE * ((factor is None) + (not known))
    return RenderTime((factor or 1.0) * median * (length / 5.0) ** power, sigma + unsure)
