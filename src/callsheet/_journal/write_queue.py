"""What is to be written into the journal, and what could not be written yet."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence

import attrs

from callsheet._journal.codec import Plan
from callsheet._journal.entries import Note, NoteKind
from callsheet._journal.sqlite import SqliteStore
from callsheet.errors import CallsheetError, JournalError, SpecError


log = logging.getLogger("callsheet")


@attrs.define(eq=False)
class Transaction:
    """What is written whole or not at all.

    Attributes:
        notes: Notes, in order.
        plan: Specs that the notes may be about.
        awaited: Whether somebody waits for it and is told if it fails; otherwise it is kept until
            it can be written.
        takes_back: The step whose plan its notes take back.
        error: Why it was not written.
    """

    notes: Sequence[Note]
    plan: Plan | None = None
    awaited: bool = True
    takes_back: Transaction | None = None
    error: CallsheetError | None = None

    @property
    def moot(self) -> bool:
        """Whether it takes back what was never written."""
        return self.takes_back is not None and self.takes_back.error is not None


@attrs.define(eq=False)
class WriteQueue:
    """Writes steps in order, and keeps what nobody waits for while it cannot be written.

    A step that somebody waits for is never written before one that was kept: nothing new is begun
    while ids cannot be noted.
    """

    file: SqliteStore
    _kept: list[Transaction] = attrs.field(factory=list[Transaction], init=False)
    _trouble: str | None = attrs.field(default=None, init=False)

    def write(self, steps: Iterable[Transaction]) -> None:
        """Write what was kept, then *steps*; blocks on the disk."""
        spelled = [*filter(_spelled, steps)]
        waiting, self._kept = self._kept, []
        before, self._trouble = self._trouble, None
        self._store([*waiting, *spelled])
        self._tell(before)

    def put_off(self, steps: Iterable[Transaction], cause: Exception) -> None:
        """Take steps that could not be tried at all, as for want of a thread."""
        before = self._trouble
        self._refuse(steps, self._words(cause))
        self._tell(before)

    def lost(self) -> JournalError | None:
        """What is kept and not written, if there is anything."""
        if not self._kept:
            return None
        kept = [note for step in self._kept for note in step.notes]
        ids = [
            f"{json.loads(value)} (row {row})"
            for row, kind, value in kept
            if kind is NoteKind.CREATED and value is not None
        ]
        named = f"; new ids among them: {', '.join(ids)}" if ids else ""
        return JournalError(f"{self._trouble}; {len(kept)} notes are not on disk{named}")

    def _store(self, steps: Sequence[Transaction]) -> None:
        """Write steps together as far as possible, so that none fails for another's sake."""
        words = self._trouble
        if words is None:
            steps = [step for step in steps if not step.moot]
            try:
                plans = [step.plan for step in steps if step.plan is not None]
                self.file.write(plans, [note for step in steps for note in step.notes])
            except Exception as exc:  # noqa: BLE001 - somebody waits, whatever it was
                if len(steps) > 1:
                    middle = len(steps) // 2
                    self._store(steps[:middle])
                    self._store(steps[middle:])
                    return
                words = self._words(exc)
            else:
                return
        self._refuse(steps, words)

    def _refuse(self, steps: Iterable[Transaction], words: str) -> None:
        """Tell those who wait, and keep the rest."""
        for step in steps:
            if step.awaited:
                step.error = JournalError(words)
            elif not step.moot:
                self._kept.append(step)
                self._trouble = words

    def _words(self, cause: Exception) -> str:
        return f"journal {self.file.path} cannot be written: {cause}"

    def _tell(self, before: str | None) -> None:
        if self._trouble is not None and before is None:
            log.warning("%s; nothing new is sent until it can", self._trouble)
        if self._trouble is None and before is not None:
            log.info("journal %s is written again", self.file.path)


def _spelled(step: Transaction) -> bool:
    """Whether the step can be put into words."""
    try:
        if step.plan is not None:
            step.plan.spell()
    except SpecError as error:
        step.error = error
    return step.error is None
