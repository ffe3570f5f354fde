"""Whether many tasks of one age end otherwise than expected."""

from __future__ import annotations

import math

import pytest

from callsheet._polling.render_time.cohort import ABSENT, AGED, FEWEST_IN_COHORT, MANY, Cohort


AGE = 70.0


def cohort(running: int = 40, *, each: float = 1.0) -> Cohort:
    """Tasks of one age."""
    made = Cohort()
    made.gather((AGE,) * running, each=each)
    return made


def never(_since: float, _until: float) -> float:
    """No task ends."""
    return 0.0


def half(_since: float, _until: float) -> float:
    """Every other task ends."""
    return 0.5


def needed(tasks: Cohort) -> int:
    """Unexpected ends until they surprise."""
    count = 0
    while not tasks.surprises(AGE, never):
        tasks.lose_one()
        count += 1
    return count


@pytest.mark.parametrize(
    ("running", "is_crowd"), [(FEWEST_IN_COHORT - 1, False), (FEWEST_IN_COHORT, True)]
)
def test_a_few_tasks_surprise_nobody(running, is_crowd):
    """Below eight, neither ends nor their absence are news."""
    tasks = cohort(running)
    tasks.lose_one()
    tasks.lose_one()
    assert tasks.surprises(AGE, never) is is_crowd


def test_ends_that_do_not_come_surprise_once_four_are_missed():
    """Those who pass an age at which half should have ended are counted one by one."""
    tasks = cohort()
    older = 1.01 * AGED * AGE
    found = [tasks.surprises(older, half) for _ in range(9)]
    assert found == [False] * 8 + [True]
    assert 9 * half(AGE, older) > ABSENT


def test_too_little_older_nobody_is_missed():
    """An age that has hardly grown is no news, and one that has shrunk none at all."""
    tasks = cohort()
    assert not any(tasks.surprises(age, half) for age in (0.9 * AGE, AGE) for _ in range(40))


def test_ends_that_go_on_coming_surprise_less():
    """Of few tasks three are needed then, of a large crowd more and more up to one in 64."""
    few, many = cohort(40), cohort(1000, each=10.0)
    counts = {40: [], 10_000: []}
    for tasks, found in zip((few, many), counts.values(), strict=True):
        for _ in range(10):
            found.append(needed(tasks))
            tasks.gather((AGE,) * 100, each=tasks.size / 100)
    most = math.ceil(10_000 / MANY)
    assert counts[40] == [2, *[3] * 9]
    assert counts[10_000] == [2, 3, 5, 9, 17, 33, 65, 129, most, most]


def test_after_ends_that_did_not_come_one_is_news():
    """The first end of a crowd that was thought to end later is a surprise."""
    tasks = cohort()
    assert any(tasks.surprises(2 * AGE, half) for _ in range(40))
    tasks.gather((2 * AGE,) * 40, each=1.0)
    tasks.lose_one()
    assert tasks.surprises(2 * AGE, never)
