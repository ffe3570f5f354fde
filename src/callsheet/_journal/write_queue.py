"""The transactions that wait to be written into the journal."""

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
    """A plan and notes that are written together or not at all.

    Attributes:
        notes: Notes, in order.
        plan: Specs that the notes may be about.
        awaited: Whether a caller waits for it and gets the error if it fails. If not, it is kept
            until it can be written.
        takes_back: The transaction whose plan its notes cancel.
        error: Why it was not written.
    """

    notes: Sequence[Note]
    plan: Plan | None = None
    awaited: bool = True
    takes_back: Transaction | None = None
    error: CallsheetError | None = None

    @property
    def needless(self) -> bool:
        """Whether it cancels a plan that was never written, so that there is nothing to cancel."""
        return self.takes_back is not None and self.takes_back.error is not None


@attrs.define(eq=False)
class WriteQueue:
    """Writes transactions in order, and keeps those that cannot be written and have no waiter.

    A transaction with a waiter is never written before one that was kept. So no create is sent
    while the id of another cannot be written.
    """

    file: SqliteStore
    _kept: list[Transaction] = attrs.field(factory=list[Transaction], init=False)
    _failure: str | None = attrs.field(default=None, init=False)

    def write(self, transactions: Iterable[Transaction]) -> None:
        """Write what was kept, then *transactions*. This blocks on the disk."""
        encoded = [*filter(_encoded, transactions)]
        waiting, self._kept = self._kept, []
        before, self._failure = self._failure, None
        self._store([*waiting, *encoded])
        self._log_change(before)

    def postpone(self, transactions: Iterable[Transaction], cause: Exception) -> None:
        """Handle transactions that could not be tried, for example because no thread started."""
        before = self._failure
        self._fail(transactions, self._message(cause))
        self._log_change(before)

    def unwritten(self) -> JournalError | None:
        """The error that names what is kept and not written; ``None`` if that is nothing."""
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
        """Write transactions together. If that fails, write each half alone, down to single ones.

        So a transaction fails only because of itself.
        """
        message = self._failure
        if message is None:
            transactions = [each for each in transactions if not each.needless]
            try:
                plans = [each.plan for each in transactions if each.plan is not None]
                self.file.write(plans, [note for each in transactions for note in each.notes])
            except Exception as exc:  # noqa: BLE001 - a caller waits for the result, whatever failed
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
        """Give the error to those with a waiter, and keep the rest."""
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
    """Whether the plan of a transaction could be written as JSON; if not, it gets the error."""
    try:
        if transaction.plan is not None:
            transaction.plan.encode()
    except SpecError as error:
        transaction.error = error
    return transaction.error is None
