"""One spec, from its submission to its outcome."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

import attrs

from callsheet._models.outcome import Outcome
from callsheet._models.snapshot import (
    Packed,
    Snapshot,
    Status,
    Video,
    is_compressed,
    pack,
    packed_updated_at,
    unpack,
)
from callsheet._models.spec import TaskSpec, in_body
from callsheet._models.spend import Estimate
from callsheet._wire import TOKEN
from callsheet._wire.kept_answer import KeptAnswer, unpack_kept, unpack_video
from callsheet._wire.lenient import text
from callsheet.errors import CallsheetError, SpecError


_MARK = "safety_identifier"
"""The field by which a list can show whose a task is."""


@attrs.define(eq=False)
class Observable:
    """Its list of callbacks is made at the first waiter, so that a million of these stay small."""

    _waiters: list[Callable[[], None]] | None = attrs.field(default=None, init=False)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call *callback* once, at the next `wake`."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """Remove a callback, if it is still there."""
        if self._waiters is not None and callback in self._waiters:
            self._waiters.remove(callback)

    def wake(self) -> None:
        """Call all callbacks and remove them."""
        waiters, self._waiters = self._waiters, None
        for callback in waiters or ():
            callback()


class Listener(Protocol):
    """Is called at every change of a record; a group of records is one."""

    def moved(self, record: Record, before: Status | None) -> None:
        """The record got an id, or another status."""

    def settled(self, record: Record, before: Status | None) -> None:
        """The record has its outcome."""


@attrs.define(eq=False)
class Record(Observable):
    """One spec and the task that is made from it. Slots only: there may be a million.

    Attributes:
        spec: The spec; ``None`` for a task that was attached by id.
        index: Its position in its group.
        model: The resolved model.
        group: Is called at its changes.
        task_id: The provider's id, once there is one.
        status: The last known status; ``None`` without an id.
        deadline: When waiting ends, on the client's clock.
        due: When it is to be polled next; set by the schedule.
        asked: Whether a poll of it is in flight or queued; set by the schedule.
        started: When it was first known or presumed to run; set by the schedule.
        alive_at: When it was last known not to have ended; set by the schedule.
        taught: Ends of its kind that were known when it began; set by the schedule.
        unseen: Whether it was attached and no answer has shown it yet; set by the schedule.
        surplus: Whether it is watched for its money alone: its spec has another task or an end.
        row: Its number in the journal; ``None`` without a journal.
        twin: The next record of the same task; set by the registry.
        misses: Polls in a row without news of it; set by the schedule.
        refusals: Those of them that refused its id or showed no video; set by the planner.
        refused_since: When the first of these came, or a poll of it failed after that; set by the
            planner.
        known: Whether its task is known to exist; set by the registry.
    """

    spec: TaskSpec | None
    index: int = 0
    model: str | None = None
    group: Listener | None = None
    task_id: str | None = None
    status: Status | None = None
    deadline: float = float("inf")
    due: float = float("inf")
    asked: bool = False
    started: float | None = None
    alive_at: float = 0.0
    unseen: bool = False
    taught: int = 0
    misses: int = 0
    refusals: int = 0
    refused_since: float = 0.0
    known: bool = False
    surplus: bool = False
    row: int | None = None
    _answer: Packed | Snapshot | Estimate | SpecError | None = attrs.field(default=None, init=False)
    """One slot for two values: until the first answer it holds the estimate, which is not read once
    the task has an id. A second slot would cost 16 bytes for every pending task."""
    _end: Literal[True] | CallsheetError | None = attrs.field(default=None, init=False)
    twin: Record | None = attrs.field(default=None, init=False)

    @property
    def tier(self) -> str | None:
        """The service tier of its task, ``None`` for the default one. A list shows one tier."""
        spec = self.spec
        if spec is None or (spec.service_tier is None and not spec.extra):  # nearly all of them
            return None
        tier = in_body(spec, "service_tier")
        return tier if isinstance(tier, str) and tier != "default" else None

    @property
    def has_own_mark(self) -> bool:
        """Whether the caller has set the ``safety_identifier``, even to nothing.

        Then lists show the caller's value, and no token of ours is sent in that field.
        """
        return self.spec is not None and _MARK in (self.spec.extra or {})

    @property
    def own_mark(self) -> str | None:
        """The caller's ``safety_identifier`` as lists show it; ``None`` if they show none."""
        extra = None if self.spec is None else self.spec.extra
        return text((extra or {}).get(_MARK))

    @property
    def tells_token(self) -> bool:
        """Whether the callback URL of its spec carries the token, so that a callback tells it."""
        url = None if self.spec is None else self.spec.callback_url
        return isinstance(url, str) and TOKEN in url

    @property
    def snapshot(self) -> Snapshot | None:
        """The last answer about the task; answers that say it is queued are not kept."""
        match self._answer:
            case Packed() as kept:
                return unpack_kept(kept) if is_compressed(kept) else unpack(kept)
            case Snapshot() as snapshot:
                return snapshot
            case _:
                return None

    @snapshot.setter
    def snapshot(self, snapshot: Snapshot | None) -> None:
        self._answer = None if snapshot is None else pack(snapshot)

    @property
    def updated_at(self) -> float | None:
        """The provider's time of the last change, as in `snapshot`."""
        match self._answer:
            case Packed() as kept if not is_compressed(kept):
                return packed_updated_at(kept)
            case _:
                snapshot = self.snapshot
                return None if snapshot is None else snapshot.updated_at

    @property
    def estimate(self) -> Estimate | SpecError | None:
        """What its task may cost, or why that is unknown. ``None`` after the first answer."""
        return self._answer if isinstance(self._answer, (Estimate, SpecError)) else None

    @estimate.setter
    def estimate(self, estimate: Estimate | SpecError) -> None:
        self._answer = estimate

    def share(self, other: Record) -> None:
        """Take over the answer of another record of the same task."""
        self._answer = other._answer

    @property
    def settled(self) -> bool:
        """Whether it has its outcome."""
        return self._end is not None

    @property
    def succeeded(self) -> bool:
        """Whether it ended with a video."""
        return self._end is True

    @property
    def error(self) -> CallsheetError | None:
        """Why it ended without a video, if it did."""
        return None if self._end is True else self._end

    @property
    def video(self) -> Video | None:
        """Its video, if it ended with one."""
        snapshot = self.snapshot if self._end is True else None
        return None if snapshot is None else Video.from_snapshot(snapshot)

    @property
    def outcome(self) -> Outcome:
        """How it ended.

        Raises:
            ValueError: It has not ended.
        """
        if self._end is None:
            msg = "the task has no outcome yet"
            raise ValueError(msg)
        video: Video | Packed | Callable[[], Video] | None
        match self._answer if self._end is True else None:
            case Snapshot() as snapshot:
                video = Video.from_snapshot(snapshot)
            case Packed() as kept:
                video = partial(unpack_video, kept) if is_compressed(kept) else kept
            case _:
                video = None
        return Outcome(
            index=self.index,
            spec=self.spec,
            task_id=self.task_id,
            video=video,
            error=self.error,
        )

    def move(self, status: Status) -> None:
        """Take a status that is not terminal."""
        before, self.status = self.status, status
        if before is not status and self.group is not None:
            self.group.moved(self, before)

    def lose_id(self) -> None:
        """Forget an id that is not that of its task, with all that was said of it."""
        before, self.status = self.status, None
        self.task_id, self._answer = None, None
        if self.group is not None:
            self.group.moved(self, before)

    def settle(self, result: Video | CallsheetError, status: Status | None = None) -> bool:
        """Take the outcome; return whether it is the first one. Later ones change nothing."""
        if self._end is not None:
            return False
        before = self.status
        if isinstance(result, Video):
            self.snapshot, self._end = result.snapshot, True
        else:
            self._end = result
        self.status = status or self.status
        if self.group is not None:
            self.group.settled(self, before)
        self.wake()
        return True

    def restore(self, answer: KeptAnswer, error: CallsheetError | None) -> None:
        """Take the outcome that an earlier process has known, with the answer that it comes from.

        The answer is kept compressed: a journal may hold a hundred thousand of them.
        """
        self.task_id, self._answer = answer.task_id, answer.pack()
        self.move(Status.QUEUED)
        before, self._end, self.status = self.status, error or True, answer.status
        if self.group is not None:
            self.group.settled(self, before)
