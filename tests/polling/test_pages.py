"""Lists by page are used while they show more tasks than a list of ids could."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import Status
from callsheet._polling.pages import FIRST_PAGES_PAUSE, LONGEST_PAGES_PAUSE, Pages
from callsheet._polling.planner import ListSupport
from making import BAD_REQUEST, DOWN, NEVER, NO_ROUTE, most_in_window, snapshot
from simulated_provider import SimulatedClient, planner


def client_with_many(
    tasks: int, *, support: ListSupport = ListSupport.YES, page: int = 10, size: int = 40
) -> SimulatedClient:
    """A simulated client with so many attached tasks, all due."""
    client = SimulatedClient(planner=planner(support, page=page, page_size=size))
    for number in range(tasks):
        client.add(f"t{number}", fresh=False)
    client.now = 10.0
    return client


def listed_for(client: SimulatedClient, poll) -> list:
    """The ids that the provider lists for a poll: a page, or the ids asked for."""
    if poll.page is None:
        return [snapshot(each.task_id, Status.RUNNING) for each in poll.records]
    size = client.planner.page_size
    newest = [each.task_id for each in client.registry][::-1]
    ids = newest[(poll.page - 1) * size : poll.page * size]
    return [snapshot(each, Status.RUNNING) for each in ids]


def test_many_due_tasks_are_listed_page_by_page():
    """Many due tasks need only as many calls as they have pages."""
    client = client_with_many(125)
    pages = []
    while (poll := client.next()) is not None:
        pages.append(poll.page)
        client.answer(poll, listed_for(client, poll))
        client.now += 1.1
        if all(each.started is not None for each in client.registry):
            break
    assert pages == [1, 2, 3, 4]
    assert most_in_window(client.lists, 1.0) <= 1


def test_few_due_tasks_are_listed_by_id():
    """If one call can name nearly all due tasks, no page is asked for."""
    client = client_with_many(19)
    assert client.next().page is None


def test_unproven_lists_are_by_id():
    """Only a list of ids shows whether lists work; a page of other people's tasks would not."""
    assert client_with_many(125, support=ListSupport.UNPROVEN).next().page is None


def test_tasks_that_no_page_shows_are_listed_by_id():
    """However many tasks are due, those that no page shows are listed by id after the round."""
    client = client_with_many(125)
    hidden = {f"t{number}" for number in range(3)}
    pages = []
    while any(each.started is None for each in client.registry):
        client.now = max(client.now + 1.1, client.wake_at())
        poll = client.next()
        pages.append(poll.page)
        said = listed_for(client, poll)
        client.answer(poll, [s for s in said if poll.page is None or s.task_id not in hidden])
    assert pages == [1, 2, 3, 4, None]


def test_pages_of_other_peoples_tasks_are_given_up_for_a_while():
    """After a page with few of our tasks, lists are by id for a while."""
    client = client_with_many(125)
    poll = client.next()
    assert poll.page == 1
    client.answer(poll, [snapshot(f"stranger{n}", Status.RUNNING) for n in range(40)])
    gave_up = client.now
    while client.now < gave_up + FIRST_PAGES_PAUSE - 1.1:
        client.now += 1.1
        again = client.next()
        assert again.page is None
        client.answer(again, listed_for(client, again))
    client.now += 1.1
    assert client.next().page == 1


def test_a_refused_page_loses_no_task():
    """If a provider refuses a page, the next list is by id, and every task stays planned."""
    for refusal in (BAD_REQUEST, NO_ROUTE):
        client = client_with_many(125)
        client.answer(client.next(), refusal)
        client.now += 1.3
        poll = client.next()
        assert poll.page is None
        assert all(each.due < NEVER or each.asked for each in client.registry)


def test_a_page_that_fails_counts_as_an_outage():
    """A page that fails trips the circuit breaker like any list, and a get probes the service."""
    client = client_with_many(125)
    client.answer(client.next(), DOWN)
    assert client.planner.breaker.tripped
    assert client.next() is None
    client.now += 5.0
    assert client.next().single


def test_halves_of_a_refused_list_are_listed_by_id():
    """While a refused list is split to find the bad id, no page is asked for."""
    client = client_with_many(125)
    client.planner.pages[None].pause(now=client.now)
    client.answer(client.next(), BAD_REQUEST)
    client.planner.pages[None]._again_at = 0.0
    for _ in range(2):
        client.now += 1.1
        poll = client.next()
        assert poll.page is None
        client.answer(poll, listed_for(client, poll))
    client.now += 1.1
    assert client.next().page == 1


def poll_many(client: SimulatedClient, calls: int, listed) -> tuple[list[int | None], list[str]]:
    """Send so many lists; return their page numbers and the ids without news since.

    ``listed(poll)`` gives the ids that a page shows.
    """
    began, pages = client.now, []
    while len(pages) < calls:
        client.now = max(client.now + 1.1, client.wake_at())
        poll = client.next()
        pages.append(poll.page)
        ids = listed(poll) if poll.page else [each.task_id for each in poll.records]
        client.answer(poll, [snapshot(each, Status.RUNNING) for each in ids])
    return pages, [each.task_id for each in client.registry if each.alive_at <= began]


def test_every_task_is_polled_where_page_numbers_do_not_work():
    """If every page shows the same tasks, the second one ends the round and lists go by id."""
    client = client_with_many(200)
    pages, starved = poll_many(client, 24, lambda _: [f"t{n}" for n in range(40)])
    assert pages[:3] == [1, 2, None]
    assert not starved


def test_every_task_is_polled_though_no_page_shows_some():
    """After a round, lists go by id until there is news of all tasks, however many there are."""
    client = client_with_many(2_000)
    hidden = {f"t{number}" for number in range(0, 2_000, 10)}
    newest = [f"t{number}" for number in reversed(range(2_000)) if f"t{number}" not in hidden]
    pages, starved = poll_many(client, 70, lambda o: newest[(o.page - 1) * 40 : o.page * 40])
    assert pages[:46] == list(range(1, 47))
    assert pages[46] is None
    assert not starved


def test_a_round_ends_where_older_tasks_begin():
    """A page of tasks that ended long ago ends the round; the next one follows without a pause."""
    client = client_with_many(200)
    newest = [f"t{number}" for number in reversed(range(200))] + [f"old{n}" for n in range(500)]
    pages, _ = poll_many(client, 12, lambda o: newest[(o.page - 1) * 40 : o.page * 40])
    assert pages == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]


def test_each_tier_has_its_own_pages():
    """Each tier has its own page numbers, and a page of one tier does not end the other's round."""
    client = client_with_many(0)
    tiers = [None, "flex"]
    names = {tier: [f"{tier}{number}" for number in range(200)] for tier in tiers}
    for tier in tiers:
        for name in names[tier]:
            client.add(name, fresh=False, tier=tier)
    asked = {tier: [] for tier in tiers}

    def listed(poll):
        asked[poll.tier].append(poll.page)
        listed_for = names[poll.tier] if poll.tier is None else []
        return listed_for[(poll.page - 1) * 40 : poll.page * 40]

    _, starved = poll_many(client, 40, listed)
    assert asked[None][:6] == [1, 2, 3, 4, 5, 6]
    assert set(asked["flex"]) == {1}
    assert not starved


def test_a_round_is_over_when_few_tasks_are_due():
    """When many tasks are due again, the next round begins with the first page."""
    client = client_with_many(125)
    client.answer(poll := client.next(), listed_for(client, poll))
    assert poll.page == 1
    for each in list(client.registry)[10:]:
        client.settle(each, DOWN)
    client.now = client.wake_at()
    client.answer(poll := client.next(), listed_for(client, poll))
    assert poll.page is None
    for number in range(125):
        client.add(f"new{number}", fresh=False)
    client.now = client.wake_at()
    assert client.next().page == 1


def test_a_task_that_is_shown_twice_is_news_once():
    """A task that this round has shown before does not count as news again."""
    client = client_with_many(125)
    pages, poll = client.planner.pages[None], client.next()
    client.now += 0.1
    pages.arrived(now=client.now)
    one = poll.records[0]
    assert pages.is_news(one, now=client.now)
    client.take(snapshot(one.task_id, Status.RUNNING))
    assert not pages.is_news(one, now=client.now)


def test_a_success_without_a_video_on_a_page_is_polled_by_get_only():
    """A task with a queued get is not made due again by the page."""
    client = client_with_many(125)
    poll = client.next()
    unclear = poll.records[0]
    client.answer(poll, [snapshot(unclear.task_id, Status.SUCCEEDED, url=False)])
    assert unclear.due == NEVER
    assert client.next().records == (unclear,)


PAGES = st.tuples(st.integers(0, 500), st.integers(1, 180), st.booleans())


@given(st.lists(PAGES, max_size=60))
def test_the_next_page_follows_only_a_page_with_enough_news(answers):
    """Pages go on while each has more news than a list by id; then the round ends or pauses."""
    pages, now, pause, number = Pages(), 0.0, FIRST_PAGES_PAUSE, 1
    for count, by_ids, last in answers:
        assert pages.next(oldest_news=now, many=False, now=now) == number
        pages.arrived(now=now)
        pages.read(news=count, by_ids=by_ids, last=last, now=now)
        if count > by_ids or number > 1:
            number = number + 1 if count > by_ids and not last else 1
            assert pages.next(oldest_news=now - 0.1, many=False, now=now) == (
                None if number == 1 else number
            )
            pause = FIRST_PAGES_PAUSE
        else:
            assert pages.next(oldest_news=now, many=False, now=now + pause - 0.1) is None
            now += pause
            pause = min(2 * pause, LONGEST_PAGES_PAUSE)
