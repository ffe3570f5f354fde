"""Log-normal laws that fill in for what was not seen."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import attrs


FRINGE = 0.03
"""Share of the earliest and of the latest ends that say too little about the shape."""

FLATTEST = 0.5
"""Slope on probability paper below which ends are too scattered for a shape."""

NEGLIGIBLE = 1e-9

UNKNOWN_SHARE = 0.1
"""Chance to end in a bin that no task is expected to get to."""

_NORMAL = NormalDist()


@attrs.frozen
class LogNormal:
    """A part of what is expected.

    Attributes:
        weight: Its share.
        median: Seconds, > 0.
        sigma: Spread of the logarithm, > 0.
    """

    weight: float
    median: float
    sigma: float


def chances(edges: list[float], parts: list[LogNormal]) -> list[float]:
    """Chance to end before the next of some *edges*, for a task that got to each."""
    alive = [0.0] * len(edges)
    for part in parts:
        scale = 1.0 / (part.sigma * math.sqrt(2.0))
        for index, edge in enumerate(edges):
            alive[index] += 0.5 * part.weight * math.erfc(math.log(edge / part.median) * scale)
    return [
        1.0 - late / early if early > NEGLIGIBLE else UNKNOWN_SHARE
        for early, late in itertools.pairwise(alive)
    ]


def fitted(edges: list[float], ends: list[float], running: list[float]) -> LogNormal | None:
    """The law that fits best, unless the ends have no shape at all.

    A straight line through the survivors on probability paper: log-normal tasks lie on one,
    also when those that run longest have not ended yet.

    Args:
        edges: Ages, seconds.
        ends: Ends between each two of them.
        running: Tasks that still run and got to the end of each interval.
    """
    alive, left = 1.0, sum(ends)
    weights = total_x = total_y = total_xx = total_xy = 0.0
    for edge, ended, running_on in zip(edges[1:], ends, running, strict=True):
        at_risk = left + running_on
        if at_risk < 1.0:
            break
        alive *= 1.0 - min(ended / at_risk, 1.0)
        left -= ended
        if FRINGE < alive < 1.0 - FRINGE and ended > 0.0:
            x, y = math.log(edge), _NORMAL.inv_cdf(1.0 - alive)
            weights += ended
            total_x += ended * x
            total_y += ended * y
            total_xx += ended * x * x
            total_xy += ended * x * y
    spread = weights * total_xx - total_x * total_x
    slope = (weights * total_xy - total_x * total_y) / spread if spread > NEGLIGIBLE else 0.0
    if slope <= FLATTEST:
        return None
    sigma = min(max(1.0 / slope, 0.05), 2.0)
    return LogNormal(1.0, math.exp((total_x - total_y * sigma) / weights), sigma)
