"""When which task is asked about."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from callsheet._core.lanes import SWEEP
from callsheet._core.registry import Record
from callsheet._core.schedule import MOST_MISSES_GAP, Schedule, tier_of
from callsheet._models.snapshot import Status
from core.making import LOST, NEVER, moments, pauses, record
from core.studio import LAW


DELAY = 5.0
OPEN = [Status.QUEUED, Status.RUNNING, Status.UNKNOWN]
limits = st.integers(1, 8)


def schedule(delay: float = DELAY) -> Schedule:
    """A schedule with a simple law."""
    return Schedule(delay=delay, law=lambda _: LAW)


class Plan(RuleBasedStateMachine):
    """Tasks of two tiers, handed out when due and brought back in every way."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.plan = schedule()
        self.now = 0.0
        self.all: list[Record] = []
        self.out: list[Record] = []

    def _back(self, which: int) -> Record:
        return self.out.pop(which % len(self.out))

    @rule(target=records, tier=st.sampled_from([None, "default", "flex"]), fresh=st.booleans())
    def add(self, tier: str | None, fresh: bool) -> Record:  # noqa: FBT001
        """A task is created or attached."""
        made = record(f"t{len(self.all)}", tier=tier)
        (self.plan.add if fresh else self.plan.adopt)(made, now=self.now)
        assert made.due <= self.now + SWEEP
        self.all.append(made)
        return made

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def wait_until_somebody_is_due(self) -> None:
        """Time passes until the next due time."""
        due = self.plan.next_due()
        if due is not None:
            self.now = max(self.now, due)
            assert self.plan.next_due() <= self.now

    @rule(limit=limits)
    def hand_out(self, limit: int) -> None:
        """Those due are handed out, the most overdue first."""
        dues = {each: each.due for each in self.all}
        due = self.plan.next_due()
        handed = self.plan.due(now=self.now, limit=limit)
        assert bool(handed) is (due is not None and due <= self.now)
        assert len(handed) <= limit
        assert len({tier_of(each) for each in handed}) <= 1
        asked = [dues[each] for each in handed]
        assert asked == sorted(asked)
        assert all(when <= self.now for when in asked)
        assert not handed or asked[0] == due
        assert not any(each.settled for each in handed)
        self.out += handed

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), status=st.sampled_from(OPEN))
    def see(self, which: int, status: Status) -> None:
        """Somebody handed out is seen."""
        each = self._back(which)
        if not each.settled:
            self.plan.seen(each, status, now=self.now)
            assert each.due > self.now or status is Status.QUEUED

    @rule(each=records, status=st.sampled_from(OPEN))
    def see_out_of_turn(self, each: Record, status: Status) -> None:
        """Somebody is seen although nobody asked."""
        if not each.settled:
            self.plan.seen(each, status, now=self.now)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), own_fault=st.booleans())
    def miss(self, which: int, own_fault: bool) -> None:  # noqa: FBT001
        """Somebody handed out is not answered."""
        each = self._back(which)
        self.plan.missed(each, now=self.now, own_fault=own_fault)
        if not each.settled:
            assert own_fault is (each.due > self.now)
            assert each.due <= self.now + MOST_MISSES_GAP

    @rule(each=records)
    def settle(self, each: Record) -> None:
        """A task ends."""
        if each.settle(LOST):
            self.plan.settled(each, now=self.now)

    @rule(each=records)
    def nudge(self, each: Record) -> None:
        """Something happened to a task."""
        self.plan.nudge(each, now=self.now)
        assert each.settled or each.due == self.now

    @rule(limit=limits, tier=st.sampled_from([None, "flex"]))
    def ask_for_company(self, limit: int, tier: str | None) -> None:
        """Company is of one tier, planned, and nobody twice."""
        company = self.plan.company(limit=limit, tier=tier)
        assert len(company) <= limit
        assert len(set(company)) == len(company)
        for each in company:
            assert tier_of(each) == tier
            assert not each.settled
            assert each.due < NEVER

    @invariant()
    def whoever_is_not_handed_out_is_planned(self) -> None:
        """Nobody falls out of the plan."""
        for each in self.all:
            assert each.settled or each in self.out or each.due <= self.now + SWEEP

    @invariant()
    def the_next_due_is_the_least(self) -> None:
        """The next due time is that of the first in the plan."""
        dues = [each.due for each in self.all if not each.settled and each.due < NEVER]
        assert self.plan.next_due() == min(dues, default=None)


TestPlan = Plan.TestCase
TestPlan.settings = settings(max_examples=50)


@given(st.lists(moments, min_size=1, max_size=50), limits)
def test_every_task_comes_out_once_and_never_early(starts, limit):
    """Adopted tasks are handed out in the order of their times, each once."""
    plan, handed = schedule(), []
    for start in starts:
        plan.adopt(Record(None), now=start)
    while (due := plan.next_due()) is not None:
        assert plan.due(now=due - 1.0, limit=limit) == []
        handed += [due] * len(plan.due(now=due, limit=limit))
    assert handed == sorted(starts)


def test_only_the_first_of_a_line_is_asked_soon():
    """A new task behind others waits for a sweep; a new task alone is asked after the delay."""
    plan = schedule()
    first, second = record("a"), record("b")
    plan.add(first, now=0.0)
    plan.add(second, now=0.0)
    assert (first.due, second.due) == (DELAY, SWEEP)


def test_lanes_do_not_wait_for_each_other():
    """Tasks of another tier or model stand in a line of their own."""
    plan = schedule()
    other = record("c")
    other.model = "other"
    lanes = [record("a"), record("b", tier="flex"), other]
    for each in lanes:
        plan.add(each, now=0.0)
    assert [each.due for each in lanes] == [DELAY] * 3


def test_an_end_sends_the_next_in_line():
    """When a place becomes free, the head of the line is asked at once."""
    plan = schedule()
    first, second = record("a"), record("b")
    plan.add(first, now=0.0)
    plan.add(second, now=0.0)
    plan.due(now=DELAY, limit=1)
    plan.seen(first, Status.RUNNING, now=DELAY)
    plan.due(now=DELAY, limit=1)
    plan.seen(second, Status.QUEUED, now=DELAY)
    assert second.due == 3 * DELAY
    first.settle(LOST)
    plan.settled(first, now=7.0)
    assert second.due == 7.0


def test_those_before_a_running_task_are_dated_like_it():
    """Who is presumed to run is asked when its own render may be over."""
    plan = schedule()
    tasks = [record(f"t{i}") for i in range(8)]
    for each in tasks:
        plan.add(each, now=0.0)
    for scout in (tasks[0], tasks[2]):
        assert scout in plan.due(now=DELAY, limit=8)
        plan.seen(scout, Status.RUNNING, now=DELAY)
    assert tasks[1].started == DELAY
    assert tasks[1].due == tasks[2].due == DELAY + LAW.gap(0.0, delay=DELAY)


@given(st.integers(1, 2000))
def test_misses_of_its_own_put_a_task_off_up_to_a_minute(misses):
    """The gap of a task that alone is not answered doubles to a minute, and an answer ends that."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    for _ in range(misses):
        plan.missed(one, now=0.0, own_fault=True)
    assert one.due == min(2.0 ** min(misses, 9), MOST_MISSES_GAP)
    plan.seen(one, Status.QUEUED, now=0.0)
    plan.missed(one, now=0.0, own_fault=True)
    assert one.due == 2.0


@pytest.mark.parametrize(
    ("one", "tier"),
    [(Record(None), None), (record(tier="default"), None), (record(tier="flex"), "flex")],
)
def test_the_default_tier_has_no_name(one, tier):
    """A task of the default tier, or of an unknown one, is asked without naming a tier."""
    assert tier_of(one) == tier


def test_nothing_is_due_in_an_empty_plan():
    """Without tasks there is nothing to ask and no time to wait for."""
    assert schedule().next_due() is None
    assert schedule().due(now=1e9, limit=9) == []
