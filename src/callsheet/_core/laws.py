"""How long tasks run: learned from what was seen, and turned into times worth asking at."""

from __future__ import annotations

import itertools
import math
from array import array
from statistics import NormalDist

import attrs
from attrs.validators import gt


BINS = 128

WINDOW = 256.0
"""Ends that the law remembers, the latest most: it follows a drift."""

FRINGE = 0.03
"""Share of the earliest and of the latest ends that say too little about the shape."""

FLATTEST = 0.5
"""Slope on probability paper below which ends are too scattered for a shape."""

NOTHING = 1e-9

ROUNDING = 1e-4
"""Part of a bin by which an age may pass an edge and still stand on it."""

PRICES = 1e6
"""How far the price of a look may be from the delay aimed for, which may be out of reach."""

ENOUGH = 16
"""Ends after which the shape of the prior is fitted to what was seen."""

PRIOR_WEIGHT = 3.0
"""Observations that the prior counts as."""

SMOOTH = tuple((4 - abs(k)) / 16.0 for k in range(-3, 4))
"""Shares of an end that its own bin and its neighbours get."""

_NORMAL = NormalDist()

SHORTEST_GAP = 0.5

LONGEST_GAP = 60.0


@attrs.define(kw_only=True)
class RenderLaw:
    """The distribution of render times of one kind of task, and the best times to look.

    Ages are counted in bins of equal width on a logarithmic scale around the prior's median. The
    chance of ending in a bin is the ends seen there over the tasks that got so far, with those
    that still run counted as far as they have got: of tasks submitted together the short ones end
    first, so ended tasks alone would mislead. The looks are the cheapest by dynamic programming
    for a price of a look at which the mean delay is the one aimed for.

    Attributes:
        median: Median of the prior, seconds, > 0.
        sigma: Spread of the prior's logarithm, > 0.
        delay: Mean seconds between an end and the look that finds it to aim for, > 0.
    """

    median: float = attrs.field(validator=gt(0))
    sigma: float = attrs.field(validator=gt(0))
    delay: float = attrs.field(validator=gt(0))
    _width: float = attrs.field(init=False)
    _low: float = attrs.field(init=False)
    _ends: array[float] = attrs.field(factory=lambda: array("f", bytes(4 * BINS)), init=False)
    _seen: int = attrs.field(default=0, init=False)
    _alive: array[float] = attrs.field(init=False)
    _next: array[float] = attrs.field(init=False)
    _price: float = attrs.field(init=False)
    _mass: float = attrs.field(default=0.25, init=False)
    _mean: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Lay the bins around the prior and plan from it alone."""
        self._width = max(0.02, 6.0 * self.sigma / BINS)
        self._low = self.median * math.exp(-self._width * BINS / 2)
        self._price = self.delay
        self._mean = self.median
        for _ in range(4):
            self.refit(())

    @property
    def seen(self) -> int:
        """Number of ends observed."""
        return self._seen

    @property
    def mean(self) -> float:
        """Mean render time, seconds."""
        return self._mean

    @property
    def mass(self) -> float:
        """Chance of ending between two looks that keeps a single task's delay near the aim."""
        return self._mass

    def observe(self, age: float) -> None:
        """Learn that a task ran for *age* seconds."""
        self._seen += 1
        if self._seen > WINDOW:
            for index in range(BINS):
                self._ends[index] *= 1.0 - 1.0 / WINDOW
        self._ends[self._bin(age)] += 1.0

    def gap(self, age: float) -> float:
        """Seconds until the next look at a task that has run for *age* seconds."""
        edge = self._edge_after(age)
        if edge >= BINS:
            return max(2.0 * self.delay, min(0.1 * age, LONGEST_GAP))
        gap = max(self._next[edge] - age, SHORTEST_GAP)
        return min(gap, max(4.0 * self.delay, 0.25 * age)) if age > self._mean else gap

    def ended(self, since: float, until: float) -> float:
        """Chance that a task which ran at age *since* has ended by age *until*."""
        before = self._survival(since)
        return 1.0 if before <= 0.0 else 1.0 - self._survival(until) / before

    def refit(self, running: tuple[float, ...]) -> None:
        """Plan anew from what was observed and the ages of tasks that still run."""
        smooth, risk = self._counts(running)
        shape = self._shape(smooth, risk)
        alive = array("f", [1.0])
        left = sum(smooth)
        for index in range(BINS):
            early, late = (self._expected_alive(self._edge(k), shape) for k in (index, index + 1))
            at_risk = left + risk[index] + PRIOR_WEIGHT * early
            ended = smooth[index] + PRIOR_WEIGHT * (early - late)
            alive.append(alive[-1] * (1.0 - min(ended / max(at_risk, NOTHING), 1.0)))
            left -= smooth[index]
        self._alive = alive
        edges = [self._edge(k) for k in range(BINS + 1)]
        middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
        moments = [0.0]
        for k, middle in enumerate(middles):
            moments.append(moments[-1] + (alive[k] - alive[k + 1]) * middle)
        self._mean = moments[-1] + alive[-1] * edges[-1]
        following = self._plan(edges, moments)
        self._next = array("f", (edges[k] for k in following))
        delay, looks = self._cost(following, edges, moments)
        price = self._price * min(4.0, max(0.25, (self.delay / max(delay, 1e-3)) ** 2))
        self._price = min(max(price, self.delay / PRICES), self.delay * PRICES)
        self._mass = min(0.5, 1.0 / max(looks, 1.0))

    def _counts(self, running: tuple[float, ...]) -> tuple[list[float], list[float]]:
        """Ends in each bin and the tasks still running that got to its end, both smoothed."""
        smooth = [0.0] * BINS
        for index, count in enumerate(self._ends):
            if count > 0.0:
                for offset, share in enumerate(SMOOTH, start=-3):
                    smooth[min(max(index + offset, 0), BINS - 1)] += share * count
        risk = [0.0] * (BINS + 1)
        weight = min(1.0, WINDOW / max(self._seen, 1))
        for age in running:
            index = self._edge_after(age) - 1
            for offset, share in enumerate(SMOOTH, start=-3):
                risk[max(min(index + offset, BINS), 0)] += share * weight
        for index in range(BINS - 1, -1, -1):
            risk[index] += risk[index + 1]
        return smooth, risk[1:]

    def _shape(self, smooth: list[float], risk: list[float]) -> tuple[float, float]:
        """Median and sigma to expect where nothing was seen: the prior's, or those that fit.

        A straight line through the survivors on probability paper: log-normal tasks lie on one,
        also when those that run longest have not ended yet.
        """
        if self._seen < ENOUGH:
            return self.median, self.sigma
        alive, left = 1.0, sum(smooth)
        weights = total_x = total_y = total_xx = total_xy = 0.0
        for index in range(BINS):
            at_risk = left + risk[index]
            if at_risk < 1.0:
                break
            alive *= 1.0 - min(smooth[index] / at_risk, 1.0)
            left -= smooth[index]
            if FRINGE < alive < 1.0 - FRINGE and smooth[index] > 0.0:
                x = math.log(self._edge(index + 1))
                y = _NORMAL.inv_cdf(1.0 - alive)
                weight = smooth[index]
                weights += weight
                total_x += weight * x
                total_y += weight * y
                total_xx += weight * x * x
                total_xy += weight * x * y
        spread = weights * total_xx - total_x * total_x
        slope = (weights * total_xy - total_x * total_y) / spread if spread > NOTHING else 0.0
        if slope <= FLATTEST:
            return self.median, self.sigma
        sigma = min(max(1.0 / slope, 0.05), 2.0)
        return math.exp((total_x - total_y * sigma) / weights), sigma

    def _plan(self, edges: list[float], moments: list[float]) -> list[int]:
        """For each edge, the edge of the next look: the cheapest way on, found from the end."""
        alive, price = self._alive, self._price
        cost = [0.0] * (BINS + 1)
        cost[BINS] = 3.0 * price * alive[BINS]
        following = [BINS] * (BINS + 1)
        for start in range(BINS - 1, -1, -1):
            best, choice = math.inf, BINS
            for stop in range(start + 1, BINS + 1):
                waiting = edges[stop] * (alive[start] - alive[stop])
                waiting -= moments[stop] - moments[start]
                if waiting > best:
                    break
                total = waiting + cost[stop]
                if total < best:
                    best, choice = total, stop
            cost[start] = best + price * alive[start]
            following[start] = choice
        return following

    def _cost(
        self, following: list[int], edges: list[float], moments: list[float]
    ) -> tuple[float, float]:
        """Mean delay and mean number of looks of a plan."""
        alive = self._alive
        delay, looks, at = 0.0, 0.0, 0
        while at < BINS:
            then = following[at]
            delay += edges[then] * (alive[at] - alive[then]) - (moments[then] - moments[at])
            looks += alive[at]
            at = then
        return delay, looks

    def _expected_alive(self, age: float, shape: tuple[float, float]) -> float:
        """Chance to run longer than *age*, by the fitted shape and the prior in equal parts."""
        fitted, prior = (
            0.5 * math.erfc(math.log(age / median) / sigma / math.sqrt(2.0))
            for median, sigma in (shape, (self.median, self.sigma))
        )
        return (fitted + prior) / 2.0

    def _survival(self, age: float) -> float:
        if age <= self._low:
            return 1.0
        place = math.log(age / self._low) / self._width
        index = int(place)
        if index >= BINS:
            tail = self._alive[BINS]
            return tail * math.exp(-(age / self._edge(BINS) - 1.0))
        here, after = self._alive[index], self._alive[index + 1]
        return here + (after - here) * (place - index)

    def _edge(self, index: int) -> float:
        return self._low * math.exp(index * self._width)

    def _edge_after(self, age: float) -> int:
        """Index of the first edge at or after *age*; beyond the last one, BINS + 1."""
        if age <= self._low:
            return 0
        return min(math.ceil(math.log(age / self._low) / self._width - ROUNDING), BINS + 1)

    def _bin(self, age: float) -> int:
        return min(max(self._edge_after(age) - 1, 0), BINS - 1)
