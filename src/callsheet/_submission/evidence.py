"""The rules of evidence: when a list proves that a lost create made no task.

A wrong proof of absence pays for a task twice. So a list is believed about what is *not* in it only
if it is right about everything else that this client knows. It must show each task that it must
know, with the mark that was sent, and its total must not be too small.

These are decisions only. `callsheet._submission.list_scan` reads the pages, and the reconciler asks
and waits.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from callsheet._state.fate import Grade
from callsheet._state.moment import Moment
from callsheet._state.record import Record
from callsheet._submission.list_scan import LISTED, MARGIN, ListScan, LostCreate, Shown


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callsheet._state.registry import MadeTask


MOST_ASKED = 5
"""Most missing tasks that are asked for one by one. If more are missing, the list is wrong."""


class Doubt(enum.Enum):
    """A way in which a list contradicts what is known."""

    MISSING = "missing"
    """A task that exists is not shown. It may be shown later, so the list is read again."""
    TOTAL = "total"
    """The total is less than what was shown, or than what exists. The list is read again."""
    # The following ones stand until a look shows the same task as it must be.
    MARK = "mark"
    """A task shows another mark than it was sent with, so a gateway changes marks."""
    NO_MARK = "no mark"
    """A task shows no mark although it was sent with one. Lists may omit marks of its model."""
    REFUTED = "refuted"
    """The task of a create exists although the list has shown that there is none."""


@attrs.frozen
class Contradiction:
    """What a list contradicts.

    Attributes:
        kind: How.
        why: The same in words, for errors and events.
        task_id: The task in question, if it is one.
        model: Its model; only tasks of that model are in doubt if the kind is `Doubt.NO_MARK`.
    """

    kind: Doubt
    why: str
    task_id: str = ""
    model: str | None = None

    @classmethod
    def refuted(cls, task_id: str) -> Contradiction:
        """A task exists whose create the list has shown to have made none."""
        why = f"task {task_id} exists, and the list had not shown it"
        return cls(Doubt.REFUTED, why, task_id)

    def is_about(self, model: str | None) -> bool:
        """Whether tasks of a model are in doubt; ``None`` if the model cannot be known."""
        return self.kind is not Doubt.NO_MARK or None in {self.model, model} or self.model == model


@attrs.frozen
class Verdict:
    """What a look says about one lost create.

    Attributes:
        grade: How well its absence is proven; ``None`` if it is not.
        why: Why it is not.
        again: Whether another look may prove it.
    """

    grade: Grade | None = None
    why: str = ""
    again: bool = False


@attrs.frozen
class Presumed:
    """An absence that was presumed.

    Attributes:
        left: When the create had left.
        since: The same on the client's clock. For a create of another process it is the time when
            this one learned that its answer was lost, which is later.
        model: The model under which its task would be listed; ``None`` if that cannot be known.
    """

    left: Moment
    since: float
    model: str | None

    @classmethod
    def of(cls, lost: LostCreate) -> Presumed:
        """The absence of the task of a lost create."""
        since = lost.lost_at if lost.sent is None else lost.sent
        return cls(Moment(lost.sent, lost.at), since, lost.model)


@attrs.define(eq=False)
class Scope:
    """What is remembered about the lists of one service tier between two looks.

    Attributes:
        canary: The one record that may be sent again on a presumed absence, so that a wrong list
            costs one task and not one for each lost create.
        presumed: Absences that were presumed and may be taken back, by token.
        lasting: The contradictions that stand until the list shows the task as it must be.
        told: The kinds of contradiction of which the caller has been told.
    """

    canary: Record | None = None
    presumed: dict[str, Presumed] = attrs.field(factory=dict[str, Presumed])
    lasting: dict[tuple[Doubt, str], Contradiction] = attrs.field(
        factory=dict[tuple[Doubt, str], Contradiction]
    )
    told: set[Doubt] = attrs.field(factory=set[Doubt])

    def observe(self, scan: ListScan) -> None:
        """Note how a look has shown the tasks that were made here."""
        for shown in scan.shown.values():
            task, mark = shown.task, shown.snapshot.safety_identifier
            self.lasting.pop((Doubt.REFUTED, task.task_id), None)
            if task.mark is None:
                continue
            task.confirmed |= mark == task.mark
            if not task.confirmed:
                continue  # a claim may be about a task of another create
            for kind in (Doubt.MARK, Doubt.NO_MARK):
                self.lasting.pop((kind, task.task_id), None)
            if mark != task.mark:
                self.add(_changed(shown))
        for task_id in scan.nearly:
            why = f"task {task_id} shows our token changed"
            self.add(Contradiction(Doubt.MARK, why, task_id))
        for task_id in scan.exactly:
            self.lasting.pop((Doubt.MARK, task_id), None)

    def confirm_presumed(self, scan: ListScan, witnesses: Sequence[MadeTask]) -> None:
        """Let the presumed absences stand that a finished look has proven after all."""
        for token, absence in [*self.presumed.items()]:
            if any(_is_fresh(scan, task, absence) for task in witnesses):
                del self.presumed[token]

    def take_back(self, contradiction: Contradiction) -> list[str]:
        """Remove and return the tokens of presumed absences that a contradiction puts in doubt."""
        tokens = [
            token
            for token, absence in self.presumed.items()
            if contradiction.is_about(absence.model)
        ]
        for token in tokens:
            del self.presumed[token]
        return tokens

    def add(self, contradiction: Contradiction) -> None:
        """Keep a contradiction that stands until the list is right."""
        self.lasting[contradiction.kind, contradiction.task_id] = contradiction


def obliged(
    tasks: Iterable[MadeTask], *, deleted: Iterable[str], began: Moment, window: float
) -> list[MadeTask]:
    """The tasks that a list must show if it can be believed about what it does not show.

    They are confirmed, and were sent at least *window* seconds before the look began: a younger one
    may not be listed yet, just like the task of the lost create. And they are young enough for the
    list, were not deleted by this client, and were not denied by the provider. A task that was
    found in a list is none of them: it is known because the list shows it.

    Args:
        tasks: The tasks that were made here, of the tier of the list.
        deleted: Ids for which this client has sent a DELETE.
        began: When the look began.
        window: Seconds after which each task is in the list.
    """
    gone = frozenset(deleted)

    def must_be_shown(task: MadeTask) -> bool:
        if not task.confirmed or task.denied or task.listed or task.task_id in gone:
            return False
        if task.sent is None:
            return False
        by_wall = began.wall - task.sent.wall
        if task.sent.now is None or began.now is None:
            # Another process sent it, before this one learned of anything that is lost.
            return by_wall < LISTED - MARGIN
        age = began.now - task.sent.now  # on the clock that nobody can set
        return age >= window and max(age, by_wall) < LISTED - MARGIN

    return [task for task in tasks if must_be_shown(task)]


def missing(scan: ListScan, must_be_shown: Sequence[MadeTask]) -> list[MadeTask]:
    """The tasks that a finished look should have shown and has not."""
    return [task for task in must_be_shown if task.task_id not in scan.shown]


def contradictions(
    scan: ListScan, must_be_shown: Sequence[MadeTask], existing: Sequence[MadeTask]
) -> list[Contradiction]:
    """How this one look contradicts what is known. Another look may not.

    Args:
        scan: The look, which is finished.
        must_be_shown: What `obliged` has returned.
        existing: The tasks of `missing` that exist: a get has shown that, or they are too many to
            be asked for.
    """
    found = [
        Contradiction(Doubt.MISSING, f"the list does not show task {task.task_id}, which exists")
        for task in existing[:1]
    ]
    least = scan.least_total
    if scan.total_too_small or (least is not None and least < len(must_be_shown)):
        why = f"the list gives a total of {least}, but more tasks exist"
        found.append(Contradiction(Doubt.TOTAL, why))
    return found


def judge(
    scan: ListScan,
    lost: LostCreate,
    *,
    now: Sequence[Contradiction],
    lasting: Iterable[Contradiction],
    witnesses: Sequence[MadeTask],
    documented: bool,
) -> Verdict:
    """What a look that began after the window says about one create that it has not shown.

    Args:
        scan: The look.
        lost: The create, whose token is ours.
        now: What `contradictions` has returned.
        lasting: Contradictions that stand, also those of earlier looks and of other tiers.
        witnesses: What `obliged` has returned.
        documented: Whether the provider documents that lists show marks.
    """
    if not scan.finished:
        return Verdict(why="the list could not be read to its end", again=True)
    if now:
        return Verdict(why=now[0].why, again=True)
    claim = next((each.task.task_id for each in scan.shown.values() if _is_unsettled(each)), None)
    if claim is not None:
        unsettled = f"the list shows another mark on task {claim}, which may not be ours"
        return Verdict(why=unsettled, again=True)
    shows_marks = documented or any(_testifies(scan, task, lost) for task in witnesses)
    why = next(_doubts(scan, lost, lasting, shows_marks=shows_marks), None)
    if why is not None:
        return Verdict(why=why)
    absence = Presumed.of(lost)
    fresh = any(_is_fresh(scan, task, absence) for task in witnesses)
    return Verdict(Grade.WITNESSED if fresh else Grade.PRESUMED)


def _doubts(
    scan: ListScan, lost: LostCreate, lasting: Iterable[Contradiction], *, shows_marks: bool
) -> Iterator[str]:
    """Why a list is not believed, which the next look will not change."""
    for contradiction in lasting:
        if contradiction.is_about(lost.model):
            yield contradiction.why
    if not scan.covers(lost):
        yield "the list may not reach back to it"
    if scan.may_hide(lost):
        yield "a task without a mark may be its own"
    if not shows_marks:
        yield "no task of its model has shown its mark in the list"


def _is_unsettled(shown: Shown) -> bool:
    """Whether either the list is wrong about a task, or the answer that has brought its id was."""
    task = shown.task
    changed = task.mark is not None and shown.snapshot.safety_identifier != task.mark
    return changed and not task.confirmed


def _testifies(scan: ListScan, task: MadeTask, lost: LostCreate) -> bool:
    """Whether a task shows that the list has the marks of tasks of the lost create's model."""
    shown = scan.shown.get(task.task_id)
    if shown is None or task.mark is None:
        return False
    return shown.snapshot.safety_identifier == task.mark and lost.may_be_of(shown.snapshot.model)


def _is_fresh(scan: ListScan, task: MadeTask, absence: Presumed) -> bool:
    """Whether a task shows that the list was made after a lost create had left.

    A list that was kept from before that, or that stands still, cannot show such a task.
    """
    shown = scan.shown.get(task.task_id)
    if shown is None:
        return False
    if task.sent is not None and _is_after(task.sent, absence.left):
        return True
    changed = shown.snapshot.updated_at
    at = None if changed is None or scan.clock_wrong else scan.local(changed)
    return at is not None and at > absence.since + MARGIN


def _is_after(sent: Moment, left: Moment) -> bool:
    if sent.now is None:
        return left.now is None and sent.wall > left.wall + MARGIN
    # What another process has sent was sent before this process began.
    return left.now is None or sent.now > left.now


def _changed(shown: Shown) -> Contradiction:
    task_id, mark = shown.task.task_id, shown.snapshot.safety_identifier
    if mark is None:
        why = f"task {task_id} was sent with a mark, and the list shows none"
        return Contradiction(Doubt.NO_MARK, why, task_id, shown.snapshot.model)
    why = f"the list shows another mark on task {task_id} than was sent"
    return Contradiction(Doubt.MARK, why, task_id)
