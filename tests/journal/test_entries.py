"""Entries as the fold of their notes: what any part and any order of the notes says."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._journal.entries import fold
from callsheet._journal.journal import encode_note
from callsheet._journal.notes import (
    AbsenceNote,
    AnswerNote,
    AttachmentNote,
    AttemptNote,
    ByHandNote,
    CancelNote,
    DoubtNote,
    EndNote,
    RefusalNote,
    RetractionNote,
    TaskNote,
)
from callsheet._state.fate import Fate, Grade
from callsheet.errors import InvalidRequestError, NotFoundError, TaskCancelledError
from journals import answer


CLIMBED = list(Fate)
NO_TASK = {Fate.REFUSED, Fate.ABSENT}


def entry_of(told):
    """The entry of row 1 that these notes make, or nothing."""
    facts = fold(map(encode_note, told))
    return None if facts is None else facts.entry(1, 1, 0)


def fates(told):
    """The fate of each attempt that these notes tell of, by its number."""
    return {each.n: each.fate for each in entry_of(told).attempts}


def presumed(n):
    """An absence that may be taken back."""
    return AbsenceNote(1, n, Grade.PRESUMED)


def witnessed(n):
    """An absence that is final."""
    return AbsenceNote(1, n, Grade.WITNESSED)


def by_hand(n, task_id):
    """What a person says of an attempt."""
    return ByHandNote(1, n, task_id, 9.0)


def without_video(task_id):
    """A success whose answer holds no video."""
    whole = answer(task_id)
    return attrs.evolve(whole, raw={**whole.raw, "content": None})


@st.composite
def lives(draw, *, orderless=False):
    """What a writer notes of one spec, in the order in which it happens.

    With *orderless*, no attempt is both presumed absent and doubted.
    """
    told = []
    for n in range(1, draw(st.integers(0, 4)) + 1):
        tries = draw(st.integers(1, 3))
        for number in range(1, tries + 1):
            told.append(AttemptNote(1, n, f"token-{n}", float(n), number))
            if number < tries:
                told.append(RefusalNote(1, n, number))
        ends = [
            [],
            [RefusalNote(1, n, tries)],
            [DoubtNote(1, n)],
            [DoubtNote(1, n), witnessed(n)],
            [presumed(n)],
            [presumed(n), witnessed(n)],
            [TaskNote(1, n, f"cgt-{n}")],
            [DoubtNote(1, n), by_hand(n, f"cgt-{n}")],
            [DoubtNote(1, n), by_hand(n, None)],
            [by_hand(n, None), TaskNote(1, n, f"cgt-{n}")],
            [RefusalNote(1, n, tries), TaskNote(1, n, f"cgt-{n}")],
            [witnessed(n), TaskNote(1, n, f"cgt-{n}")],
        ]
        if not orderless:
            ends += [
                [presumed(n), DoubtNote(1, n)],
                [DoubtNote(1, n), presumed(n), TaskNote(1, n, f"cgt-{n}")],
            ]
        told += draw(st.sampled_from(ends))
    return told


@given(lives())
def test_an_attempt_counts_as_open_until_a_note_says_what_became_of_it(life):
    """After any prefix, an attempt that may have been sent is open or made, or it made no task."""
    for length in range(len(life) + 1):
        prefix = life[:length]
        found = entry_of(prefix)
        sent = {note.n for note in prefix if isinstance(note, AttemptNote)}
        assert {each.n for each in found.attempts} == sent
        for each in found.attempts:
            mine = [note for note in prefix if note.n == each.n]
            tries = max(note.tries for note in mine if isinstance(note, AttemptNote))
            said = any(
                isinstance(note, AbsenceNote | ByHandNote)
                or (isinstance(note, RefusalNote) and note.tries == tries)
                for note in mine
            )
            assert each.open or each.fate is Fate.MADE or (each.fate in NO_TASK and said)
            assert each.token == f"token-{each.n}"


@given(lives(orderless=True), st.randoms())
def test_facts_that_come_late_say_the_same_in_any_order(life, random):
    """Only which of several tasks the row goes by depends on the order, as the first id counts."""
    first = entry_of(life)
    random.shuffle(life)
    second = entry_of(life)
    assert first.attempts == second.attempts
    assert (first.task_id is None) == (second.task_id is None)
    assert attrs.evolve(first, task_id=None) == attrs.evolve(second, task_id=None)


@given(lives(), st.data())
def test_a_fact_that_is_told_twice_changes_nothing(life, data):
    """A note may be repeated right after itself, as by a writer that does not know it was kept."""
    again = [note for note in life for _ in range(data.draw(st.integers(1, 3)))]
    assert entry_of(again) == entry_of(life)


@given(lives())
def test_a_fate_only_climbs(life):
    """Each note lifts the fate of its attempt, but for a new try and an absence taken back."""
    for length in range(1, len(life) + 1):
        note, before, after = life[length - 1], fates(life[: length - 1]), fates(life[:length])
        for n, fate in before.items():
            if n != note.n:
                assert after[n] is fate
            elif isinstance(note, AttemptNote):
                assert (fate, after[n]) == (Fate.REFUSED, Fate.OUT)
            elif isinstance(note, DoubtNote) and fate is Fate.ABSENT:
                assert after[n] is Fate.DOUBTED
            else:
                assert CLIMBED.index(after[n]) >= CLIMBED.index(fate)


@pytest.mark.parametrize(
    ("told", "fate", "grade"),
    [
        ([presumed(1), DoubtNote(1, 1)], Fate.DOUBTED, None),
        ([DoubtNote(1, 1), presumed(1)], Fate.ABSENT, Grade.PRESUMED),
        ([witnessed(1), DoubtNote(1, 1)], Fate.ABSENT, Grade.WITNESSED),
        ([witnessed(1), presumed(1)], Fate.ABSENT, Grade.WITNESSED),
        ([presumed(1), DoubtNote(1, 1), witnessed(1)], Fate.ABSENT, Grade.WITNESSED),
        ([presumed(1), DoubtNote(1, 1), TaskNote(1, 1, "a")], Fate.MADE, None),
        ([by_hand(1, None), DoubtNote(1, 1)], Fate.ABSENT, Grade.WITNESSED),
        ([by_hand(1, None), presumed(1)], Fate.ABSENT, Grade.WITNESSED),
        ([DoubtNote(1, 1), by_hand(1, "a"), by_hand(1, None)], Fate.MADE, None),
    ],
)
def test_only_a_presumed_absence_is_taken_back(told, fate, grade):
    """A doubt after a presumed absence holds; after a witnessed one it says nothing."""
    found = entry_of([AttemptNote(1, 1, "t", 1.0), *told])
    assert (found.attempts[0].fate, found.attempts[0].grade) == (fate, grade)
    assert bool(found.open_attempts) == (fate is Fate.DOUBTED)


def test_no_later_attempt_erases_an_earlier_one():
    """A token that was sent stays in the entry, whatever became of it and of later ones."""
    found = entry_of(
        [
            AttemptNote(1, 1, "first", 1.0),
            DoubtNote(1, 1),
            AttemptNote(1, 2, None, 2.0),
            RefusalNote(1, 2),
            AttemptNote(1, 3, "third", 3.0),
            TaskNote(1, 3, "cgt-3"),
            TaskNote(1, 3, "cgt-4"),
        ]
    )
    assert [(each.n, each.token, each.at, each.fate) for each in found.attempts] == [
        (1, "first", 1.0, Fate.DOUBTED),
        (2, None, 2.0, Fate.REFUSED),
        (3, "third", 3.0, Fate.MADE),
    ]
    assert (found.task_id, found.attempts[2].more_ids) == ("cgt-3", ("cgt-4",))


def test_an_attempt_that_could_not_be_noted_is_not_open():
    """What is told of an attempt without its own note, which is written first, is all there is."""
    assert fates([RefusalNote(1, 1)]) == {1: Fate.REFUSED}
    assert not entry_of([RefusalNote(1, 1)]).open_attempts


def test_the_refusal_of_an_earlier_try_says_nothing_about_the_last_one():
    """An attempt that is sent again unchanged is open again, until that try is refused, too."""
    told = [
        AttemptNote(1, 1, "t", 1.0),
        RefusalNote(1, 1),
        AttemptNote(1, 1, "t", 2.0, 2),
        RefusalNote(1, 1),
    ]
    assert fates(told) == {1: Fate.OUT}
    assert fates([*told, RefusalNote(1, 1, 2)]) == {1: Fate.REFUSED}


def test_a_retracted_row_is_none_unless_a_task_may_exist():
    """What was planned and taken back does not count, but an attempt or an id outweighs that."""
    assert entry_of([RetractionNote(1)]) is None
    for fact in (AttemptNote(1, 1, "t", 1.0), AttachmentNote(1, "cgt-1")):
        assert entry_of([RetractionNote(1), fact]) == entry_of([fact, RetractionNote(1)])
        assert entry_of([RetractionNote(1), fact]) is not None


@pytest.mark.parametrize(
    ("told", "final"),
    [
        ([], False),
        ([AttemptNote(1, 1, "t", 1.0)], False),
        ([TaskNote(1, 1, "cgt-1")], False),
        ([TaskNote(1, 1, "cgt-1"), AnswerNote(1, answer("cgt-1"), 5.0)], True),
        ([TaskNote(1, 1, "a"), AnswerNote(1, without_video("a"), 5.0)], False),
        ([TaskNote(1, 1, "a"), EndNote(1, NotFoundError("gone", 404), 5.0)], False),
        ([TaskNote(1, 1, "a"), EndNote(1, TaskCancelledError("a", None, ""), 5.0)], True),
        ([EndNote(1, InvalidRequestError("no", 400), 5.0)], True),
        ([CancelNote(1)], False),
    ],
)
def test_an_outcome_is_final_if_no_later_process_can_change_it(told, final):
    """The provider's last word and an error about the spec are final; an unknown end is not."""
    found = entry_of(told)
    assert found.final is final
    assert found.ended_at == (
        5.0 if told and hasattr(told[-1], "at") and told[-1].at == 5.0 else None
    )


def test_what_the_provider_says_outweighs_what_the_client_said():
    """An answer that comes after the client has given up is the end, in any order."""
    given_up = EndNote(1, NotFoundError("gone", 404), 5.0)
    answered = AnswerNote(1, answer("cgt-1"), 6.0)
    for told in ([given_up, answered], [answered, given_up]):
        found = entry_of([TaskNote(1, 1, "cgt-1"), *told])
        assert (found.error, found.answer.task_id, found.ended_at) == (None, "cgt-1", 6.0)


@pytest.mark.parametrize(
    "row",
    [
        (1, "sung", None, None, None),
        (1, "sung", 1, None, None),
        (1, "answer", None, "[1]", None),
        (1, "status", None, '"queued" "', None),
    ],
)
def test_what_is_no_note_is_an_error(row):
    """A note of an unknown kind or with an unknown value is not passed over."""
    with pytest.raises((ValueError, LookupError)):
        fold([row])
