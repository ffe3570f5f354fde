"""Where creates went whose answers were lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._core.lookups import (
    FIRST_GAP,
    GIVEN_UP,
    LISTED,
    LONGEST_GAP,
    MARGIN,
    Lookups,
    Lost,
    Search,
)
from callsheet._models.snapshot import Page, Snapshot, Status
from callsheet.errors import SubmissionUncertainError
from core.making import record, snapshot


WINDOW = 300.0
PAGE = 4
ERROR = SubmissionUncertainError("lost")


def lost(mark: str = "token", *, sent: float = 0.0, tier: str | None = None, **values) -> Lost:
    """A create that was lost as soon as it left."""
    known = {"ours": True, "missed": sent, "look_at": sent + FIRST_GAP, **values}
    return Lost(record=record(tier=tier), mark=mark, sent=sent, error=ERROR, **known)


def searching(*looked_for: Lost, began: float = 10.0, known=()) -> Search:
    """A look for some of them; *known* are the ids of our own tasks."""
    return Search(began=began, lost=list(looked_for), known=set(known).__contains__)


def task(task_id: str, mark: str | None = None, created: float | None = 0.0) -> Snapshot:
    """A task as a list shows it."""
    return snapshot(task_id, Status.QUEUED, safety_identifier=mark, created_at=created)


def read(search: Search, *items: Snapshot, clocks: float | None = 0.0, **values) -> bool:
    """Look through a page; *clocks* is how far the provider's clock is behind ours."""
    page = Page(items=items, **values)
    return search.read(
        page, page_size=PAGE, local=lambda at: None if clocks is None else at + clocks
    )


def full_page(created: float | None) -> list[Snapshot]:
    """As many tasks as a page holds, all of others."""
    return [task(f"other-{i}", created=created) for i in range(PAGE)]


def test_lost_creates_are_kept_until_they_are_dropped():
    """Each is known by its record, and one of our tokens leads to it."""
    lookups = Lookups(WINDOW)
    one, own = lost("token"), lost("user-1", ours=False)
    lookups.add(one)
    lookups.add(own)
    assert list(lookups) == [one, own]
    assert one.record in lookups
    assert lookups.by_token("token") is one
    assert lookups.by_token("user-1") is None
    assert lookups.drop(one.record) is one
    assert lookups.drop(one.record) is None
    assert list(lookups) == [own]


def test_without_anything_lost_nobody_looks():
    """No look is due, now or later."""
    lookups = Lookups(WINDOW)
    assert lookups.next_look() is None
    assert lookups.search(now=1e9, known=set().__contains__) is None


def test_looks_come_with_growing_gaps():
    """The first is soon, and none is more than a minute after the one before."""
    lookups = Lookups(WINDOW)
    lookups.add(lost())
    assert lookups.search(now=FIRST_GAP - 0.01, known=set().__contains__) is None
    times = []
    for _ in range(10):
        times.append(lookups.next_look())
        search = lookups.search(now=times[-1], known=set().__contains__)
        assert search.began == times[-1]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == FIRST_GAP
    assert gaps[:3] == [2.0, 4.0, 8.0]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_GAP


def test_one_look_serves_all_of_a_tier():
    """Plain lists show no flex tasks, so these are looked for in lists of their own."""
    lookups = Lookups(WINDOW)
    plain, same, flex = lost("a"), lost("b", tier="default", sent=1.0), lost("c", tier="flex")
    attached = lost("d")
    attached.record.spec = None
    for each in (plain, same, flex, attached):
        lookups.add(each)
    first = lookups.search(now=FIRST_GAP, known=set().__contains__)
    assert (first.tier, first.lost) == (None, [plain, same, attached])
    second = lookups.search(now=FIRST_GAP, known=set().__contains__)
    assert (second.tier, second.lost) == ("flex", [flex])
    assert lookups.search(now=FIRST_GAP, known=set().__contains__) is None


def test_a_token_in_a_list_is_our_task():
    """It is found, whatever else the list holds, and what echoes tokens is known to."""
    one, two = lost("a"), lost("b")
    search = searching(one, two)
    mine = task("cgt-1", "a")
    assert not read(search, task("other"), mine, task("cgt-2", "theirs"))
    assert search.found == {one.record: mine}
    assert search.finished
    assert search.echoes
    assert not search.drops_marks


def test_when_all_are_found_nothing_more_is_read():
    """A further page could show nothing that is wanted."""
    search = searching(lost("a"))
    assert not read(search, task("cgt-1", "a"), *full_page(None)[1:])


@pytest.mark.parametrize("mark", ["another", None])
def test_our_own_tasks_show_whether_marks_are_echoed(mark):
    """A task of ours that is listed without its mark says that absence proves nothing."""
    search = searching(lost("a"), known=["cgt-1"])
    read(search, task("cgt-1", mark))
    assert search.echoes == (mark is not None)
    assert search.drops_marks == (mark is None)
    assert not search.found


def test_marks_of_the_caller_give_candidates():
    """Tasks with the same identifier are told once each, if they are not older than the create."""
    own = lost("user-1", ours=False, sent=1000.0)
    search = searching(own, lost("user-2", ours=False, sent=1000.0), lost("a", sent=1000.0))
    old, young = 1000.0 - MARGIN - 1, 1000.0 - MARGIN
    read(search, task("new", "user-1", young), task("old", "user-1", old))
    read(search, task("new", "user-1", young), task("undated", "user-1", None))
    assert search.candidates == {own.record: ["new", "undated"]}
    assert not search.found


def test_without_the_providers_clock_every_namesake_is_a_candidate():
    """Where no answer has told its time yet, nothing is too old."""
    own = lost("user-1", ours=False, sent=1000.0)
    search = searching(own)
    read(search, task("old", "user-1", 1.0), clocks=None)
    assert search.candidates == {own.record: ["old"]}


@pytest.mark.parametrize("count", range(PAGE + 1))
def test_a_page_that_is_not_full_is_the_last(count):
    """Then everything was seen."""
    search = searching(lost("a", sent=-1e6))
    assert read(search, *full_page(None)[:count]) == (count == PAGE)
    assert search.finished == (count < PAGE)


def test_a_total_tells_of_more_pages():
    """A page that holds less than was asked for is not the last while tasks are missing."""
    search = searching(lost("a"))
    assert read(search, *full_page(None)[:2], total=5)
    assert read(search, *full_page(None)[:2], total=5)
    assert not search.finished
    assert not read(search, *full_page(None)[:1], total=5)
    assert search.finished


def test_an_empty_page_is_the_last_whatever_the_total_says():
    """A total may count what the list does not show."""
    search = searching(lost("a"))
    assert read(search, *full_page(None)[:2], total=5)
    assert not read(search, total=5)
    assert search.finished


@pytest.mark.parametrize("unreadable", [(1, 0), (0, 1), (1, 1)])
def test_a_task_that_cannot_be_read_may_be_the_one(unreadable):
    """A list that holds one on any page proves nothing."""
    first, last = unreadable
    search = searching(lost("a", sent=-1e6))
    assert read(search, *full_page(None)[first:], unreadable=first)
    assert not read(search, unreadable=last)
    assert not search.finished


@given(behind=st.floats(-1e6, 1e6), age=st.floats(-1e4, 1e4))
def test_newest_first_is_read_back_to_before_the_create(behind, age):
    """Once a page ends with a task from before the earliest create, by our clock, all was seen."""
    search = searching(lost("b", sent=50_000.0), lost("a", sent=20_000.0))
    created = 20_000.0 - MARGIN - age - behind
    more = read(search, *full_page(created), clocks=behind)
    assert search.finished == (not more)
    assert search.finished == (created + behind < 20_000.0 - MARGIN)


@pytest.mark.parametrize("times", [[1.0, 2.0, 3.0, 0.0], [3.0, None, 1.0, 0.0]])
def test_a_list_in_another_order_is_read_to_its_end(times):
    """An old task at the end of a page then says nothing of the pages behind it."""
    search = searching(lost("a", sent=1e6))
    items = [task(f"other-{i}", created=created) for i, created in enumerate(times)]
    assert read(search, *items)
    assert not search.finished


def test_without_the_providers_clock_a_list_is_read_to_its_end():
    """How old a task is cannot be told then."""
    search = searching(lost("a", sent=1e6))
    assert read(search, *full_page(0.0), clocks=None)


def over(lookups: Lookups, each: Lost, *, began: float, now: float, finished: bool) -> bool:
    """Whether a look was the last for a lost create."""
    search = searching(each, began=began)
    search.finished = finished
    return lookups.over(search, now=now) == [each]


@pytest.mark.parametrize("listed", [True, False])
def test_a_look_after_the_window_is_the_last(listed):
    """What a whole list does not show then was never made; without lists nobody waits longer."""
    lookups, each = Lookups(WINDOW), lost(listed=listed)
    lookups.add(each)
    late = WINDOW + 1
    assert not over(lookups, each, began=WINDOW - 1, now=late, finished=True)
    assert over(lookups, each, began=WINDOW, now=late, finished=listed)
    assert each.record not in lookups


def test_a_look_that_could_not_be_finished_is_repeated_but_not_for_ever():
    """It proves nothing, also long after the window; some time later it is given up."""
    lookups, each = Lookups(WINDOW), lost()
    lookups.add(each)
    end = WINDOW + GIVEN_UP
    assert not over(lookups, each, began=end - 1, now=end - 1, finished=False)
    assert over(lookups, each, began=end, now=end, finished=False)


def test_what_is_learned_of_late_is_looked_for_as_long():
    """A create that was lost days before gets the same patience with a list that fails."""
    lookups, each = Lookups(WINDOW), lost(missed=9e4)
    lookups.add(each)
    assert not over(lookups, each, began=9e4, now=9e4 + GIVEN_UP - 1, finished=False)
    assert over(lookups, each, began=9e4, now=9e4 + GIVEN_UP, finished=False)


def test_what_was_dropped_meanwhile_is_not_over():
    """A create that was found otherwise while the list was read has no last look."""
    lookups, each = Lookups(WINDOW), lost()
    assert not over(lookups, each, began=1e6, now=1e6, finished=True)


def test_lists_cover_a_week():
    """A create of longer ago may have made a task that no list shows any more."""
    each = lost(sent=100.0)
    assert searching(each, began=100.0 + LISTED - MARGIN - 1).covers(each)
    assert not searching(each, began=100.0 + LISTED - MARGIN).covers(each)
