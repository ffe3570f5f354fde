"""Which poll is sent next: within the budgets, and nothing is lost, whatever comes back."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from callsheet._models.snapshot import Status
from callsheet._polling.planner import ListSupport
from callsheet._polling.schedule import SWEEP
from callsheet.errors import ServerError
from making import (
    BAD_REQUEST,
    BUSY_FOR_AN_HOUR,
    ILL_SAID,
    LOST,
    NEVER,
    NO_ROUTE,
    NOT_BUILT,
    OUTAGES,
    SOME_PAGE,
    UNKNOWN_ID,
    WRONG_KEY,
    fullest,
    pauses,
    snapshot,
)
from simulated_provider import Day, Desk, Studio, planner


supports = st.sampled_from(ListSupport)
ENDS = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@st.composite
def days(draw: st.DrawFn) -> tuple[Studio, Day, float]:
    """A provider with its whims, a day's tasks, and when its failures stop."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    studio = Studio(places=draw(st.integers(1, 12)), rng=rng, in_turn=draw(st.booleans()))
    real = draw(supports)  # YES: lists; NO: refuses to; UNPROVEN: answers with nothing
    belief = draw(supports) if real is not ListSupport.UNPROVEN else ListSupport.UNPROVEN
    rooms, sizes = st.sampled_from([7500, 60, 12]), st.sampled_from([1, 8, 500])
    desk = Desk(planner=planner(belief, url_room=draw(rooms), page_size=draw(sizes)))
    failing = draw(st.sampled_from([0.0, 0.1, 0.6]))
    calm = draw(st.sampled_from([0.0, 60.0, 400.0]))
    blind = draw(st.sampled_from([0.0, 0.2]))
    half_done = draw(st.sampled_from([0.0, 0.3]))
    poison = draw(st.sampled_from([None, "cgt-3"]))
    failures = draw(st.sampled_from([OUTAGES, (*OUTAGES, WRONG_KEY), (WRONG_KEY,)]))
    shuffled = draw(st.booleans())

    def wire(poll, at):
        desk_ids = [each.task_id for each in poll.records]
        if at < calm and rng.random() < failing:
            return rng.choice(failures)
        if poll.single:
            said = studio.look(desk_ids[0], now=at)
            half = at < calm and rng.random() < half_done
            return [snapshot(said.task_id, said.status, url=False)] if half else [said]
        if real is ListSupport.NO:
            return rng.choice([SOME_PAGE, NO_ROUTE, NOT_BUILT])
        if real is ListSupport.UNPROVEN:
            return []
        if poll.page is None and poison in desk_ids:
            return rng.choice([BAD_REQUEST, ILL_SAID]) if at < calm else BAD_REQUEST
        if poll.page is not None:
            desk_ids = studio.page(poll.page, desk.planner.page_size)
        seen = [studio.look(one, now=at) for one in desk_ids if rng.random() >= blind]
        if rng.random() < half_done:
            seen = [snapshot(s.task_id, s.status, url=False) for s in seen]
        if shuffled:
            rng.shuffle(seen)
        return seen

    slow = draw(st.sampled_from([0.02, 0.3, 3.0]))
    day = Day(desk=desk, wire=wire, latency=lambda: slow * rng.uniform(0.5, 1.5))

    def create(tier):
        outcome = rng.choice(ENDS)
        desk.add(studio.create(now=desk.now, outcome=outcome), fresh=rng.random() < 0.8, tier=tier)

    tiers = draw(st.sampled_from([["default"], ["default", "flex", None]]))
    for _ in range(draw(st.integers(1, 40))):
        day.at(
            rng.uniform(0, 120) if rng.random() < 0.5 else 0.0, lambda: create(rng.choice(tiers))
        )
    return studio, day, calm


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(days())
def test_a_day_ends_with_every_task(made):
    """Once failures stop, every task's end is known within a sweep, and it is the provider's word.

    On the way the desk checks each order: due, within the budgets, asked about only once at a
    time, no spinning and no sleep without an end.
    """
    studio, day, calm = made
    desk = day.desk
    day.run(until=120.0)
    end = max(studio.finish(), calm, 120.0)
    day.run(until=end + SWEEP + 120.0)
    assert len(desk.registry) == 0
    assert not desk.in_flight
    assert fullest(desk.gets, 1.0) <= 20
    assert fullest(desk.lists, 1.0) <= 1
    if not desk.locked_out:
        assert day.settled_at.keys() == studio.jobs.keys()
        assert all(at >= studio.jobs[one].ends for one, at in day.settled_at.items())
    assert not desk.last_words


class Polls(RuleBasedStateMachine):
    """Tasks, nudges, callbacks and every kind of answer, in any order."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.desk = None
        self.number = 0

    @precondition(lambda self: self.desk is None)
    @rule(support=supports, page=st.sampled_from([100, 3]), room=st.sampled_from([7500, 20, 3]))
    def open(self, support, page, room):
        """A planner begins its work."""
        limits = {"page": page, "url_room": room, "width": 4, "page_size": 2 * page}
        self.desk = Desk(planner=planner(support, **limits))

    @precondition(lambda self: self.desk is not None)
    @rule(target=tasks, fresh=st.booleans(), tier=st.sampled_from([None, "flex"]))
    def add(self, fresh, tier):
        """A task is created or attached."""
        self.number += 1
        self.desk.add(f"t{self.number}", fresh=fresh, tier=tier)
        return f"t{self.number}"

    @precondition(lambda self: self.desk is not None)
    @rule(seconds=pauses)
    def wait(self, seconds):
        """Time passes."""
        self.desk.now += seconds

    @precondition(lambda self: self.desk is not None)
    @rule(most=st.integers(1, 10))
    def work(self, most):
        """Orders go as they may."""
        for _ in range(most):
            while self.desk.next() is not None:
                pass
            wake = self.desk.wake_at()
            if wake is None:
                break
            self.desk.now = wake

    @rule(one=tasks)
    def nudge(self, one):
        """Something happened to a task."""
        pending = self.desk.registry.get(one)
        if pending is not None:
            self.desk.nudge(pending)

    @rule(one=tasks, status=st.sampled_from(Status), url=st.booleans())
    def call_back(self, one, status, url):
        """A callback tells of a task."""
        pending = self.desk.registry.get(one)
        if pending is not None:
            self.desk.nudged.add(pending)  # it is dated anew, though it may be on its way
            self.desk.take(snapshot(one, status, url=url))

    @rule(one=tasks)
    def give_up(self, one):
        """A task is ended from outside."""
        pending = self.desk.registry.get(one)
        if pending is not None:
            self.desk.settle(pending, LOST)

    @precondition(lambda self: self.desk and self.desk.in_flight)
    @rule(
        which=st.integers(0, 9),
        error=st.sampled_from(
            [*OUTAGES, UNKNOWN_ID, BAD_REQUEST, WRONG_KEY, NO_ROUTE, ILL_SAID, BUSY_FOR_AN_HOUR]
        ),
    )
    def fail(self, which, error):
        """An order in flight fails."""
        flying = self.desk.in_flight
        poll = flying[which % len(flying)]
        tripped = self.desk.planner.breaker.tripped
        self.desk.answer(poll, error)
        if isinstance(error, ServerError) and error.status_code == 503:
            assert self.desk.planner.breaker.tripped or tripped

    @precondition(lambda self: self.desk and self.desk.in_flight)
    @rule(which=st.integers(0, 9), data=st.data())
    def serve(self, which, data):
        """An order in flight is answered, about all or some of its tasks."""
        flying = self.desk.in_flight
        poll = flying[which % len(flying)]
        said = []
        for each in poll.records:
            status = data.draw(
                st.sampled_from([None, *Status]) if not poll.single else st.sampled_from(Status)
            )
            if status is not None:
                said.append(snapshot(each.task_id, status, url=data.draw(st.booleans())))
        self.desk.answer(poll, said)
        assert not self.desk.planner.breaker.tripped

    @invariant()
    def every_pending_task_has_a_place(self):
        """A pending task is planned, about to be asked, or asked."""
        if self.desk is not None:
            plan = self.desk.planner
            held = {each for poll in self.desk.in_flight for each in poll.records}
            held |= set(plan._singles) | {each for group in plan._groups for each in group}
            for each in self.desk.registry:
                lane = plan.schedule._lane(each)
                scout = lane.scout() if each.started is None else None
                ahead = scout is not None and (scout.due < NEVER or scout in held)
                assert each.due < NEVER or each in held or ahead
                swept = lane.sweep_at < NEVER or scout in (each, None)
                assert swept or each.due < NEVER or each in held

    def teardown(self):
        """Answer everything from now on: every task comes to its end."""
        if self.desk is None:
            return
        desk = self.desk
        day = Day(
            desk=desk,
            wire=lambda poll, _: [snapshot(r.task_id, Status.SUCCEEDED) for r in poll.records],
        )
        for poll in list(desk.in_flight):
            desk.answer(poll, LOST)
        day.run(until=desk.now + SWEEP + 120.0, most=5000)
        assert len(desk.registry) == 0
        assert fullest(desk.gets, 1.0) <= 20
        assert fullest(desk.lists, 1.0) <= 1


TestPolls = Polls.TestCase
