"""All tasks without an outcome, by id, and the latest tasks that were made here."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

import attrs

from callsheet._models.snapshot import Snapshot, Status, Video
from callsheet._models.spec import in_body
from callsheet._state.moment import Moment
from callsheet._state.record import Record
from callsheet.errors import (
    CallsheetError,
    NotFoundError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskFailedError,
    TaskRejectedError,
    TaskTimeoutError,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


DEFAULT_EXPIRY = 172_800.0
"""Seconds after which the provider expires a task that sets no expiry (Ark reference)."""

LONGEST_EXPIRY = 31_536_000.0
"""Seconds; a spec that was not checked may hold any value."""

EXPIRY_GRACE = 600.0
"""Seconds that the provider has after a task's expiry to report it."""

EXPIRIES_PER_TURN = 500
"""Most overdue records that one call returns."""

SAME_ANSWERS = 4
"""Answers in a row with the same other id after which it stands for the id that was asked for."""

MOST_MADE = 1000
"""Most tasks of one service tier that are remembered as made here."""

_BUCKET = 60.0


@attrs.define(eq=False)
class MadeTask:
    """What is known of a task that a create of this client made. It is kept after the task's end.

    A list that does not show it, or shows it changed, cannot prove that another task is absent.

    Attributes:
        task_id: Its id.
        n: The number of the attempt that made it.
        model: Its model.
        marked: Whether lists must show a mark on it.
        mark: The mark that they must show; ``None`` if there is none, or if it is not known here.
        sent: When its create was noted, just before it could leave; ``None`` if that is not known.
        confirmed: Whether an answer of the provider has named it since. Until then it is a claim:
            the answer to a create may bring an id that is wrong.
        denied: Whether the provider has said that no such task exists.
        proven: Whether its mark was shown with it, by a list, an answer or a callback. Then the id
            is certain.
        listed: Whether it was found in a list. It is known because that list shows it, so it says
            nothing about what the list does not show.
    """

    task_id: str
    n: int
    model: str | None
    marked: bool
    mark: str | None = None
    sent: Moment | None = None
    confirmed: bool = False
    denied: bool = False
    proven: bool = False
    listed: bool = False


@attrs.define
class Registry:
    """The pending records by task id. A settled record is removed.

    Attributes:
        made: The latest tasks that were made here, pending or ended, by service tier and id.
        shows_marks: Whether an answer has shown a task that was made here with its very mark.
    """

    made: dict[str | None, dict[str, MadeTask]] = attrs.field(
        factory=dict[str | None, dict[str, MadeTask]], init=False
    )
    shows_marks: bool = attrs.field(default=False, init=False)
    _told_as: dict[str, tuple[str, int]] = attrs.field(
        factory=dict[str, tuple[str, int]], init=False
    )
    """By the ids that were asked for, which others came back, and how many times in a row."""
    _stands_for: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    """Ids that were learned, and for which ids of a gateway they stand."""
    _pending: dict[str, Record] = attrs.field(factory=dict[str, Record], init=False)
    _deadlines: dict[int, set[Record]] = attrs.field(factory=dict[int, set[Record]], init=False)
    _buckets: list[int] = attrs.field(factory=list[int], init=False)
    _set_aside: dict[str, Record] = attrs.field(factory=dict[str, Record], init=False)
    """Tasks that are not watched, by id."""

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Record]:
        """All pending records, the oldest entry first. Do not change the registry meanwhile."""
        return iter(self._pending.values())

    def get(self, task_id: str) -> Record | None:
        """The pending record of a task, by its id or by the one under which answers speak of it."""
        found = self._pending.get(task_id)
        if found is None and self._stands_for:
            found = self._pending.get(self._stands_for.get(task_id, ""))
        return found

    def stands_for(self, asked: str, told: Snapshot) -> bool:
        """Whether an answer about another id than was asked for is about the same task.

        A gateway may give out ids of its own, and answer with those of its upstream. Such an id is
        learned when `SAME_ANSWERS` answers in a row hold it. Once one was learned, an answer that
        shows the task's own mark is enough. An answer about another task of ours is none of that.
        And an id that answers about two tasks hold stands for neither: something in between may
        give one answer to every question.
        """
        if asked not in self._pending or told.task_id in self._pending:
            return False
        if self._stands_for.get(told.task_id) == asked:
            return True
        made = self.made_task(asked)
        if made is None or self.made_task(told.task_id) is not None:
            return False
        first, times = self._told_as.get(asked, (told.task_id, 0))
        times = times + 1 if first == told.task_id else 1
        self._told_as[asked] = told.task_id, times
        shown = made.mark is not None and told.safety_identifier == made.mark
        if times < SAME_ANSWERS and not (shown and self._stands_for):
            return False
        told_for = (each for each, (other, _) in self._told_as.items() if other == told.task_id)
        if any(each != asked for each in told_for):
            return False
        self._stands_for[told.task_id] = asked
        # Remembered under this id, too. So it is that of no other task, also after its end.
        for tasks in self.made.values():
            if asked in tasks:
                tasks[told.task_id] = attrs.evolve(
                    made, task_id=told.task_id, confirmed=False, proven=True, listed=True
                )
        return True

    def listed_as(self, task_id: str) -> str:
        """The id under which lists show a task."""
        told, _ = self._told_as.get(task_id, ("", 0))
        return told if self._stands_for.get(told) == task_id else task_id

    def is_of_another(self, snapshot: Snapshot) -> bool:
        """Whether an answer shows that an id is not that of the task that was made for it.

        The answer to a create holds nothing of ours, so its id is a claim. The mark is what says
        whose a task is. Another mark counts only if answers are known to show the marks of this
        client: a gateway may replace all of them.
        """
        made, mark = self.made_task(snapshot.task_id), snapshot.safety_identifier
        if made is None or made.proven or made.mark is None or mark is None:
            return False
        if mark == made.mark:
            made.proven = self.shows_marks = True
            return False
        tasks = (task for tasks in self.made.values() for task in tasks.values())
        return self.shows_marks or any(task.mark == mark for task in tasks)

    def disown(self, record: Record) -> None:
        """Forget that an id is that of the record's task."""
        self.forget(record)
        made = self.made_task(record.task_id or "")
        if made is None:
            return
        of_create = (made.n, made.mark, made.sent)  # one of a gateway stands under two ids
        for tasks in self.made.values():
            same = [each for each in tasks.values() if (each.n, each.mark, each.sent) == of_create]
            for each in same if made.mark is not None else [made]:
                tasks.pop(each.task_id, None)

    def is_of_spec(self, task_id: str) -> bool:
        """Whether a task is that of a spec, pending or ended, and not only attached by its id."""
        if self.made_task(task_id) is not None:
            return True
        return any(each.spec is not None for each in self.records_of(task_id))

    def records_of(self, task_id: str) -> Iterator[Record]:
        """All records of a pending task."""
        first = self._pending.get(task_id)
        if first is not None:
            yield from self._twins(first)

    def made_task(self, task_id: str) -> MadeTask | None:
        """What is known of a task that was made here; ``None`` if it is not remembered."""
        return next((tasks[task_id] for tasks in self.made.values() if task_id in tasks), None)

    def remember(self, tier: str | None, task: MadeTask, *, keep_all: bool) -> None:
        """Remember a task that was made here. With *keep_all*, no older one is dropped for it."""
        tasks = self.made.setdefault(tier, {})
        tasks[task.task_id] = task
        if len(tasks) > MOST_MADE and not keep_all:
            # Two for one: the limit may have been passed while all were kept.
            for task_id in tuple(itertools.islice(tasks, 2)):
                del tasks[task_id]

    def set_aside(self, record: Record) -> None:
        """Do not watch a task until it is attached, but keep its record: its money stands there.

        A task that is attached already stays with the record of the attachment.
        """
        task_id = record.task_id or ""
        if self._pending.get(task_id) is record:
            self.forget(record)
            self._set_aside[task_id] = record

    def take_aside(self, task_id: str) -> Record | None:
        """Remove and return a record that was set aside."""
        return self._set_aside.pop(task_id, None)

    def adopt(self, record: Record, task_id: str, *, now: float) -> bool:
        """Enter the id of a task; return whether the task is new here.

        A second record of a pending task shares its polls and its outcome. An id without a spec may
        be wrong: its task is known to exist only after an answer has shown it.
        """
        first = self._pending.get(task_id)
        if first is None:
            self._add_pending(record, task_id, now=now)
            return True
        first.known = first.known or record.spec is not None
        if record.spec is None:
            record.spec, record.model = first.spec, first.model
        record.task_id, record.deadline = task_id, first.deadline
        record.twin, first.twin = first.twin, record
        record.share(first)
        record.move(first.status or Status.QUEUED)
        record.wake()
        return False

    def _add_pending(self, record: Record, task_id: str, *, now: float) -> None:
        record.task_id, record.known = task_id, record.spec is not None
        record.deadline = now + _expiry_of(record) + EXPIRY_GRACE
        self._pending[task_id] = record
        bucket = int(record.deadline // _BUCKET)
        if bucket not in self._deadlines:
            self._deadlines[bucket] = set()
            heapq.heappush(self._buckets, bucket)
        self._deadlines[bucket].add(record)
        record.move(Status.QUEUED)
        record.wake()

    def forget(self, record: Record) -> None:
        """Remove a pending record without an outcome: its task is not polled any more."""
        if record.task_id is not None and self._pending.get(record.task_id) is record:
            del self._pending[record.task_id]
            self._forget_deadline(record)
            if self._told_as:
                told, _ = self._told_as.pop(record.task_id, ("", 0))
                self._stands_for.pop(told, None)

    def apply(self, snapshot: Snapshot) -> tuple[Record, ...]:
        """Apply an answer; return the records that it settled, each once.

        An answer about a task that is not pending is ignored, and so is one that is older than the
        last one. A success without a URL settles nothing: the task must be read again.
        """
        record = self._pending.get(snapshot.task_id)
        if record is None:
            return ()
        record.known = True
        made = self.made_task(snapshot.task_id)
        if made is not None:
            made.confirmed = True
        if _is_older(snapshot, record):
            return ()
        if not snapshot.status.terminal:
            for each in self._twins(record):
                if snapshot.status is not Status.QUEUED:
                    each.snapshot = snapshot
                each.move(snapshot.status)
            return ()
        if snapshot.status is Status.SUCCEEDED and snapshot.video_url is None:
            return ()
        record.snapshot = snapshot
        for each in self._twins(record):
            each.share(record)
        return self.settle(record, result_of(snapshot), snapshot.status)

    def settle(
        self, record: Record, result: Video | CallsheetError, status: Status | None = None
    ) -> tuple[Record, ...]:
        """Settle all records of one task; return those that were not settled before."""
        first = self._pending.get(record.task_id or "")
        if first is not None and record in self._twins(first):
            record = first
        made = self.made_task(record.task_id or "")
        if made is not None and isinstance(result, NotFoundError):
            made.denied = True
        self.forget(record)
        return tuple(each for each in self._twins(record) if each.settle(result, status))

    def overdue(self, *, now: float) -> list[tuple[Record, TaskTimeoutError]]:
        """Some of the records whose deadline has passed, each with its error.

        A million may be overdue together, so settle these and call again until none are left.
        """
        if (first := self.next_deadline()) is None or first > now:
            return []
        late: list[tuple[Record, TaskTimeoutError]] = []
        for bucket in [b for b in self._deadlines if (b + 1) * _BUCKET <= now]:
            for record in itertools.islice(self._deadlines[bucket], EXPIRIES_PER_TURN - len(late)):
                waited = now - (record.deadline - EXPIRY_GRACE - _expiry_of(record))
                late.append((record, TaskTimeoutError(record.task_id, waited)))
        return late

    def next_deadline(self) -> float | None:
        """When `overdue` will return something, if nothing changes."""
        while self._buckets and self._buckets[0] not in self._deadlines:
            heapq.heappop(self._buckets)
        return (self._buckets[0] + 1) * _BUCKET if self._buckets else None

    def _forget_deadline(self, record: Record) -> None:
        bucket = int(record.deadline // _BUCKET)
        members = self._deadlines[bucket]
        members.discard(record)
        if not members:
            del self._deadlines[bucket]

    @staticmethod
    def _twins(record: Record) -> Iterator[Record]:
        each: Record | None = record
        while each is not None:
            following = each.twin
            yield each
            each = following


def _expiry_of(record: Record) -> float:
    spec = record.spec
    if spec is None or (spec.execution_expires_after is None and not spec.extra):
        return DEFAULT_EXPIRY
    own = in_body(spec, "execution_expires_after")
    usable = isinstance(own, (int, float)) and 0 < own < LONGEST_EXPIRY
    return own if usable else DEFAULT_EXPIRY


def _is_older(snapshot: Snapshot, record: Record) -> bool:
    if snapshot.status.terminal or snapshot.updated_at is None:
        return False
    known = record.updated_at
    return known is not None and snapshot.updated_at < known


def result_of(snapshot: Snapshot) -> Video | TaskError:
    """The video or the error that an answer with a terminal status stands for."""
    if snapshot.status is Status.SUCCEEDED:
        if snapshot.video_url is not None:
            return Video.from_snapshot(snapshot)
        return TaskFailedError(
            snapshot.task_id, None, "succeeded, but the answer holds no video URL"
        )
    code = snapshot.error.code if snapshot.error else None
    reason = snapshot.error.message if snapshot.error else ""
    if snapshot.status is Status.CANCELLED:
        return TaskCancelledError(snapshot.task_id, code, reason)
    if snapshot.status is Status.EXPIRED:
        return TaskExpiredError(snapshot.task_id, code, reason)
    if code is not None and "Sensitive" in code:
        return TaskRejectedError(snapshot.task_id, code, reason)
    return TaskFailedError(snapshot.task_id, code, reason)
