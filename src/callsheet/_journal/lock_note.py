"""A note beside a locked journal that names the process that holds it.

The lock itself is that of the database. The operating system releases it when the holder ends,
however it ends. The note only names the holder, and may remain after it.
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
    """The path of the note."""
    return journal.with_name(f"{journal.name}-lease")


def write(journal: Path) -> None:
    """Write that this process holds the journal. This blocks on the disk."""
    row = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(OSError):  # the lock holds without the note
        note_path(journal).write_text(json.dumps(row), "utf-8")


def remove(journal: Path) -> None:
    """Remove the note. Call this while the lock is still held, or the note may be another's."""
    with contextlib.suppress(OSError):
        note_path(journal).unlink(missing_ok=True)


def holder(journal: Path) -> str:
    """The holder of the journal, in words. This blocks on the disk."""
    try:
        row = json.loads(note_path(journal).read_text("utf-8"))
        pid, host = int(row["pid"]), str(row["host"])
        since = datetime.fromtimestamp(row["since"], UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
    here = pid == os.getpid() and host == socket.gethostname()
    who = "another client of this process" if here else "process"
    return f"{who} {pid} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC"
