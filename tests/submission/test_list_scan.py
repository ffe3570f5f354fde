"""One search of the list for lost creates, and what it proves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import Page, Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._submission.list_scan import LISTED, MARGIN, ListScan
from making import lost, searching, snapshot


PAGE = 4
"""Tasks on a page, unless a test says otherwise."""


def task(task_id: str, mark: str | None = None, created: float | None = 0.0, **values) -> Snapshot:
    """A task as a list shows it."""
    return snapshot(task_id, Status.QUEUED, safety_identifier=mark, created_at=created, **values)


def read(scan: ListScan, *items: Snapshot, clocks: float | None = 0.0, **values) -> bool:
    """Look through a page; *clocks* is how far the provider's clock is behind ours."""
    scan.local = lambda at: None if clocks is None else at + clocks
    return scan.read(Page(items=items, **values))


def tasks(first: int, last: int) -> list[Snapshot]:
    """Unknown tasks by their places in a list, newest first."""
    return [task(f"t{place}", created=-place / 1000) for place in range(first, last)]


def full_page(created: float | None) -> list[Snapshot]:
    """As many tasks as a page holds, all of them unknown."""
    return [task(f"other-{i}", created=created) for i in range(PAGE)]


def test_a_token_in_a_list_is_our_task():
    """A task with our token is found, and the others may not be hidden."""
    one, two = lost("a"), lost("b")
    scan = searching(one, two)
    mine = task("cgt-1", "a")
    assert not read(scan, task("other"), mine, task("cgt-2", "theirs"), total=3)
    assert scan.found == {one.key: [mine]}
    assert scan.finished
    assert not scan.may_hide(two)


def test_when_all_are_found_nothing_more_is_read():
    """When all lost creates are found, no further page is read."""
    scan = searching(lost("a"))
    assert not read(scan, task("cgt-1", "a"), *full_page(None)[1:])


@pytest.mark.parametrize("mark", ["mark of cgt-1", "another", None])
def test_our_own_tasks_show_whether_marks_are_omitted(mark):
    """A task of ours that is listed without its mark shows that another one may be, too."""
    one = lost("a")
    scan = searching(one, known=["cgt-1"])
    read(scan, task("cgt-1", mark))
    assert scan.may_hide(one) == (mark is None)
    assert not scan.found


@pytest.mark.parametrize(("age", "doubted"), [(-MARGIN, True), (-MARGIN - 1, False)])
def test_a_recent_task_without_a_mark_may_be_the_lost_one(age, doubted):
    """It may be the lost one, unless another task of its model is listed with a mark."""
    one = lost("a", sent=1000.0)
    scan = searching(one)
    read(scan, task("nameless", None, 1000.0 + age, model="model"))
    assert scan.may_hide(one) == doubted
    scan = searching(one)
    named = task("named", "theirs", 5.0, model="model")
    read(scan, task("nameless", None, 1000.0 + age, model="model"), named)
    assert not scan.may_hide(one)


@pytest.mark.parametrize(
    ("of", "seen", "doubted"),
    [("model", "model", True), ("model", "other", False), ("model", None, True),
     ("ep-2026-1", "other", True)],
)  # fmt: skip
@pytest.mark.parametrize("ours", [True, False])
def test_a_mark_of_one_model_proves_nothing_for_another(of, seen, doubted, ours):
    """A mark on a task of one model does not prove that another model shows marks."""
    one = lost("a")
    one.record.model = of
    scan = searching(one, known=["ours", "silent"] if ours else ["ours"])
    shown = task("ours", "mark of ours", 1.0, model="third")
    read(scan, shown, task("silent", None, 1.0, model=seen))
    assert scan.may_hide(one) == doubted


def test_marks_of_the_caller_give_candidates():
    """Tasks with the same identifier are named once each, unless they are older than the create."""
    own = lost("user-1", ours=False, sent=1000.0)
    scan = searching(own, lost("user-2", ours=False, sent=1000.0), lost("a", sent=1000.0))
    old, young = 1000.0 - MARGIN - 1, 1000.0 - MARGIN
    read(scan, task("new", "user-1", young), task("old", "user-1", old))
    read(scan, task("new", "user-1", young), task("undated", "user-1", None))
    assert scan.candidates == {own.key: ["new", "undated"]}
    assert not scan.found


def test_without_a_mark_model_and_time_give_candidates():
    """Unknown tasks of the model without a mark are candidates if they are young enough."""
    bare = lost(None, ours=False, sent=1000.0)  # of the model "model"
    scan = searching(bare, unmarked=["made here"])
    old, young = 1000.0 - MARGIN - 1, 1000.0 - MARGIN
    read(
        scan,
        task("new", None, young, model="model"),
        task("undated", None, None),
        task("old", None, old, model="model"),
        task("another model", None, young, model="other"),
        task("marked", "theirs", young, model="model"),
        task("made here", None, young, model="model"),
    )
    assert scan.candidates == {bare.key: ["new", "undated"]}


def test_the_model_of_an_endpoint_is_not_known():
    """A task of an endpoint may be listed under the name of any model."""
    bare = lost(None, ours=False)
    bare.record.model = "ep-2026-1"
    scan = searching(bare)
    read(scan, task("new", None, 1.0, model="other"))
    assert scan.candidates == {bare.key: ["new"]}


def test_a_raw_key_sets_the_model_of_a_create():
    """A model that ``extra`` puts into the body is the model of the create."""
    bare = lost(None, ours=False)
    bare.record.spec = TaskSpec("boat", extra={"model": "other"})
    scan = searching(bare)
    read(scan, task("no", None, 1.0, model="model"), task("yes", None, 1.0, model="other"))
    assert scan.candidates == {bare.key: ["yes"]}


def test_our_own_tasks_without_a_mark_prove_nothing():
    """A task that was made without a mark proves nothing about lists."""
    one = lost("a")
    scan = searching(one, unmarked=["cgt-1"])
    read(scan, task("cgt-1", None))
    assert not scan.may_hide(one)


def test_without_the_providers_clock_every_task_with_the_mark_is_a_candidate():
    """While the provider's time is unknown, no task is too old."""
    own = lost("user-1", ours=False, sent=1000.0)
    scan = searching(own)
    read(scan, task("old", "user-1", 1.0), clocks=None)
    assert scan.candidates == {own.key: ["old"]}


@pytest.mark.parametrize("count", range(PAGE + 1))
def test_a_page_that_is_not_full_is_the_last_if_the_total_says_so(count):
    """Then the look is finished; without a total only an empty first page is the last."""
    scan = searching(lost("a", sent=-1e6))
    assert read(scan, *full_page(None)[:count], total=count) == (count == PAGE)
    assert scan.finished == (count < PAGE)
    scan = searching(lost("a", sent=-1e6))
    assert read(scan, *full_page(None)[:count]) == (count > 0)
    assert scan.finished == (count == 0)


@pytest.mark.parametrize(("age", "last"), [(-MARGIN, False), (-MARGIN - 1, True)])
def test_a_total_alone_proves_nothing(age, last):
    """A look that may prove absence reads on, unless it has shown a task that is older."""
    scan = searching(lost("a", sent=1000.0), began=2000.0, proving=True)
    assert read(scan, task("old", "theirs", 1000.0 + age), total=1) == (not last)
    assert scan.finished == last


@pytest.mark.parametrize("again", [["t0", "t1"], ["t1", "t1", "t2"], ["t1", "t2", "t0"], ["t2"]])
def test_a_page_that_does_not_go_on_proves_nothing(again):
    """A page must begin with tasks that were seen, show each once, and then show new ones."""
    scan = searching(lost("a"), page_size=100, proving=True)
    assert read(scan, *tasks(0, 2))
    while read(scan, *(task(each, created=-1.0) for each in again)):
        again = again[-1:]
    assert not scan.finished


@pytest.mark.parametrize(
    ("mark", "near"),
    [(str.upper, True), (lambda t: t[:26], True), (lambda t: t[:25], False),
     (lambda t: f"x-{t}", True), (lambda t: t[-32:], True), (lambda t: t[-15:], False)],
)  # fmt: skip
def test_a_changed_token_shows_that_its_task_exists(mark, near):
    """Sixteen digits of a token are enough to know its task again, in any case."""
    token = f"callsheet-{'0123456789abcdef' * 2}"
    one = lost(token)
    scan = searching(one)
    read(scan, task("cgt-1", mark(token)))
    assert ([*scan.found], scan.nearly) == (([one.key], {"cgt-1"}) if near else ([], set()))


def test_a_total_shows_that_there_are_more_pages():
    """A page with fewer tasks than were asked for is not the last while tasks are missing."""
    scan = searching(lost("a"), page_size=100)
    assert read(scan, *tasks(0, 10), total=15)
    assert (scan.page_num, scan.page_size) == (2, 8)
    assert read(scan, *tasks(8, 16), total=18)
    assert not scan.finished
    assert not read(scan, *tasks(14, 18), total=18)
    assert scan.finished


@pytest.mark.parametrize(("total", "finished"), [(None, True), (3, True), (5, False)])
def test_a_page_without_new_tasks_that_is_not_full_is_the_last(total, finished):
    """A page without new tasks is the last; it proves nothing if the first total is larger."""
    scan = searching(lost("a"), proving=True)
    assert read(scan, *tasks(0, 3), total=total)
    assert (scan.page_num, scan.page_size) == (2, 2)
    assert not read(scan, *tasks(2, 3), total=6 if finished and total else total)
    assert scan.finished == finished


@pytest.mark.parametrize(
    ("count", "still", "proven"),
    [
        (1, (0, 1), True),
        (2, (0, 2), True),
        (2, (-1, 2), True),
        (2, (1, 2), False),
        (4, (2, 4), False),
    ],
)
@pytest.mark.parametrize("total", [None, 1])
def test_an_empty_page_ends_the_look_if_the_first_page_is_unchanged(total, count, still, proven):
    """An empty page ends the look only if the first page still shows all its tasks."""
    scan = searching(lost("a"), proving=True)
    assert read(scan, *tasks(0, count), total=total)
    assert read(scan, total=total)
    assert (scan.page_num, scan.page_size) == (1, 500)
    assert not read(scan, *tasks(*still), total=total)
    assert scan.finished == proven


def test_a_page_that_is_shown_twice_ends_the_look_and_proves_nothing():
    """A list that always shows the same page may hold other tasks."""
    scan = searching(lost("a"), page_size=100)
    assert read(scan, *tasks(0, 10))
    assert not read(scan, *tasks(0, 10))
    assert not scan.finished


def test_pages_that_do_not_overlap_prove_nothing():
    """If a page does not overlap the one before, a task may have been missed."""
    scan = searching(lost("a"), page_size=100)
    assert read(scan, *tasks(0, 100))
    assert (scan.page_num, scan.page_size) == (2, 80)
    assert not read(scan, *tasks(101, 120), total=119)
    assert not scan.finished


def test_pages_too_small_to_overlap_are_read_and_prove_nothing():
    """A provider that shows one task on a page is read to the end, and nothing is proven."""
    scan = searching(lost("a"), page_size=1)
    assert [read(scan, *tasks(i, i + 1)) for i in range(3)] == [True] * 3
    assert scan.page_num == 4
    assert not read(scan)
    assert not scan.finished


@pytest.mark.parametrize("times", [(3, 1, 2), (1, 3, 2), (3, None, 1)])
def test_several_pages_that_are_not_in_order_of_time_prove_nothing(times):
    """Tasks that change their places may be on no page when it is read."""
    scan = searching(lost("a"), page_size=4)
    items = [task(f"t{i}", created=at) for i, at in enumerate((*times, 2))]
    assert read(scan, *items)
    assert not read(scan, *items[3:])
    assert not scan.finished


@given(st.data())
def test_a_finished_look_has_seen_every_task_that_stayed(data):
    """No task is missed between two pages, whatever tasks are made and removed between them."""
    there = [task(str(-i), created=-i / 1000) for i in range(data.draw(st.integers(0, 150)))]
    if data.draw(st.booleans()):
        there.reverse()
    newest_first = len(there) < 2 or there[0].created_at > there[1].created_at
    throughout = {each.task_id for each in there}
    clamp = data.draw(st.integers(1, 50))
    counted = data.draw(st.booleans())
    scan = searching(lost("a"), page_size=40, proving=True)
    more, made = True, 0
    for _ in range(400):
        size = min(scan.page_size, clamp)
        begin = (scan.page_num - 1) * size
        items = there[begin : begin + size]
        more = read(scan, *items, total=len(there) if counted else None)
        if not more:
            break
        for _ in range(data.draw(st.integers(0, 3))):
            made += 1
            there.insert(0 if newest_first else len(there), task(str(made), created=float(made)))
        for _ in range(data.draw(st.integers(0, 30))):
            if there:
                gone = there.pop(data.draw(st.integers(0, len(there) - 1)))
                throughout.discard(gone.task_id)
    if scan.finished:
        assert throughout <= scan._ids


@given(count=st.integers(0, 20_000), page=st.integers(20, 500))
def test_a_list_that_does_not_change_is_read_to_its_end_in_few_pages(count, page):
    """Overlaps cost few pages, and the last page proves that all tasks were seen."""
    there = [task(str(-i), created=-i / 1000) for i in range(count)]
    scan = searching(lost("a"), page_size=page, proving=True)
    pages = 1
    while read(scan, *there[(scan.page_num - 1) * scan.page_size :][: scan.page_size], total=count):
        pages += 1
    assert scan.finished
    assert len(scan._ids) == count
    assert pages <= 4 + 2 * count / page


@pytest.mark.parametrize("unreadable", [(1, 0), (0, 1), (1, 1)])
def test_an_unreadable_task_may_be_the_lost_one(unreadable):
    """A list with an unreadable task on any page proves nothing."""
    first, last = unreadable
    scan = searching(lost("a", sent=-1e6))
    assert read(scan, *full_page(0.0)[first:], unreadable=first)
    assert not read(scan, *full_page(0.0)[-1:], unreadable=last)
    assert not scan.finished


@pytest.mark.parametrize("here", [True, False])
@given(behind=st.floats(-1e6, 1e6), age=st.floats(-1e4, 1e4))
def test_a_list_in_order_is_read_until_before_the_create(here, behind, age):
    """A page that ends with a task older than the earliest create ends the look."""
    early = lost("a", sent=20_000.0 if here else None, at=20_000.0)
    scan = searching(lost("b", sent=50_000.0), early, began=60_000.0)
    created = 20_000.0 - MARGIN - age - behind
    more = read(scan, *full_page(created), clocks=behind)
    assert scan.finished == (not more)
    assert scan.finished == (created + behind < 20_000.0 - MARGIN)


def test_a_look_that_may_prove_something_is_read_to_the_end():
    """A look that may prove absence trusts no clock, because clocks may be wrong."""
    scan = searching(lost("a", sent=1e6), began=2e6, proving=True)
    assert read(scan, *full_page(0.0))


@pytest.mark.parametrize("times", [[1.0, 2.0, 3.0, 0.0], [3.0, None, 1.0, 0.0]])
def test_a_list_in_another_order_is_read_to_its_end(times):
    """An old task at the end of a page then says nothing about later pages."""
    scan = searching(lost("a", sent=1e6))
    items = [task(f"other-{i}", created=created) for i, created in enumerate(times)]
    assert read(scan, *items)
    assert not scan.finished


def test_without_the_providers_clock_a_list_is_read_to_its_end():
    """While the provider's time is unknown, no task counts as old."""
    scan = searching(lost("a", sent=1e6))
    assert read(scan, *full_page(0.0), clocks=None)


def test_lists_cover_a_week():
    """An older create may have made a task that lists no longer show."""
    each = lost(sent=100.0)
    assert searching(each, began=100.0 + LISTED - MARGIN - 1).covers(each)
    assert not searching(each, began=100.0 + LISTED - MARGIN).covers(each)


@pytest.mark.parametrize("sent", [100.0, None])
def test_the_wall_clock_counts_weeks_of_sleep(sent):
    """The wall clock counts while the machine sleeps and between two processes."""
    each = lost(sent=sent, at=100.0)
    assert searching(each, began=200.0, wall=100.0 + LISTED - MARGIN - 1).covers(each)
    assert not searching(each, began=200.0, wall=100.0 + LISTED - MARGIN).covers(each)


@pytest.mark.parametrize(("sent", "covered"), [(100.0, True), (None, False)])
def test_a_wall_clock_that_was_set_back_is_not_used(sent, covered):
    """After it was set back, the age of a create of another process is unknown."""
    each = lost(sent=sent, at=100.0)
    assert searching(each, began=200.0, wall=100.0 - MARGIN).covers(each) == covered


@pytest.mark.parametrize(
    ("values", "slept"), [({"sent": None}, 0.0), ({"sent": 1000.0}, MARGIN + 1)]
)
def test_every_task_with_the_mark_is_a_candidate_if_clocks_are_unsure(values, slept):
    """After a restart or a sleep no task is too old."""
    own = lost("user-1", ours=False, at=1000.0, **values)
    scan = searching(own, began=1500.0, wall=1500.0 + slept)
    read(scan, task("old", "user-1", 1.0))
    assert scan.candidates == {own.key: ["old"]}


@pytest.mark.parametrize(("tier", "listed"), [(None, None), ("default", None), ("flex", "flex")])
def test_a_look_reads_the_lists_of_one_tier(tier, listed):
    """A look reads the lists of the tier of the create; a task without a spec has no tier."""
    assert searching(lost(tier=tier)).tier == listed
    attached = lost(tier=tier)
    attached.record.spec = None
    assert attached.tier is None
