"""Tasks that share a queue, and when each of them is worth a look."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from callsheet._polling.queue_model import LONGEST_STEP, PLACES_PER_CALL, SHORTEST_SWEEP, Lane
from callsheet._polling.schedule import SWEEP
from callsheet._state.record import Record
from making import LOST, NEVER


PATIENCE = 5.0


def lane(length: int) -> tuple[Lane, list[Record]]:
    """A lane whose line has some length."""
    made = Lane(PATIENCE, SWEEP)
    records = [Record(None, index=number) for number in range(length)]
    for each in records:
        made.join(each)
    return made, records


def run(queue: Lane, each: Record, *, started: float = 1.0) -> list[Record]:
    """Find a task running."""
    return queue.found_running(each, started=started, now=started)


@given(st.integers(1, 3000), st.data())
def test_the_frontier_is_found_in_logarithmically_many_looks(length, data):
    """Among tasks served in turn, few looks tell exactly which of them run."""
    running = data.draw(st.integers(0, length))
    queue, records = lane(length)
    looks, presumed = 0, []
    while (scout := queue.scout()) is not None:
        looks += 1
        if scout.index < running:
            presumed += run(queue, scout)
        elif queue.found_waiting(scout):
            break
    assert looks <= 4 * math.log2(length + 1) + 4
    assert [each.started is not None for each in records] == [i < running for i in range(length)]
    assert all(each.index < running for each in presumed)
    assert list(queue.waiting()) == records[running:]


def test_no_answer_lets_more_than_a_thousand_be_presumed_to_run():
    """However long the line, one answer changes what is planned for a bounded number of tasks."""
    queue, records = lane(20_000)
    most = 0
    while (scout := queue.scout()) is not None:
        most = max(most, len(run(queue, scout)))
    assert most == LONGEST_STEP - 1
    assert len(queue.running) == len(records)


def test_a_look_at_the_line_passes_a_bounded_number_of_places():
    """Behind many who ended early nobody is found at once, but all are in the end."""
    queue, records = lane(3 * PLACES_PER_CALL)
    for each in records[1 : 2 * PLACES_PER_CALL]:
        each.settle(LOST)
    assert list(queue.heads(5)) == [records[0]]
    found: list[Record] = []
    looks = 0
    while not found or found[-1] is not records[-1]:
        found += queue.sweep(10 * PLACES_PER_CALL)
        looks += 1
    assert found == [records[0], *records[2 * PLACES_PER_CALL :]]
    assert looks == 3


def test_heads_of_the_line_are_the_first_who_are_not_asked():
    """They come in the order of the line, up to a limit."""
    queue, records = lane(10)
    records[1].asked = True
    records[3].settle(LOST)
    assert list(queue.heads(4)) == [records[0], records[2], records[4], records[5]]
    assert list(queue.heads(0)) == []


@given(st.integers(2, 200), st.data())
def test_a_frontier_that_moves_by_one_costs_one_look_at_a_time(length, data):
    """Once the head of the line is known to wait, it is the one who is looked at again."""
    queue, records = lane(length)
    for each in records[: data.draw(st.integers(0, length - 1))]:
        run(queue, each)
    while not queue.found_waiting(queue.scout()):
        pass
    assert queue.scout() is next(queue.waiting())


def test_a_wrong_presumption_is_corrected():
    """Who was presumed to run and is found waiting stands at the head of the line again."""
    queue, records = lane(10)
    queue._stride = 4
    assert run(queue, records[3]) == records[:3]
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
    queue._stride = 4
    records[1].settle(LOST)
    assert run(queue, records[3]) == [records[0], records[2]]


def test_who_runs_out_of_turn_takes_nobody_along():
    """A task found running that is neither head nor scout says nothing about those before it."""
    queue, records = lane(10)
    assert run(queue, records[5]) == []
    assert list(queue.waiting()) == records[:5] + records[6:]


def test_who_runs_out_of_turn_and_waits_after_all_keeps_its_place():
    """A task that was taken for running while in the line is in it once, where it was."""
    queue, records = lane(4)
    run(queue, records[2])
    queue.found_waiting(records[2])
    assert list(queue.waiting()) == records


def test_a_scout_waits():
    """A task that has ended or runs is not sent ahead: the nearest before it goes instead."""
    queue, records = lane(4)
    run(queue, records[2])
    records[3].settle(LOST)
    queue._stride = 4
    assert queue.scout() is records[1]


@pytest.mark.parametrize("stride", [1, 8])
def test_an_empty_line_has_no_scout(stride):
    """Where nobody waits, nobody is sent, and the next search begins with short steps."""
    queue, (only,) = lane(1)
    queue._stride = stride
    only.settle(LOST)
    assert queue.scout() is None
    assert queue._stride == 1


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_a_sweep_comes_to_everybody(length, limit, data):
    """Call by call everybody who waits is swept, before anybody is swept again."""
    queue, records = lane(length)
    away = data.draw(st.sets(st.sampled_from(records)))
    for number, each in enumerate(away):
        if number % 3 == 0:
            each.settle(LOST)
        elif number % 3 == 1:
            each.asked = True
        else:
            run(queue, each)
    waiting = {e for e in queue.waiting() if not e.asked}
    found = []
    for _ in range(len(waiting) // limit):
        found += queue.sweep(limit)
    assert len(found) == len(set(found)) == len(waiting) // limit * limit
    found += queue.sweep(limit)
    assert set(found) == waiting


def test_a_free_place_goes_to_the_head_once_the_front_is_known():
    """Nobody is presumed to follow before the head of the line was seen waiting."""
    queue, records = lane(3)
    assert queue.presume_next(1.0) is None
    assert queue.found_waiting(records[0])
    assert queue.presume_next(2.0) is records[0]
    assert records[0].started == 2.0
    assert queue.presume_next(3.0) is records[1]
    assert list(queue.running) == records[:2]
    run(queue, records[2])
    assert queue.presume_next(4.0) is None


def test_who_runs_out_of_turn_makes_the_sweep_faster():
    """Each task found running before its turn brings the next sweep forward, down to a limit."""
    queue, records = lane(20)
    gaps = []
    for each in records[10:]:
        queue.found_running(each, started=1.0, now=3.0)
        gaps.append(queue.sweep_gap)
        assert queue.sweep_at == 3.0 + min(gaps)
    assert gaps[0] == SWEEP / 4
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == SHORTEST_SWEEP
    calm, (first, _) = lane(2)
    run(calm, first)
    assert (calm.sweep_gap, calm.sweep_at) == (SWEEP, NEVER)


def test_the_first_is_first_even_once_it_has_ended():
    """A head that has ended stays at the front until somebody looks for the next scout."""
    queue, records = lane(2)
    assert not lane(0)[0].is_first(records[0])
    assert queue.is_first(records[0])
    records[0].settle(LOST)
    assert queue.is_first(records[0])
    assert not queue.is_first(records[1])
    assert queue.scout() is records[1]
    assert queue.is_first(records[1])


def test_a_head_behind_others_does_not_make_the_search_begin_anew():
    """A scout found waiting far back halves the search; the head found waiting ends it."""
    queue, records = lane(9)
    queue._stride = 8
    assert not queue.found_waiting(records[7])
    assert queue.scout() is records[3]
    assert not queue.found_waiting(records[5])
    assert queue.scout() is records[3]
    assert queue.found_waiting(records[0])
    assert queue.scout() is records[0]


class Line(RuleBasedStateMachine):
    """Tasks that start, stop and end in any order, as no queue should do it."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane(PATIENCE, SWEEP)
        self.all: list[Record] = []

    @rule(target=records)
    def append(self) -> Record:
        """A task joins the line."""
        made = Record(None, index=len(self.all))
        self.all.append(made)
        self.lane.join(made)
        return made

    @rule(each=records)
    def end(self, each: Record) -> None:
        """A task ends, wherever it stands."""
        each.settle(LOST)

    @rule(each=records)
    def run(self, each: Record) -> None:
        """A task is found running, wherever it stands."""
        if not each.settled and each.started is None:
            presumed = run(self.lane, each)
            assert all(one.started is not None for one in (each, *presumed))

    @rule()
    def run_the_scout(self) -> None:
        """The scout is found running."""
        scout = self.lane.scout()
        if scout is not None:
            run(self.lane, scout)

    @rule(each=records)
    def wait(self, each: Record) -> None:
        """A task is found waiting."""
        if not each.settled:
            front_known = self.lane.found_waiting(each)
            assert each.started is None
            assert front_known is self.lane.front_known or each is not next(self.lane.waiting())

    @rule()
    def free_a_place(self) -> None:
        """A place becomes free."""
        head = next(self.lane.waiting(), None)
        taken = self.lane.presume_next(2.0)
        assert taken in (head, None)
        assert taken is None or taken.started == 2.0

    @rule(each=records)
    def take_out(self, each: Record) -> None:
        """A task that ran and has ended leaves those who run, as the schedule sees to."""
        if each.settled:
            self.lane.running.pop(each, None)

    @rule(limit=st.integers(0, 9))
    def sweep(self, limit: int) -> None:
        """Some of those who wait are swept, nobody twice."""
        swept = self.lane.sweep(limit)
        assert len(swept) == len(set(swept)) <= limit
        assert set(swept) <= set(self.lane.waiting())

    @invariant()
    def everybody_who_waits_stands_in_line_once(self) -> None:
        """Nobody is lost or doubled."""
        waiting = [each.index for each in self.lane.waiting()]
        expected = [e.index for e in self.all if not e.settled and e.started is None]
        assert sorted(waiting) == expected

    @invariant()
    def everybody_who_runs_is_known_to(self) -> None:
        """Those who run are exactly those who have started, with no more than the ended beside."""
        started = {e for e in self.all if not e.settled and e.started is not None}
        assert {each for each in self.lane.running if not each.settled} == started

    @invariant()
    def somebody_goes_ahead_while_anybody_waits(self) -> None:
        """The scout is one of those who wait."""
        scout = self.lane.scout()
        assert scout in (list(self.lane.waiting()) or [None])

    @invariant()
    def strides_fit_the_line(self) -> None:
        """The search never goes far beyond the line."""
        assert 1 <= self.lane._stride <= max(1, 2 * len(self.all))


TestLine = Line.TestCase
