"""The model of a queue: which tasks run, and which waiting task is polled next."""

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


def lane(length: int) -> tuple[Lane, list[Record]]:
    """A lane with so many waiting tasks."""
    made = Lane(SWEEP)
    records = [Record(None, index=number) for number in range(length)]
    for each in records:
        made.join(each)
    return made, records


def run(queue: Lane, each: Record, *, started: float = 1.0) -> list[Record]:
    """Note that a task runs."""
    return queue.found_running(each, started=started, now=started)


@given(st.integers(1, 3000), st.data())
def test_the_first_waiting_task_is_found_with_a_logarithmic_number_of_polls(length, data):
    """If tasks start in order, a few polls show exactly which of them run."""
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


def test_one_answer_presumes_at_most_a_thousand_tasks_to_run():
    """However long the queue is, one answer changes the plan of a bounded number of tasks."""
    queue, records = lane(20_000)
    most = 0
    while (scout := queue.scout()) is not None:
        most = max(most, len(run(queue, scout)))
    assert most == LONGEST_STEP - 1
    assert len(queue.running) == len(records)


def test_one_call_looks_at_a_bounded_number_of_places():
    """Tasks behind many that have ended are found after some calls, and none is missed."""
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


def test_heads_are_the_first_tasks_that_are_not_being_polled():
    """They are returned in the order of the queue, up to a limit."""
    queue, records = lane(10)
    records[1].asked = True
    records[3].settle(LOST)
    assert list(queue.heads(4)) == [records[0], records[2], records[4], records[5]]
    assert list(queue.heads(0)) == []


@given(st.integers(2, 200), st.data())
def test_the_head_stays_the_scout_once_it_was_seen_waiting(length, data):
    """Once the head of the queue was seen waiting, it is the task to poll again."""
    queue, records = lane(length)
    for each in records[: data.draw(st.integers(0, length - 1))]:
        run(queue, each)
    while not queue.found_waiting(queue.scout()):
        pass
    assert queue.scout() is next(queue.waiting())


def test_a_wrong_presumption_is_corrected():
    """A task that was presumed to run and is found waiting is back in its place in the queue."""
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


def test_an_ended_task_is_not_presumed_to_run():
    """Of the tasks before a running scout, only those without an outcome are presumed to run."""
    queue, records = lane(4)
    queue._stride = 4
    records[1].settle(LOST)
    assert run(queue, records[3]) == [records[0], records[2]]


def test_a_task_that_runs_out_of_order_changes_no_other():
    """If a task that is neither head nor scout runs, the tasks before it still wait."""
    queue, records = lane(10)
    assert run(queue, records[5]) == []
    assert list(queue.waiting()) == records[:5] + records[6:]


def test_a_task_that_ran_out_of_order_and_waits_again_keeps_its_place():
    """A task that was found running out of order, then waiting, has its old place once."""
    queue, records = lane(4)
    run(queue, records[2])
    queue.found_waiting(records[2])
    assert list(queue.waiting()) == records


def test_the_scout_is_a_waiting_task():
    """If the task in that place runs or has ended, the nearest waiting one before it is polled."""
    queue, records = lane(4)
    run(queue, records[2])
    records[3].settle(LOST)
    queue._stride = 4
    assert queue.scout() is records[1]


@pytest.mark.parametrize("stride", [1, 8])
def test_an_empty_queue_has_no_scout(stride):
    """If no task waits, there is no scout, and the next search begins with a step of one."""
    queue, (only,) = lane(1)
    queue._stride = stride
    only.settle(LOST)
    assert queue.scout() is None
    assert queue._stride == 1


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_sweeps_reach_every_waiting_task(length, limit, data):
    """Every waiting task is swept once before any is swept again."""
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


def test_the_head_is_presumed_to_start_once_the_front_is_known():
    """No task is presumed to start before the head of the queue was seen waiting."""
    queue, records = lane(3)
    assert queue.presume_next(1.0, since=0.0) is None
    assert queue.found_waiting(records[0])
    assert queue.presume_next(2.0, since=0.0) is records[0]
    assert records[0].started == 2.0
    assert queue.presume_next(3.0, since=0.0) is records[1]
    assert list(queue.running) == records[:2]
    run(queue, records[2])
    assert queue.presume_next(4.0, since=0.0) is None


def test_a_task_that_runs_out_of_order_makes_sweeps_more_frequent():
    """Each task found running out of order makes the next sweep earlier, down to a limit."""
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


def test_an_ended_head_is_first_until_the_next_scout_is_asked_for():
    """A head that has ended keeps the first place until `scout` is called."""
    queue, records = lane(2)
    assert not lane(0)[0].is_first(records[0])
    assert queue.is_first(records[0])
    records[0].settle(LOST)
    assert queue.is_first(records[0])
    assert not queue.is_first(records[1])
    assert queue.scout() is records[1]
    assert queue.is_first(records[1])


@given(st.integers(1, 5000), st.data())
def test_one_list_tells_how_far_a_line_has_moved(length, data):
    """If the next scouts are shown together, all that run are known but for one last step."""
    running = data.draw(st.integers(0, length))
    queue, records = lane(length)
    shown = list(queue.next_scouts())
    assert len(shown) <= math.log2(LONGEST_STEP) + length / LONGEST_STEP + 2
    for each in shown:
        if each.index < running:
            assert each is queue.scout()
            run(queue, each)
        else:
            queue.found_waiting(each)
    found = sum(each.started is not None for each in records)
    assert found <= running <= max(2 * found + 1, found + LONGEST_STEP)


def test_a_scout_that_has_ended_unseen_tells_of_all_before_it():
    """A task that was never seen running began after all that stood before it in line."""
    queue, records = lane(30)
    run(queue, records[0])
    run(queue, queue.scout())
    scout = queue.scout()
    assert scout is records[6]
    scout.settle(LOST)
    assert queue.found_ended(scout, now=5.0) == records[3:6]
    assert queue.scout() is records[14]


def test_only_a_scout_that_has_ended_tells_of_others():
    """The end of a head whose front is known moves nobody, and one out of order is reported."""
    queue, records = lane(9)
    assert queue.found_waiting(records[0])
    for each in (records[0], records[5]):
        each.settle(LOST)
    assert queue.found_ended(records[5], now=5.0) is None
    assert queue.found_ended(records[0], now=5.0) == []
    assert queue.scout() is records[1]
    assert lane(0)[0].found_ended(records[0], now=5.0) is None


def test_only_the_head_or_the_scout_changes_the_search():
    """A waiting scout far back halves the step; another waiting task does not; the head ends it."""
    queue, records = lane(9)
    queue._stride = 8
    assert not queue.found_waiting(records[7])
    assert queue.scout() is records[3]
    assert not queue.found_waiting(records[5])
    assert queue.scout() is records[3]
    assert queue.found_waiting(records[0])
    assert queue.scout() is records[0]


class QueueMachine(RuleBasedStateMachine):
    """Tasks that start, stop and end in any order, even an impossible one."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane(SWEEP)
        self.all: list[Record] = []

    @rule(target=records)
    def append(self) -> Record:
        """A task joins the queue."""
        made = Record(None, index=len(self.all))
        self.all.append(made)
        self.lane.join(made)
        return made

    @rule(each=records)
    def end(self, each: Record) -> None:
        """A task ends, in whatever place."""
        each.settle(LOST)

    @rule(each=records)
    def run(self, each: Record) -> None:
        """A task is found running, in whatever place."""
        if not each.settled and each.started is None:
            presumed = run(self.lane, each)
            assert all(one.started is not None for one in (each, *presumed))

    @rule()
    def end_the_scout(self) -> None:
        """The scout has ended before it was seen running."""
        scout = self.lane.scout()
        if scout is not None:
            scout.settle(LOST)
            assert self.lane.found_ended(scout, now=1.0) is not None

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
    def presume_next(self) -> None:
        """A running task has ended, so the head may start."""
        head = next(self.lane.waiting(), None)
        taken = self.lane.presume_next(2.0, since=0.0)
        assert taken in (head, None)
        assert taken is None or taken.started == 2.0

    @rule(each=records)
    def remove_ended(self, each: Record) -> None:
        """An ended task is removed from the running ones, as the schedule does it."""
        if each.settled:
            self.lane.running.pop(each, None)

    @rule(limit=st.integers(0, 9))
    def sweep(self, limit: int) -> None:
        """Some waiting tasks are swept, none twice."""
        swept = self.lane.sweep(limit)
        assert len(swept) == len(set(swept)) <= limit
        assert set(swept) <= set(self.lane.waiting())

    @invariant()
    def each_waiting_task_is_in_the_queue_once(self) -> None:
        """No waiting task is missing or there twice."""
        waiting = [each.index for each in self.lane.waiting()]
        expected = [e.index for e in self.all if not e.settled and e.started is None]
        assert sorted(waiting) == expected

    @invariant()
    def all_started_tasks_are_running(self) -> None:
        """The running tasks are exactly those that have started, apart from ended ones."""
        started = {e for e in self.all if not e.settled and e.started is not None}
        assert {each for each in self.lane.running if not each.settled} == started

    @invariant()
    def there_is_a_scout_while_a_task_waits(self) -> None:
        """The scout is one of the waiting tasks."""
        scout = self.lane.scout()
        assert scout in (list(self.lane.waiting()) or [None])

    @invariant()
    def steps_fit_the_queue(self) -> None:
        """The step is never much longer than the queue."""
        assert 1 <= self.lane._stride <= max(1, 2 * len(self.all))


TestQueue = QueueMachine.TestCase
