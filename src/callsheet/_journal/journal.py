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
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from callsheet._journal.codec import encode_note
from callsheet._journal.identity import Identity
from callsheet._journal.notes import Moved, Note, Plan, Retracted
from callsheet._journal.sqlite import InUseError, SqliteStore
from callsheet._journal.write_queue import Transaction, WriteQueue
from callsheet.errors import ClosedError, ConfigurationError, JournalError


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from callsheet._journal.codec import StoredNote
    from callsheet._journal.entries import Entry
    from callsheet._models.spec import TaskSpec


log = logging.getLogger("callsheet")

T = TypeVar("T")

RETRY_GAP = 0.05
"""Seconds between two attempts to open a file that is in use."""


@attrs.define(eq=False)
class _Commit:
    """What is written to disk together."""

    transactions: list[Transaction] = attrs.field(factory=list[Transaction])
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
            ``…-lease`` beside it names its holder.
        provider: Name of the provider.
        base_url: Its address.
        fingerprint: A one-way hash of the key.
        timeout: Seconds to wait for another holder of the file, >= 0.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        provider: str,
        base_url: str,
        fingerprint: str,
        timeout: float = 0.25,
    ) -> None:
        self.path = Path(path)
        self._timeout = timeout
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
            ConfigurationError: Another process or client still has it open after the timeout, it
                belongs to another provider, address or key, it is no journal or one of another
                format, or it cannot be read and written.
            JournalError: On leaving, some notes could not be written. The text names the ids. If
                the block itself raised, that exception is raised, with this text as a note.
        """
        if self._limiter is not None:
            raise ClosedError("a journal can be entered once; make another one")
        self._limiter = anyio.CapacityLimiter(1)
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
    def rows(self) -> int:
        """The number of the next row."""
        return self._file.rows

    def new_plan(self, specs: Sequence[TaskSpec | None], *, name: str | None = None) -> Plan:
        """The plan of one batch, with rows that nothing else gets. `write_first` writes it.

        Local media are kept with the specs: bytes once for each content, files by their absolute
        path.

        Args:
            specs: The specs that are to be sent; ``None`` for a task that exists already, whose id
                is an `Attached` note of the same call.
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
            soon = len(notes) > 1 or type(notes[0]) is not Moved
            self._append(Transaction(notes, awaited=False, rows=_stored(notes)), soon=soon)

    async def write_first(self, notes: Sequence[Note]) -> None:
        """Write notes, and return when they are on disk: await this before what they are about.

        A plan may be cancelled: then it is taken back, and none of its rows counts. Anything else
        cannot be cancelled half way: a row either has its token, or its create was not sent.

        Raises:
            SpecError: A spec holds a value that JSON cannot hold; nothing was written.
            JournalError: It could not be written; nothing may be sent.
            ClosedError: The journal is not open.
        """
        transaction = Transaction(notes, rows=_stored(notes))
        plans = [note for note in notes if isinstance(note, Plan)]
        # Shielded: a caller that is cancelled here must know whether a token is on disk.
        with anyio.CancelScope(shield=not plans):
            try:
                await self._put(transaction)
            except anyio.get_cancelled_exc_class():
                back = [Retracted(row) for plan in plans for row in plan.rows]
                with contextlib.suppress(ClosedError):  # closed meanwhile: the rows stay planned
                    rows = _stored(back)
                    self._append(
                        Transaction(back, awaited=False, takes_back=transaction, rows=rows)
                    )
                raise

    async def flush(self) -> None:
        """Wait until all notes so far are on disk.

        Raises:
            JournalError: They could not be written. They are kept, and the text names the ids.
        """
        try:
            await self._put(Transaction([]))
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
            while (page := await self._in_thread(partial(next, pages, None))) is not None:
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
        self._append(Transaction((), learned=values, awaited=False))

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

    async def _open(self) -> None:
        """Open the file, or wait until its holder closes it.

        SQLite could wait, too, but nothing can interrupt that.
        """
        deadline, waited = anyio.current_time() + self._timeout, False
        while True:
            try:
                await self._in_thread(partial(self._file.open, self._identity))
            except InUseError as error:
                if anyio.current_time() >= deadline:
                    raise ConfigurationError(str(error)) from error
                waited = True
            except ConfigurationError:
                # A file that is closed while it is looked at may seem incomplete. So what is said
                # of a file that was in use a moment ago must be said twice.
                if not waited:
                    raise
                waited = False
            else:
                return
            await anyio.sleep(RETRY_GAP)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work, one call at a time, without using up the default thread limit."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _stored(notes: Sequence[Note]) -> list[StoredNote]:
    """Facts as they are stored, written at once: a wrong value fails where it is given."""
    return [encode_note(note) for note in notes if not isinstance(note, Plan)]
