"""The journal: what was wanted, what left, what came of it, kept through the death of the process.

Everything goes through one writer, in order. While it commits, more gathers, and all of that goes
into the next transaction: the busier the client, the fewer transactions for each task.
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
    """What goes to the disk together."""

    transactions: list[Transaction] = attrs.field(factory=list[Transaction])
    done: anyio.Event = attrs.field(factory=anyio.Event)


class Journal(anyio.AsyncContextManagerMixin):
    """One file that remembers every spec and its task, used as ``async with Journal(…)``.

    Specs are numbered by row. Methods that are awaited return when their news is on disk, safe from
    a killed process and from a power cut; the others return at once, and their news follows within
    milliseconds, in order. No key is ever written.

    News that cannot be written, as on a full disk, is kept and written as soon as that works again;
    until then every awaited method raises, so nothing new is sent while ids cannot be noted.

    Args:
        path: The file, made if it does not exist. A second file, ``…-lease``, stands beside it
            while it is open, and names its holder.
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
        """Lock the file and look it over; on leaving, write what is left.

        Raises:
            ConfigurationError: Another process or client has it open, it belongs to another
                provider, address or key, it is no journal, or it cannot be read and written.
            JournalError: On leaving: some news could not be written. Its text names the ids. If
                the block itself failed, its own exception leaves, with this text as a note.
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
                except BaseException as error:  # noqa: BLE001 - leaves bare, below
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
        """Number of rows so far, and so the number of the next one."""
        return self._file.rows

    async def plan(self, specs: Sequence[TaskSpec], *, name: str | None = None) -> range:
        """Write down specs that are to be sent, as one batch, and return their rows in order.

        Local media are kept with them: bytes once for each content, files by their absolute path.
        Cancelled, or failed, it leaves none of them.

        Raises:
            SpecError: A spec holds something that JSON cannot.
            JournalError: It could not be written.
        """
        return await self._add(specs, name, lambda _: [])

    async def adopt(self, task_ids: Sequence[str], *, name: str | None = None) -> range:
        """Write down tasks that exist already, as one batch, and return their rows in order.

        Cancelled, or failed, it leaves none of them.

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
        """Note that an attempt is about to leave; to be awaited before it does.

        It begins the row's story anew: an earlier id, end or file is forgotten. It cannot be
        cancelled half way, so that a row either has its token or was not sent.

        Args:
            row: Whose attempt.
            token: The mark that it carries; ``None`` where the provider takes none.
            at: Unix seconds.
            doubts: How many attempts before it stay in doubt for ever.

        Raises:
            JournalError: It could not be written: nothing may be sent.
        """
        with anyio.CancelScope(shield=True):
            await self._put(Transaction([notes.sending(row, token, at, doubts)]))

    def doubted(self, row: int, doubts: int) -> None:
        """Note how many attempts stay in doubt for ever, beside the one that has the task."""
        self._note(notes.doubted(row, doubts))

    def created(self, row: int, task_id: str) -> None:
        """Note the id that the provider gave."""
        self._note(notes.created(row, task_id))

    def status(self, row: int, status: Status) -> None:
        """Note where the task stands; it goes to disk together with the next other news."""
        self._note(notes.moved(row, status), soon=False)

    def settled(self, row: int, end: Snapshot | CallsheetError) -> None:
        """Note how it ended: the provider's last answer, or the error where there is none."""
        self._note(notes.settled(row, end))

    def unsent(self, row: int) -> None:
        """Note that the last attempt provably made nothing: the row is only planned again."""
        self._note(notes.unsent(row))

    def unwanted(self, row: int) -> None:
        """Note that it was cancelled although an attempt may have made a task."""
        self._note(notes.unwanted(row))

    def downloaded(self, row: int, path: str | os.PathLike[str]) -> None:
        """Note where the video is."""
        self._note(notes.downloaded(row, str(Path(path).absolute())))

    async def flush(self) -> None:
        """Wait until all that was noted so far is on disk.

        Raises:
            JournalError: It could not be written; it is kept, and its ids stand in the text.
        """
        try:
            await self._put(Transaction([]))
        except JournalError as error:
            raise self._queue.unwritten() or error from None

    async def entries(self) -> list[Entry]:
        """Everything the journal holds, batch by batch, each in its original order.

        Raises:
            JournalError: Something could not be written, or cannot be read.
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
                with contextlib.suppress(ClosedError):  # cancelled as it closed: planned it stays
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
        """Write whatever comes, until the journal closes and nothing is left."""
        commit = self._next_commit
        with anyio.CancelScope(shield=True):
            while commit is not None:
                await self._wake_up.wait()
                self._wake_up = anyio.Event()
                await anyio.lowlevel.checkpoint()  # whoever has something by now comes along
                self._next_commit = _Commit()
                try:
                    await self._in_thread(partial(self._queue.write, commit.transactions))
                except Exception as exc:  # noqa: BLE001 - somebody waits, whatever it was
                    self._queue.postpone(commit.transactions, exc)
                commit.done.set()
                if self._closing:
                    await anyio.lowlevel.checkpoint()  # who was cancelled takes its plan back
                    self._wake_up.set()
                    if not self._next_commit.transactions:
                        self._next_commit = None
                commit = self._next_commit

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks, one at a time, without a place among the threads of others."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)
