"""Who holds a journal, told to those who find it locked.

The lock itself is the database's, so the operating system takes it away with its holder, however
that one dies. This note beside it only gives a name to the holder, and may outlive it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pathlib import Path


def note_path(journal: Path) -> Path:
    """Where the holder's note stands."""
    return journal.with_name(f"{journal.name}-lease")


def write(journal: Path) -> None:
    """Note that this process holds the journal; blocks on the disk."""
    row = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(OSError):  # it is only a name
        note_path(journal).write_text(json.dumps(row), "utf-8")


def remove(journal: Path) -> None:
    """Take the note away; to be called while the lock is still held."""
    with contextlib.suppress(OSError):
        note_path(journal).unlink(missing_ok=True)


def holder(journal: Path) -> str:
    """Who holds the journal, in words; blocks on the disk."""
    try:
        row = json.loads(note_path(journal).read_text("utf-8"))
        pid, host = int(row["pid"]), str(row["host"])
        since = datetime.fromtimestamp(row["since"], UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
    here = pid == os.getpid() and host == socket.gethostname()
    who = "another client of this process" if here else "process"
    return f"{who} {pid} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC"
