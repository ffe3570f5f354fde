"""The planner keeps its rate limits and loses no task, whatever the answers are."""

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
    CONTENT_REFUSED,
    LOST,
    NEVER,
    NO_ROUTE,
    NOT_BUILT,
    NOT_FOUND_PAGE,
    OUTAGES,
    UNKNOWN_ID,
    WRONG_KEY,
    most_in_window,
    pauses,
    snapshot,
)
from simulated_provider import SimulatedClient, SimulatedProvider, Simulation, planner


supports = st.sampled_from(ListSupport)
ENDS = [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@st.composite
def simulations(draw: st.DrawFn) -> tuple[SimulatedProvider, Simulation, float]:
    """A provider with random faults, a simulation with tasks, and when the faults stop."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    provider = SimulatedProvider(
        places=draw(st.integers(1, 12)), rng=rng, in_turn=draw(st.booleans())
    )
    real = draw(supports)  # YES: lists; NO: refuses to; UNPROVEN: answers with nothing
    belief = draw(supports) if real is not ListSupport.UNPROVEN else ListSupport.UNPROVEN
    rooms, sizes = st.sampled_from([7500, 60, 12]), st.sampled_from([1, 8, 500])
    client = SimulatedClient(planner=planner(belief, url_room=draw(rooms), page_size=draw(sizes)))
    failing = draw(st.sampled_from([0.0, 0.1, 0.6]))
    calm = draw(st.sampled_from([0.0, 60.0, 400.0]))
    blind = draw(st.sampled_from([0.0, 0.2]))
    half_done = draw(st.sampled_from([0.0, 0.3]))
    poison = draw(st.sampled_from([None, "cgt-3"]))
    failures = draw(st.sampled_from([OUTAGES, (*OUTAGES, WRONG_KEY), (WRONG_KEY,)]))
    shuffled = draw(st.booleans())

    def respond(poll, at):
        ids = [each.task_id for each in poll.records]
        if at < calm and rng.random() < failing:
            return rng.choice(failures)
        if poll.single:
            said = provider.look(ids[0], now=at)
            half = at < calm and rng.random() < half_done
            return [snapshot(said.task_id, said.status, url=False)] if half else [said]
        if real is ListSupport.NO:
            return rng.choice([NOT_FOUND_PAGE, NO_ROUTE, NOT_BUILT])
        if real is ListSupport.UNPROVEN:
            return []
        if poll.page is None and poison in ids:
            return rng.choice([BAD_REQUEST, CONTENT_REFUSED]) if at < calm else BAD_REQUEST
        if poll.page is not None:
            ids = provider.page(poll.page, client.planner.page_size)
        seen = [provider.look(one, now=at) for one in ids if rng.random() >= blind]
        if rng.random() < half_done:
            seen = [snapshot(s.task_id, s.status, url=False) for s in seen]
        if shuffled:
            rng.shuffle(seen)
        return seen

    slow = draw(st.sampled_from([0.02, 0.3, 3.0]))
    simulation = Simulation(
        client=client, respond=respond, latency=lambda: slow * rng.uniform(0.5, 1.5)
    )

    def create(tier):
        outcome = rng.choice(ENDS)
        client.add(
            provider.create(now=client.now, outcome=outcome), fresh=rng.random() < 0.8, tier=tier
        )

    tiers = draw(st.sampled_from([["default"], ["default", "flex", None]]))
    for _ in range(draw(st.integers(1, 40))):
        simulation.at(
            rng.uniform(0, 120) if rng.random() < 0.5 else 0.0, lambda: create(rng.choice(tiers))
        )
    return provider, simulation, calm


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(simulations())
def test_every_end_is_noticed(made):
    """Once failures stop, every task's end is known within a sweep, with the provider's outcome.

    Meanwhile the client checks that each poll is due, within the rate limits, and the only one of
    its tasks in flight, and that the planner neither spins nor sleeps for ever.
    """
    provider, simulation, calm = made
    client = simulation.client
    simulation.run(until=120.0)
    end = max(provider.finish(), calm, 120.0)
    simulation.run(until=end + SWEEP + 120.0)
    assert len(client.registry) == 0
    assert not client.in_flight
    assert most_in_window(client.gets, 1.0) <= 20
    assert most_in_window(client.lists, 1.0) <= 1
    if not client.locked_out:
        assert simulation.settled_at.keys() == provider.jobs.keys()
        assert all(at >= provider.jobs[one].ends for one, at in simulation.settled_at.items())
    assert not client.final_refusals


class Polls(RuleBasedStateMachine):
    """Tasks, nudges, callbacks and every kind of answer, in any order."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.client = None
        self.number = 0

    @precondition(lambda self: self.client is None)
    @rule(support=supports, page=st.sampled_from([100, 3]), room=st.sampled_from([7500, 20, 3]))
    def open(self, support, page, room):
        """A planner is made."""
        limits = {"page": page, "url_room": room, "width": 4, "page_size": 2 * page}
        self.client = SimulatedClient(planner=planner(support, **limits))

    @precondition(lambda self: self.client is not None)
    @rule(target=tasks, fresh=st.booleans(), tier=st.sampled_from([None, "flex"]))
    def add(self, fresh, tier):
        """A task is created or attached."""
        self.number += 1
        self.client.add(f"t{self.number}", fresh=fresh, tier=tier)
        return f"t{self.number}"

    @precondition(lambda self: self.client is not None)
    @rule(seconds=pauses)
    def wait(self, seconds):
        """Time passes."""
        self.client.now += seconds

    @precondition(lambda self: self.client is not None)
    @rule(most=st.integers(1, 10))
    def work(self, most):
        """The polls that may be sent are sent."""
        for _ in range(most):
            while self.client.next() is not None:
                pass
            wake = self.client.wake_at()
            if wake is None:
                break
            self.client.now = wake

    @rule(one=tasks)
    def nudge(self, one):
        """A task becomes due at once."""
        pending = self.client.registry.get(one)
        if pending is not None:
            self.client.nudge(pending)

    @rule(one=tasks, status=st.sampled_from(Status), url=st.booleans())
    def call_back(self, one, status, url):
        """A callback brings the status of a task."""
        pending = self.client.registry.get(one)
        if pending is not None:
            self.client.nudged.add(pending)  # it may be due again while a poll is in flight
            self.client.take(snapshot(one, status, url=url))

    @rule(one=tasks)
    def give_up(self, one):
        """The caller ends a task."""
        pending = self.client.registry.get(one)
        if pending is not None:
            self.client.settle(pending, LOST)

    @precondition(lambda self: self.client and self.client.in_flight)
    @rule(
        which=st.integers(0, 9),
        error=st.sampled_from(
            [
                *OUTAGES,
                UNKNOWN_ID,
                BAD_REQUEST,
                WRONG_KEY,
                NO_ROUTE,
                CONTENT_REFUSED,
                BUSY_FOR_AN_HOUR,
            ]
        ),
    )
    def fail(self, which, error):
        """A poll in flight gets an error."""
        flying = self.client.in_flight
        poll = flying[which % len(flying)]
        tripped = self.client.planner.breaker.tripped
        self.client.answer(poll, error)
        if isinstance(error, ServerError) and error.status_code == 503:
            assert self.client.planner.breaker.tripped or tripped

    @precondition(lambda self: self.client and self.client.in_flight)
    @rule(which=st.integers(0, 9), data=st.data())
    def serve(self, which, data):
        """A poll in flight is answered, with all or some of its tasks."""
        flying = self.client.in_flight
        poll = flying[which % len(flying)]
        said = []
        for each in poll.records:
            status = data.draw(
                st.sampled_from([None, *Status]) if not poll.single else st.sampled_from(Status)
            )
            if status is not None:
                said.append(snapshot(each.task_id, status, url=data.draw(st.booleans())))
        self.client.answer(poll, said)
        assert not self.client.planner.breaker.tripped

    @invariant()
    def every_pending_task_is_planned(self):
        """Each pending task has a due time, will be swept, or has a poll queued or in flight."""
        if self.client is not None:
            plan = self.client.planner
            held = {each for poll in self.client.in_flight for each in poll.records}
            held |= set(plan._singles) | {each for group in plan._groups for each in group}
            for each in self.client.registry:
                lane = plan.schedule._lane(each)
                scout = lane.scout() if each.started is None else None
                ahead = scout is not None and (scout.due < NEVER or scout in held)
                assert each.due < NEVER or each in held or ahead
                swept = lane.sweep_at < NEVER or scout in (each, None)
                assert swept or each.due < NEVER or each in held

    def teardown(self):
        """With an answer to every poll from now on, every task ends."""
        if self.client is None:
            return
        client = self.client
        simulation = Simulation(
            client=client,
            respond=lambda poll, _: [snapshot(r.task_id, Status.SUCCEEDED) for r in poll.records],
        )
        for poll in list(client.in_flight):
            client.answer(poll, LOST)
        simulation.run(until=client.now + SWEEP + 120.0, most=5000)
        assert len(client.registry) == 0
        assert most_in_window(client.gets, 1.0) <= 20
        assert most_in_window(client.lists, 1.0) <= 1


TestPolls = Polls.TestCase
