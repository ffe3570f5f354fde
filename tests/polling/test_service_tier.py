"""When a list is worth sending."""

from __future__ import annotations

from callsheet._polling.queue_model import Lane
from callsheet._polling.render_time.estimator import Estimator
from callsheet._polling.service_tier import HORIZON, PRECISION, Tier
from making import record
from simulated_provider import PRIOR


DELAY = 5.0


def experience() -> Estimator:
    """Experience of nothing."""
    return Estimator(delay=DELAY, prior=lambda _: PRIOR)


def running(ages: list[float]) -> Tier:
    """A tier with tasks that were just seen running, at these ages."""
    lane = Lane(DELAY, 30.0)
    for age in ages:
        each = record()
        lane.join(each)
        lane.found_running(each, started=-age, now=0.0)
        each.alive_at = 0.0
    return Tier(lanes={"model": lane})


def expected(estimator: Estimator, tier: Tier, at: float) -> float:
    """Ends to be expected by a moment."""
    tasks = tier.lanes["model"].running
    return sum(
        estimator.distribution(each).ended(-each.started, at - each.started) for each in tasks
    )


def test_a_list_waits_for_more_ends_while_they_come_fast():
    """Of ten tasks of one age, more ends are awaited at their peak than while hardly any comes."""
    estimator = experience()
    counts = []
    for age in (5.0, 60.0):
        tier = running([age] * 10)
        at = tier.list_at(estimator, page=100, now=0.0)
        counts.append(expected(estimator, tier, at))
    assert counts[1] > 1.1 * counts[0]


def test_a_list_for_one_task_is_sent_at_the_chance_of_its_law():
    """With one task alone there is no company to wait for."""
    estimator, tier = experience(), running([20.0])
    at = tier.list_at(estimator, page=100, now=0.0)
    mass = estimator.distribution(record()).mass
    assert expected(estimator, tier, at - 2 * PRECISION) < mass <= expected(estimator, tier, at)


def test_the_more_run_the_sooner_is_a_list_worth_it():
    """The price of a list is shared by all whom it shows."""
    times = [running([20.0] * n).list_at(experience(), page=100, now=0.0) for n in (2, 5, 20, 80)]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


def test_no_list_is_planned_while_all_are_asked_about():
    """Those whose answer is awaited are worth no list of their own."""
    tier = running([20.0])
    for each in tier.lanes["model"].running:
        each.asked = True
    assert tier.list_at(experience(), page=100, now=7.0) == 7.0 + HORIZON
    assert Tier().list_at(experience(), page=100, now=7.0) is None
