"""Tasks that share a queue, and when each of them is worth a look."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from callsheet._core.lanes import LONGEST_GAP, Lane, RenderLaw
from callsheet._core.registry import Record
from core.making import LOST


laws = st.builds(RenderLaw, median=st.floats(0.01, 1e5), sigma=st.floats(0.01, 5))
delays = st.floats(0.01, 600)


def lane(length: int) -> tuple[Lane, list[Record]]:
    """A lane whose line has some length."""
    made = Lane()
    records = [Record(None, index=number) for number in range(length)]
    made.line.extend(records)
    return made, records


@given(laws, st.floats(0, allow_nan=False), delays)
def test_every_gap_is_positive_and_finite(law, age, delay):
    """However old a task is, even infinitely, there is a next look and it is not at once."""
    gap = law.gap(age, delay=delay)
    assert delay < gap <= max(law.median, LONGEST_GAP, 1.5 * delay)
    assert math.isfinite(gap)


@given(laws, st.floats(0, 1), delays)
def test_nobody_looks_before_the_shortest_render(law, share, delay):
    """The first look at a young task falls on the shortest likely render or later."""
    first = law.median * math.exp(-1.6 * law.sigma)
    age = share * first
    assert age + law.gap(age, delay=delay) >= first * (1 - 1e-9)


@given(laws, st.floats(3, 100), st.floats(0, 100), delays)
def test_patience_grows_with_lateness(law, late, later, delay):
    """Long after the median the gaps never shrink."""
    age = late * law.median
    sooner = law.gap(age, delay=delay)
    assert law.gap(age + later * law.median, delay=delay) >= min(sooner, LONGEST_GAP)


@given(st.integers(1, 3000), st.data())
def test_the_frontier_is_found_in_logarithmically_many_looks(length, data):
    """Among tasks served in turn, few looks tell exactly which of them run."""
    running = data.draw(st.integers(0, length))
    queue, records = lane(length)
    looks, presumed = 0, []
    while (scout := queue.scout()) is not None:
        looks += 1
        if scout.index < running:
            presumed += queue.found_running(scout, started=1.0)
        elif queue.found_waiting(scout):
            break
    assert looks <= 4 * math.log2(length + 1) + 4
    assert [each.started is not None for each in records] == [i < running for i in range(length)]
    assert all(each.index < running for each in presumed)
    assert list(queue.waiting()) == records[running:]


@given(st.integers(2, 200), st.data())
def test_a_frontier_that_moves_by_one_costs_one_look_at_a_time(length, data):
    """Once the head of the line is known to wait, it is the one who is looked at again."""
    queue, records = lane(length)
    for each in records[: data.draw(st.integers(0, length - 1))]:
        queue.found_running(each, started=0.0)
    while not queue.found_waiting(queue.scout()):
        pass
    assert queue.scout() is next(queue.waiting())


def test_a_wrong_presumption_is_corrected():
    """Who was presumed to run and is found waiting stands at the head of the line again."""
    queue, records = lane(10)
    queue.stride = 4
    assert queue.found_running(records[3], started=1.0) == records[:3]
    assert list(queue.waiting()) == records[4:]
    queue.found_waiting(records[1])
    assert records[1].started is None
    assert next(queue.waiting()) is records[1]
    while not queue.found_waiting(queue.scout()):
        pass
    assert queue.scout() is records[1]


def test_who_has_ended_is_not_presumed_to_run():
    """Among those before a running scout, only those without an outcome are presumed to run."""
    queue, records = lane(4)
    queue.stride = 4
    records[1].settle(LOST)
    assert queue.found_running(records[3], started=1.0) == [records[0], records[2]]


def test_who_runs_out_of_turn_takes_nobody_along():
    """A task found running that is neither head nor scout says nothing about those before it."""
    queue, records = lane(10)
    assert queue.found_running(records[5], started=1.0) == []
    assert list(queue.waiting()) == records[:5] + records[6:]


def test_who_runs_out_of_turn_and_waits_after_all_keeps_its_place():
    """A task that was taken for running while in the line is in it once, where it was."""
    queue, records = lane(4)
    queue.found_running(records[2], started=1.0)
    queue.found_waiting(records[2])
    assert list(queue.waiting()) == records


def test_a_scout_waits():
    """A task that has ended or runs is not sent ahead: the nearest before it goes instead."""
    queue, records = lane(4)
    queue.found_running(records[2], started=1.0)
    records[3].settle(LOST)
    queue.stride = 4
    assert queue.scout() is records[1]


@pytest.mark.parametrize("stride", [1, 8])
def test_an_empty_line_has_no_scout(stride):
    """Where nobody waits, nobody is sent, and the next search begins with short steps."""
    queue, (only,) = lane(1)
    queue.stride = stride
    only.settle(LOST)
    assert queue.scout() is None
    assert queue.stride == 1


class Line(RuleBasedStateMachine):
    """Tasks that start, stop and end in any order, as no queue should do it."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane()
        self.all: list[Record] = []

    @rule(target=records)
    def append(self) -> Record:
        """A task joins the line."""
        made = Record(None, index=len(self.all))
        self.all.append(made)
        self.lane.line.append(made)
        return made

    @rule(each=records)
    def end(self, each: Record) -> None:
        """A task ends, wherever it stands."""
        each.settle(LOST)

    @rule(each=records)
    def run(self, each: Record) -> None:
        """A task is found running, wherever it stands."""
        if not each.settled and each.started is None:
            presumed = self.lane.found_running(each, started=1.0)
            assert all(one.started is not None for one in (each, *presumed))

    @rule()
    def run_the_scout(self) -> None:
        """The scout is found running."""
        scout = self.lane.scout()
        if scout is not None:
            self.lane.found_running(scout, started=1.0)

    @rule(each=records)
    def wait(self, each: Record) -> None:
        """A task is found waiting."""
        if not each.settled:
            self.lane.found_waiting(each)
            assert each.started is None

    @invariant()
    def everybody_who_waits_stands_in_line_once(self) -> None:
        """Nobody is lost or doubled."""
        waiting = [each.index for each in self.lane.waiting()]
        expected = [e.index for e in self.all if not e.settled and e.started is None]
        assert sorted(waiting) == expected

    @invariant()
    def somebody_goes_ahead_while_anybody_waits(self) -> None:
        """The scout is one of those who wait."""
        scout = self.lane.scout()
        assert scout in (list(self.lane.waiting()) or [None])

    @invariant()
    def strides_fit_the_line(self) -> None:
        """The search never goes far beyond the line."""
        assert 1 <= self.lane.stride <= max(1, 2 * len(self.all))


TestLine = Line.TestCase
