"""What past ends teach: render times by kind of task, the provider's clock, the delay reached."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from callsheet._polling.render_time.distribution import RenderTimeDistribution
from callsheet._state.record import Record


STEADY = 64.0
"""Ends over which the aim is corrected by the delays that were reached."""

MOST_LATE = 8.0
"""Times the delay asked for that one end counts as late at most: an outage teaches little."""

SETTLED = 256.0
"""Ends over which the aim that needs no correction is found."""

DRIFT = 2e-5
"""Seconds per second by which two clocks may part."""

ROUNDED_DOWN = 1.0
"""Seconds to which the provider rounds its times down."""

BELIEVED = 5
"""Times in a row that contradict what is known of a clock until it is taken to have been set."""

TRAVEL = 0.1
"""Seconds by which an answer may be older than it seems."""

REFIT = 32
"""Ends after which a law is planned anew; more often while there are few."""

Running = Callable[[], tuple[tuple[float, ...], float]]
"""Ages up to which tasks of a kind are known to run, seconds, and how many each stands for."""


@attrs.define(kw_only=True)
class Estimator:
    """Laws of render times, one for each model, resolution and length that was met.

    Attributes:
        delay: Seconds between a task's end and its being noticed that are asked for.
        prior: Median and sigma of the render time to expect of a record's task.
        aim: Delay to plan for, so that the one asked for is reached.
        steady: Whether no task was seen to change while it ran, so that the time of its last
            change is that of its start. Reports say that it may stand still for 15 to 25 minutes;
            whether it always does is unknown.
    """

    delay: float
    prior: Callable[[Record], tuple[float, float]]
    aim: float = attrs.field(init=False)
    steady: bool = attrs.field(default=True, init=False)
    _distributions: dict[tuple[object, ...], RenderTimeDistribution] = attrs.field(
        factory=dict[tuple[object, ...], RenderTimeDistribution], init=False
    )
    _usual: float = attrs.field(init=False)
    """The aim that needs no correction, as far as it is known."""
    _least: float = attrs.field(default=-math.inf, init=False)
    _most: float = attrs.field(default=math.inf, init=False)
    _skew_at: float = attrs.field(default=0.0, init=False)
    _odd: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Aim at what is asked for, until what is reached teaches better."""
        self.aim = self._usual = self.delay

    def distribution(self, record: Record) -> RenderTimeDistribution:
        """How long tasks like the record's run."""
        kind = kind_of(record)
        distribution = self._distributions.get(kind)
        if distribution is None:
            median, sigma = self.prior(record)
            distribution = self._distributions[kind] = RenderTimeDistribution(
                median=median, sigma=sigma, delay=self.aim
            )
        return distribution

    def ran(self, record: Record, seconds: float, running: Running) -> bool:
        """Learn that the record's task ran for *seconds*; *running* tells of others.

        Tells whether the looks at tasks of its kind were planned anew.
        """
        distribution = self.distribution(record)
        distribution.observe(max(seconds, 0.1))
        due = distribution.seen & (distribution.seen - 1) == 0 or distribution.seen % REFIT == 0
        return self._refit(distribution, running) if due else self.runs(record, seconds, running)

    def left(self, record: Record, seconds: float) -> None:
        """Learn that the record's task ran for *seconds* and was stopped, or is given up."""
        self.distribution(record).left(seconds)

    def runs(self, record: Record, seconds: float, running: Running) -> bool:
        """Learn that the record's task got to *seconds*; the rest as for `ran`."""
        distribution = self.distribution(record)
        return self._refit(distribution, running) if distribution.surprised(seconds) else False

    def _refit(self, distribution: RenderTimeDistribution, running: Running) -> bool:
        distribution.delay = self.aim
        ages, each = running()
        distribution.refit(ages, each=each)
        return True

    def noticed(self, late: float) -> None:
        """Correct the aim after an end that was noticed *late* seconds after it happened.

        The aim that is found right is kept, and what came late while it was sought is made up for.
        """
        short = self.delay - min(late, MOST_LATE * self.delay)
        step = (self.aim - self._usual) / SETTLED
        self._usual += step
        aim = self.aim + short / STEADY + step
        self.aim = min(max(aim, self.delay / 3.0), 2.0 * self.delay)

    def local(self, updated_at: float | None, *, since: float, now: float) -> float:
        """The provider's time of a change on our clock: between *since* and *now*.

        Every change bounds how far the clocks differ from both sides, as it lies between *since*
        and *now*, and its second was rounded down: the middle of the bounds is believed. A provider
        that gives no time leaves the middle to be guessed.
        """
        if updated_at is None:
            return now if since == -math.inf else (since + now) / 2.0
        self._bound(since - TRAVEL - updated_at - ROUNDED_DOWN, now - updated_at, now)
        return min(max(self.when(updated_at, now=now), since), now)

    @property
    def synchronous(self) -> bool:
        """Whether both bounds of the clocks' difference are known."""
        return self._least > -math.inf

    def when(self, at: float, *, now: float) -> float:
        """The provider's time *at* on our clock, not after *now*, by what is known so far."""
        if not self.synchronous:
            return now
        return min(at + (self._least + self._most + ROUNDED_DOWN) / 2.0, now)

    def _bound(self, least: float, most: float, now: float) -> None:
        """Take bounds of the clocks' difference, unless they contradict all that came before.

        One time may be anything; where several in a row say the same, a clock was set.
        """
        drift = DRIFT * (now - self._skew_at)
        before, after = self._least - drift, self._most + drift
        if most < before - ROUNDED_DOWN or least > after + ROUNDED_DOWN:
            self._odd += 1
            if self._odd < BELIEVED:
                return
            before, after = -math.inf, math.inf
        self._odd, self._skew_at = 0, now
        self._most = min(after, most)
        self._least = min(max(before, least), self._most)

    def translated(self, at: float) -> float | None:
        """The provider's time *at* on our clock, at the latest; ``None`` if no answer told yet."""
        return None if self._most == math.inf else at + self._most


def kind_of(record: Record) -> tuple[object, ...]:
    """What tasks have in common that run about equally long."""
    spec = record.spec
    return record.model, *((spec.resolution, spec.duration, spec.frames) if spec else ())
