"""The journal on disk: an SQLite database that one process at a time has locked.

Everything here blocks. Call it in a worker thread, one call at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._journal import lock_note
from callsheet._journal.codec import decode_spec
from callsheet._journal.database_file import has_content, inode_of, writable
from callsheet._journal.entries import Entry, Note, NoteKind, change_by
from callsheet._journal.identity import Identity
from callsheet.errors import CallsheetError, ConfigurationError, JournalError


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from callsheet._journal.codec import Plan


VERSION: Final = 1
APPLICATION_ID: Final = 0x63736A6C
"""The database's application id: it tells a journal from other databases."""

LOCK_TIMEOUT: Final = 0.25
"""Seconds to wait for the lock, in case its holder is about to close."""

_SCHEMA: Final = f"""
    CREATE TABLE identity (provider TEXT, base_url TEXT, fingerprint TEXT);
    CREATE TABLE batches (batch INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE tasks (row INTEGER PRIMARY KEY, batch INTEGER, place INTEGER, spec TEXT);
    CREATE TABLE media (digest TEXT PRIMARY KEY, content BLOB);
    CREATE TABLE notes (seq INTEGER PRIMARY KEY, row INTEGER, kind TEXT, value TEXT);
    PRAGMA application_id = {APPLICATION_ID};
    PRAGMA user_version = {VERSION};
"""


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
            ConfigurationError: Another process or client holds it, it belongs to another provider,
                address or key, it is no journal or a newer one, or it cannot be read and written.
                The text holds the path.
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

    def write(self, plans: Sequence[Plan], notes: Sequence[Note]) -> None:
        """Write in one transaction; it is on disk when this returns.

        Raises:
            sqlite3.Error: It failed; nothing was written.
        """
        if not plans and not notes:
            return
        database = self._opened()
        if inode_of(self.path) != self._inode:  # nobody would find what is written
            raise sqlite3.OperationalError("it was deleted, moved or replaced")
        stored: set[str] = set()
        database.execute("BEGIN IMMEDIATE")
        try:
            for plan in plans:
                stored |= self._write_plan(database, plan)
            database.executemany("INSERT INTO notes (row, kind, value) VALUES (?, ?, ?)", notes)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # some errors have ended it already
                database.execute("ROLLBACK")
            raise
        self._stored |= stored

    def read(self) -> list[Entry]:
        """All entries, in order.

        Raises:
            JournalError: A part of the journal cannot be read.
        """
        try:
            return list(self._entries(self._opened()))
        except (sqlite3.Error, ValueError, TypeError, LookupError, CallsheetError) as exc:
            raise JournalError(f"journal {self.path} cannot be read: {exc}") from exc

    def _write_plan(self, database: sqlite3.Connection, plan: Plan) -> set[str]:
        if plan.name is not None:
            name = json.dumps(plan.name)
            database.execute("INSERT INTO batches VALUES (?, ?)", (plan.batch, name))
        new = plan.contents.by_digest.keys() - self._stored
        database.executemany(
            "INSERT OR IGNORE INTO media VALUES (?, ?)",
            ((digest, plan.contents.by_digest[digest]) for digest in new),
        )
        database.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?)",
            (
                (plan.first + place, plan.batch, place, text)
                for place, text in enumerate(plan.texts)
            ),
        )
        return new

    def _entries(self, database: sqlite3.Connection) -> Iterator[Entry]:
        facts: dict[int, dict[str, Any] | None] = {}
        for row, kind, value in database.execute("SELECT row, kind, value FROM notes ORDER BY seq"):
            change = change_by(kind, value)
            facts[row] = None if change is None else (facts.get(row) or {}) | change
        names = {row: json.loads(name) for row, name in database.execute("SELECT * FROM batches")}
        media = _Media(database)
        for row, batch, place, text in database.execute("SELECT * FROM tasks ORDER BY row"):
            known = facts.get(row, {})
            if known is not None:
                spec = None if text is None else decode_spec(text, media.content)
                name = names.get(batch)
                yield Entry(row=row, batch=batch, index=place, name=name, spec=spec, **known)

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
        self._inode = inode_of(self.path)
        return database

    def _check(self, database: sqlite3.Connection, identity: Identity) -> bool:
        """Whether the database is a journal of *identity*; ``False`` if it is empty.

        Raises:
            ConfigurationError: It is the journal of another identity, a newer one, or another
                database.
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
        if version > VERSION:
            raise ConfigurationError(
                f"journal {self.path} was written by a newer callsheet; it was left as it is"
            )
        ((provider, base_url, fingerprint),) = database.execute("SELECT * FROM identity")
        if not _has_tasks(database):  # without tasks, a wrong key may be corrected
            fingerprint = identity.fingerprint
        other = Identity(provider=provider, base_url=base_url, fingerprint=fingerprint)
        difference = identity.difference(other)
        if difference is not None:
            raise ConfigurationError(f"journal {self.path} cannot be used here: {difference}")
        return True

    def _refusal(self, exc: sqlite3.Error) -> ConfigurationError:
        match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                who = lock_note.holder(self.path)
                text = f"journal {self.path} is in use by {who}; close that one first"
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


def _has_tasks(database: sqlite3.Connection) -> bool:
    """Whether a task was made or attached, or may have been made."""
    kinds = ", ".join(f"'{kind}'" for kind in (NoteKind.SENDING, NoteKind.CREATED, NoteKind.UNSENT))
    # SQLite takes a bare column beside max() from the row with the maximum
    last = f"SELECT kind, max(seq) FROM notes WHERE kind IN ({kinds}) GROUP BY row"  # noqa: S608 - ours
    begun = f"SELECT count(*) FROM ({last}) WHERE kind != '{NoteKind.UNSENT}'"  # noqa: S608
    ((count,),) = database.execute(begun)
    return bool(count)


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(
        address, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
    )
