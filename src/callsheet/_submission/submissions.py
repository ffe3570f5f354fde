"""All submissions of a client, and the ways to find one: its queue, its record, its tokens."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs

from callsheet._state.fate import Fate
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._submission.states import Context, State, Submission
from callsheet._submission.transition import nothing_awaited, step


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from callsheet._submission.effects import Effect
    from callsheet._submission.submission_events import Event


FRESH = Submission()
"""A spec that has just been queued. All of them share this value, so a queued spec costs little."""

MOST_STAND_INS = 1000
"""Most specs that are remembered after their end, because news of another task may still come."""

_UNDER_WAY = frozenset({State.WAITING, State.NOTING, State.IN_FLIGHT})
_ENDED = frozenset({State.ACCEPTED, State.ENDED})


@attrs.define(eq=False)
class FairQueue:
    """Records that wait to be sent, in one line for each group.

    The lines of the highest priority take turns, one record each, so that a small batch does not
    wait for a large one. A lower priority waits until the higher ones have nothing to send. Records
    without a group share a line.
    """

    _levels: dict[int, dict[object, deque[Record]]] = attrs.field(
        factory=dict[int, dict[object, deque[Record]]], init=False
    )

    def __bool__(self) -> bool:
        return bool(self._levels)

    def __iter__(self) -> Iterator[Record]:
        """All records that wait, line by line, highest priority first."""
        for priority in sorted(self._levels, reverse=True):
            for line in self._levels[priority].values():
                yield from line

    def put(self, records: Sequence[Record], *, priority: int) -> None:
        """Add records of one group to the end of its line, all in one step."""
        if records:
            lines = self._levels.setdefault(priority, {})
            lines.setdefault(records[0].group, deque()).extend(records)

    def take(self, ready: Callable[[Record], bool]) -> Record | None:
        """Remove and return the next record, skipping lines whose first record is not *ready*."""
        for priority in sorted(self._levels, reverse=True):
            lines = self._levels[priority]
            group = next((each for each, line in lines.items() if ready(line[0])), self)
            if group is self:
                continue
            line = lines.pop(group)
            record = line.popleft()
            if line:
                lines[group] = line  # behind the others of this priority
            elif not lines:
                del self._levels[priority]
            return record
        return None


@attrs.define(eq=False)
class Submissions:
    """The submissions, each under its record.

    Everything but `_by_record` only answers questions faster: it follows from the states, and
    `replace` keeps it so. A submission is dropped as soon as nothing more can be told of it.

    Attributes:
        waiting: Records in the queue, those included that have ended there and are dropped later.
    """

    waiting: int = attrs.field(default=0, init=False)
    _by_record: dict[Record, Submission] = attrs.field(factory=dict[Record, Submission], init=False)
    _by_token: dict[str, tuple[Record, int]] = attrs.field(
        factory=dict[str, tuple[Record, int]], init=False
    )
    _under_way: dict[Record, None] = attrs.field(factory=dict[Record, None], init=False)
    """Those with an attempt whose worker runs, in the order in which they were taken."""
    _stand_ins: deque[Record] = attrs.field(factory=deque[Record], init=False)
    """Records under which the attempts of specs are kept after their end, the oldest first."""
    _queue: FairQueue = attrs.field(factory=FairQueue, init=False)
    _front: deque[Record] = attrs.field(factory=deque[Record], init=False)
    """Records that are sent once more. They come before the queue."""

    def __iter__(self) -> Iterator[Record]:
        """All records that are kept here, in a copy: the caller may change them meanwhile."""
        return iter(tuple(self._by_record))

    def of(self, record: Record) -> Submission | None:
        """What is known of a record; ``None`` if it is not kept here, or not any longer."""
        return self._by_record.get(record)

    def by_token(self, token: str) -> tuple[Record, int] | None:
        """The record and the number of the attempt that carries this token."""
        return self._by_token.get(token)

    def count(self) -> Counter[State]:
        """How many specs stand in each state, but for those that have their task or their end."""
        return Counter(
            submission.state
            for submission in self._by_record.values()
            if submission.state not in _ENDED
        )

    def queued(self) -> list[Record]:
        """The records that wait in the queue, in the order in which they may be taken."""
        return [each for each in (*self._front, *self._queue) if self._is_queued(each)]

    def with_token(self) -> dict[str, tuple[Record, int]]:
        """All tokens that are kept, with the record and the number of their attempt."""
        return self._by_token

    def put(self, records: Sequence[Record], *, priority: int = 0) -> None:
        """Add new records, which are queued. A group is taken in order."""
        self._by_record.update(dict.fromkeys(records, FRESH))
        self._queue.put(records, priority=priority)
        self.waiting += len(records)

    def put_first(self, record: Record) -> None:
        """Put a record that is to be sent once more before all others."""
        self._front.append(record)
        self.waiting += 1

    def take(self, *, most: int, most_ready: int) -> Record | None:
        """Remove and return the next record of the queue; ``None`` if none may start now.

        Args:
            most: Most records whose attempt is under way, >= 1.
            most_ready: Most of these that have not been sent once, >= 1.
        """
        if len(self._under_way) >= most or self._ready() >= most_ready:
            return None
        while self._front:
            record = self._front.popleft()
            self.waiting -= 1
            if self._is_queued(record):
                return record
        while (taken := self._queue.take(self._may_leave)) is not None:
            self.waiting -= 1
            if self._is_queued(taken):
                return taken
        return None

    def _may_leave(self, record: Record) -> bool:
        """Whether a record may leave the queue now.

        The first create of each group and model goes alone. So a wrong key or a closed model costs
        one request, and not one for each spec of the batch.
        """
        if not self._is_queued(record):
            return True  # it has ended meanwhile, and is dropped
        group, model = record.group, record.model
        if not isinstance(group, Group) or model in group.accepted:
            return True
        if group.stopped and group.fatal_error_of(model) is not None:
            return True
        return not any(each.group is group and each.model == model for each in self._under_way)

    def apply(
        self, record: Record, event: Event, context: Context
    ) -> tuple[Submission, tuple[Effect, ...]] | None:
        """Take an event to the state machine, and keep what is known after it.

        Returns:
            The submission after the event, and what is to be done; ``None`` if the record is not
            kept here, because nothing more was awaited of it.
        """
        before = self._by_record.get(record)
        if before is None:
            return None
        after, effects = step(before, event, context)
        self.replace(record, after)
        return after, effects

    def replace(self, record: Record, submission: Submission) -> None:
        """Note what is known of a record now."""
        before = self._by_record.get(record, FRESH)
        if submission.state in _UNDER_WAY:
            self._under_way.setdefault(record)
        else:
            self._under_way.pop(record, None)
        if submission.attempts is not before.attempts:
            self._drop_tokens(record, before)
        # A stand-in stays where it is, until newer ones take its place.
        over = submission.state in _ENDED and nothing_awaited(submission) and not record.surplus
        if over:
            self._by_record.pop(record, None)
            self._drop_tokens(record, submission)
            if record.tells_token or any(each.fate is Fate.ABSENT for each in submission.attempts):
                self._stand_in(record, submission)
            return
        self._by_record[record] = submission
        if submission.attempts is not before.attempts:
            self._index_tokens(record, submission)

    def keep(self, record: Record, submission: Submission) -> None:
        """Keep a submission, although nothing more was awaited of it so far."""
        self._by_record[record] = submission
        self._index_tokens(record, submission)

    def _index_tokens(self, record: Record, submission: Submission) -> None:
        for attempt in submission.attempts:
            if attempt.token is not None:
                self._by_token[attempt.token] = record, attempt.n

    def _stand_in(self, record: Record, submission: Submission) -> None:
        """Keep what is known of a record that is dropped, under a record of its own.

        A list may have been wrong when it proved that an attempt made nothing. A gateway may repeat
        a create, or refuse one that has made a task. Then a callback or a later look tells of a
        task, and the task is billed. The record itself is not kept, so that a client that runs for
        long does not hold the outcomes of all its specs.
        """
        kept = Record(record.spec, index=record.index, model=record.model, surplus=True)
        # The errors are left out, because a traceback holds on to the record.
        attempts = tuple(attrs.evolve(each, error=None) for each in submission.attempts)
        kept.row = record.row
        self.keep(kept, attrs.evolve(submission, attempts=attempts))
        self._stand_ins.append(kept)
        if len(self._stand_ins) > MOST_STAND_INS:
            oldest = self._stand_ins.popleft()
            self._drop_tokens(oldest, self._by_record.pop(oldest, FRESH))

    def _drop_tokens(self, record: Record, submission: Submission) -> None:
        for attempt in submission.attempts:
            token = attempt.token or ""
            # If the record was kept again, the token is its own and not that of its stand-in.
            if self._by_token.get(token) == (record, attempt.n):
                del self._by_token[token]

    def _ready(self) -> int:
        """How many of those under way are prepared, or wait for their first turn."""
        ready = 0
        for record in self._under_way:
            submission = self._by_record[record]
            ready += submission.attempts[-1].fate is Fate.READY
        return ready

    def _is_queued(self, record: Record) -> bool:
        submission = self._by_record.get(record)
        return submission is not None and submission.state is State.QUEUED
