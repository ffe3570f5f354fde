"""Pages of all tasks: asked for as long as they show more than ids could ask about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import Status
from callsheet._polling.pages import FIRST_REST, LONGEST_REST, Pages
from callsheet._polling.planner import ListSupport
from making import BAD_REQUEST, DOWN, NEVER, NO_ROUTE, fullest, snapshot
from simulated_provider import Desk, planner


def cohort(
    tasks: int, *, support: ListSupport = ListSupport.YES, page: int = 10, size: int = 40
) -> Desk:
    """A desk at which far more attached tasks are due than one call can name."""
    desk = Desk(planner=planner(support, page=page, page_size=size))
    for number in range(tasks):
        desk.add(f"t{number}", fresh=False)
    desk.now = 10.0
    return desk


def shown(desk: Desk, poll) -> list:
    """What the provider lists for an order: newest first on pages, else what was asked for."""
    if poll.page is None:
        return [snapshot(each.task_id, Status.RUNNING) for each in poll.records]
    size = desk.planner.page_size
    newest = [each.task_id for each in desk.registry][::-1]
    ids = newest[(poll.page - 1) * size : poll.page * size]
    return [snapshot(each, Status.RUNNING) for each in ids]


def test_a_crowd_is_seen_page_by_page():
    """Many due tasks take as few calls as pages hold them, and the last few go by ids."""
    desk = cohort(125)
    pages = []
    while (poll := desk.next()) is not None:
        pages.append(poll.page)
        desk.answer(poll, shown(desk, poll))
        desk.now += 1.1
        if all(each.started is not None for each in desk.registry):
            break
    assert pages == [1, 2, 3, None]
    assert fullest(desk.lists, 1.0) <= 1


def test_few_are_asked_by_their_ids():
    """As long as one call can name nearly all that are due, nobody else's tasks are asked for."""
    desk = cohort(19)
    assert desk.next().page is None


def test_lists_that_are_not_proven_are_asked_by_ids():
    """An answer to ids tells whether there are lists at all, a page of strangers would not."""
    assert cohort(125, support=ListSupport.UNPROVEN).next().page is None


def test_those_that_no_page_shows_are_asked_by_ids():
    """However many are due, a task that the pages leave out has its turn after each round."""
    desk = cohort(125)
    hidden = {f"t{number}" for number in range(3)}
    pages = []
    while any(each.started is None for each in desk.registry):
        desk.now = max(desk.now + 1.1, desk.wake_at())
        poll = desk.next()
        pages.append(poll.page)
        said = shown(desk, poll)
        desk.answer(poll, [s for s in said if poll.page is None or s.task_id not in hidden])
    assert pages == [1, 2, 3, None]


def test_pages_of_strangers_are_given_up_for_a_while():
    """A page that shows few of ours is followed by calls by ids, until some time has passed."""
    desk = cohort(125)
    poll = desk.next()
    assert poll.page == 1
    desk.answer(poll, [snapshot(f"stranger{n}", Status.RUNNING) for n in range(40)])
    gave_up = desk.now
    while desk.now < gave_up + FIRST_REST - 1.1:
        desk.now += 1.1
        again = desk.next()
        assert again.page is None
        desk.answer(again, shown(desk, again))
    desk.now += 1.1
    assert desk.next().page == 1


def test_a_page_that_is_refused_costs_no_task():
    """A provider that takes no such page is asked by ids at once, and its gate stays open."""
    for refusal in (BAD_REQUEST, NO_ROUTE):
        desk = cohort(125)
        desk.answer(desk.next(), refusal)
        desk.now += 1.3
        poll = desk.next()
        assert poll.page is None
        assert all(each.due < NEVER or each.asked for each in desk.registry)


def test_an_outage_is_met_on_a_page_as_on_any_list():
    """A page that fails shuts the gate, and everybody on it stays due."""
    desk = cohort(125)
    desk.answer(desk.next(), DOWN)
    assert desk.planner.breaker.tripped
    assert desk.next() is None
    desk.now += 5.0
    assert desk.next().single


def test_halves_of_a_refused_list_are_asked_by_ids():
    """While the id that spoils a list is sought, pages do not come between."""
    desk = cohort(125)
    desk.planner.pages[None].rest(now=desk.now)
    desk.answer(desk.next(), BAD_REQUEST)
    desk.planner.pages[None]._again_at = 0.0
    for _ in range(2):
        desk.now += 1.1
        poll = desk.next()
        assert poll.page is None
        desk.answer(poll, shown(desk, poll))
    desk.now += 1.1
    assert desk.next().page == 1


def heard_of(desk: Desk, calls: int, listed) -> tuple[list[int | None], list[str]]:
    """The pages of so many calls, where ``listed(order)`` names whom a page shows; who starves."""
    began, pages = desk.now, []
    while len(pages) < calls:
        desk.now = max(desk.now + 1.1, desk.wake_at())
        poll = desk.next()
        pages.append(poll.page)
        ids = listed(poll) if poll.page else [each.task_id for each in poll.records]
        desk.answer(poll, [snapshot(each, Status.RUNNING) for each in ids])
    return pages, [each.task_id for each in desk.registry if each.alive_at <= began]


def test_nobody_starves_where_every_page_is_the_first():
    """A provider that turns no pages shows the same tasks under each number: one such is enough."""
    desk = cohort(200)
    pages, starved = heard_of(desk, 24, lambda _: [f"t{n}" for n in range(40)])
    assert pages[:3] == [1, 2, None]
    assert not starved


def test_nobody_starves_whom_no_page_shows():
    """A round is followed by calls by ids until all were heard of, however large the crowd is."""
    desk = cohort(2_000)
    hidden = {f"t{number}" for number in range(0, 2_000, 10)}
    newest = [f"t{number}" for number in reversed(range(2_000)) if f"t{number}" not in hidden]
    pages, starved = heard_of(desk, 70, lambda o: newest[(o.page - 1) * 40 : o.page * 40])
    assert pages[:46] == list(range(1, 47))
    assert pages[46] is None
    assert not starved


def test_a_round_ends_where_older_tasks_begin():
    """Pages of tasks that ended long ago end a round; the next one follows without a rest."""
    desk = cohort(200)
    newest = [f"t{number}" for number in reversed(range(200))] + [f"old{n}" for n in range(500)]
    pages, _ = heard_of(desk, 12, lambda o: newest[(o.page - 1) * 40 : o.page * 40])
    assert pages == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]


def test_each_tier_has_its_own_pages():
    """Tasks of two tiers are on different pages, which are turned and judged apart."""
    desk = cohort(0)
    tiers = [None, "flex"]
    names = {tier: [f"{tier}{number}" for number in range(200)] for tier in tiers}
    for tier in tiers:
        for name in names[tier]:
            desk.add(name, fresh=False, tier=tier)
    asked = {tier: [] for tier in tiers}

    def listed(poll):
        asked[poll.tier].append(poll.page)
        shown = names[poll.tier] if poll.tier is None else []
        return shown[(poll.page - 1) * 40 : poll.page * 40]

    _, starved = heard_of(desk, 40, listed)
    assert asked[None][:6] == [1, 2, 3, 4, 5, 6]
    assert set(asked["flex"]) == {1}
    assert not starved


def test_a_round_is_over_when_the_crowd_is():
    """The next crowd begins with the first page."""
    desk = cohort(125)
    desk.answer(poll := desk.next(), shown(desk, poll))
    assert poll.page == 1
    for each in list(desk.registry)[10:]:
        desk.settle(each, DOWN)
    desk.now = desk.wake_at()
    desk.answer(poll := desk.next(), shown(desk, poll))
    assert poll.page is None
    for number in range(125):
        desk.add(f"new{number}", fresh=False)
    desk.now = desk.wake_at()
    assert desk.next().page == 1


def test_who_is_shown_twice_is_news_once():
    """A page that repeats tasks is worth no more than the tasks that it tells of."""
    desk = cohort(125)
    pages, poll = desk.planner.pages[None], desk.next()
    desk.now += 0.1
    pages.begin(now=desk.now)
    one = poll.records[0]
    assert pages.tells(one, now=desk.now)
    desk.take(snapshot(one.task_id, Status.RUNNING))
    assert not pages.tells(one, now=desk.now)


def test_a_success_without_a_video_on_a_page_is_asked_by_get_alone():
    """Who has a get in line is not put back among those who are due."""
    desk = cohort(125)
    poll = desk.next()
    unclear = poll.records[0]
    desk.answer(poll, [snapshot(unclear.task_id, Status.SUCCEEDED, url=False)])
    assert unclear.due == NEVER
    assert desk.next().records == (unclear,)


PAGES = st.tuples(st.integers(0, 500), st.integers(1, 180), st.booleans())


@given(st.lists(PAGES, max_size=60))
def test_a_page_is_next_only_after_one_that_was_worth_it(answers):
    """Pages go on while they tell more than ids, begin anew after that, or rest."""
    pages, now, rest, number = Pages(), 0.0, FIRST_REST, 1
    for count, instead, last in answers:
        assert pages.next(heard=now, now=now) == number
        pages.begin(now=now)
        pages.read(told=count, instead=instead, last=last, now=now)
        if count > instead or number > 1:
            number = number + 1 if count > instead and not last else 1
            assert pages.next(heard=now - 0.1, now=now) == (None if number == 1 else number)
            rest = FIRST_REST
        else:
            assert pages.next(heard=now, now=now + rest - 0.1) is None
            now += rest
            rest = min(2 * rest, LONGEST_REST)
