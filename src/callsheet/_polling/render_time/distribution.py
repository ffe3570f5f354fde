"""How long tasks run: learned from what was seen, and turned into times worth asking at."""

from __future__ import annotations

import itertools
import math
from array import array
from typing import TYPE_CHECKING

import attrs
from attrs.validators import gt

from callsheet._polling.render_time.cohort import AGED, Cohort
from callsheet._polling.render_time.drift import Drift
from callsheet._polling.render_time.lognormal import LogNormal, chances, fitted
from callsheet._polling.render_time.look_times import plan


if TYPE_CHECKING:
    from collections.abc import Sequence


BINS = 128

BELOW, ABOVE = 3.0, 5.0
"""Spreads of the prior's logarithm that the bins reach from its median."""

WINDOW = 256.0
"""Ends that the law remembers, the latest most."""

QUARTILES = 1.349
"""Spreads of a normal law between its quartiles."""

ROUNDING = 1e-4
"""Part of a bin by which an age may pass an edge and still stand on it."""

PRICES = 1e6
"""How far the price of a look may be from the delay aimed for, which may be out of reach."""

ENOUGH = 16
"""Ends after which the shape of the prior is fitted to what was seen."""

PRIOR_WEIGHT = 3.0
"""Tasks at risk in each bin that the expected chances of ending count as."""

FITTED = 0.8
"""Share of the fitted shape in what is expected; the rest is the prior's."""

PRIOR = ((0.85, 0.7), (0.15, 1.4))
"""Weight and spread, in sigmas, of the laws that the prior is made of.

A prior's sigma holds how much tasks of a kind differ and how little is known of the kind. Most
kinds are narrower than it, so looks gather around the median; some are wider, so they never cease.
"""

BEHIND = 4
"""Bins behind the oldest task that tell how the crowd ends."""

BELIEF = 8.0
"""Tasks at risk that the expected chances count as against those of the crowd."""

FADES = 30.0
"""Bins over which the crowd's ways fade ahead of it."""

ODD = 8.0
"""Square of the standard errors by which a crowd must be off to change what is expected."""

SCATTER = 0.1
"""Part of the age from which on gaps of a crowd that surprised are scattered."""

TURN = 618.034
"""Scatters the looks of tasks whose ages differ by milliseconds."""

JUMP = 3.0
"""Bins between the next looks from two edges from which on the later edge's plan holds."""

SMOOTH = tuple((4 - abs(k)) / 16.0 for k in range(-3, 4))
"""Shares of an end that its own bin and its neighbours get."""

SHORTEST_GAP = 0.5

LONGEST_LOOK_GAP = 60.0


@attrs.define(kw_only=True)
class RenderTimeDistribution:
    """The distribution of render times of one kind of task, and the best times to look.

    Ages are counted in bins of equal width on a logarithmic scale around the prior's median. The
    chance of ending in a bin is the ends seen there over the tasks that got so far, with those
    that still run counted as far as they have got: of tasks submitted together the short ones end
    first, so ended tasks alone would mislead. Where few got, a log-normal law fitted to the rest
    and the prior say what to expect. Once ends come later or earlier than before, all bins move.
    The looks are the cheapest by dynamic programming for a price of a look at which the mean delay
    is the one aimed for.

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
    _drift: Drift = attrs.field(factory=Drift, init=False)
    _cohort: Cohort = attrs.field(factory=Cohort, init=False)
    _odd: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Lay the bins around the prior and plan from it alone."""
        self._width = max(0.02, (BELOW + ABOVE) * self.sigma / BINS)
        self._low = self.median * math.exp(-self._width * BINS * BELOW / (BELOW + ABOVE))
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
        self._cohort.lose_one()
        self._drift.ended(1.0 - self._survival(age))
        if self._seen > WINDOW:
            for index in range(BINS):
                self._ends[index] *= 1.0 - 1.0 / WINDOW
        self._ends[self._bin(age)] += 1.0

    def left(self, age: float) -> None:
        """Learn that a task ran for *age* seconds, and will tell no more."""
        self._drift.left(1.0 - self._survival(age))

    def surprised(self, age: float) -> bool:
        """Whether tasks of one age end otherwise than planned, seen at a task that got to *age*.

        Then it is time to plan anew: all of them are about to run into what nobody knows.
        """
        return self._cohort.surprises(age, self.ended)

    def gap(self, age: float) -> float:
        """Seconds until the next look at a task that has run for *age* seconds."""
        place = math.log(age / self._low) / self._width if age > self._low else 0.0
        edge = int(place)
        if edge >= BINS:
            return max(2.0 * self.delay, min(0.1 * age, LONGEST_LOOK_GAP))
        then, part = self._next[edge], place - edge
        if part > ROUNDING:
            ahead = self._next[edge + 1] - then
            then += ahead if ahead > JUMP * self._width * age else ahead * part
        gap = max(then - age, SHORTEST_GAP)
        if self._odd and gap > SCATTER * age and age + gap > AGED * self._cohort.age:
            gap *= 0.5 + TURN * age % 1.0
        return min(gap, max(4.0 * self.delay, 0.25 * age)) if age > self._mean else gap

    def ended(self, since: float, until: float) -> float:
        """Chance that a task which ran at age *since* has ended by age *until*."""
        before = self._survival(since)
        return 1.0 if before <= 0.0 else 1.0 - self._survival(until) / before

    def refit(self, running: tuple[float, ...], *, each: float = 1.0) -> None:
        """Plan anew from what was observed and the ages of tasks that still run.

        Args:
            running: Their ages, seconds, or those of a sample.
            each: Tasks that each of them stands for, >= 1.
        """
        self._follow(self._places(running, each), known=each == 1.0)
        places = self._places(running, each)
        self._cohort.gather(running, each=each)
        smooth = _smoothed(self._ends)
        weight = min(1.0, WINDOW / max(self._seen, 1))
        got = [weight * count for count in _smoothed(places)]
        risk = list(itertools.accumulate(reversed(got)))[BINS - 1 :: -1]
        self._count(smooth, risk, self._expected(smooth, risk))
        looks = plan([self._edge(k) for k in range(BINS + 1)], self._alive, self._price)
        self._next, self._mean = looks.following, looks.mean
        price = self._price * min(4.0, max(0.25, (self.delay / max(looks.delay, 1e-3)) ** 2))
        self._price = min(max(price, self.delay / PRICES), self.delay * PRICES)
        self._mass = min(0.5, 1.0 / max(looks.looks, 1.0))
        self._drift.expect(1.0 - self._alive[self._last_known()], self._shares(places))

    def _follow(self, places: list[float], *, known: bool) -> None:
        """Move the bins, and with them all that was seen, to where tasks end now.

        Of which tasks run only a sample may be *known*; that tells too little.
        """
        if not known or self._seen == 0:
            self._drift = Drift()
            return
        off = self._drift.spreads(self._shares(places), min(self._seen, WINDOW))
        if off:
            early, late = (sum(alive > share for alive in self._alive) for share in (0.75, 0.25))
            self._low *= math.exp(off * (late - early) * self._width / QUARTILES)

    def _places(self, running: tuple[float, ...], each: float) -> list[float]:
        """How many tasks run in each bin."""
        places = [0.0] * (BINS + 1)
        for age in running:
            places[max(self._edge_after(age) - 1, 0)] += each
        return places

    def _shares(self, places: list[float]) -> list[tuple[float, float]]:
        """Share of tasks expected to have ended by each age at which some run, and how many."""
        alive = self._alive
        return [
            (1.0 - (alive[index] + alive[min(index + 1, BINS)]) / 2.0, count)
            for index, count in enumerate(places)
            if count
        ]

    def _last_known(self) -> int:
        """The last edge beyond which a few tasks have ended, and the law knows how."""
        few = max(2.0, 0.02 * sum(self._ends))
        beyond, index = 0.0, BINS
        while index and beyond < few:
            index -= 1
            beyond += self._ends[index]
        return index

    def _count(self, smooth: list[float], risk: list[float], expected: list[float]) -> None:
        """Chances to get to each edge: ends over the tasks that got to a bin."""
        left = list(itertools.accumulate(reversed(smooth)))[::-1]
        at_risk = [left[k] + risk[k] for k in range(BINS)]
        front = min(max(self._edge_after(self._cohort.age) - 1, 0), BINS)
        behind = range(max(front - BEHIND, 0), front if self._cohort.age else 0)
        ends, got = sum(smooth[k] for k in behind), sum(at_risk[k] for k in behind)
        due = sum(expected[k] * at_risk[k] for k in behind)
        trust = max(0.0, 1.0 - ODD * (due + 1.0) / max((ends - due) ** 2, 1.0))
        self._odd = trust > 0.0
        alive = array("f", [1.0])
        for index in range(BINS):
            chance = expected[index]
            if index >= front and trust:
                seen = (ends + BELIEF * chance) / (got + BELIEF)
                chance += trust * math.exp((front - index) / FADES) * (seen - chance)
            ended = (smooth[index] + PRIOR_WEIGHT * chance) / (at_risk[index] + PRIOR_WEIGHT)
            alive.append(alive[-1] * (1.0 - min(ended, 1.0)))
        self._alive = alive

    def _expected(self, smooth: list[float], risk: list[float]) -> list[float]:
        """Chance to end in each bin, for a task that got there, by what fits and by the prior."""
        prior = [LogNormal(weight, self.median, self.sigma * spread) for weight, spread in PRIOR]
        edges = [self._edge(k) for k in range(BINS + 1)]
        shape = fitted(edges, smooth, risk) if self._seen >= ENOUGH else None
        if shape is None:
            return chances(edges, prior)
        parts = [attrs.evolve(part, weight=(1.0 - FITTED) * part.weight) for part in prior]
        return chances(edges, [attrs.evolve(shape, weight=FITTED), *parts])

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


def _smoothed(counts: Sequence[float]) -> list[float]:
    """Counts shared with the neighbours."""
    last = len(counts) - 1
    smooth = [0.0] * len(counts)
    for index, count in enumerate(counts):
        if count > 0.0:
            for offset, share in enumerate(SMOOTH, start=-3):
                smooth[min(max(index + offset, 0), last)] += share * count
    return smooth
