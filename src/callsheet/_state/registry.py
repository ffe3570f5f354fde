"""Every task that has no outcome yet, by id."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

import attrs

from callsheet._models.outcome import Video
from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import in_body
from callsheet._state.record import Record
from callsheet.errors import (
    CallsheetError,
    SubmissionUncertainError,
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
"""Seconds after which the provider expires a task that does not say otherwise (Ark reference)."""

LONGEST_EXPIRY = 31_536_000.0
"""Seconds; a spec that was never checked may hold anything."""

EXPIRY_GRACE = 600.0
"""Seconds beyond its expiry that the provider is given to say so."""

EXPIRIES_PER_TURN = 500
"""Most late records that are handed out together."""

_BUCKET = 60.0


@attrs.define
class Registry:
    """The pending records by task id. A settled record leaves it and lives on with its holders."""

    _pending: dict[str, Record] = attrs.field(factory=dict[str, Record], init=False)
    _deadlines: dict[int, set[Record]] = attrs.field(factory=dict[int, set[Record]], init=False)
    _buckets: list[int] = attrs.field(factory=list[int], init=False)

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Record]:
        """All pending records, the earliest added first; the registry must not change meanwhile."""
        return iter(self._pending.values())

    def get(self, task_id: str) -> Record | None:
        """The pending record of a task."""
        return self._pending.get(task_id)

    def add(self, record: Record, task_id: str, *, now: float) -> None:
        """Note the id that the provider gave to a new task.

        The caller may know it already and have brought it: then the two share polls and end.

        Raises:
            SubmissionUncertainError: A task of another spec has this id: two creates, one answer.
        """
        first = self._pending.get(task_id)
        if first is not None and any(each.spec is not None for each in self._twins(first)):
            raise SubmissionUncertainError(f"the provider gave the id {task_id} to two tasks")
        self.adopt(record, task_id, now=now)

    def adopt(self, record: Record, task_id: str, *, now: float) -> bool:
        """Note an id that the caller brought; tell whether the task is new here.

        A second record of one pending task shares its polls and its end. An id without a spec may
        be wrong: its task is known to exist only once an answer tells of it.
        """
        first = self._pending.get(task_id)
        if first is None:
            self._enter(record, task_id, now=now)
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

    def _enter(self, record: Record, task_id: str, *, now: float) -> None:
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
        """Drop a pending record without an outcome: nobody asks about its task any more."""
        if record.task_id is not None and self._pending.get(record.task_id) is record:
            del self._pending[record.task_id]
            self._forget_deadline(record)

    def apply(self, snapshot: Snapshot) -> tuple[Record, ...]:
        """Take what an answer says; return the records it settled, none twice.

        An answer about a task that is not pending, or older than one already taken, says nothing.
        A success without a URL settles nothing: it must be read again.
        """
        record = self._pending.get(snapshot.task_id)
        if record is None:
            return ()
        record.known = True
        if _older(snapshot, record):
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
        return self.settle(record, verdict(snapshot), snapshot.status)

    def settle(
        self, record: Record, result: Video | CallsheetError, status: Status | None = None
    ) -> tuple[Record, ...]:
        """End a record and those that share its task; return those that had not ended before."""
        first = self._pending.get(record.task_id or "")
        if first is not None and record in self._twins(first):
            record = first
        self.forget(record)
        return tuple(each for each in self._twins(record) if each.settle(result, status))

    def overdue(self, *, now: float) -> list[tuple[Record, TaskTimeoutError]]:
        """Some of the records whose deadline has passed, each with the error to settle it with.

        A million may be late together: there are more until this is empty.
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
        """When `overdue` will have something to say, if nothing changes."""
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
    own = None if record.spec is None else in_body(record.spec, "execution_expires_after")
    usable = isinstance(own, (int, float)) and 0 < own < LONGEST_EXPIRY
    return own if usable and own is not None else DEFAULT_EXPIRY


def _older(snapshot: Snapshot, record: Record) -> bool:
    if snapshot.status.terminal or snapshot.updated_at is None:
        return False
    known = record.snapshot
    return (
        known is not None
        and known.updated_at is not None
        and snapshot.updated_at < known.updated_at
    )


def verdict(snapshot: Snapshot) -> Video | TaskError:
    """What an answer with a terminal status means for the caller."""
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
