"""The journal: it keeps what was planned, what was sent and how it ended, for a later process.

One writer writes everything, in order. While it commits, new notes are collected. They all go into
the next transaction. So a busy client needs fewer transactions for each task.
"""

from __future__ import annotations

import contextlib
import logging
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from callsheet._journal import entries as notes
from callsheet._journal.codec import Plan
from callsheet._journal.identity import Identity
from callsheet._journal.sqlite import SqliteStore
from callsheet._journal.write_queue import Transaction, WriteQueue
from callsheet.errors import CallsheetError, ClosedError, JournalError


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Sequence

    from callsheet._journal.entries import Entry, Note
    from callsheet._models.snapshot import Snapshot, Status
    from callsheet._models.spec import TaskSpec


log = logging.getLogger("callsheet")

T = TypeVar("T")


@attrs.define(eq=False)
class _Commit:
    """What is written to disk together."""

    transactions: list[Transaction] = attrs.field(factory=list[Transaction])
    done: anyio.Event = attrs.field(factory=anyio.Event)


class Journal(anyio.AsyncContextManagerMixin):
    """One file that keeps every spec and its task, used as ``async with Journal(…)``.

    Each spec has a row number. A method that is awaited returns when its notes are on disk, where
    neither a killed process nor a power cut loses them. The other methods return at once, and their
    notes are written within milliseconds, in order. The key is never written.

    Notes that cannot be written, for example on a full disk, are kept and written when that works
    again. Until then every awaited method raises. So no create is sent while ids cannot be written.

    Args:
        path: The file, which is made if it does not exist. While it is open, a second file
            ``…-lease`` beside it names its holder.
        provider: Name of the provider.
        base_url: Its address.
        fingerprint: A one-way hash of the key.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, provider: str, base_url: str, fingerprint: str
    ) -> None:
        self.path = Path(path)
        self._identity = Identity(provider=provider, base_url=base_url, fingerprint=fingerprint)
        self._file = SqliteStore(self.path)
        self._limiter: anyio.CapacityLimiter | None = None
        self._next_commit: _Commit | None = None
        self._queue = WriteQueue(self._file)
        self._wake_up = anyio.Event()
        self._closing = False

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Lock and check the file; on leaving, write what is left.

        Raises:
            ConfigurationError: Another process or client has it open, it belongs to another
                provider, address or key, it is no journal, or it cannot be read and written.
            JournalError: On leaving, some notes could not be written. The text names the ids. If
                the block itself raised, that exception is raised, with this text as a note.
        """
        if self._limiter is not None:
            raise ClosedError("a journal can be entered once; make another one")
        self._limiter = anyio.CapacityLimiter(1)
        failure: BaseException | None = None
        try:
            await self._in_thread(partial(self._file.open, self._identity))
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
    def rows(self) -> int:
        """The number of the next row."""
        return self._file.rows

    async def plan(self, specs: Sequence[TaskSpec], *, name: str | None = None) -> range:
        """Write specs that are to be sent, as one batch, and return their rows in order.

        Local media are kept with them: bytes once for each content, files by their absolute path.
        If this is cancelled or fails, none of the specs is kept.

        Raises:
            SpecError: A spec holds a value that JSON cannot hold.
            JournalError: It could not be written.
        """
        return await self._add(specs, name, lambda _: [])

    async def adopt(self, task_ids: Sequence[str], *, name: str | None = None) -> range:
        """Write tasks that exist already, as one batch, and return their rows in order.

        If this is cancelled or fails, none of the tasks is kept.

        Raises:
            JournalError: It could not be written.
        """
        ids = list(task_ids)
        return await self._add(
            [None] * len(ids),
            name,
            lambda rows: [notes.created(row, i) for row, i in zip(rows, ids, strict=True)],
        )

    async def sending(self, row: int, token: str | None, *, at: float, doubts: int = 0) -> None:
        """Note that an attempt is about to be sent; await this before the request is sent.

        An earlier id, end or file of the row no longer counts. This cannot be cancelled half way:
        a row either has its token, or its create was not sent.

        Args:
            row: The row of the spec.
            token: The mark that the attempt carries; ``None`` if it carries none.
            at: The time, in Unix seconds.
            doubts: How many earlier attempts may have made a task that nobody will find.

        Raises:
            JournalError: It could not be written; nothing may be sent.
        """
        # Shielded: a caller that is cancelled here must know whether the token is on disk.
        with anyio.CancelScope(shield=True):
            await self._put(Transaction([notes.sending(row, token, at, doubts)]))

    def doubted(self, row: int, doubts: int) -> None:
        """Note how many earlier attempts may have made a task that nobody will find."""
        self._note(notes.doubted(row, doubts))

    def created(self, row: int, task_id: str) -> None:
        """Note the id that the provider has returned."""
        self._note(notes.created(row, task_id))

    def status(self, row: int, status: Status) -> None:
        """Note the status of the task. It is written with the next note of another kind."""
        self._note(notes.moved(row, status), soon=False)

    def settled(self, row: int, end: Snapshot | CallsheetError) -> None:
        """Note how it ended: the provider's last answer, or else the error."""
        self._note(notes.settled(row, end))

    def unsent(self, row: int) -> None:
        """Note that the last attempt certainly made no task: the row is planned, as before it."""
        self._note(notes.unsent(row))

    def unwanted(self, row: int) -> None:
        """Note that it was cancelled while an attempt may have made a task."""
        self._note(notes.unwanted(row))

    def downloaded(self, row: int, path: str | os.PathLike[str]) -> None:
        """Note the path of the downloaded video."""
        self._note(notes.downloaded(row, str(Path(path).absolute())))

    async def flush(self) -> None:
        """Wait until all notes so far are on disk.

        Raises:
            JournalError: They could not be written. They are kept, and the text names the ids.
        """
        try:
            await self._put(Transaction([]))
        except JournalError as error:
            raise self._queue.unwritten() or error from None

    async def entries(self) -> list[Entry]:
        """All entries of the journal, batch by batch, each in its original order.

        Raises:
            JournalError: Notes could not be written, or the journal cannot be read.
        """
        await self.flush()
        return await self._in_thread(self._file.read)

    async def _add(
        self,
        specs: Sequence[TaskSpec | None],
        name: str | None,
        notes_on: Callable[[range], list[Note]],
    ) -> range:
        rows = range(self._file.rows, self._file.rows + len(specs))
        transaction = Transaction(notes_on(rows), Plan(self._file.batches, rows.start, specs, name))
        if rows:
            self._file.rows, self._file.batches = rows.stop, self._file.batches + 1
            try:
                await self._put(transaction)
            except anyio.get_cancelled_exc_class():
                with contextlib.suppress(ClosedError):  # closed meanwhile: the rows stay planned
                    back = [notes.withdrawn(row) for row in rows]
                    self._append(Transaction(back, awaited=False, takes_back=transaction))
                raise
        return rows

    def _note(self, note: Note, *, soon: bool = True) -> None:
        self._append(Transaction([note], awaited=False), soon=soon)

    def _append(self, transaction: Transaction, *, soon: bool = True) -> _Commit:
        if self._next_commit is None:
            raise ClosedError(f"journal {self.path} is not open")
        self._next_commit.transactions.append(transaction)
        if soon:
            self._wake_up.set()
        return self._next_commit

    async def _put(self, transaction: Transaction) -> None:
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

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work, one call at a time, without using up the default thread limit."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)
