"""The registry keeps its rules, whatever answers come in whatever order."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from callsheet._models.snapshot import Status
from callsheet._models.spec import TaskSpec
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._state.registry import DEFAULT_EXPIRY, EXPIRY_GRACE, Registry
from callsheet.errors import (
    CallsheetError,
    NotSubmittedError,
)
from making import LOST, UNKNOWN_ID, snapshot


BUCKET = 60.0
IDS = st.sampled_from([f"cgt-{i}" for i in range(6)])
EXPIRIES = st.none() | st.integers(3600, 259_200)
STATUSES = st.sampled_from(Status)


def result_of(each: Record) -> object:
    """The video or the error of a settled record."""
    return each.outcome.video if each.succeeded else each.error


@attrs.define(eq=False)
class RecordingGroup(Group):
    """A group that keeps which records ended, and checks that none moves after that."""

    ended: list[Record] = attrs.field(factory=list)

    def moved(self, record: Record, before: Status | None) -> None:
        """A record does not move after its end."""
        assert record not in self.ended
        super().moved(record, before)

    def settled(self, record: Record, before: Status | None) -> None:
        """A record ends only once."""
        assert record not in self.ended
        self.ended.append(record)
        super().settled(record, before)


class RegistrySteps(RuleBasedStateMachine):
    """Creates, attached ids, answers and deadlines in any order and number."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.group = RecordingGroup()
        self.now = 0.0
        self.all: list[Record] = []
        self.pending: dict[str, list[Record]] = {}
        self.forgotten: list[Record] = []
        self.results: dict[Record, tuple[object, Status | None]] = {}

    def _new(self, expiry: int | None) -> Record:
        spec = None if expiry is None else TaskSpec("boat", execution_expires_after=expiry)
        made = Record(spec, index=len(self.all), group=self.group)
        self.all.append(made)
        self.group.total += 1
        return made

    def _settled(self, settled: tuple[Record, ...], task_id: str) -> None:
        assert len(set(settled)) == len(settled)
        assert set(settled) == set(self.pending.pop(task_id, ()))
        self.results |= {each: (result_of(each), each.status) for each in settled}

    @rule(target=records, task_id=IDS, expiry=EXPIRIES)
    def create(self, task_id: str, expiry: int | None) -> Record:
        """The provider gives an id."""
        made = self._new(expiry)
        known = any(each.spec is not None for each in self.pending.get(task_id, ()))
        assert self.registry.is_of_spec(task_id) is known
        if task_id in self.pending:
            self.registry.adopt(made, task_id, now=self.now)
            self.pending[task_id].append(made)
            assert made.deadline == self.pending[task_id][0].deadline
        else:
            self.registry.adopt(made, task_id, now=self.now)
            assert made.deadline == self.now + (expiry or DEFAULT_EXPIRY) + EXPIRY_GRACE
            self.pending[task_id] = [made]
        return made

    @rule(target=records, task_id=IDS)
    def attach(self, task_id: str) -> Record:
        """The caller attaches an id."""
        made = self._new(None)
        new = self.registry.adopt(made, task_id, now=self.now)
        assert new is (task_id not in self.pending)
        self.pending.setdefault(task_id, []).append(made)
        assert made.deadline == self.pending[task_id][0].deadline
        assert made.status is self.pending[task_id][0].status
        return made

    @rule()
    def end_before_it_is_sent(self) -> None:
        """A spec ends without a task."""
        made = self._new(None)
        error = NotSubmittedError("stopped")
        assert made.settle(error)
        self.results[made] = (error, None)

    @rule(task_id=IDS, status=STATUSES, url=st.booleans(), at=st.none() | st.floats(0, 100))
    def answer(self, task_id: str, status: Status, url: bool, at: float | None) -> None:  # noqa: FBT001
        """A status answer comes in."""
        known = {each: each.status for each in self.pending.get(task_id, ())}
        said = snapshot(task_id, status, url=url, updated_at=at)
        settled = self.registry.apply(said)
        if status.terminal and (url or status is not Status.SUCCEEDED):
            self._settled(settled, task_id)
            assert all(each.status is status for each in settled)
            assert all(each.snapshot == said for each in settled)
        else:
            assert not settled
            if status.terminal:
                assert all(each.status is before for each, before in known.items())

    @rule(each=records, error=st.sampled_from([LOST, UNKNOWN_ID]))
    def give_up(self, each: Record, error: CallsheetError) -> None:
        """The client ends a record, and with it all records of its task."""
        if each in self.pending.get(each.task_id, ()):
            self._settled(self.registry.settle(each, error), each.task_id)
        elif each.settled:
            assert self.registry.settle(each, error) == ()

    @rule(each=records)
    def forget(self, each: Record) -> None:
        """A record is forgotten."""
        if self.pending.get(each.task_id) == [each]:
            self.registry.forget(each)
            self.forgotten += self.pending.pop(each.task_id)

    @rule(seconds=st.floats(0, 100_000))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def wait_for_the_next_deadline(self) -> None:
        """Time passes until a record is overdue."""
        deadline = self.registry.next_deadline()
        if deadline is not None:
            assert deadline > min(each.deadline for each in self.registry)
            self.now = max(self.now, deadline)
            assert self.registry.overdue(now=self.now)

    @rule()
    def end_the_overdue(self) -> None:
        """Overdue records are settled, and no others."""
        late = self.registry.overdue(now=self.now)
        for each, error in late:
            assert each.deadline <= self.now
            assert error.task_id == each.task_id
            self._settled(self.registry.settle(each, error), each.task_id)
        assert not self.registry.overdue(now=self.now)
        assert all(each.deadline > self.now - BUCKET for each in self.registry)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every record is pending, settled or forgotten."""
        first = [group[0] for group in self.pending.values()]
        assert list(self.registry) == first
        assert len(self.registry) == len(first)
        assert all(self.registry.get(each.task_id) is each for each in first)
        alive = [each for group in self.pending.values() for each in group]
        assert not any(each.settled for each in (*alive, *self.forgotten))
        assert len(alive) + len(self.results) + len(self.forgotten) == len(self.all)

    @invariant()
    def an_end_never_changes(self) -> None:
        """Results and terminal statuses stay."""
        for each, (result, status) in self.results.items():
            assert result_of(each) == result
            assert each.status is status

    @invariant()
    def records_of_one_task_agree(self) -> None:
        """All records of one task have the same status and answer."""
        for group in self.pending.values():
            assert len({each.status for each in group}) == 1
            assert all(each.snapshot == group[0].snapshot for each in group)

    @invariant()
    def the_group_counts_right(self) -> None:
        """The counts are those of the records."""
        progress = self.group.progress
        alive = [each.status for each in self.all if not each.settled]
        assert progress.total == len(self.all)
        assert progress.submitted == sum(each.task_id is not None for each in self.all)
        assert progress.queued == alive.count(Status.QUEUED)
        assert progress.running == len(alive) - progress.queued
        assert progress.done == len(self.results) == len(self.group.finished)
        assert progress.succeeded == sum(each.succeeded for each in self.all)
        assert self.group.unfinished == len(alive)
        assert self.group.unsubmitted == 0

    @invariant()
    def the_next_deadline_is_known(self) -> None:
        """There is a deadline while anything is pending."""
        deadline = self.registry.next_deadline()
        assert (deadline is None) is (not self.pending)
        if deadline is not None:
            first = min(each.deadline for each in self.registry)
            assert first < deadline <= first + BUCKET


TestRegistrySteps = RegistrySteps.TestCase
