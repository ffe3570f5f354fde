"""Entries: what the journal knows about each spec, folded from its notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._journal.codec import decode_error
from callsheet._journal.notes import NoteKind
from callsheet._models.snapshot import Status
from callsheet._models.spec import TaskSpec
from callsheet._state.fate import OPEN, Fate, Grade
from callsheet._wire.kept_answer import KeptAnswer
from callsheet.errors import CallsheetError, TaskError


if TYPE_CHECKING:
    from collections.abc import Iterable

    from callsheet._journal.notes import StoredNote


@attrs.frozen
class AttemptEntry:
    """What the journal knows of one attempt.

    Attributes:
        n: Its number, from 1.
        token: The mark that its task carries; ``None`` if it carries none.
        at: Unix seconds just before its last try was sent.
        fate: What became of it: `Fate.OUT` if no note says. No note says whether it was looked
            for, so an attempt whose answer was lost is `Fate.OUT`, too.
        task_id: The id of its task, the first if it has made several.
        grade: How well it is proven that it made none, if it is `Fate.ABSENT`.
        tries: How many requests were sent for it, or were about to be.
        more_ids: The ids of further tasks with its token.
        listed: Whether a task of it was found in a list.
    """

    n: int
    token: str | None = None
    at: float | None = None
    fate: Fate = Fate.OUT
    task_id: str | None = None
    grade: Grade | None = None
    tries: int = 0
    more_ids: tuple[str, ...] = ()
    listed: bool = False

    @property
    def open(self) -> bool:
        """Whether it may have made a task, and nobody knows."""
        return self.fate in OPEN


@attrs.frozen(kw_only=True)
class Entry:
    """What the journal knows of one spec or attached task.

    Attributes:
        row: Its number in the journal.
        batch: Number of its batch, growing with time.
        index: Its position in the batch, from 0.
        name: The batch's name.
        spec: The spec, its paths absolute; ``None`` for a task that was attached by id.
        key: The caller's own id of it.
        metadata: The caller's own notes on it.
        attempts: Every attempt that may have been sent, in order. None is ever left out: a task
            that an early attempt made is billed, too.
        task_id: The id that the row goes by: the first one that was noted.
        status: The last status noted. The most recent ones may be missing after a crash.
        answer: The provider's last status answer, once the task has ended.
        error: The error that it ended with, if no answer of the provider is known.
        ended_at: When that or the answer was noted, in Unix seconds.
        file: The path of its downloaded video.
        cancelled: Whether the caller wants no task for it.
    """

    row: int
    batch: int
    index: int
    name: str | None = None
    spec: TaskSpec | None = None
    # Specs have no key and no metadata yet: both columns are there and empty, so that the file
    # keeps its form when specs get them.
    key: str | None = None
    metadata: Mapping[str, Any] | None = None
    attempts: tuple[AttemptEntry, ...] = ()
    task_id: str | None = None
    status: Status | None = None
    answer: KeptAnswer | None = None
    error: CallsheetError | None = None
    ended_at: float | None = None
    file: str | None = None
    cancelled: bool = False

    @property
    def open_attempts(self) -> tuple[AttemptEntry, ...]:
        """The attempts that may have made a task, and nobody knows."""
        return tuple(attempt for attempt in self.attempts if attempt.open)

    @property
    def task_is_over(self) -> bool:
        """Whether the provider has said that its task ended: it is not polled again.

        A task that this client stopped watching may continue there. A success without a video is
        billed, and its video may be available now.
        """
        answer = self.answer
        if answer is None:
            return isinstance(self.error, TaskError)
        return answer.status is not Status.SUCCEEDED or answer.video_url is not None

    @property
    def final(self) -> bool:
        """Whether its outcome is known, and no later process can change it."""
        if self.task_id is None and self.answer is None:
            return self.error is not None
        return self.task_is_over


@attrs.define
class _Attempt:
    """What the notes say of one attempt so far."""

    token: str | None = None
    at: float | None = None
    tries: int = 0
    refused: int = 0
    verdict: Fate = Fate.OUT
    grade: Grade | None = None
    ids: list[str] = attrs.field(factory=list[str])
    listed: bool = False

    def told(self, n: int) -> AttemptEntry:
        fate, grade = self.verdict, self.grade
        if self.ids:
            # An id is the strongest fact of all, whatever was believed before it.
            fate, grade = Fate.MADE, None
        elif self.refused and self.refused >= self.tries:
            # The refusal of an earlier try says nothing about the last one. And a try that is not
            # in the journal, because its note could not be written, was never sent.
            fate, grade = Fate.REFUSED, None
        return AttemptEntry(
            n,
            self.token,
            self.at,
            fate,
            self.ids[0] if self.ids else None,
            grade,
            self.tries,
            tuple(self.ids[1:]),
            self.listed,
        )


def fold(notes: Iterable[StoredNote]) -> Facts | None:
    """What the notes of one row say together; ``None`` if they say that it does not count.

    Facts climb, and any order of them gives the same, but for two cases. Where the last word counts
    by its nature (status, answer, error, file), it is the last note. And where a presumed absence
    meets a doubt, the later note holds, because such an absence may be taken back. In both cases
    each order is safe.

    Raises:
        LookupError: The kind is not that of a note.
        ValueError: The value is not that of a note.
        TypeError: As `ValueError`.
        CallsheetError: The note holds an answer that cannot be read.
    """
    facts = Facts()
    for _, kind, n, value, at in notes:
        if n is None:
            _OF_ROW[kind](facts, None if value is None else _read(value), at)
        else:
            attempt = facts.attempts.get(n)
            if attempt is None:
                attempt = facts.attempts[n] = _Attempt()
            _OF_ATTEMPT[kind](facts, attempt, None if value is None else _read(value), at)
    # Nobody was told of a row that was retracted. If an attempt was noted all the same, a task may
    # exist, and that is what counts.
    retracted = facts.retracted and not (facts.attempts or facts.task_id)
    return None if retracted or facts.pruned else facts


@attrs.define
class Facts:
    """The notes of one row so far; see `Entry` for the fields of the same names."""

    attempts: dict[int, _Attempt] = attrs.field(factory=dict[int, _Attempt])
    task_id: str | None = None
    status: Status | None = None
    answer: KeptAnswer | None = None
    error: CallsheetError | None = None
    ended_at: float | None = None
    file: str | None = None
    cancelled: bool = False
    retracted: bool = False
    pruned: bool = False

    @property
    def may_have_task(self) -> bool:
        """Whether a task was made or attached, or may have been made."""
        told = [each.told(n) for n, each in self.attempts.items()]
        return self.task_id is not None or any(each.open for each in told)

    def entry(
        self,
        row: int,
        batch: int,
        index: int,
        *,
        name: str | None = None,
        spec: TaskSpec | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Entry:
        """The entry of a row of the plan, with these facts."""
        return Entry(
            row=row,
            batch=batch,
            index=index,
            name=name,
            spec=spec,
            key=key,
            metadata=metadata,
            attempts=tuple([self.attempts[n].told(n) for n in sorted(self.attempts)]),
            task_id=self.task_id,
            status=self.status,
            answer=self.answer,
            # What the provider says of the task outweighs what a client has ended it with.
            error=None if self.answer is not None else self.error,
            ended_at=self.ended_at,
            file=self.file,
            cancelled=self.cancelled,
        )


def _read(value: str) -> Any:
    """The value of a note. `json.loads` looks for blanks around each, which are never there."""
    found, end = _NOTE_DECODER.raw_decode(value)
    if end != len(value):
        raise ValueError(f"{value!r} is no value of a note")
    return found


_NOTE_DECODER: Final = json.JSONDecoder()


def _attempt(_: Facts, attempt: _Attempt, value: Any, at: float | None) -> None:
    token, tries = value
    if tries >= attempt.tries:
        attempt.token, attempt.at, attempt.tries = token, at, tries


def _made(facts: Facts, attempt: _Attempt, value: Any, _: float | None) -> None:
    if value not in attempt.ids:
        attempt.ids.append(value)
    if facts.task_id is None:
        facts.task_id = value


def _found(facts: Facts, attempt: _Attempt, value: Any, at: float | None) -> None:
    _made(facts, attempt, value, at)
    attempt.listed = True


def _disowned(facts: Facts, attempt: _Attempt, value: Any, _: float | None) -> None:
    if value in attempt.ids:
        attempt.ids.remove(value)
    if facts.task_id == value:
        facts.task_id = None


def _refused(_: Facts, attempt: _Attempt, value: Any, _at: float | None) -> None:
    attempt.refused = max(attempt.refused, value)


def _absent(_: Facts, attempt: _Attempt, value: Any, _at: float | None) -> None:
    grade = Grade(value)
    if attempt.grade is not Grade.WITNESSED:
        attempt.verdict, attempt.grade = Fate.ABSENT, grade


def _doubted(_: Facts, attempt: _Attempt, _value: Any, _at: float | None) -> None:
    # A witnessed absence is final. A presumed one may be taken back.
    if attempt.grade is not Grade.WITNESSED:
        attempt.verdict, attempt.grade = Fate.DOUBTED, None


def _by_hand(facts: Facts, attempt: _Attempt, value: Any, at: float | None) -> None:
    if value is None:
        _absent(facts, attempt, Grade.WITNESSED.value, at)
    else:
        _made(facts, attempt, value, at)


def _attached(facts: Facts, value: Any, _: float | None) -> None:
    if facts.task_id is None:
        facts.task_id = value


def _answer(facts: Facts, value: Any, at: float | None) -> None:
    task_id, raw = value
    answer, known = KeptAnswer.of(raw, task_id=task_id), facts.answer
    if known is not None and known.status is Status.SUCCEEDED is not answer.status:
        return  # what has succeeded is billed, whatever is said of it later
    facts.answer = answer
    facts.status, facts.ended_at = facts.answer.status, at


def _ended(facts: Facts, value: Any, at: float | None) -> None:
    facts.error = decode_error(value)
    facts.ended_at = at if facts.answer is None else facts.ended_at


def _status(facts: Facts, value: Any, _: float | None) -> None:
    facts.status = Status(value)


def _file(facts: Facts, value: Any, _: float | None) -> None:
    facts.file = value


def _cancelled(facts: Facts, _value: Any, _at: float | None) -> None:
    facts.cancelled = True


def _retracted(facts: Facts, _value: Any, _at: float | None) -> None:
    facts.retracted = True


def _pruned(facts: Facts, _value: Any, _at: float | None) -> None:
    facts.pruned = True


_OF_ATTEMPT: Final[dict[str, Callable[[Facts, _Attempt, Any, float | None], None]]] = {
    NoteKind.ATTEMPT: _attempt,
    NoteKind.MADE: _made,
    NoteKind.FOUND: _found,
    NoteKind.DISOWNED: _disowned,
    NoteKind.BY_HAND: _by_hand,
    NoteKind.REFUSED: _refused,
    NoteKind.ABSENT: _absent,
    NoteKind.DOUBTED: _doubted,
}
"""By kind, what a note about an attempt changes."""

_OF_ROW: Final[dict[str, Callable[[Facts, Any, float | None], None]]] = {
    NoteKind.ANSWER: _answer,
    NoteKind.STATUS: _status,
    NoteKind.ATTACHED: _attached,
    NoteKind.ENDED: _ended,
    NoteKind.FILE: _file,
    NoteKind.CANCELLED: _cancelled,
    NoteKind.RETRACTED: _retracted,
    NoteKind.PRUNED: _pruned,
}
"""By kind, what a note about the row changes."""
