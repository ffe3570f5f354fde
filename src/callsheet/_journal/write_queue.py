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
        takes_back: The transaction whose plan its notes take back.
        error: Why it was not written.
    """

    notes: Sequence[Note]
    plan: Plan | None = None
    awaited: bool = True
    takes_back: Transaction | None = None
    error: CallsheetError | None = None

    @property
    def needless(self) -> bool:
        """Whether it takes back what was never written."""
        return self.takes_back is not None and self.takes_back.error is not None


@attrs.define(eq=False)
class WriteQueue:
    """Writes transactions in order, and keeps what nobody waits for while it cannot be written.

    A transaction that somebody waits for is never written before one that was kept: nothing new is begun
    while ids cannot be noted.
    """

    file: SqliteStore
    _kept: list[Transaction] = attrs.field(factory=list[Transaction], init=False)
    _failure: str | None = attrs.field(default=None, init=False)

    def write(self, transactions: Iterable[Transaction]) -> None:
        """Write what was kept, then *transactions*; blocks on the disk."""
        encoded = [*filter(_encoded, transactions)]
        waiting, self._kept = self._kept, []
        before, self._failure = self._failure, None
        self._store([*waiting, *encoded])
        self._log_change(before)

    def postpone(self, transactions: Iterable[Transaction], cause: Exception) -> None:
        """Take transactions that could not be tried at all, as for want of a thread."""
        before = self._failure
        self._fail(transactions, self._message(cause))
        self._log_change(before)

    def unwritten(self) -> JournalError | None:
        """What is kept and not written, if there is anything."""
        if not self._kept:
            return None
        kept = [note for each in self._kept for note in each.notes]
        ids = [
            f"{json.loads(value)} (row {row})"
            for row, kind, value in kept
            if kind is NoteKind.CREATED and value is not None
        ]
        named = f"; new ids among them: {', '.join(ids)}" if ids else ""
        return JournalError(f"{self._failure}; {len(kept)} notes are not on disk{named}")

    def _store(self, transactions: Sequence[Transaction]) -> None:
        """Write transactions together as far as possible, so that none fails for another's sake."""
        message = self._failure
        if message is None:
            transactions = [each for each in transactions if not each.needless]
            try:
                plans = [each.plan for each in transactions if each.plan is not None]
                self.file.write(plans, [note for each in transactions for note in each.notes])
            except Exception as exc:  # noqa: BLE001 - somebody waits, whatever it was
                if len(transactions) > 1:
                    middle = len(transactions) // 2
                    self._store(transactions[:middle])
                    self._store(transactions[middle:])
                    return
                message = self._message(exc)
            else:
                return
        self._fail(transactions, message)

    def _fail(self, transactions: Iterable[Transaction], message: str) -> None:
        """Tell those who wait, and keep the rest."""
        for transaction in transactions:
            if transaction.awaited:
                transaction.error = JournalError(message)
            elif not transaction.needless:
                self._kept.append(transaction)
                self._failure = message

    def _message(self, cause: Exception) -> str:
        return f"journal {self.file.path} cannot be written: {cause}"

    def _log_change(self, before: str | None) -> None:
        if self._failure is not None and before is None:
            log.warning("%s; nothing new is sent until it can", self._failure)
        if self._failure is None and before is not None:
            log.info("journal %s is written again", self.file.path)


def _encoded(transaction: Transaction) -> bool:
    """Whether the transaction can be put into message."""
    try:
        if transaction.plan is not None:
            transaction.plan.encode()
    except SpecError as error:
        transaction.error = error
    return transaction.error is None
