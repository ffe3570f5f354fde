"""The journal: it keeps what was planned, what was sent and how it ended, for a later process.

One writer writes everything, in order. While it commits, new notes are collected. They all go into
the next transaction. So a busy client needs fewer transactions for each task.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from callsheet._journal.codec import PlanText, encode_error, encode_plan
from callsheet._journal.copying import new_copy
from callsheet._journal.identity import Identity
from callsheet._journal.lock_file import InUseError
from callsheet._journal.notes import (
    AbsenceNote,
    AnswerNote,
    AttachmentNote,
    AttemptNote,
    ByHandNote,
    CancelNote,
    DoubtNote,
    EndNote,
    FileNote,
    Note,
    Plan,
    RefusalNote,
    RetractionNote,
    RowNote,
    StatusNote,
    StoredNote,
    TaskNote,
    WrongIdNote,
)
from callsheet._journal.sqlite import SqliteStore
from callsheet.errors import (
    CallsheetError,
    ClosedError,
    ConfigurationError,
    JournalError,
    SpecError,
)


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable

    from callsheet._journal.entries import Entry
    from callsheet._models.snapshot import Snapshot
    from callsheet._models.spec import TaskSpec


log = logging.getLogger("callsheet")

T = TypeVar("T")

_LAX_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))

RETRY_GAP = 0.05
"""Seconds between two attempts to open a file that is in use."""


@attrs.define(eq=False)
class _Transaction:
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
    takes_back: _Transaction | None = None
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
class _WriteQueue:
    """Writes transactions in order, and keeps those that cannot be written and have no waiter.

    A transaction with a waiter is never written before one that was kept. So no create is sent
    while the id of another cannot be written.
    """

    file: SqliteStore
    _kept: list[_Transaction] = attrs.field(factory=list[_Transaction], init=False)
    _failure: str | None = attrs.field(default=None, init=False)

    def write(self, transactions: Iterable[_Transaction]) -> None:
        """Write what was kept, then *transactions*. This blocks on the disk."""
        encoded = [each for each in transactions if each.encode()]
        waiting, self._kept = self._kept, []
        before, self._failure = self._failure, None
        self._store([*waiting, *encoded])
        self._log_change(before)

    def postpone(self, transactions: Iterable[_Transaction], cause: Exception) -> None:
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
            if isinstance(note, (TaskNote, AttachmentNote))
        ]
        named = f"; new ids among them: {', '.join(ids)}" if ids else ""
        return JournalError(f"{self._failure}; {len(kept)} notes are not on disk{named}")

    def _store(self, transactions: Sequence[_Transaction]) -> None:
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

    def _fail(self, transactions: Iterable[_Transaction], message: str) -> None:
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


@attrs.define(eq=False)
class _Commit:
    """What is written to disk together."""

    transactions: list[_Transaction] = attrs.field(factory=list[_Transaction])
    done: anyio.Event = attrs.field(factory=anyio.Event)


class Journal(anyio.AsyncContextManagerMixin):
    """One file that keeps every spec and its task, used as ``async with Journal(…)``.

    Each spec has a row number. What is to be kept are the values of `callsheet._journal.notes`:
    `write` keeps facts in the background, and `write_first` returns when its notes are on disk,
    where neither a killed process nor a power cut loses them. The notes of one call are written
    together or not at all, and calls are written in their order. The key is never written.

    Notes that cannot be written, for example on a full disk, are kept and written when that works
    again. Until then `write_first` raises. So no create is sent while ids cannot be written.

    Args:
        path: The file, which is made if it does not exist. While it is open, a second file
            ``…-lock`` beside it is locked, and names its holder.
        provider: Name of the provider.
        base_url: Its address.
        fingerprint: A one-way hash of the key.
        timeout: Seconds to wait for another holder of the file, >= 0.
        takeover: Whether the file may have been written with another key.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        provider: str,
        base_url: str,
        fingerprint: str,
        timeout: float = 0.25,
        takeover: bool = False,
    ) -> None:
        self.path = Path(path)
        self._timeout, self._takeover = timeout, takeover
        self._identity = Identity(provider=provider, base_url=base_url, fingerprint=fingerprint)
        self._file = SqliteStore(self.path)
        self._limiter: anyio.CapacityLimiter | None = None
        self._copies: anyio.CapacityLimiter | None = None
        self._next_commit: _Commit | None = None
        self._queue = _WriteQueue(self._file)
        self._wake_up = anyio.Event()
        self._closing = False

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Lock and check the file; on leaving, write what is left.

        Raises:
            ConfigurationError: Another process or client still has it open after the timeout, it
                belongs to another provider, address or key, it is no journal or one of another
                format, or it cannot be read and written.
            JournalError: On leaving, some notes could not be written. The text names the ids. If
                the block itself raised, that exception is raised, with this text as a note.
        """
        if self._limiter is not None:
            raise ClosedError("a journal can be entered once; make another one")
        self._limiter, self._copies = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)
        failure: BaseException | None = None
        try:
            await self._open()
            async with anyio.create_task_group() as background:
                self._next_commit = _Commit()
                background.start_soon(self._write_all, name="journal")
                try:
                    yield self
                except (anyio.get_cancelled_exc_class(), GeneratorExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - raised below, outside the task group
                    failure = error
                finally:
                    self._closing = True
                    self._wake_up.set()
        finally:
            unwritten = self._queue.unwritten()
            if unwritten is not None:
                log.error("%s", unwritten)
            with anyio.CancelScope(shield=True):
                await self._in_thread(self._file.close)
        if failure is not None:
            if unwritten is not None:
                failure.add_note(str(unwritten))
            raise failure
        if unwritten is not None:
            raise unwritten

    @property
    def closed(self) -> bool:
        """Whether it is not open any more, or was never opened."""
        return self._next_commit is None

    @property
    def rows(self) -> int:
        """The number of the next row."""
        return self._file.rows

    def new_plan(self, specs: Sequence[TaskSpec | None], *, name: str | None = None) -> Plan:
        """The plan of one batch, with rows that nothing else gets. `write_first` writes it.

        Local media are kept with the specs: bytes once for each content, files by their absolute
        path.

        Args:
            specs: The specs that are to be sent; ``None`` for a task that exists already, whose id
                is an `AttachmentNote` of the same call.
            name: The batch's name.
        """
        rows = range(self._file.rows, self._file.rows + len(specs))
        plan = Plan(rows, self._file.batches, specs, name)
        if rows:
            self._file.rows, self._file.batches = rows.stop, self._file.batches + 1
        return plan

    def write(self, notes: Sequence[Note]) -> None:
        """Keep facts. They are on disk within milliseconds, after all notes of earlier calls.

        The note of a status is written with the next note of another kind.

        Raises:
            ClosedError: The journal is not open.
        """
        if notes:
            soon = len(notes) > 1 or type(notes[0]) is not StatusNote
            self._append(_Transaction(notes, awaited=False, rows=_stored(notes)), soon=soon)

    async def write_first(self, notes: Sequence[Note]) -> None:
        """Write notes, and return when they are on disk: await this before what they are about.

        A plan may be cancelled: then it is taken back, and none of its rows counts. Anything else
        cannot be cancelled half way: a row either has its token, or its create was not sent.

        Raises:
            SpecError: A spec holds a value that JSON cannot hold; nothing was written.
            JournalError: It could not be written; nothing may be sent.
            ClosedError: The journal is not open.
        """
        transaction = _Transaction(notes, rows=_stored(notes))
        plans = [note for note in notes if isinstance(note, Plan)]
        # Shielded: a caller that is cancelled here must know whether a token is on disk.
        with anyio.CancelScope(shield=not plans):
            try:
                await self._put(transaction)
            except anyio.get_cancelled_exc_class():
                back = [RetractionNote(row) for plan in plans for row in plan.rows]
                with contextlib.suppress(ClosedError):  # closed meanwhile: the rows stay planned
                    rows = _stored(back)
                    self._append(
                        _Transaction(back, awaited=False, takes_back=transaction, rows=rows)
                    )
                raise

    async def flush(self) -> None:
        """Wait until all notes so far are on disk.

        Raises:
            JournalError: They could not be written. They are kept, and the text names the ids.
        """
        try:
            await self._put(_Transaction([]))
        except JournalError as error:
            raise self._queue.unwritten() or error from None

    async def pages(self, *, before: int | None = None) -> AsyncGenerator[list[Entry]]:
        """All entries of the journal in the order of their rows, a page at a time.

        Args:
            before: The row after the last one that is wanted.

        Raises:
            JournalError: Notes could not be written, or the journal cannot be read.
        """
        await self.flush()
        pages = self._file.read(before=self.rows if before is None else before)
        try:
            while (page := await self._in_thread(partial(self._file.next_page, pages))) is not None:
                yield page
        finally:
            with anyio.CancelScope(shield=True):
                await self._in_thread(pages.close)

    def learn(self, values: Mapping[str, str]) -> None:
        """Keep what was learned, as JSON by its kind, in the place of what was kept before.

        If it cannot be written, it is dropped: it can be learned again.

        Raises:
            ClosedError: The journal is not open.
        """
        self._append(_Transaction((), learned=values, awaited=False))

    async def learned(self) -> dict[Any, Any]:
        """What was learned, as JSON by its kind; nothing, with a warning, if it cannot be read.

        It may hold anything: another program may have written into the file.
        """
        try:
            return await self._in_thread(self._file.learned)
        except Exception:
            log.warning("journal %s: what was learned cannot be read", self.path, exc_info=True)
            return {}

    async def prune(self, *, before: float) -> int:
        """Remove what ended for good before a time in Unix seconds; return how many rows.

        Keys stay, so that none is used for another spec.

        Raises:
            JournalError: Notes could not be written, or the journal cannot be read or written.
                Nothing was removed.
        """
        await self.flush()
        return await self._in_thread(partial(self._file.prune, before=before))

    async def copy(self, path: str | os.PathLike[str]) -> None:
        """Copy the journal to another file, without holding up what is written meanwhile.

        It takes turns with the writer, in a thread of its own. Cancelling stops it.

        Raises:
            ConfigurationError: There is something at the path, or a file cannot be made there.
            JournalError: Notes could not be written, or the journal cannot be read or copied.
            ClosedError: The journal is not open, or was closed before the copy was complete.
        """
        await self.flush()
        stop = threading.Event()

        def copy() -> None:
            with new_copy(Path(path), self._file.path) as target:
                self._file.copy(target, stop)

        try:
            await anyio.to_thread.run_sync(copy, limiter=self._copies, abandon_on_cancel=True)
        finally:
            stop.set()

    def _append(self, transaction: _Transaction, *, soon: bool = True) -> _Commit:
        if self._file.inherited:
            raise ClosedError(
                f"journal {self.path} belongs to the process that this one was forked from; open a "
                "client of its own here, with another journal"
            )
        if self._next_commit is None:
            raise ClosedError(f"journal {self.path} is not open")
        self._next_commit.transactions.append(transaction)
        if soon:
            self._wake_up.set()
        return self._next_commit

    async def _put(self, transaction: _Transaction) -> None:
        await self._append(transaction).done.wait()
        if transaction.error is not None:
            raise transaction.error

    async def _write_all(self) -> None:
        """Write what is collected, until the journal closes and nothing is left."""
        commit = self._next_commit
        with anyio.CancelScope(shield=True):
            while commit is not None:
                await self._wake_up.wait()
                self._wake_up = anyio.Event()
                await anyio.lowlevel.checkpoint()  # others add what they have by now
                self._next_commit = _Commit()
                try:
                    await self._in_thread(partial(self._queue.write, commit.transactions))
                except Exception as exc:  # noqa: BLE001 - a caller waits for the result, whatever failed
                    self._queue.postpone(commit.transactions, exc)
                commit.done.set()
                if self._closing:
                    await anyio.lowlevel.checkpoint()  # a cancelled caller can now cancel its plan
                    self._wake_up.set()
                    if not self._next_commit.transactions:
                        self._next_commit = None
                commit = self._next_commit

    async def _open(self) -> None:
        """Open the file, or wait until its holder closes it.

        SQLite could wait, too, but nothing can interrupt that.
        """
        deadline = anyio.current_time() + self._timeout
        work = partial(self._file.open, self._identity, takeover=self._takeover)
        while True:
            try:
                await self._in_thread(work)
            except InUseError as error:
                if anyio.current_time() >= deadline:
                    raise ConfigurationError(str(error)) from error
            else:
                return
            await anyio.sleep(RETRY_GAP)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work, one call at a time, without using up the default thread limit."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _stored(notes: Sequence[Note]) -> list[StoredNote]:
    """Facts as they are stored, written at once: a wrong value fails where it is given."""
    return [encode_note(note) for note in notes if not isinstance(note, Plan)]


def encode_note(note: RowNote) -> StoredNote:
    """Write a note. Values are JSON, which can hold any text, even half a surrogate pair."""
    return _STORED[type(note)](note)


_TASK: Final = {False: "made", True: "found"}

_STORED: Final[dict[type[RowNote], Callable[[Any], StoredNote]]] = {
    RetractionNote: lambda x: (x.row, "retracted", None, None, None),
    AttemptNote: lambda x: (x.row, "attempt", x.n, f"[{_quoted(x.token)},{x.tries}]", x.at),
    RefusalNote: lambda x: (x.row, "refused", x.n, str(x.tries), None),
    AbsenceNote: lambda x: (x.row, "absent", x.n, _quoted(x.grade.value), None),
    DoubtNote: lambda x: (x.row, "doubted", x.n, None, None),
    TaskNote: lambda x: (x.row, _TASK[x.listed], x.n, _quoted(x.task_id), None),
    WrongIdNote: lambda x: (x.row, "disowned", x.n, _quoted(x.task_id), None),
    ByHandNote: lambda x: (x.row, "by_hand", x.n, _quoted(x.task_id), x.at),
    AttachmentNote: lambda x: (x.row, "attached", None, _quoted(x.task_id), None),
    CancelNote: lambda x: (x.row, "cancelled", None, None, None),
    EndNote: lambda x: (x.row, "ended", None, _text_of(encode_error(x.error)), x.at),
    AnswerNote: lambda x: (x.row, "answer", None, _answer_text(x.answer), x.at),
    StatusNote: lambda x: (x.row, "status", None, _quoted(x.status), None),
    FileNote: lambda x: (x.row, "file", None, _quoted(x.file), None),
}
"""How each kind of note is stored, in the words of `NoteKind`. Every task has several, so this
takes as little time as it can."""


def _quoted(text: str | None) -> str:
    """A text as JSON, in ASCII."""
    return "null" if text is None else encode_basestring_ascii(text)


def _answer_text(answer: Snapshot) -> str:
    return _text_of([answer.task_id, answer.raw])


def _text_of(value: object) -> str:
    """JSON as Python writes it: an answer may hold NaN, which JSON does not have."""
    return _LAX_ENCODER.encode(value)
