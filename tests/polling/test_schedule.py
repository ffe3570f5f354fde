"""When which task is asked about."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from callsheet._models.snapshot import Status
from callsheet._polling.pages import SIZE
from callsheet._polling.queue_model import LONGEST_SWEEP
from callsheet._polling.render_times import ENOUGH_ENDS
from callsheet._polling.schedule import MOST_MISSES_GAP, SWEEP, Schedule
from callsheet._state.record import Record
from making import LOST, NEVER, moments, pauses, record


DELAY = 5.0
OPEN = [Status.QUEUED, Status.RUNNING, Status.UNKNOWN]
limits = st.integers(1, 8)


def hand_out(plan: Schedule, *, now: float) -> list[Record]:
    """All that are due, one by one."""
    return list(iter(lambda: plan.due(now=now), None))


def end(one: Record, status: Status = Status.SUCCEEDED) -> None:
    """It has its outcome."""
    one.status = status
    one.settle(LOST)


def find_front(plan: Schedule, *, running: Record) -> None:
    """One task runs, and those who are asked about wait, until the head of the line has said so."""
    while (asked := plan.due(now=DELAY)) is not None:
        plan.seen(asked, Status.RUNNING if asked is running else Status.QUEUED, now=DELAY)


def schedule(delay: float = DELAY) -> Schedule:
    """A schedule that knows nothing of render times."""
    return Schedule(delay=delay, page=4)


def running(**spec: object) -> Record:
    """A record of one kind."""
    return record("t", **spec)


def begin(plan: Schedule, one: Record, *, now: float) -> None:
    """It is created and found running at that very moment."""
    plan.add(one, now=now)
    plan.seen(one, Status.RUNNING, now=now)


def teach(plan: Schedule, renders: list[float], *, now: float = 900.0, **spec: object) -> None:
    """So many tasks that rendered for these seconds end *now*."""
    for seconds in renders:
        one = running(**spec)
        begin(plan, one, now=now - seconds)
        one.alive_at = now  # a look has just shown it running
        end(one)
        plan.settled(one, now=now)


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
        assert made.due <= self.now + DELAY or self.plan._lane(made).sweep_at < NEVER
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

    @rule()
    def hand_out(self) -> None:
        """Somebody who waits is swept if it is time; else the most overdue is handed out."""
        dues = {each: each.due for each in self.all}
        due = self.plan.next_due()
        sweeps = any(lane.sweep_at <= self.now for lane in self.plan._lanes())
        handed = self.plan.due(now=self.now)
        if handed is None:
            assert (self.plan.next_due() or NEVER) > self.now
            return
        assert due <= self.now
        assert not handed.settled
        assert handed.asked
        dated = [when for each, when in dues.items() if not each.settled and when <= self.now]
        if not sweeps or handed.started is not None:
            assert dues[handed] == min(dated)
        self.out.append(handed)

    @rule()
    def group(self) -> None:
        """A list asks about tasks of one tier that are not asked about, nobody twice."""
        due = self.plan.next_due()
        before = {each for each in self.all if each.asked}
        handed = self.plan.group(now=self.now)
        assert len(handed) == len(set(handed)) <= self.plan.page
        assert not handed or due <= self.now
        assert before.isdisjoint(handed)
        assert len({each.tier for each in handed}) <= 1
        assert all(each.asked and not each.settled for each in handed)
        self.out += handed

    @rule()
    def wait_until_a_list_is_worth_it(self) -> None:
        """Time passes until a list is worth sending, which then is not empty for long."""
        due = self.plan.next_due()
        if due is not None:
            self.now = max(self.now, due)
            self.group()

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), status=st.sampled_from(OPEN))
    def see(self, which: int, status: Status) -> None:
        """Somebody handed out is seen."""
        each = self._back(which)
        if not each.settled:
            self.plan.seen(each, status, now=self.now)
            assert not each.asked
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
        """Company is of one tier, waits, and nobody comes twice."""
        if tier not in self.plan._tiers:
            return
        company = self.plan.company(limit=limit, tier=tier)
        assert len(company) <= limit
        assert len(set(company)) == len(company)
        for each in company:
            assert each.tier == tier
            assert not each.settled
            assert not each.asked
            assert each.started is None

    @invariant()
    def whoever_is_not_handed_out_is_planned(self) -> None:
        """Nobody falls out of the plan: who waits is swept, and somebody goes ahead."""
        for each in self.all:
            if each.settled or each.asked or each.due < NEVER:
                continue
            lane = self.plan._lane(each)
            scout = lane.scout()
            assert each.started is None
            assert scout.asked or scout.due < NEVER
            assert lane.sweep_at <= self.now + LONGEST_SWEEP

    @invariant()
    def who_is_asked_was_handed_out(self) -> None:
        """Nobody is taken for asked who is not, and nobody asked is dated."""
        for each in self.all:
            if each.asked and not each.settled:
                assert each in self.out
                assert each.due == NEVER

    @invariant()
    def the_next_due_is_the_least(self) -> None:
        """The next due time is that of the first in the plan, or of a sweep."""
        dues = [each.due for each in self.all if not each.settled and each.due < NEVER]
        dues += [lane.sweep_at for lane in self.plan._lanes() if lane.sweep_at < NEVER]
        assert self.plan.next_due() == min(dues, default=None)

    @invariant()
    def some_list_is_worth_sending_some_day(self) -> None:
        """While anybody is dated, a list is worth sending at some time."""
        pending = [each for each in self.all if not each.settled]
        if any(each.due < NEVER for each in pending):
            assert self.plan.next_due() < NEVER


TestPlan = Plan.TestCase
TestPlan.settings = settings(max_examples=50)


@given(st.lists(moments, min_size=1, max_size=50))
def test_every_task_comes_out_once_and_never_early(starts):
    """Adopted tasks are handed out in the order of their times, each once."""
    plan, handed = schedule(), []
    for start in starts:
        plan.adopt(Record(None), now=start)
    while (due := plan.next_due()) is not None:
        assert plan.due(now=due - 1.0) is None
        handed += [due] * len(hand_out(plan, now=due))
    assert handed == sorted(starts)


def test_only_the_first_of_a_line_is_asked_soon():
    """A new task behind others waits for a sweep; a new task alone is asked after 1.8 s."""
    plan = schedule()
    first, second = record("a"), record("b")
    plan.add(first, now=0.0)
    plan.add(second, now=0.0)
    assert (first.due, second.due) == (1.8, NEVER)
    assert plan._lane(second).sweep_at == SWEEP


def test_a_nudge_twice_at_once_is_one_place_in_a_list():
    """A task that was dated twice for the same moment is in a list once."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    plan.nudge(one, now=0.0)
    assert plan.group(now=DELAY) == [one]


def test_a_nudge_of_a_running_task_is_asked_at_once_also_by_list():
    """A list that would come later comes at once when something happened."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    plan.group(now=2.0)
    plan.seen(one, Status.RUNNING, now=2.0)
    assert plan.next_due() > 3.0
    plan.nudge(one, now=3.0)
    assert plan.next_due() == 3.0
    assert plan.group(now=3.0) == [one]


def test_a_miss_of_the_only_running_task_is_made_good_soon():
    """A poll that failed because the service is down is due again at once."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    plan.group(now=2.0)
    plan.seen(one, Status.RUNNING, now=2.0)
    assert plan.group(now=100.0) == [one]
    assert plan.next_due() is None
    plan.missed(one, now=101.0, own_fault=False)
    assert plan.next_due() == 101.0


def test_attached_tasks_that_wait_are_swept():
    """Tasks of unknown age that were seen waiting are looked at again though others are first."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(3)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    for each in hand_out(plan, now=0.0):
        plan.seen(each, Status.QUEUED, now=1.0)
    assert plan._lane(tasks[0]).sweep_at == 1.0 + SWEEP
    swept, now = set(), 1.0
    while len(swept) < 3 and now < 10 * LONGEST_SWEEP:
        now = plan.next_due()
        for each in hand_out(plan, now=now):
            swept.add(each)
            plan.seen(each, Status.QUEUED, now=now)
    assert swept == set(tasks)


def test_a_presumption_leaves_a_poll_under_way_alone():
    """A scout whose answer is awaited is not dated by an end that gives it a place."""
    plan, (first, second) = schedule(), (record("a"), record("b"))
    plan.adopt(first, now=0.0)
    plan.adopt(second, now=0.0)
    hand_out(plan, now=0.0)
    plan.seen(first, Status.RUNNING, now=1.0)
    plan.seen(second, Status.QUEUED, now=1.0)
    plan.nudge(second, now=2.0)
    assert plan.due(now=2.0) is second
    end(first)
    plan.settled(first, now=3.0)
    assert (second.asked, second.due, second.started) == (True, NEVER, 2.0)
    plan.seen(second, Status.RUNNING, now=4.0)
    assert 4.0 < second.due < NEVER


def test_with_more_running_than_a_list_names_each_is_asked_when_it_is_due_itself():
    """A list then holds only the tasks that are due."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(6)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    hand_out(plan, now=0.0)
    for number, each in enumerate(tasks):
        plan.seen(each, Status.RUNNING, now=1.0 + 3.0 * number)
    groups = []
    while (now := plan.next_due()) is not None:
        groups.append(plan.group(now=now))
    assert groups == [[each] for each in tasks]


def test_few_running_tasks_are_asked_about_together():
    """If one list can name all that run, it asks about all of them when one is due."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(4)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    hand_out(plan, now=0.0)
    for number, each in enumerate(tasks):
        plan.seen(each, Status.RUNNING, now=1.0 + number)
    assert set(plan.group(now=plan.next_due())) == set(tasks)
    assert plan.next_due() is None


@given(st.floats(0.1, 600.0), st.floats(0.0, 5000.0))
def test_the_next_look_follows_the_age_and_the_delay(delay, age):
    """While nothing is known it comes 1.8 s and 9 % of the age later, capped at 1.9 delays."""
    plan, one = schedule(delay), running()
    begin(plan, one, now=0.0)
    plan.seen(one, Status.RUNNING, now=age)
    assert one.due - age == pytest.approx(min(1.8 + 0.09 * age, 1.9 * delay))


@given(st.integers(0, ENOUGH_ENDS - 1), st.floats(0.0, 500.0))
def test_the_first_known_ends_make_gaps_longer(count, age):
    """Each of the first 15 ends adds a quarter to the gaps of later tasks, and the cap stays."""
    plan, one = schedule(), running()
    teach(plan, [60.0] * count)
    begin(plan, one, now=1000.0)
    plan.seen(one, Status.RUNNING, now=1000.0 + age)
    gap = (1.8 + 0.09 * age) * (1.0 + count / 4.0)
    assert one.due - 1000.0 - age == pytest.approx(min(gap, 1.9 * DELAY))


@given(st.integers(ENOUGH_ENDS, 60), st.floats(30.0, 1000.0), st.floats(0.0, 2000.0))
def test_known_ends_tell_when_the_first_look_is_worth_it(count, render, age):
    """From 16 ends on the first look is at their one-percent age, and later gaps are 1.9 delays."""
    plan, one = schedule(), running()
    teach(plan, [render] * count)
    first_look = plan._times_of(one).first_look
    assert 0.9 * render < first_look < render
    begin(plan, one, now=5000.0)
    assert one.due == pytest.approx(5000.0 + max(first_look, 1.9 * DELAY))
    plan.seen(one, Status.RUNNING, now=5000.0 + age)
    assert one.due == pytest.approx(5000.0 + max(first_look, age + 1.9 * DELAY))


def test_a_task_goes_by_what_was_known_when_it_began():
    """Ends that come while it runs change none of its looks: they may be the short ones only."""
    plan, one = schedule(), running()
    begin(plan, one, now=0.0)
    teach(plan, [60.0] * 20)
    plan.seen(one, Status.RUNNING, now=10.0)
    assert one.due == pytest.approx(10.0 + 1.8 + 0.09 * 10.0)


@pytest.mark.parametrize("asked", [False, True])
def test_three_early_ends_make_all_looks_of_the_kind_come_soon(asked):
    """Tasks of the kind that run are dated as if nothing were known; one being polled is not."""
    plan, one, other = schedule(), running(), running(duration=10)
    teach(plan, [60.0] * 20)
    begin(plan, one, now=1000.0)
    begin(plan, other, now=1000.0)
    assert one.due > 1050.0
    if asked:
        plan.nudge(one, now=1009.0)
        assert one in hand_out(plan, now=1009.0)
    before = other.due
    for now in (1010.0, 1010.5):
        teach(plan, [10.0], now=now)
        assert asked or one.due > 1050.0
    teach(plan, [10.0], now=1011.0)
    assert one.due == (NEVER if asked else 1011.0)
    assert other.due <= before
    plan.seen(one, Status.RUNNING, now=1012.0)
    assert one.due == pytest.approx(1012.0 + 1.8 + 0.09 * 12.0)


@given(st.integers(0, ENOUGH_ENDS - 1), st.floats(0.0, 500.0))
def test_the_scout_is_asked_like_a_task_that_has_just_begun(count, waited):
    """Its gap is 1.8 s and 9 % of the time since the line last moved, up to 1.9 delays."""
    plan, (first, scout) = schedule(), (running() for _ in range(2))
    teach(plan, [60.0] * count)
    plan.add(first, now=1000.0)
    plan.add(scout, now=1000.0)
    plan.seen(first, Status.RUNNING, now=1000.0)
    plan.seen(scout, Status.QUEUED, now=1000.0 + waited)
    gap = (1.8 + 0.09 * waited) * (1.0 + count / 4.0)
    assert scout.due - 1000.0 - waited == pytest.approx(min(gap, 1.9 * DELAY))


@pytest.mark.parametrize("tells", [True, False])
def test_where_ends_are_known_the_scout_is_asked_in_time_for_its_own_first_look(tells):
    """A task that began right after a look at it is found at half the age of its first look.

    This holds where the provider tells when tasks began; else the gaps stay short.
    """
    plan, (first, scout) = schedule(), (running() for _ in range(2))
    teach(plan, [60.0] * ENOUGH_ENDS)
    plan.add(first, now=1000.0)
    plan.add(scout, now=1000.0)
    plan.seen(first, Status.RUNNING, now=1000.0, updated_at=1000.0 if tells else None)
    plan.seen(scout, Status.QUEUED, now=1301.0)
    half = plan._times_of(scout).first_look / 2.0
    assert scout.due == pytest.approx(1301.0 + (half if tells else 1.9 * DELAY))
    assert half > 1.9 * DELAY


def test_gaps_are_shorter_by_the_time_that_a_round_of_pages_takes():
    """With so many running that they fill pages, looks begin early enough for the last page."""
    plan, tasks = schedule(), [running() for _ in range(2 * SIZE)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    for each in tasks:
        plan.seen(each, Status.RUNNING, now=1.0)
    plan.seen(tasks[0], Status.RUNNING, now=500.0)
    assert tasks[0].due == pytest.approx(500.0 + 1.9 * DELAY - 2 * plan.list_gap)


def test_those_of_one_list_are_each_dated_by_their_own_answer():
    """Who is presumed to run while its own answer is coming is not dated before that."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(4)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    plan._lane(tasks[0])._stride = 4
    plan.group(now=2.0)
    plan.seen(tasks[3], Status.RUNNING, now=3.0)
    assert all(each.asked and each.due == NEVER and each.started for each in tasks[:3])
    for each in tasks[:3]:
        plan.seen(each, Status.RUNNING, now=3.0)
        assert not each.asked


def test_a_task_that_outlasts_all_others_is_asked_at_an_even_pace():
    """After the first look the gaps do not grow, however long it runs."""
    plan, one = schedule(), running()
    teach(plan, [60.0] * 20)
    begin(plan, one, now=1000.0)
    for number in range(50):
        now = 1100.0 + 100.0 * number
        plan.seen(one, Status.RUNNING, now=now)
        assert one.due == pytest.approx(now + 1.9 * DELAY)


def test_only_tasks_of_one_kind_teach_each_other():
    """Ends of long videos say nothing about how long short ones take."""
    plan, short, long = schedule(), running(duration=5), running(duration=10)
    teach(plan, [60.0] * 20, duration=5)
    begin(plan, short, now=1000.0)
    begin(plan, long, now=1000.0)
    assert short.due > 1050.0
    assert long.due == pytest.approx(1001.8)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.FAILED, None])
def test_who_never_held_a_place_gives_none_away(status):
    """Those who end in the queue leave the others where they are, and teach nothing."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(40)]
    for each in tasks:
        plan.add(each, now=0.0)
    find_front(plan, running=tasks[0])
    lane = plan._lane(tasks[0])
    gap = lane.sweep_gap
    for each in tasks[2:20]:
        end(each, status)
        plan.settled(each, now=6.0)
    assert list(lane.running) == [tasks[0]]
    assert lane.sweep_gap == gap
    assert plan._times_of(tasks[0]).seen == 0
    assert lane.scout() is tasks[1]


def test_those_presumed_after_one_that_waits_wait_too():
    """A wrong presumption takes the later ones with it, and the line keeps its order."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(8)]
    for each in tasks:
        plan.add(each, now=0.0)
    lane = plan._lane(tasks[0])
    find_front(plan, running=tasks[0])
    for number in range(4):
        assert lane.presume_next(6.0 + number, since=0.0) is tasks[number + 1]
        tasks[number + 1].alive_at = 6.0 + number
    plan.seen(tasks[3], Status.RUNNING, now=20.0)
    plan.seen(tasks[2], Status.QUEUED, now=20.0)
    assert list(lane.running) == [tasks[0], tasks[1], tasks[3]]
    assert list(lane.waiting()) == [tasks[2], *tasks[4:]]
    assert lane.scout() is tasks[2]


@pytest.mark.parametrize("by_list", [False, True])
def test_a_sweep_is_not_put_off_by_those_who_are_due_all_the_time(by_list):
    """Somebody in the middle of a line is looked at although more are due than can be asked."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(3)]
    busy = [record(f"b{i}") for i in range(20)]
    for each in tasks:
        plan.add(each, now=0.0)
    for each in busy:
        each.model = "another"
        plan.adopt(each, now=0.0)
    found: set[Record] = set()
    for now in range(1, 200):
        handed = plan.group(now=float(now)) if by_list else [plan.due(now=float(now))]
        found.update(handed)
        for each in handed:
            plan.seen(each, Status.QUEUED, now=float(now))
        for each in busy:
            plan.nudge(each, now=float(now))
    assert found >= set(tasks)


def test_every_line_has_its_share_of_a_lists_free_seats():
    """A long line does not take all the seats from a short one."""
    plan = schedule()
    long, short = ([record(f"{name}{i}") for i in range(60)] for name in ("l", "s"))
    for each in short:
        each.model = "another"
    for each in (*long, *short):
        plan.add(each, now=0.0)
    seen: set[Record] = set()
    for _ in range(10):
        seen.update(plan.company(limit=60, tier=None))
    assert seen == {*long, *short}


def test_attached_in_mid_render_a_task_teaches_no_short_render():
    """While nothing tells when it began, its end says nothing of how long renders take."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(40)]
    for each in tasks:
        plan.adopt(each, now=1000.0)
    hand_out(plan, now=1000.0)
    for each in tasks:
        plan.seen(each, Status.RUNNING, now=1000.0, updated_at=950.0)
    for number, each in enumerate(tasks[:20]):
        end(each)
        plan.settled(each, now=1002.0 + number, updated_at=1001.0 + number)
    assert plan._times_of(tasks[0]).seen == 0
    plan.seen(tasks[20], Status.RUNNING, now=1022.0, updated_at=950.0)
    assert tasks[20].started == pytest.approx(950.0, abs=2.0)
    end(tasks[20])
    plan.settled(tasks[20], now=1031.0, updated_at=1030.0)
    assert plan._times_of(tasks[0]).seen == 1


def successor_seen(*, beats: bool) -> tuple[Record, float]:
    """Who was presumed to run since 51 is found running since 30; one that ran was seen twice.

    Where the provider *beats*, a task that runs changes all the time.
    """
    plan, (one, two, other) = schedule(), (record(f"t{i}") for i in range(3))
    for each in (one, two, other):
        plan.add(each, now=0.0)
    plan.seen(one, Status.RUNNING, now=5.0, updated_at=1.0)
    plan.seen(two, Status.RUNNING, now=5.5, updated_at=2.0)
    plan.seen(other, Status.QUEUED, now=6.0)
    plan.seen(two, Status.RUNNING, now=40.0, updated_at=39.0 if beats else 2.0)
    end(one)
    plan.settled(one, now=52.0, updated_at=51.0)
    presumed = other.started
    assert presumed == pytest.approx(51.5, abs=1.0)
    plan.seen(other, Status.RUNNING, now=60.0, updated_at=30.0)
    return other, presumed


def test_many_that_were_stopped_elsewhere_in_the_queue_are_soon_known():
    """One that was stopped may not be the only one: the next is asked at once, not in its time."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(40)]
    for each in tasks:
        plan.add(each, now=0.0)
    find_front(plan, running=tasks[0])
    now, left = 50.0, set(tasks[1:])
    while left and now < 1e4:
        now = max(now, plan.next_due())
        for one in hand_out(plan, now=now):
            if one is tasks[0]:
                plan.seen(one, Status.RUNNING, now=now)
                continue
            end(one, Status.CANCELLED)
            plan.settled(one, now=now)
            left.discard(one)
    assert now < 100.0


def test_when_the_head_ends_in_the_queue_the_next_in_line_is_asked_at_once():
    """Also if its place is given to a task that was found running early, which takes none now."""
    plan, (first, second) = schedule(), (record(f"t{i}") for i in range(2))
    plan.adopt(first, now=0.0)
    for status in (Status.QUEUED, Status.RUNNING, Status.QUEUED):
        plan.seen(first, status, now=1.0)
    plan.add(second, now=2.0)
    end(first, Status.FAILED)
    plan.settled(first, now=3.0)
    assert second.due == 3.0


def test_a_wrong_start_is_corrected_by_the_first_answer():
    """Tasks that started in another order than their creates were answered are looked at right."""
    other, _ = successor_seen(beats=False)
    assert other.started == pytest.approx(30.5, abs=1.5)


def test_where_running_tasks_change_their_time_tells_of_no_start():
    """Then the presumption stands: nobody knows what the time of the last change is."""
    other, presumed = successor_seen(beats=True)
    assert other.started == presumed


def test_a_start_that_agrees_with_the_answer_stays():
    """Whole seconds of the provider do not move it to and fro."""
    plan, (one, two) = schedule(), (record(f"t{i}") for i in range(2))
    plan.add(one, now=0.0)
    plan.add(two, now=0.0)
    plan.seen(one, Status.RUNNING, now=5.0, updated_at=1.0)
    plan.seen(two, Status.QUEUED, now=6.0)
    end(one)
    plan.settled(one, now=52.0, updated_at=51.0)
    presumed = two.started
    plan.seen(two, Status.RUNNING, now=60.0, updated_at=52.0)  # a moment after the other's end
    assert two.started == presumed
    plan.seen(two, Status.RUNNING, now=70.0, updated_at=54.0)  # as if the clock's were known anew
    assert plan._steady


def test_an_attached_task_gives_its_start_to_none_that_were_created_later():
    """Who is presumed to run because an old task does has not run longer than it exists."""
    plan = schedule()
    one, fresh, old = record("t1"), record("t2"), record("old")
    plan.add(one, now=0.0)
    plan.seen(one, Status.RUNNING, now=5.0, updated_at=1.0)
    plan.add(fresh, now=2000.0)
    plan.adopt(old, now=2001.0)
    lane = plan._lane(old)
    lane._stride = 2
    assert lane.scout() is old
    plan.seen(old, Status.RUNNING, now=2002.0, updated_at=500.0)
    assert old.started < 600.0
    assert fresh.started == 2000.0


def test_what_is_asked_at_once_waits_little_for_company_whatever_the_delay():
    """A callback is followed by a list within two seconds also where the aim is ten minutes."""
    plan, one = schedule(600.0), record("t1")
    plan.add(one, now=0.0)
    plan.nudge(one, now=10.0)
    assert 10.0 <= plan.next_due() < 12.0


def test_lists_leave_no_old_dates_behind():
    """Tasks that were seen running by list and have ended are not held by the plan."""
    plan = schedule()
    for number in range(200):
        one, now = record(f"t{number}"), 200.0 * number
        plan.adopt(one, now=now)
        for later, status in ((2.0, Status.RUNNING), (150.0, None)):
            assert plan.next_due() <= now + later
            assert plan.group(now=now + later) == [one]
            if status is not None:
                plan.seen(one, status, now=now + later)
        one.settle(LOST)
        plan.settled(one, now=now + 150.0)
    plan.next_due()
    assert sum(len(heap) for heap in plan._heaps()) == 0


def test_lanes_do_not_wait_for_each_other():
    """Tasks of another tier or model stand in a line of their own."""
    plan = schedule()
    other = record("c")
    other.model = "other"
    lanes = [record("a"), record("b", tier="flex"), other]
    for each in lanes:
        plan.add(each, now=0.0)
    assert [each.due for each in lanes] == [1.8] * 3


def test_an_end_gives_its_place_to_the_next_in_line():
    """When a place becomes free, the head of the line is presumed to have taken it."""
    plan = schedule()
    first, second = record("a"), record("b")
    plan.add(first, now=0.0)
    plan.add(second, now=0.0)
    assert plan.due(now=DELAY) is first
    plan.seen(first, Status.RUNNING, now=DELAY)
    assert plan.due(now=DELAY) is second
    plan.seen(second, Status.QUEUED, now=DELAY)
    assert second.due == DELAY + 1.8
    end(first)
    plan.settled(first, now=7.0, updated_at=1_000_006.0)
    assert DELAY < second.started < 7.0
    assert second.due == pytest.approx(max(7.0, second.started + 1.8 * 1.25))


def test_those_before_a_running_task_are_dated_like_it():
    """Who is presumed to run is asked when its own render may be over."""
    plan = schedule()
    tasks = [record(f"t{i}") for i in range(8)]
    for each in tasks:
        plan.add(each, now=0.0)
    for scout in (tasks[0], tasks[2]):
        assert scout in hand_out(plan, now=DELAY)
        plan.seen(scout, Status.RUNNING, now=DELAY)
    assert tasks[1].started == tasks[2].started == DELAY / 2
    assert tasks[1].due == tasks[2].due == pytest.approx(DELAY + 1.8 + 0.09 * DELAY / 2)


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
    [
        (Record(None), None),
        (record(tier="default"), None),
        (record(tier="flex"), "flex"),
        (record(extra={"service_tier": "flex"}), "flex"),
        (record(tier="flex", extra={"service_tier": "default"}), None),
        (record(extra={"service_tier": ["flex"]}), None),
    ],
)
def test_the_default_tier_has_no_name(one, tier):
    """A task of the default tier, or of an unknown one, is asked without naming a tier.

    A raw key tells it as well, and beats the field.
    """
    assert one.tier == tier


def test_the_providers_clock_is_read_from_its_answers():
    """Its times are told on ours at the latest, once an answer has shown how the two differ."""
    plan = schedule()
    one = record("t1")
    plan.add(one, now=0.0)
    assert plan.local(1_000_000.0) is None
    plan.seen(one, Status.RUNNING, now=8.0, updated_at=1_000_005.0)
    assert plan.local(1_000_000.0) == 3.0
    end(one)
    plan.settled(one, now=20.0, updated_at=1_000_018.0)
    assert plan.local(1_000_000.0) == pytest.approx(2.0, abs=0.01)


def test_nothing_is_due_in_an_empty_plan():
    """Without tasks there is nothing to ask and no time to wait for."""
    assert schedule().next_due() is None
    assert schedule().due(now=1e9) is None
    assert schedule().next_due() is None
    assert schedule().group(now=1e9) == []
