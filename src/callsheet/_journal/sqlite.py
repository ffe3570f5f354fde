"""The journal on disk: an SQLite database that one process at a time has locked.

Everything here blocks. Call it in a worker thread, one call at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import operator
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._journal import lock_note
from callsheet._journal.codec import decode_spec, digests_in
from callsheet._journal.database_file import has_content, writable
from callsheet._journal.entries import Entry, Facts, fold
from callsheet._journal.identity import Identity
from callsheet._journal.notes import NoteKind
from callsheet.errors import CallsheetError, ConfigurationError, JournalError


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from callsheet._journal.codec import PlanText
    from callsheet._journal.notes import StoredNote


VERSION: Final = 2
"""The format of the file. A file of another format is refused."""

APPLICATION_ID: Final = 0x63736A6C
"""The database's application id: it tells a journal from other databases."""

BUSY_TIMEOUT: Final = 0.05
"""Seconds that SQLite itself waits for a lock. Nobody can interrupt that, so it is short: `Journal`
waits for the holder of a file."""

ENTRIES_PER_PAGE: Final = 200
"""Entries that are read together."""

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
    PRAGMA user_version = {VERSION};
"""


_ADD_NOTE: Final = "INSERT INTO notes (row, kind, n, value, at) VALUES (?, ?, ?, ?, ?)"


class InUseError(Exception):
    """Another process or client has the journal open. The text is for the user."""


class SqliteStore:
    """One SQLite database, opened and locked.

    Attributes:
        path: The path of its file.
        rows: The number of the next row.
        batches: The number of the next batch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self.batches = 0
        self._stored: set[str] = set()
        self._inode: tuple[int, int] | None = None
        self._one_at_a_time = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def open(self, identity: Identity) -> None:
        """Open and lock the database, or make it. What a killed process left is recovered.

        A file that is refused is not changed.

        Raises:
            InUseError: Another process or client holds it.
            ConfigurationError: It belongs to another provider, address or key, it is no journal or
                one of another format, or it cannot be read and written. The text holds the path.
        """
        try:
            with self._one_at_a_time:
                self.path = self.path.resolve()  # two paths to one file must meet the same lock
                if has_content(self.path):
                    self._inspect(identity)
                self._database = self._lock(identity)
        except sqlite3.Error as exc:
            raise self._refusal(exc) from exc
        except (OSError, ValueError, RuntimeError) as exc:  # a loop of links, a NUL in the name
            if isinstance(exc, CallsheetError):
                raise
            words = getattr(exc, "strerror", None) or str(exc)
            raise ConfigurationError(f"journal {self.path}: {words}") from exc

    def close(self) -> None:
        """Move everything into the one file, and release the lock."""
        with self._one_at_a_time:
            if self._database is not None:
                lock_note.remove(self.path)
                self._database.close()
                self._database = None

    def write(
        self,
        plans: Sequence[PlanText],
        notes: Sequence[StoredNote],
        learned: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write in one transaction; it is on disk when this returns.

        Raises:
            sqlite3.Error: It failed; nothing was written.
        """
        if not (plans or notes or learned):
            return
        database = self._opened()
        self._check_place()
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
        except (sqlite3.Error, ValueError, TypeError, LookupError, CallsheetError) as exc:
            raise JournalError(f"journal {self.path} cannot be read: {exc}") from exc

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
        return dict(self._opened().execute("SELECT kind, value FROM learned"))

    def prune(self, *, before: float) -> int:
        """Remove the rows that ended before a time in Unix seconds; return how many.

        Only a row whose outcome is final, and none of whose attempts may still turn out to have
        made a task, is removed. Media that no other row needs go with it.

        Raises:
            JournalError: The journal cannot be read or written; nothing was removed.
        """
        try:
            database = self._opened()
            self._check_place()
            gone = [
                row
                for (row, *_), facts in _folded(database, self.rows)
                if facts is not None and _is_over(facts.entry(row, 0, 0), before)
            ]
            if gone:
                self._remove(database, gone)
        except (sqlite3.Error, ValueError, TypeError, LookupError, CallsheetError) as exc:
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

    def _check_place(self) -> None:
        """Check that the file is still there: otherwise nobody would find what is written."""
        if self._place() != self._inode:
            raise sqlite3.OperationalError("it was deleted, moved or replaced")

    def _place(self) -> tuple[int, int] | None:
        """The device and inode of the file at the path; ``None`` if there is no file."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

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

    def _inspect(self, identity: Identity) -> None:
        """Check that the file is a journal of *identity*, without changing a byte of it."""
        beside = (self.path.with_name(f"{self.path.name}-{kind}") for kind in ("wal", "journal"))
        whole = not any(path.exists() for path in beside)  # no process has it open
        address = f"{self.path.as_uri()}?{'immutable=1' if whole else 'mode=ro'}"
        try:
            with contextlib.closing(_connect(address)) as database:
                tables = ("tasks", "notes") if self._check(database, identity) else ()
                for table in tables:
                    ((word,),) = database.execute(f"PRAGMA quick_check('{table}')").fetchmany(1)
                    if word != "ok":
                        raise ConfigurationError(self._damaged(word))
        except sqlite3.Error as exc:
            # A process was killed while it made the file. `_lock` rolls that back.
            if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise

    def _lock(self, identity: Identity) -> sqlite3.Connection:
        database = _connect(f"{self.path.as_uri()}?mode=rwc")
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute(
                "PRAGMA synchronous = FULL"
            )  # an id that is lost in a power cut is lost money
            database.execute("BEGIN EXCLUSIVE")
            if not self._check(database, identity):
                for statement in _SCHEMA.strip().split(";")[:-1]:
                    database.execute(statement)
            database.execute("DELETE FROM identity")
            values = attrs.astuple(identity)
            database.execute("INSERT INTO identity VALUES (?, ?, ?)", values)
            database.execute("COMMIT")  # the lock stays
            database.execute("PRAGMA journal_mode = WAL")
            ((self.rows, self.batches),) = database.execute(
                "SELECT max(ifnull(max(row), 0), (SELECT ifnull(max(row), 0) FROM notes)) + 1,"
                " ifnull(max(batch), 0) + 1 FROM tasks"
            )
        except BaseException:
            database.close()
            raise
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)  # left by `_inspect`
        lock_note.write(self.path)
        self._inode = self._place()
        return database

    def _check(self, database: sqlite3.Connection, identity: Identity) -> bool:
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
        if version != VERSION:
            age = "a newer" if version > VERSION else "an older"
            raise ConfigurationError(
                f"journal {self.path} was written by {age} callsheet: its format is {version}, and "
                f"this one reads and writes format {VERSION} only; it was left as it is. Continue "
                "it with the callsheet that wrote it, or pass another path as journal= to begin a "
                "new one"
            )
        ((provider, base_url, fingerprint),) = database.execute("SELECT * FROM identity")
        if not _has_tasks(database):  # without tasks, a wrong key may be corrected
            fingerprint = identity.fingerprint
        other = Identity(provider=provider, base_url=base_url, fingerprint=fingerprint)
        difference = identity.difference(other)
        if difference is not None:
            raise ConfigurationError(f"journal {self.path} cannot be used here: {difference}")
        return True

    def _refusal(self, exc: sqlite3.Error) -> ConfigurationError | InUseError:
        match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                who = lock_note.holder(self.path)
                return InUseError(
                    f"journal {self.path} is in use by {who}; close that one first, or wait for it "
                    "with Client(journal_timeout=SECONDS)"
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
        assert self._database is not None, "open() comes first"  # noqa: S101 - for the type checkers
        return self._database


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
    NoteKind.ATTACHED,
)
"""The kinds of notes from which follows whether a task may exist."""

_READ_NOTES_ABOUT_TASKS: Final = (
    "SELECT row, kind, n, value, at FROM notes "
    "WHERE kind IN (?, ?, ?, ?, ?, ?, ?, ?) ORDER BY row, seq"
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


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(
        address, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
