"""The planner chooses the next poll within its rate limits and loses no task."""

from __future__ import annotations

import random

import attrs
import pytest

from callsheet._models.snapshot import Status
from callsheet._polling.planner import (
    FAILED_LISTS,
    LISTS_PAUSE,
    LOCKED_OUT_AFTER,
    REFUSALS,
    ListSupport,
)
from callsheet._polling.schedule import SOONEST
from callsheet._state.rate_limit import JITTER, ProbingRateLimit
from making import (
    BAD_REQUEST,
    BUSY,
    BUSY_FOR_AN_HOUR,
    DOWN,
    GARBAGE,
    LOST,
    NO_ROUTE,
    NOT_BUILT,
    NOT_FOUND_PAGE,
    UNKNOWN_ID,
    UNWRITABLE,
    WRONG_KEY,
    gaps,
    most_in_window,
    snapshot,
)
from simulated_provider import SimulatedClient, SimulatedProvider, Simulation, planner


def client_with(support: ListSupport, tasks: int, **values) -> SimulatedClient:
    """A simulated client with so many attached tasks, all due."""
    client = SimulatedClient(planner=planner(support, **values))
    for number in range(tasks):
        client.add(f"t{number}", fresh=False)
    client.now = 10.0
    return client


def test_halves_of_a_refused_list_are_polled_by_get_once_lists_are_given_up():
    """If the first half of a split list shows that there are no lists, all its tasks get gets."""
    client = client_with(ListSupport.YES, 4)
    client.answer(client.next(), BAD_REQUEST)
    client.now += 2.0
    half = client.next()
    assert not half.single
    client.planner.support = ListSupport.UNPROVEN
    client.answer(half, NO_ROUTE)
    asked = set()
    for _ in range(4):
        client.now = max(client.now, client.wake_at())
        poll = client.next()
        assert poll.single
        asked.update(poll.records)
        client.answer(poll, [snapshot(poll.records[0].task_id, Status.FAILED)])
    assert len(asked) == 4


def test_an_id_too_long_for_a_list_is_polled_by_get():
    """A task whose id is too long for the URL of a list is polled by get."""
    client = client_with(ListSupport.YES, 2, url_room=8)
    long = client.add("t" * 50, fresh=False)
    seen = []
    for _ in range(10):
        client.now += 2.0
        while (poll := client.next()) is not None:
            seen.append(poll)
            client.answer(poll, [snapshot(r.task_id, Status.QUEUED) for r in poll.records])
    assert any(poll.single and poll.records == (long,) for poll in seen)


def test_a_success_without_a_video_is_polled_again_once():
    """A list that says succeeded but shows no video is followed by one get."""
    client = client_with(ListSupport.YES, 2)
    said = [snapshot("t0", Status.SUCCEEDED, url=False), snapshot("t1", Status.RUNNING)]
    client.answer(client.next(), said)
    again = client.next()
    assert again.single
    client.now += 1.0
    assert client.next() is None


def test_only_refusals_of_the_task_itself_end_it():
    """One "no such task" after an outage is not final."""
    client = client_with(ListSupport.NO, 1)
    for error in (LOST, DOWN, UNKNOWN_ID):
        client.now += 100.0
        client.answer(client.next(), error)
        client.planner.breaker.passed(now=client.now, poll=True)
    assert client.final_refusals == []


def test_three_refusals_in_a_row_end_a_task():
    """Three times "no such task" in a row is final."""
    client = client_with(ListSupport.NO, 1)
    for _ in range(REFUSALS):
        assert client.final_refusals == []
        client.now += 100.0
        client.answer(client.next(), UNKNOWN_ID)
    assert len(client.final_refusals) == 1
    assert len(client.registry) == 0


@pytest.mark.parametrize("out", [False, True])
def test_a_get_that_cannot_be_written_ends_only_its_task(out):
    """It is final at once, and does not change the circuit breaker, because nothing was sent."""
    client = client_with(ListSupport.NO, 2)
    if out:
        client.answer(client.next(), DOWN)
        client.now += 100.0
    poll = client.next()
    client.answer(poll, UNWRITABLE)
    assert client.final_refusals == list(poll.records)
    assert client.planner.breaker.tripped == out
    assert len(client.registry) == 1


def test_an_answer_between_refusals_clears_them():
    """A status answer proves that the provider knows the task, so the count restarts at zero."""
    client = client_with(ListSupport.NO, 1)
    for _ in range(3):
        for answer in (UNKNOWN_ID, UNKNOWN_ID, [snapshot("t0", Status.QUEUED)]):
            client.now += 400.0
            client.answer(client.next(), answer)
    assert client.final_refusals == []


def test_a_refused_id_proves_that_the_key_works():
    """An answer about a task ends the time for which the account counts as locked out."""
    client = client_with(ListSupport.NO, 1)
    for answer in (WRONG_KEY, UNKNOWN_ID, WRONG_KEY):
        client.now += LOCKED_OUT_AFTER
        client.answer(client.next(), answer)
    assert not client.locked_out


def test_a_lasting_lockout_ends_the_waiting():
    """If the account was refused for a whole minute, all tasks are given up."""
    client = client_with(ListSupport.NO, 2)
    client.answer(client.next(), WRONG_KEY)
    assert not client.locked_out
    client.now += LOCKED_OUT_AFTER
    client.answer(client.next(), WRONG_KEY)
    assert client.locked_out
    assert len(client.registry) == 0


@pytest.mark.parametrize("before", [1, 2])
def test_a_refusal_long_after_another_is_no_lockout(before):
    """Refusals that are hours apart end no task, not even after an earlier lockout."""
    client = client_with(ListSupport.NO, 1)
    for _ in range(before):
        client.answer(client.next(), WRONG_KEY)
        client.now += LOCKED_OUT_AFTER
    client.locked_out = False
    if not len(client.registry):
        client.add("later", fresh=False)
    client.now += 3600.0
    client.answer(client.next(), WRONG_KEY)
    assert not client.locked_out
    assert len(client.registry) == 1


@pytest.mark.parametrize("between", [LOST, DOWN])
def test_an_outage_is_no_lockout(between):
    """A failure of another kind restarts the minute."""
    client = client_with(ListSupport.NO, 1)
    for answer in (WRONG_KEY, between, WRONG_KEY):
        client.now += LOCKED_OUT_AFTER
        client.answer(client.next(), answer)
    assert not client.locked_out


def test_ids_fill_a_url_and_a_page():
    """A list holds only as many ids as fit, and the next list holds the others."""
    client = client_with(ListSupport.YES, 25, page=10, url_room=21)
    seen = []
    while len(seen) < 25:
        client.now += 2.0
        poll = client.next()
        assert len(poll.records) <= 7
        seen += poll.records
        client.answer(poll, [snapshot(r.task_id, Status.FAILED) for r in poll.records])
    assert len(set(seen)) == 25


def test_longer_ids_make_smaller_lists_and_not_more_of_them():
    """If more tasks run than one list can name, a list leaves out those that are not due."""
    client = client_with(ListSupport.YES, 150, page=180, url_room=600)
    for number in range(150, 160):
        client.add(f"t{number:05d}", fresh=False)
    seen: dict[str, list[float]] = {}
    while client.now < 22.0:
        poll = client.next()
        if poll is not None:
            for each in poll.records:
                seen.setdefault(each.task_id, []).append(client.now)
            running = [snapshot(each.task_id, Status.RUNNING) for each in poll.records]
            client.answer(poll, running)
        client.now += 0.5
    assert len(seen) == 160
    assert all(gap >= SOONEST for times in seen.values() for gap in gaps(times))
    assert most_in_window(client.lists, 1.0) <= 1


def test_one_slow_poll_delays_no_other():
    """While other polls are answered, the service counts as up and gets twenty gets a second."""
    client = client_with(ListSupport.NO, 100)
    slow = client.next()
    sent = 0
    while client.now < 14.0:
        client.now += 0.01
        if (poll := client.next()) is not None:
            sent += 1
            client.answer(poll, [snapshot(poll.records[0].task_id, Status.SUCCEEDED)])
    assert sent > 60
    client.answer(slow, [snapshot(slow.records[0].task_id, Status.SUCCEEDED)])


def test_a_list_is_filled_with_tasks_that_are_not_due():
    """Free room in a list is used for waiting tasks that are not due yet, of the same tier only."""
    client = client_with(ListSupport.YES, 1, page=3, url_room=12)
    for number in range(4):
        client.add(f"n{number}")
    client.add("f", tier="flex")
    client.add("a-long-name")
    poll = client.next()
    # "n1" is the scout after "t0": it comes before the head of the line, "n0"
    assert [each.task_id for each in poll.records] == ["t0", "n1", "n0"]


def test_a_task_that_is_not_due_is_left_out_if_it_does_not_fit():
    """An id that is too long for the free room is not added to a list."""
    client = client_with(ListSupport.YES, 1, url_room=8)
    client.add("a-long-name")
    assert [each.task_id for each in client.next().records] == ["t0"]


def test_a_list_holds_tasks_of_one_tier():
    """Tasks of the flex tier are in lists of their own, which name the tier."""
    client = client_with(ListSupport.YES, 2)
    client.add("f", fresh=False, tier="flex")
    first = client.next()
    client.answer(first, [])
    client.now += 2.5
    tiers = {first.tier}
    while (poll := client.next()) is not None:
        if not poll.single:
            tiers.add(poll.tier)
        client.answer(poll, [snapshot(r.task_id, Status.QUEUED) for r in poll.records])
    assert tiers == {None, "flex"}


@pytest.mark.parametrize("error", [NOT_FOUND_PAGE, NO_ROUTE, NOT_BUILT, BAD_REQUEST, GARBAGE])
def test_an_unproven_list_that_is_refused_is_not_tried_again(error):
    """If lists are unproven, one refusal is enough: its tasks are polled by get."""
    client = client_with(ListSupport.UNPROVEN, 3)
    client.answer(client.next(), error)
    assert client.planner.support is ListSupport.NO
    client.now += 10.0
    assert client.next().single


def test_an_unproven_list_that_finds_nothing_is_given_up():
    """After three lists without a requested id only gets are used; the task is polled meanwhile."""
    client = client_with(ListSupport.UNPROVEN, 2)
    lists = 0
    while client.planner.support is ListSupport.UNPROVEN:
        poll = client.next()
        lists += not poll.single
        said = [snapshot(poll.records[0].task_id, Status.QUEUED)] if poll.single else []
        client.answer(poll, said)
        client.now += 400.0 if poll.single else 1.0
    assert client.planner.support is ListSupport.NO
    assert lists == 3


def test_an_unproven_list_that_finds_a_task_is_proven():
    """One task found proves lists; later lists that find nothing do not disprove them."""
    client = client_with(ListSupport.UNPROVEN, 2)
    client.answer(client.next(), [snapshot("t0", Status.QUEUED)])
    assert client.planner.support is ListSupport.YES
    for _ in range(10):
        client.now += 400.0
        poll = client.next()
        said = [snapshot(poll.records[0].task_id, Status.QUEUED)] if poll.single else []
        client.answer(poll, said)
    assert client.planner.support is ListSupport.YES


@pytest.mark.parametrize("number", [1, 2, 3, 17])
def test_a_refused_list_is_split_until_the_bad_id_is_alone(number):
    """An id that the provider refuses costs a few lists, and is polled by get."""
    client = client_with(ListSupport.YES, number)
    culprit, alone = "t0", []

    def respond(poll, _):
        ids = [each.task_id for each in poll.records]
        if poll.single:
            alone.extend(ids)
        elif culprit in ids:
            return BAD_REQUEST
        return [snapshot(one, Status.FAILED) for one in ids]

    Simulation(client=client, respond=respond).run(until=100.0)
    assert alone == [culprit]
    assert len(client.registry) == 0


def test_halves_are_polled_by_get_when_lists_are_paused():
    """If lists are paused while halves of a split list wait, their tasks are polled by get."""
    client = client_with(ListSupport.YES, 8)
    client.answer(client.next(), BAD_REQUEST)
    lists, asked = 0, set()
    while client.planner._may_list(client.now):
        poll = client.next()
        if poll is None:
            client.now = client.wake_at()
        elif poll.single:
            asked.update(poll.records)
            client.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
        else:
            lists += 1
            client.answer(poll, BAD_REQUEST if lists < 3 else DOWN)
    assert lists == 2 + FAILED_LISTS
    paused = client.now
    while asked < set(client.registry):
        poll = client.next()
        if poll is None:
            client.now = client.wake_at()
            continue
        assert poll.single
        asked.update(poll.records)
        client.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
    assert client.now < paused + 60.0
    client.now = paused + LISTS_PAUSE
    while (poll := client.next()) is None or poll.single:
        client.now = client.wake_at() if poll is None else client.now
        if poll is not None:
            client.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
    assert client.now < paused + LISTS_PAUSE + 60.0


def test_failing_lists_delay_no_end_for_long():
    """If lists fail and gets work, ends are noticed by get, within both rate limits."""
    provider = SimulatedProvider(places=4, rng=random.Random(3))
    client = SimulatedClient(planner=planner(ListSupport.YES))

    def respond(poll, at):
        return [provider.look(r.task_id, now=at) for r in poll.records] if poll.single else DOWN

    simulation = Simulation(client=client, respond=respond)
    for _ in range(30):
        simulation.at(0.0, lambda: client.add(provider.create(now=client.now)))
    simulation.run(until=1e5)
    late = [at - provider.jobs[one].ends for one, at in simulation.settled_at.items()]
    assert len(late) == 30
    assert sum(late) / 30 < 15.0
    assert len(client.lists) < 4 * (1 + client.now / LISTS_PAUSE)
    assert most_in_window(client.gets, 1.0) <= 20


def test_a_failed_list_of_ended_tasks_causes_no_get():
    """If all tasks of a failed list have ended meanwhile, no get follows."""
    client = client_with(ListSupport.YES, 2)
    poll = client.next()
    for each in poll.records:
        client.settle(each, LOST)
    client.answer(poll, DOWN)
    client.now += 10.0
    assert client.next() is None


def test_halves_without_pending_tasks_are_not_sent():
    """A refused list whose tasks have all ended meanwhile is not repeated."""
    client = client_with(ListSupport.YES, 2)
    poll = client.next()
    for each in poll.records:
        client.settle(each, LOST)
    client.answer(poll, BAD_REQUEST)
    client.now += 5.0
    assert client.next() is None


@pytest.mark.parametrize("support", ListSupport)
def test_the_next_get_goes_when_the_rate_limit_allows_it(support):
    """With tasks due and polls in flight, `wake_at` names the time of the next get."""
    client = client_with(support, 3)
    first = client.next()
    if not first.single:
        client.answer(first, [])
        first = client.next()
    assert first.single
    for _ in range(2):
        assert client.next() is None
        assert client.wake_at() == pytest.approx(client.now + 0.051)
        client.now = client.wake_at()
        assert client.next().single


def test_the_next_list_goes_when_the_rate_limit_allows_it():
    """While a get is in flight, a due list waits only for its rate limit: half of the quota."""
    client = client_with(ListSupport.YES, 2)
    client.answer(client.next(), [snapshot("t1", Status.RUNNING)])
    assert client.next().single
    client.add("late", fresh=False)
    assert client.next() is None
    assert client.wake_at() == pytest.approx(client.now + 2.0 * (1.0 + JITTER))
    client.now = client.wake_at()
    assert not client.next().single


def test_the_earlier_of_two_times_counts():
    """A get that may go soon does not wait for a list that may go later."""
    client = client_with(ListSupport.YES, 2)
    client.answer(client.next(), [])
    assert client.next().single
    client.add("late", fresh=False)
    assert client.next() is None
    assert client.wake_at() == pytest.approx(client.now + 0.051)


def test_a_task_that_ended_while_its_get_was_queued_is_skipped():
    """No get is sent for a task that has its outcome."""
    client = client_with(ListSupport.YES, 2)
    client.answer(client.next(), [])
    first, second = client.registry
    client.settle(first, LOST)
    assert client.next().records == (second,)
    client.now += 1.0
    assert client.next() is None


def test_an_outage_trips_the_breaker_for_lists_and_gets():
    """After a failure one probe at a time is sent, at least a second apart."""
    client = client_with(ListSupport.NO, 20)
    first, second = client.next(), None
    client.now += 0.1
    second = client.next()
    client.answer(first, DOWN)
    client.now += 100.0
    assert client.next() is None
    assert client.wake_at() is None
    client.answer(second, BUSY_FOR_AN_HOUR)
    # an hour is cut to a minute, less a jitter
    assert 45.0 <= client.wake_at() - client.now <= 60.0
    client.now += 60.0
    probe = client.next()
    assert client.next() is None
    client.answer(probe, [snapshot(probe.records[0].task_id, Status.QUEUED)])
    assert not client.planner.breaker.tripped


def test_only_a_refusal_outside_an_outage_lowers_a_probed_rate():
    """The first 429 halves it; later ones of probes say nothing about the rate."""
    client = client_with(ListSupport.NO, 20)
    client.planner = attrs.evolve(client.planner, gets=ProbingRateLimit(limit=4.0, most=20.0))
    for _ in range(10):
        client.now = max(client.wake_at(), client.now)
        client.answer(client.next(), BUSY)
    assert client.planner.gets.limit == 2.0


def test_a_last_task_is_not_polled_twice_at_once():
    """While a list with the task is in flight, the task gets no get, even if it is the last."""
    client = client_with(ListSupport.YES, 1)
    client.add("late")
    poll = client.next()
    assert len(poll.records) == 2
    client.settle(poll.records[0], LOST)
    assert client.next() is None
    client.answer(poll, [snapshot("late", Status.RUNNING)])
    client.now = client.wake_at()
    assert client.next().single


def test_an_outage_makes_no_task_due_later():
    """Failures in an outage do not postpone a task: only the circuit breaker delays its poll."""
    client = client_with(ListSupport.NO, 1)
    for _ in range(20):
        client.answer(client.next(), DOWN)
        client.now = max(client.wake_at(), client.now)
    assert client.now < 10.0 + 20 * 5.0


@pytest.mark.parametrize("support", [ListSupport.YES, ListSupport.NO])
def test_ends_are_noticed_within_twice_the_delay(support):
    """If tasks start in order, the mean delay is below twice the set one, with few polls."""
    rng = random.Random(7)
    provider = SimulatedProvider(places=10, rng=rng)
    client = SimulatedClient(planner=planner(support))
    simulation = Simulation(
        client=client,
        respond=lambda poll, at: [provider.look(r.task_id, now=at) for r in poll.records],
    )
    for number in range(150):
        simulation.at(0.1 * number, lambda: client.add(provider.create(now=client.now)))
    simulation.run(until=1e5)
    late = [at - provider.jobs[one].ends for one, at in simulation.settled_at.items()]
    assert len(late) == 150
    assert all(isinstance(each, float) and each >= 0 for each in late)
    assert sum(late) / 150 < 10.0
    assert client.polls / 150 < 25
