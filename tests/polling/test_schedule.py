"""The schedule: when each task is polled."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from callsheet._models.snapshot import Status
from callsheet._polling.pages import SIZE
from callsheet._polling.queue_model import LONGEST_SWEEP
from callsheet._polling.render_times import ENOUGH_ENDS
from callsheet._polling.schedule import ANSWER_TIME, MOST_MISSES_GAP, SWEEP, Schedule
from callsheet._state.record import Record
from making import LOST, NEVER, moments, pauses, record


DELAY = 5.0
OPEN = [Status.QUEUED, Status.RUNNING, Status.UNKNOWN]
limits = st.integers(1, 8)


def take_due(plan: Schedule, *, now: float) -> list[Record]:
    """All tasks that are due, taken one by one."""
    return list(iter(lambda: plan.due(now=now), None))


def end(one: Record, status: Status = Status.SUCCEEDED) -> None:
    """Give a task its outcome."""
    one.status = status
    one.settle(LOST)


def find_front(plan: Schedule, *, running: Record) -> None:
    """Poll until the head of the lane was seen waiting; only one task is *running*."""
    while (asked := plan.due(now=DELAY)) is not None:
        plan.seen(asked, Status.RUNNING if asked is running else Status.QUEUED, now=DELAY)


def schedule(delay: float = DELAY) -> Schedule:
    """A schedule without known render times."""
    return Schedule(delay=delay, page=4)


def record_like(**spec: object) -> Record:
    """A record whose spec has these fields."""
    return record("t", **spec)


def begin(plan: Schedule, one: Record, *, now: float) -> None:
    """Add a task and find it running at the same time."""
    plan.add(one, now=now)
    plan.seen(one, Status.RUNNING, now=now)


def end_after(plan: Schedule, renders: list[float], *, now: float = 900.0, **spec: object) -> None:
    """End one task *now* for each of these render times."""
    for seconds in renders:
        one = record_like(**spec)
        begin(plan, one, now=now - seconds)
        one.alive_at = now  # as if a poll had just shown it running
        end(one)
        plan.settled(one, now=now)


class ScheduleSteps(RuleBasedStateMachine):
    """Tasks of two tiers, which are taken when due and come back in every possible way."""

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
    def wait_until_a_task_is_due(self) -> None:
        """Time passes until the next due time."""
        due = self.plan.next_due()
        if due is not None:
            self.now = max(self.now, due)
            assert self.plan.next_due() <= self.now

    @rule()
    def take(self) -> None:
        """A waiting task is swept if its sweep is due; else the most overdue task is taken."""
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
    def take_list(self) -> None:
        """A list polls several tasks of one tier, each once and none that is being polled."""
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
    def wait_until_a_list_is_due(self) -> None:
        """Time passes until a list is worth sending, and then it is sent."""
        due = self.plan.next_due()
        if due is not None:
            self.now = max(self.now, due)
            self.take_list()

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), status=st.sampled_from(OPEN))
    def answer(self, which: int, status: Status) -> None:
        """A task that is being polled is answered."""
        each = self._back(which)
        if not each.settled:
            self.plan.seen(each, status, now=self.now)
            assert not each.asked
            assert each.due > self.now or status is Status.QUEUED

    @rule(each=records, status=st.sampled_from(OPEN))
    def answer_without_a_poll(self, each: Record, status: Status) -> None:
        """The status of a task becomes known without a poll."""
        if not each.settled:
            self.plan.seen(each, status, now=self.now)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), own_fault=st.booleans())
    def miss(self, which: int, own_fault: bool) -> None:  # noqa: FBT001
        """A poll gets no answer for its task."""
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
        """A task becomes due at once."""
        self.plan.nudge(each, now=self.now)
        assert each.settled or each.due == self.now

    @rule(limit=limits, tier=st.sampled_from([None, "flex"]))
    def fill_a_list(self, limit: int, tier: str | None) -> None:
        """A list is filled with waiting tasks of one tier, none of them twice."""
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
    def every_task_is_planned(self) -> None:
        """A waiting task without a due time will be swept, and the scout of its lane is polled."""
        for each in self.all:
            if each.settled or each.asked or each.due < NEVER:
                continue
            lane = self.plan._lane(each)
            scout = lane.scout()
            assert each.started is None
            assert scout.asked or scout.due < NEVER
            assert lane.sweep_at <= self.now + LONGEST_SWEEP

    @invariant()
    def each_polled_task_was_taken(self) -> None:
        """A task counts as being polled only if it was taken, and then it has no due time."""
        for each in self.all:
            if each.asked and not each.settled:
                assert each in self.out
                assert each.due == NEVER

    @invariant()
    def the_next_due_is_the_earliest(self) -> None:
        """The next due time is the earliest of all tasks and sweeps."""
        dues = [each.due for each in self.all if not each.settled and each.due < NEVER]
        dues += [lane.sweep_at for lane in self.plan._lanes() if lane.sweep_at < NEVER]
        assert self.plan.next_due() == min(dues, default=None)

    @invariant()
    def a_list_becomes_due(self) -> None:
        """While a task has a due time, a list is worth sending at some time."""
        pending = [each for each in self.all if not each.settled]
        if any(each.due < NEVER for each in pending):
            assert self.plan.next_due() < NEVER


TestSchedule = ScheduleSteps.TestCase
TestSchedule.settings = settings(max_examples=50)


@given(st.lists(moments, min_size=1, max_size=50))
def test_every_attached_task_is_taken_once_when_due(starts):
    """Attached tasks are taken in the order of their due times, each once."""
    plan, handed = schedule(), []
    for start in starts:
        plan.adopt(Record(None), now=start)
    while (due := plan.next_due()) is not None:
        assert plan.due(now=due - 1.0) is None
        handed += [due] * len(take_due(plan, now=due))
    assert handed == sorted(starts)


def test_only_the_first_task_of_a_lane_is_polled_soon():
    """A new task is polled after 1.8 s, and one behind others waits for a sweep."""
    plan = schedule()
    first, second = record("a"), record("b")
    plan.add(first, now=0.0)
    plan.add(second, now=0.0)
    assert (first.due, second.due) == (1.8, NEVER)
    assert plan._lane(second).sweep_at == SWEEP


def test_a_task_that_is_due_twice_is_in_a_list_once():
    """A task that was made due twice at the same time is in a list once."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    plan.nudge(one, now=0.0)
    assert plan.group(now=DELAY) == [one]


def test_a_nudged_task_is_listed_at_once():
    """A list that was planned for later is due at once if a task is nudged."""
    plan, one = schedule(), record("a")
    plan.adopt(one, now=0.0)
    plan.group(now=2.0)
    plan.seen(one, Status.RUNNING, now=2.0)
    assert plan.next_due() > 3.0
    plan.nudge(one, now=3.0)
    assert plan.next_due() == 3.0
    assert plan.group(now=3.0) == [one]


def test_a_poll_that_fails_in_an_outage_is_due_again_at_once():
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
    """Attached tasks that wait are polled again, even if other tasks are before them."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(3)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    for each in take_due(plan, now=0.0):
        plan.seen(each, Status.QUEUED, now=1.0)
    assert plan._lane(tasks[0]).sweep_at == 1.0 + SWEEP
    swept, now = set(), 1.0
    while len(swept) < 3 and now < 10 * LONGEST_SWEEP:
        now = plan.next_due()
        for each in take_due(plan, now=now):
            swept.add(each)
            plan.seen(each, Status.QUEUED, now=now)
    assert swept == set(tasks)


def test_a_scout_that_is_being_polled_gets_no_due_time():
    """If a scout is presumed to start while it is being polled, it gets no due time."""
    plan, (first, second) = schedule(), (record("a"), record("b"))
    plan.adopt(first, now=0.0)
    plan.adopt(second, now=0.0)
    take_due(plan, now=0.0)
    plan.seen(first, Status.RUNNING, now=1.0)
    plan.seen(second, Status.QUEUED, now=1.0)
    plan.nudge(second, now=2.0)
    assert plan.due(now=2.0) is second
    end(first)
    plan.settled(first, now=3.0)
    assert (second.asked, second.due, second.started) == (True, NEVER, 2.0)
    plan.seen(second, Status.RUNNING, now=4.0)
    assert 4.0 < second.due < NEVER


def test_a_list_holds_only_due_tasks_if_it_cannot_name_all_running_ones():
    """If more tasks run than a list can name, each is polled when it is due."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(6)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    take_due(plan, now=0.0)
    for number, each in enumerate(tasks):
        plan.seen(each, Status.RUNNING, now=1.0 + 3.0 * number)
    groups = []
    while (now := plan.next_due()) is not None:
        groups.append(plan.group(now=now))
    assert groups == [[each] for each in tasks]


def test_few_running_tasks_are_polled_together():
    """If one list can name all running tasks, it polls all of them when one is due."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(4)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    take_due(plan, now=0.0)
    for number, each in enumerate(tasks):
        plan.seen(each, Status.RUNNING, now=1.0 + number)
    assert set(plan.group(now=plan.next_due())) == set(tasks)
    assert plan.next_due() is None


@given(st.floats(0.1, 600.0), st.floats(0.0, 5000.0))
def test_the_gap_between_polls_follows_the_age_and_the_delay(delay, age):
    """Without known ends the gap is 1.8 s plus 9 % of the age, and at most 1.9 delays.

    Half of the longest gap and the time of an answer together are at most the delay.
    """
    plan, one = schedule(delay), record_like()
    begin(plan, one, now=0.0)
    plan.seen(one, Status.RUNNING, now=age)
    longest = max(delay, min(1.9 * delay, 2.0 * (delay - ANSWER_TIME)))
    assert one.due - age == pytest.approx(min(1.8 + 0.09 * age, longest))


@given(st.integers(0, ENOUGH_ENDS - 1), st.floats(0.0, 500.0))
def test_the_first_known_ends_make_gaps_longer(count, age):
    """Each of the first 15 ends adds a quarter to the gaps of later tasks, up to the same cap."""
    plan, one = schedule(), record_like()
    end_after(plan, [60.0] * count)
    begin(plan, one, now=1000.0)
    plan.seen(one, Status.RUNNING, now=1000.0 + age)
    gap = (1.8 + 0.09 * age) * (1.0 + count / 4.0)
    assert one.due - 1000.0 - age == pytest.approx(min(gap, 1.9 * DELAY))


@given(st.integers(ENOUGH_ENDS, 60), st.floats(30.0, 1000.0), st.floats(0.0, 2000.0))
def test_known_ends_give_the_time_of_the_first_look(count, render, age):
    """From 16 ends on the first look is at their one-percent age, and later gaps are 1.9 delays."""
    plan, one = schedule(), record_like()
    end_after(plan, [render] * count)
    first_look = plan._times_of(one).first_look
    assert 0.9 * render < first_look < render
    begin(plan, one, now=5000.0)
    assert one.due == pytest.approx(5000.0 + max(first_look, 1.9 * DELAY))
    plan.seen(one, Status.RUNNING, now=5000.0 + age)
    assert one.due == pytest.approx(5000.0 + max(first_look, age + 1.9 * DELAY))


def test_a_task_is_polled_by_the_ends_known_at_its_start():
    """Later ends do not change its polls, because only short renders may have ended until then."""
    plan, one = schedule(), record_like()
    begin(plan, one, now=0.0)
    end_after(plan, [60.0] * 20)
    plan.seen(one, Status.RUNNING, now=10.0)
    assert one.due == pytest.approx(10.0 + 1.8 + 0.09 * 10.0)


@pytest.mark.parametrize("asked", [False, True])
def test_three_early_ends_make_tasks_of_their_kind_due(asked):
    """Running tasks of the kind are planned without known ends, unless they are being polled."""
    plan, one, other = schedule(), record_like(), record_like(duration=10)
    end_after(plan, [60.0] * 20)
    begin(plan, one, now=1000.0)
    begin(plan, other, now=1000.0)
    assert one.due > 1050.0
    if asked:
        plan.nudge(one, now=1009.0)
        assert one in take_due(plan, now=1009.0)
    before = other.due
    for now in (1010.0, 1010.5):
        end_after(plan, [10.0], now=now)
        assert asked or one.due > 1050.0
    end_after(plan, [10.0], now=1011.0)
    assert one.due == (NEVER if asked else 1011.0)
    assert other.due <= before
    plan.seen(one, Status.RUNNING, now=1012.0)
    assert one.due == pytest.approx(1012.0 + 1.8 + 0.09 * 12.0)


@given(st.integers(0, ENOUGH_ENDS - 1), st.floats(0.0, 500.0))
def test_the_scout_is_polled_like_a_new_task(count, waited):
    """Its gap is 1.8 s plus 9 % of the time since the lane last moved, up to 1.9 delays."""
    plan, (first, scout) = schedule(), (record_like() for _ in range(2))
    end_after(plan, [60.0] * count)
    plan.add(first, now=1000.0)
    plan.add(scout, now=1000.0)
    plan.seen(first, Status.RUNNING, now=1000.0)
    plan.seen(scout, Status.QUEUED, now=1000.0 + waited)
    gap = (1.8 + 0.09 * waited) * (1.0 + count / 4.0)
    assert scout.due - 1000.0 - waited == pytest.approx(min(gap, 1.9 * DELAY))


@pytest.mark.parametrize("tells", [True, False])
def test_with_known_ends_the_scout_is_polled_before_its_first_look(tells):
    """A task that started right after a poll is found at half the age of its first look.

    This needs the provider's times of changes; without them the gaps stay short.
    """
    plan, (first, scout) = schedule(), (record_like() for _ in range(2))
    end_after(plan, [60.0] * ENOUGH_ENDS)
    plan.add(first, now=1000.0)
    plan.add(scout, now=1000.0)
    plan.seen(first, Status.RUNNING, now=1000.0, updated_at=1000.0 if tells else None)
    plan.seen(scout, Status.QUEUED, now=1301.0)
    half = plan._times_of(scout).first_look / 2.0
    assert scout.due == pytest.approx(1301.0 + (half if tells else 1.9 * DELAY))
    assert half > 1.9 * DELAY


def test_gaps_are_shorter_by_the_time_of_a_round_of_pages():
    """If running tasks fill several pages, polls begin early enough for the last page."""
    plan, tasks = schedule(), [record_like() for _ in range(2 * SIZE)]
    for each in tasks:
        plan.adopt(each, now=0.0)
    for each in tasks:
        plan.seen(each, Status.RUNNING, now=1.0)
    plan.seen(tasks[0], Status.RUNNING, now=500.0)
    assert tasks[0].due == pytest.approx(500.0 + 1.9 * DELAY - 2 * plan.list_gap)


def test_each_task_of_a_list_is_planned_by_its_own_answer():
    """A task that is presumed to run gets no due time before its own answer is applied."""
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


def test_a_very_long_task_is_polled_at_equal_gaps():
    """After the first look the gaps do not grow, however long the task runs."""
    plan, one = schedule(), record_like()
    end_after(plan, [60.0] * 20)
    begin(plan, one, now=1000.0)
    for number in range(50):
        now = 1100.0 + 100.0 * number
        plan.seen(one, Status.RUNNING, now=now)
        assert one.due == pytest.approx(now + 1.9 * DELAY)


def test_ends_count_only_for_tasks_of_the_same_kind():
    """The ends of short videos give no first look for long ones."""
    plan, short, long = schedule(), record_like(duration=5), record_like(duration=10)
    end_after(plan, [60.0] * 20, duration=5)
    begin(plan, short, now=1000.0)
    begin(plan, long, now=1000.0)
    assert short.due > 1050.0
    assert long.due == pytest.approx(1001.8)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.FAILED, None])
def test_a_task_that_ends_in_the_queue_frees_no_place(status):
    """It changes neither the running tasks nor the known render times."""
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


def test_tasks_presumed_after_a_waiting_one_wait_too():
    """A wrong presumption also undoes the later ones, and the lane keeps its order."""
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
def test_a_sweep_is_not_delayed_by_tasks_that_are_always_due(by_list):
    """A task in the middle of a lane is polled even if more are due than can be polled."""
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


def test_every_lane_has_its_share_of_the_room_in_a_list():
    """A long lane does not take all the room in a list from a short one."""
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


def test_a_task_with_unknown_start_gives_no_render_time():
    """If the start of an attached task is unknown, its end gives no render time."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(40)]
    for each in tasks:
        plan.adopt(each, now=1000.0)
    take_due(plan, now=1000.0)
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
    """A task presumed to run since 51 s that is found running since 30 s, and its presumed start.

    If the provider *beats*, the update time of a running task changes all the time.
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


def test_many_queued_tasks_that_were_cancelled_elsewhere_are_soon_known():
    """After one cancelled task the next is polled at once, because it may be cancelled, too."""
    plan, tasks = schedule(), [record(f"t{i}") for i in range(40)]
    for each in tasks:
        plan.add(each, now=0.0)
    find_front(plan, running=tasks[0])
    now, left = 50.0, set(tasks[1:])
    while left and now < 1e4:
        now = max(now, plan.next_due())
        for one in take_due(plan, now=now):
            if one is tasks[0]:
                plan.seen(one, Status.RUNNING, now=now)
                continue
            end(one, Status.CANCELLED)
            plan.settled(one, now=now)
            left.discard(one)
    assert now < 100.0


def test_if_the_head_ends_in_the_queue_the_next_task_is_polled_at_once():
    """This also holds if the head ran for a moment and waits again."""
    plan, (first, second) = schedule(), (record(f"t{i}") for i in range(2))
    plan.adopt(first, now=0.0)
    for status in (Status.QUEUED, Status.RUNNING, Status.QUEUED):
        plan.seen(first, status, now=1.0)
    plan.add(second, now=2.0)
    end(first, Status.FAILED)
    plan.settled(first, now=3.0)
    assert second.due == 3.0


def test_a_wrong_start_is_corrected_by_the_first_answer():
    """If tasks started in another order than presumed, the next answer corrects their starts."""
    other, _ = successor_seen(beats=False)
    assert other.started == pytest.approx(30.5, abs=1.5)


def test_changing_times_of_running_tasks_give_no_start():
    """The presumed start is kept, because the last change may be something else."""
    other, presumed = successor_seen(beats=True)
    assert other.started == presumed


def test_a_start_that_fits_the_answer_is_kept():
    """The provider's whole seconds do not move a start back and forth."""
    plan, (one, two) = schedule(), (record(f"t{i}") for i in range(2))
    plan.add(one, now=0.0)
    plan.add(two, now=0.0)
    plan.seen(one, Status.RUNNING, now=5.0, updated_at=1.0)
    plan.seen(two, Status.QUEUED, now=6.0)
    end(one)
    plan.settled(one, now=52.0, updated_at=51.0)
    presumed = two.started
    plan.seen(two, Status.RUNNING, now=60.0, updated_at=52.0)  # just after the other's end
    assert two.started == presumed
    plan.seen(two, Status.RUNNING, now=70.0, updated_at=54.0)  # as if the clock were measured again
    assert plan._steady


def test_no_task_starts_before_its_creation_because_an_older_one_runs():
    """A task that is presumed to run because an older one runs did not start before its create."""
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


def test_a_nudged_task_waits_at_most_two_seconds():
    """A callback is followed by a list within two seconds, even if the delay is ten minutes."""
    plan, one = schedule(600.0), record("t1")
    plan.add(one, now=0.0)
    plan.nudge(one, now=10.0)
    assert 10.0 <= plan.next_due() < 12.0


def test_ended_tasks_leave_no_due_times():
    """The schedule holds no tasks that were seen running by list and have ended."""
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
    """Tasks of another tier or model are in their own lane."""
    plan = schedule()
    other = record("c")
    other.model = "other"
    lanes = [record("a"), record("b", tier="flex"), other]
    for each in lanes:
        plan.add(each, now=0.0)
    assert [each.due for each in lanes] == [1.8] * 3


def test_an_end_gives_its_place_to_the_head_of_the_lane():
    """When a place becomes free, the head of the lane is presumed to run."""
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


def test_tasks_before_a_running_task_are_planned_like_it():
    """A task that is presumed to run is polled when its own render may be over."""
    plan = schedule()
    tasks = [record(f"t{i}") for i in range(8)]
    for each in tasks:
        plan.add(each, now=0.0)
    for scout in (tasks[0], tasks[2]):
        assert scout in take_due(plan, now=DELAY)
        plan.seen(scout, Status.RUNNING, now=DELAY)
    assert tasks[1].started == tasks[2].started == DELAY / 2
    assert tasks[1].due == tasks[2].due == pytest.approx(DELAY + 1.8 + 0.09 * DELAY / 2)


@given(st.integers(1, 2000))
def test_a_task_without_answers_is_polled_less_often(misses):
    """If only one task gets no answer, its gap doubles up to a minute, until it is answered."""
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
    """A task of the default tier, or of an unknown one, is polled without naming a tier.

    A raw key may also set the tier, and replaces the field.
    """
    assert one.tier == tier


def test_the_providers_clock_is_read_from_its_answers():
    """After one answer, the provider's times are converted to the latest possible own time."""
    plan = schedule()
    one = record("t1")
    plan.add(one, now=0.0)
    assert plan.local(1_000_000.0) is None
    plan.seen(one, Status.RUNNING, now=8.0, updated_at=1_000_005.0)
    assert plan.local(1_000_000.0) == 3.0
    end(one)
    plan.settled(one, now=20.0, updated_at=1_000_018.0)
    assert plan.local(1_000_000.0) == pytest.approx(2.0, abs=0.01)


def test_nothing_is_due_in_an_empty_schedule():
    """Without tasks there is nothing to poll and no time to wait for."""
    assert schedule().next_due() is None
    assert schedule().due(now=1e9) is None
    assert schedule().next_due() is None
    assert schedule().group(now=1e9) == []
