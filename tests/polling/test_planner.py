"""Which poll is sent next: within the budgets, and nothing is lost."""

from __future__ import annotations

import random

import pytest

from callsheet._models.snapshot import Status
from callsheet._polling.planner import FAILED_LISTS, LISTS_PAUSE, LOCKED_OUT_AFTER, ListSupport
from callsheet._polling.poll_request import REFUSALS
from making import (
    BAD_REQUEST,
    BUSY_FOR_AN_HOUR,
    DOWN,
    GARBAGE,
    LOST,
    NO_ROUTE,
    NOT_BUILT,
    SOME_PAGE,
    UNASKABLE,
    UNKNOWN_ID,
    WRONG_KEY,
    fullest,
    snapshot,
)
from simulated_provider import Day, Desk, Studio, planner


def desk_with(support: ListSupport, tasks: int, **values) -> Desk:
    """A desk at which attached tasks are due."""
    desk = Desk(planner=planner(support, **values))
    for number in range(tasks):
        desk.add(f"t{number}", fresh=False)
    desk.now = 10.0
    return desk


def test_halves_of_a_refused_list_are_asked_alone_once_lists_are_given_up():
    """A split list whose first half shows that there is no route leaves no task behind."""
    desk = desk_with(ListSupport.YES, 4)
    desk.answer(desk.next(), BAD_REQUEST)
    desk.now += 2.0
    half = desk.next()
    assert not half.single
    desk.planner.support = ListSupport.UNPROVEN
    desk.answer(half, NO_ROUTE)
    asked = set()
    for _ in range(4):
        desk.now = max(desk.now, desk.wake_at())
        poll = desk.next()
        assert poll.single
        asked.update(poll.records)
        desk.answer(poll, [snapshot(poll.records[0].task_id, Status.FAILED)])
    assert len(asked) == 4


def test_an_id_too_long_for_a_list_is_asked_alone():
    """A task whose id has no room in a URL of many is not forgotten."""
    desk = desk_with(ListSupport.YES, 2, url_room=8)
    long = desk.add("t" * 50, fresh=False)
    seen = []
    for _ in range(10):
        desk.now += 2.0
        while (poll := desk.next()) is not None:
            seen.append(poll)
            desk.answer(poll, [snapshot(r.task_id, Status.QUEUED) for r in poll.records])
    assert any(poll.single and poll.records == (long,) for poll in seen)


def test_a_success_without_a_video_is_asked_again_once():
    """A list that says succeeded but shows no video is followed by one get."""
    desk = desk_with(ListSupport.YES, 1)
    desk.answer(desk.next(), [snapshot("t0", Status.SUCCEEDED, url=False)])
    again = desk.next()
    assert again.single
    desk.now += 1.0
    assert desk.next() is None


def test_only_refusals_of_the_task_itself_end_it():
    """An outage before it does not make a single "no such task" the last word."""
    desk = desk_with(ListSupport.NO, 1)
    for error in (LOST, DOWN, UNKNOWN_ID):
        desk.now += 100.0
        desk.answer(desk.next(), error)
        desk.planner.breaker.passed(now=desk.now, poll=True)
    assert desk.last_words == []


def test_refusals_in_a_row_end_a_task():
    """Three times "no such task" in a row is the provider's last word."""
    desk = desk_with(ListSupport.NO, 1)
    for _ in range(REFUSALS):
        assert desk.last_words == []
        desk.now += 100.0
        desk.answer(desk.next(), UNKNOWN_ID)
    assert len(desk.last_words) == 1
    assert len(desk.registry) == 0


@pytest.mark.parametrize("out", [False, True])
def test_a_get_that_cannot_be_written_tells_of_its_task_alone(out):
    """It is the last word at once, and neither shuts nor opens the gate: nothing was sent."""
    desk = desk_with(ListSupport.NO, 2)
    if out:
        desk.answer(desk.next(), DOWN)
        desk.now += 100.0
    poll = desk.next()
    desk.answer(poll, UNASKABLE)
    assert desk.last_words == list(poll.records)
    assert desk.planner.breaker.tripped == out
    assert len(desk.registry) == 1


def test_an_answer_between_refusals_clears_them():
    """A status answer proves that the provider knows the task: counting begins anew."""
    desk = desk_with(ListSupport.NO, 1)
    for _ in range(3):
        for answer in (UNKNOWN_ID, UNKNOWN_ID, [snapshot("t0", Status.QUEUED)]):
            desk.now += 400.0
            desk.answer(desk.next(), answer)
    assert desk.last_words == []


def test_a_refused_id_proves_that_the_key_is_good():
    """An answer about a task in between ends the time for which the account was locked out."""
    desk = desk_with(ListSupport.NO, 1)
    for answer in (WRONG_KEY, UNKNOWN_ID, WRONG_KEY):
        desk.now += LOCKED_OUT_AFTER
        desk.answer(desk.next(), answer)
    assert not desk.locked_out


def test_a_lasting_lockout_ends_the_waiting():
    """An account that is refused for a minute on end is not asked any longer."""
    desk = desk_with(ListSupport.NO, 2)
    desk.answer(desk.next(), WRONG_KEY)
    assert not desk.locked_out
    desk.now += LOCKED_OUT_AFTER
    desk.answer(desk.next(), WRONG_KEY)
    assert desk.locked_out
    assert len(desk.registry) == 0


@pytest.mark.parametrize("before", [1, 2])
def test_a_refusal_long_after_another_is_no_lockout(before):
    """A minute on end: single refusals hours apart end no waiting, nor after a lockout."""
    desk = desk_with(ListSupport.NO, 1)
    for _ in range(before):
        desk.answer(desk.next(), WRONG_KEY)
        desk.now += LOCKED_OUT_AFTER
    desk.locked_out = False
    if not len(desk.registry):
        desk.add("later", fresh=False)
    desk.now += 3600.0
    desk.answer(desk.next(), WRONG_KEY)
    assert not desk.locked_out
    assert len(desk.registry) == 1


@pytest.mark.parametrize("between", [LOST, DOWN])
def test_an_outage_is_no_lockout(between):
    """Failures of another kind in between begin the minute anew."""
    desk = desk_with(ListSupport.NO, 1)
    for answer in (WRONG_KEY, between, WRONG_KEY):
        desk.now += LOCKED_OUT_AFTER
        desk.answer(desk.next(), answer)
    assert not desk.locked_out


def test_ids_fill_a_url_and_a_page():
    """A list holds no more ids than fit, and the rest follows with the next one."""
    desk = desk_with(ListSupport.YES, 25, page=10, url_room=21)
    seen = []
    while len(seen) < 25:
        desk.now += 2.0
        poll = desk.next()
        assert len(poll.records) <= 7
        seen += poll.records
        desk.answer(poll, [snapshot(r.task_id, Status.FAILED) for r in poll.records])
    assert len(set(seen)) == 25


def test_longer_ids_make_smaller_lists_and_not_more_of_them():
    """Once more run than a line can name, each is asked by its own law, not all of them at once."""
    desk = desk_with(ListSupport.YES, 150, page=180, url_room=600)
    for number in range(150, 160):
        desk.add(f"t{number:05d}", fresh=False)
    seen: list[str] = []
    while desk.now < 22.0:
        poll = desk.next()
        if poll is not None:
            seen += [each.task_id for each in poll.records]
            running = [snapshot(each.task_id, Status.RUNNING) for each in poll.records]
            desk.answer(poll, running)
        desk.now += 0.5
    assert len(set(seen)) == 160
    assert len(seen) < 200


def test_one_slow_poll_holds_up_no_other():
    """While others are answered, the service is not silent, and has its twenty gets a second."""
    desk = desk_with(ListSupport.NO, 100)
    slow = desk.next()
    sent = 0
    while desk.now < 14.0:
        desk.now += 0.01
        if (poll := desk.next()) is not None:
            sent += 1
            desk.answer(poll, [snapshot(poll.records[0].task_id, Status.SUCCEEDED)])
    assert sent > 60
    desk.answer(slow, [snapshot(slow.records[0].task_id, Status.SUCCEEDED)])


def test_heads_of_lines_keep_a_list_company():
    """Room in a list is used for tasks that are not due yet, of the same tier only."""
    desk = desk_with(ListSupport.YES, 1, page=3, url_room=12)
    for number in range(4):
        desk.add(f"n{number}")
    desk.add("f", tier="flex")
    desk.add("a-long-name")
    poll = desk.next()
    assert [each.task_id for each in poll.records] == ["t0", "n0", "n1"]


def test_company_that_has_no_room_stays_at_home():
    """An id that does not fit beside the due ones is left for later."""
    desk = desk_with(ListSupport.YES, 1, url_room=8)
    desk.add("a-long-name")
    assert [each.task_id for each in desk.next().records] == ["t0"]


def test_tasks_of_one_tier_go_together():
    """Tasks of the flex tier are listed by themselves, and the tier is named."""
    desk = desk_with(ListSupport.YES, 2)
    desk.add("f", fresh=False, tier="flex")
    first = desk.next()
    desk.answer(first, [])
    desk.now += 2.0
    tiers = {first.tier}
    while (poll := desk.next()) is not None:
        if not poll.single:
            tiers.add(poll.tier)
        desk.answer(poll, [snapshot(r.task_id, Status.QUEUED) for r in poll.records])
    assert tiers == {None, "flex"}


@pytest.mark.parametrize("error", [SOME_PAGE, NO_ROUTE, NOT_BUILT, BAD_REQUEST, GARBAGE])
def test_an_unproven_list_that_is_refused_is_not_tried_again(error):
    """One refusal is enough where lists were only hoped for; its tasks are asked by get."""
    desk = desk_with(ListSupport.UNPROVEN, 3)
    desk.answer(desk.next(), error)
    assert desk.planner.support is ListSupport.NO
    desk.now += 10.0
    assert desk.next().single


def test_an_unproven_list_that_finds_nothing_is_given_up():
    """After three lists without a hit only gets are used, and meanwhile nothing is left out."""
    desk = desk_with(ListSupport.UNPROVEN, 1)
    lists = 0
    while desk.planner.support is ListSupport.UNPROVEN:
        poll = desk.next()
        lists += not poll.single
        said = [snapshot("t0", Status.QUEUED)] if poll.single else []
        desk.answer(poll, said)
        desk.now += 400.0 if poll.single else 1.0
    assert desk.planner.support is ListSupport.NO
    assert lists == 3


def test_an_unproven_list_that_hits_is_proven():
    """One hit proves the route; lists without a hit do not disprove it any more."""
    desk = desk_with(ListSupport.UNPROVEN, 1)
    desk.answer(desk.next(), [snapshot("t0", Status.QUEUED)])
    assert desk.planner.support is ListSupport.YES
    for _ in range(10):
        desk.now += 400.0
        poll = desk.next()
        desk.answer(poll, [snapshot("t0", Status.QUEUED)] if poll.single else [])
    assert desk.planner.support is ListSupport.YES


@pytest.mark.parametrize("number", [1, 2, 3, 17])
def test_a_refused_list_is_split_until_the_culprit_is_alone(number):
    """One id that the provider cannot read costs a few lists, and is asked by itself."""
    desk = desk_with(ListSupport.YES, number)
    culprit, alone = "t0", []

    def wire(poll, _):
        ids = [each.task_id for each in poll.records]
        if poll.single:
            alone.extend(ids)
        elif culprit in ids:
            return BAD_REQUEST
        return [snapshot(one, Status.FAILED) for one in ids]

    Day(desk=desk, wire=wire).run(until=100.0)
    assert alone == [culprit]
    assert len(desk.registry) == 0


def test_halves_are_asked_alone_when_lists_are_paused():
    """A split list whose halves wait when the route is paused leaves no task waiting with it."""
    desk = desk_with(ListSupport.YES, 8)
    desk.answer(desk.next(), BAD_REQUEST)
    lists, asked = 0, set()
    while desk.planner._may_list(desk.now):
        poll = desk.next()
        if poll is None:
            desk.now = desk.wake_at()
        elif poll.single:
            asked.update(poll.records)
            desk.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
        else:
            lists += 1
            desk.answer(poll, BAD_REQUEST if lists < 3 else DOWN)
    assert lists == 2 + FAILED_LISTS
    paused = desk.now
    while asked < set(desk.registry):
        poll = desk.next()
        if poll is None:
            desk.now = desk.wake_at()
            continue
        assert poll.single
        asked.update(poll.records)
        desk.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
    assert desk.now < paused + 60.0
    desk.now = paused + LISTS_PAUSE
    while (poll := desk.next()) is None or poll.single:
        desk.now = desk.wake_at() if poll is None else desk.now
        if poll is not None:
            desk.answer(poll, [snapshot(poll.records[0].task_id, Status.QUEUED)])
    assert desk.now < paused + LISTS_PAUSE + 60.0


def test_a_list_route_that_fails_alone_delays_no_end_for_long():
    """With lists failing and gets passing, ends are noticed by get, within both budgets."""
    studio = Studio(places=4, rng=random.Random(3))
    desk = Desk(planner=planner(ListSupport.YES))

    def wire(poll, at):
        return [studio.look(r.task_id, now=at) for r in poll.records] if poll.single else DOWN

    day = Day(desk=desk, wire=wire)
    for _ in range(30):
        day.at(0.0, lambda: desk.add(studio.create(now=desk.now)))
    day.run(until=1e5)
    late = [at - studio.jobs[one].ends for one, at in day.settled_at.items()]
    assert len(late) == 30
    assert sum(late) / 30 < 15.0
    assert len(desk.lists) < 4 * (1 + desk.now / LISTS_PAUSE)
    assert fullest(desk.gets, 1.0) <= 20


def test_a_failed_list_of_tasks_that_have_ended_needs_no_witness():
    """Nobody is asked by get when all tasks of a list that failed have ended meanwhile."""
    desk = desk_with(ListSupport.YES, 2)
    poll = desk.next()
    for each in poll.records:
        desk.settle(each, LOST)
    desk.answer(poll, DOWN)
    desk.now += 10.0
    assert desk.next() is None


def test_halves_without_pending_tasks_are_not_asked():
    """A refused list whose tasks have all ended meanwhile is not repeated."""
    desk = desk_with(ListSupport.YES, 2)
    poll = desk.next()
    for each in poll.records:
        desk.settle(each, LOST)
    desk.answer(poll, BAD_REQUEST)
    desk.now += 5.0
    assert desk.next() is None


@pytest.mark.parametrize("support", ListSupport)
def test_the_next_order_goes_when_it_may(support):
    """With tasks due and answers outstanding, the planner names the moment of its next order."""
    desk = desk_with(support, 3)
    first = desk.next()
    if not first.single:
        desk.answer(first, [])
        first = desk.next()
    assert first.single
    for _ in range(2):
        assert desk.next() is None
        assert desk.wake_at() == pytest.approx(desk.now + 0.051)
        desk.now = desk.wake_at()
        assert desk.next().single


def test_the_next_list_goes_when_it_may():
    """While a get is out, a due list is waited for no longer than its budget and its slack say."""
    desk = desk_with(ListSupport.YES, 1)
    desk.answer(desk.next(), [])
    assert desk.next().single
    desk.add("late", fresh=False)
    assert desk.next() is None
    assert desk.wake_at() == desk.now + 0.25 * 5.0
    desk.now = desk.wake_at()
    assert not desk.next().single


def test_the_sooner_of_two_moments_counts():
    """A get that may go soon does not wait for a list that may go later."""
    desk = desk_with(ListSupport.YES, 2)
    desk.answer(desk.next(), [])
    assert desk.next().single
    desk.add("late", fresh=False)
    assert desk.next() is None
    assert desk.wake_at() == pytest.approx(desk.now + 0.051)


def test_who_ended_while_waiting_for_a_get_is_skipped():
    """Gets are not spent on tasks that have their outcome."""
    desk = desk_with(ListSupport.YES, 2)
    desk.answer(desk.next(), [])
    first, second = desk.registry
    desk.settle(first, LOST)
    assert desk.next().records == (second,)
    desk.now += 1.0
    assert desk.next() is None


def test_an_outage_shuts_the_gate_for_lists_and_gets():
    """After a failure one probe at a time goes, a second or more apart."""
    desk = desk_with(ListSupport.NO, 20)
    first, second = desk.next(), None
    desk.now += 0.1
    second = desk.next()
    desk.answer(first, DOWN)
    desk.now += 100.0
    assert desk.next() is None
    assert desk.wake_at() is None
    desk.answer(second, BUSY_FOR_AN_HOUR)
    assert desk.wake_at() == desk.now + 60.0
    desk.now += 60.0
    probe = desk.next()
    assert desk.next() is None
    desk.answer(probe, [snapshot(probe.records[0].task_id, Status.QUEUED)])
    assert not desk.planner.breaker.tripped


def test_in_an_outage_nobody_falls_behind():
    """Failures while the service is down do not put a task off: the gate decides."""
    desk = desk_with(ListSupport.NO, 1)
    for _ in range(20):
        desk.answer(desk.next(), DOWN)
        desk.now = max(desk.wake_at(), desk.now)
    assert desk.now < 10.0 + 20 * 5.0


@pytest.mark.parametrize("support", [ListSupport.YES, ListSupport.NO])
def test_ends_are_noticed_about_as_soon_as_aimed_for(support):
    """On a queue served in turn the mean delay is within twice the aim, and polls stay few."""
    rng = random.Random(7)
    studio = Studio(places=10, rng=rng)
    desk = Desk(planner=planner(support))
    day = Day(
        desk=desk, wire=lambda poll, at: [studio.look(r.task_id, now=at) for r in poll.records]
    )
    for number in range(150):
        day.at(0.1 * number, lambda: desk.add(studio.create(now=desk.now)))
    day.run(until=1e5)
    late = [at - studio.jobs[one].ends for one, at in day.settled_at.items()]
    assert len(late) == 150
    assert all(isinstance(each, float) and each >= 0 for each in late)
    assert sum(late) / 150 < 10.0
    assert desk.polls / 150 < 25
