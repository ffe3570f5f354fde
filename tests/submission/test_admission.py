"""The time when the next create may be sent."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import RateLimit
from callsheet._submission.admission import Admission
from making import gaps, most_in_window, pauses


WIDTH = 4


def admission(*, limit: float = 1000, width: int = WIDTH) -> Admission:
    """An admission whose circuit breaker allows many requests."""
    breaker = CircuitBreaker(width=8, rng=random.Random(1))
    return Admission(
        rate_limit=RateLimit(limit=limit, period=60.0, burst=3), breaker=breaker, width=width
    )


class Creates(RuleBasedStateMachine):
    """Creates are sent whenever they may be, and end in every possible way."""

    def __init__(self) -> None:
        super().__init__()
        self.sender = admission(limit=30)
        self.now = 0.0
        self.in_flight = 0
        self.sent: list[float] = []
        self.refused = False

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def send(self) -> None:
        """Send one create to a queue that takes *room* tasks; return how many it holds then."""
        ready = self.sender.ready_at(now=self.now)
        if ready is None:
            return
        self.now = ready
        self.sender.take(now=ready)
        self.in_flight += 1
        self.sent.append(ready)
        assert self.in_flight <= (1 if self.refused or self.sender.breaker.tripped else WIDTH)

    @precondition(lambda self: self.in_flight)
    @rule(how=st.sampled_from(["accepted", "refused", "full", "failed", "ended"]), pause=pauses)
    def finish(self, how: str, pause: float) -> None:
        """A create in flight ends in one of the possible ways."""
        self.in_flight -= 1
        match how:
            case "accepted":
                self.sender.accepted(now=self.now)
                self.refused = False
            case "refused" | "full":
                self.sender.refused(for_room=how == "full", now=self.now)
                self.sender.hold(until=self.now + pause)
                self.refused = True
                ready = self.sender.ready_at(now=self.now)
                assert ready is None or ready >= self.now + pause
            case "failed":
                self.sender.failed(now=self.now, retry_after=pause)
            case _:
                self.sender.ended()

    @rule()
    def a_task_leaves_the_queue(self) -> None:
        """A task leaves the queue."""
        self.sender.room_made()

    @invariant()
    def no_minute_is_overfull(self) -> None:
        """No minute has more creates than the quota."""
        assert most_in_window(self.sent, 60.0) <= 30

    @invariant()
    def no_create_waits_without_an_end(self) -> None:
        """There is a time for the next create, unless one in flight must end first."""
        ready = self.sender.ready_at(now=self.now)
        assert self.in_flight if ready is None else self.now <= ready <= self.now + 200


TestCreates = Creates.TestCase


@given(st.integers(1, 8))
def test_as_many_creates_are_in_flight_as_the_width_allows(width):
    """As many creates as the width are sent at once, and no more."""
    sender = admission(width=width)
    sender.rate_limit = RateLimit(limit=1000, burst=100)
    for _ in range(width):
        assert sender.ready_at(now=0.0) == 0.0
        sender.take(now=0.0)
    assert sender.ready_at(now=0.0) is None
    sender.ended()
    assert sender.ready_at(now=0.0) == 0.0


def test_a_tripped_breaker_admits_one_create():
    """While creates fail, they are sent one at a time, and one that passes resets the breaker."""
    sender = admission()
    sender.take(now=0.0)
    assert sender.failed(now=0.0)
    probe = sender.ready_at(now=0.0)
    assert probe >= 1.0
    sender.take(now=probe)
    assert sender.ready_at(now=probe) is None
    assert sender.accepted(now=probe)


def test_after_a_refusal_one_create_tries():
    """After a refusal for load creates are sent one at a time until one is accepted."""
    sender = admission()
    sender.take(now=0.0)
    sender.refused(for_room=False, now=0.0)
    sender.hold(until=5.0)
    assert sender.ready_at(now=0.0) == 5.0
    sender.take(now=5.0)
    assert sender.ready_at(now=9.0) is None
    sender.accepted(now=9.0)
    sender.take(now=9.0)
    assert sender.ready_at(now=20.0) == 20.0


def test_a_create_from_before_a_refusal_does_not_end_its_pause():
    """A create that was sent before a refusal and accepted after it does not end the pause."""
    sender = admission()
    for _ in range(2):
        sender.take(now=0.0)
    sender.refused(for_room=False, now=0.0)
    sender.hold(until=9.0)
    sender.accepted(now=1.0)
    assert sender.ready_at(now=1.0) == 9.0
    sender.take(now=9.0)
    assert sender.ready_at(now=10.0) is None
    sender.accepted(now=10.0)
    assert sender.ready_at(now=10.0) is not None


def test_without_polls_a_create_resets_the_breaker():
    """A breaker that polls have tripped waits for a poll, unless there are no polls."""
    sender = admission()
    for polled in (True, False):
        sender.breaker.failed(now=0.0, poll=True)
        sender.take(now=100.0)
        assert sender.accepted(now=100.0, polled=polled) is not polled
        assert sender.breaker.tripped is polled


def test_holds_never_shorten_each_other():
    """The latest end of several pauses counts."""
    sender = admission()
    sender.hold(until=50.0)
    sender.hold(until=20.0)
    assert sender.ready_at(now=0.0) == 50.0


def test_room_ends_a_wait_for_room():
    """A free place in the provider's queue ends a pause that waits for one."""
    sender = admission()
    sender.take(now=0.0)
    sender.refused(for_room=True, now=0.0)
    sender.hold(until=50.0)
    sender.room_made()
    assert sender.ready_at(now=10.0) == 10.0


def without_quota(width: int = WIDTH) -> Admission:
    """An admission that only room and refusals limit."""
    sender = admission(width=width)
    sender.rate_limit = RateLimit(limit=10**9, burst=10**6)
    return sender


def send(sender: Admission, *, now: float, unfinished: int, room: int) -> int:
    """Send one create to a queue that takes *room* tasks; give how many it holds then."""
    sender.take(now=now)
    if unfinished < room:
        sender.accepted(now=now, unfinished=unfinished + 1)
        return unfinished + 1
    sender.refused(for_room=True, now=now, unfinished=unfinished)
    return unfinished


@given(st.integers(1, 200), st.integers(1, 6))
def test_a_full_queue_is_kept_full_without_refusals(room, in_flight):
    """After the first refusals each create follows the end of a task, and none is refused."""
    sender = without_quota(width=in_flight)
    now = unfinished = 0
    while sender.room is None:
        flying = min(in_flight, room - unfinished + 1)
        for _ in range(flying):
            sender.take(now=now)
        for _ in range(flying):
            if unfinished < room:
                unfinished += 1
                sender.accepted(now=now, unfinished=unfinished)
            else:
                sender.refused(for_room=True, now=now, unfinished=unfinished)
        now += 1
    assert sender.room == room
    for _ in range(5):
        ready = sender.ready_at(now=now, unfinished=room)
        assert ready is not None
        assert ready > now
        assert sender.ready_at(now=now, unfinished=room - 1) == now
        assert send(sender, now=now, unfinished=room - 1, room=room) == room


def test_more_room_is_found_by_ever_larger_steps():
    """When others have left the queue, each probe that passes doubles the next step."""
    sender, now, unfinished = without_quota(), 0.0, 10
    send(sender, now=now, unfinished=10, room=10)
    probes = 0
    while unfinished < 200:
        ready = sender.ready_at(now=now, unfinished=unfinished)
        assert ready is not None
        probes += ready > now
        now = ready
        unfinished = send(sender, now=now, unfinished=unfinished, room=200)
    assert probes < 10


def test_probes_of_a_queue_that_stays_full_become_rare():
    """A queue that is full for a day refuses fewer than 160 probes."""
    sender, now = without_quota(), 0.0
    probes = 0
    while now < 86_400:
        send(sender, now=now, unfinished=50, room=50)
        probes += 1
        sender.hold(until=now)
        now = sender.ready_at(now=now, unfinished=50)
    assert probes < 160


def test_a_given_room_is_never_exceeded():
    """With a given room of five, no create is sent while five tasks are unfinished."""
    sender = admission()
    sender = Admission(rate_limit=sender.rate_limit, breaker=sender.breaker, width=WIDTH, room=5)
    assert sender.ready_at(now=0.0, unfinished=4) == 0.0
    sender.take(now=0.0)
    assert sender.ready_at(now=1e9, unfinished=4) is None
    sender.accepted(now=0.0, unfinished=5)
    assert sender.ready_at(now=1e9, unfinished=5) is None
    sender.take(now=1e9)
    sender.refused(for_room=True, now=1e9, unfinished=4)
    assert sender.room == 5


@pytest.mark.parametrize(("unfinished", "most"), [(0, WIDTH), (3, 2), (5, 1), (50, 1)])
def test_no_more_creates_are_started_than_have_room(unfinished, most):
    """A create without room is not started, so that others can be sent first."""
    sender = admission()
    sender.room = 5
    assert sender.most_under_way(unfinished) == most
    sender.take(now=0.0)
    sender.refused(for_room=False, now=0.0)
    assert sender.most_under_way(unfinished) == 1


def test_refusals_of_one_moment_count_once():
    """Ten creates that are refused together count once, and one after the pause counts again."""
    sender = without_quota(width=10)
    for _ in range(10):
        sender.take(now=0.0)
    for _ in range(10):
        sender.refused(for_room=False, now=0.1)
        sender.hold(until=2.0)
    assert sender.refusals == 1
    sender.take(now=2.0)
    sender.refused(for_room=False, now=2.1)
    assert sender.refusals == 2
    sender.hold(until=6.0)
    sender.take(now=6.0)
    sender.accepted(now=6.1)
    assert sender.refusals == 0


def test_room_does_not_end_a_wait_for_quota():
    """A free place in the provider's queue does not end a pause after a refusal for load."""
    sender = admission()
    sender.take(now=0.0)
    sender.refused(for_room=False, now=0.0)
    sender.hold(until=50.0)
    sender.room_made()
    assert sender.ready_at(now=10.0) == 50.0


@given(st.lists(st.floats(0, 3), min_size=40, max_size=80))
def test_the_quota_holds_for_creates(waits):
    """No minute holds more creates than the rate limit, however often one is asked for."""
    sender, now, sent = admission(limit=20), 0.0, []
    for wait in waits:
        now = sender.ready_at(now=now + wait)
        sender.take(now=now)
        sender.accepted(now=now)
        sent.append(now)
    assert most_in_window(sent, 60.0) <= 20
    assert all(gap >= 0 for gap in gaps(sent))
