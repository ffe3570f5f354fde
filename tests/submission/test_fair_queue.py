"""The order in which specs are sent."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._submission.submissions import FairQueue


batches = st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 12)), min_size=1, max_size=6)


def always_ready(_: Record) -> bool:
    """Every record may be sent."""
    return True


def filled(sizes: list[tuple[int, int]]) -> tuple[FairQueue, list[tuple[int, list[Record]]]]:
    """A queue of batches of given priorities and sizes."""
    queue = FairQueue()
    lines = []
    for priority, size in sizes:
        group = Group()
        line = [Record(None, index=i, group=group) for i in range(size)]
        queue.put(line, priority=priority)
        lines.append((priority, line))
    return queue, lines


def drained(queue: FairQueue) -> list[Record]:
    """All records in the order in which they are taken."""
    taken = []
    while (record := queue.take(always_ready)) is not None:
        taken.append(record)
    return taken


@given(batches)
def test_each_record_is_taken_once_and_in_the_order_of_its_batch(sizes):
    """Each record is taken once, and those of one batch in their order."""
    queue, lines = filled(sizes)
    assert Counter(queue) == Counter(r for _, line in lines for r in line)
    taken = drained(queue)
    assert Counter(taken) == Counter(r for _, line in lines for r in line)
    for _, line in lines:
        assert [r for r in taken if r.group is line[0].group] == line
    assert list(queue) == []


@given(batches)
def test_a_higher_priority_goes_first(sizes):
    """While a record of a higher priority waits, none of a lower one is taken."""
    queue, lines = filled(sizes)
    priority_of = {r: priority for priority, line in lines for r in line}
    priorities = [priority_of[r] for r in drained(queue)]
    assert priorities == sorted(priorities, reverse=True)


@given(batches)
def test_batches_of_one_priority_share_evenly(sizes):
    """While two batches both wait, neither is ever two records ahead of the other."""
    queue, lines = filled([(0, size) for _, size in sizes])
    sent: Counter[object] = Counter()
    for record in drained(queue):
        sent[record.group] += 1
        waiting = [line[0].group for _, line in lines if sent[line[0].group] < len(line)]
        counts = [sent[group] for group in waiting]
        assert not counts or max(counts) - min(counts) <= 1


def test_a_small_batch_is_not_stuck_behind_a_large_one():
    """Ten records that come late are all among the next twenty-one."""
    queue, ((_, large),) = filled([(0, 10_000)])
    for _ in range(5):
        queue.take(always_ready)
    small = [Record(None, index=i, group=Group(total=10)) for i in range(10)]
    for record in small:
        record.group = small[0].group
    queue.put(small, priority=0)
    taken = [queue.take(always_ready) for _ in range(21)]
    assert set(small) <= set(taken)
    assert large[5] in taken


def test_a_line_that_has_to_wait_is_passed_over():
    """A record that may not start yet blocks only its own line, also one of a lower priority."""
    queue, ((_, first), (_, second)) = filled([(1, 2), (0, 2)])
    assert queue.take(lambda r: r.group is second[0].group) is second[0]
    assert queue.take(lambda _: False) is None
    assert drained(queue) == [*first, second[1]]


def test_records_without_a_group_share_a_line():
    """Single specs share one turn, beside each batch."""
    queue, ((_, batch),) = filled([(0, 3)])
    singles = [Record(None, index=i) for i in range(3)]
    queue.put(singles, priority=0)
    taken = drained(queue)
    assert [r.group is None for r in taken] == [False, True] * 3
    assert [r for r in taken if r.group is None] == singles
    assert [r for r in taken if r.group] == batch


def test_putting_no_records_leaves_nothing_behind():
    """An empty group has no line, so the queue stays empty."""
    queue, _ = filled([(0, 3), (1, 2)])
    drained(queue)
    queue.put([], priority=3)
    assert not queue
    assert drained(queue) == list(queue) == []
