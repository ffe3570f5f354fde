"""The transactions that wait to be written into the journal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import attrs

from callsheet._journal.codec import PlanText, StoredNote, encode_plan
from callsheet._journal.notes import Attached, Made, Note, Plan
from callsheet._journal.sqlite import SqliteStore
from callsheet.errors import CallsheetError, JournalError, SpecError


log = logging.getLogger("callsheet")


@attrs.define(eq=False)
class Transaction:
    """Notes that are written together or not at all.

    Attributes:
        notes: The notes, in order; plans only if it is awaited.
        learned: What was learned, as JSON by its kind.
        awaited: Whether a caller waits for it and gets the error if it fails. If not, it is kept
            until it can be written.
        takes_back: The transaction whose plans its notes retract.
        error: Why it was not written.
        plans: The plans among the notes, as they are stored, once `encode` was called.
        rows: The other notes, as they are stored.
    """

    notes: Sequence[Note]
    learned: Mapping[str, str] | None = attrs.field(default=None, kw_only=True)
    awaited: bool = True
    takes_back: Transaction | None = None
    error: CallsheetError | None = None
    plans: Sequence[PlanText] = attrs.field(default=(), init=False)
    rows: Sequence[StoredNote] = attrs.field(default=(), kw_only=True)

    @property
    def needless(self) -> bool:
        """Whether it retracts a plan that was never written, so that there is nothing to do."""
        return self.takes_back is not None and self.takes_back.error is not None

    def encode(self) -> bool:
        """Write the plans as JSON, which may take long; on failure keep the error.

        Returns:
            Whether that was possible.
        """
        try:
            if self.awaited:
                self.plans = [encode_plan(note) for note in self.notes if isinstance(note, Plan)]
        except SpecError as error:
            self.error = error
        return self.error is None


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
        encoded = [each for each in transactions if each.encode()]
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
            f"{note.task_id} (row {note.row})"
            for note in kept
            if isinstance(note, (Made, Attached))
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
                self.file.write(
                    [plan for each in transactions for plan in each.plans],
                    [row for each in transactions for row in each.rows],
                    [one for each in transactions if each.learned for one in each.learned.items()],
                )
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
            elif transaction.notes and not transaction.needless:
                self._kept.append(transaction)
                self._failure = message

    def _message(self, cause: Exception) -> str:
        return f"journal {self.file.path} cannot be written: {cause}"

    def _log_change(self, before: str | None) -> None:
        if self._failure is not None and before is None:
            log.warning("%s; nothing new is sent until it can", self._failure)
        if self._failure is None and before is not None:
            log.info("journal %s is written again", self.file.path)
