"""The circuit breaker: one probe at a time in an outage, then a slow start."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from callsheet._state.circuit_breaker import FIRST_PAUSE, LONGEST_PROBE_PAUSE, CircuitBreaker
from making import gaps, pauses


widths = st.integers(1, 20)
asked = st.none() | st.floats(0, 300)


def breaker(width: int = 8, **values: float) -> CircuitBreaker:
    """A circuit breaker with a seeded jitter."""
    return CircuitBreaker(width=width, rng=random.Random(1), **values)


class Traffic(RuleBasedStateMachine):
    """Requests that are sent whenever the breaker allows it, and answers in any order."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = breaker()
        self.now = 0.0
        self.in_flight = 0
        self.probes: list[float] = []
        self.polls_failed = False
        self.passes = 8

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def wait_until_ready(self) -> None:
        """Time passes until one more request may be sent."""
        ready = self.breaker.ready_at(now=self.now, in_flight=self.in_flight)
        self.now = self.now if ready is None else ready

    @rule(target=requests, poll=st.booleans())
    def send(self, poll: bool) -> tuple[bool, bool]:  # noqa: FBT001
        """A request is sent if it may be."""
        ready = self.breaker.ready_at(now=self.now, in_flight=self.in_flight)
        if ready is None or ready > self.now:
            return (poll, False)
        assert self.in_flight < (1 if self.breaker.tripped else 8)
        self.in_flight += 1
        if self.breaker.tripped:
            self.probes.append(self.now)
        return (poll, True)

    @rule(request=consumes(requests), retry_after=asked)
    def fail(self, request: tuple[bool, bool], retry_after: float | None) -> None:
        """A request fails."""
        poll, sent = request
        if not sent:
            return
        self.in_flight -= 1
        was_tripped = self.breaker.tripped
        assert (
            self.breaker.failed(now=self.now, poll=poll, retry_after=retry_after) is not was_tripped
        )
        assert self.breaker.tripped
        self.polls_failed |= poll
        ready = self.breaker.ready_at(now=self.now, in_flight=0)
        asked = retry_after or 0.0
        assert ready >= self.now + max(FIRST_PAUSE, asked if asked <= 60.0 else 45.0)

    @rule(request=consumes(requests))
    def serve(self, request: tuple[bool, bool]) -> None:
        """A request is served."""
        poll, sent = request
        if not sent:
            return
        self.in_flight -= 1
        was_tripped = self.breaker.tripped
        opened = self.breaker.passed(now=self.now, poll=poll)
        if was_tripped and self.polls_failed and not poll:
            assert not opened
            assert self.breaker.tripped
            return
        assert opened is was_tripped
        assert not self.breaker.tripped
        self.polls_failed = False
        self.probes.clear()
        if was_tripped:
            self.passes = 1
            assert self.breaker.ready_at(now=self.now, in_flight=1) is None

    @invariant()
    def never_two_probes_within_a_second(self) -> None:
        """Probes are at least a second apart."""
        assert all(gap >= FIRST_PAUSE for gap in gaps(self.probes))

    @invariant()
    def an_idle_breaker_names_a_time(self) -> None:
        """With nothing in flight a request may be sent within a minute."""
        ready = self.breaker.ready_at(now=self.now, in_flight=0)
        assert ready is not None
        assert self.now <= ready <= self.now + 60.0


TestTraffic = Traffic.TestCase


@given(widths, st.integers(0, 30))
def test_a_reset_breaker_allows_its_width(width, in_flight):
    """One more request is allowed exactly while fewer than the width are in flight."""
    ready = breaker(width).ready_at(now=5.0, in_flight=in_flight)
    assert ready == (5.0 if in_flight < width else None)


def test_a_tripped_breaker_waits_for_its_probe():
    """In an outage nothing else is sent while a probe is in flight."""
    tripped = breaker()
    assert tripped.failed(now=0.0, poll=True)
    assert tripped.ready_at(now=1000.0, in_flight=1) is None
    assert tripped.ready_at(now=1000.0, in_flight=0) == 1000.0


@given(st.integers(1, 60))
def test_pauses_grow_up_to_a_few_seconds(failures):
    """Probes are one to five seconds apart, however long the outage lasts."""
    down, now, paused = breaker(), 0.0, []
    for _ in range(failures):
        down.failed(now=now, poll=True)
        ready = down.ready_at(now=now, in_flight=0)
        paused.append(ready - now)
        now = ready
    assert FIRST_PAUSE <= paused[0] <= 1.25 * FIRST_PAUSE
    assert max(paused) <= 1.25 * LONGEST_PROBE_PAUSE
    assert failures < 5 or paused[-1] >= LONGEST_PROBE_PAUSE


@given(st.integers(1, 50))
def test_failures_sent_together_count_once(together):
    """Requests that were in flight when the breaker tripped do not make the pause longer."""
    down = breaker(width=50)
    for _ in range(together):
        down.failed(now=0.0, poll=True)
    assert down.ready_at(now=0.0, in_flight=0) <= 1.25 * FIRST_PAUSE


@given(st.floats(0, 1e9), st.floats(0, 600))
def test_retry_after_is_honoured_up_to_the_cap(asked, cap):
    """A pause is at least ``Retry-After``; a longer one is cut to the cap or a little less."""
    down = breaker(retry_after_cap=cap)
    down.failed(now=0.0, poll=True, retry_after=asked)
    ready = down.ready_at(now=0.0, in_flight=0)
    least = asked if asked <= cap else 0.75 * cap
    assert least <= ready <= max(1.25 * FIRST_PAUSE, min(asked, cap))


def test_a_retry_after_that_is_cut_has_a_jitter():
    """Probes do not come again in the same part of each minute."""
    pauses = set()
    for seed in range(10):
        down = CircuitBreaker(width=8, rng=random.Random(seed))
        down.failed(now=0.0, poll=True, retry_after=3600.0)
        pauses.add(down.ready_at(now=0.0, in_flight=0))
    assert len(pauses) == 10
    assert max(pauses) - min(pauses) > 5.0


@pytest.mark.parametrize("asked", [float("nan"), -5.0, None])
def test_an_invalid_retry_after_changes_nothing(asked):
    """A ``Retry-After`` that is not a number of seconds is ignored."""
    down = breaker()
    down.failed(now=0.0, poll=True, retry_after=asked)
    assert FIRST_PAUSE <= down.ready_at(now=0.0, in_flight=0) <= 1.25 * FIRST_PAUSE


def test_a_late_failure_never_shortens_the_wait():
    """A failure without ``Retry-After`` does not shorten a longer wait."""
    down = breaker()
    down.failed(now=0.0, poll=True, retry_after=50.0)
    down.failed(now=1.0, poll=False)
    assert down.ready_at(now=1.0, in_flight=0) == 50.0


def test_a_poll_resets_what_polls_and_creates_have_tripped():
    """One status answer proves that the service is back."""
    down = breaker()
    down.failed(now=0.0, poll=True)
    down.failed(now=2.0, poll=False)
    assert down.passed(now=4.0, poll=True)
    assert down.ready_at(now=4.0, in_flight=0) == 4.0


def test_a_create_does_not_reset_what_polls_have_tripped():
    """While polls fail, a create that succeeds only postpones the next probe."""
    down = breaker()
    down.failed(now=0.0, poll=True)
    assert not down.passed(now=2.0, poll=False)
    assert down.tripped
    assert down.ready_at(now=2.0, in_flight=0) >= 2.0 + FIRST_PAUSE


def test_a_create_resets_what_creates_have_tripped():
    """A breaker that only creates have tripped is reset by a create that succeeds."""
    down = breaker()
    assert down.failed(now=0.0, poll=False)
    assert down.passed(now=2.0, poll=False)
    assert not down.tripped


@given(widths)
def test_after_an_outage_traffic_doubles_up_to_the_width(width):
    """One request is allowed at first, then twice as many after each that succeeds."""
    back = breaker(width)
    back.failed(now=0.0, poll=True)
    back.passed(now=2.0, poll=True)
    allowed = 1
    for _ in range(8):
        assert back.ready_at(now=2.0, in_flight=allowed - 1) == 2.0
        assert back.ready_at(now=2.0, in_flight=allowed) is None
        back.passed(now=2.0, poll=True)
        allowed = min(width, 2 * allowed)
