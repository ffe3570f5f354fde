"""The journal on disk: an SQLite database that one client at a time has locked.

Everything here blocks. Call it in a worker thread.

What is written counts only if the next process finds it. So before and after each transaction the
lock, the epoch and the files themselves are looked at. Looking before keeps a database whole that
another client has opened. Looking after makes sure that what was written is in the file that the
next client opens: another client first writes its name into the lock file and only then reads the
database. If its name is not there yet, it will read what was written here.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import operator
import os
import sqlite3
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._journal.codec import decode_spec, digests_in
from callsheet._journal.database_file import has_content, writable
from callsheet._journal.entries import Entry, Facts, fold
from callsheet._journal.identity import Identity
from callsheet._journal.lock_file import InUseError, LockFile, make_private
from callsheet._journal.notes import NoteKind
from callsheet.errors import CallsheetError, ClosedError, ConfigurationError, JournalError


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from callsheet._journal.codec import PlanText
    from callsheet._journal.notes import StoredNote


log = logging.getLogger("callsheet")

VERSION: Final = 2
"""The format of the file. A file of another format is refused.

The lowest byte of the database's ``user_version`` holds it. The rest is the epoch: each opener
raises it by one."""

VERSION_BITS: Final = 8

EPOCH_AT: Final = 60
"""Where SQLite keeps ``user_version`` in a database file."""

EPOCH_BYTES: Final = 4

MOST_EPOCHS: Final = 1 << 23
"""After so many openings the epoch begins anew: only whether two are equal matters."""

APPLICATION_ID: Final = 0x63736A6C
"""The database's application id: it tells a journal from other databases."""

BUSY_TIMEOUT: Final = 0.05
"""Seconds that SQLite itself waits for a lock. Nobody can interrupt that, so it is short: `Journal`
waits for the holder of a file."""

ENTRIES_PER_PAGE: Final = 200
"""Entries that are read together."""

PAGES_PER_STEP: Final = 256
"""Pages of the database, of 4 KiB, that are copied before the writer gets a turn."""

STEP_GAP: Final = 0.002
"""Seconds between two steps of a copy. Without a pause the writer would not get the lock."""

_SCHEMA: Final = f"""
    CREATE TABLE identity (provider TEXT, base_url TEXT, fingerprint TEXT);
    CREATE TABLE batches (batch INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE tasks (
        row INTEGER PRIMARY KEY, batch INTEGER, place INTEGER, key TEXT, metadata TEXT, spec TEXT
    );
    CREATE TABLE media (digest TEXT PRIMARY KEY, content BLOB);
    CREATE TABLE notes (
        seq INTEGER PRIMARY KEY, row INTEGER, kind TEXT, n INTEGER, value TEXT, at REAL
    );
    CREATE TABLE learned (kind TEXT PRIMARY KEY, value TEXT);
    PRAGMA application_id = {APPLICATION_ID};
"""


_ADD_NOTE: Final = "INSERT INTO notes (row, kind, n, value, at) VALUES (?, ?, ?, ?, ?)"


class LostError(Exception):
    """Somebody else has opened or changed the journal while this client holds it."""


class SqliteStore:
    """One SQLite database, opened and locked.

    Attributes:
        path: The path of its file.
        rows: The number of the next row.
        batches: The number of the next batch.
        inherited: Whether this process is a fork of the one that opened it, and so has no part in
            it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self.batches = 0
        self._stored: set[str] = set()
        self._database: sqlite3.Connection | None = None
        self._lock_file: LockFile | None = None
        self._files: _Files | None = None
        self._written = False
        """Whether something was written since the files were last looked at."""
        self._stopped: str | None = None
        """Why nothing more may be sent, although what is known can still be written."""
        self.inherited = False
        self._turn = threading.RLock()
        """Held by whoever uses the database, and by a copy for one step at a time."""
        self._copying = threading.Lock()
        self._closing = False

    def open(self, identity: Identity, *, takeover: bool = False) -> None:
        """Open and lock the database, or make it. What a killed process left is recovered.

        A file that is refused is not changed.

        Args:
            identity: Whose journal it is.
            takeover: Whether it may be of another key.

        Raises:
            InUseError: Another process or client holds it.
            ConfigurationError: It belongs to another provider, address or key, it is no journal or
                one of another format, or it cannot be read and written. The text holds the path.
        """
        try:
            with self._turn:
                self.path = self.path.resolve()  # two paths to one file must meet the same lock
                has_content(self.path)  # a path that cannot be one is refused without a lock file
                _HELD.add(self)
                self._lock_file = lock = LockFile(self.path)
                lock.acquire()
                try:
                    self._open_locked(lock, identity, takeover=takeover)
                except BaseException:
                    self._release()
                    raise
        except sqlite3.Error as exc:
            raise self._refusal(exc) from exc
        except (OSError, ValueError, RuntimeError) as exc:  # a loop of links, a NUL in the name
            if isinstance(exc, CallsheetError):
                raise
            words = getattr(exc, "strerror", None) or str(exc)
            raise ConfigurationError(f"journal {self.path}: {words}") from exc

    def _open_locked(self, lock: LockFile, identity: Identity, *, takeover: bool) -> None:
        # Nothing of the database was opened before. Only the holder of the lock may do that,
        # because closing it again could end SQLite's lock of another client of this process.
        if has_content(self.path):
            self._inspect(identity, takeover=takeover)
        self._files = _Files(self.path, lock, _made_private(self.path))
        database = self._lock(identity, takeover=takeover)
        try:
            self._files.begin()
        except BaseException:
            database.close()
            raise
        self._database = database

    def close(self) -> None:
        """Move everything into the one file, and release the lock."""
        self._closing = True  # a copy stops after its present step
        with self._copying, self._turn:
            database, self._database = self._database, None
            if database is None:
                return
            try:
                if self._harmless_to_close():
                    database.close()
                else:
                    keep_open(database)
            finally:
                self._release()

    def _harmless_to_close(self) -> bool:
        assert self._files is not None  # noqa: S101 - for the type checkers
        try:
            return self._files.harmless_to_close(written=self._written)
        except OSError:
            return False

    def _release(self) -> None:
        """Close what was opened beside the database, and release the lock."""
        files, self._files = self._files, None
        if files is not None:
            files.close()
        if self._lock_file is not None:
            self._lock_file.release()
        _HELD.discard(self)

    def leave_to_parent(self) -> None:
        """Have no part in the journal any more, in a process that was forked from its holder.

        The lock and the files stay the parent's: nothing is closed that it needs.
        """
        self.inherited = True
        self._turn, self._copying = threading.RLock(), threading.Lock()  # a thread may hold them
        if self._database is not None:
            keep_open(self._database)
            self._database = None
        if self._files is not None:
            self._files.close()
            self._files = None
        if self._lock_file is not None:
            self._lock_file.let_go()

    def write(
        self,
        plans: Sequence[PlanText],
        notes: Sequence[StoredNote],
        learned: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write in one transaction; it is on disk when this returns.

        Raises:
            LostError: Somebody else has opened or changed the journal. Nothing may be sent.
            sqlite3.Error: It failed; nothing was written.
        """
        if not (plans or notes or learned):
            return
        with self._turn:
            self._check()
            if self._stopped is not None and (plans or any(map(_is_act, notes))):
                raise LostError(self._stopped)
            with self._writing():
                self._write(plans, notes, learned)

    def _write(
        self,
        plans: Sequence[PlanText],
        notes: Sequence[StoredNote],
        learned: Sequence[tuple[str, str]],
    ) -> None:
        database = self._opened()
        stored: set[str] = set()
        database.execute("BEGIN IMMEDIATE")
        try:
            for plan in plans:
                stored |= self._write_plan(database, plan)
            database.executemany(_ADD_NOTE, notes)
            if learned:  # not even prepared without need: notes depend on no other table
                database.executemany("INSERT OR REPLACE INTO learned VALUES (?, ?)", learned)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # some errors have ended it already
                database.execute("ROLLBACK")
            raise
        self._stored |= stored

    def read(self, *, before: int) -> Generator[list[Entry]]:
        """The entries of all rows before one, page by page in order, as they are now.

        Other calls may come between two pages.

        Raises:
            JournalError: A part of the journal cannot be read.
        """
        try:
            yield from self._pages(self._opened(), before)
        except (
            sqlite3.Error,
            LostError,
            ValueError,
            TypeError,
            LookupError,
            CallsheetError,
        ) as exc:
            raise JournalError(f"journal {self.path} cannot be read: {exc}") from exc

    def next_page(self, pages: Generator[list[Entry]]) -> list[Entry] | None:
        """The next page of `read`; ``None`` after the last one.

        Raises:
            JournalError: A part of the journal cannot be read.
        """
        with self._turn:
            return next(pages, None)

    def _pages(self, database: sqlite3.Connection, before: int) -> Generator[list[Entry]]:
        names = {batch: json.loads(name) for batch, name in database.execute(_READ_NAMES)}
        media = _Media(database)
        entries: list[Entry] = []
        for (row, batch, place, key, metadata, text), facts in _folded(database, before):
            if facts is None:
                continue
            entry = facts.entry(
                row,
                batch,
                place,
                name=names.get(batch),
                spec=None if text is None else decode_spec(text, media.content),
                key=key,
                metadata=None if metadata is None else json.loads(metadata),
            )
            entries.append(entry)
            if len(entries) == ENTRIES_PER_PAGE:
                yield entries
                entries = []
        yield entries

    def learned(self) -> dict[Any, Any]:
        """What was learned, as JSON by its kind.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        with self._turn:
            return dict(self._opened().execute("SELECT kind, value FROM learned"))

    def prune(self, *, before: float) -> int:
        """Remove the rows that ended before a time in Unix seconds; return how many.

        Only a row whose outcome is final, and none of whose attempts may still turn out to have
        made a task, is removed. Media that no other row needs go with it.

        Raises:
            JournalError: The journal cannot be read or written; nothing was removed.
        """
        try:
            self._check()
            database = self._opened()
            gone = [
                row
                for (row, *_), facts in _folded(database, self.rows)
                if facts is not None and _is_over(facts.entry(row, 0, 0), before)
            ]
            if gone:
                with self._writing():
                    self._remove(database, gone)
        except (
            sqlite3.Error,
            LostError,
            OSError,
            ValueError,
            TypeError,
            LookupError,
            CallsheetError,
        ) as exc:
            raise JournalError(f"journal {self.path} cannot be pruned: {exc}") from exc
        return len(gone)

    def _remove(self, database: sqlite3.Connection, rows: Sequence[int]) -> None:
        database.execute("CREATE TEMP TABLE gone (row INTEGER PRIMARY KEY)")
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany("INSERT INTO gone VALUES (?)", ((row,) for row in rows))
                for statement in _PRUNE:
                    database.execute(statement)
                media = {digest for (digest,) in database.execute("SELECT digest FROM media")}
                if media:
                    query = "SELECT spec FROM tasks WHERE spec LIKE '%\"bytes\"%'"
                    for (text,) in database.execute(query):
                        media -= digests_in(text)
                    unneeded = ((digest,) for digest in media)
                    database.executemany("DELETE FROM media WHERE digest = ?", unneeded)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # some errors have ended it already
                    database.execute("ROLLBACK")
                raise
            self._stored -= media
        finally:
            database.execute("DROP TABLE gone")

    def copy(self, to: Path, stop: threading.Event) -> None:
        """Copy everything into a file, a step at a time. Others may write between two steps.

        Args:
            to: An empty file.
            stop: Set it to stop the copy after its present step.

        Raises:
            ClosedError: It was stopped, or the journal was closed.
            JournalError: Somebody else has opened or changed the journal, or it could not be
                copied.
        """
        try:
            self._copy(to, stop)
        except (sqlite3.Error, LostError, OSError) as exc:
            raise JournalError(f"journal {self.path} cannot be copied: {exc}") from exc

    def _copy(self, to: Path, stop: threading.Event) -> None:
        stopped = f"journal {self.path} was closed before its copy was complete"

        def pause(*_: int) -> None:
            self._turn.release()
            try:
                time.sleep(STEP_GAP)
            finally:
                self._turn.acquire()
            if stop.is_set() or self._closing:
                raise ClosedError(stopped)

        with self._copying, contextlib.closing(_connect(to.as_uri())) as copy, self._turn:
            if self._closing:
                raise ClosedError(stopped)
            self._check()
            copy.execute("PRAGMA synchronous = OFF")  # it is flushed once, when it is complete
            copy.execute("PRAGMA journal_mode = OFF")
            # What is written here meanwhile, SQLite writes into the copy as well.
            self._opened().backup(copy, pages=PAGES_PER_STEP, progress=pause)

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        """Look at the files after the block, which writes."""
        self._written = True
        try:
            yield
        finally:
            self._check()

    def _check(self) -> None:
        """Check that the journal is still this client's, and that its files are whole.

        Raises:
            LostError: Somebody else has opened or changed it.
            OSError: The files cannot be looked at.
            sqlite3.Error: The log has no name any more, and could not be saved.
        """
        database, files = self._opened(), self._files
        assert files is not None  # noqa: S101 - for the type checkers
        change = files.change(written=self._written)
        self._written = False
        if change is not None and not change.log_is_missing:
            raise LostError(change.words)
        if change is not None:
            self._save_log(database, files, change.words)

    def _save_log(self, database: sqlite3.Connection, files: _Files, words: str) -> None:
        """Move into the database what is in a log that was deleted, and begin a new log.

        The log is still open here, so nothing of it is lost yet. A process that is killed from now
        on is continued as usual. But somebody deletes files that hold what was paid for, so no
        request follows any more; facts are still written.
        """
        database.execute("PRAGMA wal_checkpoint(FULL)")
        database.close()
        self._database = database = _connect(f"{self.path.as_uri()}?mode=rw")
        _configure(database)
        database.execute("BEGIN IMMEDIATE")  # makes the log
        database.execute("COMMIT")
        files.begin()
        self._stopped = (
            f"{words}; what it held is saved in {self.path.name}, but nothing more is sent; find "
            "out what deletes files there, then open the journal again"
        )
        log.error("journal %s: %s", self.path, self._stopped)

    def _write_plan(self, database: sqlite3.Connection, plan: PlanText) -> set[str]:
        if plan.name is not None and plan.tasks:
            database.execute("INSERT INTO batches VALUES (?, ?)", (plan.batch, plan.name))
        new = plan.contents.by_digest.keys() - self._stored
        database.executemany(
            "INSERT OR IGNORE INTO media VALUES (?, ?)",
            ((digest, plan.contents.by_digest[digest]) for digest in new),
        )
        database.executemany(
            "INSERT INTO tasks (row, batch, place, spec) VALUES (?, ?, ?, ?)", plan.tasks
        )
        return new

    def _inspect(self, identity: Identity, *, takeover: bool) -> None:
        """Check that the file is a journal of *identity*, without changing a byte of it."""
        beside = (self.path.with_name(f"{self.path.name}-{kind}") for kind in ("wal", "journal"))
        whole = not any(path.exists() for path in beside)  # no process has it open
        address = f"{self.path.as_uri()}?{'immutable=1' if whole else 'mode=ro'}"
        try:
            with contextlib.closing(_connect(address)) as database:
                tables = (
                    ("tasks", "notes")
                    if self._is_journal(database, identity, takeover=takeover)
                    else ()
                )
                for table in tables:
                    ((word,),) = database.execute(f"PRAGMA quick_check('{table}')").fetchmany(1)
                    if word != "ok":
                        raise ConfigurationError(self._damaged(word))
        except sqlite3.Error as exc:
            # A process was killed while it made the file. `_lock` rolls that back.
            if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise

    def _lock(self, identity: Identity, *, takeover: bool) -> sqlite3.Connection:
        database = _connect(f"{self.path.as_uri()}?mode=rw")
        try:
            _configure(database)
            database.execute("BEGIN EXCLUSIVE")
            if not self._is_journal(database, identity, takeover=takeover):
                for statement in _SCHEMA.strip().split(";")[:-1]:
                    database.execute(statement)
            database.execute("DELETE FROM identity")
            values = attrs.astuple(identity)
            database.execute("INSERT INTO identity VALUES (?, ?, ?)", values)
            ((version,),) = database.execute("PRAGMA user_version")
            epoch = ((version >> VERSION_BITS) + 1) % MOST_EPOCHS
            database.execute(f"PRAGMA user_version = {epoch << VERSION_BITS | VERSION}")
            database.execute("COMMIT")  # SQLite's lock stays
            database.execute("PRAGMA journal_mode = WAL")
            ((self.rows, self.batches),) = database.execute(
                "SELECT max(ifnull(max(row), 0), (SELECT ifnull(max(row), 0) FROM notes)) + 1,"
                " ifnull(max(batch), 0) + 1 FROM tasks"
            )
            # The epoch goes into the database file, where another holder would read it.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            database.close()
            raise
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)  # left by `_inspect`
        return database

    def _is_journal(
        self, database: sqlite3.Connection, identity: Identity, *, takeover: bool
    ) -> bool:
        """Whether the database is a journal of *identity*; ``False`` if it is empty.

        Raises:
            ConfigurationError: It is the journal of another identity, of another format, or
                another database.
        """
        ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
        ((mark,),) = database.execute("PRAGMA application_id")
        ((version,),) = database.execute("PRAGMA user_version")
        if mark != APPLICATION_ID:
            if tables or mark:
                raise ConfigurationError(
                    f"{self.path} is a database, but no journal; it was left as it is"
                )
            return False
        version &= (1 << VERSION_BITS) - 1
        if version != VERSION:
            age = "a newer" if version > VERSION else "an older"
            raise ConfigurationError(
                f"journal {self.path} was written by {age} callsheet: its format is {version}, and "
                f"this one reads and writes format {VERSION} only; it was left as it is. Continue "
                "it with the callsheet that wrote it, or pass another path as journal= to begin a "
                "new one"
            )
        ((provider, base_url, fingerprint),) = database.execute("SELECT * FROM identity")
        # Without tasks, a wrong key may be corrected.
        if fingerprint != identity.fingerprint and (takeover or not _has_tasks(database)):
            fingerprint = identity.fingerprint
        other = Identity(provider=provider, base_url=base_url, fingerprint=fingerprint)
        difference = identity.difference(other)
        if difference is not None:
            raise ConfigurationError(f"journal {self.path} cannot be used here: {difference}")
        return True

    def _refusal(self, exc: sqlite3.Error) -> ConfigurationError | InUseError:
        match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return InUseError(
                    f"journal {self.path} is in use by another program, which has opened it as a "
                    "database; close that one first, or wait until it ends: "
                    "Client(journal_timeout=SECONDS) does"
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                text = self._damaged(str(exc))
            case _ if not writable(self.path):
                text = f"journal {self.path} cannot be opened: it, or its folder, is read-only"
            case _:
                text = f"journal {self.path} cannot be opened: {exc}"
        return ConfigurationError(text)

    def _damaged(self, words: str) -> str:
        return f"{self.path} is no journal, or a damaged one; it was left as it is ({words})"

    def _opened(self) -> sqlite3.Connection:
        if self.inherited:
            raise LostError("it belongs to the process that this one was forked from")
        assert self._database is not None, "open() comes first"  # noqa: S101 - for the type checkers
        return self._database


_READ_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Without waiting, should somebody have put a pipe there."""

_PUT_BACK: Final = (
    "end this client, put the files back as they were, and open the journal in a new process"
)
_END_ALL: Final = "end all clients of this journal, and open it again with one"


@attrs.frozen
class _Change:
    """What somebody else has done to a file.

    Attributes:
        words: It in words.
        log_is_missing: Whether only the name of the log is gone. Its content is still open here,
            and the database is as it was.
    """

    words: str
    log_is_missing: bool = False


class _Files:
    """The files of one open journal, and what they looked like after the last write here.

    Nobody but the holder may change them. A file that was deleted or replaced is still open here,
    and SQLite would write into it without an error. But the next process would not find it.

    Args:
        journal: The path of the database.
        lock: Its lock.
        descriptor: A descriptor of it. It must be closed after SQLite has closed the database:
            closing it earlier would end SQLite's own lock.
    """

    def __init__(self, journal: Path, lock: LockFile, descriptor: int) -> None:
        self._journal = journal
        self._log = journal.with_name(f"{journal.name}-wal")
        self._lock = lock
        self._descriptor = descriptor
        self._seen: dict[Path, os.stat_result] = {}
        self._epoch = b""

    def begin(self) -> None:
        """Note what the files look like now. They hold everything, and the journal is locked.

        Raises:
            OSError: A file is not there.
        """
        self._seen = {path: path.stat() for path in (self._journal, self._log)}
        self._epoch = self._read_epoch()

    def change(self, *, written: bool = False) -> _Change | None:
        """What somebody else has done to a file; ``None`` if nobody has done anything.

        Args:
            written: Whether this process has written since the last call, so that files may have
                grown. They never become smaller while the journal is open.
        """
        if self._read_note() != self._lock.note:
            return _Change(f"{self._lock.loss()}; {_END_ALL}")
        for path in self._seen:
            change = self._change_of(path, written=written)
            if change is not None:
                return change
        if self._read_epoch() != self._epoch:
            return _Change(f"another client has opened {self._journal.name} meanwhile; {_END_ALL}")
        return None

    def _change_of(self, path: Path, *, written: bool) -> _Change | None:
        before = self._seen[path]
        try:
            now = os.stat(path)  # noqa: PTH116 - half the time of `Path.stat`, in each transaction
        except FileNotFoundError:
            now = None
        if now is None or (now.st_ino, now.st_dev) != (before.st_ino, before.st_dev):
            words = f"{path.name} was deleted, moved or replaced while it was in use"
            if now is None and path == self._log:
                return _Change(words, log_is_missing=True)
            return _Change(f"{words}; {_PUT_BACK}")
        if not _may_be(now, before, written=written):
            return _Change(
                f"another program has changed {path.name}: it had {before.st_size} bytes, and has "
                f"{now.st_size} now; {_PUT_BACK}"
            )
        self._seen[path] = now
        return None

    def harmless_to_close(self, *, written: bool) -> bool:
        """Whether closing the database harms nobody, wherever the files are by now.

        SQLite then moves the log into the database, and deletes the log by its path. So nobody else
        may have changed the database, and the log at that path may not be another's.

        Raises:
            OSError: The files cannot be looked at.
        """
        if (
            self._lock.taken()
            or self._read_epoch() != self._epoch
            or not _may_be(os.fstat(self._descriptor), self._seen[self._journal], written=written)
        ):
            return False
        try:
            log = self._log.stat()
        except FileNotFoundError:
            return True
        before = self._seen[self._log]
        return os.path.samestat(log, before) and _may_be(log, before, written=written)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _read_note(self) -> bytes | None:
        """What is in the lock file; ``None`` if there is none.

        It is opened anew each time. So a network file system asks its server, and a file that was
        replaced is noticed.
        """
        try:
            descriptor = os.open(self._lock.path, os.O_RDONLY | _READ_FLAGS)
        except FileNotFoundError:
            return None
        try:
            return os.read(descriptor, 2 * len(self._lock.note))
        finally:
            os.close(descriptor)

    def _read_epoch(self) -> bytes:
        os.lseek(self._descriptor, EPOCH_AT, os.SEEK_SET)
        return os.read(self._descriptor, EPOCH_BYTES)


def _may_be(now: os.stat_result, before: os.stat_result, *, written: bool) -> bool:
    """Whether a file has the size that it can have if only its holder has written."""
    return now.st_size == before.st_size or (written and now.st_size > before.st_size)


@attrs.define
class _Media:
    """The contents of media by digest, each read once."""

    database: sqlite3.Connection
    _known: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)

    def content(self, digest: str) -> bytes:
        if digest not in self._known:
            query = "SELECT content FROM media WHERE digest = ?"
            ((content,),) = self.database.execute(query, (digest,))
            if hashlib.sha256(content).hexdigest() != digest:
                msg = f"the medium {digest} is damaged"
                raise ValueError(msg)
            self._known[digest] = content
        return self._known[digest]


def _folded(
    database: sqlite3.Connection, before: int
) -> Iterator[tuple[tuple[Any, ...], Facts | None]]:
    """All rows of the plan before one, each with what its notes say; ``None`` if it is none."""
    notes = itertools.groupby(database.execute(_READ_NOTES, (before,)), key=_ROW)
    row, told = next(notes, _NO_MORE)
    for task in database.execute(_READ_TASKS, (before,)):
        while row < task[0]:  # notes about rows that are not there
            row, told = next(notes, _NO_MORE)
        yield task, fold(told if row == task[0] else ())


def _is_over(entry: Entry, before: float) -> bool:
    """Whether an entry ended for good before a time."""
    ended = entry.ended_at is not None and entry.ended_at < before
    return ended and entry.final and not entry.open_attempts


def _has_tasks(database: sqlite3.Connection) -> bool:
    """Whether a task was made or attached, or may have been made."""
    notes = database.execute(_READ_NOTES_ABOUT_TASKS, _ABOUT_TASKS)
    folded = (fold(told) for _, told in itertools.groupby(notes, key=_ROW))
    return any(facts is not None and facts.may_have_task for facts in folded)


_ROW: Final = operator.itemgetter(0)
_NO_MORE: Final[tuple[int, Iterator[Any]]] = (sys.maxsize, iter(()))
_READ_NAMES: Final = "SELECT batch, name FROM batches"
_READ_TASKS: Final = (
    "SELECT row, batch, place, key, metadata, spec FROM tasks WHERE row < ? ORDER BY row"
)
_READ_NOTES: Final = (
    # Sorted when they are read, without an index: that would cost something at every note.
    "SELECT row, kind, n, value, at FROM notes WHERE row < ? ORDER BY row, seq"
)
_ABOUT_TASKS: Final = (
    NoteKind.ATTEMPT,
    NoteKind.REFUSED,
    NoteKind.ABSENT,
    NoteKind.DOUBTED,
    NoteKind.MADE,
    NoteKind.FOUND,
    NoteKind.DISOWNED,
    NoteKind.BY_HAND,
    NoteKind.ATTACHED,
)
"""The kinds of notes from which follows whether a task may exist."""

_READ_NOTES_ABOUT_TASKS: Final = (
    f"SELECT row, kind, n, value, at FROM notes WHERE kind IN ({', '.join('?' for _ in _ABOUT_TASKS)}) "  # noqa: E501, S608 - ours
    "ORDER BY row, seq"
)
_GONE: Final = "row IN (SELECT row FROM temp.gone)"
_PRUNE: Final = (
    # A key belongs to the account for the life of the journal. So its row stays, with the spec that
    # it stands for, and the note that it was pruned keeps it from being resumed.
    f"INSERT INTO notes (row, kind) SELECT row, 'pruned' FROM tasks WHERE {_GONE} AND key NOT NULL",  # noqa: S608 - ours
    f"DELETE FROM notes WHERE kind IN ('answer', 'status', 'ended', 'file') AND {_GONE}",  # noqa: S608
    f"DELETE FROM temp.gone WHERE row IN (SELECT row FROM tasks WHERE {_GONE} AND key NOT NULL)",  # noqa: S608
    f"DELETE FROM notes WHERE {_GONE}",  # noqa: S608
    f"DELETE FROM tasks WHERE {_GONE}",  # noqa: S608
    "DELETE FROM batches WHERE batch NOT IN (SELECT batch FROM tasks)",
)
"""Removes the rows whose numbers are in the table `gone`."""


def _is_act(note: StoredNote) -> bool:
    """Whether a note comes before a request. Any other states a fact, which is always welcome."""
    return note[1] == NoteKind.ATTEMPT


def _made_private(path: Path) -> int:
    """A descriptor of a file. If there is none, it is made, and only its owner can use it.

    SQLite gives the files beside it the same permissions.
    """
    try:
        return make_private(path)
    except FileExistsError:
        return os.open(path, os.O_RDONLY | _READ_FLAGS)


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(
        address, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )


def _configure(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA synchronous = FULL")  # an id that is lost in a power cut is lost money


def keep_open(database: sqlite3.Connection) -> None:
    """Keep a database open until the process ends, whatever else is dropped.

    Closing it would write into the database, and delete the log at its path. Both may belong to
    another process by now: to the parent of a fork, or to whoever replaced the files. Python closes
    what nobody refers to. So this leaves a reference that is never given back.
    """
    import ctypes  # noqa: PLC0415 - hardly ever needed

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(database))


_HELD: Final[weakref.WeakSet[SqliteStore]] = weakref.WeakSet()
"""The stores of this process that have a file open, or are about to."""


def _leave_to_parent() -> None:
    for store in list(_HELD):
        store.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
