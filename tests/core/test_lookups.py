"""Where creates went whose answers were lost: when to look, and when to stop."""

from __future__ import annotations

from itertools import pairwise

import pytest

from callsheet._core.lookups import GIVEN_UP, LONGEST_GAP, Lookups
from callsheet._core.search import FIRST_GAP, Lost, Search
from core.making import lost, searching


WINDOW = 300.0


def look(lookups: Lookups, now: float) -> Search | None:
    """Begin a look if one is due."""
    return lookups.search(now=now, wall=now, known={}.get)


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
    assert look(lookups, 1e9) is None


def test_looks_come_with_growing_gaps():
    """The first is soon, and none is more than a minute after the one before."""
    lookups = Lookups(WINDOW)
    lookups.add(lost())
    assert look(lookups, FIRST_GAP - 0.01) is None
    times = []
    for _ in range(10):
        times.append(lookups.next_look())
        search = look(lookups, times[-1])
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
    first = look(lookups, FIRST_GAP)
    assert (first.tier, first.lost) == (None, [plain, same, attached])
    second = look(lookups, FIRST_GAP)
    assert (second.tier, second.lost) == ("flex", [flex])
    assert look(lookups, FIRST_GAP) is None


def test_a_look_after_a_window_may_prove_something():
    """Also if that of another lost create goes on."""
    lookups = Lookups(WINDOW)
    lookups.add(lost("a"))
    lookups.add(lost("b", sent=50.0))
    assert not look(lookups, WINDOW - 1).proving
    lookups.add(lost("c", sent=WINDOW - 10))
    assert look(lookups, WINDOW + 1000).proving


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


def test_a_look_that_began_within_the_window_proves_nothing_however_long_it_took():
    """The task may have surfaced on a page that it had read; the next look is the last."""
    lookups, each = Lookups(WINDOW), lost()
    lookups.add(each)
    end = WINDOW + GIVEN_UP
    assert not over(lookups, each, began=WINDOW - 1, now=end, finished=True)
    assert over(lookups, each, began=end, now=end, finished=True)


def test_what_is_learned_of_late_is_looked_for_as_long():
    """A create that was lost days before gets the same patience with a list that fails."""
    lookups, each = Lookups(WINDOW), lost(missed=9e4)
    lookups.add(each)
    end = 9e4 + WINDOW + GIVEN_UP
    assert not over(lookups, each, began=9e4, now=end - 1, finished=False)
    assert over(lookups, each, began=9e4, now=end, finished=False)


def test_a_window_begins_when_the_loss_is_learned():
    """How long before it left is the word of a wall clock, which may have been set."""
    lookups, each = Lookups(WINDOW), lost(sent=None, missed=9e4)
    lookups.add(each)
    late = 9e4 + WINDOW
    assert not over(lookups, each, began=late - 1, now=late, finished=True)
    assert over(lookups, each, began=late, now=late, finished=True)


def test_what_was_dropped_meanwhile_is_not_over():
    """A create that was found otherwise while the list was read has no last look."""
    lookups, each = Lookups(WINDOW), lost()
    assert not over(lookups, each, began=1e6, now=1e6, finished=True)
